"""Experts that the page saves: what can be done with them, and whose they are.

In a public app nobody writes into the shared folder: what a session saves is its own, seen by its
requests alone, and goes with it. Elsewhere it stands in the shared folder, and `session` means
nothing here.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from t2ui.checks import check_alpha
from t2ui.config import OTHERS
from t2ui.errors import InputError, quoted
from t2ui.messages.inspect import Experts

TENANT = "@"  # a session that begins with it is a tenant's: "@NAME", or "@NAME/…" of an open page
MOST_BYTES = 1_400_000  # of a file that is added from the page
EXPERT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
TENANT_NAME = EXPERT_NAME  # both name files
# What means something else where experts are named: as a model of /v1, on the line of Compare.
RESERVED = ("base", "auto", "sliders", "all", OTHERS)


def owner_of(session: str) -> str:
    """Whose files a session sees: its own, or its tenant's."""
    return session.partition("/")[0] if session.startswith(TENANT) else session


# --- requests ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """How many questions the base model and a mixture answered rightly, for the expert's file."""

    set: str  # which questions, in words
    protocol: str  # how they were answered
    base: int
    mixture: int
    n: int
    p: float | None  # exact paired McNemar test; None where it is not known which were right


@dataclass(frozen=True)
class SaveExpert:
    """Fold a mixture into one z and save it. Event: ExpertSaved."""

    name: str  # a new one; it becomes the file's name
    mixture: dict[str, float]
    normalise: bool = False
    training: dict[str, Any] = field(default_factory=dict)  # where the mixture came from
    measured: Measured | None = None
    session: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        for name, value in self.mixture.items():
            check_alpha(name, value)


@dataclass(frozen=True)
class AddExpert:
    """Take in an expert's file that somebody has: checked as any other, and saved under the name
    that it says. Event: ExpertSaved."""

    data: bytes  # a safetensors file
    session: str = ""

    def __post_init__(self) -> None:
        if not 0 < len(self.data) <= MOST_BYTES:
            raise InputError(
                f"The file has {len(self.data):,} bytes; expected an expert's file of at most "
                f"{MOST_BYTES:,}: put a larger one into the experts folder."
            )


@dataclass(frozen=True)
class RenameExpert:
    """Give an expert that the page saved another name. Event: ExpertSaved, under the new one."""

    name: str
    new_name: str
    session: str = ""

    def __post_init__(self) -> None:
        _check_name(self.new_name)


@dataclass(frozen=True)
class DeleteExpert:
    """Delete an expert that the page saved, for good. Event: ExpertDeleted."""

    name: str
    session: str = ""


@dataclass(frozen=True)
class ReadExpert:
    """The file of an expert that the page saved, to be downloaded. Event: ExpertFile."""

    name: str
    session: str = ""


@dataclass(frozen=True)
class EndSession:
    """The session is over: what it saved goes, at once. No event but Done."""

    session: str


# --- events --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExpertSaved:
    """An expert is saved under this name; `experts` is the list with it."""

    name: str
    file_name: str
    experts: Experts


@dataclass(frozen=True)
class ExpertDeleted:
    """The expert is gone; `experts` is the list without it."""

    name: str
    experts: Experts


@dataclass(frozen=True)
class ExpertFile:
    """An expert's file as it stands on disk."""

    file_name: str
    data: bytes


def check_not_reserved(name: str) -> None:
    """
    Raises:
        InputError: the name means something else elsewhere.
    """
    if name.casefold() in RESERVED:
        raise InputError(
            f"The expert's name is {quoted(name)}, which has a meaning of its own, as "
            f"{', '.join(RESERVED)} have: choose another."
        )


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not EXPERT_NAME.fullmatch(name):
        raise InputError(
            f"The expert's name is {quoted(name)}; expected 1 to 40 letters, digits, - and _, "
            "beginning with a letter or a digit."
        )
    check_not_reserved(name)
