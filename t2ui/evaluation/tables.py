"""Methods × sets as text, Markdown, records, SVG: accuracies, paired tests, mis-routes.

Plain numbers in, text out; knows nothing of models and files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from t2ui.evaluation.measure import paired_p, wilson

BASE_COLOUR, COLOUR, BETTER, WORSE = "#868e99", "#3b6fb6", "#2b8a57", "#c4463a"
SIGNIFICANT = 0.05
LEFT, RIGHT, ROW, HEAD = 190, 250, 22, 34  # of the picture, in pixels
PLOT, NAME_LENGTH = 420, 26  # the latter in characters
Grid = list[list[str]]


@dataclass(frozen=True)
class Cell:
    """One method on one set. `p`: paired test against the base on the same rows, if there is one;
    `base` its share on these rows."""

    name: str  # of the set
    method: str
    right: int
    n: int
    base: float | None
    p: float | None

    @property
    def share(self) -> float:
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Wilson."""
        return wilson(self.right, self.n)


def cells(
    results: Mapping[str, Mapping[str, Mapping[str, bool]]],  # set -> method -> row -> right
    base: str = "base",
) -> list[Cell]:
    """Every method on every set, over the rows that the method and the base both have."""
    found = []
    for name, methods in results.items():
        reference = methods.get(base)
        for method, rows in methods.items():
            common = [row for row in rows if reference is None or row in reference]
            if not common:
                continue
            right = [rows[row] for row in common]
            share = p = None
            if reference is not None and method != base:
                before = [reference[row] for row in common]
                share, p = sum(before) / len(before), paired_p(before, right)
            found.append(Cell(name, method, sum(right), len(right), share, p))
    return found


def records(found: Sequence[Cell]) -> list[dict[str, Any]]:
    """The table as plain data."""
    return [
        {
            "set": c.name,
            "method": c.method,
            "n": c.n,
            "accuracy": round(c.share, 4),
            "interval": [round(bound, 4) for bound in c.interval],
            **({} if c.p is None else {"base": round(c.base, 4), "p": float(f"{c.p:.2g}")}),
        }
        for c in found
    ]


def as_text(grid: Grid) -> str:
    """For a terminal: aligned columns, the first row as their heads."""
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    lines = ["  ".join(w.ljust(n) for w, n in zip(row, widths, strict=True)) for row in grid]
    lines.insert(1, "  ".join("-" * n for n in widths))
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(grid: Grid) -> str:
    """For a README or a card."""
    rows = [[word.replace("|", "\\|") for word in row] for row in grid]
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def accuracy_grid(found: Sequence[Cell]) -> Grid:
    """A row a method, a column a set."""
    names, methods = _unique(c.name for c in found), _unique(c.method for c in found)
    sizes = {c.name: max(d.n for d in found if d.name == c.name) for c in found}
    at = {(c.name, c.method): c for c in found}
    grid = [["method", *(f"{name} (n = {sizes[name]})" for name in names)]]
    for method in methods:
        row = [at.get((name, method)) for name in names]
        grid.append([method, *("" if c is None else _cell(c, sizes[c.name]) for c in row)])
    return grid


def route_grid(found: Sequence[Mapping[str, Any]]) -> Grid:
    """Mis-routes and how good the probabilities are: a row a method and family of prompts."""
    grid = [["method", "prompts", "n", "mis-routed", "ECE", "NLL"]]
    for record in found:
        low, high = record["interval"]
        grid.append(
            [
                record["method"],
                record["set"],
                str(record["n"]),
                f"{100 * record['misroutes']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]",
                f"{record['ece']:.3f}",
                "" if record["nll"] is None else f"{record['nll']:.3f}",
            ]
        )
    return grid


def cost_grid(found: Sequence[Mapping[str, Any]]) -> Grid:
    """What each training took; an empty cell where its record does not say."""
    grid = [["method", "trained parameters", "seconds of training", "peak memory, MB"]]
    for record in found:
        values = (record[key] for key in ("trained_parameters", "seconds", "peak_memory_mb"))
        grid.append([record["method"], *("" if v is None else f"{v:,}" for v in values)])
    return grid


def confusion_grid(record: Mapping[str, Any]) -> Grid:
    """How often a prompt of the row's label was taken for the column's."""
    confusion = record["confusion"]
    labels = _unique([*confusion, *(taken for row in confusion.values() for taken in row)])
    grid = [[f"{record['method']}: label \\ taken for", *labels]]
    return grid + [
        [row, *(str(taken.get(label, 0)) for label in labels)] for row, taken in confusion.items()
    ]


def svg(found: Sequence[Cell]) -> str:
    """A picture: a panel a set, a dot and its interval a method, the base's share as a line.

    Green and red where the paired test tells the method from the base at 5 %.
    """
    parts, top = [], 12
    names = _unique(c.name for c in found)
    for name in names:
        panel = [c for c in found if c.name == name]
        highest = _ceiling(max(c.interval[1] for c in panel))
        parts.append(_text(LEFT, top + 14, f"{name}, n = {max(c.n for c in panel)}", weight=600))
        axis = top + HEAD + ROW * len(panel)
        for tick in range(5):
            x = LEFT + PLOT * tick / 4
            parts.append(_line(x, top + HEAD - 8, x, axis, "#e3e6ea"))
            parts.append(_text(x, axis + 14, f"{100 * highest * tick / 4:.3g} %", "middle", 10))
        base = next((c for c in panel if c.p is None), None)
        if base:
            x = LEFT + PLOT * base.share / highest
            parts.append(_line(x, top + HEAD - 8, x, axis, BASE_COLOUR, dashed=True))
        for i, cell in enumerate(panel):
            parts += _mark(cell, top + HEAD + ROW * i + ROW / 2 - 4, highest)
        top = axis + 34
    width = LEFT + PLOT + RIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" '
        f'viewBox="0 0 {width} {top}" font-family="system-ui, sans-serif">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def percent(cell: Cell) -> str:
    """12.3 % [10.1, 14.9]"""
    low, high = cell.interval
    return f"{100 * cell.share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _cell(cell: Cell, size: int) -> str:
    part = "" if cell.n == size else f", n = {cell.n}"  # a method that is not through yet
    return percent(cell) + ("" if cell.p is None else f", p = {cell.p:.2g}") + part


def _mark(cell: Cell, y: float, highest: float) -> list[str]:
    colour = BASE_COLOUR
    if cell.p is not None:
        better = BETTER if cell.share > (cell.base or 0) else WORSE
        colour = better if cell.p < SIGNIFICANT else COLOUR
    low, x, high = (
        LEFT + PLOT * v / highest for v in (cell.interval[0], cell.share, cell.interval[1])
    )
    return [
        _text(LEFT - 10, y + 4, _short(cell.method), "end"),
        _line(low, y, high, y, colour, width=2),
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>',
        _text(
            LEFT + PLOT + 14,
            y + 4,
            percent(cell) + ("" if cell.p is None else f"  p = {cell.p:.2g}"),
            size=11,
        ),
    ]


def _text(
    x: float, y: float, words: str, anchor: str = "start", size: int = 12, weight: int = 400
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}" fill="#22272e">{escape(words)}</text>'
    )


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1, dashed: bool = False
) -> str:
    dash = ' stroke-dasharray="3 3"' if dashed else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dash}/>'
    )


def _ceiling(share: float) -> float:
    """The end of an axis: the next of 5, 10, 20, 40, 60, 80, 100 %."""
    return next((end for end in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8) if share <= end), 1.0)


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"


def _unique(words) -> list[str]:
    return list(dict.fromkeys(words))
