/* The Inspect page: the heatmap, whose rows can be opened, one matrix in detail, and a link. */
"use strict";

(() => {
  const { panels, hints, h, newest, plot, frame } = window.t2ui;

  Object.assign(hints, {
    "#inspect-look": ["z − 1 for an expert: 0 leaves a singular value as it is, 0.12 turns it up by 12 %.", 5],
    "#inspect-compare": "A second one, in its own colour, and the difference of the two.",
    "#inspect-show": "One of the two against the base model, or one against the other.",
    "#inspect-rows": "A row for all matrices of a layer, for all of one kind (q, k, v …), or for every matrix.",
    "#inspect-module": "attention: q, k, v, o. mlp: gate, up, down.",
    "#inspect-layer": "All layers of the model, or one.",
    "#inspect-log": ["Singular values span decades: a log scale shows the small ones.", 4],
    "#save-heatmap": "The numbers behind the heatmap, every matrix on a line of its own.",
    "#save-component": "σ, z and captured variance of the matrix that is open.",
  });

  panels.heatmap = (host, api) => {
    const send = newest(api);
    const area = h("div.plot", { tabIndex: 0, role: "group" });
    const what = h("p.drawn", { role: "status" });
    const caption = h("p.foot");
    const wider = h("button.chip", { type: "button", hidden: true, onclick: () => {
      const { words, ...choice } = value.up;
      api.trigger("apply", choice);
    } });
    host.replaceChildren(h("div.cover"), what, area, caption);
    let value = null;
    let row = -1;
    const clamped = (wanted) => Math.max(0, Math.min(value.names.length - 1, wanted));
    function move(wanted) {
      row = clamped(wanted);
      draw.mark(row);
    }
    /** A matrix appears on the right; a row of several shows those instead. */
    function open(wanted) {
      move(wanted);
      const name = value.names[row];
      if (value.rows === "matrix") return send("select", { name });
      api.trigger("apply", value.rows === "layer" ? { layer: name } : { module: name.split(".").pop() });
    }
    area.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1, Enter: 0 }[event.key];
      if (step === undefined || value?.state !== "done") return;
      event.preventDefault();
      if (step && value.rows !== "matrix") {
        move(row + step);
        caption.textContent = `${value.labels[row]} · Enter shows its matrices`;
        return;
      }
      open(row + step);
    });
    const draw = plot(area, open);
    return (next) => {
      const name = value?.rows === next.rows ? value?.names?.[row] : undefined;
      value = next;
      row = name === undefined ? -1 : value.names.indexOf(name);
      const side = document.getElementById("map-up");
      if (side && wider.parentElement !== side) side.append(wider);
      wider.hidden = !value.up;
      wider.textContent = value.up ? `← ${value.up.words}` : "";
      draw.mark(row);
      frame(host, value, area);
      what.textContent = value.what;
      what.title = value.what;
      area.ariaLabel = `Heatmap. ${value.what} ${value.caption} Arrow keys go from row to row, Enter opens.`;
      caption.textContent = value.caption;
      if (value.state === "done") draw(value.figure, value.file);
    };
  };

  panels.component = (host) => {
    const area = h("div.plot", { role: "group" });
    const head = h("p.matrix");
    const list = h("ol.changes");
    host.replaceChildren(h("div.cover"), head, area, list);
    const draw = plot(area, null);
    return (value) => {
      frame(host, value, area);
      head.replaceChildren();
      list.replaceChildren();
      if (value.state !== "done") return;
      head.append(h("b", null, value.title), h("span", null, value.facts));
      area.ariaLabel = `Singular values of ${value.title}, by index: σ and σ·z, z, captured variance.`;
      list.append(...value.top.map((one) =>
        h("li", { title: one.hint, tabIndex: 0 }, h("em", null, `#${one.index}`),
          one.words.map((w) => h(`span.${w.turned || "same"}`, null,
            value.top_coloured ? h("i.dot", { style: { "--colour": w.colour } }) : null, w.text)))));
      draw(value.figure, value.file);
    };
  };
})();
