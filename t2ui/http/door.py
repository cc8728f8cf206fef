"""The door: every request passes it on its way to the app, every response on its way out.

It knows who comes (`addresses`, `tenants`), which routes are open (`routes`), how often and how
many at once (`rates`, `places`, `listeners`), and refuses with a line that says what to do. What it
lets in is Gradio's, or the API's (`openai`); what the handlers may know of the visitor stands in
the request's scope.
"""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from t2ui.errors import quoted
from t2ui.http import routes
from t2ui.http.addresses import Keys, address_of
from t2ui.http.bodies import check_session, handing_on, parsed, read_body, with_body
from t2ui.http.calls import Calls, check_cancel, check_data
from t2ui.http.connections import Patient, cut_off, while_connected
from t2ui.http.gradio_queue import ENTRY_KEY, GradioQueue
from t2ui.http.headers import with_headers
from t2ui.http.health import HEADERS, health
from t2ui.http.limits import Limits
from t2ui.http.listeners import SWEEP_SECONDS, Listeners
from t2ui.http.logs import log_request
from t2ui.http.metrics import TYPE
from t2ui.http.openai.routes import make_api
from t2ui.http.places import ANSWERS, TOKENS, WORKER, Entry, Places
from t2ui.http.rates import Rates
from t2ui.http.refusal import Refusal, busy
from t2ui.http.service import Service
from t2ui.http.tenants import Tenant
from t2ui.ui.shared.visitor import SCOPE_KEY, Visitor

NEXT_TOKEN = "next_token"  # the server function of the page's card


