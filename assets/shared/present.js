/* Presentation: large type for a projector of 1280 × 720, one card at a time, so that the last row of
   a class reads answers and bars. Four parameters that go with any link:

   present=1    large type
   point=NAME   shows that card, with a frame around it; names are the keys of `stages`
   go=1         asks by itself once the page is ready (what a page does for it is in `goes`)

   A page registers its cards in `t2ui.stages`: {page: {NAME: [words, selector, of?]}}; `of` is the
   name of the card that stands alone while a part of it is pointed at. */
"use strict";

(() => {
  const GO_MS = 700; // between two tries
  const { h, fill, say, hear } = window.t2ui;
  const stages = {};
  const goes = {}; // page -> a function that asks if it can, and says whether it has asked already
  const query = new URLSearchParams(location.search);
  const says = (name) => query.has(name) && !["0", "false"].includes(query.get(name));
  const link = { on: says("present"), point: query.get("point") || "", go: says("go") };
  let on = false;
  let stage = ""; // the card that stands alone
  let point = link.point;

  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  const nav = h("nav.t2-stages", { ariaLabel: "Cards, one at a time" });

  /** The page that is open, by its title in small letters. */
  const open = () =>
    document.querySelector("#pages [role=tab][aria-selected=true]")?.textContent.trim().toLowerCase() || "";
  const cards = () => stages[open()] || {};
  const alone = () => Object.entries(cards()).filter(([, [, , of]]) => !of);

  /** What stands, what does not, and the frame: as rules, since Gradio may draw its parts anew. */
  function show() {
    const known = cards();
    const [, selector, of] = known[point] || [];
    const names = alone().map(([name]) => name);
    if (!names.includes(stage)) stage = names[0] || "";
    if (selector && names.includes(of || point)) stage = of || point;
    const rules = selector ? [`${selector} { outline: 4px solid var(--t2-accent); outline-offset: -2px; border-radius: var(--t2-radius); }`] : [];
    if (on) {
      for (const [name, [, other]] of alone()) if (name !== stage) rules.push(`#t2-present ${other} { display: none !important; }`);
    }
    sheet.replaceSync(rules.join("\n"));
    document.documentElement.id = on ? "t2-present" : ""; // an id: Gradio writes all rules anew with classes of its own
    fill(nav, names.length > 1 && on ? alone().map(([name, [words]]) =>
      h("button.chip", { type: "button", ariaPressed: String(name === stage), onclick: () => {
        [stage, point] = [name, ""];
        show();
      } }, words)) : null);
    nav.hidden = !nav.childElementCount;
  }

  function setPresent(wanted) {
    if (on && !wanted) point = "";
    on = wanted;
    if (!nav.isConnected) document.body.append(nav);
    show();
    dispatchEvent(new Event("resize")); // plots fit themselves anew
    say("present");
  }

  /** Ask by itself, as soon as the page that the link opened can, until it has; not what somebody
      types meanwhile. */
  function go(opened) {
    if (typed || open() !== opened) return;
    if (!goes[opened]?.()) setTimeout(go, GO_MS, opened);
  }
  let typed = false;
  document.addEventListener("input", (event) => (typed ||= event.isTrusted), true);

  hear("page", show);
  window.t2ui.beginPresenting = () => {
    setPresent(link.on);
    if (point && !on) document.querySelector(cards()[point]?.[1])?.scrollIntoView({ block: "center" });
    if (link.go) setTimeout(() => go(open()), GO_MS); // by then the link's page is open
  };
  Object.assign(window.t2ui, { stages, goes, setPresent, presents: () => on, openPage: open });
})();
