"""The routes of the API, on a worker's client."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from t2ui.http.bodies import parsed
from t2ui.http.openai import names, requests
from t2ui.http.openai.replies import Reply, refusal_of
from t2ui.http.refusal import Refusal
from t2ui.messages import Event, Experts, Failed
from t2ui.ui.shared.listen import Client, follow, listed
from t2ui.ui.shared.visitor import VisitorClient, of

# A stream's headers wait for the first mistake that can be found, but not for a long queue.
DECIDED_SECONDS = 5.0
WAITING_SECONDS = 15.0  # between two signs of life, so that no proxy gives up
SSE = {"cache-control": "no-store", "x-accel-buffering": "no"}
OWNER = "t2ui"


def make_api(client: Client, most_tokens: int) -> Starlette:
    """The ASGI app of /v1.

    Args:
        most_tokens: that one answer may have.
    """

    async def models(request: Request) -> Response:
        data = [_model(name) for name in names.listed(_experts(of(client, request)))]
        return JSONResponse({"object": "list", "data": data})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        names.check_there(name, names.parsed(name), _experts(of(client, request)))
        return JSONResponse(_model(name))

    def answering(understand: Callable[[Any, int], requests.Asked]) -> Any:
        async def answer(request: Request) -> Response:
            asked = understand(parsed(await request.body()), most_tokens)
            own = of(client, request)
            names.check_there(asked.model, asked.named, _experts(own))
            job = own.submit(asked.ask)
            reply = Reply(asked, job.id)
            batches = follow(job)
            if asked.stream:
                first = await _until_decided(reply, batches)
                return StreamingResponse(
                    _stream(reply, first, batches), media_type="text/event-stream", headers=SSE
                )
            async with aclosing(batches):
                async for batch in batches:
                    for event in batch:
                        reply.add(event)
            return JSONResponse(reply.whole())

        return answer

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return JSONResponse(error.openai(), error.status, error.headers)

    return Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            Route("/v1/chat/completions", answering(requests.chat), methods=["POST"]),
            Route("/v1/completions", answering(requests.completion), methods=["POST"]),
        ],
        exception_handlers={Refusal: refused},
    )


async def _until_decided(reply: Reply, batches: Any) -> list[Event]:
    """The events up to the mixture that answers, or of the first seconds.

    Raises:
        Refusal: the worker cannot answer; its status can still be sent.
    """
    events: list[Event] = []
    end = asyncio.get_running_loop().time() + DECIDED_SECONDS
    try:
        async for batch in batches:
            events += batch
            for event in batch:
                if isinstance(event, Failed):
                    raise refusal_of(event)
                reply.take(event)
            if reply.decided or asyncio.get_running_loop().time() > end:
                break
    except BaseException:
        await batches.aclose()
        raise
    return events


async def _stream(reply: Reply, first: list[Event], batches: Any) -> AsyncIterator[str]:
    """Server-sent events, to [DONE] or an error."""
    loop = asyncio.get_running_loop()
    said = loop.time()
    async with aclosing(batches):
        try:
            for chunk in reply.chunks(first):
                yield _event(chunk)
            async for batch in batches:
                for chunk in reply.chunks(batch):
                    said = loop.time()
                    yield _event(chunk)
                if loop.time() - said > WAITING_SECONDS:
                    said = loop.time()
                    yield ": waiting\n\n"
        except Refusal as refusal:  # too late for a status
            yield _event(refusal.openai())
            return
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _experts(client: VisitorClient) -> Experts | None:
    """The experts there are; None while the model loads.

    Raises:
        Refusal: it cannot be loaded.
    """
    found = listed(client)
    if isinstance(found, Failed):
        raise Refusal(503, str(found), retry=30)
    return found


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": OWNER}
