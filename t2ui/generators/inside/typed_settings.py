"""A generator's settings as people type them: "min_terms=2", "max_terms=3".

Each is a field of the generator's configuration in reasoning_gym. A list is its setting given more
than once: "operators=+", "operators=-". Runs in the generator's own process, see `child.py`.
"""

import datetime
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any, get_args, get_type_hints

OURS = ("seed", "size")  # which rows are made follows from the part, not from a setting
READABLE = (bool, int, float, str, datetime.date, datetime.time, Enum)
MOST_SHOWN = 3  # items of a list in a message


class Refused(ValueError):
    """Bad input: one line for people."""


def settings_of(configuration: type) -> dict[str, Any]:
    """The settings that can be typed, with their defaults."""
    defaults = {f.name: _default(f) for f in fields(configuration) if f.name not in OURS}
    hints = get_type_hints(configuration)
    return {name: d for name, d in defaults.items() if issubclass(_kind(d, hints[name]), READABLE)}


def read_settings(name: str, configuration: type, typed: list[str]) -> dict[str, Any]:
    """Settings as typed, "max_terms=3", as values for the configuration.

    Raises:
        Refused: there is no such setting, or its value is of another type; lists those that
            there are.
    """
    known, hints = settings_of(configuration), get_type_hints(configuration)
    given: dict[str, list[str]] = {}
    for text in typed:
        setting, equals, value = text.partition("=")
        if not equals or setting not in known:
            raise Refused(f"{name} has no setting {_cut(text)}. {listed(configuration)}")
        given.setdefault(setting, []).append(value)
    found = {}
    for setting, texts in given.items():
        default = known[setting]
        kind = _kind(default, hints[setting])
        try:
            values = [_read(kind, text) for text in texts]
        except ValueError:
            raise Refused(
                f"{name}: {setting} is {_cut(texts[-1])}; expected {_wanted(kind)}. "
                f"{listed(configuration)}"
            ) from None
        if _is_list(default, hints[setting]):
            found[setting] = tuple(values) if isinstance(default, tuple) else values
        elif len(values) > 1:
            raise Refused(f"{name}: {setting} is given {len(values)} times; once is enough.")
        else:
            found[setting] = values[0]
    return found


def listed(configuration: type) -> str:
    """A sentence that names every setting with its default."""
    shown = [f"{name}={_shown(value)}" for name, value in settings_of(configuration).items()]
    return f"Its settings: {', '.join(shown)}." if shown else "It has no settings."


def written(settings: dict[str, Any]) -> list[str]:
    """Settings as they are typed."""
    return [
        f"{name}={_text(one)}"
        for name, value in settings.items()
        for one in (value if isinstance(value, (list, tuple)) else [value])
    ]


def _default(field: Field) -> Any:
    if field.default is not MISSING:
        return field.default
    return None if field.default_factory is MISSING else field.default_factory()


def _is_list(default: Any, hint: Any) -> bool:
    if default is None:
        return any("list" in str(part) for part in get_args(hint) or [hint])
    return isinstance(default, (list, tuple))


def _kind(default: Any, hint: Any) -> type:
    """The type of a setting's value, or of the items in its list; `object` where it cannot be
    typed."""
    if isinstance(default, (list, tuple)) and default:
        return type(default[0])
    if default is not None:
        return type(default)
    parts = [part for part in get_args(hint) if part is not type(None)]
    inner = get_args(parts[0]) if parts else ()
    found = inner[0] if inner else parts[0] if parts else object
    return found if isinstance(found, type) else object


def _read(kind: type, text: str) -> Any:
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    if issubclass(kind, datetime.time):
        return kind.fromisoformat(text.replace(".", ":", 2))
    if issubclass(kind, datetime.date):
        return kind.fromisoformat(text)
    return kind(text)


def _wanted(kind: type) -> str:
    if kind is bool:
        return "true or false"
    if issubclass(kind, Enum):
        return ", ".join(str(one.value) for one in kind)
    words = {int: "a whole number", float: "a number", datetime.date: "a date like 2020-01-31"}
    return words.get(kind, "a time like 08.30" if kind is datetime.time else "a text")


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        more = "|…" if len(value) > MOST_SHOWN else ""
        return "|".join(map(_text, value[:MOST_SHOWN])) + more
    return "none" if value is None else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat().replace(":", ".")  # a colon divides settings
    return str(value.value) if isinstance(value, Enum) else str(value)


def _cut(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
