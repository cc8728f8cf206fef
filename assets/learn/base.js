/* What the steps of Learn are drawn with: the singular value decomposition, SVG, a formula whose
   symbols light up, a knob, and a slider. */
"use strict";

window.t2ui.learn = (() => {
  const { h, number, tell } = window.t2ui;
  const LOCKED = "Answer the question first: then move it and see.";

  /** W = U diag(s) Vh of a matrix with at least as many rows as columns (an array of rows), by
      one-sided Jacobi rotations (Hestenes 1958): s descending, U an array of its columns, Vh of its
      rows. */
  function svd(W) {
    const columns = W[0].length;
    const A = Array.from({ length: columns }, (_, j) => Float64Array.from(W, (row) => row[j]));
    const V = A.map((_, j) => Float64Array.from({ length: columns }, (_, i) => Number(i === j)));
    const dot = (a, b) => {
      let sum = 0;
      for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
      return sum;
    };
    const turn = (a, b, c, s) => {
      for (let i = 0; i < a.length; i++) {
        const [x, y] = [a[i], b[i]];
        a[i] = c * x - s * y;
        b[i] = s * x + c * y;
      }
    };
    for (let sweep = 0, rotated = true; rotated && sweep < 60; sweep++) {
      rotated = false;
      for (let p = 0; p < columns; p++) {
        for (let q = p + 1; q < columns; q++) {
          const [alpha, beta, gamma] = [dot(A[p], A[p]), dot(A[q], A[q]), dot(A[p], A[q])];
          if (gamma * gamma <= 1e-24 * alpha * beta) continue;
          rotated = true;
          const zeta = (beta - alpha) / (2 * gamma);
          const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
          const c = 1 / Math.sqrt(1 + t * t);
          turn(A[p], A[q], c, c * t);
          turn(V[p], V[q], c, c * t);
        }
      }
    }
    const size = A.map((a) => Math.sqrt(dot(a, a)));
    const order = size.map((_, j) => j).sort((a, b) => size[b] - size[a]);
    return {
      s: order.map((j) => size[j]),
      U: order.map((j) => A[j].map((value) => (size[j] ? value / size[j] : 0))),
      Vh: order.map((j) => V[j]),
    };
  }

  /** The share of Σs that the first 1, 2, … hold. */
  function captured(s) {
    const total = s.reduce((a, b) => a + b, 0);
    let sum = 0;
    return s.map((one) => (sum += one) / total);
  }

  /** An element of SVG. */
  function draw(tag, attributes, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  /** A formula from text in which {name} is a symbol that can light up and {name|shown} is one that
      is shown otherwise; _x_ is set low. Equal names light up together. */
  function formula(text) {
    const node = h("p.formula");
    const low = (part) => part.split(/_([^_]+)_/).map((piece, i) => (i % 2 ? h("sub", null, piece) : piece));
    for (const [i, part] of text.split(/\{([^}]+)\}/).entries()) {
      if (i % 2 === 0) node.append(...low(part));
      else {
        const [name, shown = name] = part.split("|");
        node.append(h("b.symbol", { data: { symbol: name } }, low(shown)));
      }
    }
    return node;
  }

  /** Light up a symbol in everything beside a step's picture, and put out the others. */
  function light(root, name) {
    for (const one of root.querySelectorAll("[data-symbol]")) one.classList.toggle("lit", one.dataset.symbol === name);
  }

  /** A slider with its name and value: {element, set, lock}. `words` says a value. */
  function slider({ id, label, low, high, step, value, words, move }) {
    const shown = h("output", null, words(value));
    const range = h("input", {
      type: "range", id, min: low, max: high, step, value, ariaLabel: label,
      oninput: () => {
        say(Number(range.value));
        move(Number(range.value));
      },
    });
    range.value = value; // again: the limits were not there yet
    const element = h("div.learn-slider", { onpointerdown: () => range.disabled && tell(element, LOCKED) },
      h("label", { htmlFor: id }, label), range, shown);
    function say(x) {
      shown.textContent = words(x);
      range.ariaValueText = words(x);
    }
    return {
      element,
      set: (x) => {
        range.value = x;
        say(x);
      },
      limit: (most) => (range.max = most),
      lock: (locked) => (range.disabled = locked),
    };
  }

  const TURN = 135; // degrees from straight up to either end

  /** A knob: straight up at `middle`, to be turned by dragging or by the arrow keys. */
  function knob({ id, label, short = label, colour, low, high, middle = 1, step = 0.05, value = middle, small = false, move }) {
    let now = value;
    let locked = false;
    const needle = draw("line", { x1: 0, y1: -5, x2: 0, y2: -17, class: "needle" });
    const arc = draw("path", { class: "arc", fill: "none" });
    const face = draw("svg", { viewBox: "-24 -24 48 48", "aria-hidden": "true" },
      draw("path", { class: "track", fill: "none", d: path(-TURN, TURN) }), arc,
      draw("line", { class: "middle", x1: 0, y1: -23, x2: 0, y2: -19 }),
      draw("circle", { r: 15, class: "cap" }), needle);
    const shown = h("output", { ariaHidden: "true" });
    const dial = h("div.dial", { id, role: "slider", tabIndex: 0, ariaLabel: label, ariaValueMin: low, ariaValueMax: high }, face);
    const element = h(small ? "div.knob.small" : "div.knob", { style: { "--colour": colour } }, dial,
      h("span", { ariaHidden: "true" }, short), shown);
    const angle = (x) => TURN * Math.max(-1, Math.min(1, x >= middle ? (x - middle) / (high - middle) : (x - middle) / (middle - low)));
    function path(from, to) {
      const point = (degrees) => {
        const a = (degrees * Math.PI) / 180;
        return `${(20 * Math.sin(a)).toFixed(2)} ${(-20 * Math.cos(a)).toFixed(2)}`;
      };
      return `M ${point(from)} A 20 20 0 ${Math.abs(to - from) > 180 ? 1 : 0} ${to > from ? 1 : 0} ${point(to)}`;
    }
    function set(x) {
      now = x;
      const a = angle(x);
      needle.setAttribute("transform", `rotate(${a})`);
      arc.setAttribute("d", Math.abs(a) < 0.5 ? "" : path(0, a));
      const text = number(x, small ? 3 : 2);
      shown.textContent = text;
      dial.ariaValueNow = x;
      dial.ariaValueText = text;
    }
    function turn(x) {
      const next = Math.max(low, Math.min(high, Math.round(x / step) * step));
      if (locked || Math.abs(next - now) < 1e-9) return;
      set(next);
      move(next);
    }
    if (move) {
      let grip = null; // where a drag began: {x, y, from}
      dial.addEventListener("pointerdown", (event) => {
        if (locked) return tell(element, LOCKED);
        dial.setPointerCapture(event.pointerId);
        grip = { x: event.clientX, y: event.clientY, from: now };
      });
      dial.addEventListener("pointermove", (event) => {
        if (grip) turn(grip.from + ((event.clientX - grip.x - event.clientY + grip.y) / 160) * (high - low));
      });
      for (const name of ["pointerup", "pointercancel"]) dial.addEventListener(name, () => (grip = null));
      dial.addEventListener("dblclick", () => turn(middle));
      dial.addEventListener("keydown", (event) => {
        const by = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 5, PageDown: -5 }[event.key];
        const to = { Home: low, End: high }[event.key];
        if (by === undefined && to === undefined) return;
        event.preventDefault();
        turn(to === undefined ? now + by * step : to);
      });
    } else {
      dial.removeAttribute("tabindex");
      dial.role = "img";
    }
    set(value);
    return {
      element,
      set,
      lock: (on) => {
        locked = on;
        dial.ariaDisabled = String(on);
        element.classList.toggle("locked", on);
      },
    };
  }

  return { svd, captured, draw, formula, light, slider, knob, LOCKED, makers: [], take: {} };
})();
