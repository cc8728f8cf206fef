/* The Compare page: the answers of several mixtures from where they part, and a mixture's layers
   switched off one at a time. */
"use strict";

(() => {
  const { panels, page, hints, h, fill, hear, newest, number, duration, putOnSliders } = window.t2ui;
  const { draw } = window.t2ui.learn;

  Object.assign(hints, {
    "#compare-prompt": "What every mixture answers.",
    "#compare-given": "A right answer as the model should write it: the bars say how likely each mixture finds it.",
    "#compare-from": ["The line's first mixture. From the base model on, the columns are strengths 0 to 2 of the other end.", 5],
    "#compare-to": ["The line's other end: an expert, or the mixture on the sliders.", 5],
    "#compare-length": "Each answer ends here, if it has not ended before.",
    "#compare-go": "Seven mixtures on the line answer at once, in one batch.",
    "#compare-questions": "What every column answers when you press Try: one answer alone proves nothing.",
    "#compare-controls": "Beside the mixtures: the same z shuffled, random z as far from 1, and the base model with examples in its prompt. If these do as well, the gain is not in what was trained.",
    "#compare-try": "Every column answers the questions; a square is one of them, filled where the answer is right.",
  });

  window.t2ui.stages.compare = { answers: ["answers", "#compare-answers"], layers: ["layers", "#compare-layers"] };
  /** By a link: once its prompt and the ends of its line are in their boxes. What is refused then
      is not asked again. */
  window.t2ui.goes.compare = () => {
    if (document.querySelector(".t2-compare").dataset.state !== "empty") return true;
    const boxes = ["#compare-prompt textarea", "#compare-from input", "#compare-to input"];
    const filled = boxes.every((box) => document.querySelector(box)?.value.trim());
    const ready = page.ready && filled;
    if (ready) document.getElementById("compare-go").click();
    return ready;
  };

  const ENDS = { length: " …", failed: " (its output was not finite any more: a smaller strength helps)" };
  const message = (text, remedy) => h("div.empty", null, h("p", null, text), remedy ? h("p.remedy", null, remedy) : null);

  panels.compare = (host, api) => {
    const send = newest(api);
    const note = h("p.foot", { role: "status" });
    const old = h("p.foot.old", { role: "status", hidden: true });
    let shownPrompt = null; // that the columns answer
    /** What stands there is what answered: another prompt in the box does not change whose. */
    function age() {
      const differs = shownPrompt !== null && (page.compared || "").trim() !== shownPrompt.trim();
      old.hidden = !differs;
      old.textContent = differs ? `These answers are to “${shownPrompt.slice(0, 120)}${shownPrompt.length > 120 ? " …" : ""}”: press Compare for the prompt above.` : "";
    }
    hear("compared", age);
    const shared = h("p.shared", { dir: "auto" });
    const grid = h("div.columns", { role: "list", tabIndex: 0, ariaLabel: "Answers by mixture" });
    const cover = h("div.cover-text");
    const sheet = window.t2ui.linkSheet("compare-link-sheet", "compare");
    const link = sheet.button("A link that asks for this comparison.", () => sheet.show(host.dataset.link));
    host.replaceChildren(old, shared, grid, cover, h("div.compare-foot", null, note, link, sheet.element));

    /** How likely the given text is, beside the first column: a bar to the right is likelier. */
    function likelihood(value, column) {
      if (column.per_token === null) return null;
      const first = value.columns[0].per_token;
      const asked = value.columns.filter((one) => one.per_token !== null);
      const most = Math.max(...asked.map((one) => Math.abs(one.per_token - first)), 1e-6);
      const shift = column.per_token - first;
      const hint = `Right answer: ${number(column.per_token)} nats per token (${value.given_tokens} tokens), ${number(Math.exp(Math.abs(shift)), 2)} times ${shift < 0 ? "less likely" : "likelier"} per token than in the first column.`;
      const half = `${(50 * Math.abs(shift)) / most}%`;
      return h("div.likelihood", { title: hint }, h("span.track", null,
        h(shift < 0 ? "b.down" : "b.up", { style: { width: half, left: shift < 0 ? `calc(50% - ${half})` : "50%" } })),
      h("em", null, number(column.per_token)));
    }
    /** A square for every question, in their order: right, wrong, or not answered yet. */
    function strip(value, column, first) {
      const { tried } = column;
      if (!tried) return null;
      const share = (part) => `${Math.round(100 * part)}`;
      const range = `95 %: ${share(tried.low)} to ${share(tried.high)} %`;
      const beside = tried.p === null ? "" : ` Beside ${first.words} on the same questions: p ${number(tried.p, 3)} (exact paired McNemar test).`;
      const words = `${tried.count} of ${tried.of} right, ${range}.${beside}`;
      return h("div.tried", { title: words },
        h("p", null, h("b", null, `${tried.count} of ${tried.of}`), tried.p !== null && tried.p < 0.05 ? h("i", null, " p < 0.05") : null),
        h("div.squares", { role: "img", ariaLabel: words }, tried.right.map((right) => h(right === null ? "span" : right ? "span.right" : "span.wrong"))));
    }
    function said(trial) {
      const { state, questions, count, message, seconds } = trial;
      if (message && state !== "stopped") return message;
      const what = `${count} questions (${questions})`;
      return state === "done" ? `${what} in ${duration(seconds)}: filled is right; point at a strip for its 95 % interval`
        : state === "stopped" ? `${what}: stopped` : `${what}: being tried …`;
    }
    let stopped = new Set(); // the runs that were
    return (value) => {
      if (value.stopped) stopped.add(value.stopped);
      const { trial } = value;
      if (trial && stopped.has(trial.run) && ["waiting", "working"].includes(trial.state)) value = { ...value, trial: { ...trial, state: "stopped", message: "" } };
      const late = stopped.has(value.run) && ["waiting", "working"].includes(value.state);
      if (late) {
        value = { ...value, state: value.columns.length ? "stopped" : "empty", message: "Stopped." };
        api.props.value = JSON.stringify(value); // what the questions are then tried beside
      }
      host.dataset.state = value.state;
      host.dataset.trial = value.trial?.state || "";
      const side = document.getElementById("compare-side");
      if (side) side.textContent = value.state === "done" ? `scope ${value.scope} · ${duration(value.seconds)}` : "";
      const there = value.columns.length > 0;
      const ended = ["done", "stopped"].includes(value.state);
      grid.hidden = !there;
      shared.hidden = !there || value.state === "unasked";
      grid.classList.toggle("many", value.columns.length > 7);
      cover.hidden = there;
      fill(cover, value.state === "waiting"
        ? h("div", null, h("div.skeleton", null, h("i"), h("i"), h("i")), h("p", null, value.message))
        : message(value.message, value.remedy));
      if (value.state === "failed") cover.setAttribute("role", "alert");
      else cover.removeAttribute("role");
      fill(shared, h("b", null, value.state === "done" && value.parts_at === null ? "all answers are the same: " : "all begin: "),
        value.shared || "– (they part at the first token)");
      fill(grid, value.columns.map((column, i) => h("div.column", { role: "listitem", style: { "--colour": column.colour } },
        h("h3", { title: column.words }, column.words),
        likelihood(value, column),
        strip(value, column, value.columns[0]),
        ended && !column.asked ? h("p.text", null, h("i", null, "Press Compare for its answer.")) :
        h("p.text", { dir: "auto" }, column.text, column.text && ENDS[column.finished] ? h("i", null, ENDS[column.finished]) : null),
        (ended || value.state === "unasked") && !column.control ? h("div.acts", null,
          h("button.chip", { type: "button", title: "Put this mixture on the sliders, and the prompt on Ask.", onclick: (event) => {
            api.trigger("select", { column: i });
            putOnSliders(event.target);
          } }, "to the sliders"),
          value.state === "done" && Object.keys(column.mixture).length ? h("button.chip", {
            type: "button", title: "Switch its layers off one at a time, and see what that does to the right answer, or to this one where none is given.",
            onclick: () => send("apply", { column: i }),
          }, "layers") : null) : null)));
      note.classList.toggle("bad", value.trial?.state === "failed");
      note.textContent = value.trial ? said(value.trial)
        : value.state === "stopped" ? "Stopped."
        : there && value.columns[0].per_token !== null ? "bars: the right answer's log-likelihood, nats per token, beside the first column; to the right (red) is likelier"
        : there && value.state === "done" ? "give a right answer above to see how likely each mixture finds it" : "";
      shownPrompt = there && value.prompt ? value.prompt : null;
      age();
      host.dataset.link = value.link || "";
      link.hidden = !value.link;
    };
  };

  panels.layers = (host) => {
    const [WIDTH, HEIGHT] = [1200, 96];
    const plot = h("div.layer-plot");
    const cover = h("div.cover-text");
    const note = h("p.foot");
    host.replaceChildren(plot, cover, note);
    return (value) => {
      host.dataset.state = value.state;
      const done = value.state === "done";
      plot.hidden = !done;
      cover.hidden = done;
      fill(cover, value.state === "waiting"
        ? h("div", null, h("div.skeleton", null, h("i"), h("i")), h("p", null, value.message)) : message(value.message, value.remedy));
      const side = document.getElementById("layers-side");
      if (side) side.textContent = done ? value.what : "";
      if (!done) return fill(note);
      const most = Math.max(...value.effects.map(Math.abs), 1e-6);
      const wide = WIDTH / value.effects.length;
      const bars = value.effects.map((effect, layer) => {
        const size = ((HEIGHT / 2 - 4) * Math.abs(effect)) / most;
        const words = `layer ${layer}: with it the text is ${number(Math.abs(effect))} nats ${effect < 0 ? "less likely" : "likelier"}`;
        const bar = draw("g", { class: effect < 0 ? "down" : "up" },
          draw("rect", { class: "area", x: layer * wide, y: 0, width: wide, height: HEIGHT }),
          draw("rect", { x: layer * wide + 2, y: effect < 0 ? HEIGHT / 2 : HEIGHT / 2 - size, width: wide - 4, height: Math.max(size, 1), rx: 2 }),
          draw("title", {}, words));
        return bar;
      });
      const labels = value.effects.map((_, layer) => h("span", null, layer % 5 && layer !== value.effects.length - 1 ? "" : layer));
      fill(plot, draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `What each layer does for the text: ${value.effects.map((e, l) => `layer ${l} ${number(e)}`).join(", ")}` },
        draw("path", { class: "axes", d: `M0 ${HEIGHT / 2}H${WIDTH}` }), ...bars), h("div.layer-names", { ariaHidden: "true" }, labels));
      note.textContent = `“${value.text.slice(0, 90)}${value.text.length > 90 ? " …" : ""}”: ${number(value.adapted)} nats with all layers, ${number(value.base)} without any; the tallest bar is ${number(most)} nats`;
    };
  };
})();
