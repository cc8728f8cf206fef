/* The sliders: α of every expert, the strength that multiplies them, and the share left to the base
   model. The panel's value is the single state that everybody moves; a hand moves it here. */
"use strict";

(() => {
  const { panels, h, number, percent, setMixture } = window.t2ui;

  /** What the sliders add up to: the weights that answer, and the base model's share. What
      normalising does to the weights is the worker's business; here it leaves the base no share. */
  function effective(value, bounds) {
    const weights = {};
    for (const [name, a] of Object.entries(value.alpha)) {
      const x = Number((a * value.strength).toFixed(bounds.decimals));
      if (x !== 0) weights[name] = x;
    }
    const sizes = Object.values(weights);
    const sum = sizes.reduce((a, b) => a + b, 0);
    const divides = value.normalise && sizes.length > 0;
    const largest = Math.max(0, ...sizes.map(Math.abs));
    const refused = divides && (Math.abs(sum) < bounds.least_sum || largest > bounds.limit * Math.abs(sum));
    return { weights, share: divides && !refused ? 0 : 1 - sum, refused };
  }

  /** A row's bar from 0 to x, on a scale from `low` to `high`. */
  function bar(element, x, low, high) {
    const place = (v) => `${(100 * (Math.min(high, Math.max(low, v)) - low)) / (high - low)}%`;
    element.style.setProperty("--from", place(Math.min(0, x)));
    element.style.setProperty("--to", place(Math.max(0, x)));
    element.style.setProperty("--zero", place(0));
    element.style.setProperty("--one", place(1));
  }

  panels.mixer = (host, api) => {
    const bounds = JSON.parse(host.dataset.bounds); // t2ui/ui/shared/mixture.py
    const rows = new Map();
    let built = "";

    const plain = () => JSON.parse(api.props.value);
    function change(patch) {
      const dispatch = document.querySelector("#dispatch-mode input:checked")?.value;
      const note = dispatch && dispatch !== host.dataset.manual ? "You moved a slider: the dispatcher is off now." : plain().note_by_hand || "";
      const value = { ...plain(), set_by: "you", note, note_by_hand: note, ...patch };
      api.props.value = JSON.stringify(value);
      draw(value);
      api.trigger("input");
    }
    const setAlpha = (name, x) => change({ alpha: { ...plain().alpha, [name]: x } });

    function row(id, label, options) {
      const { colour, hint, low, high, step, reset, move } = options;
      const clamp = (text) => Math.min(high, Math.max(low, Number.parseFloat(text) || 0));
      const range = h("input", {
        type: "range", min: low, max: high, step, ariaLabel: label,
        oninput: () => move(Number(range.value)),
        ondblclick: () => move(reset),
      });
      const box = h("input.number", {
        type: "number", min: low, max: high, step: 0.05, ariaLabel: `${label}, as a number`,
        onchange: () => {
          const x = clamp(box.value);
          box.value = x.toFixed(2); // `show` leaves a box alone while it has the focus
          move(x);
        },
      });
      const back = h("button.quiet", {
        type: "button", title: `Back to ${reset}`, ariaLabel: `Reset ${label}`,
        onclick: () => move(reset),
      }, "↺");
      const element = h("div.mix-row", { id, style: { "--colour": colour } },
        h("span.name", { title: hint }, h("i.dot"), h("span", null, label)),
        h("span.slide", null, range), box, back);
      const show = (x) => {
        if (Number(range.value) !== x) range.value = x;
        if (document.activeElement !== box) box.value = x.toFixed(2);
        bar(element, x, low, high);
        back.style.visibility = x === reset ? "hidden" : "";
      };
      return { element, show };
    }

    function build(value) {
      rows.clear();
      for (const e of value.experts) {
        const tag = e.kind === "dispatcher" ? " (trained to classify)" : "";
        rows.set(e.name, row(`mix-${e.id}`, e.name, {
          colour: e.colour, low: bounds.low, high: bounds.high, step: 0.01, reset: 0,
          hint: `α of ${e.name}${tag}: 0 is the base model, 1 the expert, below 0 its opposite. ${e.hint}`,
          move: (x) => setAlpha(e.name, x),
        }));
      }
      const strength = row("strength", "strength ×", {
        colour: "var(--t2-ink)", low: 0, high: bounds.strength, step: 0.01, reset: 1,
        hint: "Multiplies every α at once.", move: (x) => change({ strength: x }),
      });
      rows.set("", strength);
      const share = h("b");
      const shareText = h("span.value");
      const base = h("div.mix-row.base-share", {
        title: "What is left to the base model: 1 − Σα. Below 0 % the experts together go beyond 1.",
      }, h("span.name", null, h("i.dot"), "base share"), h("span.slide", null, share), shareText);
      const presets = h("div.presets", { role: "group", ariaLabel: "Presets" },
        h("div.chips", null, value.presets.map((p) =>
          h("button.chip", {
            type: "button", title: p.hint, style: { "--colour": p.colour },
            onclick: () => change({ alpha: { ...p.alpha } }),
          }, p.colour ? h("i.dot") : null, p.name))),
        h("button.chip", {
          type: "button", title: "Reset: all sliders to 0, strength to 1.", ariaLabel: "Reset the mixture", id: "mix-reset",
          onclick: () => change({ alpha: { ...value.zero }, strength: 1, set_by: "reset" }),
        }, "↺"));
      const note = h("p.note", { role: "status" });
      const experts = value.experts.map((e) => rows.get(e.name).element);
      host.replaceChildren(h("div.mix-rows", null, experts), strength.element, base, presets, note);
      rows.set("base", {
        show: (x) => {
          bar(base, x, bounds.low, bounds.high);
          shareText.textContent = percent(x);
          base.dataset.share = x.toFixed(4);
        },
      });
      rows.set("note", {
        show: (text, bad) => {
          note.textContent = text;
          note.title = text;
          note.classList.toggle("bad", bad);
        },
      });
    }

    function draw(value) {
      const setBy = document.getElementById("set-by");
      if (setBy) {
        setBy.textContent = value.set_by ? `set by: ${value.set_by}` : "";
        setBy.title = setBy.textContent;
      }
      if (value.experts === null) {
        built = "";
        return host.replaceChildren(h("div.skeleton", { ariaLabel: "loading the experts" },
          h("i"), h("i"), h("i"), h("i"), h("i"), h("i")));
      }
      if (!value.experts.length) {
        built = "";
        return host.replaceChildren(h("div.empty", null,
          h("p", null, "No experts were found for this model."),
          h("p.remedy", null, value.note || "Put .safetensors files into the experts folder, or train one.")));
      }
      const key = JSON.stringify(value.experts.map((e) => e.name));
      if (key !== built) build(value);
      built = key;
      for (const e of value.experts) rows.get(e.name).show(value.alpha[e.name] || 0);
      rows.get("").show(value.strength);
      const { weights, share, refused } = effective(value, bounds);
      rows.get("base").show(share);
      rows.get("note").show(
        refused ? "The coefficients nearly cancel, so they cannot be normalised: move one." : value.note || "", refused);
      host.closest(".gradio-container")?.style.setProperty("--t2-mix", mixColour(value, weights));
      setMixture({ weights, normalise: Boolean(value.normalise && !refused), allow_transfer: Boolean(value.allow_transfer) });
    }

    /** The colour that stands for the mixture: that of its largest weight, grey for none. */
    function mixColour(value, weights) {
      const [name] = Object.entries(weights).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]))[0] || [];
      return value.experts.find((e) => e.name === name)?.colour || "var(--t2-base)";
    }
    return draw;
  };
})();
