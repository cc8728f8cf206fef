"""The tasks that a command was asked for, each with its options."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from t2ui.errors import InputError

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


def _narrowed_by(text: str, name: str, has: Mapping[str, Any]) -> str:
    """The option that the word after a task's colon sets: its style, or a family of its rows."""
    for option in ("style", "family"):
        if option in has:
            return option
    raise InputError(f"{name} has no styles; got {text!r}.")
