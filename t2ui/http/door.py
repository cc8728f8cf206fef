"""The door: every request passes it on its way to the app, every response on its way out.

It knows which routes are open (`routes`), asks who comes and how often (`gate`), how many at once
(`places`, `listeners`), and refuses with a line that says what to do. What it lets in is Gradio's,
or a program's (`programs`); what the handlers may know of the visitor is in the request's scope.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from t2ui.errors import quoted
from t2ui.http import routes
from t2ui.http.addresses import Keys
from t2ui.http.bodies import check_session, handing_on, parsed, with_body
from t2ui.http.calls import Calls, check_cancel, check_data
from t2ui.http.connections import Patient, cut_off, while_connected
from t2ui.http.gate import Comer, Gate
from t2ui.http.gradio_queue import ENTRY_KEY, GradioQueue
from t2ui.http.headers import with_headers
from t2ui.http.listeners import SWEEP_SECONDS, Listeners
from t2ui.http.owners import Owners
from t2ui.http.places import ANSWERS, TOKENS, WORKER, Entry, Places
from t2ui.http.programs import KINDS, Programs
from t2ui.http.refusal import Refusal
from t2ui.http.service import Service
from t2ui.http.workshop.doors import Doors
from t2ui.ui.shared.visitor import SCOPE_KEY

LATE_SECONDS, LATE_LOOKS = 2.0, 20  # for what is stopped before its post was let in
NEXT_TOKEN = "next_token"  # the server function of the page's card


class Door:
    """An ASGI app around the app."""

    def __init__(
        self,
        app: ASGIApp,
        queue: GradioQueue,
        service: Service,
        keys: Keys,
        shipped: tuple,  # the folders and files that the page may load
    ) -> None:
        self._app, self._queue, self._shipped = app, queue, shipped
        self._gate = Gate(service, keys)
        self._places = Places(service.limits, queue)
        self._programs = Programs(self._gate, self._places)
        self._workshop = Doors(self._gate, service.workshop)
        self._listeners = Listeners(service.limits, queue)
        self._calls = Calls(queue)
        self._owners = Owners()
        service.drain.count_by(self._places.count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        status, began = 0, time.monotonic()

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        who = self._gate.comer(scope)
        openai = scope["path"].startswith(f"{routes.OPENAI}/")
        sender = Patient(with_headers(seen), who.limits.send_seconds)
        try:
            await self._enter(scope, receive, sender, who)
        except Refusal as refusal:
            await refusal.send(scope, sender, openai)
        except Exception:
            if not sender.gave_up:
                raise
            cut_off(send)
        finally:
            self._gate.write_down(scope, who, status, time.monotonic() - began)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The block in which it works."""
        sweeping = asyncio.create_task(self._sweep())
        try:
            async with self._programs.running(), self._workshop.running():
                yield
        finally:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping

    async def _sweep(self) -> None:
        """End what nobody listens to, for as long as the app runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self._listeners.sweep()

    # --- by kind of route ------------------------------------------------------------------------

    async def _enter(self, scope: Scope, receive: Receive, send: Send, who: Comer) -> None:
        path, method = scope["path"], scope["method"]
        found = routes.find(method, path)
        if found is None or found[0] == "file" and not routes.is_shipped(path, self._shipped):
            raise Refusal(404, f"There is nothing at {method} {quoted(path)}.")
        who.kind, parts = found
        if who.kind not in ("health", "startup"):
            self._gate.know(scope, who)
        if who.kind in KINDS:
            await self._programs.answer(scope, receive, send, who)
        elif who.kind in ("static", "file", "startup"):
            await self._app(scope, receive, send)
        elif who.kind == "workshop":
            await self._workshop.answer(scope, receive, send, who)
        elif who.kind == "page":
            self._gate.pace(("pages", who.address), who.limits.pages_per_address)
            picks = self._workshop.has_to_pick(who)
            await (self._workshop.pick if picks else self._app)(scope, receive, send)
        elif method == "POST":
            await self._post(scope, receive, send, who)
        else:
            self._gate.pace(("requests", who.address), who.limits.requests_per_address)
            await self._get(scope, receive, send, parts, who)

    async def _get(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        parts: dict[str, str],
        who: Comer,
    ) -> None:
        kind = who.kind
        if kind == "small":
            await self._app(scope, receive, send)
            return
        session: str | None = None
        if kind == "heartbeat":
            own = check_session(parts["session"])
        elif kind == "hear":
            event = check_session(parts["event"])
            session = own = self._queue.session_of(event) or event
        else:
            session = own = check_session(Request(scope).query_params.get("session_hash"))
        self._owners.check(session, _tenant(who))
        if session is not None and not self._queue.has_messages(session):
            raise Refusal(
                404,
                "There are no events to listen to: they have ended, or nobody listened for "
                f"{who.limits.unheard_seconds:g} s. Ask again.",
            )
        scope[SCOPE_KEY] = self._gate.visitor(own, who)
        with self._listeners.stream(who.address, session):
            await self._app(scope, receive, send)

    async def _post(self, scope: Scope, receive: Receive, send: Send, who: Comer) -> None:
        kind, address, limits = who.kind, who.address, who.limits
        if kind not in ("cancel", "small"):
            self._gate.service.drain.check()
        self._gate.pace(("requests", address), limits.requests_per_address)
        body = await self._gate.read(scope, receive, who)
        said = parsed(body)
        session = said.get("session_hash")
        visitor = scope[SCOPE_KEY] = self._gate.visitor(session, who)
        entry = Entry("", visitor, limits=limits)
        if kind in ("join", "run", "call"):
            fn = self._calls.function(scope["path"], kind, said)
            if kind == "call":
                values = self._calls.values(fn, scope["path"], said)
                # Two calls of one session would read each other's events: each has its own.
                session = secrets.token_hex(16)
                said = {"data": values, "session_hash": session}
                body = json.dumps(said).encode()
                with_body(scope, body)
                scope["path"] = f"{routes.API}/call/{fn.api_name}"  # v2 too: it has a list now
            check_data(fn, said.get("data"))
            if kind == "join":
                check_session(session)
            if session:
                self._owners.claim(session, _tenant(who))
                self._listeners.expect(session)
            lane = fn.concurrency_id if fn.concurrency_id in (ANSWERS, WORKER) else ""
            entry = Entry(lane, visitor, fn.api_visibility == "public", limits)
        elif kind == "server":
            lane = TOKENS if self._calls.server_function(said) == NEXT_TOKEN else ""
            entry = Entry(lane, visitor, limits=limits)
        elif scope["path"].rstrip("/") == f"{routes.API}/reset" and said.get("event_id") is None:
            body = json.dumps({"event_id": ""}).encode()  # of what was stopped before it had one
            with_body(scope, body)
        elif kind == "cancel":
            check_cancel(said)
            self._owners.check(session, _tenant(who))
            if said.get("event_id") is None:
                said["event_id"] = await self._event_of(said)
            session = said["session_hash"] = self._queue.session_of(said["event_id"]) or session
            self._owners.check(session, _tenant(who))
            body = json.dumps(said).encode()
            with_body(scope, body)
            self._places.stopped(said["event_id"], visitor)
        if entry.api:
            self._gate.pace(("api", address), limits.api_posts_per_address)
        else:
            self._gate.pace(("session", visitor.session), limits.requests_per_session)
        if kind != "cancel" and self._queue.is_new(session):
            self._gate.pace(("new sessions", address), limits.sessions_per_address)
        scope[ENTRY_KEY] = entry
        await self._places.settle(entry)
        with self._places.hold(entry):
            if kind == "server":
                await while_connected(self._app, scope, (body, receive), send)
            else:
                await self._app(scope, handing_on(body, receive), send)

    async def _event_of(self, said: dict[str, Any]) -> str:
        """The event that a cancel means which does not name one: the post that asks for it may be
        on its way still.

        Raises:
            Refusal: there is none, and none comes.
        """
        for _ in range(LATE_LOOKS):
            if found := self._queue.event_of(said["session_hash"], said["fn_index"]):
                return found
            await asyncio.sleep(LATE_SECONDS / LATE_LOOKS)
        raise Refusal(404, "There is nothing to stop: it has ended.")


def _tenant(who: Comer) -> str:
    return who.tenant.session if who.tenant is not None else ""
