/* The first minute: a visitor who has not asked anything yet, and came by a link that asks for
   nothing, finds a recorded question with its answer, marked as such. One click asks it anew. */
"use strict";

(() => {
  const WAIT_MS = 30;
  const VISITED = "t2ui-visited";
  const { panels, page, h, hear } = window.t2ui;

  // assets/ask/first_look.html has looked at the link and at what the browser remembers
  const isFirstVisit = () => document.documentElement.dataset.visit === "first";
  function haveVisited() {
    try {
      localStorage.setItem(VISITED, "1");
    } catch {
      // storage is blocked
    }
  }

  /** The values of Ask's panels with the example in them; as they are, where somebody has begun. */
  window.t2ui.withExample = (packed, ...shown) => {
    const example = JSON.parse(packed);
    const [prompt, mixer, , , , , footer] = shown;
    if (prompt) return shown;
    const now = JSON.parse(mixer);
    const text = JSON.stringify;
    selectOnce(example.prompt);
    return [
      example.prompt,
      text(now.experts ? { ...now, alpha: { ...now.alpha, ...example.mixer.alpha }, set_by: example.mixer.set_by, moves: (now.moves || 0) + 1 } : example.mixer),
      text(example.classification), text(example.next_token), text(example.base), text(example.adapted),
      text({ ...JSON.parse(footer), receipt: example.receipt, example: true }),
    ];
  };

  /** Whoever wants to write a question of their own need not delete the recorded one. */
  function selectOnce(prompt) {
    const box = document.querySelector("#prompt textarea");
    for (const name of ["focus", "click"]) { // a click that gives the focus moves the caret
      box?.addEventListener(name, () => box.value === prompt && box.select(), { once: true });
    }
  }

  /** What marks an answer as recorded, and what makes it a live one. */
  page.recorded = (live) => h("span.recorded", null,
    h("span.tag", { title: "An answer recorded earlier with this model and these experts. t2ui replay gives its receipt again, token for token." }, "recorded", h("span", null, " example")),
    live && h("button.chip.go", { type: "button", id: "make-live", title: "Ask the model this question now.",
      onclick: () => document.getElementById("ask").click() }, "make it live ▸"));

  panels.example = (host, api) => {
    hear("asked", haveVisited);
    /** While the model loads it is shown at once; else when the sliders are there, which would
        otherwise come after it and stand at 0. */
    const settled = () => document.querySelector("#status[data-state]")
      && (!page.ready || document.querySelector("#mixer :is(.mix-row, .empty)"));
    function show() {
      if (settled()) api.trigger("select", {});
      else setTimeout(show, WAIT_MS);
    }
    /** Called when the page opens. Only a first visit touches anything: somebody may be typing. */
    window.t2ui.firstVisit = () => {
      if (JSON.parse(api.props.value).prompt && isFirstVisit()) show();
    };
    return () => {};
  };
})();
