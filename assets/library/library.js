/* The Library page: a card for every expert, found by words, and what can be done with each. */
"use strict";

(() => {
  const { panels, page, h, fill, inTurn, percent, presents, putOnSliders, renames, saveBytes, twice } = window.t2ui;
  const KINDS = {
    all: () => true,
    answering: (one) => !one.dispatcher,
    "for pass one": (one) => one.dispatcher,
    "saved here": (one) => one.saved,
  };

  /** base → expert on one set: two dots with their intervals on a line from 0 to 100 %. */
  function gain(row) {
    const place = (x) => `${(100 * x).toFixed(2)}%`;
    const range = ([low, high], kind) => h(`i.range.${kind}`, { style: { left: place(low), width: place(high - low) } });
    const dot = (x, kind) => h(`b.${kind}`, { style: { left: place(x) } });
    const words = { gain: "better than the base model", loss: "worse than the base model", same: "no sure difference" }[row.apart];
    return h("div.gain", { title: `${row.set}, n = ${row.n}: base ${percent(row.base)}, expert ${percent(row.expert)} (95 % interval ${percent(row.interval[0])} to ${percent(row.interval[1])}): ${words}.` },
      h("span.set", null, row.set), h("span.line", null, range(row.base_interval, "base"), range(row.interval, "own"), dot(row.base, "base"), dot(row.expert, "own")),
      h(row.apart === "same" ? "span.numbers" : "span.numbers.sure", null, `${percent(row.base)} → ${percent(row.expert)}`), h("span.n", null, `n ${row.n}`));
  }

  /** What was measured of the mixture on the sliders, or how far that is. */
  panels.measured = (host) => {
    const note = h("p.note", { role: "status" });
    const stops = window.t2ui.stops("#library-measure", "#library-stop");
    host.append(note);
    return (value) => {
      const stopped = stops(value.run, value.running);
      note.textContent = stopped ? "Stopped: nothing was measured." : value.note;
      note.classList.toggle("bad", value.bad);
      host.dataset.state = stopped ? "done" : value.running ? "working" : value.bad ? "failed" : "done";
    };
  };

  panels.library = (host, api) => {
    let value = { experts: [] };
    const asked = new URLSearchParams(location.search);
    const { add: change } = inTurn(api, "select", "libraryChanged");
    const boxes = renames((name, to) => change({ act: "rename", name, to }));
    let kind = Object.hasOwn(KINDS, asked.get("kind")) ? asked.get("kind") : "all";
    const search = h("input.search", { type: "search", value: asked.get("find") || "", placeholder: "search the experts", ariaLabel: "Search the library", oninput: () => list() });
    const filters = h("div.chips", { role: "group", ariaLabel: "Which experts" }, Object.keys(KINDS).map((name) =>
      h("button.chip", { type: "button", data: { kind: name }, onclick: () => {
        kind = name;
        list();
      } }, name)));
    const name = h("input.name", { type: "text", maxLength: 40, placeholder: "a new name", ariaLabel: "Name of the new expert", id: "library-name" });
    const save = h("button.chip", { type: "button", title: "Fold the mixture on the sliders into one expert; its recipe is kept in the file.", onclick: () => change({ act: "save", name: name.value }) }, "save the sliders");
    const file = h("input", { type: "file", accept: ".safetensors,.svf", id: "library-file", tabIndex: -1, onchange: async () => {
      const chosen = file.files[0];
      if (!chosen) return;
      const most = Number(host.dataset.most); // bytes: no more is read and sent
      if (chosen.size > most) {
        file.value = "";
        note.textContent = `The file has ${chosen.size.toLocaleString("en")} bytes; expected an expert's file of at most ${most.toLocaleString("en")}: put a larger one into the experts folder.`;
        note.classList.add("bad");
        return;
      }
      const bytes = new Uint8Array(await chosen.arrayBuffer());
      file.value = "";
      let text = "";
      for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
      change({ act: "add", base64: btoa(text) });
    } });
    file.hidden = true;
    const add = h("button.chip", { type: "button", title: "An expert's file that you have: it is checked before it is kept.", onclick: () => file.click() }, "add a file");
    const note = h("p.note", { role: "status" });
    const grid = h("ul.cards");
    const found = h("p.foot");
    const sheet = window.t2ui.linkSheet("library-link-sheet", "library");
    const share = sheet.button("A link to the experts that are found here.", () => {
      const said = { tab: "library", find: search.value.trim(), kind: kind === "all" ? "" : kind };
      sheet.show(`?${new URLSearchParams(Object.entries(said).filter(([, words]) => words))}`);
    });
    host.replaceChildren(h("div.library-bar", null, search, filters, h("span.grow"), name, save, add, file), note, grid,
      h("div.library-foot", null, found, share, sheet.element));

    /** A link to another page about an expert; the prompt and the sliders go along. */
    function elsewhere(tab, more, title) {
      const follow = (event) => {
        const { weights, normalise, allow_transfer } = page.mixture;
        const mix = Object.entries(weights).filter(([, alpha]) => alpha).map(([name, alpha]) => `${encodeURIComponent(name)}=${alpha}`).join(",");
        const kept = { tab, ...more, prompt: page.prompt, mix, normalise: normalise && "1", transfer: allow_transfer && "1", present: presents() && "1" };
        event.currentTarget.href = `?${new URLSearchParams(Object.entries(kept).filter(([, said]) => said))}`;
      };
      return h("a.chip", { href: `?${new URLSearchParams({ tab, ...more })}`, title, onclick: follow, onauxclick: follow }, tab);
    }

    function actions(one) {
      const act = (what, more) => change({ act: what, name: one.name, ...more });
      const chip = (text, title, onclick) => h("button.chip", { type: "button", title, onclick }, text);
      const parts = [];
      if (!one.transfer) {
        parts.push(chip("to the sliders", `Only ${one.name}, at 1.`, (event) => {
          api.trigger("apply", { name: one.name });
          putOnSliders(event.target);
        }));
      }
      parts.push(elsewhere("inspect", { look: `expert:${one.name}` }, "What it did to every singular value."),
        elsewhere("compare", { to: `expert:${one.name}` }, "Its answers at seven strengths."));
      if (!one.saved) return parts;
      const rename = chip("rename", `Give ${one.name} another name.`);
      const remove = twice(chip("delete", `Delete ${one.name} for good.`), "really?", `library: delete ${one.name}`, () => act("delete"));
      return [...parts, chip("download", `${one.name} as a safetensors file.`, () => act("read")), boxes.box(one.name, rename), rename, remove];
    }

    function card(one) {
      const [first, ...others] = one.measured;
      const tag = (text, title) => h("span.tag", { title }, text);
      return h("li.expert", { style: { "--colour": one.colour }, data: { name: one.name } },
        h("h3", null, h("i.dot"), one.name,
          one.dispatcher && tag("for pass one", "It was trained to say which kind a prompt is."),
          one.saved && tag("saved here", value.words),
          one.transfer && tag("other model", `Made for ${one.transfer}: a cross-model transfer.`)),
        h("p", null, one.description || "It says nothing of itself."),
        first ? gain(first) : h("p.small", null, "Not measured yet: `t2ui evaluate` adds what it gains to the file."),
        others.length ? h("details", null, h("summary", null, `on ${others.length} other ${others.length === 1 ? "set" : "sets"}`), others.map(gain)) : null,
        h("p.small", null, one.facts),
        h("details", null, h("summary", null, "where it comes from"), h("ul", null, one.made.map((part) => h("li", null, part)),
          h("li", null, `${one.file} · sha256 ${one.sha256.slice(0, 12)}…`))),
        h("div.acts", null, actions(one)));
    }

    function list() {
      const wanted = search.value.trim().toLowerCase();
      const says = (one) => [one.name, one.description, one.facts, ...one.labels, ...one.made].join(" ").toLowerCase().includes(wanted);
      const shown = value.experts.filter((one) => KINDS[kind](one) && says(one));
      for (const chip of filters.children) chip.ariaPressed = String(chip.dataset.kind === kind);
      const empty = value.state === "waiting" ? [h("div.skeleton", null, h("i"), h("i"), h("i"))] : [];
      boxes.redraw(grid, value.experts.map((one) => one.name), () => fill(grid, shown.length ? shown.map(card) : h("li.nothing", null, empty,
        h("p", null, value.message || `No expert is found by “${search.value}”.`), value.remedy && h("p.remedy", null, value.remedy))));
      found.textContent = value.experts.length ? `${shown.length} of ${value.experts.length} experts${value.problems.length ? ` · not loaded: ${value.problems.join("; ")}` : ""}` : "";
    }

    let last = null;
    let drawn = ""; // the list as it stands: the same one is not drawn anew under somebody's hand
    return (next) => {
      value = next;
      host.dataset.state = value.state;
      if (value.note !== null) {
        note.textContent = value.note;
        note.classList.toggle("bad", value.bad);
      }
      const { note: _said, bad, file, stamp, ...listed } = value;
      if (JSON.stringify(listed) !== drawn) list();
      drawn = JSON.stringify(listed);
      if (value.file && value.stamp !== last) saveBytes(value.file);
      last = value.stamp;
    };
  };
})();
