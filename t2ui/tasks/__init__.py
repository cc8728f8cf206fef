"""Tasks with closed answers: prompts, the options a policy chooses from, and the right one.

A row is plain token ids, so that trainer and evaluation never tokenise; every task file turns one
family of data into rows.
"""

from dataclasses import dataclass, field
from pathlib import Path

from t2ui.errors import InputError
from t2ui.likelihood import Question


@dataclass(frozen=True)
class ClosedRow:
    """One question. The reward of option `correct` is 1, of every other option −1 (paper, 3.1)."""

    id: str
    question: Question
    correct: int
    lengths: tuple[int, ...]  # of the options' texts in UTF-8 bytes, for per-byte scores
    family: str = ""  # the data set or group that evaluations report on


@dataclass(frozen=True)
class ClosedTask:
    """Rows by use. Training sees `train`, picks its checkpoint on `validation`, and never `test`.

    `labels` and `objective` go into the expert file.
    """

    name: str
    train: tuple[ClosedRow, ...]
    validation: tuple[ClosedRow, ...]
    test: tuple[ClosedRow, ...] = ()
    labels: tuple[str, ...] = ()
    objective: str = "closed answers"
    data: dict[str, str] = field(default_factory=dict)  # what the rows came from, for the card


TASKS = ("arc_easy", "arc_challenge", "dispatch")


def load_task(name: str, tokenizer, data: Path, **options) -> ClosedTask:
    """Read one task's rows.

    Args:
        data: folder with one sub-folder of JSON Lines a data set.
        options: what the task's own `load` takes beyond that.

    Raises:
        InputError: an unknown task, missing files, or malformed rows (with line numbers).
    """
    from t2ui.tasks import choice, dispatch_rows

    if name in ("arc_easy", "arc_challenge"):
        return choice.load(name, tokenizer, data, **options)
    if name == "dispatch":
        return dispatch_rows.load(tokenizer, data, **options)
    raise InputError(f"There is no task {name!r}; there are: {', '.join(TASKS)}.")
