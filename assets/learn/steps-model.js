/* Learn, steps 4 to 6: a matrix of the model, an expert, and the two passes. What they show comes
   from the worker, by t2ui/ui/learn. */
"use strict";

(() => {
  const { page, h, fill, number, percent, quoted } = window.t2ui;
  const { svd, captured, draw, formula, slider, knob, picture, makers, tab } = window.t2ui.learn;
  const NEEDS = "This step shows the model that runs here, and it is still loading: it appears by itself. Steps 1 to 3 need no model.";
  const KNOBS = 16; // of one matrix that are shown
  const KINDS = ["math", "code", "reasoning"]; // that pass one is asked about
  const MOST_LABELS = 5; // of pass one, the likeliest

  const short = (module) => module.replace(/_proj$/, "");
  const shown = { matrix: null, layer: null, module: null, expert: null }; // of steps 4 and 5 together

  /** A picture that has to wait for the worker: {element, wait, fail, show}. */
  function awaited(content, again) {
    const cover = h("div.cover-text", { role: "status" });
    const element = h("div.awaited", null, content, cover);
    const say = (...nodes) => {
      content.hidden = true;
      cover.hidden = false;
      fill(cover, nodes);
    };
    say(h("p", null, NEEDS));
    return {
      element,
      wait: (text = NEEDS) => say(h("div.skeleton", null, h("i"), h("i"), h("i")), h("p", null, text)),
      say: (text) => say(h("p", null, text)),
      fail: (text, remedy) => say(h("p", null, text), h("p.remedy", null, remedy),
        h("button.chip", { type: "button", onclick: again }, "try again")),
      show: () => {
        content.hidden = false;
        cover.hidden = true;
      },
    };
  }

  /** What steps 4 and 5 share: the matrix that is looked at, asked for when it is not there yet. */
  function matrixSource(kit, drawn) {
    const choose = (label, id, act) => {
      const select = h("select", { id, onchange: () => {
        act(select.value);
        ask();
      } });
      return { select, node: h("label.choice", null, h("span", null, label), select) };
    };
    const layer = choose("layer", `${id()}-layer`, (value) => (shown.layer = Number(value)));
    const module = choose("matrix", `${id()}-module`, (value) => (shown.module = value));
    const expert = choose("expert", `${id()}-expert`, (value) => (shown.expert = value));
    function id() {
      return `learn-${drawn.name}`;
    }
    const options = (select, values, words, value) => {
      fill(select, values.map((one) => h("option", { value: one }, words(one))));
      select.value = value;
    };
    const frame = awaited(drawn.content, () => ask());
    let locked = true; // until the question is answered
    function ask() {
      frame.wait("Reading the matrix …");
      kit.ask("select", { layer: shown.layer, module: shown.module, expert: shown.expert });
    }
    function took(kind, data) {
      if (kind !== "matrix") return;
      if (data.state === "failed") return frame.fail(data.message, data.remedy);
      Object.assign(shown, { matrix: data, layer: data.layer, module: data.module, expert: data.expert });
      options(layer.select, [...Array(data.layers).keys()], String, data.layer);
      options(module.select, data.modules, short, data.module);
      options(expert.select, data.experts.map((one) => one.name), String, data.expert);
      frame.show();
      drawn.draw(data);
      drawn.knob.lock(locked);
    }
    return {
      frame,
      lock: (on) => {
        locked = on;
        drawn.knob.lock(on || !shown.matrix); // nothing to move before it is there
      },
      layer: layer.node,
      module: module.node,
      expert: expert.node,
      took,
      shown: () => {
        if (page.failed) return frame.fail(page.failed, "See the state at the top right.");
        if (!page.ready) return frame.wait();
        if (shown.matrix) took("matrix", shown.matrix);
        else ask();
      },
    };
  }

  /* --- 4: a matrix of the model ---------------------------------------------------------------- */

  function spectrum(kit) {
    const [WIDTH, HEIGHT] = [620, 270];
    const inside = draw("path", { class: "held" });
    const outside = draw("path", { class: "rest" });
    const other = draw("path", { class: "other", fill: "none" });
    const first = draw("text", { x: 70, y: 12 });
    const last = draw("text", { x: WIDTH - 4, y: HEIGHT + 22, "text-anchor": "end" });
    const svg = draw("svg", { viewBox: `0 -4 ${WIDTH} ${HEIGHT + 32}`, class: "spectrum", role: "img", "aria-label": "The singular values of the matrix, largest first." },
      outside, inside, other, first, draw("text", { x: 4, y: HEIGHT + 22 }, "component 1"), last);
    const legend = h("p.small", null, "bars: singular values s of this matrix, largest first; the area is Σs · grey line: those of the picture of step 3, drawn to the same size");
    const of = svd(picture()).s; // what it is compared with
    const ofPicture = captured(of).findIndex((share) => share >= 0.5) + 1;
    let data = null;
    let k = 1;
    const values = h("output.values");
    const keep = slider({
      id: "learn-held", label: "the first k components", low: 1, high: 100, step: 1, value: 1, words: (x) => `k = ${x}`,
      move: (x) => {
        k = x;
        show();
        kit.light("s");
        if (data && data.captured[k - 1] >= 0.5) kit.reveal();
      },
    });
    const half = () => data.captured.findIndex((share) => share >= 0.5) + 1;
    const bars = (from, to) => {
      const [r, top] = [data.sigma.length, data.sigma[0]];
      const x = (i) => ((WIDTH * i) / r).toFixed(1);
      const y = (i) => (HEIGHT * (1 - data.sigma[i] / top)).toFixed(1);
      const points = [];
      for (let i = from; i < to; i++) points.push(`L${x(i)} ${y(i)}L${x(i + 1)} ${y(i)}`);
      return to > from ? `M${x(from)} ${HEIGHT}${points.join("")}L${x(to)} ${HEIGHT}Z` : "";
    };
    function show() {
      inside.setAttribute("d", bars(0, k));
      outside.setAttribute("d", bars(k, data.sigma.length));
      values.textContent = `the first ${k === 1 ? "component holds" : `${k} components hold`} ${percent(data.captured[k - 1])} of Σs`;
    }
    const source = matrixSource(kit, { name: "matrix", knob: keep, content: h("div.spectrum-box", null, svg, legend), draw: (found) => {
      const changed = data?.name !== found.name;
      data = found;
      const r = data.sigma.length;
      if (changed) k = Math.min(k, r);
      keep.limit(r);
      keep.set(k);
      other.setAttribute("d", of.map((one, i) => `${i ? "L" : "M"}${((WIDTH * i) / (of.length - 1)).toFixed(1)} ${(HEIGHT * (1 - one / of[0])).toFixed(1)}`).join(""));
      first.textContent = `s of component 1: ${number(data.sigma[0])}`;
      last.textContent = `component ${r}`;
      svg.setAttribute("aria-label", `The singular values of ${found.name}, largest first, from ${number(data.sigma[0])} to ${number(data.sigma[r - 1])}.`);
      where.textContent = `${found.model}: layer ${found.layer}, ${short(found.module)}, ${found.shape[0]} × ${found.shape[1]}, ${r} singular values from ${number(data.sigma[0])} down to ${number(data.sigma[r - 1])}`;
      show();
    } });
    const where = h("p.small");
    // as many as in the picture, a tenth, or more than that
    const right = () => (!data ? 1 : half() <= 0.03 * data.sigma.length ? 0 : half() <= 0.2 * data.sigma.length ? 1 : 2);
    return {
      lead: [h("p", null, "This is a weight matrix of the model that runs here. Its singular values are too many for one knob each on the screen, but they are just the same: W is the sum of its components, each as strong as its s."), where],
      formula: formula("W = Σ_i_ {s|s_i_} u_i_ v_i_ᵀ"),
      picture: source.frame.element,
      controls: [h("div.choices", null, source.layer, source.module), keep.element, values],
      question: {
        text: `${ofPicture === 1 ? "The first component" : `The first ${ofPicture} components`} of ${of.length} held half of the picture's Σs. How many does this matrix need for half?`,
        options: ["about 1 in 100, as few", "about 1 in 10", "more than 1 in 5"],
        right,
        said: () => `${half()} of ${data.sigma.length}, which is ${percent(half() / data.sigma.length)}. ${right() === 2 ? "A trained matrix spreads what it knows over nearly all of its components; none can be thrown away. So SVF keeps them all, and turns each one a little." : "Few components hold much here. SVF keeps the others all the same, and turns each one a little."} Other matrices are in the lists under the picture.`,
      },
      lock: source.lock,
      shown: source.shown,
      took: source.took,
    };
  }

  /* --- 5: an expert ---------------------------------------------------------------------------- */

  function expertStep(kit) {
    const [WIDTH, HEIGHT] = [620, 110];
    const up = draw("path", { class: "up" });
    const down = draw("path", { class: "down" });
    const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "changes-strip", role: "img", "aria-label": "z − 1 of every component of the matrix." },
      draw("path", { class: "axes", d: `M0 ${HEIGHT / 2}H${WIDTH}` }), up, down);
    const row = h("div.rack");
    const caption = h("p.small");
    const where = h("p.small");
    const values = h("output.values");
    let data = null;
    let alpha = 1;
    let dials = [];
    let asked = null; // {place, z}: the knob that the question is about
    const strength = slider({
      id: "learn-alpha", label: "strength α", low: -1, high: 2, step: 0.05, value: 1, words: (x) => `α = ${number(x)}`,
      move: (x) => {
        alpha = x;
        show();
        kit.light("alpha");
        if (x > 1.999) kit.reveal();
      },
    });
    const z = (i) => 1 + alpha * (data.z[i] - 1);
    function show() {
      dials.forEach((dial, i) => dial.set(z(i)));
      const limit = 2 * Math.max(...data.z.map((one) => Math.abs(one - 1)), 1e-6);
      const x = (i) => ((WIDTH * i) / data.z.length).toFixed(1);
      const bar = (i) => `M${x(i)} ${HEIGHT / 2}V${((HEIGHT / 2) * (1 - (z(i) - 1) / limit)).toFixed(1)}H${x(i + 1)}V${HEIGHT / 2}Z`;
      const all = data.z.map((_, i) => i);
      up.setAttribute("d", all.filter((i) => z(i) > 1).map(bar).join(""));
      down.setAttribute("d", all.filter((i) => z(i) < 1).map(bar).join(""));
      const mean = all.reduce((sum, i) => sum + Math.abs(z(i) - 1), 0) / all.length;
      values.textContent = alpha === 0 ? "every knob straight up: exactly the base model"
        : `on average a knob of this matrix is turned by ${percent(mean)}`;
      caption.textContent = `all ${data.z.length} knobs of this matrix: red is turned up, blue is turned down; the strip's edges are ±${number(limit, 2)}`;
    }
    const source = matrixSource(kit, { name: "expert", knob: strength, content: h("div.expert-box", null, row, svg, caption), draw: (found) => {
      data = found;
      const count = Math.min(KNOBS, data.z.length);
      const limit = 2 * Math.max(...data.z.slice(0, count).map((one) => Math.abs(one - 1)), 0.001);
      const own = data.experts.find((one) => one.name === data.expert);
      dials = Array.from({ length: count }, (_, i) => knob({
        id: `learn-knob-${i + 1}`, label: `z of component ${i + 1}`, short: `z${i + 1}`, colour: own.colour, low: 1 - limit, high: 1 + limit, value: 1, small: true,
      }));
      fill(row, dials.map((dial) => dial.element));
      where.textContent = `The ${own.name} expert: ${own.parameters.toLocaleString("en")} such numbers in ${own.matrices} matrices, a file of ${number(own.bytes / 1e6, 1)} MB. Here: layer ${data.layer}, ${short(data.module)}. A knob's whole turn is ±${number(limit, 2)}.`;
      if (!asked) {
        const place = data.z.slice(0, count).reduce((best, one, i) => (Math.abs(one - 1) > Math.abs(data.z[best] - 1) ? i : best), 0);
        asked = { place, z: data.z[place] };
        options();
      }
      show();
    } });
    const text = h("span", null, "The strength α goes from 1 to 2. What becomes of a knob?");
    const labels = ["it is doubled", "its distance from 1 is doubled", "1 is added to it"].map((one) => h("span", null, one));
    function options() {
      const { place, z: at } = asked;
      fill(text, `At α = 1, knob z${place + 1} stands at ${number(at, 3)}. Where is it at α = 2?`);
      [2 * at, 1 + 2 * (at - 1), at + 1].forEach((one, i) => fill(labels[i], `at ${number(one, 3)}`));
    }
    return {
      lead: [h("p", null, "An expert is a row of such knobs for every matrix: one z for each singular value, found by training. α turns all of them together, away from 1 and back: a mixture of experts adds what each α asks for."), where],
      formula: formula("z′ = 1 + {alpha|α} ({z} − 1),   W′ = U diag(s z′) Vh"),
      picture: source.frame.element,
      controls: [h("div.choices", null, source.expert, source.layer, source.module), strength.element, values],
      question: {
        text,
        options: labels,
        right: () => 1,
        said: () => `At ${number(1 + 2 * (asked.z - 1), 3)}: α doubles how far the knob is from 1. At α = 0 every knob is straight up, and the model is the base model, bit for bit; below 0 each one is turned the other way. On Ask, the sliders are these α.`,
      },
      lock: source.lock,
      shown: source.shown,
      took: source.took,
    };
  }

  /* --- 6: two passes --------------------------------------------------------------------------- */

  function passes(kit) {
    const prompts = JSON.parse(document.querySelector(".t2-learn").dataset.prompts); // t2ui/ui/learn
    let prompt = 0;
    let data = null;
    let chosen = ""; // for the first prompt, which the question is about
    let answered = false;
    const text = h("blockquote");
    const bars = h("div.pass-bars");
    const note = h("p.small");
    const rack = h("div.rack");
    const box = (name, ...inside) => h("div.pass", null, h("h3", null, name), inside);
    const reading = awaited(h("div", null, bars, note), () => run());
    const go = h("button.chip.next", { type: "button", onclick: () => kit.ask("submit", { prompt }) }, "Ask it ▸");
    const chips = prompts.map((one, i) => h("button.chip", { type: "button", ariaPressed: "false", onclick: () => choose(i) }, one.name));
    function choose(i) {
      prompt = i;
      data = null;
      chips.forEach((chip, at) => (chip.ariaPressed = String(at === i)));
      fill(text, prompts[i].text);
      run();
    }
    function run() {
      if (page.failed) return reading.fail(page.failed, "See the state at the top right.");
      if (!page.ready) return reading.wait();
      fill(rack);
      if (!answered) return reading.say("Answer the question first: then pass one reads the prompt.");
      reading.wait("Pass one reads the prompt …");
      kit.ask("apply", { prompt });
    }
    function took(kind, found) {
      if (kind !== "pass one" || found.place !== prompt) return;
      if (found.state !== "done") return reading.fail(found.message, found.remedy);
      data = found;
      const likely = [...data.rows].sort((a, b) => b.p - a.p).slice(0, MOST_LABELS);
      reading.show();
      fill(bars, likely.map((row) => h("div.pass-row", { style: { "--colour": row.colour } },
        h("span", null, row.label), h("span.track", null, h("b", { style: { "--w": `${100 * row.p}%` } })), h("em", null, number(row.p)))));
      note.textContent = `by the ${data.method}, in ${number(data.seconds, 2)} s; it said ${quoted(data.said)}`;
      fill(rack, likely.filter((row) => row.expert).map((row) => {
        const dial = knob({ id: `learn-alpha-${row.label}`, label: row.expert, colour: row.colour, low: -1, high: 1, middle: 0, value: row.label === data.chosen ? 1 : 0, small: true });
        return dial.element;
      }));
      kit.light("alpha");
      if (prompt === 0) chosen = `${data.chosen} with a probability of ${number(data.rows.find((row) => row.label === data.chosen).p)}`;
      if (chosen) kit.reveal();
    }
    return {
      lead: [h("p", null, "Transformer² answers in two passes. In the first the model only reads the prompt and says which kind it is. That sets α, the knobs are turned, and in the second pass the adapted model answers.")],
      formula: h("div", null, formula("prompt → p(kind) → {alpha|α}"), formula("z′ = 1 + Σ_k_ {alpha|α_k_} (z_k_ − 1)")),
      picture: h("div.passes", null,
        box("The prompt", h("div.chips", { role: "group", ariaLabel: "Prompts" }, chips), text),
        box("Pass one: which kind is it?", reading.element),
        box("The mixture: one α per expert", rack),
        box("Pass two: the adapted model answers", h("p.small", null, "The prompt goes to Ask, where base and adapted model answer side by side."), go)),
      controls: [],
      question: {
        text: `Pass one reads: “${prompts[0].text}” Which expert will it choose?`,
        options: [...KINDS, "another one, or none"],
        right: () => {
          const place = KINDS.indexOf(chosen.split(" ")[0]);
          return place < 0 ? KINDS.length : place;
        },
        said: () => `It chose ${chosen}. Now try the other prompts; then press “Ask it”, and see what the mixture makes of the answer.`,
      },
      lock: (on) => {
        answered = !on;
        if (!on && !data) run();
      },
      shown: () => {
        if (!text.textContent) choose(0);
        else if (!data) run();
      },
      took,
    };
  }

  makers.push(
    { name: "Matrix", title: "A matrix of the model", make: spectrum },
    { name: "Expert", title: "An expert is a row of knobs", make: expertStep },
    { name: "Two passes", title: "Two passes: read, then answer", make: passes },
  );

  /** On Ask, with the prompt that Learn has prepared: only the press on Ask is left. */
  window.t2ui.openAsk = () => {
    tab("Ask")?.click();
    setTimeout(() => document.getElementById("ask")?.focus());
  };
})();
