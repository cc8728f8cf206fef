/* The two answers, and the line below them: receipt, code, permalink. */
"use strict";

(() => {
  const {
    panels, page, h, fill, say, hear, number, duration, quoted, tips, copy, opens, mixtureWords, madeWords, mixColour, outdated,
  } = window.t2ui;
  const LIMIT = 3; // nats at which a tint is full; the scale is symmetric
  const CLOSE = 8; // tokens: of marks that stand closer to the next one only a tick is drawn

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

  /** Append `tokens` ({text, …}, or {node, text: ""}) to `box`, fenced code in a block of its own. */
  function write(box, tokens, decorate) {
    const parts = fences(tokens.map((t) => t.text).join(""));
    let place = 0;
    let block = null;
    for (const token of tokens) {
      if (token.node) (block || box).append(token.node);
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

  /** How far apart both models are at a place, of whatever token: one colour, it has no sign. */
  const klTint = (kl) => (kl === null || kl < 0.02 ? ""
    : `color-mix(in srgb, var(--t2-accent) ${Math.round(46 * Math.min(1, kl / LIMIT))}%, transparent)`);
  const tint = (shift) => {
    const size = Math.min(1, Math.abs(shift) / LIMIT);
    const colour = shift < 0 ? "var(--t2-down)" : "var(--t2-up)";
    return size < 0.02 ? "" : `color-mix(in srgb, ${colour} ${Math.round(46 * size)}%, transparent)`;
  };

  /** "from here on: math 0.60", in the text, where the answer was steered; a tick where the next such
      place is near. Not selected: whoever copies the text gets the model's words. */
  function steerMark([token, mixture], next) {
    const words = `from here on: ${mixtureWords(mixture)}`;
    const tick = next && next[0] - token < CLOSE;
    return h(tick ? "span.steer.tick" : "span.steer", {
      role: tick ? "img" : "note", ariaLabel: tick ? words : null, dir: "ltr",
      title: `From token ${token + 1} on: ${mixtureWords(mixture, Infinity)}. The sliders were moved while the answer was written.`,
      style: { "--colour": mixColour(mixture) }, data: { token },
    }, tick ? null : words);
  }

  /** The place of the first token that differs from another answer's; null where none does so far. */
  function firstChange(value, before) {
    const [now, then] = [value.pieces, before.pieces];
    const place = now.findIndex((piece, i) => piece !== then[i]);
    if (place >= 0) return place;
    return value.state !== "streaming" && now.length < then.length ? now.length : null;
  }

  const list = (title, kind, candidates) =>
    h("div", null, h("h5", null, title), candidates.map(([text, p]) =>
      h(`div.cand.${kind}`, null, h("code", { dir: "auto" }, quoted(text)),
        h("b", { style: { "--w": `${100 * p}%` } }), h("em", null, number(p)))));

  function bubble(shift) {
    const [text, lp, base, mine, others, kl] = shift;
    const factor = Math.exp(Math.abs(lp - base));
    const times = factor < 1.05 ? "about as likely as" : `${factor >= 1000 ? "over 1000" : number(factor, factor < 10 ? 1 : 0)} times ${lp > base ? "likelier" : "less likely"} than`;
    return h("div.bubble", null,
      h("p", null, h("code", { dir: "auto" }, quoted(text)), ` ${times} under the base model`),
      kl === null || kl === undefined ? null : h("p", null, `KL (adapted ‖ base) at this place: ${number(kl)} nats`),
      h("div.cands", null, list("adapted", "mix", mine), list("base", "base", others)));
  }

  panels.answer = (host) => {
    const pane = host.dataset.pane;
    let shifts = [];
    let byKl = false; // what the tints show
    const follows = (host.dataset.follows || "").split(" "); // of "prompt" and "mixture": see `outdated`
    const text = h("div.text", { tabIndex: 0, role: "group", dir: "auto", ariaLabel: `${pane} answer` });
    const foot = h("p.foot");
    const card = host.closest(".t2-card");
    const side = card?.querySelector(".card-head .side");
    const follower = follows.includes("mixture"); // the answer that the sliders move
    let shown = null; // the value drawn last
    let written = null; // the last one with text of its own
    let whole = null; // the last complete one before the text that is shown
    let before = null; // the one that a live answer is compared with
    let changed = null; // the place of the first token that differs from it
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
      if (!shifts.length) return plain(value);
      write(text, shifts.map((s, i) => ({ text: s[0], i })), (token, part) => {
        const shift = shifts[token.i];
        const first = token.i === (value.live ? changed : value.first);
        return h(first ? "mark.token.first" : "span.token",
          { data: { token: token.i }, style: { background: byKl ? klTint(shift[5]) : tint(shift[1] - shift[2]) } }, part);
      });
    }

    /** Text without tints: the first difference underlined, and marked where it was steered. */
    function plain(value) {
      const all = value.pieces.join("");
      const at = (token) => value.pieces.slice(0, token).join("").length;
      const cut = changed !== null ? at(changed) : (!alone && value.mark) || all.length;
      const word = all.slice(cut).match(/^\s*\S+/)?.[0] || all.slice(cut, cut + 1);
      const title = changed !== null
        ? "The first difference from the answer before the sliders moved."
        : "The first difference between the answers.";
      const steered = value.steered || [];
      const stops = steered.map((one, i) => ({ at: at(one[0]), node: steerMark(one, steered[i + 1]), text: "" }));
      const parts = [];
      let place = 0;
      const until = (end) => {
        for (const [from, to, first] of [[0, cut, false], [cut, cut + word.length, true], [cut + word.length, all.length, false]]) {
          const piece = all.slice(Math.max(place, from), Math.min(end, to));
          if (piece) parts.push({ text: piece, first });
        }
        place = Math.max(place, end);
      };
      for (const stop of stops) {
        until(stop.at);
        parts.push(stop);
      }
      until(all.length);
      write(text, parts, (t, part) => (t.first ? h("mark.first", { title }, part) : part));
    }

    /** Say what made the text, and whether the page stands for something else by now. */
    function mark() {
      const made = shown?.answered;
      const coming = Boolean(follower && made && page.follows?.(shown)); // what the sliders say by now
      const differs = (part) => follows.includes(part) && !(coming && part === "mixture");
      const old = made && shown.pieces.length ? outdated(made).filter(differs) : [];
      host.toggleAttribute("data-old", old.length > 0);
      card?.style.setProperty("--t2-mix", made ? mixColour(made.mixture) : ""); // not the sliders'
      if (!side) return;
      const verb = ["waiting", "streaming"].includes(shown?.state) && !shown.standing ? "answering" : "answered";
      const words = made && pane === "adapted" ? `${verb} with ${madeWords(made)}` : "";
      const why = { prompt: "another prompt", mixture: "sliders moved" }[old[0]];
      side.title = words && `${verb} with ${madeWords(made, Infinity)} · set by: ${made.set_by}`;
      fill(side, words && h("span.made", null, words), why && h("span.old", {
        title: old[0] === "prompt"
          ? "The prompt above is another one by now: press Ask to answer it."
          : "The sliders stand elsewhere by now: press Ask to answer with them.",
      }, `old: ${why}`), shown?.example && page.recorded(follower && !why), shown?.standing && coming && h("span.coming", { title: "The answer with the sliders as they are is on its way." }, "live: on its way"));
    }
    hear("prompt", mark);
    hear("mixture", mark);
    hear("follows", mark);
    // the first difference between two answers is none any more once one of them is another
    const other = () => pane === "base" && follows.includes("prompt") && Boolean(page.adapted?.live);
    let alone = false;
    hear("adapted", () => {
      if (other() === alone || !shown?.pieces.length) return;
      alone = other();
      draw(shown);
    });

    function statistics(value) {
      if (!value.tokens) return [];
      const count = `${value.tokens} ${value.tokens === 1 ? "token" : "tokens"}`;
      const rate = value.tokens / value.seconds;
      const speed = value.seconds > 0 ? ` · ${number(rate, rate < 10 ? 1 : 0)} tokens/s` : "";
      // how fast the machine was that recorded an example says nothing of this one
      const parts = [value.example ? count : `${count} · ${duration(value.seconds)}${speed}`];
      if (value.state === "stopped" && !(value.live && page.follows?.(value))) parts.push(" · stopped");
      if (value.live && value.state === "done" && before) {
        parts.push(changed === null ? " · unchanged" : ` · changed from token ${changed + 1} on`);
      }
      if (pane === "adapted" && value.state === "done" && value.compared && !value.live) {
        parts.push(value.first === null ? " · the same as the base model's" : ` · first difference at token ${value.first + 1}`);
      }
      return parts;
    }

    /** A finished answer is read from its beginning, a live one from where it is another. */
    function toItsBeginning(again) {
      const first = text.querySelector("mark.first");
      if (!again) text.scrollTop = 0;
      else if (first) text.scrollTop += first.getBoundingClientRect().top - text.getBoundingClientRect().top - 30;
    }

    /** Until a live answer has text, the text before it stays, with what made it. */
    const standing = (value) => ({
      ...written, standing: true, question: value.question, job: value.job, message: value.message, remedy: value.remedy,
      state: value.state === "stopped" ? written.state : value.state,
    });

    /** Take in a value with text: what a live answer is compared with, and where it differs first. */
    function compare(value) {
      if (value.question !== written?.question) {
        before = value.live && whole?.answered.prompt === value.answered?.prompt ? whole : null;
      }
      changed = before && firstChange(value, before);
      written = value;
      // a live answer that gave way to a newer one is no answer to compare with
      if (value.answered && (value.state === "done" || (value.state === "stopped" && !value.live))) whole = value;
    }

    function draw(value) {
      if (page.stopsNext && value.live && value.question !== shown?.question) {
        [page.stopped, page.stopsNext] = [value.question, false];
      }
      // Sent before the question was stopped, come after: it would stream on for ever.
      const late = value.question && value.question === page.stopped && ["waiting", "streaming"].includes(value.state);
      if (late) value = { ...value, state: "stopped" };
      const again = value.live;
      if (again && !value.pieces.length && written) value = standing(value);
      else if (value.pieces.length) compare(value);
      const ended = ["waiting", "streaming"].includes(shown?.state) && value.state === "done";
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
      } else if (ended && !touched) toItsBeginning(again);
      mark();
      if (follower) {
        page.adapted = { ...value, again };
        say("adapted");
      }
      const kl = value.shifts?.length && typeof value.shifts[0][5] === "number";
      const tints = kl ? h("button.chip.tints", { type: "button", ariaPressed: String(byKl), title: "Tint by KL (adapted ‖ base): how far apart both models' next tokens are at this place, whatever token was written.", onclick: () => {
        byKl = !byKl;
        draw(shown);
      } }, "KL") : null;
      const legend = !value.shifts?.length ? null : byKl
        ? h("span.legend", { title: "KL (adapted ‖ base): how far apart both models' next tokens are, in nats. Point at a token to see both models' candidates." },
            "0", h("i.kl"), `${LIMIT} nats`)
        : h("span.legend", { title: "How much likelier (red) or less likely (blue) a token is under the adapted model than under the base model, in nats. Point at a token to see both models' candidates." },
            `−${LIMIT}`, h("i"), `+${LIMIT} nats`);
      fill(foot, h("span", null, statistics(value)), h("span.tinted", null, tints, legend));
    }
    return draw;
  };

  /* --- receipt, code, permalink --------------------------------------------------------------- */

  panels.footer = (host, api) => {
    let wanted = "";
    const pane = (id, label) => h("div.sheet", { id, ariaLabel: label, popover: "auto" });
    const receipt = pane("receipt-sheet", "Receipt");
    const code = pane("code-sheet", "Code");
    const link = window.t2ui.linkSheet("link-sheet", "ask");
    const session = window.t2ui.sessionReceipts();
    const button = (text, hint, sheet, what) => {
      const b = h("button.link", { type: "button", title: hint, onclick: () => {
        wanted = what;
        if (what) api.trigger("select", { what });
      } }, text);
      opens(b, sheet);
      return b;
    };
    const note = h("span.note");
    host.replaceChildren(
      button("receipt ▾", "Everything needed to get the same tokens again.", receipt, ""),
      button("show the code ▾", "The same from Python, the command line and HTTP.", code, "code"),
      link.button("A link that carries the prompt, the sliders and the settings.", () => {
        wanted = "link";
        api.trigger("select", { what: "link" });
      }), session.button, note, receipt, code, link.element);

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
      if (value.link !== null && wanted === "link") link.show(value.link, value.link_note);
      session.take(value);
      wanted = "";
    };
  };
})();
