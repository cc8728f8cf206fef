"""Experts beside each other: how alike their changes z − 1 are, and what their files say that each
does to the others' tasks.

Knows scales and records; no model, text or page. What a file does not say is unmeasured, not 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from t2ui.errors import InputError, quoted
from t2ui.records import Likeness, Measured
from t2ui.svf.decomposition import layer_of
from t2ui.svf.expert import Expert

MOST_EXPERTS = 60  # beside each other
TOP_SHARE = 0.01  # of all components: those changed most, whose overlap is counted


def likeness(experts: Mapping[str, Expert], names: Sequence[str] = ()) -> Likeness:
    """Compare experts by z − 1, where a matrix that one does not adapt counts as unchanged.

    Args:
        names: which of them; () for all, at most MOST_EXPERTS.

    Raises:
        InputError: no or an unknown expert, too many, or experts of different shapes.
    """
    chosen = _chosen(experts, names)
    shown = list(chosen)[:MOST_EXPERTS]
    ranks = _ranks([chosen[name] for name in shown])
    layers = sorted({layer_of(name) for name in ranks})
    grams = torch.zeros(len(layers), len(shown), len(shown), dtype=torch.float64)
    for name, rank in ranks.items():
        change = torch.stack([_change(chosen[one], name, rank) for one in shown]).double()
        grams[layers.index(layer_of(name))] += change @ change.T
    total, components = grams.sum(0), sum(ranks.values())
    most = max(1, round(TOP_SHARE * components))
    cosine = _cosines(total)
    points, kept = in_two_dimensions(cosine)
    return Likeness(
        names=tuple(shown),
        cosine=cosine,
        layers=tuple(layers),
        by_layer=np.stack([_cosines(gram) for gram in grams]),
        overlap=_overlaps([_top(chosen[name], ranks, most) for name in shown]),
        most=most,
        chance=most / components,
        size=np.sqrt(total.diagonal().numpy() / components),
        points=points,
        kept=kept,
        measured=tuple(row for name in shown for row in measured(chosen[name])),
        left_out=len(chosen) - len(shown),
    )


def in_two_dimensions(cosine: np.ndarray) -> tuple[np.ndarray, float]:  # (n, n) -> (n, 2)
    """Classical scaling (Torgerson 1952): points whose distances come as near to √(2 − 2 cos), the
    distances of the directions, as two dimensions allow, and the share of the squared distances
    that they keep. NaN for an expert without a direction, one that changes nothing."""
    points = np.full((len(cosine), 2), np.nan)
    there = np.isfinite(cosine.diagonal())
    count = int(there.sum())
    if not count:
        return points, 1.0
    centre = np.eye(count) - 1 / count
    values, vectors = np.linalg.eigh(centre @ cosine[np.ix_(there, there)] @ centre)
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    found = np.zeros((count, 2))
    for axis in range(min(2, count)):
        line = vectors[:, axis] * np.sqrt(values[axis])
        # an axis has no direction of its own: the furthest point lies on its positive side
        found[:, axis] = line * (1 if line[np.abs(line).argmax()] >= 0 else -1)
    points[there] = found
    whole = values.sum()
    return points, float(values[:2].sum() / whole) if whole > 1e-12 else 1.0


def measured(expert: Expert) -> list[Measured]:
    """What an expert's file says of its right answers beside the base model's; records of another
    kind, and those that lack a number, are passed over."""
    return [row for record in expert.metrics if (row := _measured(expert.name, record)) is not None]


def _measured(name: str, record: Any) -> Measured | None:
    try:
        base, own, n = float(record["base"]), float(record["expert"]), int(record["n"])
        low, high = map(float, record["interval"])
        chance = record.get("p")
        return Measured(
            expert=name,
            set=str(record["set"]),
            protocol=str(record.get("protocol") or ""),
            n=n,
            base=base,
            right=own,
            interval=(low, high),
            p=None if chance is None else float(chance),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _chosen(experts: Mapping[str, Expert], names: Sequence[str]) -> dict[str, Expert]:
    for name in names:
        if name not in experts:
            raise InputError(
                f"There is no expert named {quoted(name)}; there are: "
                f"{', '.join(sorted(experts)) or 'none'}."
            )
    if len(set(names)) > MOST_EXPERTS:
        raise InputError(f"{len(set(names))} experts are chosen; at most {MOST_EXPERTS} can be.")
    found = {name: experts[name] for name in (names or experts)}
    if not found:
        raise InputError("There are no experts to compare: add some to the experts folder.")
    return found


def _ranks(experts: Sequence[Expert]) -> dict[str, int]:
    """Scales of every matrix that any of them adapts."""
    ranks: dict[str, int] = {}
    for expert in experts:
        for name, z in expert.scales.items():
            if ranks.setdefault(name, z.numel()) != z.numel():
                raise InputError(
                    f"{name}: expert {quoted(expert.name)} has {z.numel()} scales, others "
                    f"{ranks[name]}; experts of one base model are expected."
                )
    return ranks


def _change(expert: Expert, name: str, rank: int) -> Tensor:  # (rank,)
    z = expert.scales.get(name)
    return torch.zeros(rank) if z is None else z.detach().float().cpu() - 1


def _cosines(gram: Tensor) -> np.ndarray:  # (n, n)
    """NaN beside an expert that changes nothing: it has no direction."""
    inner = gram.numpy()
    sizes = np.sqrt(inner.diagonal())
    with np.errstate(divide="ignore", invalid="ignore"):
        found = inner / sizes[:, None] / sizes
    return np.where(np.isfinite(found), found.clip(-1, 1), np.nan)


def _top(expert: Expert, ranks: Mapping[str, int], most: int) -> set[int]:
    """Places of the most changed components, counted through all matrices; none left as it was."""
    change = torch.cat([_change(expert, name, rank) for name, rank in ranks.items()]).abs()
    best = change.topk(min(most, len(change)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return {place for place, value in pairs if value > 0}


def _overlaps(tops: Sequence[set[int]]) -> np.ndarray:  # (n, n)
    """The share of the smaller set that is in the other too; NaN where one is empty."""
    return np.array(
        [
            [len(a & b) / min(len(a), len(b)) if a and b else float("nan") for b in tops]
            for a in tops
        ]
    )
