/* The header: name, the model's state (asked for every second while something happens, less often
   at rest, never in a hidden tab), and the switch between light and dark. */
"use strict";

(() => {
  const { panels, page, h, say, isDark, setDark } = window.t2ui;

  panels.header = (host, api) => {
    const status = h("div.status", { role: "status", ariaLive: "polite" });
    const toggle = h("button.quiet", {
      type: "button", title: "Light or dark", ariaLabel: "Switch between light and dark",
      onclick: () => setDark(!isDark()),
    }, "◐");
    host.replaceChildren(
      h("div.brand", null, h("img", { src: host.dataset.logo, alt: "", width: 26, height: 26 }), h("b", null, "t2ui")),
      h("div.right", null, status, toggle));
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
      document.body.classList.toggle("t2-ready", ready);
      if (ready && !page.ready) {
        page.ready = true;
        api.trigger("load", {});
        say("ready");
      }
      page.ready = ready;
      return value.state === "ready" ? 3000 : 1000;
    }

    async function poll() {
      let wait = 3000;
      if (!document.hidden) {
        try {
          wait = draw(await api.server.status());
        } catch {
          wait = draw({
            state: "restarting", who: "no connection", what: "trying again", progress: null,
            detail: "The page cannot reach its server. It tries again every second; start the app if it does not run.",
          });
        }
      }
      if (host.isConnected) setTimeout(poll, wait);
    }
    setTimeout(poll, 300);
    return draw;
  };
})();
