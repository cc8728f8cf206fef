/* The Library page's experts beside each other: a map, who is how alike, and what each does to the
   others' tasks. */
"use strict";

(() => {
  const { panels, h, fill, hear, newest, plot, number, percent } = window.t2ui;

  const LEAST = 0.1; // that colours reach to: near 0 all are as good as unrelated

  const [SIZE, LINE] = [13, 18]; // pixels: a name's letters and its height
  const EDGE = 3; // around a name, and between it and its dot
  const FAR = [0, 16, 32, 48]; // where a name may stand: at its dot, or so much further, on a thin line
  const SIDES = [[1, 0], [-1, 0], [0, -1], [0, 1], [0.7, -0.7], [-0.7, -0.7], [0.7, 0.7], [-0.7, 0.7]];

  /** The numbers of a trace, which plotly writes as a list or packed. */
  function unpacked(of) {
    if (Array.isArray(of)) return of;
    const bytes = Uint8Array.from(atob(of.bdata), (c) => c.charCodeAt(0)).buffer;
    return [...(of.dtype === "f4" ? new Float32Array(bytes) : new Float64Array(bytes))];
  }

  const measure = document.createElement("canvas").getContext("2d");
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const around = (x, y, r) => ({ left: x - r, right: x + r, top: y - r, bottom: y + r });

  /** The map's figure with every name where it covers neither another one nor a dot: beside its own
      dot where there is room, further off on a line where not. A name without any room is left out,
      and whoever points at its dot reads it. The axes' scales are one, and their middle is 0.
      {figure, left}: how many names are left out. */
  function named(text, place) {
    const figure = JSON.parse(text);
    const { margin, xaxis } = figure.layout;
    const [wide, high] = [place.clientWidth - margin.l - margin.r, place.clientHeight - margin.t - margin.b];
    const trace = figure.data[0];
    trace.mode = "markers";
    if (wide <= 0 || high <= 0) return { figure, left: 0 };
    const scale = Math.min(wide, high) / (xaxis.range[1] - xaxis.range[0]);
    const css = getComputedStyle(place);
    measure.font = `${SIZE}px ${css.fontFamily}`;
    const [xs, ys] = [unpacked(trace.x), unpacked(trace.y)];
    const dots = trace.text.map((name, i) => ({
      name, x: wide / 2 + scale * xs[i], y: high / 2 - scale * ys[i], r: trace.marker.size[i] / 2,
      at: [xs[i], ys[i]], width: measure.measureText(name).width + EDGE,
    }));
    const near = (one) => Math.min(...dots.filter((other) => other !== one).map((other) => Math.hypot(one.x - other.x, one.y - other.y)));
    const discs = dots.map((one) => around(one.x, one.y, one.r + 1));
    const taken = []; // by names and lines
    const annotations = [];
    for (const one of [...dots].sort((a, b) => near(a) - near(b))) { // the narrowest places first
      // a line may cross the dots that its own dot touches: of two in one place none has another way
      const apart = discs.filter((_, i) => Math.hypot(one.x - dots[i].x, one.y - dots[i].y) > one.r + dots[i].r);
      const found = FAR.flatMap((far) => SIDES.map((side) => spot(one, side, far))).find(({ box, line }) =>
        box.left >= 0 && box.right <= wide && box.top >= 0 && box.bottom <= high
        && ![...discs, ...taken].some((other) => meet(box, other))
        && !line.some((part) => [...apart, ...taken].some((other) => meet(part, other))));
      if (!found) continue;
      taken.push(found.box, ...found.line);
      annotations.push({
        x: one.at[0], y: one.at[1], text: one.name, font: { size: SIZE }, borderpad: 0,
        ...(found.line.length ? { showarrow: true, arrowhead: 0, arrowwidth: 1, arrowcolor: css.getPropertyValue("--t2-muted").trim(), ax: found.dx, ay: found.dy }
          : { showarrow: false, xshift: found.dx, yshift: -found.dy }),
      });
    }
    figure.layout.annotations = annotations;
    return { figure, left: dots.length - annotations.length };
  }

  /** A name on one side of its dot, so far off: its middle from the dot's, the box, and the line as
      small boxes, none where it stands at the dot. */
  function spot({ x, y, r, width }, [right, down], far) {
    const dx = right * (r + EDGE + far) + (Math.sign(right) * width) / 2;
    const dy = down * (r + EDGE + far) + (Math.sign(down) * LINE) / 2;
    const box = { left: x + dx - width / 2, right: x + dx + width / 2, top: y + dy - LINE / 2, bottom: y + dy + LINE / 2 };
    const steps = far ? Math.ceil(far / 4) : 0;
    const line = Array.from({ length: steps }, (_, i) => around(x + right * (r + (far * i) / steps), y + down * (r + (far * i) / steps), 1));
    return { dx, dy, box, line };
  }

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
    function showMap() {
      if (!value?.map) return;
      const { figure, left } = named(value.map, place);
      drawMap(JSON.stringify(figure), "experts");
      note.textContent = left ? `${value.note}; ${left} of the names have no room: point at a dot to read its own` : value.note;
    }
    new ResizeObserver(showMap).observe(place); // another width has room for other names
    hear("theme", showMap);

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
      drawMatrix();
      drawTasks();
      showMap();
      layers.hidden = !value.pair;
      if (value.pair) {
        layers.ariaLabel = `Cosine of ${value.pair.names.join(" and ")} by layer`;
        drawLayers(value.pair.figure, value.pair.names.join("-"));
      }
    };
  };
})();
