/* A workshop: the seat in the header, which asks for the state every two seconds; the contest for
   students; the board for the teacher. What a browser may see is decided by t2ui/http/workshop. */
"use strict";

(() => {
  const POLL_MS = 2000;
  const SOON_MS = 500; // while something is being scored
  const HIDDEN_MS = 10000; // nobody looks
  const KEPT = "t2ui-seat"; // as assets/workshop/pick.html
  const GONE = 410; // the status where the teacher freed the seat
  const TOO_OFTEN = 429;
  const ANSWER_CHARS = 80; // of an answer on the board
  const NEAR_SECONDS = 20; // since a seat was heard of: it is here
  const { panels, page, h, fill, say, hear, tell, twice } = window.t2ui;
  const state = { now: null, said: "", bad: false, lost: false }; // lost: the server knows the teacher no more

  const openPage = () => document.querySelector("#pages [role=tab][aria-selected=true]")?.textContent.trim() || "";
  const words = (mixture) => Object.entries(mixture || {}).filter(([, alpha]) => alpha)
    .map(([name, alpha]) => `${name} ${alpha.toFixed(2)}`.replace("-", "−")).join(", ") || "base model";
  const share = (x) => `${Math.round(100 * x)} %`;

  async function post(path, body) {
    try {
      const answer = await fetch(`workshop/${path}`, {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
      const found = await answer.json();
      return answer.ok ? found : { error: found.error || "The server refused it.", status: answer.status };
    } catch {
      return { error: "The page cannot reach its server: try again in a moment." };
    }
  }

  /** Take in what the server says: a new state, or the line that says why not. */
  function heard(found, said = "") {
    [state.said, state.bad] = found.error ? [found.error, true] : [said, false];
    if (!found.error) state.now = found;
    say("workshop");
  }

  /** The mixture as it acts on the sliders. */
  const handIn = async () => heard(await post("entry", { mixture: page.acts || {} }), "Handed in.");

  /** After a restart of the server nobody has a seat: take the same one again, or pick anew. */
  async function sitDown() {
    let kept = null;
    try {
      kept = localStorage.getItem(KEPT);
    } catch {
      // storage is blocked: it is picked by hand
    }
    const found = kept === null ? { error: "none", status: GONE } : await post("seats", { seat: kept });
    if (found.status && found.status !== TOO_OFTEN) location.reload(); // else with the next poll
  }

  function forget() {
    try {
      localStorage.removeItem(KEPT);
    } catch {
      // storage is blocked
    }
  }

  /** The teacher freed this seat: it is not taken again. */
  function pickAnew() {
    forget();
    location.reload();
  }

  async function leave() {
    forget();
    if (!(await post("seats", { seat: "" })).error) location.reload();
  }

  function underWay() {
    const { contest, teacher } = state.now || {};
    if (!contest) return false;
    const scoring = ["waiting", "scoring"].includes(contest.entry?.state) && contest.state === "open";
    return scoring || (teacher && (contest.state === "ending" || contest.search.state === "searching"));
  }

  /** The state came: what was said while the server did not know this page holds no more. */
  function arrived(now) {
    if (state.lost) [state.said, state.bad, state.lost] = ["", false, false];
    state.now = now;
    say("workshop");
  }

  async function poll(host) {
    const teaches = state.now?.teacher;
    if (!document.hidden) {
      try {
        const answer = await fetch(`workshop/state?page=${encodeURIComponent(openPage())}`);
        if (answer.status === 403 && teaches) {
          state.lost = true;
          heard(await answer.json());
        } else if (answer.status === 403) await sitDown();
        else if (answer.status === GONE) pickAnew();
        else if (answer.ok) arrived(await answer.json());
      } catch {
        // the header says that there is no connection
      }
    }
    if (host.isConnected) setTimeout(() => poll(host), document.hidden ? HIDDEN_MS : underWay() ? SOON_MS : POLL_MS);
  }

  /* --- the header ------------------------------------------------------------------------------ */

  panels.seat = (host, api) => {
    const contest = JSON.parse(api.props.value).contest;
    const name = h("button.quiet.who", { type: "button", id: "seat-name" }, "…");
    twice(name, "get up?", "seat", leave);
    const score = h("span.score", { id: "seat-score" });
    const hand = h("button.chip.go", { type: "button", id: "hand-in", title: "Hand the mixture on the sliders in. The last one counts.", onclick: handIn }, "Hand in");
    const box = h("span.seat-box", null, name, contest && score, contest && hand);
    let told = "";

    function draw() {
      const right = document.querySelector("#header .right");
      if (right && box.parentElement !== right) right.prepend(box);
      const now = state.now;
      const onBoard = state.now?.teacher && openPage() === "Workshop"; // where it stands already
      if (state.bad && state.said !== told && !onBoard) tell(box, state.said);
      told = state.bad ? state.said : "";
      if (!now) return;
      if (now.teacher) return fill(box, h("b", null, "teacher"));
      if (name.textContent !== "get up?") name.textContent = now.seat;
      name.title = `${now.seat} is your seat. A click gets up, so that you can pick another.`;
      if (!now.contest) return;
      hand.hidden = now.contest.state !== "open";
      const entry = now.contest.entry;
      score.textContent = !entry ? "" : entry.right === null ? "…" : `${entry.right}/${entry.of}`;
      score.title = entry ? `Your entry: ${words(entry.mixture)}. ${entry.note}` : "";
    }
    hear("workshop", draw);
    poll(host);
    return draw;
  };

  /* --- a result, the same for both --------------------------------------------------------------- */

  const interval = (one) => h("span.line", { title: `95 % interval ${share(one.low)} to ${share(one.high)}` },
    h("i", { style: { left: `${100 * one.low}%`, width: `${100 * (one.high - one.low)}%` } }));

  const RIVAL = "plays along"; // said in words, whatever the seats are called
  const named = (name, tag) => h("b", null, h("bdi", null, name), tag && h("small", null, tag));

  function standing(one, n, dot) {
    return h(one.rival ? "li.rival" : "li", { data: { name: one.name }, title: words(one.mixture) },
      named(one.name, one.rival ? RIVAL : one.name === state.now?.seat && "you"),
      h("span.range", null, interval(one), h("em", { style: { left: `${(100 * one.right) / n}%` } })),
      h("span.count", null, `${one.right}/${n}`), h("span.bounds", null, `${Math.round(100 * one.low)}–${share(one.high)}`), dot || null);
  }

  const questions = (count) => `${count} ${count === 1 ? "question" : "questions"}`;

  function tests(result) {
    const { best, entries, tied } = result;
    const who = tied.length ? `“${best}” (handed in first of ${tied.length} with as many right)` : `“${best}”`;
    return result.tests.map((one) => h("p.test", { title: tied.filter(Boolean).join(", ") }, h("b", null, `${who} against ${one.against}: `),
      `${questions(one.won)} only “${best}”, ${one.lost} only ${one.against}; p = ${one.p.toPrecision(2)}`,
      entries > 1 ? `, as the best of ${entries} entries ${one.p_of_all.toPrecision(2)}` : "", "."));
  }

  const leftOut = (result) => result.left_out.map((one) => h("p.bad", { data: { out: one.name } }, `“${one.name}” is left out. ${one.why}`));

  const ended = (result) => h("div.result", null,
    h("ul.standings", null, result.standings.map((one) => standing(one, result.n))), tests(result), leftOut(result));

  /* --- the page -------------------------------------------------------------------------------- */

  panels.workshop = (host, api) => {
    const plan = JSON.parse(api.props.value);

    function toAsk(row) {
      api.trigger("select", { row });
      [...document.querySelectorAll("#pages [role=tab]")].find((tab) => tab.textContent.trim() === "Ask")?.click();
    }

    function mine(contest) {
      const entry = contest.entry;
      const lines = {
        open: `${contest.entries} handed in so far. ${plan.contest.hidden} hidden questions decide.`,
        ending: "The contest is closed: the hidden questions are being answered.",
        ended: "The contest has ended.",
      };
      return h("div.mine", null, h("p", null, lines[contest.state]),
        h("p.entry", null, entry ? [h("b", null, entry.right === null ? "…" : `${entry.right} of ${entry.of} right`), ` with ${words(entry.mixture)}`]
          : contest.state === "open" ? "You have not handed in yet: move the sliders on Ask, then press Hand in at the top." : "You handed nothing in."),
        entry && contest.state === "open" && entry.state !== "scored" && h("p", null, entry.note || "It is being scored."),
        state.said && (state.bad || contest.state === "open") && h(state.bad ? "p.bad" : "p.good", { role: "status" }, state.said),
        contest.result && ended(contest.result));
    }

    function student(now) {
      if (!plan.contest) return fill(host, h("h2", null, plan.title), h("p", null, "There is no contest in this workshop."));
      const rows = plan.contest.rows.map(([question, answer], place) => h("tr", null,
        h("td", null, question), h("td.right", null, answer),
        h("td", null, h("button.chip", { type: "button", onclick: () => toAsk(place) }, "Ask ▸"))));
      fill(host, h("section.questions", null, h("h2", null, plan.contest.name), h("p", null, "Everybody sees these questions, with their right answers."),
        h("div.scroll", null, h("table", null, h("tbody", null, rows)))),
      h("section.own", null, h("h2", null, "Your entry"), mine(now.contest)));
    }

    let built = "";
    function draw() {
      const now = state.now;
      if (!now) return fill(host, h("p", null, "The workshop's state is on its way."));
      host.classList.toggle("board", Boolean(now.teacher));
      for (const seat of now.seats || []) if (seat.ago !== null) seat.ago = seat.ago < NEAR_SECONDS ? 0 : 10 * Math.round(seat.ago / 10); // drawn anew only for what is seen
      const key = JSON.stringify([now, state.said]);
      if (key === built) return;
      built = key;
      if (now.teacher) board(now);
      else student(now);
    }

    /* --- the board ------------------------------------------------------------------------------ */

    const act = async (body) => heard(await post("board", body));
    const free = (seat) => twice(h("button.quiet", { type: "button", title: "Whoever sits here picks a seat again.", ariaLabel: `Free ${seat.name}` }, "×"), "free?", `free ${seat.name}`, () => act({ act: "free", seat: seat.name }));
    const ago = (seconds) => seconds < 3 * 60 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;

    function tile(seat) {
      const near = seat.ago !== null && seat.ago < NEAR_SECONDS;
      return h(near ? "li.near" : "li", { title: seat.question ? `${seat.question}\n${words(seat.mixture)}` : "" },
        named(seat.name), free(seat),
        h("span.where", null, [seat.page || "–", near ? "" : ` · ${ago(seat.ago)} ago`]), h("span.answers", { title: "answers so far" }, `${seat.answers}`));
    }

    const beginning = (text) => text.length > ANSWER_CHARS ? `${text.slice(0, ANSWER_CHARS)}…` : text;

    function lastAsked(seats) {
      const asked = seats.filter((one) => one.question);
      return h("ul.asked", null, asked.slice(0, 40).map((one) => h("li", null, named(one.name), h("span.q", { title: one.question }, one.question),
        h("span.a", { title: one.answer }, beginning(one.answer)), h("span.m", null, one.mixture ? words(one.mixture) : "…"))));
    }

    function player(name, right, of, note, rival = false) {
      return h(rival ? "li.rival" : "li", { data: { name }, title: note }, named(name, rival && RIVAL), h("span.note", null, note), h("span.count", null, right === null ? "…" : `${right}/${of}`));
    }

    function searchWords(search) {
      if (search.state === "searching") return `searching, generation ${search.generation} of ${search.generations || "…"}`;
      return search.note || words(search.mixture);
    }

    function contestOn(contest) {
      const { search, entries } = contest;
      const order = [...entries].sort((a, b) => (b.right ?? -1) - (a.right ?? -1));
      const buttons = h("div.acts", null,
        h("button.chip", { type: "button", id: "start-cem", disabled: contest.state !== "open" || search.state === "searching", onclick: () => act({ act: "search" }) }, search.mixture ? "CEM again" : "Let CEM play"),
        twice(h("button.chip.go", { type: "button", id: "end-contest", disabled: contest.state !== "open" && !contest.note }, "End the contest"), "End it for all?", "end", () => act({ act: "end" })));
      const status = contest.state === "open"
        ? `${entries.length} handed in; right of the ${contest.visible} visible questions`
        : `${contest.hidden} hidden questions: ${contest.decided[0]} of ${contest.decided[1] || "…"} mixtures have answered`;
      return [buttons, h("p.status-line", null, status), contest.note && h("p.bad", null, contest.note),
        h("ul.players", null, search.state && player("CEM search", search.right, contest.visible, searchWords(search), true),
          order.map((one) => player(one.seat, one.right, contest.visible, one.note || words(one.mixture))))];
    }

    function board(now) {
      const here = now.seats.filter((one) => one.here);
      const contest = now.contest;
      const scrolled = [...host.querySelectorAll("ul")].map((one) => [one.className, one.scrollTop]);
      fill(host,
        h("section.seats", null, h("h2", null, h("bdi", null, plan.title), `: ${here.length} of ${now.seats.length} seats`),
          state.bad && h("p.bad", { role: "status" }, state.said),
          here.length ? h("ul.tiles", null, here.map(tile)) : h("p", null, "Nobody has picked a seat yet."), lastAsked(here)),
        contest && h("section.contest", null, h("h2", null, plan.contest.name),
          contest.state === "ended" ? ended(contest.result) : contestOn(contest)));
      for (const [name, top] of scrolled) {
        const list = [...host.querySelectorAll("ul")].find((one) => one.className === name);
        if (list) list.scrollTop = top;
      }
    }

    hear("workshop", draw);
    return draw;
  };
})();
