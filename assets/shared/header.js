/* The header: the name of the app and of the page, the model's state (asked for every second while
   something happens, less often at rest, never in a hidden tab), and the switch between light and
   dark. */
"use strict";

(() => {
  const { panels, page, hints, h, say, isDark, setDark } = window.t2ui;

  document.documentElement.classList.toggle("fingers", matchMedia("(pointer: coarse)").matches);

  const CHOICE = "t2ui-theme";
  const remembered = () => {
    try {
      return localStorage.getItem(CHOICE);
    } catch {
      return null; // storage is blocked: the system's choice holds
    }
  };
  function switchTheme() {
    setDark(!isDark());
    try {
      localStorage.setItem(CHOICE, isDark() ? "dark" : "light");
    } catch {
      // storage is blocked: it holds for this visit
    }
  }

  /** Open the page that the link names with `tab=<id>` (`page` is Gradio's own word) or by a parameter
      of its own (`learn=3`), by a click on its tab, so that the page does what it does whenever it
      is opened. */
  window.t2ui.openFromLink = () => {
    const query = new URLSearchParams(location.search);
    const id = query.get("tab") || Object.keys(pages()).find((one) => query.has(one));
    if (pages()[id]) history.replaceState({ page: id }, "");
    openPage(id);
    window.t2ui.beginPresenting();
    followed = true;
  };
  const pages = () => JSON.parse(document.querySelector("#header .t2-header").dataset.pages); // id -> title
  let followed = false; // the link, so that the address is the visitor's own from then on

  /** The tab with this title, also where it is in the menu of those that do not fit. */
  window.t2ui.tab = (title) =>
    [...document.querySelectorAll("#pages :is([role=tablist], .overflow-dropdown) button")]
      .find((button) => button.textContent.trim() === title);
  const openPage = (id) => pages()[id] && window.t2ui.tab(pages()[id])?.click();

  /** Every page that is opened is an entry of the browser's history, so that Back leads to the page
      before. Its address names the page, so that a reload opens it again; one that says more is a
      link to something, and stays. */
  function nameInAddress(open) {
    const id = Object.keys(pages()).find((one) => pages()[one] === open);
    if (!id) return;
    if (!followed) return history.replaceState({ page: id }, ""); // the link is still to be read
    const query = new URLSearchParams(location.search);
    if (id !== "learn") query.delete("learn"); // a step of that page
    if ([...query.keys()].every((key) => ["tab", "present"].includes(key))) query.set("tab", id);
    const write = history.state?.page === id ? "replaceState" : "pushState";
    history[write]({ page: id }, "", `${location.pathname}?${query}`);
  }
  addEventListener("popstate", ({ state }) => state?.page && openPage(state.page));

  /** The page that is open is named in the only heading of the first order, and in the title. */
  function nameThePage(heading) {
    const name = () => {
      const open = document.querySelector("#pages [role=tab][aria-selected=true]")?.textContent.trim() || "";
      if (heading.textContent === open) return;
      heading.textContent = open;
      document.title = open ? `${open} · t2ui` : "t2ui";
      nameInAddress(open);
      say("page");
    };
    new MutationObserver(name).observe(document.body, { attributes: true, attributeFilter: ["aria-selected"], subtree: true });
    name();
  }

  panels.header = (host, api) => {
    // what one dispatcher is, from t2ui/catalogue.py
    for (const [name, hint] of Object.entries(JSON.parse(host.dataset.dispatchers)))
      hints[`#dispatch-mode label:has([value="${CSS.escape(name)}"])`] = hint;
    if (remembered()) setDark(remembered() === "dark");
    const status = h("div.status", { role: "status", ariaLive: "polite" });
    const toggle = h("button.quiet", {
      type: "button", title: "Light or dark", ariaLabel: "Switch between light and dark",
      onclick: switchTheme,
    }, "◐");
    const large = h("button.quiet", {
      type: "button", id: "present", title: "Large type, one card at a time, for a projector", ariaLabel: "Large type, for a projector",
      onclick: () => window.t2ui.setPresent(!window.t2ui.presents()),
    }, "Aa");
    const pressed = () => (large.ariaPressed = String(window.t2ui.presents()));
    window.t2ui.hear("present", pressed);
    pressed();
    const open = h("span.unseen");
    host.replaceChildren(
      h("h1.brand", null, h("img", { src: host.dataset.logo, alt: "", width: 26, height: 26 }), "t2ui", open),
      h("div.right", null, status, large, toggle));
    nameThePage(open);
    status.id = "status";

    function draw(value) {
      status.dataset.state = value.state;
      const bar = value.progress === null || value.state !== "loading" ? null
        : h("span.progress", { title: `${Math.round(100 * value.progress)} %` },
            h("b", { style: { "--w": `${100 * value.progress}%` } }));
      status.replaceChildren(h("i.dot"), h("span.words", null, h("span.who", null, `${value.who} · `), value.what), bar || "",
        value.state === "failed" || value.state === "restarting" ? h("span.banner", { role: "alert" }, value.detail) : "");
      status.title = [value.who, value.what, value.detail].join("\n");
      const ready = value.state === "ready" || value.state === "busy";
      const failed = value.state === "failed";
      const changed = ready !== page.ready || failed !== Boolean(page.failed);
      const others = value.library !== undefined && value.library !== page.library;
      if (value.library !== undefined) page.library = value.library;
      page.ready = ready;
      page.failed = failed ? value.detail || "The model is not running." : "";
      if ((changed || others) && (ready || failed)) api.trigger("select", {}); // the experts, or why there are none
      if (changed) say("ready");
      return value.state === "ready" ? 3000 : 1000;
    }

    /** Nothing came of asking for the state: no server, or one that does not let this page in. */
    async function without() {
      const there = await fetch("health").then((answer) => answer.json()).then(() => true, () => false);
      return there ? {
        state: "refused", who: "not let in", what: "trying again", progress: null,
        detail: "The server answers, but does not let this page in: reload it.",
      } : {
        state: "restarting", who: "no connection", what: "trying again", progress: null,
        detail: "The page cannot reach its server. It tries again every second; start the app if it does not run.",
      };
    }

    async function poll() {
      let wait = 3000;
      if (!document.hidden) {
        try {
          wait = draw(JSON.parse(await api.server.status()));
        } catch {
          wait = draw(await without());
        }
      }
      if (host.isConnected) setTimeout(poll, wait);
    }
    setTimeout(poll, 300);
    return draw;
  };
})();
