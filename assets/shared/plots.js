/* Plots: draws plotly figures in the page's colours, light and dark, and answers clicks by row.
   plotly.js is loaded from this server when the first plot is drawn. */
"use strict";

(() => {
  const RETRY_MS = 3000;
  const { panels, h, hear, save } = window.t2ui;
  const touch = matchMedia("(hover: none)");
  let loading = null;

  function plotly(source) {
    loading ||= new Promise((resolve, reject) => {
      const script = h("script", { src: source, onload: () => resolve(window.Plotly), onerror: () => {
        loading = null; // a failure is not kept: the next drawing loads it again
        script.remove();
        reject(new Error("plotly.js could not be loaded"));
      } });
      document.head.append(script);
    });
    return loading;
  }

  /** The values of an int8 heatmap trace: numbers, or null where there is no component. */
  function decode(z, scale) {
    const bytes = Uint8Array.from(atob(z.bdata), (c) => c.charCodeAt(0));
    const codes = new Int8Array(bytes.buffer);
    const [rows, columns] = z.shape.split(",").map(Number);
    return Array.from({ length: rows }, (_, r) =>
      Array.from(codes.subarray(r * columns, (r + 1) * columns), (q) => (q === -128 ? null : q * scale)));
  }

  function parse(text) {
    const figure = JSON.parse(text);
    for (const trace of figure.data) {
      if (trace.type === "heatmap" && trace.meta?.scale && trace.z.bdata) trace.z = decode(trace.z, trace.meta.scale);
    }
    return figure;
  }

  /** The page's colours, read at every drawing so that the theme can change under the plot. */
  function themed(host, figure) {
    const css = getComputedStyle(host);
    const colour = (name) => css.getPropertyValue(`--t2-${name}`).trim();
    const down = colour("down"), neutral = colour("neutral"), up = colour("up");
    // where a shorter matrix has no component, a heatmap must not look like "unchanged"
    const ground = colour(figure.data.some((trace) => trace.type === "heatmap") ? "missing" : "card");
    const axis = {
      gridcolor: colour("line"), linecolor: colour("line"), tickfont: { color: colour("muted"), size: 12 },
      title: { font: { color: colour("muted"), size: 13 } }, tickcolor: colour("line"),
    };
    const bar = { tickfont: { color: colour("muted"), size: 12 }, title: { font: { color: colour("muted"), size: 13 } } };
    const template = {
      layout: {
        font: { family: css.fontFamily, size: 13, color: colour("ink") },
        paper_bgcolor: colour("card"), plot_bgcolor: ground, xaxis: axis, yaxis: axis,
        legend: { font: { size: 13 }, bgcolor: "rgba(0,0,0,0)" },
        hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink"), family: css.fontFamily, size: 13 } },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("faint"), activecolor: colour("accent"), orientation: "h" },
      },
      data: { heatmap: [{ colorscale: [[0, down], [0.5, neutral], [1, up]], colorbar: bar }] },
    };
    return { ...figure.layout, template, autosize: true };
  }

  /** The traces, those whose meta names a colour of the theme ("accent") painted in it, and
      heatmaps of magnitudes in one colour, more of it where they are larger. */
  function painted(host, traces) {
    const css = getComputedStyle(host);
    const theme = (name) => css.getPropertyValue(`--t2-${name}`).trim();
    return traces.map((trace) => {
      if (trace.meta?.role === "sequential") return { ...trace, colorscale: [[0, theme("neutral")], [1, theme("accent")]] };
      const colour = trace.meta?.colour && theme(trace.meta.colour);
      return colour ? { ...trace, line: { ...trace.line, color: colour }, marker: { ...trace.marker, color: colour } } : trace;
    });
  }

  /** A plot in `host`; `onrow` is told the row of a click. `bar`: whether its buttons are there, or
      "hover". Returns draw(figure text, file name). */
  function plot(host, onrow, bar = true) {
    let figure = null;
    let text = "";
    let fileName = "t2ui";
    let marked = -1;
    let retry = null;
    const marks = () => [...(figure.layout.shapes || []), ...(marked < 0 ? [] : [{
      type: "rect", xref: "paper", x0: 0, x1: 1, yref: "y", y0: marked - 0.5, y1: marked + 0.5,
      line: { color: getComputedStyle(host).getPropertyValue("--t2-ink").trim(), width: 1.5 },
    }])];
    async function draw() {
      if (!figure || !host.isConnected || !host.clientWidth) return;
      let Plotly;
      try {
        Plotly = await plotly(host.closest("[data-plotly]").dataset.plotly);
      } catch {
        clearTimeout(retry);
        retry = setTimeout(draw, RETRY_MS);
        return;
      }
      const config = {
        displaylogo: false, responsive: false, displayModeBar: bar,
        modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d",
          ...(touch.matches ? ["zoom2d", "pan2d", "resetScale2d"] : [])],
        toImageButtonOptions: { format: "png", filename: fileName, scale: 2 },
      };
      const layout = { ...themed(host, figure), shapes: marks(), width: host.clientWidth, height: host.clientHeight };
      if (touch.matches) {
        layout.dragmode = false; // a swipe over the plot scrolls the page
        if (bar === true) layout.margin = { ...layout.margin, t: layout.margin.t + 20 }; // its buttons are large
      }
      await Plotly.react(host, painted(host, figure.data), layout, config);
      if (onrow && !host.dataset.listens) {
        host.dataset.listens = "1";
        const top = () => host.getBoundingClientRect().top;
        let touched = null; // where the plot was when a finger came down: if it moved, that was a swipe
        host.addEventListener("touchstart", () => (touched = top()), { passive: true, capture: true });
        host.on("plotly_click", (event) => {
          if (touched !== null && Math.abs(top() - touched) > 8) return;
          // the row under the pointer: `event.points` may still be what lay there before a redraw
          const area = host.querySelector(".nsewdrag").getBoundingClientRect();
          onrow(Math.round(host._fullLayout.yaxis.p2l(event.event.clientY - area.top)));
        });
      }
      host.dataset.ready = Number(host.dataset.ready || 0) + 1;
    }
    new ResizeObserver(draw).observe(host);
    hear("theme", draw);
    const update = (newText, name) => {
      fileName = name;
      if (newText !== text) figure = parse(newText);
      text = newText;
      draw();
    };
    /** Put a frame around a row. */
    update.mark = (row) => {
      marked = row;
      if (host.data) window.Plotly.relayout(host, { shapes: marks() });
    };
    return update;
  }

  /** What both plot panels share: a plot, or a message in its place. */
  function frame(host, value, area) {
    const other = value.state === "waiting"
      ? h("div", null, h("div.skeleton", null, h("i"), h("i"), h("i"), h("i"), h("i")), h("p", null, value.message))
      : h("div.empty", null, h("p", null, value.message), value.remedy ? h("p.remedy", null, value.remedy) : null);
    const cover = host.querySelector(".cover");
    cover.replaceChildren(value.state === "done" ? "" : other);
    cover.hidden = value.state === "done";
    area.style.visibility = value.state === "done" ? "" : "hidden";
    host.dataset.state = value.state;
  }

  Object.assign(window.t2ui, { plot, frame });

  /** Saves what Python sends: {name, text, stamp}; a new stamp is a new file. */
  panels.download = (host) => {
    let last = null;
    return (value) => {
      if (value.stamp && value.stamp !== last) save(value.name, value.text);
      last = value.stamp;
    };
  };
})();
