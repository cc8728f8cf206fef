/* A QR code (ISO/IEC 18004) of a text: byte mode, error correction L, the smallest version that holds
   it. Of the eight patterns that may lie over the bits it always takes the third, which breaks up long
   runs. `t2ui.qr(text)` gives rows of booleans, true for dark; null for more than 2953 bytes. */
"use strict";

(() => {
  // of level L, by version from 1 on: check bytes in each block, and blocks
  const CHECK = [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28, 28, 28, 30, 30, 26, 28, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30];
  const BLOCKS = [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8, 8, 9, 9, 10, 12, 12, 12, 13, 14, 15, 16, 17, 18, 19, 19, 20, 21, 22, 24, 25];
  const LEVEL_L = 1;
  const PATTERN = 3;
  const flips = (x, y) => (x + y) % 3 === 0;

  /* --- bytes -------------------------------------------------------------------------------- */

  /** How many bytes a version holds, data and check together. */
  function capacity(version) {
    const marks = version === 1 ? 0 : Math.floor(version / 7) + 2; // alignment patterns in a row
    const bits = (16 * version + 128) * version + 64 - (marks && (25 * marks - 10) * marks - 55) - (version >= 7 ? 36 : 0);
    return Math.floor(bits / 8);
  }
  const dataBytes = (version) => capacity(version) - CHECK[version - 1] * BLOCKS[version - 1];
  const lengthBits = (version) => (version < 10 ? 8 : 16);

  /** The product in the field of 256 elements by x⁸ + x⁴ + x³ + x² + 1. */
  function times(a, b) {
    let product = 0;
    for (let bit = 7; bit >= 0; bit--) {
      product = (product << 1) ^ ((product >>> 7) * 0x11d);
      product ^= ((b >>> bit) & 1) * a;
    }
    return product;
  }

  /** The Reed–Solomon check bytes of a block. */
  function checkOf(block, count) {
    const divisor = new Array(count).fill(0);
    divisor[count - 1] = 1;
    for (let i = 0, root = 1; i < count; i++, root = times(root, 2)) {
      for (let j = 0; j < count; j++) divisor[j] = times(divisor[j], root) ^ (divisor[j + 1] || 0);
    }
    const rest = new Array(count).fill(0);
    for (const byte of block) {
      const factor = byte ^ rest.shift();
      rest.push(0);
      divisor.forEach((d, i) => (rest[i] ^= times(d, factor)));
    }
    return rest;
  }

  /** The text's bytes in blocks with their check bytes, woven into each other. */
  function codewords(bytes, version) {
    const bits = [];
    const put = (value, length) => {
      for (let i = length - 1; i >= 0; i--) bits.push((value >>> i) & 1);
    };
    put(4, 4); // byte mode
    put(bytes.length, lengthBits(version));
    for (const byte of bytes) put(byte, 8);
    const room = 8 * dataBytes(version);
    put(0, Math.min(4, room - bits.length));
    put(0, (8 - (bits.length % 8)) % 8);
    for (let pad = 0xec; bits.length < room; pad ^= 0xec ^ 0x11) put(pad, 8);
    const data = [];
    for (let i = 0; i < bits.length; i += 8) data.push(parseInt(bits.slice(i, i + 8).join(""), 2));

    const [count, check, all] = [BLOCKS[version - 1], CHECK[version - 1], capacity(version)];
    const short = Math.floor(all / count) - check; // data bytes of the shorter blocks, which come first
    const shorter = count - (all % count);
    const blocks = [];
    for (let i = 0, at = 0; i < count; i++) {
      const length = short + (i < shorter ? 0 : 1);
      blocks.push(data.slice(at, at + length));
      at += length;
    }
    const checks = blocks.map((block) => checkOf(block, check));
    const woven = [];
    for (let i = 0; i <= short; i++) for (const block of blocks) if (i < block.length) woven.push(block[i]);
    for (let i = 0; i < check; i++) for (const one of checks) woven.push(one[i]);
    return woven;
  }

  /* --- modules ------------------------------------------------------------------------------ */

  /** `value` with the remainder that a code of these bits appends. */
  function withRemainder(value, generator, bits) {
    let rest = value;
    for (let i = 0; i < bits; i++) rest = (rest << 1) ^ ((rest >>> (bits - 1)) * generator);
    return (value << bits) | rest;
  }

  function alignments(version) {
    if (version === 1) return [];
    const size = 17 + 4 * version;
    const count = Math.floor(version / 7) + 2;
    const step = Math.floor((version * 8 + count * 3 + 5) / (count * 4 - 4)) * 2;
    return [6, ...Array.from({ length: count - 1 }, (_, i) => size - 7 - step * (count - 2 - i))];
  }

  /** What is the same for every text of a version; null where the text's bits go. */
  function frame(version) {
    const size = 17 + 4 * version;
    const grid = Array.from({ length: size }, () => new Array(size).fill(null));
    const set = (x, y, dark) => {
      if (x >= 0 && y >= 0 && x < size && y < size) grid[y][x] = dark;
    };
    for (let i = 0; i < size; i++) {
      set(6, i, i % 2 === 0);
      set(i, 6, i % 2 === 0);
    }
    for (const [cx, cy] of [[3, 3], [size - 4, 3], [3, size - 4]]) {
      for (let dy = -4; dy <= 4; dy++) for (let dx = -4; dx <= 4; dx++) {
        const far = Math.max(Math.abs(dx), Math.abs(dy));
        set(cx + dx, cy + dy, far !== 2 && far !== 4);
      }
    }
    const places = alignments(version);
    const last = places.length - 1;
    places.forEach((cx, i) => places.forEach((cy, j) => {
      if ((i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0)) return;
      for (let dy = -2; dy <= 2; dy++) for (let dx = -2; dx <= 2; dx++) set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
    }));
    if (version >= 7) {
      const said = withRemainder(version, 0x1f25, 12);
      for (let i = 0; i < 18; i++) {
        const [a, b] = [size - 11 + (i % 3), Math.floor(i / 3)];
        set(a, b, Boolean((said >>> i) & 1));
        set(b, a, Boolean((said >>> i) & 1));
      }
    }
    const said = withRemainder((LEVEL_L << 3) | PATTERN, 0x537, 10) ^ 0x5412; // twice, beside the corners
    for (let i = 0; i < 15; i++) {
      const dark = Boolean((said >>> i) & 1);
      set(8, i < 6 ? i : i < 8 ? i + 1 : size - 15 + i, dark);
      set(i < 8 ? size - 1 - i : i === 8 ? 7 : 14 - i, 8, dark);
    }
    set(8, size - 8, true);
    return grid;
  }

  window.t2ui.qr = (text) => {
    const bytes = new TextEncoder().encode(text);
    const needed = (version) => Math.ceil((4 + lengthBits(version) + 8 * bytes.length) / 8);
    const version = CHECK.findIndex((_, i) => needed(i + 1) <= dataBytes(i + 1)) + 1;
    if (!version) return null;
    const grid = frame(version);
    const size = grid.length;
    const words = codewords(bytes, version);
    let at = 0; // of the text's bits, which fill columns of two, up and down
    for (let right = size - 1; right > 0; right -= 2) {
      if (right === 6) right = 5; // the timing line
      for (let i = 0; i < size; i++) for (const x of [right, right - 1]) {
        const y = (right + 1) & 2 ? i : size - 1 - i;
        if (grid[y][x] !== null) continue;
        const dark = Boolean(((words[at >>> 3] || 0) >>> (7 - (at & 7))) & 1);
        grid[y][x] = dark !== flips(x, y);
        at += 1;
      }
    }
    return grid;
  };
})();
