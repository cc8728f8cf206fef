"""The seven mixtures that stand beside each other: on the line from one to another. No gradio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from t2ui.catalogue import CONTROLS
from t2ui.config import LEAST_SUM
from t2ui.figures.colours import BASE as GREY
from t2ui.lineup import EXAMPLES, Lineup, controls_with
from t2ui.ui.shared.examples import Row
from t2ui.ui.shared.mixture import DECIMALS, experts_of, weights, words_of

BASE, SLIDERS, EXPERT = "base", "sliders", "expert:"  # an expert may have such a name
BETWEEN = tuple(step / 6 for step in range(7))  # from one mixture to another
LENGTHS = (16, 32, 64, 128)  # of answers, in tokens
NO_LINE = "Choose two different ends of the line, both of them mixtures."
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # of a mixture, from the base model on


@dataclass(frozen=True)
class Point:
    """One column: its mixture, or the one that it is a control of, and what people call it."""

    mixture: dict[str, float]
    words: str  # "math 0.50"
    colour: str
    control: str = ""  # a name of catalogue.CONTROLS
    shots: str = ""  # which examples a control has in its prompt: a hash of them


def choices(mixer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a line may begin or end with: (words, value)."""
    experts = [(f"{one['name']} expert", f"{EXPERT}{one['name']}") for one in experts_of(mixer)]
    return [("base model", BASE), *experts, ("mixture on the sliders", SLIDERS)]


def mixture_at(choice: Any, mixer: Mapping[str, Any]) -> dict[str, float] | None:
    """The mixture of a choice, as it acts; None for what is not there."""
    if choice == BASE:
        return {}
    if choice == SLIDERS:
        found = weights(mixer)
        total = sum(found.values())
        divides = bool(mixer.get("normalise")) and abs(total) >= LEAST_SUM
        return {name: alpha / total for name, alpha in found.items()} if divides else found
    name = str(choice).removeprefix(EXPERT)
    known = {one["name"] for one in experts_of(mixer)}
    return {name: 1.0} if str(choice).startswith(EXPERT) and name in known else None


def points(start: Any, end: Any, mixer: Mapping[str, Any]) -> list[Point]:
    """The columns from `start` to `end`, both choices; from the base model on, up to twice the
    end's strength. Empty where a choice is not there, or where both are the same."""
    first, last = mixture_at(start, mixer), mixture_at(end, mixer)
    if first is None or last is None or first == last:
        return []
    names = [*first, *(name for name in last if name not in first)]
    colours = {one["name"]: one["colour"] for one in experts_of(mixer)}
    found = []
    for share in BETWEEN if first else STRENGTHS:
        mixed = {n: (1 - share) * first.get(n, 0.0) + share * last.get(n, 0.0) for n in names}
        mixture = {n: value for n, a in mixed.items() if (value := round(a, DECIMALS))}
        largest = max(mixture, key=lambda n: abs(mixture[n]), default="")
        found.append(Point(mixture, words_of(mixture), colours.get(largest, GREY)))
    return found


def lined_up(
    start: Any, end: Any, mixer: Mapping[str, Any], controls: bool, shots: Sequence[Row] = ()
) -> tuple[list[Point], Lineup] | None:
    """The columns on the page and what the worker is asked; None where there is no line.

    Args:
        controls: whether controls of the end's mixture stand behind the line (of the start's, where
            the end is the base model).
        shots: examples for the control that has them in the prompt; without, it is left out.
    """
    found = points(start, end, mixer)
    if not found:
        return None
    if not found[0].mixture:
        of = STRENGTHS.index(1.0)
    else:
        of = len(found) - 1 if found[-1].mixture else 0
    names = controls_with(shots) if controls else []
    lineup = Lineup([point.mixture for point in found], names, of, shots)
    return [*found, *(control_of(found[of], name, shots) for name in names)], lineup


def control_of(point: Point, name: str, shots: Sequence[Row] = ()) -> Point:
    """A control of a column."""
    words = CONTROLS[name].words
    if name == EXAMPLES:
        mark = sha256(repr([tuple(shot) for shot in shots]).encode()).hexdigest()[:12]
        return Point(point.mixture, words, GREY, name, mark)
    return Point(point.mixture, f"{words}, {point.words}", GREY, name)


def tokens(length: Any) -> int:
    """How long answers may be; what comes from the browser is untrusted."""
    return length if length in LENGTHS else LENGTHS[1]
