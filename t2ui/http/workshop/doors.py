"""The routes of a workshop, below /workshop: seats, one's own state, entries, and the board.

A browser keeps a cookie with the token of its seat, or of the teacher's link. Scripts cannot read
it, and pages of other hosts cannot send it along with a post.
"""

import html
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.types import Receive, Scope, Send

from t2ui.errors import InputError
from t2ui.files import CannotWrite
from t2ui.http.bodies import parsed
from t2ui.http.gate import STARTED_AGAIN, Comer, Gate, no_seat
from t2ui.http.refusal import Refusal
from t2ui.http.seat_cookie import COOKIE, COOKIE_SECONDS, token_of
from t2ui.http.workshop.play import Play
from t2ui.messages import Experts
from t2ui.ui.shared.listen import listed
from t2ui.ui.shared.panel import ASSETS, asset_url
from t2ui.workshop.contest import OPEN
from t2ui.workshop.live import TEACHERS, Workshop
from t2ui.workshop.seats import SeatTaken

PATH = "/workshop/"  # routes.py opens those below
NO_STORE = {"cache-control": "no-store"}
PICK = ASSETS / "workshop/pick.html"
LOADING = "The model is loading: hand in again in a few seconds."
NOT_KEPT = "The server's disk refused your entry: tell the teacher, then hand it in again."
FREED = "The teacher freed this seat: reload the page and pick one."
PICK_ANEW = "The teacher freed your seat: pick one."
ONLY_TEACHER = "The board is the teacher's: it opens by the link that the server printed."
NO_LINK = (
    "This is not the teacher's link, or an old one: open the one that the server printed last."
)


def refused(error: InputError, status: int) -> Refusal:
    """A person's mistake as an answer over HTTP."""
    return Refusal(status, str(error))


