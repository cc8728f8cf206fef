/* The picture of step 3, drawn by this code: a cat before a wall, SIDE × SIDE grey values in [0, 1],
   with a little grain, so that no component is quite without a part in it. */
"use strict";

(() => {
  const SIDE = 96;
  const EDGE = 0.012; // how soft edges are, of the picture's side
  const inside = (distance) => Math.min(1, Math.max(0, 0.5 - distance / (2 * EDGE)));

  /** How far a point is outside: of an ellipse, of a triangle, of a line of some width. */
  const disc = (cx, cy, rx, ry) => (x, y) => (Math.hypot((x - cx) / rx, (y - cy) / ry) - 1) * Math.min(rx, ry);
  const triangle = (a, b, c) => {
    const side = (p, q) => (x, y) => ((x - p[0]) * (q[1] - p[1]) - (y - p[1]) * (q[0] - p[0])) / Math.hypot(q[0] - p[0], q[1] - p[1]);
    const turns = side(a, b)(...c) < 0 ? 1 : -1;
    const sides = [side(a, b), side(b, c), side(c, a)];
    return (x, y) => Math.max(...sides.map((one) => turns * one(x, y)));
  };
  const line = (a, b, width) => (x, y) => {
    const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
    const t = Math.min(1, Math.max(0, ((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy)));
    return Math.hypot(x - a[0] - t * dx, y - a[1] - t * dy) - width;
  };

  const [FUR, EYE, PUPIL, NOSE, WHISKER] = [0.3, 0.92, 0.05, 0.75, 0.98];
  const shapes = [
    [FUR, triangle([0.2, 0.1], [0.18, 0.5], [0.46, 0.3])],
    [FUR, triangle([0.8, 0.1], [0.82, 0.5], [0.54, 0.3])],
    [FUR, disc(0.5, 0.56, 0.34, 0.32)],
    ...[0.37, 0.63].flatMap((cx) => [[EYE, disc(cx, 0.5, 0.075, 0.06)], [PUPIL, disc(cx, 0.5, 0.022, 0.052)]]),
    [NOSE, triangle([0.45, 0.62], [0.55, 0.62], [0.5, 0.68])],
    [NOSE, line([0.5, 0.68], [0.5, 0.73], 0.006)],
    [NOSE, line([0.5, 0.73], [0.43, 0.76], 0.006)],
    [NOSE, line([0.5, 0.73], [0.57, 0.76], 0.006)],
    ...[-1, 1].flatMap((side) => [-1, 0, 1].map((at) =>
      [WHISKER, line([0.5 + 0.12 * side, 0.68 + 0.02 * at], [0.5 + 0.44 * side, 0.67 + 0.07 * at], 0.005)])),
  ];

  function grey(row, column) {
    const [x, y] = [(column + 0.5) / SIDE, (row + 0.5) / SIDE];
    const wild = Math.sin(12.9898 * row + 78.233 * column) * 43758.5453;
    let value = 0.9 - 0.35 * y;
    for (const [shade, outside] of shapes) {
      const share = inside(outside(x, y));
      value += share * (shade - value);
    }
    return Math.min(1, Math.max(0, value + 0.03 * (wild - Math.floor(wild) - 0.5)));
  }

  /** The picture: an array of rows. */
  window.t2ui.learn.picture = () =>
    Array.from({ length: SIDE }, (_, row) => Array.from({ length: SIDE }, (_, column) => grey(row, column)));
})();
