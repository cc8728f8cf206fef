/* The sliders: α of every expert, the strength that multiplies them, and the share left to the base
   model. The panel's value is the single state that everybody moves; a hand moves it here.

   Few experts stand in a fixed order. Of many, those in use come first, the strongest ahead, and the list scrolls; it is
   ordered anew when somebody else than a hand moved them, or once the hand has gone. Presets stand
   as chips as long as all of them fit; otherwise every row has a button for its expert alone. */
"use strict";

(() => {
  const { panels, page, h, fill, number, percent, setMixture, mixColour } = window.t2ui;

  /** What the sliders add up to: the weights that are sent, the same as they act (normalised by
      the worker's rule), and the base model's share. */
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
    const divided = () => Object.fromEntries(Object.entries(weights).map(([name, x]) => [name, x / sum]));
    return divides && !refused
      ? { weights, acts: divided(), share: 0, refused }
      : { weights, acts: weights, share: 1 - sum, refused };
  }

  /** A row's bar from 0 to x, on a scale from `low` to `high`. */
  function bar(element, x, low, high) {
    const place = (v) => `${(100 * (Math.min(high, Math.max(low, v)) - low)) / (high - low)}%`;
    element.style.setProperty("--from", place(Math.min(0, x)));
    element.style.setProperty("--to", place(Math.max(0, x)));
    element.style.setProperty("--zero", place(0));
    element.style.setProperty("--one", place(1));
  }

  const within = (x, low, high) => Math.min(high, Math.max(low, x));

  /** One slider with its number, its reset, and `only`, a button for this expert alone. */
  function row(id, label, options) {
    const { colour, hint, low, high, step, reset, move, only } = options;
    const clamp = (text) => within(Number.parseFloat(text) || 0, low, high);
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
    const back = h("button.quiet.back", {
      type: "button", title: `Back to ${reset}`, ariaLabel: `Reset ${label}`,
      onclick: () => move(reset),
    }, "↺");
    const element = h("div.mix-row", { id, style: { "--colour": colour } },
      h("span.name", { title: hint }, h("i.dot"), h("span", null, label)),
      h("span.slide", null, range), box,
      only && h("button.quiet.only", { type: "button", title: only.hint, ariaLabel: only.hint, onclick: only.act }, "only"),
      back);
    const show = (x) => {
      if (Number(range.value) !== x) range.value = x;
      if (document.activeElement !== box) box.value = x.toFixed(2);
      bar(element, x, low, high);
      back.style.visibility = x === reset ? "hidden" : "";
    };
    return { element, show };
  }

  panels.mixer = (host, api) => {
    const bounds = JSON.parse(host.dataset.bounds); // t2ui/ui/shared/mixture.py
    const rows = new Map();
    const list = h("div.mix-rows", { role: "group", ariaLabel: "Experts" });
    const search = h("input.search", { type: "search", ariaLabel: "Search the experts", oninput: () => arrange(plain()) });
    let built = "";
    let byHand = ""; // the value that a hand on a slider made: the rows stay where they are

    const plain = () => JSON.parse(api.props.value);
    function change(patch, stay = true) {
      const dispatch = document.querySelector("#dispatch-mode input:checked")?.value;
      const note = dispatch && dispatch !== host.dataset.manual ? "You moved a slider: the dispatcher is off now." : plain().note_by_hand || "";
      const before = plain();
      const value = { ...before, set_by: "you", note, note_by_hand: note, moves: (before.moves || 0) + 1, ...patch };
      api.props.value = JSON.stringify(value);
      byHand = stay ? api.props.value : "";
      draw(value);
      api.trigger("input");
    }
    page.setByHand = ({ alpha, strength }) => {
      const there = Object.entries(alpha).filter(([name]) => rows.has(name));
      change({ alpha: Object.fromEntries(there), strength }, false);
    };
    const setAlpha = (name, x) => change({ alpha: { ...plain().alpha, [name]: x } });

    function build(value) {
      rows.clear();
      const presets = new Map(value.presets.filter((one) => one.colour).map((one) => [one.name, one]));
      for (const e of value.experts) {
        const tag = e.kind === "dispatcher" ? " (trained to classify)" : "";
        const alone = presets.get(e.name);
        rows.set(e.name, row(`mix-${e.id}`, e.name, {
          colour: e.colour, low: bounds.low, high: bounds.high, step: 0.01, reset: 0,
          hint: `α of ${e.name}${tag}: 0 is the base model, 1 the expert, below 0 its opposite. ${e.hint}`,
          move: (x) => setAlpha(e.name, x),
          only: { hint: alone.hint, act: () => change({ alpha: { ...alone.alpha } }) },
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
      const note = h("p.note", { role: "status" });
      const searched = value.experts.length >= bounds.search_from;
      search.placeholder = `search ${value.experts.length} experts`;
      search.value = "";
      const chips = chipsOf(value);
      host.classList.toggle("long", value.experts.length > bounds.few);
      host.classList.toggle("searched", searched);
      fill(host, searched && h("div.presets", null, search, chips), list, strength.element, base,
        !searched && h("div.presets", null, chips), h("div.noted", null, note, own.button, own.sheet));
      fold(chips, searched);
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

    /** A preset of the browser's own, which may name experts that are not here. */
    function use(kept) {
      const { zero } = plain();
      const missing = Object.keys(kept.alpha).filter((name) => !Object.hasOwn(zero, name));
      const here = Object.entries(kept.alpha).filter(([name, a]) => Object.hasOwn(zero, name) && Number.isFinite(a));
      const alpha = { ...zero, ...Object.fromEntries(here.map(([name, a]) => [name, within(a, bounds.low, bounds.high)])) };
      const note = missing.length ? `The preset names experts that are not here: ${missing.join(", ")}.` : "";
      change({ alpha, strength: within(kept.strength, 0, bounds.strength), set_by: `preset ${kept.name}`, ...(note && { note }) }, false);
    }
    const own = window.t2ui.keptPresets(plain, use);

    /** The presets, those of one expert in its colour, and the reset. */
    function chipsOf(value) {
      return h("div.chips", { role: "group", ariaLabel: "Presets" }, value.presets.map((p) =>
        h(p.colour ? "button.chip.one" : "button.chip", {
          type: "button", title: p.hint, style: { "--colour": p.colour },
          onclick: () => change({ alpha: { ...p.alpha } }, false),
        }, p.colour ? h("i.dot") : null, p.name)),
      h("button.chip", {
        type: "button", title: "Reset: all sliders to 0, strength to 1.", ariaLabel: "Reset the mixture", id: "mix-reset",
        onclick: () => change({ alpha: { ...value.zero }, strength: 1, set_by: "reset" }, false),
      }, "↺"));
    }

    /** Chips that do not all fit give way to the rows' own buttons. */
    function fold(chips, always) {
      const measure = () => {
        host.classList.remove("folded");
        host.classList.toggle("folded", always || chips.scrollWidth > chips.clientWidth);
      };
      measure();
      if (!always) new ResizeObserver(measure).observe(chips);
    }

    /** Put the rows in their order: of many, those in use first, the strongest ahead, then those that are searched for. */
    function arrange(value) {
      const few = value.experts.length <= bounds.few;
      const wanted = search.value.trim().toLowerCase();
      const says = (e) => [e.name, e.hint, ...e.labels].join(" ").toLowerCase().includes(wanted);
      const size = (e) => Math.abs(value.alpha[e.name]);
      const used = few ? [] : value.experts.filter(size).sort((a, b) => size(b) - size(a));
      const others = value.experts.filter((e) => !used.includes(e));
      const found = others.filter((e) => few || says(e));
      const words = wanted
        ? `${found.length || "none"} of the ${others.length} others found`
        : `${others.length} not in use`;
      const node = (e) => rows.get(e.name).element;
      const nodes = [...used.map(node), ((used.length && others.length) || wanted) && h("p.rest", null, words), ...found.map(node)].filter(Boolean);
      const same = nodes.length === list.childNodes.length
        && nodes.every((one, i) => one === list.childNodes[i] || (!one.id && one.textContent === list.childNodes[i].textContent));
      if (same) return;
      const focused = list.contains(document.activeElement) ? document.activeElement : null;
      fill(list, nodes);
      focused?.focus({ preventScroll: true });
      list.scrollTop = 0;
    }
    /** Once the hand has gone from the card, what it moved comes first too. */
    const settle = () => {
      if (!byHand || host.matches(":hover, :focus-within")) return;
      byHand = "";
      arrange(plain());
    };
    host.addEventListener("mouseleave", settle);
    host.addEventListener("focusout", () => setTimeout(settle));

    let shown = null; // the value that stands there
    function draw(value) {
      shown = value;
      const setBy = document.getElementById("set-by");
      if (setBy) {
        setBy.textContent = value.set_by ? `set by: ${value.set_by}` : "";
        setBy.title = setBy.textContent;
      }
      if (value.experts === null) {
        built = "";
        return fill(host, h("div.skeleton", { ariaLabel: "loading the experts" },
          h("i"), h("i"), h("i"), h("i"), h("i"), h("i")));
      }
      if (!value.experts.length) {
        built = "";
        return fill(host, h("div.empty", null,
          h("p", null, "No experts were found for this model."),
          h("p.remedy", null, value.note || "Put .safetensors files into the experts folder, or train one.")));
      }
      const key = JSON.stringify(value.experts.map((e) => e.name));
      if (key !== built) build(value);
      if (key !== built || api.props.value !== byHand) {
        byHand = "";
        arrange(value);
      }
      built = key;
      for (const e of value.experts) rows.get(e.name).show(value.alpha[e.name] || 0);
      rows.get("").show(value.strength);
      const { weights, acts, share, refused } = effective(value, bounds);
      rows.get("base").show(share);
      rows.get("note").show(
        refused ? "The coefficients nearly cancel, so they cannot be normalised: move one." : value.note || "", refused);
      page.acts = acts;
      page.byHand = value.set_by === "you" ? { alpha: value.alpha, strength: value.strength } : null;
      page.colours = new Map(value.experts.map((e) => [e.name, e.colour]));
      host.closest(".gradio-container")?.style.setProperty("--t2-mix", mixColour(acts));
      setMixture({ weights, normalise: Boolean(value.normalise && !refused), allow_transfer: Boolean(value.allow_transfer) });
    }
    /** What the experts were listed for may be older than the sliders: those stay as they are. */
    return (value) => {
      const stale = value.experts && shown?.experts && (value.moves || 0) < (shown.moves || 0);
      if (stale) {
        const alpha = Object.fromEntries(Object.entries(value.alpha).map(([name, a]) => [name, shown.alpha[name] ?? a]));
        const { strength, set_by, moves } = shown;
        value = { ...value, alpha, strength, set_by, moves };
        api.props.value = JSON.stringify(value);
      }
      draw(value);
    };
  };
})();