class Doors:
    """Answers what the door lets in. Without a workshop there is nothing here."""

    def __init__(self, gate: Gate, workshop: Workshop | None) -> None:
        self._gate, self._workshop = gate, workshop
        contest = workshop.contest if workshop else None
        self._play = Play(gate.service.worker, contest) if contest else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The block in which the contest is played."""
        async with self._play.running() if self._play else nullcontext():
            yield

    def has_to_pick(self, who: Comer) -> bool:
        """Whether somebody gets the page with the seats in place of the app."""
        return self._workshop is not None and who.seat is None and not who.teacher

    async def pick(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page on which somebody without a seat picks one, in place of the app; it says why,
        to whom was here before."""
        text = PICK.read_text(encoding="utf-8")
        text = text.replace("{tokens}", asset_url(ASSETS / "shared/tokens.css"))
        text = text.replace("{why}", html.escape(self._why(token_of(scope))))
        await HTMLResponse(text, headers=NO_STORE)(scope, receive, send)

    def _why(self, token: str) -> str:
        """Why a browser that shows this token has to pick a seat; "" where it knows."""
        if token.startswith(TEACHERS):
            return STARTED_AGAIN
        freed = self._workshop is not None and self._workshop.seats.was_freed(token)
        return PICK_ANEW if freed else ""

    async def answer(self, scope: Scope, receive: Receive, send: Send, who: Comer) -> None:
        """
        Raises:
            Refusal: no workshop, no seat, not the teacher, or something that cannot be used.
        """
        if self._workshop is None:
            raise Refusal(404, "There is no workshop here: start one with --workshop FILE.")
        self._gate.pace(("requests", who.address), who.limits.requests_per_address)
        said: dict[str, Any] = {}
        if scope["method"] == "POST":
            self._gate.service.drain.check()
            said = parsed(await self._gate.read(scope, receive, who))
        name = f"_{scope['method'].lower()}_{scope['path'].removeprefix(PATH)}"
        response = getattr(self, name)(self._workshop, said, scope, who)
        await response(scope, receive, send)

    # --- seats ------------------------------------------------------------------------------------

    def _get_seats(self, workshop: Workshop, said: Any, scope: Scope, who: Comer) -> Response:
        seats = [{"name": one.name, "taken": bool(one.token)} for one in workshop.seats.all()]
        return JSONResponse({"title": workshop.plan.title, "seats": seats}, headers=NO_STORE)

    def _post_seats(self, workshop: Workshop, said: Any, scope: Scope, who: Comer) -> Response:
        """Sit down on {seat}, or with "" get up."""
        if said.get("seat") == "":
            if who.seat is not None:
                workshop.seats.leave(who.seat)
            response = JSONResponse({"seat": ""})
            response.delete_cookie(COOKIE)
            return response
        self._gate.pace(("seats", who.address), who.limits.seats_per_address)
        try:
            seat = workshop.seats.take(said.get("seat"), token_of(scope))
        except InputError as error:
            raise refused(error, 409 if isinstance(error, SeatTaken) else 404) from None
        return self._with_cookie(JSONResponse({"seat": seat.name}), seat.token)

    def _get_teacher(self, workshop: Workshop, said: Any, scope: Scope, who: Comer) -> Response:
        """The teacher's link."""
        self._gate.pace(("keys", who.address), 1.0)  # nobody guesses it
        secret = Request(scope).query_params.get("key", "")
        if not workshop.is_teachers(secret):
            return PlainTextResponse(f"{NO_LINK}\n", 403)
        return self._with_cookie(RedirectResponse("/?tab=workshop", 303), workshop.secret)

    @staticmethod
    def _with_cookie(response: Response, token: str) -> Response:
        response.set_cookie(COOKIE, token, max_age=COOKIE_SECONDS, httponly=True, samesite="lax")
        return response

    # --- a student --------------------------------------------------------------------------------

    def _get_state(self, workshop: Workshop, said: Any, scope: Scope, who: Comer) -> Response:
        """One's own; for the teacher the board."""
        if who.teacher:
            return self._get_board(workshop, said, scope, who)
        if who.seat is None:
            token = token_of(scope)
            raise Refusal(410, FREED) if workshop.seats.was_freed(token) else no_seat(token)
        workshop.seats.seen(who.seat, Request(scope).query_params.get("page", ""))
        return JSONResponse(workshop.seen_by(who.seat), headers=NO_STORE)

    def _post_entry(self, workshop: Workshop, said: Any, scope: Scope, who: Comer) -> Response:
        """Hand {mixture} in; it is scored as soon as the worker can."""
        if who.teacher:
            raise Refusal(403, "The teacher hands nothing in: let CEM play instead.")
        if who.seat is None:
            raise no_seat(token_of(scope))
        if workshop.contest is None:
            raise Refusal(404, "There is no contest in this workshop.")
        found = listed(self._gate.service.worker)
        known = [one.name for one in found.experts] if isinstance(found, Experts) else None
        if workshop.contest.state == OPEN and known is None:
            raise Refusal(503, str(found or LOADING), retry=5)
        status = 422 if workshop.contest.state == OPEN else 409
        try:
            workshop.contest.hand_in(who.seat.name, said.get("mixture"), known or ())
        except CannotWrite:
            raise Refusal(503, NOT_KEPT) from None  # its own line, with the path, is the teacher's
        except InputError as error:
            raise refused(error, status) from None
        return JSONResponse(workshop.seen_by(who.seat), 202)

    # --- the teacher ------------------------------------------------------------------------------

    def _get_board(self, workshop: Workshop, said: Any, scope: Scope, who: Comer) -> Response:
        if not who.teacher:
            raise Refusal(403, ONLY_TEACHER)
        return JSONResponse(workshop.board(), headers=NO_STORE)

    def _post_board(self, workshop: Workshop, said: Any, scope: Scope, who: Comer) -> Response:
        """Do {act}: "search", "end", or "free" a {seat}."""
        if not who.teacher:
            raise Refusal(403, ONLY_TEACHER)
        act = said.get("act")
        try:
            if act == "free":
                workshop.seats.free(said.get("seat"))
            elif act in ("search", "end") and self._play is not None:
                self._play.start_search() if act == "search" else self._play.end()
            else:
                contest = "" if self._play else ", as there is no contest"
                expected = "search, end or free" if self._play else "free"
                raise Refusal(422, f"act is {json.dumps(act)[:80]}; expected {expected}{contest}.")
        except InputError as error:
            raise refused(error, 503 if isinstance(error, CannotWrite) else 409) from None
        return JSONResponse(workshop.board())
