"""Who sits where in a workshop, and what the teacher sees of it. In memory only.

A seat is taken by one browser, which keeps an unguessable token for it. Whoever has no account
cannot lose one: the teacher frees a seat, or the browser leaves it.
"""

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from t2ui.errors import InputError, quoted

SESSION = "seat:"  # how the worker's sessions of seats begin; see `Seat.session`
MOST_PAGE = 20  # characters of a page's name
MOST_ANSWER = 4000  # characters of an answer that the board shows
MOST_FREED = 1000  # browsers whose seat was freed are remembered


class SeatTaken(InputError):
    """Somebody else sits there."""


@dataclass
class Seat:
    """One place, and what was done from it."""

    name: str
    token: str = ""  # of the browser that has it; "": free
    page: str = ""  # the tab that is open
    seen: float | None = None  # clock seconds; None: never
    answers: int = 0
    question: str = ""  # the last one
    mixture: Mapping[str, float] | None = None  # that answered it; None: not known yet
    answer: str = ""  # to it, once it is whole

    @property
    def session(self) -> str:
        """Whose requests these are, as the worker is told. Only the door makes sessions: nobody
        can call theirs so."""
        return SESSION + self.name


@dataclass
class Seats:
    """All places by name."""

    names: Iterable[str]
    clock: Callable[[], float] = time.monotonic
    _seats: dict[str, Seat] = field(init=False)
    _freed: deque[str] = field(
        init=False, default_factory=lambda: deque(maxlen=MOST_FREED)
    )  # tokens

    def __post_init__(self) -> None:
        self._seats = {name: Seat(name) for name in self.names}

    def all(self) -> list[Seat]:
        """In the order of the file."""
        return list(self._seats.values())

    def of_token(self, token: str) -> Seat | None:
        """The seat of a browser that shows this token; None for one that is not known."""
        found = (one for one in self._seats.values() if one.token)
        return next((one for one in found if _equal(one.token, token)), None)

    def take(self, name: object, token: str = "") -> Seat:
        """Sit down; who had another seat by this token leaves it.

        Raises:
            SeatTaken: somebody else has it.
            InputError: there is no such seat.
        """
        seat = self._seats.get(name) if isinstance(name, str) else None
        if seat is None:
            raise InputError(f"There is no seat {quoted(name)}: reload the page and pick one.")
        before = self.of_token(token)
        if seat.token and seat is not before:
            raise SeatTaken(f"{name} is taken: pick another, or ask the teacher to free it.")
        if before is not None:
            before.token = ""
        seat.token, seat.seen = secrets.token_urlsafe(24), self.clock()
        return seat

    def free(self, name: object) -> None:
        """Whoever has this seat has to pick one again, and is told so: see `was_freed`.

        Raises:
            InputError: there is no such seat.
        """
        seat = self._seats.get(name) if isinstance(name, str) else None
        if seat is None:
            raise InputError(f"There is no seat {quoted(name)}: reload the page.")
        if seat.token:
            self._freed.append(seat.token)
        seat.token = ""

    def was_freed(self, token: str) -> bool:
        """Whether the teacher has freed the seat of this token; after a restart nobody's was."""
        return any(_equal(one, token) for one in self._freed)

    def leave(self, seat: Seat) -> None:
        """Its browser gets up."""
        seat.token = ""

    def seen(self, seat: Seat, page: str = "") -> None:
        """Its browser is heard of; `page` where it says which is open."""
        seat.seen = self.clock()
        seat.page = page[:MOST_PAGE] or seat.page

    def seconds_ago(self, seat: Seat) -> float | None:
        """Since its browser was heard of."""
        return None if seat.seen is None else self.clock() - seat.seen

    # --- what its answers are ---------------------------------------------------------------------

    def asked(self, session: str, question: str) -> None:
        """A question was put, in a session of any kind."""
        if (seat := self._of_session(session)) is not None:
            seat.question, seat.mixture, seat.answer = question, None, ""

    def mixed(self, session: str, question: str, mixture: Mapping[str, float]) -> None:
        """A mixture answers it."""
        seat = self._of_session(session)
        if seat is not None and seat.question == question:
            seat.mixture = dict(mixture)

    def answered(self, session: str, question: str, answer: str) -> None:
        """An answer came to its end."""
        if (seat := self._of_session(session)) is not None:
            seat.answers += 1
            if seat.question == question:
                seat.answer = answer[:MOST_ANSWER]

    def _of_session(self, session: str) -> Seat | None:
        if not session.startswith(SESSION):
            return None
        return self._seats.get(session.removeprefix(SESSION))


def _equal(known: str, said: str) -> bool:
    return secrets.compare_digest(known.encode(), said.encode("utf-8", "replace"))
