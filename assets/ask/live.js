/* What follows the sliders on Ask. An answer that streams is steered: it goes on with the new
   coefficients. With "live" on, a finished one is asked for again. Newest wins: one request at a
   time, and only the last move is remembered. Both hold for the prompt that was answered: with
   another one in its box, the sliders are set for the next question. */
"use strict";

(() => {
  const STEER_MS = 120; // between two steerings
  const LIVE_MS = 150; // from the first move until it is asked again, with the newest sliders
  const LOST_MS = 5000; // in which an answer that was asked again has surely said something
  const QUIET_MS = 10000; // after one that was lost (the app is busy, say)
  const { panels, page, hints, h, fill, hear, say, tell, mixtureWords, outdated } = window.t2ui;

  hints["#live"] = "Live: when the sliders move, a finished answer is asked for again by itself. What stays the same comes at once; the first difference is underlined.";

  panels.live = (host, api) => {
    const box = h("input", { type: "checkbox", role: "switch", id: "live-switch", onchange: () => move() });
    const told = h("span.unseen", { role: "status" }); // for who does not see the marks
    fill(host, h("label", null, box, h("span", null, "live")), told);

    const wanted = () => JSON.stringify(page.mixture);
    const underWay = () => ["waiting", "streaming"].includes(page.adapted?.state);
    /** Whether the text is not what the sliders say, and could be. */
    const differs = () => {
      const made = page.adapted?.answered;
      return Boolean(made && made.prompt === page.prompt && outdated(made).includes("mixture"));
    };

    /* --- an answer under way ------------------------------------------------------------------ */

    let sent = {}; // {job, mixture}: the last steering
    let steering = false; // it is on its way
    let refused = false;
    let timer = null;
    let last = 0;
    const isSent = () => sent.job === page.adapted.job && sent.mixture === wanted();
    const steerable = () => underWay() && !newer() && Boolean(page.adapted.job) && differs();

    async function steer() {
      timer = null;
      if (!steerable() || isSent() || steering) return;
      sent = { job: page.adapted.job, mixture: wanted() };
      [steering, refused, last] = [true, false, Date.now()];
      const scope = document.querySelector("#scope input:checked")?.value;
      let error = "";
      try {
        ({ error } = JSON.parse(await api.server.steer_answer({ job: sent.job, ...page.mixture, scope })));
      } catch {
        error = "The server could not be reached, so the answer goes on as it was.";
      }
      steering = false;
      const newest = isSent();
      if (error && newest) {
        refused = true;
        if (!box.checked) tell(document.getElementById("answered-adapted"), error);
        say("follows");
      } else if (!newest) move();
    }

    /* --- a finished one ----------------------------------------------------------------------- */

    let asking = null; // a timer, while an answer is asked for again
    let asked = ""; // the mixture that it was asked with
    let missed = false; // the sliders have moved since
    // It was let go: {ended, gone}. Before both are true another one would be let go in its place.
    let going = null;
    let open = false; // an answer has been asked for that has not ended yet
    let pause = null; // a timer, until it is asked for
    let quiet = 0; // nothing is asked until then
    let past = ""; // the question that ended last
    let recheck = null;
    /** Whether one is asked for that has not said anything yet. */
    const coming = () => Boolean(asking) && !underWay();
    /** Whether a moved slider makes this answer give way to a newer one. */
    const newer = () => box.checked && (asking || page.adapted?.again);

    function again() {
      pause = null;
      const cut = page.adapted?.live && page.adapted.state === "stopped" && page.adapted.answered.prompt === page.prompt;
      if (!box.checked || !page.ready || !(differs() || cut)) return say("follows");
      if (asking) {
        missed = true;
        return giveWay();
      }
      if (open || underWay()) missed = true; // until it has ended
      if (missed || Date.now() < quiet) return say("follows");
      asked = wanted();
      page.stopsNext = false;
      asking = setTimeout(() => {
        if (underWay()) return;
        quiet = Date.now() + QUIET_MS;
        settle();
      }, LOST_MS);
      api.trigger("select", { prompt: page.adapted.answered.prompt });
      say("follows");
    }

    /** Let go of it for a newer one, once it has shown something. */
    function giveWay() {
      if (!asking || going || page.adapted.state !== "streaming") return;
      going = { ended: false, gone: false };
      api.trigger("input");
    }
    window.t2ui.liveGone = () => {
      if (going) going.gone = true;
      if (going?.ended) settle();
    };

    /** Let go of it for good: something else was asked. */
    window.t2ui.dropLive = () => {
      clearTimeout(pause); // what was moved before would ask again behind it
      pause = null;
      if (!asking) return false;
      missed = false;
      api.trigger("input");
      return true;
    };

    function over() {
      clearTimeout(asking);
      clearTimeout(pause);
      const newest = missed;
      past = page.adapted?.question;
      [asking, pause, missed, going] = [null, null, false, null];
      return newest;
    }
    /** Of an answer that was let go just as it ended, Gradio says so twice. */
    function ended() {
      clearTimeout(recheck);
      if (underWay()) recheck = setTimeout(ended, 500);
      else if (!asking || page.stopsNext || page.adapted.question !== past) settle();
    }
    function settle() {
      open = false;
      if (going) going.ended = true;
      if (going && !going.gone) return;
      if (over()) again();
      else follow();
      say("follows");
    }
    hear("ended", ended);
    hear("asked", () => {
      over();
      open = true;
      setTimeout(() => (open &&= underWay()), LOST_MS); // it may have been refused
    });
    window.t2ui.liveComing = coming;
    hear("stop", () => {
      page.stopsNext = coming(); // its first words may be on their way
      clearTimeout(pause);
      [pause, missed, asked] = [null, false, wanted()];
    });

    /* --- both --------------------------------------------------------------------------------- */

    function move() {
      if (steerable()) timer ??= setTimeout(steer, Math.max(30, last + STEER_MS - Date.now()));
      else if (box.checked && differs()) pause ??= setTimeout(again, LIVE_MS);
      say("follows");
    }

    /** Another text is there. A hand's Stop holds until the sliders move again. */
    function follow() {
      if (steerable()) return move();
      if (page.adapted?.state === "done" && !open && wanted() !== asked) move();
    }

    /** Whether a text is to be what the sliders say, without anybody pressing Ask. */
    page.follows = (value) => {
      if (newer() || !["waiting", "streaming"].includes(value.state)) return box.checked && Boolean(pause || asking);
      return !(refused && isSent());
    };

    let marks = 0;
    function announce() {
      const { steered = [] } = page.adapted;
      const now = steered.length && page.adapted.job + JSON.stringify(steered.at(-1));
      if (now && now !== marks) told.textContent = `From token ${steered.at(-1)[0] + 1} on: ${mixtureWords(steered.at(-1)[1])}.`;
      marks = now;
    }

    hear("mixture", () => {
      asked = "";
      move();
    });
    hear("adapted", () => {
      open ||= underWay();
      announce();
      if (missed) giveWay();
      follow();
    });
    return () => {};
  };
})();
