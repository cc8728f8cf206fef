"""What the card of experts beside each other shows, from the worker's event. Plain data."""

from collections.abc import Sequence
from typing import Any

from t2ui.figures.colours import BASE
from t2ui.figures.likeness import map_of_experts, pair_by_layer
from t2ui.messages import Likeness
from t2ui.records import Measured
from t2ui.ui.shared.colours import expert_colours

SIGNIFICANT = 0.05


def no_likeness(state: str, message: str = "", remedy: str = "") -> dict[str, Any]:
    """The card without a comparison: `state` is empty, waiting or failed."""
    return {
        "state": state,
        "message": message,
        "remedy": remedy,
        "names": [],
        "colours": [],
        "cosine": [],
        "overlap": [],
        "map": "",
        "note": "",
        "sets": [],
        "gains": [],
        "pair": None,
    }


def likeness_view(found: Likeness) -> dict[str, Any]:
    """Two matrices, a map, and what each expert does to every set that any was measured on."""
    if len(found.names) < 2:
        return no_likeness("empty", "There is one expert: with a second one they are compared.")
    colours = _colours(found.names)
    sets, plain = sets_of(found.measured), found.plain()
    return {
        **no_likeness("done"),
        "names": list(found.names),
        "colours": colours,
        "cosine": plain["cosine"],
        "overlap": plain["overlap"],
        "most": found.most,
        "chance": found.chance,
        "map": map_of_experts(found.names, colours, found.points, found.size).to_json(),
        "note": _note(found),
        "sets": [" · ".join(filter(None, one)) for one in sets],
        "gains": [[_gain(found.measured, name, one) for one in sets] for name in found.names],
    }


def pair_view(found: Likeness) -> dict[str, Any]:
    """Two experts by layer."""
    one, other = found.names
    figure = pair_by_layer(found.layers, found.by_layer[:, 0, 1], (one, other), BASE)
    return {"names": [one, other], "figure": figure.to_json()}


def sets_of(measured: Sequence[Measured]) -> list[tuple[str, str]]:
    """(set, protocol), those first that most experts were measured on; then by name."""
    by_set: dict[tuple[str, str], set[str]] = {}
    for row in measured:
        by_set.setdefault((row.set, row.protocol), set()).add(row.expert)
    return sorted(by_set, key=lambda one: (-len(by_set[one]), one))


def _gain(measured: Sequence[Measured], name: str, one: tuple[str, str]) -> dict[str, Any] | None:
    """The expert's right answers beside the base model's on a set; the last record counts. None:
    unmeasured."""
    rows = [row for row in measured if row.expert == name and (row.set, row.protocol) == one]
    if not rows:
        return None
    row = rows[-1]
    sure = row.p is not None and row.p < SIGNIFICANT
    return {
        "base": row.base,
        "right": row.right,
        "interval": list(row.interval),
        "n": row.n,
        "p": row.p,
        "apart": "same" if not sure else "gain" if row.right > row.base else "loss",
    }


def _note(found: Likeness) -> str:
    count = len(found.names)
    kept = f"The map keeps {found.kept:.0%} of the squared distances"
    alone = "" if count < 4 else f" ({2 / (count - 1):.0%} if no two had anything in common)"
    more = f"; {found.left_out} more experts are not compared" if found.left_out else ""
    return f"{kept}{alone}{more}".replace("%", " %")


def _colours(names: Sequence[str]) -> list[str]:
    known = expert_colours(names)
    return [known[name] for name in names]
