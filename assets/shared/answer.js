/* The two answers, and the line below them: receipt, code, permalink. */
"use strict";

(() => {
  const {
    panels, page, h, fill, hear, number, duration, quoted, tips, copy, opens, mixtureWords, mixColour, outdated,
  } = window.t2ui;
  const LIMIT = 3; // nats at which a tint is full; the scale is symmetric

  /** Code between ``` fences, as [start, end, kind]: the newlines around it are not shown twice. */
  function fences(text) {
    const parts = [];
    for (const m of text.matchAll(/(\n?)(```[^\n`]*\n?)([\s\S]*?)(\n?```\n{0,2}|$)/g)) {
      let place = m.index;
      for (const [kind, part] of [["gap", m[1]], ["fence", m[2]], ["code", m[3]], ["gap", m[4]]]) {
        if (part) parts.push([place, place + part.length, kind]);
        place += part.length;
      }
    }
    return parts;
  }

  /** Append `tokens` ({text, …}) to `box`, fenced code in a block of its own. */
  function write(box, tokens, decorate) {
    const parts = fences(tokens.map((t) => t.text).join(""));
    let place = 0;
    let block = null;
    for (const token of tokens) {
      let rest = token.text;
      while (rest) {
        const part = parts.find(([, end]) => place < end);
        const inside = part && place >= part[0] ? part[2] : "";
        const piece = rest.slice(0, (part ? (inside ? part[1] : part[0]) : Infinity) - place);
        let node = decorate ? decorate(token, piece) : document.createTextNode(piece);
        if (inside === "fence" && place === part[0]) block = box.appendChild(h("div.code", { dir: "ltr" }));
        if (!inside) block = null;
        if (inside === "gap" || inside === "fence") node = h(`span.${inside}`, null, node);
        (block || box).append(node);
        place += piece.length;
        rest = rest.slice(piece.length);
      }
    }
  }

  const tint = (shift) => {
    const size = Math.min(1, Math.abs(shift) / LIMIT);
    const colour = shift < 0 ? "var(--t2-down)" : "var(--t2-up)";
    return size < 0.02 ? "" : `color-mix(in srgb, ${colour} ${Math.round(46 * size)}%, transparent)`;
  };

  const list = (title, kind, candidates) =>
    h("div", null, h("h5", null, title), candidates.map(([text, p]) =>
      h(`div.cand.${kind}`, null, h("code", { dir: "auto" }, quoted(text)),
        h("b", { style: { "--w": `${100 * p}%` } }), h("em", null, number(p)))));

  function bubble(shift) {
    const [text, lp, base, mine, others] = shift;
    const factor = Math.exp(Math.abs(lp - base));
    const times = factor < 1.05 ? "about as likely as" : `${factor >= 1000 ? "over 1000" : number(factor, factor < 10 ? 1 : 0)} times ${lp > base ? "likelier" : "less likely"} than`;
    return h("div.bubble", null,
      h("p", null, h("code", { dir: "auto" }, quoted(text)), ` ${times} under the base model`),
      h("div.cands", null, list("adapted", "mix", mine), list("base", "base", others)));
  }

  panels.answer = (host) => {
    const pane = host.dataset.pane;
    let shifts = [];
    const follows = (host.dataset.follows || "").split(" "); // of "prompt" and "mixture": see `outdated`
    const text = h("div.text", { tabIndex: 0, role: "group", dir: "auto", ariaLabel: `${pane} answer` });
    const foot = h("p.foot");
    const card = host.closest(".t2-card");
    const side = card?.querySelector(".card-head .side");
    let shown = null; // the value drawn last
    let touched = false; // since the question: a hand was on the text, which then stays where it is
    fill(host, text, foot);
    for (const name of ["wheel", "touchmove", "pointerdown", "keydown"]) {
      text.addEventListener(name, () => {
        touched ||= text.scrollHeight > text.clientHeight;
      }, { passive: true });
    }
    tips(host, "[data-token]", (span) => shifts[span.dataset.token] && bubble(shifts[span.dataset.token]));

    function body(value) {
      shifts = value.shifts || [];
      if (!shifts.length) {
        const all = value.pieces.join("");
        const cut = value.mark;
        if (cut === null || cut >= all.length) return write(text, [{ text: all }]);
        const word = all.slice(cut).match(/^\s*\S+/)?.[0] || all.slice(cut, cut + 1);
        const parts = [{ text: all.slice(0, cut) }, { text: word, first: true }, { text: all.slice(cut + word.length) }];
        return write(text, parts, (t, part) =>
          t.first ? h("mark.first", { title: "The first difference between the answers." }, part) : part);
      }
      write(text, shifts.map((s, i) => ({ text: s[0], i })), (token, part) => {
        const shift = shifts[token.i];
        const first = token.i === value.first;
        return h(first ? "mark.token.first" : "span.token",
          { data: { token: token.i }, style: { background: tint(shift[1] - shift[2]) } }, part);
      });
    }

    /** Say what made the text, and whether the page stands for something else by now. */
    function mark() {
      const made = shown?.answered;
      const old = made && shown.pieces.length ? outdated(made).filter((part) => follows.includes(part)) : [];
      host.toggleAttribute("data-old", old.length > 0);
      card?.style.setProperty("--t2-mix", made ? mixColour(made.mixture) : ""); // not the sliders'
      if (!side) return;
      const verb = ["waiting", "streaming"].includes(shown?.state) ? "answering" : "answered";
      const words = made && pane === "adapted" ? `${verb} with ${mixtureWords(made.mixture)}` : "";
      const why = { prompt: "another prompt", mixture: "sliders moved" }[old[0]];
      side.title = words && `${verb} with ${mixtureWords(made.mixture, Infinity)} · set by: ${made.set_by}`;
      fill(side, words && h("span.made", null, words), why && h("span.old", {
        title: old[0] === "prompt"
          ? "The prompt above is another one by now: press Ask to answer it."
          : "The sliders stand elsewhere by now: press Ask to answer with them.",
      }, `old: ${why}`));
    }
    hear("prompt", mark);
    hear("mixture", mark);

    function statistics(value) {
      if (!value.tokens) return [];
      const rate = value.tokens / value.seconds;
      const speed = value.seconds > 0 ? ` · ${number(rate, rate < 10 ? 1 : 0)} tokens/s` : "";
      const parts = [`${value.tokens} ${value.tokens === 1 ? "token" : "tokens"} · ${duration(value.seconds)}${speed}`];
      if (value.state === "stopped") parts.push(" · stopped");
      if (pane === "adapted" && value.state === "done" && value.compared) {
        parts.push(value.first === null ? " · the same as the base model's" : ` · first difference at token ${value.first + 1}`);
      }
      return parts;
    }

    return (value) => {
      // Sent before the question was stopped, come after: it would stream on for ever.
      const late = value.question && value.question === page.stopped && ["waiting", "streaming"].includes(value.state);
      if (late) value = { ...value, state: "stopped" };
      const ended = shown?.state === "streaming" && value.state === "done";
      if (value.question !== shown?.question) touched = false;
      shown = value;
      const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
      host.dataset.state = value.state;
      text.replaceChildren();
      if (value.pieces.length) body(value);
      else if (value.state === "waiting") {
        text.append(h("div.skeleton", null, h("i"), h("i"), h("i")), h("p.waiting", null, value.message));
      } else if (value.state === "empty") text.append(h("div.empty", null, h("p", null, value.message)));
      else if (value.state === "stopped") text.append(h("div.empty", null, h("p", null, "Stopped before the first token.")));
      if (value.state === "failed") {
        text.append(h("div.failed", { role: "alert" }, h("p", null, value.message), h("p.remedy", null, value.remedy)));
      }
      if (value.state === "streaming") {
        text.append(h("i.caret"));
        if (atEnd) text.scrollTop = text.scrollHeight;
      } else if (ended && !touched) text.scrollTop = 0;
      mark();
      const legend = value.shifts?.length
        ? h("span.legend", { title: "How much likelier (red) or less likely (blue) a token is under the adapted model than under the base model, in nats. Point at a token to see both models' candidates." },
            `−${LIMIT}`, h("i"), `+${LIMIT} nats`)
        : null;
      fill(foot, h("span", null, statistics(value)), legend);
    };
  };

  /* --- receipt, code, permalink --------------------------------------------------------------- */

  panels.footer = (host, api) => {
    let wanted = "";
    const pane = (id, label) => h("div.sheet", { id, ariaLabel: label, popover: "auto" });
    const receipt = pane("receipt-sheet", "Receipt");
    const code = pane("code-sheet", "Code");
    const link = pane("link-sheet", "Permalink");
    const button = (text, hint, sheet, what) => {
      const b = h("button.link", { type: "button", title: hint, onclick: () => {
        wanted = what;
        if (what) api.trigger("select", { what });
      } }, text);
      if (what === "link") b.classList.add("copy-icon");
      opens(b, sheet);
      return b;
    };
    const note = h("span.note");
    host.replaceChildren(
      button("receipt ▾", "Everything needed to get the same tokens again.", receipt, ""),
      button("show the code ▾", "The same from Python, the command line and HTTP.", code, "code"),
      button("permalink", "A link that carries the prompt, the sliders and the settings.", link, "link"),
      note, receipt, code, link);

    const copyable = (text) => {
      const b = h("button.chip", { type: "button", onclick: () => copy(text, b) }, "copy");
      return b;
    };
    let tab = "Python";
    function drawCode(value) {
      const names = Object.keys(value.code);
      fill(code,
        h("div.sheet-head", { role: "tablist" }, names.map((name) =>
          h("button.tab", { type: "button", role: "tab", ariaSelected: String(name === tab),
            onclick: () => { tab = name; drawCode(value); } }, name)),
        copyable(value.code[tab] || "")),
        h("pre", null, value.code[tab] || ""));
    }
    return (value) => {
      fill(receipt,
        h("div.sheet-head", null, h("b", null, "Receipt"), value.receipt ? copyable(JSON.stringify(value.receipt, null, 2)) : null),
        value.receipt
          ? h("pre", null, JSON.stringify(value.receipt, null, 2))
          : h("div.empty", null, h("p", null, "Ask something first: the receipt names the model, the experts' hashes, the mixture, the seed and the timings.")));
      if (value.code) drawCode(value);
      if (value.link !== null) {
        const url = location.origin + location.pathname + value.link;
        const box = h("input", { type: "text", readOnly: true, value: url, ariaLabel: "Permalink" });
        const b = copyable(url);
        fill(link, h("div.sheet-head", null, h("b", null, "Permalink"), b), box,
          value.link_note && h("p.remedy", null, value.link_note));
        if (wanted === "link") {
          history.replaceState(null, "", url);
          copy(url, b);
        }
      }
      wanted = "";
    };
  };
})();
