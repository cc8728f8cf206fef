/* The Inspect page: the heatmap, whose rows can be opened, and one matrix in detail. */
"use strict";

(() => {
  const { panels, hints, h, plot, frame } = window.t2ui;

  Object.assign(hints, {
    "#inspect-look": "z − 1 for an expert: 0 leaves a singular value as it is, 0.12 turns it up by 12 %.",
    "#inspect-compare": "A second expert, in its own colour, and the difference of the two.",
    "#inspect-module": "attention: q, k, v, o. mlp: gate, up, down.",
    "#inspect-log": "Singular values span decades: a log scale shows the small ones.",
  });

  panels.heatmap = (host, api) => {
    const area = h("div.plot", { tabIndex: 0, ariaLabel: "Heatmap of z − 1. Arrow keys open the row below or above, Enter the same row again." });
    const caption = h("p.foot");
    host.replaceChildren(h("div.cover"), area, caption);
    let value = null;
    let row = -1;
    const open = (wanted) => {
      row = Math.max(0, Math.min(value.names.length - 1, wanted));
      draw.mark(row);
      api.trigger("select", { name: value.names[row] });
    };
    area.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1, Enter: 0 }[event.key];
      if (step === undefined || value?.state !== "done") return;
      event.preventDefault();
      open(row + step);
    });
    const draw = plot(area, open);
    return (next) => {
      const name = value?.names?.[row];
      value = next;
      row = name ? value.names.indexOf(name) : -1;
      draw.mark(row);
      frame(host, value, area);
      if (value.state !== "done") return (caption.textContent = "");
      caption.textContent = value.caption;
      draw(value.figure, value.file);
    };
  };

  panels.component = (host) => {
    const area = h("div.plot");
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
      list.append(...value.top.map((one) =>
        h("li", { title: one.hint }, h("em", null, `#${one.index}`),
          one.words.map((w) => h(w.up ? "span.up" : "span.down", null,
            value.top_coloured ? h("i.dot", { style: { "--colour": w.colour } }) : null, w.text)))));
      draw(value.figure, value.file);
    };
  };
})();
