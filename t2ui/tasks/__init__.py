"""Tasks by name: one file per family of data, and one line per task in the catalogue.

What a line of `TASKS` in the catalogue names is a function

    def load(name, tokenizer, data, *, style="chat") -> Task

that reads the rows of the task `name` from the folder `data`. Its keyword-only parameters are the
task's options: the command line passes on those that the task has.
"""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from t2ui.catalogue import TASKS, chosen
from t2ui.errors import InputError
from t2ui.tasks.base import Example, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["TASKS", "Example", "Task", "load_task", "name_and_style", "options_of", "read_options"]


def load_task(
    name: str, tokenizer: "PreTrainedTokenizerBase", data: Path | None = None, **options: Any
) -> Task:
    """Read one task's rows.

    Args:
        data: folder with one sub-folder of JSON Lines per data set; a set that it does not hold is
            fetched from the hub if `datasets` is installed. For `jsonl` people's own file or
            folder. A task that makes its rows needs none.
        options: those of the task, see `options_of`.

    Raises:
        InputError: an unknown task or option, missing files, or malformed rows (with line
            numbers).
    """
    unknown = options.keys() - options_of(name).keys()
    if unknown:
        raise InputError(f"Task {name!r} has no option {', '.join(sorted(unknown))}: leave it out.")
    entry = chosen("task", name, TASKS)
    if data is None and entry.reads_data:
        raise InputError(f"Task {name!r} needs data, the folder (or file) with its rows.")
    return entry.load()(name, tokenizer, data, **options)


def options_of(name: str) -> dict[str, Any]:
    """The options of a task with their defaults, as its `load` declares them.

    Raises:
        InputError: there is no such task.
    """
    return {option: parameter.default for option, parameter in _parameters(name).items()}


def read_options(name: str, texts: Iterable[str]) -> dict[str, Any]:
    """Options of a task as people type them, "limit=20": their values, of the declared types.

    Raises:
        InputError: there is no such task or option, or the value is of another type.
    """
    parameters = _parameters(name)
    options = {}
    for text in texts:
        option, equals, value = text.partition("=")
        if not equals or option not in parameters:
            raise InputError(
                f"Task {name!r} got the option {text!r}; expected "
                f"{', '.join(f'{known}=…' for known in parameters) or 'none: it has none'}."
            )
        options[option] = _read_value(parameters[option], value)
    return options


def name_and_style(task: str) -> tuple[str, str]:
    """A task as people type it, "arith:steps", as its name and what stands behind it; of a family
    the name has a colon too, and settings belong to it ("rg:sums:max_terms=3:question" is
    "rg:sums:max_terms=3" and "question").

    Raises:
        InputError: there is no such task.
    """
    first, _, rest = task.partition(":")
    family = f"{first}:" if f"{first}:" in TASKS else ""
    member, *others = (rest if family else task).split(":")
    settings = [other for other in others if family and "=" in other]
    chosen("task", family + member, TASKS)
    style = ":".join(other for other in others if other not in settings)
    return ":".join([family + member, *settings]), style


def _read_value(parameter: inspect.Parameter, text: str) -> Any:
    """A text as a value of the type that a parameter's default has; where that is None, of the
    type that stands beside None in its annotation."""
    default, kind = parameter.default, type(parameter.default)
    if default is None:
        kind = next(k for k in get_args(parameter.annotation) if k is not type(None))
    if kind is tuple:
        return tuple(filter(None, text.split(",")))
    if kind is bool:
        if text not in ("true", "false"):
            raise InputError(f"The option {parameter.name} is {text!r}; expected true or false.")
        return text == "true"
    try:
        return kind(text)
    except ValueError:
        raise InputError(
            f"The option {parameter.name} is {text!r}; expected a value like {default!r}."
        ) from None


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a task's `load`."""
    found = inspect.signature(chosen("task", name, TASKS).load()).parameters.values()
    return {p.name: p for p in found if p.kind is p.KEYWORD_ONLY}
