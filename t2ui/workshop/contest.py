"""The contest of a workshop: who handed in which mixture, and how it ends.

Entries are written beside the workshop's file at every change, so that a restart loses none. Knows
no worker: `t2ui.http.workshop.play` has them scored and tells it what came out.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

from t2ui.errors import InputError, quoted
from t2ui.files import CannotWrite, writing
from t2ui.records import Decision, RightAnswers
from t2ui.workshop.entry import (
    FAILED,
    GONE,
    LEFT_OUT,
    REFUSED,
    SCORED,
    SCORING,
    SEARCHING,
    WAITING,
    Entry,
    Search,
    checked_mixture,
    gone,
)
from t2ui.workshop.file import ContestPlan
from t2ui.workshop.names import BASE, SEARCH

FORMAT = "t2ui.contest"
OPEN, ENDING, ENDED = "open", "ending", "ended"

Named = tuple[str, dict[str, float]]  # a player's name, and the mixture


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
        taken = sorted(waiting, key=lambda one: one.at)[:most] if self.state != ENDED else []
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

    def look_for_experts(self, known: Collection[str]) -> None:
        """Set aside whose mixture names an expert that is not there, with a note; who was set
        aside plays again where it has come back."""
        if self.state == ENDED:
            return
        again = ": hand in another mixture." if self.state == OPEN else "."
        for entry in self.entries.values():
            if missing := gone(entry.mixture, known):
                entry.state, entry.note = GONE, missing + again
            elif entry.state == GONE:
                entry.state, entry.note = (WAITING if entry.right is None else SCORED), ""
        search, again = self.search, ": let CEM play again." if self.state == OPEN else "."
        if missing := gone(search.mixture or {}, known):
            search.state, search.note = GONE, missing + again
        elif search.state == GONE:
            search.state, search.note = SCORED, ""

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

    def players(self) -> tuple[list[Named], list[Named]]:
        """(name, mixture) of the entries, those handed in first ahead; and of the rivals. Without
        those that are left out."""
        there = [one for one in self.entries.items() if one[1].state not in LEFT_OUT]
        rivals: list[Named] = [(BASE, {})]
        if self.search.mixture is not None and self.search.state != GONE:
            rivals.append((SEARCH, self.search.mixture))
        ordered = sorted(there, key=lambda one: one[1].at)
        return [(seat, entry.mixture) for seat, entry in ordered], rivals

    def leave_out_failed(self) -> bool:
        """The hidden questions could not be answered under all mixtures: leave out those of which
        that was known. Whether there are any."""
        failed = [one for one in self.entries.values() if one.state == FAILED]
        for entry in failed:
            entry.state = REFUSED
        return bool(failed)

    def decided(
        self, entries: Sequence[Named], rivals: Sequence[Named], decision: Decision
    ) -> None:
        """The hidden part is answered under the mixtures of these, as `players` gave them: the
        result, as plain data."""
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
            "entries": len(entries),
            "standings": sorted(standings, key=lambda one: -one["right"]),
            "best": None if decision.best is None else entries[decision.best][0],
            "tied": _tied([name for name, _ in entries], decision),
            "tests": tests,
            "left_out": self._left_out({name for name, _ in (*entries, *rivals)}),
        }
        self.state = ENDED
        self._try_to_write()

    def _left_out(self, asked: Collection[str]) -> list[dict[str, str]]:
        out = [(seat, one.note) for seat, one in self.entries.items()]
        if self.search.mixture is not None:
            out.append((SEARCH, self.search.note))
        return [{"name": name, "why": why} for name, why in out if name not in asked]

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
            mark, self.state = kept["contest"], kept["state"]
            self.result = _result_of(kept["result"])
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


def _tied(names: Sequence[str], decision: Decision) -> list[str]:
    """Who had as many right as the best, the best included; nobody where it was alone."""
    counts = [one.count for one in decision.entries]
    most = [name for name, count in zip(names, counts, strict=True) if count == max(counts)]
    return most if len(most) > 1 else []


def _result_of(kept: Any) -> dict[str, Any] | None:
    """A result as it was kept, those of before ties and left-out entries were told included."""
    if kept is None:
        return None
    entries = sum(not one["rival"] for one in kept["standings"])
    return {"entries": entries, "tied": [], "left_out": [], **kept}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
