"""The door: every request passes it on its way to the app, every response on its way out.

It knows who comes (`addresses`), which routes are open (`routes`), how often and how many at once
(`rates`, `places`, `listeners`), and refuses with a line that says what to do. What it lets in is
Gradio's; what the handlers may know of the visitor stands in the request's scope.
"""

import asyncio
import json
from collections import Counter
from typing import Any

from gradio.block_function import BlockFunction
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from t2ui.errors import quoted
from t2ui.http import routes
from t2ui.http.addresses import Keys, address_of
from t2ui.http.bodies import check_session, handing_on, parsed, read_body, with_body
from t2ui.http.connections import Patient, cut_off, while_connected
from t2ui.http.gradio_queue import ENTRY_KEY, ApiParameter, GradioQueue, api_parameters
from t2ui.http.headers import with_headers
from t2ui.http.limits import Limits
from t2ui.http.listeners import SWEEP_SECONDS, Listeners
from t2ui.http.places import ANSWERS, TOKENS, WORKER, Entry, Places
from t2ui.http.rates import Rates
from t2ui.http.refusal import Refusal, busy
from t2ui.ui.shared.visitor import SCOPE_KEY, Visitor

NEXT_TOKEN = "next_token"  # the server function of the page's card


class Door:
    """An ASGI app around the app."""

    def __init__(
        self,
        app: ASGIApp,
        queue: GradioQueue,
        limits: Limits,
        keys: Keys,
        shipped: tuple,  # the folders and files that the page may load
    ) -> None:
        self._app, self._queue, self._limits, self._keys = app, queue, limits, keys
        self._shipped = shipped
        self._rates = Rates()
        self._places = Places(limits, queue)
        self._listeners = Listeners(limits, queue)
        self._arriving: Counter[str] = Counter()  # posts being read, by address
        self._parameters = api_parameters(queue.blocks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            sender = Patient(with_headers(send), self._limits.send_seconds)
            try:
                await self._enter(scope, receive, sender)
            except Refusal as refusal:
                await refusal.send(sender)
            except Exception:
                if not sender.gave_up:
                    raise
                cut_off(send)

    async def sweep(self) -> None:
        """End what nobody listens to, for as long as the app runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self._listeners.sweep()

    # --- by kind of route ------------------------------------------------------------------------

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        found = routes.find(method, path)
        if found is None or found[0] == "file" and not routes.is_shipped(path, self._shipped):
            raise Refusal(404, f"There is nothing at {method} {quoted(path)}.")
        kind, parts = found
        address = address_of(scope, self._limits.public and self._limits.proxy)
        if kind in ("static", "file"):
            await self._app(scope, receive, send)
        elif kind == "page":
            self._pace(("pages", address), self._limits.pages_per_address)
            await self._app(scope, receive, send)
        elif method == "POST":
            await self._post(scope, receive, send, kind, address)
        else:
            self._pace(("requests", address), self._limits.requests_per_address)
            await self._get(scope, receive, send, kind, parts, address)

    async def _get(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        kind: str,
        parts: dict[str, str],
        address: str,
    ) -> None:
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
                f"{self._limits.unheard_seconds:g} s. Ask again.",
            )
        scope[SCOPE_KEY] = self._visitor(own, address)
        with self._listeners.stream(address, session):
            await self._app(scope, receive, send)

    async def _post(
        self, scope: Scope, receive: Receive, send: Send, kind: str, address: str
    ) -> None:
        self._pace(("requests", address), self._limits.requests_per_address)
        body = await self._read(scope, receive, address)
        said = parsed(body)
        session = said.get("session_hash")
        visitor = scope[SCOPE_KEY] = self._visitor(session, address)
        entry = Entry("", visitor)
        if kind in ("join", "run", "call"):
            fn = self._function(scope["path"], kind, said)
            if kind == "call":
                said = {"data": self._values(fn, scope["path"], said), "session_hash": session}
                body = json.dumps(said).encode()
                with_body(scope, body)
                scope["path"] = f"{routes.API}/call/{fn.api_name}"  # v2 too: it has a list now
            _check_data(fn, said.get("data"))
            if kind == "join":
                check_session(session)
            if session:
                self._listeners.expect(session)
            lane = fn.concurrency_id if fn.concurrency_id in (ANSWERS, WORKER) else ""
            entry = Entry(lane, visitor, api=fn.api_visibility == "public")
        elif kind == "server":
            entry = Entry(TOKENS if self._server_function(said) == NEXT_TOKEN else "", visitor)
        elif kind == "cancel":
            _check_cancel(said)
            self._places.stopped(said["event_id"], visitor)
        if entry.api:
            self._pace(("api", address), self._limits.api_posts_per_address)
        else:
            self._pace(("session", visitor.session), self._limits.requests_per_session)
        if kind != "cancel" and self._queue.is_new(session):
            self._pace(("new sessions", address), self._limits.sessions_per_address)
        scope[ENTRY_KEY] = entry
        await self._places.settle(entry)
        with self._places.hold(entry):
            if kind == "server":
                await while_connected(self._app, scope, (body, receive), send)
            else:
                await self._app(scope, handing_on(body, receive), send)

    # --- what it asks ----------------------------------------------------------------------------

    def _visitor(self, session_hash: str | None, address: str) -> Visitor:
        key = self._keys.session(session_hash) if session_hash else self._keys.address(address)
        return Visitor(key, address, self._limits.searches_per_address)

    def _pace(self, key: tuple[str, str], per_second: float) -> None:
        if wait := self._rates.take(key, per_second):
            whose = "this page" if key[0] == "session" else "your address"
            raise busy(
                f"Too many requests from {whose}: at most {per_second:g} a second. Try again in "
                f"{max(1, round(wait))} s.",
                retry=wait,
            )

    async def _read(self, scope: Scope, receive: Receive, address: str) -> bytes:
        if self._arriving[address] >= self._limits.bodies_per_address:
            raise busy(f"{self._arriving[address]} posts from your address are still arriving.")
        self._arriving[address] += 1
        try:
            return await read_body(scope, receive, self._limits)
        finally:
            self._arriving[address] -= 1
            if not self._arriving[address]:
                del self._arriving[address]

    def _function(self, path: str, kind: str, said: dict[str, Any]) -> BlockFunction:
        """The function that a post asks for."""
        functions, index = self._queue.blocks.fns, said.get("fn_index")
        if kind == "call":
            name = path.rstrip("/").rsplit("/", 1)[-1]
            public = [fn for fn in functions.values() if fn.api_visibility == "public"]
            fn = next((fn for fn in public if fn.api_name == name), None)
            if fn is None:
                there = ", ".join(f"/{one.api_name}" for one in public)
                raise Refusal(404, f"The API has no {quoted('/' + name)}; it has {there}.")
            return fn
        fn = functions.get(index) if type(index) is int else None
        if fn is None or fn.fn is None:
            raise Refusal(404, f"There is no function {quoted(index)}: reload the page.")
        if kind == "run" and fn.queue:
            raise Refusal(404, "This function is called through the queue: post to queue/join.")
        return fn

    def _values(self, fn: BlockFunction, path: str, said: dict[str, Any]) -> list[Any]:
        """What the API's function is called with: the values given, and defaults for the rest.

        They come as a list in the order of the parameters, or (v2) by name.
        """
        parameters = self._parameters[str(fn.api_name)]
        if path.startswith(f"{routes.API}/call/v2/"):
            given = {key: value for key, value in said.items() if key != "session_hash"}
        elif isinstance(data := said.get("data"), list) and len(data) <= len(parameters):
            given = {one.name: value for one, value in zip(parameters, data, strict=False)}
        else:
            got = f"{len(data)} values" if isinstance(data, list) else quoted(data)
            raise Refusal(422, f"data is {got}; expected a list of {_signature(fn, parameters)}.")
        unknown = [name for name in given if name not in [one.name for one in parameters]]
        missing = [one.name for one in parameters if not one.has_default and one.name not in given]
        if unknown or missing:
            what = f"has no {quoted(unknown[0])}" if unknown else f"lacks {', '.join(missing)}"
            raise Refusal(422, f"The call {what}; expected {_signature(fn, parameters)}.")
        return [given.get(one.name, one.default) for one in parameters]

    def _server_function(self, said: dict[str, Any]) -> str:
        """The name of a panel's function in the server."""
        component, name = said.get("component_id"), said.get("fn_name")
        block = self._queue.blocks.blocks.get(component) if type(component) is int else None
        function = getattr(block, name, None) if isinstance(name, str) else None
        check_session(said.get("session_hash"))
        if not getattr(function, "_is_server_fn", False):
            raise Refusal(404, f"There is no server function {quoted(name)}: reload the page.")
        return str(name)


def _check_data(fn: BlockFunction, data: Any) -> None:
    if not isinstance(data, list) or len(data) != len(fn.inputs):
        got = f"{len(data)} values" if isinstance(data, list) else quoted(data)
        raise Refusal(422, f"data is {got}; expected a list of {len(fn.inputs)} values.")


def _check_cancel(said: dict[str, Any]) -> None:
    check_session(said.get("session_hash"))
    check_session(said.get("event_id"))
    if type(said.get("fn_index")) is not int:
        raise Refusal(422, f"fn_index is {quoted(said.get('fn_index'))}; expected a whole number.")


def _signature(fn: BlockFunction, parameters: list[ApiParameter]) -> str:
    """The parameters of a function of the API, as a person reads them."""
    said = [f"{one.name}={one.default!r}" if one.has_default else one.name for one in parameters]
    return f"/{fn.api_name}({', '.join(said)})"
