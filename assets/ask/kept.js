/* What somebody has typed and set by hand on Ask outlives a reload of its tab: one's own, or the one
   by which Gradio follows a server that was started again. A link's own words come first. */
"use strict";

(() => {
  const KEY = "t2ui-ask";
  const AGAIN_MS = 200;
  const { page, hear } = window.t2ui;
  const link = new URLSearchParams(location.search);
  const reloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";

  function before() {
    try {
      return (reloaded && JSON.parse(sessionStorage.getItem(KEY))) || {};
    } catch {
      return {}; // storage is blocked: it was never kept
    }
  }
  const left = before(); // what the page before this one had

  function keep() {
    try {
      sessionStorage.setItem(KEY, JSON.stringify({ prompt: page.prompt, sliders: page.byHand || null }));
    } catch {
      // storage is blocked, or full: a reload begins anew
    }
  }

  /** Put the prompt back, once its box is there, unless somebody types already. */
  function bringPrompt() {
    const box = document.querySelector("#prompt textarea");
    if (!box) return setTimeout(bringPrompt, AGAIN_MS);
    if (box.value) return;
    box.value = left.prompt;
    box.dispatchEvent(new Event("input", { bubbles: true }));
  }

  /** Put the sliders back, once there are some, unless they were moved already. */
  function bringSliders() {
    if (!page.setByHand || !document.querySelector("#mixer .mix-row")) return setTimeout(bringSliders, AGAIN_MS);
    if (!page.byHand) page.setByHand(left.sliders);
  }

  if (left.prompt && !link.get("prompt")) bringPrompt();
  if (left.sliders && !link.get("mix")) bringSliders();
  hear("prompt", keep);
  hear("mixture", keep);
})();
