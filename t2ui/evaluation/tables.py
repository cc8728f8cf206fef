"""Methods × sets as text, Markdown and records: accuracies, paired tests, mis-routes.

Plain numbers in, text out; knows nothing of models and files.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t2ui.evaluation.statistics import paired_p, wilson

Grid = list[list[str]]


@dataclass(frozen=True)
class Cell:
    """One method on one set, beside the base on the same rows where there is one.

    `base` is the base's share of right answers on these rows, `p` the paired test of the two.
    """

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
            **_against_base(c),
        }
        for c in found
    ]


def _against_base(cell: Cell) -> dict[str, float]:
    if cell.base is None or cell.p is None:
        return {}
    return {"base": round(cell.base, 4), "p": float(f"{cell.p:.2g}")}


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
    """One row per method, one column per set."""
    names, methods = _unique(c.name for c in found), _unique(c.method for c in found)
    sizes = {c.name: max(d.n for d in found if d.name == c.name) for c in found}
    at = {(c.name, c.method): c for c in found}
    grid = [["method", *(f"{name} (n = {sizes[name]})" for name in names)]]
    for method in methods:
        row = [at.get((name, method)) for name in names]
        grid.append([method, *("" if c is None else _cell(c, sizes[c.name]) for c in row)])
    return grid


def route_grid(found: Sequence[Mapping[str, Any]]) -> Grid:
    """Mis-routes and how good the probabilities are: one row per method and family of prompts."""
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
    """What each training cost; a cell is empty where the record does not say."""
    grid = [["method", "trained parameters", "seconds of training", "peak memory, MB"]]
    for record in found:
        values = (record[key] for key in ("trained_parameters", "seconds", "peak_memory_mb"))
        grid.append([record["method"], *("" if v is None else f"{v:,}" for v in values)])
    return grid


def confusion_grid(record: Mapping[str, Any]) -> Grid:
    """How often a prompt with the row's label was given the column's label."""
    confusion = record["confusion"]
    labels = _unique([*confusion, *(taken for row in confusion.values() for taken in row)])
    grid = [[f"{record['method']}: label \\ taken for", *labels]]
    return grid + [
        [row, *(str(taken.get(label, 0)) for label in labels)] for row, taken in confusion.items()
    ]


def percent(cell: Cell) -> str:
    """12.3 % [10.1, 14.9]"""
    low, high = cell.interval
    return f"{100 * cell.share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _cell(cell: Cell, size: int) -> str:
    part = "" if cell.n == size else f", n = {cell.n}"  # a method that is not done yet
    return percent(cell) + ("" if cell.p is None else f", p = {cell.p:.2g}") + part


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
