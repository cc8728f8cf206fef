/* Panels of the Ask page that show pass one and the next token, and the sliders. */
"use strict";

(() => {
  const PAUSE_MS = 350; // of typing, before the next token is asked for
  const RETRY_MS = 5000;
  const RETRIES = 12;
  const {
    panels, page, hints, h, fill, say, hear, tell, hideTip, number, percent, duration, quoted, mixColour, standing, outdated,
  } = window.t2ui;

  Object.assign(hints, {
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
    "#allow-transfer": "An expert fits any model of the same shapes, but was trained for one. Without this, pass one passes the others by, and an answer with one is refused.",
  });

  window.t2ui.stages.ask = {
    answers: ["answers", "#answers"], base: ["base", "#card-base", "answers"], adapted: ["adapted", "#card-adapted", "answers"],
    "pass-one": ["pass one", "#card-pass-one"], mixture: ["mixture", "#card-mixture"], "next-token": ["next token", "#card-next-token"],
  };
  /** By a link: once its prompt is in the box, and the sliders are there. */
  window.t2ui.goes.ask = () => {
    if ((page.adapted?.state || "empty") !== "empty") return true;
    if (page.prompt.trim() && page.ready && document.querySelector("#mixer .mix-row")) document.getElementById("ask").click();
    return false;
  };

  const dot = (colour) => h("i.dot", { style: { "--colour": colour || "var(--t2-base)" } });
  const skeleton = (rows) =>
    h("div.skeleton", { ariaLabel: "loading" }, Array.from({ length: rows }, () => h("i")));
  const message = (text, remedy) =>
    h("div.empty", null, h("p", null, text), remedy ? h("p.remedy", null, remedy) : null);

  /* --- the prompt: right-to-left where its text is; Enter and Ask ----------------------------- */

  const box = () => document.querySelector("#prompt textarea");
  const eitherWay = () => {
    if (box() && box().dir !== "auto") box().dir = "auto";
  };
  let watched = null;
  function keepEitherWay() {
    eitherWay(); // Gradio says ltr, and says so again whenever it draws the box
    if (!box() || box() === watched) return;
    watched = box();
    new MutationObserver(eitherWay).observe(watched, { attributeFilter: ["dir"] });
  }
  hear("prompt", keepEitherWay);
  keepEitherWay(); // a link's prompt may have been there before this script

  const narrow = matchMedia("(max-width: 899px)"); // as in ask.css: the cards stand in one column
  const fingers = matchMedia("(pointer: coarse)");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const answering = () =>
    document.querySelector("#answers .t2-answer:is([data-state=streaming], [data-state=waiting])");

  const STOP_MS = 3000; // in which a stop has surely gone through
  let stopping = null; // a timer, from Stop until the answer has ended: Gradio would drop an Ask
  let again = false; // there was one
  window.t2ui.answerEnded = () => {
    hideTip(); // there is nothing to stop any more
    clearTimeout(stopping);
    stopping = null;
    if (again) setTimeout(() => document.getElementById("ask").click());
    say(again ? "asked" : "ended");
    again = false;
  };

  /** Before Gradio hears of it: there is one answer at a time, and it should be seen. */
  function asked(event) {
    if (!stopping && window.t2ui.dropLive?.()) stopping = setTimeout(window.t2ui.answerEnded, STOP_MS);
    if (answering() || stopping) {
      event.preventDefault();
      event.stopImmediatePropagation();
      if (stopping) again = true;
      else tell(document.getElementById("stop"), "Still answering. Press Stop first, then ask again.");
      return;
    }
    say("asked");
    if (fingers.matches) box().blur(); // the keyboard on the screen would hide the answer
    if (!narrow.matches) return;
    const card = document.getElementById("card-adapted");
    card.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  }
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#ask")) asked(event);
    else if (event.target.closest?.("#stop") && (answering() || window.t2ui.liveComing?.())) {
      stopping = setTimeout(window.t2ui.answerEnded, STOP_MS);
      say("stop");
    }
  }, true);
  document.addEventListener("keydown", (event) => {
    const enter = event.key === "Enter" && !event.shiftKey && !event.isComposing;
    if (enter && event.target === box()) asked(event);
  }, true);

  /* --- pass one: a bar for each label; a click on another label corrects it ------------------- */

  const MANY_LABELS = 7; // of more, the likeliest come first

  panels.classification = (host, api) => {
    let shown = null;
    let mine = null; // the label clicked: what streams on still carries the one of pass one
    const correct = (label, stamp) => {
      mine = { label, stamp };
      api.trigger("select", { label });
    };
    const bar = (row, value) => {
      const chosen = row.label === (mine?.stamp === value.stamp ? mine.label : value.chosen);
      const raw = row.raw === null ? "" : `, ${number(row.raw)} before calibration`;
      const act = chosen
        ? "This label was used."
        : row.expert
          ? `Click to answer with ${row.expert} instead.`
          : "Click to answer with the base model instead.";
      return h(
        "button.label-row" + (chosen ? ".chosen" : ""),
        {
          type: "button", ariaPressed: String(chosen),
          title: `${row.label}: ${number(row.p)}${raw}. ${act}`,
          onclick: () => correct(row.label, value.stamp),
        },
        h("span.name", null, dot(row.colour), h("span", null, row.label)),
        h("span.track", null,
          h("b", { style: { "--w": `${100 * row.p}%`, "--colour": row.colour } }),
          row.raw === null ? null : h("u", { style: { "--w": `${100 * row.raw}%` } })),
        h("span.value", null, number(row.p)));
    };
    function draw(value) {
      shown = value;
      const old = value.state === "done" && value.prompt !== page.prompt;
      host.dataset.state = value.state;
      host.toggleAttribute("data-old", old);
      if (value.state === "waiting") return fill(host, skeleton(4));
      if (value.state !== "done") return fill(host, message(value.message, value.remedy));
      const share = value.share === null ? "" : ` · ${percent(value.share)} of the answer`;
      const rows = [...value.rows];
      if (rows.length > MANY_LABELS) rows.sort((a, b) => b.p - a.p);
      fill(host,
        h("div.label-rows", null, rows.map((row) => bar(row, value))),
        value.said ? h("p.said", { title: "The model's own words in pass one, right or wrong." },
          "it said ", h("code", null, value.said)) : null, // the router asks the model nothing
        h("p.foot", { title: "How long pass one took, and its share of the whole answer." },
          old && h("span.old", { title: "The prompt above is another one by now." }, "old: another prompt"),
          value.example && page.recorded(false),
          value.example ? value.method : `${value.method} · ${duration(value.seconds)}${share}`));
    }
    hear("prompt", () => {
      const old = shown?.state === "done" && shown.prompt !== page.prompt;
      if (old !== host.hasAttribute("data-old")) draw(shown);
    });
    return draw;
  };

  /* --- next token: base beside mixture, follows the sliders live ------------------------------ */

  panels["next-token"] = (host, api) => {
    let running = false;
    let again = false;
    let timer = null;
    let shown = null; // what the server said last (or was recorded), and `made`: for what
    let tries = 0; // since the last change; a busy or restarting model is asked again

    /** Newest wins: while one request runs, only the last change is remembered. */
    async function refresh() {
      clearTimeout(timer);
      if (!page.ready || !page.prompt.trim()) return draw();
      if (running) {
        again = true;
        return;
      }
      running = true;
      draw();
      const made = standing();
      try {
        shown = JSON.parse(await api.server.next_token({ prompt: page.prompt, ...page.mixture }));
      } catch {
        shown = { error: "The server could not be reached.", remedy: "Reload the page." };
      }
      shown.made = made;
      running = false;
      if (shown.error && !again && tries++ < RETRIES) timer = setTimeout(refresh, RETRY_MS);
      if (again) {
        again = false;
        if (shown.rows) draw();
        return refresh();
      }
      draw();
    }
    const anew = () => {
      tries = 0;
      return refresh();
    };
    hear("mixture", () => {
      draw(); // also while a request runs: the numbers are not those of the sliders any more
      anew();
    });
    hear("ready", anew);
    hear("prompt", () => {
      draw();
      clearTimeout(timer);
      timer = setTimeout(anew, PAUSE_MS);
    });

    const side = (kind, p) =>
      h(`span.pair-bar.${kind}`, null, h("b", { style: { "--w": `${100 * p}%` } }),
        h("em", null, p >= 0.995 ? "1.0" : number(p).replace(/^0/, "")));
    /** The numbers stay until the new ones are there: in the colour of the mixture that gave them,
        and marked as old. */
    function draw() {
      host.toggleAttribute("data-old", false);
      if (!page.prompt.trim()) {
        return fill(host, message("The likeliest next tokens, base beside mixture, appear here as you type."));
      }
      if (page.failed) return fill(host, message(page.failed));
      if (!shown) return fill(host, skeleton(6));
      if (shown.error) return fill(host, message(shown.error, shown.remedy));
      const old = outdated(shown.made).length > 0;
      host.toggleAttribute("data-old", old);
      host.style.setProperty("--t2-mix", mixColour(shown.made.mixture));
      const options = shown.options || [];
      const row = (name, shownName, [base, mixture], best) =>
        h(best ? "div.next-row.best" : "div.next-row", { title: `${name}: base ${number(base, 3)}, mixture ${number(mixture, 3)}` },
          shownName, side("base", base), side("mix", mixture));
      const most = Math.max(...options.map(([, , mixture]) => mixture));
      const rows = options.length
        ? options.map(([text, ...both]) => row(text, h("span.option", { dir: "auto" }, text), both, both[1] === most))
        : shown.rows.map(([text, ...both]) => row(quoted(text), h("code", { dir: "auto" }, quoted(text)), both));
      const kl = h("span", { title: "Kullback–Leibler divergence of the mixture's next-token distribution from the base model's: 0 when they agree." },
        `KL ${number(shown.kl)} nats`);
      fill(host,
        h("div.next-head", null, h("span", null, options.length ? "its options" : ""), h("span", null, "base"), h("span", null, "mixture")),
        h("div.next-rows", null, rows),
        options.length > 0 && h("p.foot.of-options", {
          title: "By the likelihood of each option as the answer to the question alone, without the list. Small models answer a question better than they name a letter.",
        }, "chances among these options alone"),
        shown.left_out > 0 && h("p.foot.left-out", {
          title: "This card follows every move of a slider, so of a long prompt it reads the beginning and the end alone. Ask reads all of it.",
        }, `long prompt: ${shown.left_out.toLocaleString("en")} tokens in its middle left out here`),
        h("p.foot", null, old
          ? page.ready ? "old: the new numbers are on their way" : "old: waiting for the model"
          : [kl, shown.example ? "" : ` · ${duration(shown.seconds)}`]));
    }
    return (value) => { // empty, or what was recorded for a first visit
      if (value.rows) shown = value;
      draw();
    };
  };
})();
