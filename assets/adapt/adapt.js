/* The Adapt page: the search that runs in the worker (asked for by its id, which this tab remembers
   across a reload), its curves, and what it found. The table of examples is in examples.js. */
"use strict";

(() => {
  const POLL_MS = 500;
  const HIDDEN_MS = 20000; // a tab nobody looks at; the server stops what nobody asks for
  const RETRY_MS = 3000;
  const { panels, page, hints, h, edit, hear, inTurn, newest, say, number, percent, plot, frame } = window.t2ui;
  const EMPTY = { state: "empty", message: "", remedy: "", line: "", fraction: null, count: 0,
    score: "", alpha: "", mixture: [], report: null };
  Object.assign(hints, {
    "#adapt-objective": "likelihood: of the right answers, without writing any (fast). right answers: the members write their answers (slow).",
    "#adapt-budget": "Members × generations (steps, for a method that follows the gradient). The paper's is the largest, and its method CEM.",
    "#adapt-estimate": "If it runs to its last generation, at the speed this worker has measured.",
    "#adapt-start": "Search the mixture that answers these examples best.",
    "#adapt-stop": "End the search; the best mixture so far is kept.",
  });
  page.search = EMPTY;

  /** What this tab remembers: {rows, id}. */
  const memory = window.t2ui.adaptMemory = {
    read() {
      try {
        return JSON.parse(sessionStorage.getItem("t2ui-adapt")) || {};
      } catch {
        return {}; // storage is blocked, or holds something else: nothing is remembered
      }
    },
    write(patch) {
      try {
        sessionStorage.setItem("t2ui-adapt", JSON.stringify({ ...memory.read(), ...patch }));
      } catch {
        // storage is blocked: a reload forgets
      }
    },
  };

  /** When the page opens: the values of the table and of the search that this tab had before. */
  window.t2ui.remembered = (examples, search) => {
    const { rows, id } = memory.read();
    const sound = Array.isArray(rows) && rows.every((row) => Array.isArray(row) && row.length === 2);
    return [sound ? edit(examples, (value) => ({ ...value, rows })) : examples, id ? JSON.stringify({ id }) : search];
  };

  /* --- the search ----------------------------------------------------------------------------- */

  panels.search = (host, api) => {
    let id = "";
    let timer = null;
    const line = h("p.line");
    const bar = h("div.bar", { role: "progressbar", ariaLabel: "Progress of the search" }, h("b"));
    host.replaceChildren(line, bar);

    function show(view) {
      host.dataset.state = view.state;
      const trouble = view.state === "failed" ? [view.message, view.remedy].filter(Boolean).join(" ") : "";
      const beside = trouble && !view.count; // in the plot's place, with what to do
      line.textContent = beside ? view.message : trouble || view.line;
      line.title = trouble || view.line;
      line.classList.toggle("bad", Boolean(trouble));
      bar.style.visibility = view.fraction === null ? "hidden" : "";
      bar.firstChild.style.setProperty("--w", `${100 * (view.fraction || 0)}%`);
      bar.ariaValueNow = Math.round(100 * (view.fraction || 0));
    }
    async function poll() {
      clearTimeout(timer);
      const asked = id;
      let wait = 0;
      try {
        const seen = page.search.id === asked ? page.search.count : -1;
        const view = JSON.parse(await api.server.search_state({ id: asked, seen }));
        if (asked !== id) return;
        const known = seen === view.count ? { score: page.search.score, alpha: page.search.alpha } : {};
        page.search = { ...view, ...known, id };
        if (view.state === "waiting" || view.state === "working") wait = document.hidden ? HIDDEN_MS : POLL_MS;
        show(page.search);
        say("search");
      } catch {
        line.textContent = "The page cannot reach its server: it tries again.";
        wait = RETRY_MS;
      }
      if (wait && host.isConnected) timer = setTimeout(poll, wait);
    }
    document.addEventListener("visibilitychange", () => !document.hidden && id && poll());
    function follow(wanted) {
      if (wanted === id) return;
      id = wanted;
      memory.write({ id });
      poll();
    }
    show(EMPTY);
    return (value) => value.id && follow(value.id);
  };

  /** One of the two plots, drawn from what the search says. */
  function curve(which, label, empty) {
    return (host) => {
      const area = h("div.plot", { role: "group", ariaLabel: label });
      host.replaceChildren(h("div.cover"), area);
      const draw = plot(area, null, "hover");
      function show() {
        const view = page.search;
        const busy = view.state === "working" || view.state === "waiting";
        const told = busy || which === "score"; // one card says what went wrong
        const state = view.count ? "done" : busy ? "waiting" : told ? view.state : "empty";
        frame(host, { state, message: (told && view.message) || empty, remedy: told ? view.remedy : "" }, area);
        if (view.count) draw(view[which], `search-${which}`);
      }
      hear("search", show);
      return show;
    };
  }
  panels["search-score"] = curve("score", "Best and mean score by generation.",
    "Give a few examples and press Start: the score of every generation appears here.");
  panels["search-alpha"] = curve("alpha", "α of each expert by generation.",
    "α of every expert, as mean and spread, appears here.");

  /* --- what was found ------------------------------------------------------------------------- */

  panels.report = (host, api) => {
    const send = newest(api);
    const { add: save } = inTurn(api, "submit", "mixtureSaved");
    let built = "";
    const body = h("div.rep");
    const bars = h("div.found");
    const actions = h("div.acts");
    const note = h("p.note", { role: "status" });
    host.replaceChildren(body, bars, actions, note);

    const shown = (x, unit) => x === null ? "–" : unit.startsWith("share of") ? percent(x) : number(x, 3);
    function numbers(report) {
      const line = (label, before, after) =>
        h("tr", null, h("th", null, label), h("td", null, before), h("td.arrow", null, "→"), h("td", null, h("b", null, after)));
      const counts = report.right_before === null ? null
        : line("right", `${report.right_before} of ${report.n}`, `${report.right_after} of ${report.n}`);
      return [
        h("p.what", { title: "The search has not seen these examples." }, report.what),
        report.before === null ? null : h("table", { title: report.unit },
          h("tr.heads", null, h("td"), h("td", null, "base"), h("td"), h("td", null, "mixture")),
          line(report.label, shown(report.before, report.unit), shown(report.after, report.unit)), counts),
        report.verdict ? h("p.verdict", null, report.verdict) : null,
      ];
    }
    function build(report) {
      const name = h("input.name", { type: "text", id: "adapt-name", placeholder: "name", maxLength: 40, ariaLabel: "Name of the new expert",
        onkeydown: (event) => event.key === "Enter" && save({ name: name.value }) });
      const prompts = h("select", { id: "adapt-prompt", dir: "auto", ariaLabel: `Prompt (${report.prompts_are})` },
        report.prompts.map((text, i) => h("option", { value: i, title: text, dir: "auto" }, text.slice(0, 80))));
      const chip = (id, text, title, act) => h("button.chip", { type: "button", id, title, onclick: act }, text);
      actions.replaceChildren(
        h("div", null,
          chip("adapt-use", "Use on the sliders", "Move the sliders of Ask to this mixture.", () => api.trigger("apply")),
          chip("adapt-file", "Download", "The mixture as JSON, for ask --mix.", () => api.trigger("download"))),
        h("div", null, name,
          chip("adapt-save", "Save as expert", "The mixture folded into one z, in the experts folder.", () => save({ name: name.value }))),
        h("div", { title: `Prompts ${report.prompts_are}, answered by both.` }, prompts,
          chip("adapt-answer", "Answer", "Answer this prompt with the base model and with the mixture.", () => send("select", { prompt: Number(prompts.value) }))));
    }
    function show() {
      const { state, report, mixture, id } = page.search;
      host.dataset.state = state;
      const ordered = [...mixture].sort((a, b) => Math.abs(b.alpha) - Math.abs(a.alpha));
      const [strongest] = ordered;
      document.getElementById("adapt")?.style.setProperty("--t2-mix", strongest?.alpha ? strongest.colour : "var(--t2-base)");
      const rows = report ? ordered : mixture; // while it searches, every row keeps its place
      bars.replaceChildren(...rows.map((one) =>
        h("div.found-row", { style: { "--colour": one.colour, "--w": `${100 * Math.min(1, Math.abs(one.alpha))}%` },
          title: `α of ${one.name}` }, h("span.name", null, h("i.dot"), h("span", null, one.name)),
          h("span.track", null, h("b")),
          h("span.value", null, number(one.alpha), one.spread === null ? "" : h("em", null, ` ± ${number(one.spread)}`)))));
      actions.hidden = !report;
      if (!report) {
        built = "";
        actions.replaceChildren();
        const words = state === "working" ? "The mean of the last generation; the comparison comes when the search ends or is stopped."
          : "Before and after on the held-out examples, and the mixture, appear here.";
        body.replaceChildren(mixture.length ? h("p.what", null, words) : h("div.empty", null, h("p", null, words)));
        return;
      }
      body.replaceChildren(...numbers(report).filter(Boolean));
      if (built !== id) build(report);
      built = id;
    }
    hear("search", () => {
      if (page.search.id !== built) note.textContent = "";
      show();
    });
    show();
    return (value) => {
      note.textContent = value.note;
      note.title = value.note;
      note.classList.toggle("bad", value.bad);
    };
  };
})();
