/* The Library page's experts beside each other: a map, who is how alike, and what each does to the
   others' tasks. */
"use strict";

(() => {
  const { panels, h, fill, newest, plot, number, percent } = window.t2ui;

  const LEAST = 0.1; // that colours reach to: near 0 all are as good as unrelated

  const SHOWN = {
    cosine: { words: "cosine of z − 1", cell: (x) => number(x, 3) },
    overlap: { words: "shared components", cell: percent },
  };

  panels.likeness = (host, api) => {
    const send = newest(api);
    const place = h("div.plot.map", { role: "group", ariaLabel: "Map of the experts" });
    const layers = h("div.plot.by-layer", { role: "group" });
    const matrix = h("div.matrix-box", { tabIndex: 0, role: "group", ariaLabel: "How alike two experts are" });
    const tasks = h("div.tasks-box", { tabIndex: 0, role: "group", ariaLabel: "What each expert does to each set" });
    const note = h("p.foot");
    const hint = h("p.foot");
    const cover = h("div.cover-text");
    let kind = "cosine";
    let value = null;
    const chips = Object.entries(SHOWN).map(([name, { words }]) => h("button.chip", {
      type: "button", onclick: () => {
        kind = name;
        drawMatrix();
      }, data: { kind: name },
    }, words));
    const all = h("div.alike", null,
      h("div.alike-map", null, place, note),
      h("div.alike-matrix", null, h("div.chips", null, chips), matrix, hint, layers));
    const below = h("div.alike-tasks", null, h("h3", null, "What each does to the others' tasks"), tasks,
      h("p.foot", null, "Right answers beside the base model's, in points. Bold: the paired test tells the two apart at 5 %. “–” is unmeasured: the expert's file says nothing of that set."));
    host.replaceChildren(all, below, cover);
    const drawMap = plot(place, null, "hover");
    const drawLayers = plot(layers, null, "hover");

    const name = (i) => h("span.name", { title: value.names[i] }, h("i.dot", { style: { "--colour": value.colours[i] } }), h("span", null, value.names[i]));

    function cell(row, column) {
      const x = value[kind][row][column];
      if (row === column) return h("td.self", null, "");
      if (x === null) return h("td.self", { title: "One of the two changes nothing." }, "–");
      const most = Math.max(LEAST, ...value[kind].flatMap((r, i) => r.filter((v, j) => v !== null && i !== j).map(Math.abs)));
      const share = Math.round((50 * Math.abs(x)) / most);
      const colour = kind === "cosine" ? (x < 0 ? "var(--t2-down)" : "var(--t2-up)") : "var(--t2-accent)";
      const [one, other] = [value.names[row], value.names[column]];
      return h("td", null, h("button", {
        type: "button", style: { background: `color-mix(in srgb, ${colour} ${share}%, transparent)` },
        title: `${one} and ${other}: cosine ${number(value.cosine[row][column], 3)}; ${percent(value.overlap[row][column])} of the ${value.most} components that each changes most are the same (${percent(value.chance)} by chance). Opens them by layer.`,
        onclick: () => send("select", { one, other }),
      }, SHOWN[kind].cell(x)));
    }

    function drawMatrix() {
      for (const chip of chips) chip.setAttribute("aria-pressed", String(chip.dataset.kind === kind));
      fill(matrix, h("table", null,
        h("thead", null, h("tr", null, h("td"), value.names.map((_, i) => h("th", { scope: "col" }, name(i))))),
        h("tbody", null, value.names.map((_, row) => h("tr", null, h("th", { scope: "row" }, name(row)),
          value.names.map((_, column) => cell(row, column)))))));
      hint.textContent = kind === "cosine"
        ? `1 alike, 0 unrelated (by chance within ±${number(2 / Math.sqrt(value.most / value.chance), 3)}), −1 opposite. Click a pair to see it by layer.`
        : `of the ${value.most} components that each changes most; ${percent(value.chance)} by chance. Click a pair to see it by layer.`;
    }

    const points = (gain) => `${gain < 0 ? "−" : "+"}${Math.abs(100 * gain).toFixed(1)}`;

    function gain(found, row, column) {
      const set = value.sets[column];
      if (!found) return h("td.unmeasured", { title: `${value.names[row]} on ${set}: unmeasured.` }, "–");
      const p = found.p === null ? "its file says no paired test" : `paired test p = ${found.p < 1e-3 ? found.p.toExponential(0) : number(found.p)}`;
      return h(`td.${found.apart}`, {
        title: `${value.names[row]} on ${set}, n ${found.n}: ${percent(found.right)} [${percent(found.interval[0])}, ${percent(found.interval[1])}], base ${percent(found.base)}; ${p}.`,
      }, points(found.right - found.base));
    }

    function drawTasks() {
      below.hidden = !value.sets.length;
      fill(tasks, h("table", null,
        h("thead", null, h("tr", null, h("td"), value.sets.map((set) => h("th", { scope: "col" }, set)))),
        h("tbody", null, value.names.map((_, row) => h("tr", null, h("th", { scope: "row" }, name(row)),
          value.gains[row].map((found, column) => gain(found, row, column)))))));
    }

    return (next) => {
      value = next;
      host.dataset.state = value.state;
      const done = value.state === "done";
      all.hidden = below.hidden = !done;
      cover.hidden = done;
      fill(cover, h("p", { role: value.state === "failed" ? "alert" : null }, value.message), value.remedy ? h("p.remedy", null, value.remedy) : null);
      if (!done) return;
      note.textContent = value.note;
      drawMatrix();
      drawTasks();
      drawMap(value.map, "experts");
      layers.hidden = !value.pair;
      if (value.pair) {
        layers.ariaLabel = `Cosine of ${value.pair.names.join(" and ")} by layer`;
        drawLayers(value.pair.figure, value.pair.names.join("-"));
      }
    };
  };
})();
