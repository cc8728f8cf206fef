/* What made an answer, {prompt, mixture, before}: in words, in a colour, and whether the page still
   stands for it. `mixture` has the coefficients as they act, `before` those that the answer began
   with and was steered away from; those on the sliders are `page.acts`. */
"use strict";

(() => {
  const NEAR = 1e-6; // what rounding may leave between two equal coefficients
  const MOST_WORDS = 3; // experts named; the others are counted
  const { page, number } = window.t2ui;

  const bySize = (mixture) => Object.entries(mixture).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));

  /** "code 0.70, math 0.30"; `most` experts at most. */
  function mixtureWords(mixture, most = MOST_WORDS) {
    const all = bySize(mixture).map(([name, a]) => `${name} ${number(a)}`);
    if (!all.length) return "the base model";
    return all.length > most ? `${all.slice(0, most).join(", ")} and ${all.length - most} more` : all.join(", ");
  }

  /** "code 1.00, then math 0.60": all that an answer went through, or its first and last. */
  function madeWords(made, most = MOST_WORDS) {
    const all = [...(made.before || []), made.mixture].map((mixture) => mixtureWords(mixture, most));
    const between = most < Infinity && all.length > 3 ? [`then ${all.length - 2} others`] : all.slice(1, -1).map((words) => `then ${words}`);
    return all.length < 2 ? all[0] : [all[0], ...between, `then ${all.at(-1)}`].join(", ");
  }

  /** The colour that stands for a mixture: that of its largest coefficient, grey for none. */
  const mixColour = (mixture) => page.colours.get(bySize(mixture)[0]?.[0]) || "var(--t2-base)";

  /** What the page stands for now, as an answer to it would say. */
  const standing = () => ({ prompt: page.prompt, mixture: page.acts });

  /** Which of "prompt" and "mixture" the page says otherwise by now. */
  function outdated(made) {
    const names = [...Object.keys(made.mixture), ...Object.keys(page.acts)];
    const of = (mixture, name) => (Object.hasOwn(mixture, name) ? mixture[name] : 0);
    const differs = (name) => Math.abs(of(made.mixture, name) - of(page.acts, name)) > NEAR;
    const parts = [];
    if (made.prompt !== page.prompt) parts.push("prompt");
    if (names.some(differs)) parts.push("mixture");
    return parts;
  }

  Object.assign(page, { acts: {}, colours: new Map() });
  Object.assign(window.t2ui, { mixtureWords, madeWords, mixColour, standing, outdated });
})();
