"""Right answers against bytes, one picture: `python -m benchmarks.bytes_picture SVG LOG [LOG …]`.

Reads what `benchmarks.small_methods` has printed: a panel an expert, a mark a method with its 95 %
interval. Bytes are on a logarithmic scale; what costs none stands at the left edge.
"""

import argparse
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

LINE = re.compile(
    r"(?P<expert>\w+) \| (?P<title>.+?) \| (?P<bytes>[\d,]+) bytes \| n \d+ \| "
    r"(?P<share>[\d.]+)% \[(?P<low>[\d.]+)%, (?P<high>[\d.]+)%\]"
)
KINDS = {  # by how a title begins: the name in the key, and the colour; in the key's order
    "expert": ("the expert, as it ships", "#d55e00"),
    "SVF": ("SVF, trained again", "#e69f00"),
    "LoRA, rank 16": ("LoRA, rank 16 on q and v", "#0072b2"),
    "LoRA, rank 1 ": ("LoRA, rank 1 on all", "#56b4e9"),
    "VeRA": ("VeRA", "#cc79a7"),
    "TinyLoRA": ("TinyLoRA", "#009e73"),
    "one scale": ("one scale a matrix", "#8a6d3b"),
    "its ": ("its most changed components", "#777777"),
    "z shuffled": ("its z shuffled", "#777777"),
    "random z": ("random z", "#bbbbbb"),
    "base model": ("base model", "#1b1c1f"),
    "base, ": ("base model, five examples", "#1b1c1f"),
}
HOLLOW = ("its ", "z shuffled", "random z", "base, ")
WIDTH, HEIGHT, LEFT, TOP, GAP = 250, 190, 46, 34, 54
ACROSS, INK, LINES = 3, "#1b1c1f", "#dddddd"
LEAST, MOST = 100, 4e6  # bytes


class Mark(NamedTuple):
    kind: str  # a key of KINDS
    size: int  # bytes
    share: float  # per cent, as low and high
    low: float
    high: float


def marks(texts: list[str]) -> dict[str, list[Mark]]:
    """Expert -> what was measured; of a line that stands in several logs, the last."""
    found: dict[str, dict[str, Mark]] = defaultdict(dict)
    for match in LINE.finditer("\n".join(texts)):
        title, size = match["title"], int(match["bytes"].replace(",", ""))
        kind = next(kind for kind in KINDS if title.startswith(kind))
        numbers = (float(match[what]) for what in ("share", "low", "high"))
        found[match["expert"]][title] = Mark(kind, size, *numbers)
    return {expert: list(by_title.values()) for expert, by_title in found.items()}


def across(size: int) -> float:
    """Where a number of bytes stands, from 0 to the panel's width."""
    if not size:
        return 0.0
    part = math.log(size / LEAST) / math.log(MOST / LEAST)
    return WIDTH * (0.06 + 0.94 * part)


def panel(expert: str, found: list[Mark], left: float, top: float) -> list[str]:
    parts = [f'<text x="{left}" y="{top - 8}" font-weight="600">{escape(expert)}</text>']
    for percent in range(0, 101, 25):
        y = top + HEIGHT * (1 - percent / 100)
        parts.append(
            f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="{LINES}"/>'
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{percent}</text>'
        )
    for size, name in ((0, "0"), (1000, "1 kB"), (100_000, "100 kB"), (1_000_000, "1 MB")):
        parts.append(
            f'<text x="{left + across(size):.1f}" y="{top + HEIGHT + 16}" '
            f'text-anchor="middle">{name}</text>'
        )
    for one in found:
        name, colour = KINDS[one.kind]
        x = left + across(one.size)
        low, mid, high = (
            top + HEIGHT * (1 - part / 100) for part in (one.low, one.share, one.high)
        )
        parts.append(
            f"<g><title>{escape(name)}: {one.share:g} %, {one.size:,} bytes</title>"
            f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}"/>'
            f'<circle cx="{x:.1f}" cy="{mid:.1f}" r="4" {_filled(one.kind)}/></g>'
        )
    return parts


def _filled(kind: str) -> str:
    colour = KINDS[kind][1]
    inside = "#ffffff" if kind in HOLLOW else colour
    return f'fill="{inside}" stroke="{colour}" stroke-width="1.5"'


def picture(found: dict[str, list[Mark]]) -> str:
    """The SVG."""
    rows = math.ceil(len(found) / ACROSS)
    used = [kind for kind in KINDS if any(m.kind == kind for each in found.values() for m in each)]
    below = TOP + rows * (HEIGHT + GAP)
    width = LEFT + ACROSS * (WIDTH + GAP)
    height = below + 20 * math.ceil(len(used) / ACROSS) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    ]
    for number, (expert, each) in enumerate(found.items()):
        left = LEFT + (number % ACROSS) * (WIDTH + GAP)
        parts += panel(expert, each, left, TOP + number // ACROSS * (HEIGHT + GAP))
    for number, kind in enumerate(used):
        x = LEFT + (number % ACROSS) * (WIDTH + GAP)
        y = below + 20 * (number // ACROSS)
        parts.append(
            f'<circle cx="{x + 5}" cy="{y}" r="4" {_filled(kind)}/>'
            f'<text x="{x + 16}" y="{y + 4}">{escape(KINDS[kind][0])}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("svg", type=Path)
    parser.add_argument("logs", type=Path, nargs="+", help="of benchmarks.small_methods")
    options = parser.parse_args()
    found = marks([log.read_text(encoding="utf-8") for log in options.logs])
    options.svg.write_text(picture(found), encoding="utf-8")
    print(f"{options.svg}: {sum(map(len, found.values()))} marks of {len(found)} experts")


if __name__ == "__main__":
    main()
