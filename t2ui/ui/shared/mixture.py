"""The mixer's value: the experts found, α of each, who set it last. Plain data, pure functions.

The value lives in the browser and comes back with every event, so it is untrusted: `weights`
reads it. α is the single state everybody moves; `strength` multiplies every α at once.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from t2ui.checks import ALPHA_LIMIT
from t2ui.config import ALPHA_DECIMALS, LEAST_SUM, MAX_STRENGTH, SLIDER_HIGH, SLIDER_LOW
from t2ui.messages import ExpertInfo
from t2ui.ui.shared.colours import expert_colours

DECIMALS = ALPHA_DECIMALS
FEW = 5  # so many sliders stand in the card at once, in a fixed order; of more, those in use first
SEARCH_FROM = 8  # experts; from here on the list can be searched
# What assets/shared/mixer.js has to know of the numbers above; it defines none itself.
BOUNDS = {
    "low": SLIDER_LOW,
    "high": SLIDER_HIGH,
    "strength": MAX_STRENGTH,
    "limit": ALPHA_LIMIT,
    "least_sum": LEAST_SUM,
    "decimals": DECIMALS,
    "few": FEW,
    "search_from": SEARCH_FROM,
}


def empty_mixer(given: Mapping[str, Mapping[str, float]] | None = None) -> dict[str, Any]:
    """Before the experts are known: the page shows a skeleton. `given`: presets besides the usual
    ones, a workshop's."""
    return {
        "experts": None,
        "alpha": {},
        "zero": {},
        "strength": 1.0,
        "normalise": None,  # until a hand or the link says
        "allow_transfer": None,  # likewise
        "dispatchers": [],  # those that can be used here
        "presets": [],
        "given": dict(given or {}),
        "set_by": "",
        "note": "",
        "moves": 0,  # how often the sliders were set: what was listed meanwhile moves none of them
    }


def finite(value: Any, low: float, high: float, default: float) -> float:
    """A number within [low, high]; what is no finite number becomes the default."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return default
    return min(high, max(low, number)) if math.isfinite(number) else default


def experts_of(mixer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The experts that a mixer names; entries that are none are left out."""
    keys = {"name": "", "colour": "", "kind": "", "file": "", "transfer": False}
    return [
        {**keys, **one, "labels": [str(label) for label in one.get("labels") or []]}
        for one in mixer.get("experts") or []
        if isinstance(one, Mapping) and isinstance(one.get("name"), str)
    ]


def element_id(name: str) -> str:
    """An expert's name as part of an element id."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)


def presets(experts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Base, each expert, and the even mix of those that answer (not the dispatcher)."""
    zero = {expert["name"]: 0.0 for expert in experts}
    found = [
        {"name": "base", "alpha": zero, "colour": "", "hint": "All sliders to 0: the base model."}
    ]
    for expert in experts:
        name = expert["name"]
        alone = {**zero, name: 1.0}
        found.append(
            {
                "name": name,
                "alpha": alone,
                "colour": expert["colour"],
                "hint": f"Only {name}, at 1.",
            }
        )
    answering = [expert["name"] for expert in experts if expert["kind"] == "expert"]
    if len(answering) > 1:
        share = round(1 / len(answering), 4)
        found.append(
            {
                "name": "even",
                "alpha": {**zero, **dict.fromkeys(answering, share)},
                "colour": "",
                "hint": f"Every answering expert at {share:.2f}.",
            }
        )
    return found


