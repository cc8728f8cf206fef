"""What a player of a contest brings: a mixture, and how far it has come."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from t2ui.config import ALPHA_DECIMALS, SLIDER_HIGH, SLIDER_LOW
from t2ui.errors import InputError, quoted

WAITING, SCORING, SCORED, FAILED = "waiting", "scoring", "scored", "failed"
SEARCHING, STOPPED = "searching", "stopped"
GONE = "gone"  # it names an expert that is not there
REFUSED = "refused"  # nor were the hidden questions answered with it
LEFT_OUT = (GONE, REFUSED)
NEAR = 1e-9  # that dividing by a sum may miss a slider's end by


@dataclass
class Entry:
    """A mixture that was handed in, or that the search found."""

    mixture: dict[str, float]
    at: str = ""  # ISO 8601, UTC
    right: int | None = None  # of the visible questions
    state: str = WAITING
    note: str = ""  # why it is not scored


@dataclass
class Search:
    """CEM as a player."""

    state: str = ""  # "", SEARCHING, SCORED, FAILED, STOPPED or GONE
    generation: int = 0
    generations: int = 0  # at most
    mixture: dict[str, float] | None = None
    right: int | None = None  # of the visible questions
    note: str = ""


def gone(mixture: Iterable[str], known: Collection[str]) -> str:
    """Which experts of a mixture are not there, as the beginning of a sentence; "" for none."""
    missing = [quoted(name) for name in mixture if name not in known]
    if not missing:
        return ""
    if len(missing) == 1:
        return f"The expert {missing[0]} is not there any more"
    return f"The experts {', '.join(missing[:-1])} and {missing[-1]} are not there any more"


def checked_mixture(mixture: Any, known: Iterable[str]) -> dict[str, float]:
    """A mixture to hand in; coefficients that are 0 on the sliders are left out.

    Raises:
        InputError: no coefficients by expert, an unknown expert, one beyond its slider, or the base
            model.
    """
    if not isinstance(mixture, Mapping):
        raise InputError(f"The mixture is {quoted(mixture)}; expected coefficients by expert.")
    there = sorted(known)
    found = {}
    for name, alpha in mixture.items():
        if name not in there:
            raise InputError(f"There is no expert {quoted(name)}: reload the page.")
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
            raise InputError(f"The coefficient of {name} is {quoted(alpha)}; a number is expected.")
        if not SLIDER_LOW - NEAR <= alpha <= SLIDER_HIGH + NEAR:
            raise InputError(
                f"The coefficient of {name} is {quoted(alpha)}; a contest takes {SLIDER_LOW:g} to "
                f"{SLIDER_HIGH:g}: move its slider, or the strength."
            )
        if round(alpha, ALPHA_DECIMALS):
            found[name] = float(alpha)
    if not found:
        raise InputError("All sliders are at 0, which is the base model: move one first.")
    return found
