/* What can be taken along: a link to what a page shows, as text and as a QR code, also as a lesson
   (large type, asks by itself, points at a card); the receipts of this visit; and mixtures that the
   browser keeps under a name. */
"use strict";

(() => {
  const QUIET = 4; // light modules around a QR code, as its standard wants
  const { panels, h, fill, copy, save, opens, stages, goes } = window.t2ui;

  /* --- a link, and its QR code ---------------------------------------------------------------- */

  /** A drawing of the text's QR code; null where it is too long for one. */
  function qrDrawing(text) {
    const rows = window.t2ui.qr(text);
    if (!rows) return null;
    const size = rows.length + 2 * QUIET;
    const path = rows.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : ""))).join("");
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [key, value] of Object.entries({ viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": "QR code of the link", "shape-rendering": "crispEdges" })) svg.setAttribute(key, value);
    const drawn = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"));
    drawn.setAttribute("d", path);
    return svg;
  }

  function enlarge(text) {
    const dialog = h("dialog.qr-large", { ariaLabel: "QR code of the link", onclick: () => dialog.close(), onclose: () => dialog.remove() },
      qrDrawing(text), h("p", null, text.length > 120 ? `${text.slice(0, 119)}…` : text));
    document.body.append(dialog);
    dialog.showModal();
  }

  /** The sheet with a link: `button(hint, ask)` makes what opens it and asks for the link, which then
      comes by `show(query, note)`. What a lesson adds is offered where the page knows it. */
  window.t2ui.linkSheet = (id, page) => {
    const lesson = { present: false, go: false, point: "" };
    const box = h("input", { type: "text", readOnly: true, ariaLabel: "Permalink" });
    const again = h("button.chip", { type: "button", onclick: () => copy(box.value, again) }, "copy");
    const code = h("div.qr");
    const remark = h("p.remedy");
    const chip = (name, words, title) => h("button.chip", { type: "button", title, data: { part: name }, onclick: () => {
      lesson[name] = !lesson[name];
      draw();
    } }, words);
    const chips = [
      stages[page] && chip("present", "large type", "Opens in large type, one card at a time, for a projector."),
      goes[page] && chip("go", "asks by itself", "Asks as soon as the page is ready."),
    ].filter(Boolean);
    const point = stages[page] && h("select", { ariaLabel: "Point at", onchange: () => {
      lesson.point = point.value;
      draw();
    } }, h("option", { value: "" }, "point at no card"), Object.entries(stages[page]).map(([name, [words]]) => h("option", { value: name }, `point at: ${words}`)));
    const offered = stages[page] && h("div.lesson", { role: "group", ariaLabel: "For a lesson" }, h("span", null, "for a lesson"), chips, point);
    const element = h("div.sheet.link-sheet", { id, popover: "auto", ariaLabel: "Permalink" },
      h("div.sheet-head", null, h("b", null, "Link to this page"), again), box, remark, offered, code);
    let query = "?";

    function draw() {
      for (const one of chips) one.ariaPressed = String(lesson[one.dataset.part]);
      /** The link with these of the lesson's parts. */
      const address = (parts) => {
        const more = parts.filter((name) => lesson[name]).map((name) => `${name}=${lesson[name] === true ? 1 : lesson[name]}`);
        const whole = [query.replace(/^\?/, ""), ...more].filter(Boolean).join("&");
        return location.origin + location.pathname + (whole && `?${whole}`);
      };
      box.value = address(Object.keys(lesson));
      const drawing = qrDrawing(box.value);
      const local = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
      fill(code, drawing
        ? h("button.quiet", { type: "button", title: "The QR code as large as the window.", ariaLabel: "Enlarge the QR code", onclick: () => enlarge(box.value) }, drawing)
        : h("p", null, "The link is too long for a QR code: shorten the prompt."),
      drawing && h("p", null, local
        ? "Press the code to enlarge it. This address leads to this computer alone: open the app by its name in the network, and phones find it too."
        : "Press the code to enlarge it."));
      // one's own address asks for nothing by itself: a reload would ask what was asked before
      history.replaceState(history.state, "", address(["present", "point"]));
    }
    function show(asked, note = "") {
      query = asked || "?";
      lesson.present = Boolean(stages[page]) && window.t2ui.presents();
      lesson.go = false;
      lesson.point = "";
      if (point) point.value = "";
      remark.textContent = note || "";
      draw();
      copy(box.value, again);
    }
    function button(hint, ask) {
      const made = h("button.link.copy-icon", { type: "button", title: hint, onclick: ask }, "permalink");
      opens(made, element);
      return made;
    }
    return { element, show, button };
  };

  /** A page's link that Python makes when it is asked for: {link, note, stamp}. */
  panels["page-link"] = (host, api) => {
    const sheet = window.t2ui.linkSheet(`${host.dataset.page}-link-sheet`, host.dataset.page);
    let last = "";
    fill(host, sheet.button(host.dataset.hint, () => api.trigger("select", {})), sheet.element);
    return (value) => {
      if (value.stamp && value.stamp !== last) sheet.show(value.link, value.note);
      last = value.stamp;
    };
  };

  /* --- the receipts of this visit ------------------------------------------------------------- */

  const RECEIPTS = "t2ui-receipts";

  /** Keeps every receipt that it is given, for as long as the tab is open; its button saves them. */
  window.t2ui.sessionReceipts = () => {
    let lines = [];
    try {
      lines = JSON.parse(sessionStorage.getItem(RECEIPTS)) || [];
    } catch {
      // storage is blocked, or holds something else: those of this page alone
    }
    const button = h("button.link", { type: "button", id: "session-receipts", title: "The receipts of all answers of this visit, one a line (JSONL).",
      onclick: () => save("t2ui-receipts.jsonl", lines.map((line) => `${line}\n`).join(""), "application/jsonl") });
    const draw = () => {
      button.hidden = !lines.length;
      button.textContent = `${lines.length} ${lines.length === 1 ? "answer" : "answers"} as JSONL ↓`;
    };
    function take(value) {
      const line = value.receipt && !value.example ? JSON.stringify(value.receipt) : "";
      if (!line || lines.includes(line)) return;
      lines.push(line);
      draw();
      try {
        sessionStorage.setItem(RECEIPTS, JSON.stringify(lines));
      } catch {
        // storage is blocked or full: a reload forgets them
      }
    }
    draw();
    return { button, take };
  };

  /* --- mixtures that the browser keeps -------------------------------------------------------- */

  const KEPT = "t2ui-presets";
  const MOST_NAME = 40; // characters

  const sound = (one) => typeof one?.name === "string" && one.alpha && typeof one.alpha === "object" && Number.isFinite(one.strength);
  function keptOnes() {
    try {
      return JSON.parse(localStorage.getItem(KEPT)).filter(sound);
    } catch {
      return []; // storage is blocked, empty, or holds something else
    }
  }

  /** A chip that opens what is kept: `now()` is the mixture on the sliders, `use(kept)` puts one there. */
  window.t2ui.keptPresets = (now, use) => {
    const list = h("ul.kept");
    const note = h("p.remedy", { role: "status" });
    const name = h("input", { type: "text", maxLength: MOST_NAME, placeholder: "a name for the mixture on the sliders", ariaLabel: "Name of the preset", onkeydown: (event) => event.key === "Enter" && keep() });
    const sheet = h("div.sheet", { id: "kept-sheet", popover: "auto", ariaLabel: "Your presets" },
      h("div.sheet-head", null, h("b", null, "Your presets"), h("span", null, "kept by this browser")),
      h("div.keep", null, name, h("button.chip", { type: "button", onclick: () => keep() }, "keep")), note, list);
    const button = h("button.link", { type: "button", id: "kept-open", title: "Keep the mixture on the sliders under a name, in this browser." }, "your presets ▾");
    opens(button, sheet);

    function write(all) {
      note.textContent = "";
      try {
        localStorage.setItem(KEPT, JSON.stringify(all));
      } catch {
        note.textContent = "This browser keeps nothing: its storage is blocked or full. A permalink keeps the mixture, too.";
      }
      draw();
    }
    function keep() {
      const called = name.value.trim();
      if (!called) return name.focus();
      const used = Object.fromEntries(Object.entries(now().alpha).filter(([, a]) => a));
      name.value = "";
      write([...keptOnes().filter((one) => one.name !== called), { name: called, alpha: used, strength: now().strength }]);
    }
    function draw() {
      const all = keptOnes();
      fill(list, all.map((one) => h("li", null,
        h("button.chip", { type: "button", title: window.t2ui.mixtureWords(one.alpha), onclick: () => use(one) }, one.name),
        h("button.quiet", { type: "button", title: `Forget ${one.name}`, ariaLabel: `Forget ${one.name}`, onclick: () => write(all.filter((other) => other.name !== one.name)) }, "×"))));
    }
    sheet.addEventListener("toggle", (event) => event.newState === "open" && draw());
    return { button, sheet };
  };
})();
