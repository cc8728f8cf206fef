"""Train, validation and test kept apart: a prompt is in one of them only.

A model that has seen a prompt in training is not tested by it. Prompts are the same where they
differ in white space only.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from t2ui.generators.stream import same_prompt

__all__ = ["hold_out", "kept_apart", "same_prompt"]

T = TypeVar("T")


def hold_out(
    rows: Sequence[T], counts: Sequence[int], prompt: Callable[[T], Hashable]
) -> list[list[T]]:
    """Rows taken from the front, as many as each count says, and at last the rest.

    All rows of one prompt go together. They are held out where that many are still wanted; where
    none fit, those of the prompt with the fewest rows are. A part is empty only where there are
    fewer prompts than parts; the rest never is.
    """
    groups: dict[Hashable, list[T]] = {}
    for row in rows:
        groups.setdefault(prompt(row), []).append(row)
    left = list(groups)
    parts: list[list[T]] = []
    for place, count in enumerate(counts):
        spare = len(left) - (len(counts) - place)  # each later part gets a prompt, too
        taken: list[Hashable] = []
        size = 0
        for key in left:
            if len(taken) < spare and size + len(groups[key]) <= count:
                taken.append(key)
                size += len(groups[key])
        if not taken and count and spare > 0:
            taken = [min(left, key=lambda key: len(groups[key]))]
        parts.append([row for key in taken for row in groups[key]])
        gone = set(taken)
        left = [key for key in left if key not in gone]
    rest = set(left)
    return [*parts, [row for row in rows if prompt(row) in rest]]


def kept_apart(
    train: Sequence[T], validation: Sequence[T], test: Sequence[T], prompt: Callable[[T], Hashable]
) -> tuple[list[T], list[T], list[T]]:
    """Published parts without the rows of train whose prompt is in validation or test, and of
    validation whose prompt is in test. Test rows all stay: results on them can be compared."""
    tested = {prompt(row) for row in test}
    validation = [row for row in validation if prompt(row) not in tested]
    held = tested | {prompt(row) for row in validation}
    return [row for row in train if prompt(row) not in held], validation, list(test)
