/* Hints on what Gradio draws, and the header: name, the model's state (asked for every second while something happens, less often
   at rest, never in a hidden tab), and the switch between light and dark. */
"use strict";

(() => {
  const { panels, page, h, say, isDark, setDark } = window.t2ui;

  const HINTS = {
    "#dispatch-mode label:has([value=prompt])": "Pass one by prompt: the model itself is asked which kind the prompt is.",
    "#dispatch-mode label:has([value=expert])": "Pass one with the expert that was trained to classify prompts.",
    "#dispatch-mode label:has([value=none])": "No pass one: the sliders decide.",
    "#dispatch-mode": "Pass one reads the prompt and chooses the mixture (Transformer², two-pass inference).",
    "#ask": "Answer with the base model and with the mixture, side by side.",
    "#stop": "Stop the answer that is being written.",
    "#temperature": "Above 0, tokens are drawn at random: the higher, the wilder.",
    "#top-p": "Only the likeliest tokens that together reach this probability are drawn. Matters above temperature 0.",
    "#seed": "The same seed draws the same tokens. Matters above temperature 0.",
    "#threshold": "When pass one is less sure than this, the base model answers.",
    "#normalise": "Weighted mean of the experts: nothing is left to the base model.",
    "#adapt-method": "Best: gradient for likelihood, CEM for right answers. CEM: the paper's search. CMA-ES also learns how weights go together. Gradient: one backward pass a step, for likelihood only.",
    "#adapt-objective": "likelihood: of the right answers, without writing any (fast). right answers: the members write their answers (slow).",
    "#adapt-budget": "Members × generations (for the gradient, the latter are steps). The paper's is the largest, and its method CEM.",
    "#adapt-estimate": "If it runs to its last generation, at the speed this worker has measured.",
    "#adapt-start": "Search the mixture that answers these examples best.",
    "#adapt-stop": "End the search; the best mixture so far is kept.",
    "#inspect-look": "z − 1 for an expert: 0 leaves a singular value as it is, 0.12 turns it up by 12 %.",
    "#inspect-compare": "A second expert, in its own colour, and the difference of the two.",
    "#inspect-module": "attention: q, k, v, o. mlp: gate, up, down.",
    "#inspect-log": "Singular values span decades: a log scale shows the small ones.",
  };
  document.addEventListener("pointerover", (event) => {
    for (const [selector, hint] of Object.entries(HINTS)) {
      const target = event.target.closest?.(selector);
      if (target && !target.title) target.title = hint;
    }
  });

  const CHOICE = "t2ui-theme";
  const remembered = () => {
    try {
      return localStorage.getItem(CHOICE);
    } catch {
      return null; // storage is blocked: the system's choice holds
    }
  };
  function switchTheme() {
    setDark(!isDark());
    try {
      localStorage.setItem(CHOICE, isDark() ? "dark" : "light");
    } catch {
      // storage is blocked: it holds for this visit
    }
  }

  panels.header = (host, api) => {
    if (remembered()) setDark(remembered() === "dark");
    const status = h("div.status", { role: "status", ariaLive: "polite" });
    const toggle = h("button.quiet", {
      type: "button", title: "Light or dark", ariaLabel: "Switch between light and dark",
      onclick: switchTheme,
    }, "◐");
    host.replaceChildren(
      h("div.brand", null, h("img", { src: host.dataset.logo, alt: "", width: 26, height: 26 }), h("b", null, "t2ui")),
      h("div.right", null, status, toggle));
    status.id = "status";

    function draw(value) {
      status.dataset.state = value.state;
      const bar = value.progress === null || value.state !== "loading" ? null
        : h("span.progress", { title: `${Math.round(100 * value.progress)} %` },
            h("b", { style: { "--w": `${100 * value.progress}%` } }));
      status.replaceChildren(h("i.dot"), h("span.words", null, h("span.who", null, `${value.who} · `), value.what), bar || "",
        value.state === "failed" || value.state === "restarting" ? h("span.banner", { role: "alert" }, value.detail) : "");
      status.title = [value.who, value.what, value.detail].join("\n");
      const ready = value.state === "ready" || value.state === "busy";
      const failed = value.state === "failed";
      const changed = ready !== page.ready || failed !== Boolean(page.failed);
      const others = value.library !== undefined && value.library !== page.library;
      if (value.library !== undefined) page.library = value.library;
      page.ready = ready;
      page.failed = failed ? value.detail || "The model is not running." : "";
      if ((changed || others) && (ready || failed)) api.trigger("select", {}); // the experts, or why there are none
      if (changed) say("ready");
      return value.state === "ready" ? 3000 : 1000;
    }

    async function poll() {
      let wait = 3000;
      if (!document.hidden) {
        try {
          wait = draw(JSON.parse(await api.server.status()));
        } catch {
          wait = draw({
            state: "restarting", who: "no connection", what: "trying again", progress: null,
            detail: "The page cannot reach its server. It tries again every second; start the app if it does not run.",
          });
        }
      }
      if (host.isConnected) setTimeout(poll, wait);
    }
    setTimeout(poll, 300);
    return draw;
  };
})();
