"""The questions a mixture is tried on: a sample that ships, or what stands on Adapt. No gradio."""

from collections.abc import Mapping, Sequence
from typing import Any

from t2ui.ui.shared.examples import Row, check_rows, filled, rows_of, samples

QUESTIONS = 32  # at most: they are counted at one look
ADAPT, SAMPLE = "adapt", "sample:"
NONE_THERE = "There are no examples on Adapt: add some there, or choose other questions."


def choices() -> list[tuple[str, str]]:
    """What there is to choose: (words, value)."""
    offered = [(f"questions: {name}", f"{SAMPLE}{name}") for name in samples()]
    return [*offered, ("questions: the examples on Adapt", ADAPT)]


def questions_of(choice: Any, examples: Mapping[str, Any]) -> tuple[str, Sequence[Row]]:
    """The name of a choice and its rows, none where it is no choice; both untrusted.

    Raises:
        InputError: examples on Adapt that are not whole.
    """
    if choice == ADAPT:
        rows, places = filled(rows_of(examples))
        check_rows(rows, places)
        return "examples on Adapt", rows
    name = str(choice).removeprefix(SAMPLE)
    return name, samples().get(name, {"rows": []})["rows"]


def expert_for(choice: Any, offered: Sequence[str]) -> str | None:
    """Of the experts there are, the one for a choice of questions; else the first, if any."""
    sample = samples().get(str(choice).removeprefix(SAMPLE), {})
    return sample["expert"] if sample.get("expert") in offered else next(iter(offered), None)
