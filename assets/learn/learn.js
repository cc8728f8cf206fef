/* The Learn page: six steps, each one screen with one thing to move and a question to answer before
   moving it. A step is a function in `learn.makers` that gives its parts; here is what they share:
   the way between them, the question, and the link to a step (`?learn=3`).

   A maker is {name, title, make}; `make` gets {light, reveal, ask} and gives {lead, formula, picture,
   controls, question: {text, options, right(), said()}, lock(on), more?, shown?(), took?(kind, data)}.
   `right()` is the number of the right option, `said()` what is said once it has been seen; `shown`
   is called when the step is opened or the model has come up, `took` with what Python has found. */
"use strict";

(() => {
  const { panels, h, fill, hear, newest } = window.t2ui;
  const learn = window.t2ui.learn;
  const TAB = "Learn";
  window.t2ui.stages.learn = {
    question: ["the question", ".learn-step > .ask", "all"], picture: ["the picture", ".learn-step > .picture", "all"],
    knobs: ["the knobs", ".learn-step > .controls", "all"],
  };

  /** The step, counted from 0, that a query string names; the first for nonsense. */
  const asked = (query = location.search) => {
    const step = Number(new URLSearchParams(query).get("learn"));
    return Number.isInteger(step) && step >= 1 && step <= learn.makers.length ? step - 1 : 0;
  };
  const tab = (title) => window.t2ui.tab(title);
  learn.tab = tab;
  const link = (step) => `?learn=${step + 1}`;
  /** The address names the step, and large type where it is on: whoever loads the page again stays there. */
  const address = (step) => history.replaceState(history.state, "", location.pathname + link(step) + (window.t2ui.presents() ? "&present=1" : ""));
  /** Open this page at a step: an entry of its own in the browser's history. */
  function enter(step) {
    history.pushState({ page: "learn" }, "");
    address(step);
    tab(TAB)?.click();
  }
  let led = false; // by a link of another page, before this one was drawn

  /** What is asked before the hand moves anything, and what is said after it has seen. */
  function questionOf(step, number, unlock) {
    const { text, options } = step.question;
    const name = `learn-answer-${number + 1}`;
    const labels = options.map((option, i) => h("label", null,
      h("input", { type: "radio", name, value: i, onchange: () => {
        verdict.dataset.chosen = i;
        unlock();
        if (seen) tell();
      } }), h("span", null, option)));
    const verdict = h("p.verdict", { role: "status" });
    let seen = false;
    function tell() {
      seen = true;
      const right = step.question.right();
      labels.forEach((label, i) => label.classList.toggle("right", i === right));
      const own = verdict.dataset.chosen;
      fill(verdict, own === undefined ? null : h("b", null, Number(own) === right ? "As you said. " : "Not quite. "), step.question.said());
    }
    const element = h("fieldset.question", null, h("legend", null, text), h("div.options", null, labels));
    return { element, verdict, tell, answered: () => verdict.dataset.chosen !== undefined };
  }

  panels.learn = (host, api) => {
    const send = newest(api);
    const nav = h("ol");
    const screen = h("div.learn-screen");
    const back = h("a.chip", { href: link(0) }, "← back");
    const next = h("a.chip.next", { href: link(1) });
    const sheet = window.t2ui.linkSheet("learn-link-sheet", "learn");
    const share = sheet.button("A link to this step.", () => sheet.show(link(now)));
    host.replaceChildren(h("nav.learn-steps", { ariaLabel: "Steps" }, nav), screen, h("div.learn-foot", null, back, next, share, sheet.element));

    let now = -1;
    const built = new Map(); // step's number -> its parts, once it was opened
    const visited = new Set();

    function build(number) {
      const root = h("section.learn-step", { data: { step: number + 1 } });
      const kit = {
        light: (symbol) => learn.light(root, symbol),
        reveal: () => {
          if (!question.answered()) return;
          root.classList.add("seen");
          visited.add(number);
          steps();
          question.tell();
        },
        ask: send,
      };
      const step = learn.makers[number].make(kit);
      const question = questionOf(step, number, () => {
        root.classList.add("answered");
        step.lock(false);
      });
      const title = h("h2", { tabIndex: -1, id: `learn-title-${number + 1}` }, learn.makers[number].title);
      root.setAttribute("aria-labelledby", title.id);
      fill(root, h("div.words", null, title, step.lead, step.formula),
        h("div.ask", null, question.element), h("div.picture", null, step.picture),
        h("div.controls", null, step.controls), h("div.after", null, question.verdict, h("div.more", null, step.more || null)));
      step.lock(true);
      return { step, root, title };
    }

    function steps() {
      fill(nav, learn.makers.map((one, i) => h("li", null,
        h(visited.has(i) ? "a.done" : "a", { href: link(i), ariaCurrent: i === now ? "step" : null, title: one.title },
          h("b", null, i + 1), h("span", null, one.name)))));
    }

    function open(number, focus = false) {
      now = number;
      if (!built.has(number)) built.set(number, build(number));
      const { step, root, title } = built.get(number);
      fill(screen, root);
      steps();
      const last = number === learn.makers.length - 1;
      back.href = link(number - 1);
      back.style.visibility = number ? "" : "hidden";
      next.href = link(number + 1);
      next.style.visibility = last ? "hidden" : "";
      next.textContent = last ? "" : `next: ${learn.makers[number + 1].name.toLowerCase()} →`;
      step.shown?.();
      if (focus) arrive(title);
    }

    /** A step begins with its title, below the header; a page that is only just opened is not seen yet. */
    function arrive(title) {
      if (!title.checkVisibility()) {
        const seen = new ResizeObserver(() => {
          if (!title.checkVisibility()) return;
          seen.disconnect();
          arrive(title);
        });
        return seen.observe(title);
      }
      title.focus({ preventScroll: true });
      title.scrollIntoView({ block: "start" });
    }

    learn.open = (number) => {
      if (tab(TAB)?.getAttribute("aria-selected") === "true") address(number);
      else enter(number);
      open(number, true);
    };
    learn.take.shown = (what, value) => {
      for (const { step } of built.values()) step.took?.(what, value);
    };
    hear("ready", () => built.get(now)?.step.shown?.());
    open(asked(), led);
    return () => {};
  };

  /** What Python has found for a step: {kind, …}. */
  panels["learn-data"] = (host) => (value) => {
    if (value.kind) learn.take.shown?.(value.kind, value);
  };

  // Links to a step, from this page or from a hint of another one, open it without a new visit.
  document.addEventListener("click", (event) => {
    const to = event.target.closest?.("a[href^='?learn=']");
    const plain = !(event.ctrlKey || event.metaKey || event.shiftKey);
    if (to && plain) {
      event.preventDefault();
      if (learn.open) return learn.open(asked(to.search));
      led = true;
      enter(asked(to.search)); // it reads the address when it is drawn for the first time
    }
  });
})();
