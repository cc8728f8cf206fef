"""The contest of a workshop: who handed in which mixture, and how it ends.

Entries are written beside the workshop's file at every change, so that a restart loses none. Knows
no worker: `t2ui.http.workshop.play` has them scored and tells it what came out.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

from t2ui.config import ALPHA_DECIMALS, SLIDER_HIGH, SLIDER_LOW
from t2ui.errors import InputError, quoted
from t2ui.files import CannotWrite, writing
from t2ui.records import Decision, RightAnswers
from t2ui.workshop.file import ContestPlan

FORMAT = "t2ui.contest"
OPEN, ENDING, ENDED = "open", "ending", "ended"
WAITING, SCORING, SCORED, FAILED = "waiting", "scoring", "scored", "failed"
SEARCHING, STOPPED = "searching", "stopped"
NEAR = 1e-9  # that dividing by a sum may miss a slider's end by
BASE, SEARCH = "base model", "CEM"  # who plays along


@dataclass
class Entry:
    """A mixture that was handed in, or that the search found."""

    mixture: dict[str, float]
    at: str = ""  # ISO 8601, UTC
    right: int | None = None  # of the visible questions
    state: str = WAITING
    note: str = ""  # why it could not be scored


@dataclass
class Search:
    """CEM as a player."""

    state: str = ""  # "", SEARCHING, SCORED, FAILED or STOPPED
    generation: int = 0
    generations: int = 0  # at most
    mixture: dict[str, float] | None = None
    right: int | None = None  # of the visible questions
    note: str = ""


@dataclass
class Contest:
    """One contest; what was handed in is on the disk when the method returns."""

    plan: ContestPlan
    path: Path  # of the entries
    state: str = OPEN
    entries: dict[str, Entry] = field(default_factory=dict)  # by seat
    search: Search = field(default_factory=Search)
    result: dict[str, Any] | None = None  # see `decided`
    note: str = ""  # why the end failed
    disk: str = ""  # why the file was not written, and what the worker found is in memory alone
    decided_so_far: tuple[int, int] = (0, 0)  # mixtures whose hidden answers are there, of all

    @classmethod
    def opened(cls, plan: ContestPlan, path: Path, seats: Iterable[str]) -> "Contest":
        """The contest as it was left, or a new one.

        Raises:
            InputError: the entries beside the file are damaged, or another contest's.
        """
        contest = cls(plan, path)
        if path.exists():
            contest._read(set(seats))
        return contest

    @property
    def mark(self) -> str:
        """What tells this contest's rows from any other's."""
        rows = json.dumps([self.plan.visible, self.plan.hidden, self.plan.tokens])
        return sha256(rows.encode()).hexdigest()[:16]

    # --- handing in -------------------------------------------------------------------------------

    def hand_in(self, seat: str, mixture: Any, known: Iterable[str]) -> Entry:
        """A seat's entry; the last one counts.

        Args:
            mixture: coefficients by expert, as they came from a browser, untrusted.
            known: the experts there are.

        Raises:
            InputError: the contest is over, or the mixture cannot be used.
            CannotWrite: the entry is not on the disk; the one before still counts.
        """
        if self.state != OPEN:
            raise InputError("The contest has ended: nothing is handed in any more.")
        entry = Entry(checked_mixture(mixture, known), _now())
        with self._on_disk():
            self.entries[seat] = entry
        return entry

    def take_waiting(self, most: int) -> list[Entry]:
        """Entries to be scored next, those that wait longest first."""
        waiting = [one for one in self.entries.values() if one.state == WAITING]
        taken = sorted(waiting, key=lambda one: one.at)[:most] if self.state == OPEN else []
        for entry in taken:
            entry.state = SCORING
        return taken

    def scored(self, entries: Sequence[Entry], found: Sequence[RightAnswers]) -> None:
        """What came out for them. One that was replaced meanwhile counts no more."""
        for entry, one in zip(entries, found, strict=True):
            entry.right, entry.state = one.count, SCORED
        self._try_to_write()

    def failed(self, entries: Sequence[Entry], why: str) -> None:
        """They could not be scored; they stay handed in."""
        for entry in entries:
            entry.state, entry.note = FAILED, why
        self._try_to_write()

    # --- CEM --------------------------------------------------------------------------------------

    def begin_search(self) -> None:
        """
        Raises:
            InputError: it searches already, or the contest is over.
        """
        if self.state != OPEN:
            raise InputError("The contest has ended: nobody joins any more.")
        if self.search.state == SEARCHING:
            raise InputError("CEM searches already: wait for it.")
        self.search = Search(SEARCHING)

    def searched(self, mixture: Mapping[str, float], right: int | None) -> None:
        """It has found one."""
        self.search.mixture = {name: alpha for name, alpha in mixture.items() if alpha}
        self.search.right, self.search.state = right, SCORED
        self._try_to_write()

    def search_ended(self, state: str, why: str) -> None:
        """It found nothing."""
        self.search.state, self.search.note = state, why

    # --- the end ----------------------------------------------------------------------------------

    def end(self) -> None:
        """Close it; from then on the hidden part is answered. Again where that has failed.

        Raises:
            InputError: it was ended before.
            CannotWrite: that is not on the disk; it goes on.
        """
        if self.state == ENDED or self.state == ENDING and not self.note:
            raise InputError("The contest was ended before.")
        with self._on_disk():
            self.state, self.note = ENDING, ""

    def players(self) -> tuple[list[tuple[str, dict[str, float]]], list[tuple[str, dict]]]:
        """(name, mixture) of the entries, those handed in first ahead; and of the rivals."""
        ordered = sorted(self.entries.items(), key=lambda one: one[1].at)
        rivals: list[tuple[str, dict]] = [(BASE, {})]
        if self.search.mixture is not None:
            rivals.append((SEARCH, self.search.mixture))
        return [(seat, entry.mixture) for seat, entry in ordered], rivals

    def decided(self, decision: Decision) -> None:
        """The hidden part is answered under every mixture: the result, as plain data."""
        entries, rivals = self.players()
        found = [*zip(entries, decision.entries, strict=True)]
        found += zip(rivals, decision.rivals, strict=True)
        standings = [
            {
                "name": name,
                "mixture": mixture,
                "rival": place >= len(entries),
                "right": one.count,
                "low": round(one.low, 4),
                "high": round(one.high, 4),
            }
            for place, ((name, mixture), one) in enumerate(found)
        ]
        tests = [
            # of many entries the best is partly the luckiest: Bonferroni
            {"against": name, **asdict(test), "p_of_all": min(1.0, test.p * len(entries))}
            for (name, _), test in zip(rivals, decision.tests, strict=bool(entries))
        ]
        self.result = {
            "n": len(self.plan.hidden),
            "standings": sorted(standings, key=lambda one: -one["right"]),
            "best": None if decision.best is None else entries[decision.best][0],
            "tests": tests,
        }
        self.state = ENDED
        self._try_to_write()

    def not_decided(self, why: str) -> None:
        """The hidden part could not be answered: the teacher ends it again."""
        self.note = why

    # --- the disk ---------------------------------------------------------------------------------

    def _write(self) -> None:
        kept = {
            "format": FORMAT,
            "contest": self.mark,
            "state": self.state,
            "entries": [
                {"seat": seat, "mixture": one.mixture, "at": one.at, "right": one.right}
                for seat, one in self.entries.items()
            ],
            "search": {"mixture": self.search.mixture, "right": self.search.right},
            "result": self.result,
        }
        with writing(self.path) as beside:
            beside.write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
        self.disk = ""

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        """What somebody does in the block is on the disk when it ends, or has not happened."""
        before = dict(self.entries), self.state, self.note
        try:
            yield
            self._write()
        except CannotWrite as error:
            self.entries, self.state, self.note = before
            self.disk = str(error)
            raise

    def write_again(self) -> None:
        """Where the disk refused: it may have been mended."""
        if self.disk:
            self._try_to_write()

    def _try_to_write(self) -> None:
        """What was found holds, whatever the disk says; the board says it."""
        try:
            self._write()
        except CannotWrite as error:
            self.disk = str(error)

    def _read(self, seats: set[str]) -> None:
        remedy = "move it away to begin anew"
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            if kept["format"] != FORMAT:
                raise ValueError(f"format is {quoted(kept['format'])}")
            mark, self.state, self.result = kept["contest"], kept["state"], kept["result"]
            for one in kept["entries"]:
                mixture = checked_mixture(one["mixture"], one["mixture"])
                state = WAITING if one["right"] is None else SCORED
                self.entries[one["seat"]] = Entry(mixture, one["at"], one["right"], state)
            if kept["search"]["mixture"] is not None:
                self.search = Search(SCORED, **kept["search"])
            if self.state not in (OPEN, ENDING, ENDED):
                raise ValueError(f"state is {quoted(self.state)}")
        except OSError as error:
            raise InputError(
                f"The contest's entries in {self.path} cannot be read ({error.strerror}): {remedy}."
            ) from None
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self.path} holds no entries ({reason}): {remedy}.") from None
        if mark != self.mark:
            raise InputError(
                f"{self.path} has the entries of a contest with other questions: {remedy}."
            )
        strange = sorted(set(self.entries) - seats)
        if strange:
            raise InputError(
                f"{self.path} has an entry of {quoted(strange[0])}, who has no seat in the "
                f"workshop's file: name the seat there, or {remedy}."
            )


def checked_mixture(mixture: Any, known: Iterable[str]) -> dict[str, float]:
    """A mixture to hand in; coefficients that are 0 on the sliders are left out.

    Raises:
        InputError: no coefficients by expert, an unknown expert, one beyond its slider, or the base
            model.
    """
    if not isinstance(mixture, Mapping):
        raise InputError(f"The mixture is {quoted(mixture)}; expected coefficients by expert.")
    there = sorted(known)
    found = {}
    for name, alpha in mixture.items():
        if name not in there:
            raise InputError(f"There is no expert {quoted(name)}: reload the page.")
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
            raise InputError(f"The coefficient of {name} is {quoted(alpha)}; a number is expected.")
        if not SLIDER_LOW - NEAR <= alpha <= SLIDER_HIGH + NEAR:
            raise InputError(
                f"The coefficient of {name} is {quoted(alpha)}; a contest takes {SLIDER_LOW:g} to "
                f"{SLIDER_HIGH:g}: move its slider, or the strength."
            )
        if round(alpha, ALPHA_DECIMALS):
            found[name] = float(alpha)
    if not found:
        raise InputError("All sliders are at 0, which is the base model: move one first.")
    return found


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
