"""What every expert does to every other's task: `python -m benchmarks.experts_matrix FOLDER SVG`.

Reads the results.jsonl of evaluations (`t2ui evaluate A,B,… TASK --out FOLDER/A`), one folder a
task, and writes an SVG: a row a method, a column a task, in each cell the share of right answers.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from xml.sax.saxutils import escape

CELL, LEFT, TOP = 34, 104, 96
INK, PALE = "#1b1c1f", "#ffffff"


def shares(file: Path) -> dict[str, float]:
    """Method -> share of right answers: greedy ones, or of options by their summed likelihood. Of
    an expert that was trained anew since, those of the one that answered last."""
    right: dict[str, dict[str, list[bool]]] = defaultdict(dict)  # by method and digest, in order
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "method" in row:
            by = row["right"]
            found = right[row["method"]].setdefault(row["digest"], [])
            found.append(by["greedy"] if "greedy" in by else by["sum"])
    last = {method: list(found.values())[-1] for method, found in right.items()}
    return {method: sum(found) / len(found) for method, found in last.items()}


def colour(share: float) -> str:
    """From white at 0 to blue at 1."""
    low, high = (255, 255, 255), (0, 92, 160)
    return "#" + "".join(
        f"{round(a + share * (b - a)):02x}" for a, b in zip(low, high, strict=True)
    )


def picture(found: dict[str, dict[str, float]], methods: list[str]) -> str:
    """The SVG."""
    columns = list(found)
    width, height = LEFT + CELL * len(columns) + 40, TOP + 22 * len(methods) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12"><rect width="{width}" height="{height}" '
        f'fill="{PALE}"/>'
    ]
    for x, column in enumerate(columns):
        at = LEFT + CELL * x + CELL / 2
        parts.append(
            f'<text transform="translate({at + 4} {TOP - 6}) rotate(-60)" fill="{INK}">'
            f"{escape(column)}</text>"
        )
    for y, method in enumerate(methods):
        top = TOP + 22 * y
        parts.append(
            f'<text x="{LEFT - 6}" y="{top + 15}" text-anchor="end" fill="{INK}">'
            f"{escape(method)}</text>"
        )
        for x, column in enumerate(columns):
            share = found[column].get(method)
            if share is None:
                continue
            left, ink = LEFT + CELL * x, PALE if share > 0.55 else INK
            edge = ' stroke="#d55e00" stroke-width="2"' if column == method else ""
            parts.append(
                f'<rect x="{left + 1}" y="{top + 1}" width="{CELL - 2}" height="20" '
                f'fill="{colour(share)}"{edge}/>'
                f'<text x="{left + CELL / 2}" y="{top + 15}" text-anchor="middle" fill="{ink}">'
                f"{100 * share:.0f}</text>"
            )
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with one folder a task")
    parser.add_argument("out", type=Path, help="the SVG")
    parser.add_argument(
        "--order", default="", help="tasks, comma-separated; the others are left out"
    )
    options = parser.parse_args()
    names = (
        options.order.split(",")
        if options.order
        else sorted(p.name for p in options.folder.iterdir())
    )
    found = {name: shares(options.folder / name / "results.jsonl") for name in names}
    known = {method for column in found.values() for method in column}
    methods = [*(m for m in ("base", "math", "code", "reasoning") if m in known)]
    methods += [name for name in names if name in known and name not in methods]
    options.out.write_text(picture(found, methods), encoding="utf-8")
    for name in names:
        base = found[name]["base"]
        best = max((share, m) for m, share in found[name].items() if m != name)
        print(f"{name}: base {base:.2f}, own {found[name].get(name, 0):.2f}, best other {best}")


if __name__ == "__main__":
    main()
