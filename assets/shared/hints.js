/* Hints: a line for whoever points at something, comes to it by keyboard, or touches it. The mouse
   gets the browser's own tooltip (`title`); keyboard and touch get ours. By touch: a tap on what does
   nothing else (a card's title and its "i", the name of a field), a long press on what does.

   Where `data-learn` stands with a hint, or a hint is [line, step], ours has a link to that step of
   Learn; by keyboard, Enter on the "i" leads to the link. */
"use strict";

(() => {
  const LONG_MS = 500; // of a press
  const SLIP = 10; // pixels that a finger may move meanwhile
  const ACTS = "button, a, input, textarea, select, label, [role=option], .plot";
  const { hints, h, hear, showTip, hideTip } = window.t2ui;
  let keys = false; // the keyboard was used last
  let touch = false; // a finger was
  let press = null; // under way: {timer, x, y}
  let held = false; // it was long: the click that follows is none

  /** What has a hint at this place of the page: the innermost of what stands around it. */
  function hinted(node) {
    const titled = node.closest?.("[title]:not([title=''])");
    let best = titled && { anchor: titled, text: titled.title, step: titled.dataset.learn };
    for (const [selector, hint] of Object.entries(hints)) {
      const anchor = node.closest?.(selector);
      const [text, step] = [hint].flat();
      if (anchor && (!best || best.anchor.contains(anchor))) best = { anchor, text, step };
    }
    // a slider's hint is on its name, beside it
    const name = best ? null : node.closest?.(".mix-row")?.querySelector("[title]");
    return name ? { anchor: name, text: name.title } : best;
  }
  /** Show a hint; what is returned is its link, if it has one. */
  function tell(found) {
    const link = found.step && h("a.to-learn", {
      href: `?learn=${found.step}`, onclick: hideTip, onkeydown: (event) => event.key === "Escape" && backTo(found.anchor),
    }, `Learn it: step ${found.step}`);
    showTip(found.anchor, [h("p", { dir: "auto" }, found.text), link]);
    return link;
  }
  /** From a hint's link to where it was opened, without opening it again. */
  function backTo(anchor) {
    keys = false;
    anchor.focus();
    keys = true;
  }
  const inTip = (node) => Boolean(node?.closest?.(".t2-tip"));

  document.addEventListener("pointerover", (event) => {
    const found = event.pointerType === "touch" ? null : hinted(event.target);
    if (found && !found.anchor.title) found.anchor.title = found.text;
  });

  /** Where there is no pointer to find out with, fields that have a hint say so. */
  const marks = new CSSStyleSheet();
  document.adoptedStyleSheets.push(marks);
  function mark() {
    const names = Object.keys(hints).map((selector) => `${selector} [data-testid=block-info]`);
    marks.replaceSync(`@media (hover: none) { ${names.join(", ")} {
      text-decoration: underline dotted var(--t2-faint); text-underline-offset: 4px; } }`);
  }
  hear("ready", mark);
  hear("hints", mark); // a page has more of them

  /* --- by keyboard ----------------------------------------------------------------------------- */

  addEventListener("keydown", () => (keys = true), true);
  document.addEventListener("focusin", (event) => {
    const found = hinted(event.target);
    if (!found) return;
    if (!found.anchor.title) event.target.ariaDescription = found.text; // Gradio's: for screen readers
    if (keys) tell(found);
  });
  document.addEventListener("focusout", (event) => keys && !inTip(event.relatedTarget) && hideTip());

  /* --- by touch, and a click on an "i" --------------------------------------------------------- */

  function letGo() {
    clearTimeout(press?.timer);
    press = null;
  }
  document.addEventListener("pointerdown", (event) => {
    keys = false;
    touch = event.pointerType === "touch";
    held = false;
    letGo();
    if (inTip(event.target)) return; // on its way to the link
    hideTip();
    if (!touch || event.target.closest("input[type=range], textarea")) return;
    const found = hinted(event.target);
    if (!found) return;
    const timer = setTimeout(() => {
      held = true;
      tell(found);
    }, LONG_MS);
    press = { timer, x: event.clientX, y: event.clientY };
  }, true);
  document.addEventListener("pointermove", (event) => {
    if (press && Math.hypot(event.clientX - press.x, event.clientY - press.y) > SLIP) letGo();
  }, true);
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, letGo, true);
  document.addEventListener("contextmenu", (event) => held && event.preventDefault(), true);

  document.addEventListener("click", (event) => {
    if (held) {
      held = false;
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    const info = event.target.closest("button.hint");
    const name = touch && event.target.closest("[data-testid=block-info]"); // of a field
    if (!info && !touch) return;
    if (!info && !name && event.target.closest(ACTS)) return;
    if (inTip(event.target)) return;
    if (event.target.closest("[data-token]")) return; // has a tooltip of its own
    const found = hinted(event.target);
    if (!found) return hideTip();
    if (name) event.preventDefault(); // else the field has the focus, and the keyboard covers all
    const link = tell(found);
    if (info && keys) link?.focus();
  }, true);
})();
