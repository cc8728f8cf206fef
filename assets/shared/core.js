/* The page's small library: builds elements, mounts panels, shows tooltips, keeps the mixture that
   the sliders show. Panels are plain functions (host, api) -> draw(value), one per kind; pages
   register theirs in `panels`, and hints on what Gradio draws in `hints`. Text from people and models only ever goes through textContent. */
"use strict";

window.t2ui = (() => {
  const panels = {};
  const hints = {}; // selector of what Gradio draws -> a line for whoever points at it
  const page = { prompt: "", mixture: { weights: {} }, ready: false, stopped: "", stopsNext: false };

  /** An element: h("div.card", {title: "…", onclick: f, style: {...}}, child, "text", null). */
  function h(spec, props, ...children) {
    const [tag, ...classes] = spec.split(".");
    const node = document.createElement(tag || "div");
    if (classes.length) node.className = classes.join(" ");
    for (const [key, value] of Object.entries(props || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "style") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
      else if (key === "data") Object.assign(node.dataset, value);
      else if (key in node && key !== "list" && key !== "popover") node[key] = value;
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...given(children));
    return node;
  }

  const given = (children) => children.flat(2).filter((c) => c !== null && c !== undefined && c !== false);

  /** Put these children in place of all that a node had; as in `h`, null is none. */
  const fill = (node, ...children) => node.replaceChildren(...given(children));

  /** Called by every panel's js_on_load. */
  function mount(kind, element, api) {
    const host = element.querySelector(".t2");
    if (!host || !panels[kind]) throw new Error(`no panel of kind ${kind}`);
    const draw = panels[kind](host, api);
    const redraw = () => {
      draw(JSON.parse(api.props.value));
      host.dataset.ready = Number(host.dataset.ready || 0) + 1;
    };
    api.watch("value", redraw);
    redraw();
  }

  /** `api.trigger` for events of which the first and the newest are answered (trigger_mode
      "always_last"): for the newest Gradio sends the data object of the first again, so that all
      of one event share an object, which holds the newest. */
  function newest(api) {
    const held = {}; // by event
    return (event, data) => {
      const one = (held[event] ??= {});
      for (const key of Object.keys(one)) delete one[key];
      api.trigger(event, Object.assign(one, data));
    };
  }

  /** Sends an event for each thing, one after the other: Gradio forgets one that comes while the same
      one runs. Python's event calls `t2ui[ended]` when it is through, by `then`.
      @param moved  called before one is sent, and when the last one is through */
  function inTurn(api, event, ended, moved = () => {}) {
    const waiting = []; // the first is on its way
    let repeat = false; // what is said of the first, until it is through
    let unwanted = false;
    const send = () => {
      moved();
      api.trigger(event, waiting[0]);
    };
    window.t2ui[ended] = () => {
      if (!repeat) waiting.shift();
      repeat = unwanted = false;
      if (waiting.length) send();
      else moved();
    };
    return {
      add(what) {
        waiting.push(what);
        if (waiting.length === 1) send();
      },
      again() { repeat = true; }, // the one on its way, once more
      drop() { // all of them; the one on its way ends without being wanted
        waiting.splice(1);
        repeat = false;
        unwanted = waiting.length > 0;
      },
      underway: () => waiting[0],
      unwanted: () => unwanted,
    };
  }

  /** A panel's value (JSON text) with a change. */
  const edit = (text, change) => JSON.stringify(change(JSON.parse(text)));

  const say = (name) => document.dispatchEvent(new CustomEvent(`t2ui:${name}`));
  const hear = (name, callback) => document.addEventListener(`t2ui:${name}`, callback);

  function setPrompt(text) {
    if (text === page.prompt) return;
    page.prompt = text || "";
    say("prompt");
  }

  /** The mixture on the sliders: {weights, normalise, allow_transfer}. */
  function setMixture(mixture) {
    const same = JSON.stringify(mixture) === JSON.stringify(page.mixture);
    page.mixture = mixture;
    if (!same) say("mixture");
  }

  /** A button "to the sliders" says that they have it, until another one does or a hand moves them. */
  let put = null;
  function putOnSliders(button) {
    takeOff();
    put = { button, words: button.textContent };
    button.textContent = "on the sliders";
  }
  function takeOff() {
    if (put) put.button.textContent = put.words;
    put = null;
  }
  document.addEventListener("input", (event) => {
    if (event.target.closest?.("#mixer")) takeOff();
  });

  /** Which values are of a run that was stopped, where they name their run: those that come late,
      and those of a run that was stopped before its first one came.
      @param start, stop  selectors of the buttons */
  function stops(start, stop) {
    const stopped = new Set();
    let last = ""; // the run that is under way, as far as is known
    let asked = false; // for a run that has not said anything yet
    let early = false; // and that was stopped
    document.addEventListener("click", ({ target }) => {
      if (target.closest(start)) [asked, early] = [true, false];
      else if (target.closest(stop) && last) stopped.add(last);
      else if (target.closest(stop)) early = asked;
    }, true);
    return (run, running) => {
      if (running && run !== last && !stopped.has(run)) {
        if (early) stopped.add(run);
        [asked, early] = [false, false];
      }
      if (!stopped.has(run)) last = running ? run : "";
      return stopped.has(run);
    };
  }

  /* --- numbers ------------------------------------------------------------------------------- */

  const number = (x, digits = 2) => x === null ? "–" : (x < 0 ? "−" : "") + Math.abs(x).toFixed(digits);
  const percent = (p) => {
    const value = 100 * p;
    const text = Math.abs(value) >= 10 || value === 0 ? value.toFixed(0) : value.toFixed(1);
    return `${text.replace("-", "−")} %`;
  };
  const duration = (s) => (s < 1 ? `${Math.round(1000 * s)} ms` : `${s.toFixed(1)} s`);
  /** A token between quotes, with what would not be seen made visible. */
  const SIGNS = { " ": "·", "\n": "⏎", "\r": "␍", "\t": "⇥" };
  const hidden = /[\s\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
  const code = (sign) => `⟨U+${sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
  const quoted = (text) => `“${text.replace(hidden, (sign) => SIGNS[sign] || code(sign))}”`;

  /* --- one tooltip for everything ------------------------------------------------------------ */

  let tip = null;
  let tipAnchor = null;
  let tipTop = 0;
  function showTip(anchor, content) {
    hideTip();
    tip = h("div.t2-tip", { role: "tooltip" }, content);
    document.body.append(tip);
    const a = anchor.getBoundingClientRect();
    tipAnchor = anchor;
    tipTop = a.top;
    const t = tip.getBoundingClientRect();
    const left = Math.max(8, Math.min(a.left + a.width / 2 - t.width / 2, innerWidth - t.width - 8));
    const above = a.top - t.height - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 8 ? above : Math.min(a.bottom + 8, innerHeight - t.height - 8)}px`;
  }
  function hideTip() {
    const old = tip;
    tip = null; // first: what has the focus in it is told that it goes
    old?.remove();
  }
  addEventListener("scroll", () => {
    if (tip && Math.abs(tipAnchor.getBoundingClientRect().top - tipTop) > 4) hideTip();
  }, true);
  addEventListener("keydown", (event) => event.key === "Escape" && hideTip());

  /** Say something beside an element, until a key or the pointer does something else. */
  function tell(anchor, text) {
    showTip(anchor, h("p", { role: "alert" }, text));
    for (const name of ["pointerdown", "keydown"]) addEventListener(name, hideTip, { capture: true, once: true });
  }

  /** Show `content(target)` while the pointer is on, or a finger taps, a child that matches. */
  function tips(host, selector, content) {
    const open = (event) => {
      const target = event.target.closest(selector);
      if (!target || !host.contains(target)) return hideTip();
      const built = content(target);
      if (built) showTip(target, built);
    };
    host.addEventListener("mouseover", open);
    host.addEventListener("click", open);
    host.addEventListener("mouseleave", hideTip);
  }

  /* --- copying and saving -------------------------------------------------------------------- */

  async function copy(text, button) {
    const old = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      button.textContent = "press Ctrl+C"; // no clipboard without https: select it instead
      const source = button.parentElement.querySelector("pre, input");
      if (source?.select) source.select();
      else if (source) getSelection().selectAllChildren(source);
    }
    setTimeout(() => (button.textContent = old), 1600);
  }

  function save(name, text, type = "text/csv") {
    const url = URL.createObjectURL(new Blob([text], { type }));
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  /** Save a file that Python sends: {name, base64}. */
  function saveBytes(file) {
    const bytes = Uint8Array.from(atob(file.base64), (character) => character.charCodeAt(0));
    const url = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
    h("a", { href: url, download: file.name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  const isDark = () => document.body.classList.contains("dark");
  function setDark(dark) {
    document.body.classList.toggle("dark", dark);
    say("theme");
  }

  /** Let a button open a panel beside it: top layer, closed by Escape or a click outside. */
  function opens(button, panel) {
    if (button.popoverTargetElement === panel) return;
    panel.setAttribute("popover", "auto");
    button.popoverTargetElement = panel;
    const place = () => {
      const b = button.getBoundingClientRect();
      const p = panel.getBoundingClientRect();
      const left = Math.max(8, Math.min(b.right - p.width, innerWidth - p.width - 8));
      const below = b.bottom + 8;
      const top = below + p.height < innerHeight - 8 ? below : Math.max(8, b.top - p.height - 8);
      Object.assign(panel.style, { left: `${left}px`, top: `${top}px` });
    };
    // its size is known when it opens, and changes when its content arrives
    new ResizeObserver(() => panel.matches(":popover-open") && place()).observe(panel);
  }
  // Gradio's own buttons exist only once it has drawn them: wired when they are first touched.
  for (const name of ["pointerdown", "focusin"]) {
    document.addEventListener(name, (event) => {
      const button = event.target.closest?.("#settings-open");
      const panel = document.getElementById("settings-panel");
      if (button && panel) opens(button, panel);
    }, true);
  }

  return {
    panels, page, hints, h, mount, edit, newest, inTurn, stops, say, hear, setPrompt, setMixture, number, percent, duration, quoted,
    fill, tips, showTip, tell, hideTip, copy, save, saveBytes, isDark, setDark, opens, putOnSliders,
  };
})();
