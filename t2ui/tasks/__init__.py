"""Tasks by name: one file per family of data."""

from functools import partial
from inspect import signature
from pathlib import Path

from t2ui.errors import InputError
from t2ui.tasks.base import Example, Task

__all__ = ["TASKS", "Example", "Task", "load_task"]

TASKS = (
    *("arc_easy", "arc_challenge", "strategyqa", "gsm8k", "arith", "mbpp", "humaneval"),
    *("dispatch", "jsonl"),
)


def load_task(name: str, tokenizer, data: Path, **options) -> Task:
    """Read one task's rows.

    Args:
        data: folder with one sub-folder of JSON Lines a data set; a set that it does not hold is
            fetched from the hub if `datasets` is installed. For `jsonl` people's own file or
            folder.
        options: what the task's own `load` takes beyond that.

    Raises:
        InputError: an unknown task, missing files, or malformed rows (with line numbers).
    """
    from t2ui.tasks import choice, code, dispatch_rows, hub, own, word_problems

    data = hub.local_or_fetched(name, data)
    if name in ("arc_easy", "arc_challenge"):
        read = partial(choice.load, name)
    elif name == "strategyqa":
        read = choice.load_yes_no
    elif name in ("gsm8k", "arith"):
        read = partial(word_problems.load, name)
    elif name in ("mbpp", "humaneval"):
        read = partial(code.load, name)
    elif name == "dispatch":
        read = dispatch_rows.load
    elif name == "jsonl":
        read = own.load
    else:
        raise InputError(f"There is no task {name!r}; there are: {', '.join(TASKS)}.")
    unknown = options.keys() - signature(read).parameters.keys()
    if unknown:
        raise InputError(f"Task {name!r} has no option {', '.join(sorted(unknown))}: leave it out.")
    return read(tokenizer, data, **options)
