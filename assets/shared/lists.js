/* Rows of a list that may be drawn anew while somebody has a hand on them. */
"use strict";

(() => {
  const { h } = window.t2ui;

  const SURE_MS = 8000;
  const sure = new Map(); // what was asked -> the button that asks now, and when it ends
  /** A button that asks back at the first press and acts at the second, soon after; what was asked
      stays asked where the list is drawn anew meanwhile.
      @param what  says which button it is, among those of all lists */
  function twice(button, question, what, act) {
    const words = button.textContent;
    if (sure.has(what)) {
      sure.get(what).button = button;
      button.textContent = question;
    }
    button.addEventListener("click", () => {
      if (sure.has(what)) {
        clearTimeout(sure.get(what).end);
        sure.delete(what);
        button.textContent = words;
        return act();
      }
      button.textContent = question;
      const end = setTimeout(() => {
        sure.get(what).button.textContent = words;
        sure.delete(what);
      }, SURE_MS);
      sure.set(what, { button, end });
    });
    return button;
  }

  /** The boxes of a list that give its things another name: what is half typed stays where the list
      is drawn anew, and the hand stays on it. `rename(name, to)` is called at the end. */
  function renames(rename) {
    const typed = new Map(); // by name: what its open box holds
    return {
      /** @param button  opens the box, and sends what is in it
          @param shown  what the box stands in place of, if anything */
      box(name, button, shown = null) {
        const box = h("input.name", { type: "text", value: typed.get(name) ?? name, maxLength: 40, ariaLabel: `New name of ${name}` });
        const show = () => {
          box.hidden = !typed.has(name);
          if (shown) shown.hidden = !box.hidden;
        };
        const close = () => {
          typed.delete(name);
          box.value = name;
          show();
          button.focus();
        };
        const done = () => box.value === name ? close() : rename(name, box.value);
        button.addEventListener("click", () => {
          if (typed.has(name)) return done();
          typed.set(name, box.value);
          show();
          box.select();
        });
        box.addEventListener("input", () => typed.set(name, box.value));
        box.addEventListener("keydown", (event) => {
          if (event.key === "Enter" && !event.isComposing) done();
          if (event.key !== "Escape") return;
          event.preventDefault(); // it would close the list
          close();
        });
        show();
        return box;
      },
      /** Draw the list, which has these names now. */
      redraw(list, names, draw) {
        if (names.length) for (const name of typed.keys()) if (!names.includes(name)) typed.delete(name); // none: not known now
        const held = document.activeElement;
        const at = list.contains(held) && held.matches("input.name") ? [held.selectionStart, held.selectionEnd] : null;
        draw();
        const box = at && [...list.querySelectorAll("input.name")].find((one) => one.ariaLabel === held.ariaLabel && !one.hidden);
        if (!box) return;
        box.focus({ preventScroll: true });
        box.setSelectionRange(...at);
      },
    };
  }

  Object.assign(window.t2ui, { twice, renames });
})();