def given_presets(mixer: Mapping[str, Any], experts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that a workshop's file has; in the value, so untrusted."""
    given = mixer.get("given")
    names = [expert["name"] for expert in experts]
    found = []
    for name, mixture in (given if isinstance(given, Mapping) else {}).items():
        said = mixture if isinstance(mixture, Mapping) else {}
        alpha = {one: finite(said.get(one), SLIDER_LOW, SLIDER_HIGH, 0.0) for one in names}
        used = ", ".join(f"{one} {value:g}" for one, value in alpha.items() if value)
        found.append({"name": str(name), "alpha": alpha, "colour": "", "hint": f"{used}."})
    return found


def with_experts(
    mixer: Mapping[str, Any],
    infos: tuple[ExpertInfo, ...],
    problems: tuple[tuple[str, str], ...] = (),
    wanted: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The mixer for a library: keeps the α of experts it had; `wanted` comes from a permalink."""
    colours = expert_colours(info.name for info in infos)
    ordered = sorted(infos, key=lambda info: (info.kind != "expert", info.name))
    experts = [
        {
            "name": info.name,
            "id": element_id(info.name),
            "colour": colours[info.name],
            "kind": info.kind,
            "labels": list(info.labels),
            "file": info.file_name,
            "transfer": info.transfer,
            "saved": info.saved,
            "bytes": info.size_bytes,
            "hint": info.description + (" (from another base model)" if info.transfer else ""),
        }
        for info in ordered
    ]
    before = mixer.get("alpha")
    before = before if isinstance(before, Mapping) else {}
    names = [expert["name"] for expert in experts]
    asked = {name: value for name, value in (wanted or {}).items() if name in names}
    strength = strength_of(asked.values())
    alpha = {
        name: finite(
            asked[name] / strength if name in asked else before.get(name),
            SLIDER_LOW,
            SLIDER_HIGH,
            0.0,
        )
        for name in names
    }
    notes = []
    unknown = sorted(set(wanted or {}) - set(names))
    if unknown:
        notes.append(f"The link names experts that are not here: {', '.join(unknown)}.")
    if problems:
        notes.append("Not loaded: " + "; ".join(f"{file}: {why}" for file, why in problems))
    return {
        **mixer,
        "experts": experts,
        "alpha": alpha,
        "zero": dict.fromkeys(alpha, 0.0),
        "strength": strength if wanted else mixer.get("strength", 1.0),
        "presets": [*presets(experts), *given_presets(mixer, experts)],
        "set_by": "permalink" if wanted else mixer.get("set_by", ""),
        "note": " ".join(notes),
        "moves": _moves(mixer) + bool(wanted),
    }


def strength_of(mixture: Iterable[float]) -> float:
    """The least strength, from 1, with which every weight of a mixture fits its slider."""
    needed = (weight / (SLIDER_HIGH if weight > 0 else SLIDER_LOW) for weight in mixture)
    return min(MAX_STRENGTH, max([1.0, *needed]))


def weights(mixer: Any) -> dict[str, float]:
    """The mixture that answers: strength × α for each known expert, zeros left out."""
    if not isinstance(mixer, Mapping):
        return {}
    strength = finite(mixer.get("strength"), 0.0, MAX_STRENGTH, 1.0)
    alpha = mixer.get("alpha")
    if not isinstance(alpha, Mapping):
        return {}
    known = {expert["name"] for expert in experts_of(mixer)}
    mixture = {
        name: round(strength * finite(value, -ALPHA_LIMIT, ALPHA_LIMIT, 0.0), DECIMALS)
        for name, value in alpha.items()
        if name in known
    }
    return {name: value for name, value in mixture.items() if value}


def moved(mixer: Mapping[str, Any], mixture: Mapping[str, float], by: str, note: str = "") -> dict:
    """The mixer after somebody else than a hand set the weights: strength goes back to 1."""
    names = [expert["name"] for expert in experts_of(mixer)]
    alpha = {name: float(mixture.get(name, 0.0)) for name in names}
    changed = {"alpha": alpha, "strength": 1.0, "set_by": by, "note": note}
    return {**mixer, **changed, "moves": _moves(mixer) + 1}


def _moves(mixer: Mapping[str, Any]) -> int:
    return int(finite(mixer.get("moves"), 0, 1e9, 0))


def expert_of(mixer: Mapping[str, Any], label: str) -> str | None:
    """The expert that answers a label of pass one: by name, else by the labels it carries."""
    answering = [e for e in experts_of(mixer) if e["kind"] == "expert"]
    for expert in answering:
        if expert["name"] == label:
            return label
    return next((e["name"] for e in answering if label in e["labels"]), None)


def corrected(mixer: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The mixer after a click on another label: its expert alone at 1, or the base model."""
    expert = expert_of(mixer, label)
    who = expert or "the base model"
    note = f"Corrected to {label}: {who} answers from now on; press Ask to begin anew."
    return moved(mixer, {expert: 1.0} if expert else {}, "you", note)


def words_of(mixture: Mapping[str, float]) -> str:
    """A mixture in words: "math 0.50, code 0.25"."""
    named = [f"{name} {alpha:.2f}".replace("-", "−") for name, alpha in mixture.items()]
    return ", ".join(named) or "base model"
