"""The routes that programs use, not the page: the API in OpenAI's shape, tools, health, metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from t2ui.http.bodies import parsed
from t2ui.http.connections import while_connected
from t2ui.http.gate import Comer, Gate
from t2ui.http.health import HEADERS, health
from t2ui.http.mcp.protocol import available
from t2ui.http.mcp.server import ANSWERING, PATH, make_mcp
from t2ui.http.metrics import TYPE
from t2ui.http.openai.routes import make_api
from t2ui.http.places import ANSWERS, Entry, Places
from t2ui.http.refusal import Refusal
from t2ui.ui.shared.visitor import SCOPE_KEY

KINDS = ("openai", "mcp", "health", "metrics")  # of the routes that are answered here


class Programs:
    """Answers what the door lets in."""

    def __init__(self, gate: Gate, places: Places) -> None:
        service = gate.service
        self._gate, self._places, self._service = gate, places, service
        self._api = make_api(service.client, service.limits.answer_tokens)
        self._mcp = make_mcp(service.client) if available() else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The block in which they are answered."""
        async with self._mcp[1]() if self._mcp else nullcontext():
            yield

    async def answer(self, scope: Scope, receive: Receive, send: Send, who: Comer) -> None:
        """
        Raises:
            Refusal: it goes no further.
        """
        found = {
            "openai": self._openai,
            "mcp": self._tools,
            "health": self._health,
            "metrics": self._metrics,
        }
        await found[who.kind](scope, receive, send, who)

    async def _health(self, scope: Scope, receive: Receive, send: Send, who: Comer) -> None:
        status, said = health(self._service.worker.status(), self._service.drain.begun)
        retry = {} if status == 200 else {"retry-after": "10"}
        await JSONResponse(said, status, {**HEADERS, **retry})(scope, receive, send)

    async def _metrics(self, scope: Scope, receive: Receive, send: Send, who: Comer) -> None:
        if who.tenant is None and self._service.limits.public:
            raise Refusal(404, "A public app shows no metrics but to a key: start it with --keys.")
        if who.tenant is not None and not who.tenant.operator:
            raise Refusal(403, "This key may not read the metrics: make one with --operator.")
        text = self._service.metrics.text(self._service.worker.status(), self._places.count())
        await Response(text, headers={"content-type": TYPE})(scope, receive, send)

    async def _openai(self, scope: Scope, receive: Receive, send: Send, who: Comer) -> None:
        self._gate.pace(("requests", who.address), who.limits.requests_per_address)
        visitor = scope[SCOPE_KEY] = self._gate.visitor(None, who)
        if scope["method"] != "POST":
            await self._api(scope, receive, send)
            return
        body = await self._post(scope, receive, who)
        with self._places.hold(Entry(ANSWERS, visitor, api=True, limits=who.limits)):
            await while_connected(self._api, scope, (body, receive), send)

    async def _tools(self, scope: Scope, receive: Receive, send: Send, who: Comer) -> None:
        self._gate.pace(("requests", who.address), who.limits.requests_per_address)
        if self._mcp is None:
            raise Refusal(404, "There are no tools here: install t2ui with its extra `mcp`.")
        if scope["method"] != "POST":
            raise Refusal(405, "The tools are called by POST, without a session.")
        body = await self._post(scope, receive, who)
        said = parsed(body)
        call = said.get("params") if said.get("method") == "tools/call" else None
        lane = ANSWERS if isinstance(call, dict) and call.get("name") in ANSWERING else ""
        visitor = scope[SCOPE_KEY] = self._gate.visitor(None, who)
        scope["path"], scope["raw_path"] = PATH, PATH.encode()
        with self._places.hold(Entry(lane, visitor, api=True, limits=who.limits)):
            await while_connected(self._mcp[0], scope, (body, receive), send)

    async def _post(self, scope: Scope, receive: Receive, who: Comer) -> bytes:
        """The body of a post.

        Raises:
            Refusal: the server ends, too often, or a page of another host sends it.
        """
        self._service.drain.check()
        self._gate.check_origin(scope, who)
        self._gate.pace(("api", who.address), who.limits.api_posts_per_address)
        return await self._gate.read(scope, receive, who)
