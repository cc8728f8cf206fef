/* The Adapt page: the table of examples, the search that runs in the worker (asked for by its id,
   which this tab remembers across a reload), its curves, and what it found. */
"use strict";

(() => {
  const PAUSE_MS = 500; // of typing, before the estimate is asked for
  const ALIKE = 60; // characters at the beginning of all prompts, which a cell need not show
  const POLL_MS = 500;
  const HIDDEN_MS = 20000; // a tab nobody looks at; the server stops what nobody asks for
  const RETRY_MS = 3000;
  const MAX_FILE = 400000; // bytes; as many characters are read at once
  const { panels, page, hints, h, edit, hear, inTurn, newest, say, number, percent, opens, plot, frame } = window.t2ui;
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
  page.split = { held: [], searched: 0 };

  /** What this tab remembers: {rows, id}. */
  const memory = {
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

  /* --- the table ------------------------------------------------------------------------------ */

  panels.examples = (host, api) => {
    let rows = [];
    let drawn = "";
    let stamp = null; // of the last value that Python gave
    let timer = null;
    let addedTo = ""; // the rows to which others are added now
    const list = h("div.ex-rows", { role: "group", ariaLabel: "Examples" });
    const note = h("p.note", { role: "status" });
    const bar = h("div.ex-bar");
    const pasted = h("textarea.mono", { rows: 8, dir: "auto", ariaLabel: "Text to add", placeholder:
      "prompt,answer\n\"I have 3 apples and eat 1. How many are left?\",2\n\nor one JSON object a line:\n{\"prompt\": \"…\", \"answer\": \"…\"}\n\nor a generator of reasoning_gym, and how many rows:\nrg:chain_sum:max_terms=2 12" });
    const sheet = h("div.sheet", { id: "adapt-paste-sheet", popover: "auto", ariaLabel: "Paste examples" },
      h("div.sheet-head", null, h("b", null, "Paste CSV or JSON lines, or name a generator"),
        h("button.chip", { type: "button", id: "adapt-paste-add", onclick: () => {
          add({ text: pasted.value });
          sheet.hidePopover();
          if (pasted.value.trim().startsWith("rg:")) tell("The generator makes its rows …", false);
        } }, "Add")), pasted);
    const file = h("input", { type: "file", accept: ".csv,.tsv,.txt,.json,.jsonl", hidden: true, ariaLabel: "A file of examples",
      onchange: async () => {
        const [chosen] = file.files;
        if (chosen?.size > MAX_FILE) {
          tell(`${chosen.name} has ${chosen.size.toLocaleString("en")} bytes; at most ${MAX_FILE.toLocaleString("en")} are read: cut it.`, true);
        } else if (chosen) add({ text: await chosen.text() });
        file.value = "";
      } });
    host.replaceChildren(bar, list, note, sheet, file);

    const plain = () => JSON.parse(api.props.value);
    const { add, again, underway } = inTurn(api, "upload", "examplesAdded", () => { addedTo = drawn; });
    window.t2ui.estimateSearch = () => api.trigger("input");
    function tell(text, bad) {
      note.textContent = text;
      note.title = text;
      note.classList.toggle("bad", bad);
    }
    function keep(patch = {}) {
      drawn = JSON.stringify(rows);
      api.props.value = JSON.stringify({ ...plain(), note: "", bad: false, ...patch, rows });
      memory.write({ rows });
    }
    function changed(at_once) {
      keep();
      note.textContent = "";
      clearTimeout(timer);
      timer = setTimeout(() => api.trigger("input"), at_once ? 0 : PAUSE_MS);
    }

    const cell = (i, part, label) => {
      const box = h("textarea", { rows: 1, dir: "auto", value: rows[i][part], ariaLabel: `${label} ${i + 1}`, placeholder: i ? "" : label,
        oninput: () => { rows[i][part] = box.value; changed(false); },
        onpaste: (event) => { // cells of a spreadsheet
          const text = event.clipboardData.getData("text");
          const lines = text.split("\n").filter((line) => line.trim());
          if (lines.length < 2 || !lines.every((line) => line.includes("\t"))) return;
          event.preventDefault();
          add({ text });
        } });
      return box;
    };
    function build() {
      list.replaceChildren(...rows.map((_, i) =>
        h("div.ex-row", null, h("span.tag"), cell(i, 0, "Prompt"), cell(i, 1, "Right answer"),
          h("button.quiet", { type: "button", title: "Remove this row", ariaLabel: `Remove row ${i + 1}`, onclick: () => {
            rows.splice(i, 1);
            build();
            changed(true);
          } }, "×"))),
        h("button.chip.ex-add", { type: "button", onclick: () => {
          rows.push(["", ""]);
          build();
          changed(false);
          list.querySelectorAll(".ex-row:last-of-type textarea")[0]?.focus();
        } }, "+ row"),
        rows.some((row) => row.some((text) => text.trim())) ? "" : h("p.ex-hint", null,
          "Type a few prompts with their right answers, paste or upload them, or take a sample. Of four or more, three in ten are held out: the search never sees them, and the comparison uses only them."));
      tint();
      showDifferences();
    }
    /** Long prompts that begin alike are scrolled to about where they differ. */
    function showDifferences() {
      const prompts = rows.map(([prompt]) => prompt).filter((text) => text.trim());
      const [first = ""] = prompts;
      let alike = 0;
      while (alike < first.length && prompts.every((text) => text[alike] === first[alike])) alike += 1;
      if (prompts.length < 2 || alike < ALIKE) return;
      for (const box of list.querySelectorAll(".ex-row textarea:first-of-type")) box.scrollTop = (box.scrollHeight * (alike - ALIKE / 2)) / Math.max(box.value.length, 1);
    }
    /** Which rows the search sees, in words and in two tints. */
    function tint() {
      const { held, searched } = page.split;
      list.querySelectorAll(".ex-row").forEach((row, i) => {
        const out = held.includes(i);
        const used = Boolean(searched) && rows[i]?.some((text) => text.trim());
        row.classList.toggle("held", out);
        row.classList.toggle("seen", used && !out);
        row.firstChild.textContent = out ? "held out" : used ? "search" : "";
        row.firstChild.title = out ? "Held out: only the comparison before and after uses it." : used ? "The search is scored on this row." : "";
      });
      const count = document.getElementById("adapt-count");
      if (count) count.textContent = searched ? `${searched} to search on · ${held.length} held out` : "";
    }
    hear("split", tint);

    return (value) => {
      if (!bar.childElementCount) {
        const paste = h("button.chip", { type: "button", title: "CSV, cells of a spreadsheet, JSON lines, or a generator's name." }, "paste");
        bar.append(h("span", null, "sample"), ...value.samples.map((sample) =>
          h("button.chip", { type: "button", title: sample.hint, onclick: () => add({ sample: sample.name }) }, sample.name)),
          h("i.gap"), paste,
          h("button.chip", { type: "button", title: "A .csv or .jsonl file; it is read here and not kept.", onclick: () => file.click() }, "upload"),
          h("button.chip", { type: "button", title: "Remove all rows.", onclick: () => {
            rows = [["", ""], ["", ""], ["", ""]];
            build();
            changed(true);
          } }, "clear"));
        opens(paste, sheet);
      }
      const answered = value.stamp !== stamp && underway();
      stamp = value.stamp;
      if (answered && drawn !== addedTo) { // what was typed meanwhile stays
        again();
        keep();
        return;
      }
      tell(value.note, value.bad);
      if (answered && !value.bad && pasted.value === answered.text) pasted.value = ""; // else it can be put right
      if (JSON.stringify(value.rows) === drawn) return;
      rows = value.rows.map((row) => [...row]);
      drawn = JSON.stringify(rows);
      if (drawn !== '[["",""],["",""],["",""]]') memory.write({ rows });
      build();
    };
  };

  /** The time a search will take; hands the split to the table. */
  panels.estimate = (host) => {
    hints["#adapt-method"] = host.dataset.methods; // what each search method does
    say("hints");
    return (value) => {
      const line = h(value.bad ? "p.note.bad" : "p.note", { role: "status", title: value.text }, value.text);
      host.replaceChildren(line);
      if (value.held) page.split = { held: value.held, searched: value.searched }; // else as before
      say("split");
    };
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
