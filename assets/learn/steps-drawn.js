/* Learn, steps 1 to 3: a matrix as a machine, its singular values as knobs, a picture taken apart.
   They need no model. */
"use strict";

(() => {
  const { h, number, percent } = window.t2ui;
  const { svd, captured, draw, formula, slider, knob, picture, makers, LOCKED } = window.t2ui.learn;

  const turned = (degrees) => {
    const a = (degrees * Math.PI) / 180;
    return [[Math.cos(a), -Math.sin(a)], [Math.sin(a), Math.cos(a)]];
  };
  const times = (A, B) => A.map((row) => B[0].map((_, j) => row.reduce((sum, value, k) => sum + value * B[k][j], 0)));
  const apply = (A, [x, y]) => A.map(([a, b]) => a * x + b * y);
  // the matrix of steps 1 and 2, by its parts; what is drawn is found from W alone, by `svd`
  const W = times(times(turned(24), [[1.8, 0], [0, 0.7]]), turned(38));
  const { s, U, Vh } = svd(W);
  const scaled = (z) => // U diag(z s) Vh
    [0, 1].map((i) => [0, 1].map((j) => [0, 1].reduce((sum, k) => sum + U[k][i] * z[k] * s[k] * Vh[k][j], 0)));
  const at = (degrees) => [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
  const around = Array.from({ length: 121 }, (_, i) => at(3 * i));

  const LOW = "₁₂"; // the numbers of the two components, set low
  const SCALE = 100; // pixels of the drawing to a unit; y points up
  const place = ([x, y]) => `${(SCALE * x).toFixed(1)},${(-SCALE * y).toFixed(1)}`;
  const path = (points) => points.map((point, i) => `${i ? "L" : "M"}${place(point)}`).join(" ");
  function arrow(kind, symbol) {
    const line = draw("path", { fill: "none" });
    const name = draw("text", { "text-anchor": "middle", "dominant-baseline": "middle" }, symbol);
    const node = draw("g", { class: `arrow ${kind}` }, line, name);
    return {
      node,
      to: ([x, y]) => {
        const size = Math.hypot(x, y);
        if (size < 0.02) return node.setAttribute("visibility", "hidden");
        node.removeAttribute("visibility");
        const [dx, dy] = [x / size, y / size];
        const wing = (side) => [x - 0.13 * dx + side * 0.06 * dy, y - 0.13 * dy - side * 0.06 * dx];
        line.setAttribute("d", `${path([[0, 0], [x, y]])} ${path([wing(1), [x, y], wing(-1)])}`);
        name.setAttribute("x", SCALE * (x + 0.2 * dx));
        name.setAttribute("y", -SCALE * (y + 0.17 * dy));
      },
    };
  }
  const plane = (label, ...parts) => draw("svg", { viewBox: "-215 -150 430 300", class: "plane", role: "img", "aria-label": label },
    draw("path", { class: "axes", d: "M-210 0H210M0 -145V145", fill: "none" }), ...parts);
  const circle = () => draw("path", { class: "circle", fill: "none", d: path(around) });

  /* --- 1: a matrix as a machine ---------------------------------------------------------------- */

  function stretch({ light, reveal }) {
    const CELLS = 72; // of the circle: so much of it has been walked
    const walked = new Set();
    let angle = 0;
    let locked = true;
    const arrows = { x: arrow("in", "x"), y: arrow("out", "W x") };
    const trail = draw("path", { class: "ellipse", fill: "none" });
    const axes = draw("g", { class: "halves" });
    const values = h("output.values");
    const svg = plane("A circle of arrows x, and where W sends them.", circle(), trail, axes, arrows.x.node, arrows.y.node);
    const walk = slider({
      id: "learn-angle", label: "x walks around the circle", low: 0, high: 360, step: 1, value: 0, words: (x) => `${x}°`,
      move: (to) => go(to, to - angle),
    });
    /** Go to an angle by so many degrees, and draw what was passed. */
    function go(to, by) {
      const [from, until] = [Math.min(angle, angle + by), Math.max(angle, angle + by)];
      for (let cell = Math.floor(from / 5); cell <= Math.floor(until / 5); cell++) walked.add((cell + CELLS) % CELLS);
      show(to);
      light("x");
      if (walked.size > 0.9 * CELLS) seen();
    }
    function show(to) {
      angle = to;
      const [x, y] = [at(angle), apply(W, at(angle))];
      arrows.x.to(x);
      arrows.y.to(y);
      const parts = [...walked].sort((a, b) => a - b).map((cell) => path([0, 1, 2, 3, 4, 5].map((d) => apply(W, at(5 * cell + d)))));
      trail.setAttribute("d", parts.join(" "));
      values.textContent = `x = (${x.map((v) => number(v)).join(", ")})   W x = (${y.map((v) => number(v)).join(", ")})   length ${number(Math.hypot(...y))}`;
    }
    function seen() {
      if (!axes.childNodes.length) {
        for (const k of [0, 1]) {
          const [right, half] = [arrow("in", `v${LOW[k]}`), arrow("out", `s${LOW[k]}u${LOW[k]}`)];
          right.to([...Vh[k]]);
          half.to(U[k].map((v) => s[k] * v));
          axes.append(right.node, half.node);
        }
        svg.classList.add("seen");
      }
      reveal();
    }
    svg.addEventListener("pointerdown", (event) => {
      if (locked) return window.t2ui.tell(svg, LOCKED);
      svg.setPointerCapture(event.pointerId);
      drag(event);
    });
    svg.addEventListener("pointermove", (event) => svg.hasPointerCapture(event.pointerId) && drag(event));
    function drag(event) {
      const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const to = Math.round(((Math.atan2(-p.y, p.x) * 180) / Math.PI + 360) % 360);
      walk.set(to);
      go(to, ((to - angle + 540) % 360) - 180); // by the short way, past the start of the circle too
    }
    show(0);
    const row = (r) => r.map((v) => number(v)).join("  ");
    return {
      lead: [h("p", null, "A weight matrix W is a machine: an arrow x goes in, another arrow W x comes out. Here an arrow has 2 numbers; in a language model it has hundreds.")],
      formula: h("div", null, formula("{Wx|W x} = {W} · {x}"), h("p.small", null, h("b", null, "W"), ` = [ ${row(W[0])} ;  ${row(W[1])} ]`)),
      picture: svg,
      controls: [walk.element, values],
      question: {
        text: "The tip of x walks once around the grey circle. What does the tip of W x draw?",
        options: ["a circle", "an ellipse", "a square"],
        right: () => 1,
        said: () => `An ellipse: every matrix makes one of a circle (squeezed flat, at worst). Its half-axes are as long as the singular values, s₁ = ${number(s[0])} and s₂ = ${number(s[1])}. The arrow v₁ is stretched most and v₂ least; they become s₁u₁ and s₂u₂.`,
      },
      lock: (on) => {
        locked = on;
        walk.lock(on);
      },
    };
  }

  /* --- 2: its singular values as knobs --------------------------------------------------------- */

  function knobs({ light, reveal }) {
    const z = [1, 1];
    const base = draw("path", { class: "base", fill: "none", d: path(around.map((p) => apply(W, p))) });
    const ellipse = draw("path", { class: "ellipse" });
    const dots = draw("g", { class: "dots" });
    const halves = [0, 1].map((k) => arrow("out", `z${LOW[k]}s${LOW[k]}u${LOW[k]}`));
    const svg = plane("The ellipse of U diag(z s) Vh, and in grey that of W.", circle(), base, ellipse, dots, ...halves.map((one) => one.node));
    const values = h("output.values");
    const dials = [0, 1].map((k) => knob({
      id: `learn-z${k + 1}`, label: `z${LOW[k]}`, colour: "var(--t2-accent)", low: 0, high: 2, value: 1,
      move: (x) => {
        z[k] = x;
        show();
        light(`z${k + 1}`);
        if (z[1] < 0.001) reveal();
      },
    }));
    function show() {
      const now = scaled(z);
      ellipse.setAttribute("d", path(around.map((p) => apply(now, p))));
      halves.forEach((one, k) => one.to(U[k].map((v) => z[k] * s[k] * v)));
      dots.replaceChildren(...Array.from({ length: 12 }, (_, i) => {
        const [x, y] = apply(now, at(30 * i));
        return draw("circle", { cx: SCALE * x, cy: -SCALE * y, r: 4 });
      }));
      values.textContent = `z₁ s₁ = ${number(z[0])} × ${number(s[0])} = ${number(z[0] * s[0])}   z₂ s₂ = ${number(z[1])} × ${number(s[1])} = ${number(z[1] * s[1])}`;
    }
    show();
    return {
      lead: [h("p", null, "Every matrix comes apart into three: Vh turns the arrow, s stretches it along the axes, U turns it again (a turn may also mirror). This is the singular value decomposition, SVD. A knob z on each singular value multiplies it; at z = 1, straight up, W is as it was.")],
      formula: h("div", null, formula("{W} = U diag({s_1_|s_1_}, {s_2_|s_2_}) Vh"), formula("W′ = U diag({z1|z_1_} s_1_, {z2|z_2_} s_2_) Vh")),
      picture: svg,
      controls: [h("div.knobs", null, dials.map((one) => one.element)), values],
      question: {
        text: "You turn z₂ down to 0, all the way to the left. What is left of the ellipse?",
        options: ["a smaller ellipse", "a line", "nothing"],
        right: () => 1,
        said: () => "A line: only the direction u₁ is left, and W′ has rank 1. Turn z₂ up and the ellipse is back. The knobs move neither U nor Vh: what the machine can do is kept, only how strongly is tuned. That is singular value fine-tuning (SVF): training moves z and nothing else.",
      },
      lock: (on) => dials.forEach((one) => one.lock(on)),
    };
  }

  /* --- 3: a picture taken apart ---------------------------------------------------------------- */

  const SHOWN = 24; // components that can be chosen

  function pictureStep({ light, reveal }) {
    const grey = picture();
    const n = grey.length;
    const parts = svd(grey);
    const share = captured(parts.s);
    const enough = 6; // components, by which a cat is seen
    const z = parts.s.map((_, i) => (i < 1 ? 1 : 0));
    let chosen = 0;
    const paper = (name, label) => h(`canvas.${name}`, { width: n, height: n, role: "img", ariaLabel: label });
    const [whole, one] = [paper("whole", "The picture, rebuilt from its components."), paper("one", "The chosen component alone.")];
    function paint(canvas, value) {
      const context = canvas.getContext("2d");
      const image = context.createImageData(n, n);
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) {
          const shade = 255 * value(i, j);
          const at = 4 * (i * n + j);
          image.data[at] = image.data[at + 1] = image.data[at + 2] = shade; // clamped
          image.data[at + 3] = 255;
        }
      }
      context.putImageData(image, 0, 0);
    }
    const bars = h("div.bars", { ariaHidden: "true" }, Array.from({ length: SHOWN }, (_, i) =>
      h("div.bar", { onclick: () => choose(i) }, h("i"))));
    const pick = slider({
      id: "learn-i", label: "component i", low: 1, high: SHOWN, step: 1, value: 1, words: (i) => `i = ${i}`, move: (i) => choose(i - 1),
    });
    const keep = slider({
      id: "learn-k", label: "components that are in: k", low: 1, high: n, step: 1, value: 1, words: (k) => `${k} of ${n}`,
      move: (k) => {
        z.forEach((_, i) => (z[i] = i < k ? 1 : 0));
        show();
        light("z");
        if (k >= enough) reveal();
      },
    });
    const dial = knob({
      id: "learn-zi", label: "z₁", colour: "var(--t2-accent)", low: -1, high: 3, value: 1,
      move: (x) => {
        z[chosen] = x;
        show();
        light("z");
      },
    });
    const what = h("p.small");
    const values = h("output.values");
    function choose(i) {
      chosen = i;
      [...bars.children].forEach((bar, at) => bar.classList.toggle("chosen", at === i));
      pick.set(i + 1);
      const size = Math.max(...parts.U[i].map(Math.abs)) * Math.max(...parts.Vh[i].map(Math.abs));
      paint(one, (r, c) => 0.5 + (0.5 * parts.U[i][r] * parts.Vh[i][c]) / size);
      what.textContent = `component ${i + 1}: s = ${number(parts.s[i])}`;
      show();
    }
    function show() {
      const used = z.map((_, i) => i).filter((i) => z[i]);
      const rows = new Float64Array(n * n);
      for (const i of used) {
        for (let r = 0; r < n; r++) {
          const left = z[i] * parts.s[i] * parts.U[i][r];
          for (let c = 0; c < n; c++) rows[r * n + c] += left * parts.Vh[i][c];
        }
      }
      paint(whole, (r, c) => rows[r * n + c]);
      dial.set(z[chosen]);
      dial.element.querySelector("span").textContent = `z of component ${chosen + 1}`;
      [...bars.children].forEach((bar, i) => {
        bar.style.setProperty("--h", `${100 * Math.min(1, (Math.log10(1 + 20 * parts.s[i])) / Math.log10(1 + 20 * parts.s[0]))}%`);
        bar.classList.toggle("in", z[i] !== 0);
      });
      const k = used.length;
      values.textContent = used.every((i) => i < k && z[i] === 1)
        ? `the first ${k === 1 ? "component holds" : `${k} components hold`} ${percent(share[k - 1])} of Σs`
        : "z is moved by hand";
    }
    choose(0);
    return {
      lead: [h("p", null, `A picture is a matrix too: this one is ${n} × ${n} grey values. Each of its ${n} components is a column of U times a row of Vh, as strong as its singular value, and the picture is their sum. Here z is 1 for the first k of them and 0 for the others.`)],
      formula: formula("W′ = Σ_i_ {z|z_i_} {s|s_i_} u_i_ v_i_ᵀ"),
      picture: h("div.papers", null, whole, h("div.one", null, one, what)),
      controls: [keep.element, values],
      more: h("div.by-hand", null, h("div", null, bars, pick.element), dial.element),
      question: {
        text: `At first one component of ${n} is in. How many does it take until you can say what it is?`,
        options: ["about 5", "about 30", `all ${n}`],
        right: () => 0,
        said: () => `About 5: the first ${enough} of ${n} hold ${percent(share[enough - 1])} of Σs, and what the picture is about; the last ones hold its grain. Now choose a component and turn its knob: below 0 it is turned around, at 3 it is overdone.`,
      },
      lock: (on) => {
        keep.lock(on);
        dial.lock(on);
      },
    };
  }

  makers.push(
    { name: "Stretch", title: "A matrix makes an ellipse of a circle", make: stretch },
    { name: "Knobs", title: "Its singular values are knobs", make: knobs },
    { name: "Picture", title: "A picture, taken apart and rebuilt", make: pictureStep },
  );
})();
