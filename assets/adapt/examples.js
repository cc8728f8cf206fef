/* The Adapt page's table of examples: typed, pasted, uploaded, from a sample or from a generator; and
   the time that a search on them will take. */
"use strict";

(() => {
  const PAUSE_MS = 500; // of typing, before the estimate is asked for
  const ALIKE = 60; // characters at the beginning of all prompts, which a cell need not show
  const MAX_FILE = 400000; // bytes; as many characters are read at once
  const { panels, page, hints, h, hear, inTurn, say, opens, adaptMemory: memory } = window.t2ui;
  const MAKING = "The generator makes its rows …";
  page.split = { held: [], searched: 0 };

  panels.examples = (host, api) => {
    let rows = [];
    let drawn = "";
    let stamp = null; // of the last value that Python gave
    let timer = null;
    let addedTo = ""; // the rows to which others are added now
    let refused = ""; // what could not be read of what was added one behind the other
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
        } }, "Add")), pasted);
    const file = h("input", { type: "file", accept: ".csv,.tsv,.txt,.json,.jsonl", hidden: true, ariaLabel: "A file of examples",
      onchange: async () => {
        const [chosen] = file.files;
        if (chosen?.size > MAX_FILE) {
          if (!underway()) refused = "";
          refuse(`${chosen.name} has ${chosen.size.toLocaleString("en")} bytes; at most ${MAX_FILE.toLocaleString("en")} are read: cut it.`);
          tell();
        } else if (chosen) add({ text: await chosen.text() });
        file.value = "";
      } });
    host.replaceChildren(bar, list, note, sheet, file);

    const plain = () => JSON.parse(api.props.value);
    const { add: adding, again, drop, underway, unwanted } = inTurn(api, "upload", "examplesAdded", () => {
      addedTo = drawn;
      if (working() || note.textContent.endsWith(MAKING)) tell();
    });
    function add(what) {
      if (!underway()) refused = "";
      adding(what);
      tell();
    }
    window.t2ui.estimateSearch = () => api.trigger("input");
    const working = () => !unwanted() && underway()?.text?.trim().startsWith("rg:") ? MAKING : "";
    /** What was refused, and after it what was done last or is being done. */
    function tell(text = working()) {
      note.textContent = note.title = [refused, text].filter(Boolean).join(" ");
      note.classList.toggle("bad", Boolean(refused));
    }
    const refuse = (text) => { refused = [refused, text].filter(Boolean).join(" "); };
    function keep() {
      drawn = JSON.stringify(rows);
      api.props.value = JSON.stringify({ ...plain(), note: "", bad: false, rows });
      memory.write({ rows });
    }
    function changed(at_once) {
      keep();
      refused = "";
      tell();
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
    /** The cell that somebody writes in: its row's texts, where that is, and the selection. */
    function hand() {
      const box = document.activeElement;
      if (!list.contains(box) || !box.matches("textarea")) return null;
      const row = box.closest(".ex-row");
      const boxes = [...row.querySelectorAll("textarea")];
      return { row: boxes.map((one) => one.value), at: [...list.children].indexOf(row),
        part: boxes.indexOf(box), selection: [box.selectionStart, box.selectionEnd] };
    }
    /** Draw the rows; the hand stays in its row, an empty one is added for it if its own is gone. */
    function build() {
      const before = hand();
      const same = (row) => row !== undefined && row.every((text, part) => text === before.row[part]);
      let at = before && (same(rows[before.at]) ? before.at : rows.findIndex(same));
      if (at === -1 && before.row.every((text) => !text.trim())) at = rows.push(before.row) - 1; // kept once it is typed in
      list.replaceChildren(...rows.map((_, i) =>
        h("div.ex-row", null, h("span.tag"), cell(i, 0, "Prompt"), cell(i, 1, "Right answer"),
          h("button.quiet", { type: "button", title: "Remove this row", ariaLabel: `Remove row ${i + 1}`, onclick: () => {
            const { held, searched } = page.split; // of the rows that stay, until it is known anew
            const used = !held.includes(i) && rows[i].some((text) => text.trim());
            page.split = { held: held.filter((row) => row !== i).map((row) => row - (row > i)), searched: Math.max(0, searched - used) };
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
      const box = before && list.children[at]?.querySelectorAll("textarea")[before.part];
      box?.focus();
      box?.setSelectionRange(...before.selection);
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
            drop();
            page.split = { held: [], searched: 0 };
            build();
            changed(true);
          } }, "clear"));
        opens(paste, sheet);
      }
      const answered = value.stamp !== stamp && underway();
      stamp = value.stamp;
      if (answered && value.bad && !unwanted()) refuse(value.note);
      if (answered && (unwanted() || drawn !== addedTo)) { // what was typed meanwhile stays
        if (!unwanted() && !value.bad) again();
        keep();
        tell(value.bad ? "" : working());
        return;
      }
      const said = value.bad ? "" : value.note; // what is bad is among the refused
      tell(answered ? said : working());
      if (answered && !value.bad && pasted.value === answered.text) pasted.value = ""; // else it can be put right
      if (JSON.stringify(value.rows) === drawn) return;
      rows = value.rows.map((row) => row.map((text) => text.replace(/\r\n?/g, "\n"))); // as a cell has them
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
})();
