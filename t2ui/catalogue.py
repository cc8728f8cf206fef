"""Everything that is chosen by its name, one line each: where it is, and what people call it.

Plain data, so that the page and the command line can offer the names without importing what they
stand for; `Entry.load` imports it when it is used. To add one, write its file and its line here
(CONTRIBUTING.md says what each kind of file has to hold).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from t2ui.errors import InputError, quoted


@dataclass(frozen=True)
class Entry:
    """One thing that can be chosen by its name."""

    place: str  # "package.module:name", imported on first use
    words: str  # what the page and the help call it

    def load(self) -> Any:
        """The thing itself."""
        module, _, name = self.place.partition(":")
        return getattr(import_module(module), name)


def chosen(what: str, name: str, entries: Mapping[str, Entry]) -> Entry:
    """The entry of a name.

    Raises:
        InputError: there is none; lists the names that there are.
    """
    if name not in entries:
        raise InputError(f"There is no {what} {quoted(name)}; there are: {', '.join(entries)}.")
    return entries[name]
