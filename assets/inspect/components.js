/* The Inspect page's components: what each reads and writes in tokens, how active it is on every
   word, what the answer loses without it, and a slider for its z. */
"use strict";

(() => {
  const { panels, page, hints, h, fill, newest, number, quoted } = window.t2ui;
  let filled = { prompt: "", text: "" }; // what the boxes were last filled with

  Object.assign(hints, {
    "#components-prompt": "Each component's reading is shown on these words. Without a prompt components are only named.",
    "#components-text": "How likely this answer is with and without each component. Left empty, the mixture's own first 32 tokens.",
    "#components-by": ["By how much z was turned, or by how much that changes the matrix: σ · |z − 1|.", 5],
    "#components-go": "Of the expert or mixture chosen above, in the matrices and layers chosen there.",
  });

  /** Ask's prompt and its finished answer, unless a hand wrote others here: then nothing, which leaves
      the boxes as they are. What it was called with may be of before another call filled them. */
  window.t2ui.presentAnswer = (prompt, text, asked) => {
    const made = page.adapted?.state === "done" && page.adapted.answered?.prompt === asked;
    const touched = (prompt || "") !== filled.prompt || (text || "") !== filled.text;
    if (touched || !asked) return [];
    filled = { prompt: asked, text: made ? page.adapted.pieces.join("") : "" };
    return [filled.prompt, filled.text];
  };

  const signed = (x) => `${x < 0 ? "−" : "+"}${number(Math.abs(x), Math.abs(x) < 0.1 ? 3 : 2)}`;
  const likelier = (x) => `${number(Math.abs(x), Math.abs(x) < 0.1 ? 3 : 2)} nats ${x < 0 ? "less likely" : "likelier"}`;

  /** The tokens at one end of a direction; faint where random directions reach as far. */
  function end(tokens, chance, unit) {
    return h("span.end", null, tokens.map(([text, score]) => h(score < chance ? "code.faint" : "code", {
      dir: "auto",
      title: `${unit} ${number(score)}; the best token of a random direction stays below ${number(chance)} (95 of 100)${score < chance ? ": no more than chance" : ""}.`,
    }, quoted(text))));
  }

  /** What a component reads or writes: tokens at both ends, or what it is joined to instead. */
  function side(verb, value, unit) {
    const named = value.along.length > 0;
    return h("div.side", null, h("b", null, verb),
      named ? h("div.ends", null,
        h("div", { title: "One end of the direction." }, h("i", null, "+"), end(value.along, value.chance, unit)),
        h("div", { title: "The other end: what reads here writes at this end too." }, h("i", null, "−"), end(value.against, value.chance, unit)))
      : h("span.nothing", { title: "No tokens stand there, so none are named." }, value.what));
  }

  function activity(value, part) {
    if (!part.activity.length) return null;
    const most = Math.max(...part.activity.map(Math.abs), 1e-9);
    const token = (text, i) => {
      const reading = part.activity[i];
      const share = Math.round((62 * Math.abs(reading)) / most);
      const colour = reading < 0 ? "var(--t2-down)" : "var(--t2-up)";
      return h("span.word", {
        title: `v · x = ${number(reading)} at ${quoted(text)}`,
        style: { background: `color-mix(in srgb, ${colour} ${share}%, transparent)` },
      }, text);
    };
    const words = value.tokens.map(token);
    return h("p.words", { dir: "auto", tabIndex: 0, ariaLabel: `How strongly each word is read, from −${number(most)} to ${number(most)}` },
      words.slice(0, value.prompt_tokens), h("span.turn", { title: "From here on the answer." }, " ▸ "), words.slice(value.prompt_tokens));
  }

  function effect(part, most) {
    if (part.off === null) return null;
    const half = `${(50 * Math.abs(part.off)) / most}%`;
    const left = part.off < 0;
    return h("div.effect", { title: `With z of this one component back at 1, the answer is ${likelier(part.off)}. To the left (blue): the answer needs it.` },
      h("span", null, "switched off"),
      h("span.track", null, h(left ? "b.down" : "b.up", { style: { width: half, left: left ? `calc(50% - ${half})` : "50%" } })),
      h("em", null, signed(part.off)));
  }

  panels.parts = (host, api) => {
    const send = newest(api);
    const list = h("div.part-list", { role: "list" });
    const what = h("p.drawn", { role: "status" });
    const note = h("p.foot");
    const cover = h("div.cover-text");
    host.replaceChildren(what, list, note, cover);
    let stamp = null;
    let told = [];

    /** A slider from which the answer's likelihood is asked for when it is let go. */
    function slider(value, part, place) {
      if (part.off === null) return null;
      const said = h("em.tried", { role: "status" });
      const at = h("output", null, number(part.z));
      const box = h("input", {
        type: "range", min: Math.min(value.bounds[0], part.z), max: Math.max(value.bounds[1], part.z), step: 0.01, value: part.z,
        ariaLabel: `z of ${part.title}`, title: "z of this one component: 1 is the base model's. The answer above is scored again.",
        oninput: () => (at.textContent = number(Number(box.value))),
        onchange: () => {
          said.textContent = "…";
          send("apply", { part: place, z: Number(box.value) });
        },
      });
      told[place] = (tried) => {
        if (tried) said.textContent = `z ${number(tried.z)}: the answer is ${likelier(tried.shift)}`;
      };
      return h("label.try", null, h("span", null, "z"), box, at, said);
    }

    function item(value, part, place, most) {
      return h("article.part", { role: "listitem" },
        h("header", null, h("b", null, part.title), h(`span.${part.turned || "same"}`, null, part.words),
          h("span.sigma", { title: "The singular value: how strongly the component writes what it reads." }, `σ ${number(part.sigma)}`),
          part.shared ? h("span.shared", { title: part.shared, tabIndex: 0 }, "direction not unique") : null),
        h("div.names", null,
          side("reads", part.reads, "Cosine with the token's embedding, behind the norm of its block:"),
          side("writes", part.writes, "Added to the token's logit by the direction alone, through the last norm and the head:")),
        activity(value, part), effect(part, most), slider(value, part, place));
    }

    return (value) => {
      host.dataset.state = value.state;
      const done = value.state === "done";
      cover.hidden = done;
      for (const node of [what, list, note]) node.hidden = !done;
      const side = document.getElementById("components-side");
      if (side) side.textContent = done && value.text_tokens ? `scope ${value.scope} · answer of ${value.text_tokens} tokens` : "";
      if (!done) {
        stamp = null;
        fill(list);
        fill(cover, value.state === "waiting" ? h("div.skeleton", null, h("i"), h("i"), h("i")) : null,
          h("p", { role: value.state === "failed" ? "alert" : null }, value.message), value.remedy ? h("p.remedy", null, value.remedy) : null);
        return;
      }
      if (value.stamp !== stamp) { // else only a slider was answered: the hand stays where it is
        stamp = value.stamp;
        told = [];
        const most = Math.max(...value.parts.map((part) => Math.abs(part.off || 0)), 1e-6);
        what.textContent = value.what;
        fill(list, value.parts.map((part, place) => item(value, part, place, most)));
        note.textContent = (value.adapted === null ? "Give a prompt to test them. "
          : `“${value.text.slice(0, 70)}${value.text.length > 70 ? " …" : ""}”: ${number(value.adapted)} nats with all of them, ${number(value.base)} under the base model; the longest bar is ${number(most, 3)} nats. `)
          + "Faint tokens lie no further along than those of random directions."
          + (value.rounds ? " The model runs in 16 bits: effects below about 0.1 nats are rounding." : "");
      }
      value.parts.forEach((part, place) => told[place]?.(part.tried));
    };
  };
})();
