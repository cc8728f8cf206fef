"""The tasks that a command was asked for, each with its options."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from t2ui.catalogue import TASKS, at_place, chosen
from t2ui.cli.options import existing
from t2ui.config import DATA_VARIABLE
from t2ui.errors import InputError

Data = Annotated[
    Path | None,
    typer.Option(
        envvar=DATA_VARIABLE,
        help="Folder with one sub-folder of JSON Lines per data set; rg:NAME needs none.",
        show_default=False,
    ),
]
TaskOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="An option of the task that has no flag here; may be repeated.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Asked:
    """A task with its options, as it was asked for."""

    typed: str
    name: str
    options: dict[str, Any]


def asked_tasks(
    typed: Iterable[str], settings: Mapping[str, Any], others: Sequence[str] = ()
) -> list[Asked]:
    """Tasks as people type them, "arith:steps", each with those of the settings that it knows.

    Args:
        settings: values by option; empty or zero ones are left to the tasks' defaults.
        others: "name=value" as typed; each must be an option of one of the tasks.

    Raises:
        InputError: no such task, style or option.
    """
    from t2ui.tasks import name_and_style, options_of, read_options

    found, used = [], set()
    for text in typed:
        name, style = name_and_style(text)
        has = options_of(name)
        options = {key: value for key, value in settings.items() if key in has and value}
        own = [other for other in others if other.partition("=")[0] in has]
        used.update(own)
        if style:
            options[_narrowed_by(text, name, has)] = style
        found.append(Asked(text, name, {**options, **read_options(name, own)}))
    for other in others:
        if other not in used:
            known = sorted({key for asked in found for key in options_of(asked.name)})
            raise InputError(f"--option has {other!r}; expected {', '.join(known)} =VALUE.")
    return found


def check_tasks(names: Iterable[str], data: Path | None) -> None:
    """Refuse, before a model is loaded, a task that there is none of, or whose data is not there.

    Raises:
        InputError: says which.
    """
    if data is not None and not data.is_file():  # people's own rows may be one
        existing(data)
    for name in names:
        entry = chosen("task", name, TASKS)
        if entry.reads_data and data is None:
            raise InputError(f"{name} needs --data, the folder with its data (or {DATA_VARIABLE}).")
        if entry.check:
            at_place(entry.check)(name)


def _narrowed_by(text: str, name: str, has: Mapping[str, Any]) -> str:
    """The option that the word after a task's colon sets: its style, or a family of its rows."""
    for option in ("style", "family"):
        if option in has:
            return option
    raise InputError(f"{name} has no styles; got {text!r}.")
