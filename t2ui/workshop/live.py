"""A workshop that is on: its plan, its seats, its contest, and the secret that opens the board."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2ui.messages import (
    Adapt,
    AddExpert,
    DeleteExpert,
    EstimateAdapt,
    Failed,
    RenameExpert,
    Request,
    SaveExpert,
)
from t2ui.workshop.contest import Contest
from t2ui.workshop.file import Plan
from t2ui.workshop.names import SEARCH
from t2ui.workshop.seats import Seat, Seats

TEACHERS = "teacher-"  # how the secret in a teacher's link begins

_NOTHING_KEPT = Failed(
    "In this workshop experts are not added, saved, renamed or deleted.",
    "Hand a mixture in, or keep it with a permalink.",
    "input",
)
_NO_SEARCH = Failed("Only the teacher searches here.", "Move the sliders by hand.", "input")
# What students cannot ask the worker for, at any door, and what they are told.
CLOSED: dict[type[Request], Failed] = {
    AddExpert: _NOTHING_KEPT,
    SaveExpert: _NOTHING_KEPT,
    RenameExpert: _NOTHING_KEPT,
    DeleteExpert: _NOTHING_KEPT,
    Adapt: _NO_SEARCH,
    EstimateAdapt: _NO_SEARCH,
}


def entries_file(plan: Plan) -> Path:
    """Where the contest's entries are kept."""
    return plan.path.with_name(f"{plan.path.stem}.entries.json")


@dataclass
class Workshop:
    """One server's. Used from the event loop's thread alone."""

    plan: Plan
    secret: str = field(  # in the teacher's link
        default_factory=lambda: TEACHERS + secrets.token_urlsafe(16)
    )
    seats: Seats = field(init=False)
    contest: Contest | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: what `Contest.opened` raises.
        """
        self.seats, path = Seats(self.plan.seats), entries_file(self.plan)
        if self.plan.contest is not None:
            self.contest = Contest.opened(self.plan.contest, path, self.plan.seats)

    def is_teachers(self, secret: str) -> bool:
        """Whether this is the board's secret."""
        return secrets.compare_digest(self.secret.encode(), secret.encode("utf-8", "replace"))

    # --- what is seen of it -----------------------------------------------------------------------

    def seen_by(self, seat: Seat) -> dict[str, Any]:
        """What a student's page shows; nothing of the others' answers, nothing hidden."""
        shown: dict[str, Any] = {"seat": seat.name, "teacher": False, "contest": None}
        contest = self.contest
        if contest is not None:
            entry, result = contest.entries.get(seat.name), contest.result
            mine = None if entry is None else {**vars(entry), "of": len(contest.plan.visible)}
            if result is not None:  # one's own line, and those of who plays along
                lines = [
                    one for one in result["standings"] if one["rival"] or one["name"] == seat.name
                ]
                out = [one for one in result["left_out"] if one["name"] in (seat.name, SEARCH)]
                # how many were as good as the best, but not who
                tied = ["" for _ in result["tied"]]
                result = {**result, "standings": lines, "left_out": out, "tied": tied}
            counted = len(contest.entries)
            shown["contest"] = {
                "state": contest.state,
                "entry": mine,
                "entries": counted,
                "result": result,
            }
        return shown

    def board(self) -> dict[str, Any]:
        """What the teacher sees."""
        seats = [
            {
                "name": one.name,
                "here": bool(one.token),
                "page": one.page,
                "ago": self.seats.seconds_ago(one),
                "answers": one.answers,
                "question": one.question,
                "answer": one.answer,
                "mixture": None if one.mixture is None else dict(one.mixture),
            }
            for one in self.seats.all()
        ]
        return {"teacher": True, "seats": seats, "contest": self._contest_board()}

    def _contest_board(self) -> dict[str, Any] | None:
        contest = self.contest
        if contest is None:
            return None
        return {
            "state": contest.state,
            "visible": len(contest.plan.visible),
            "hidden": len(contest.plan.hidden),
            "entries": [{"seat": seat, **vars(one)} for seat, one in contest.entries.items()],
            "search": vars(contest.search),
            "result": contest.result,
            "note": contest.note or contest.disk,
            "decided": list(contest.decided_so_far),
        }
