/* Panels of the Ask page that show pass one and the next token, and the sliders. */
"use strict";

(() => {
  const PAUSE_MS = 350; // of typing, before the next token is asked for
  const RETRY_MS = 5000;
  const RETRIES = 12;
  const { panels, page, hints, h, hear, number, percent, duration, visible } = window.t2ui;

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

  const dot = (colour) => h("i.dot", { style: { "--colour": colour || "var(--t2-base)" } });
  const skeleton = (rows) =>
    h("div.skeleton", { ariaLabel: "loading" }, Array.from({ length: rows }, () => h("i")));
  const message = (text, remedy) =>
    h("div.empty", null, h("p", null, text), remedy ? h("p.remedy", null, remedy) : null);

  /* --- pass one: a bar for each label; a click on another label corrects it ------------------- */

  panels.classification = (host, api) => {
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
    return (value) => {
      host.dataset.state = value.state;
      if (value.state === "waiting") return host.replaceChildren(skeleton(4));
      if (value.state !== "done") return host.replaceChildren(message(value.message, value.remedy));
      const share = value.share === null ? "" : ` · ${percent(value.share)} of the answer`;
      host.replaceChildren(
        h("div.label-rows", null, value.rows.map((row) => bar(row, value))),
        h("p.said", { title: "The model's own words in pass one, right or wrong." },
          "it said ", h("code", null, value.said || "(nothing)")),
        h("p.foot", { title: "How long pass one took, and its share of the whole answer." },
          `${value.method} · ${duration(value.seconds)}${share}`));
    };
  };

  /* --- next token: base beside mixture, follows the sliders live ------------------------------ */

  panels["next-token"] = (host, api) => {
    let running = false;
    let again = false;
    let timer = null;
    let shown = null;
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
      const asked = { prompt: page.prompt, ...page.mixture };
      try {
        shown = JSON.parse(await api.server.next_token(asked));
      } catch {
        shown = { error: "The server could not be reached.", remedy: "Reload the page." };
      }
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
    hear("mixture", anew);
    hear("ready", anew);
    hear("prompt", () => {
      clearTimeout(timer);
      timer = setTimeout(anew, PAUSE_MS);
    });

    const side = (kind, p) =>
      h(`span.pair-bar.${kind}`, null, h("b", { style: { "--w": `${100 * p}%` } }),
        h("em", null, p >= 0.995 ? "1.0" : number(p).replace(/^0/, "")));
    function draw() {
      if (!page.prompt.trim()) {
        return host.replaceChildren(
          message("The likeliest next tokens, base beside mixture, appear here as you type."));
      }
      if (page.failed) return host.replaceChildren(message(page.failed));
      if (!shown) return host.replaceChildren(skeleton(6));
      if (shown.error) return host.replaceChildren(message(shown.error, shown.remedy));
      const rows = shown.rows.map(([text, base, mixture]) =>
        h("div.next-row", { title: `${JSON.stringify(text)}: base ${number(base, 3)}, mixture ${number(mixture, 3)}` },
          h("code", null, visible(text)), side("base", base), side("mix", mixture)));
      host.replaceChildren(
        h("div.next-head", null, h("span"), h("span", null, "base"), h("span", null, "mixture")),
        h("div.next-rows", null, rows),
        h("p.foot", null,
          h("span", { title: "Kullback–Leibler divergence of the mixture's next-token distribution from the base model's: 0 when they agree." },
            `KL ${number(shown.kl)} nats`),
          ` · ${duration(shown.seconds)}`));
    }
    return draw;
  };
})();