@dataclass
class Comer:
    """Who comes: the address that counts, or the tenant's name in its place."""

    address: str
    limits: Limits
    tenant: Tenant | None = None
    kind: str = "closed"  # of the route


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
        self._app, self._queue, self._service, self._keys = app, queue, service, keys
        self._shipped = shipped
        limits = service.limits
        self._api = make_api(service.client, limits.answer_tokens)
        self._rates = Rates()
        self._places = Places(limits, queue)
        self._listeners = Listeners(limits, queue)
        self._arriving: Counter[str] = Counter()  # posts being read, by address
        self._calls = Calls(queue)
        service.drain.count_by(self._places.count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        limits, status, began = self._service.limits, 0, time.monotonic()

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        who = Comer(address_of(scope, limits.public and limits.proxy), limits)
        sender = Patient(with_headers(seen), limits.send_seconds)
        try:
            await self._enter(scope, receive, sender, who)
        except Refusal as refusal:
            await refusal.send(sender, openai=scope["path"].startswith(f"{routes.OPENAI}/"))
        except Exception:
            if not sender.gave_up:
                raise
            cut_off(send)
        finally:
            self._written_down(scope, who, status, time.monotonic() - began)

    async def sweep(self) -> None:
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
        kind, parts = found
        who.kind = kind
        if kind == "health":
            await self._tell_health(scope, receive, send)
            return
        if kind != "startup":
            self._know(scope, who)
        if kind in ("static", "file", "startup"):
            await self._app(scope, receive, send)
        elif kind == "page":
            self._pace(("pages", who.address), who.limits.pages_per_address)
            await self._app(scope, receive, send)
        elif kind == "metrics":
            await self._tell_metrics(scope, receive, send, who)
        elif kind == "openai":
            await self._openai(scope, receive, send, who)
        elif method == "POST":
            await self._post(scope, receive, send, who)
        else:
            self._pace(("requests", who.address), who.limits.requests_per_address)
            await self._get(scope, receive, send, parts, who)

    def _know(self, scope: Scope, who: Comer) -> None:
        """Where there are keys, nobody comes in without one.

        Raises:
            Refusal: no key, or none that is known.
        """
        if self._service.tenants is None:
            return
        self._pace(("keys", who.address), who.limits.requests_per_address)
        who.tenant = self._service.tenants.of_headers(scope["headers"])
        who.address = who.tenant.session
        who.limits = who.tenant.limited(self._service.limits)

    async def _tell_health(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, said = health(self._service.worker.status(), self._service.drain.begun)
        retry = {} if status == 200 else {"retry-after": "10"}
        await JSONResponse(said, status, {**HEADERS, **retry})(scope, receive, send)

    async def _tell_metrics(self, scope: Scope, receive: Receive, send: Send, who: Comer) -> None:
        if who.tenant is None and self._service.limits.public:
            raise Refusal(404, "A public app shows no metrics but to a key: start it with --keys.")
        if who.tenant is not None and not who.tenant.operator:
            raise Refusal(403, "This key may not read the metrics: make one with --operator.")
        text = self._service.metrics.text(self._service.worker.status(), self._places.count())
        await Response(text, headers={"content-type": TYPE})(scope, receive, send)

    async def _openai(self, scope: Scope, receive: Receive, send: Send, who: Comer) -> None:
        self._pace(("requests", who.address), who.limits.requests_per_address)
        visitor = scope[SCOPE_KEY] = self._visitor(None, who)
        if scope["method"] != "POST":
            await self._api(scope, receive, send)
            return
        self._service.drain.check()
        self._pace(("api", who.address), who.limits.api_posts_per_address)
        body = await self._read(scope, receive, who)
        with self._places.hold(Entry(ANSWERS, visitor, api=True, limits=who.limits)):
            await while_connected(self._api, scope, (body, receive), send)

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
        if session is not None and not self._queue.has_messages(session):
            raise Refusal(
                404,
                "There are no events to listen to: they have ended, or nobody listened for "
                f"{who.limits.unheard_seconds:g} s. Ask again.",
            )
        scope[SCOPE_KEY] = self._visitor(own, who)
        with self._listeners.stream(who.address, session):
            await self._app(scope, receive, send)

    async def _post(self, scope: Scope, receive: Receive, send: Send, who: Comer) -> None:
        kind, address, limits = who.kind, who.address, who.limits
        if kind not in ("cancel", "small"):
            self._service.drain.check()
        self._pace(("requests", address), limits.requests_per_address)
        body = await self._read(scope, receive, who)
        said = parsed(body)
        session = said.get("session_hash")
        visitor = scope[SCOPE_KEY] = self._visitor(session, who)
        entry = Entry("", visitor, limits=limits)
        if kind in ("join", "run", "call"):
            fn = self._calls.function(scope["path"], kind, said)
            if kind == "call":
                said = {
                    "data": self._calls.values(fn, scope["path"], said),
                    "session_hash": session,
                }
                body = json.dumps(said).encode()
                with_body(scope, body)
                scope["path"] = f"{routes.API}/call/{fn.api_name}"  # v2 too: it has a list now
            check_data(fn, said.get("data"))
            if kind == "join":
                check_session(session)
            if session:
                self._listeners.expect(session)
            lane = fn.concurrency_id if fn.concurrency_id in (ANSWERS, WORKER) else ""
            entry = Entry(lane, visitor, fn.api_visibility == "public", limits)
        elif kind == "server":
            lane = TOKENS if self._calls.server_function(said) == NEXT_TOKEN else ""
            entry = Entry(lane, visitor, limits=limits)
        elif kind == "cancel":
            check_cancel(said)
        if entry.api:
            self._pace(("api", address), limits.api_posts_per_address)
        else:
            self._pace(("session", visitor.session), limits.requests_per_session)
        if kind != "cancel" and self._queue.is_new(session):
            self._pace(("new sessions", address), limits.sessions_per_address)
        scope[ENTRY_KEY] = entry
        with self._places.hold(entry):
            if kind == "server":
                await while_connected(self._app, scope, (body, receive), send)
            else:
                await self._app(scope, handing_on(body, receive), send)

    # --- what it asks ----------------------------------------------------------------------------

    def _visitor(self, session_hash: str | None, who: Comer) -> Visitor:
        address, searches = who.address, who.limits.searches_per_address
        if who.tenant is not None:  # its pages' sessions are its own
            page = f"/{self._keys.session(session_hash)}" if session_hash else ""
            return Visitor(f"{who.tenant.session}{page}", address, searches)
        key = self._keys.session(session_hash) if session_hash else self._keys.address(address)
        return Visitor(key, address, searches)

    def _written_down(self, scope: Scope, who: Comer, status: int, seconds: float) -> None:
        """What an operator sees of a request: counts, and a line where they want one."""
        self._service.metrics.request(who.kind, status)
        if who.kind not in ("static", "file", "health", "metrics"):
            log_request(
                {
                    "method": scope["method"],
                    "path": scope["path"][:200],
                    "status": status,
                    "seconds": round(seconds, 4),
                    "from": who.address,
                }
            )

    def _pace(self, key: tuple[str, str], per_second: float) -> None:
        if wait := self._rates.take(key, per_second):
            whose = "this page" if key[0] == "session" else "your address"
            raise busy(
                f"Too many requests from {whose}: at most {per_second:g} a second. Try again in "
                f"{max(1, round(wait))} s.",
                retry=wait,
            )

    async def _read(self, scope: Scope, receive: Receive, who: Comer) -> bytes:
        address = who.address
        if self._arriving[address] >= who.limits.bodies_per_address:
            raise busy(f"{self._arriving[address]} posts from your address are still arriving.")
        self._arriving[address] += 1
        try:
            return await read_body(scope, receive, who.limits)
        finally:
            self._arriving[address] -= 1
            if not self._arriving[address]:
                del self._arriving[address]
