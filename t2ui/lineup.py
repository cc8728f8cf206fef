"""What is compared with what: mixtures side by side, and controls of one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from t2ui.catalogue import CONTROLS
from t2ui.checks import Alpha, Turn, check_choice, check_count, check_mixture, check_turns
from t2ui.errors import InputError

EXAMPLES = "examples"  # the control that is a prompt, and no scales
MOST_SHOTS = 5  # examples that stand before the prompt


def held_back(
    rows: Sequence[tuple[str, str]], controls: bool
) -> tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]]:
    """Rows of (prompt, right answer), divided: with controls the first ones are the examples of
    the control "examples", and no questions."""
    shots = min(MOST_SHOTS, len(rows) // 3) if controls else 0
    return rows[:shots], rows[shots:]


def controls_with(shots: Sequence[tuple[str, str]]) -> list[str]:
    """The controls that there can be: without examples none has them in its prompt."""
    return [name for name in CONTROLS if shots or name != EXAMPLES]


@dataclass(frozen=True)
class Lineup:
    """The columns of a comparison, in their order: the mixtures, then the controls."""

    mixtures: Sequence[Mapping[str, Alpha]]  # {} is the base model
    controls: Sequence[str] = ()  # names of catalogue.CONTROLS
    controlled: int = -1  # place of the mixture that they are controls of
    shots: Sequence[tuple[str, str]] = ()  # (prompt, right answer), for the control "examples"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mixtures", tuple(check_mixture(one) for one in self.mixtures))
        object.__setattr__(self, "controls", tuple(self.controls))
        object.__setattr__(self, "shots", tuple((prompt, right) for prompt, right in self.shots))
        check_turns(self.turns)
        check_count(self.mixtures)
        for control in self.controls:
            check_choice("the control", control, tuple(CONTROLS))
        if not -len(self.mixtures) <= self.controlled < len(self.mixtures):
            raise InputError(
                f"Controls were asked for of mixture {self.controlled}; there are "
                f"{len(self.mixtures)}, counted from 0."
            )
        if EXAMPLES in self.controls and not 1 <= len(self.shots) <= MOST_SHOTS:
            raise InputError(
                f"The control {EXAMPLES!r} puts examples before the prompt, and got "
                f"{len(self.shots)}; expected 1 to {MOST_SHOTS} pairs of a prompt and its answer."
            )

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The examples as a conversation before the prompt."""
        return tuple(
            turn
            for prompt, right in self.shots
            for turn in (("user", prompt), ("assistant", right))
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """By column, the control that it is; "" for a mixture."""
        return ("",) * len(self.mixtures) + tuple(self.controls)
