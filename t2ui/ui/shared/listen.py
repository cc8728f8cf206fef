"""Follow a worker's job from an async event handler, for as long as somebody listens.

Polls without blocking, so that a listener costs no thread; cancels the job when the handler ends
early, be it by Stop, by a closed tab, or by an error.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from t2ui.messages import Event, Experts, Failed, Request, Status

Answer = TypeVar("Answer")

POLL_SECONDS = 0.02
BEGUN_POLL = 0.05  # once something came: the worker hands out an answer's tokens ten times a second
# Forty who wait, looked after fifty times a second, would take the time that an answer needs.
WAITING_SECONDS, WAITING_POLL = 1.0, 0.1  # after so long without news it is looked for less often
YIELD_SECONDS = 0.25  # Gradio notices that a listener went only when the handler yields
WAITING_YIELD = 1.0  # each yield costs Gradio some milliseconds
COALESCE_SECONDS = 0.08
LONG_SECONDS = 0.5  # before that, what was there stays


class Job(Protocol):
    """What `client.submit` returns."""

    id: str

    @property
    def finished(self) -> bool: ...

    def next(self, timeout: float = 0.25) -> Event | None: ...

    def cancel(self) -> None: ...


class Client(Protocol):
    """The part of `t2ui.worker.client.WorkerClient` the pages need."""

    def submit(self, request: Request) -> Job: ...

    def status(self) -> Status: ...

    def experts(self, session: str = "") -> Experts | None: ...


def listed(client: Client) -> Experts | Failed | None:
    """The experts there are, or why there are none; None while the model loads. Never waits."""
    status = client.status()
    return Failed(status.detail) if status.state == "failed" else client.experts()


async def listen(client: Client, request: Request) -> AsyncGenerator[list[Event], None]:
    """The events of a request, as `follow` gives them."""
    async with aclosing(follow(client.submit(request))) as batches:
        async for batch in batches:
            yield batch


async def follow(job: Job) -> AsyncGenerator[list[Event], None]:
    """A job's events in batches, in order; an empty batch when nothing came for a while.

    The last batch ends with Done or Failed. The job is cancelled if the iterator is closed before.
    """
    loop = asyncio.get_running_loop()
    last, heard, poll = 0.0, loop.time(), POLL_SECONDS
    batch: list[Event] = []
    try:
        while not job.finished:
            while (event := job.next(timeout=0)) is not None:
                batch.append(event)
            now = loop.time()
            heard, poll = (now, BEGUN_POLL) if batch else (heard, poll)
            waits = now - heard > WAITING_SECONDS
            due = COALESCE_SECONDS if batch else WAITING_YIELD if waits else YIELD_SECONDS
            if job.finished or now - last >= due:
                last = now
                yield batch
                batch = []
            if not job.finished:
                await asyncio.sleep(WAITING_POLL if waits else poll)
    finally:
        if not job.finished:
            job.cancel()


async def answer(
    client: Client, request: Request, kind: type[Answer], timeout: float
) -> Answer | Failed:
    """The one event of type `kind` that answers a short request, or Failed.

    Gives up after `timeout` seconds: with a Failed that says so, and the job cancelled.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    found: Answer | Failed | None = None
    async with aclosing(listen(client, request)) as batches:
        async for batch in batches:
            found = next((e for e in batch if isinstance(e, (kind, Failed))), found)
            if found is None and loop.time() > end:
                break
    return found or Failed(
        f"The model did not answer within {timeout:.0f} s.",
        "It is loading or busy: see the status at the top, and try again.",
    )


async def patiently(
    work: Coroutine[Any, Any, Answer], waiting: Answer | None = None
) -> AsyncIterator[Answer | None]:
    """The result of `work`; before it, whenever time has passed, None.

    Once the work takes long, `waiting` comes first. Ends the work when nobody listens any more.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=LONG_SECONDS)
        if not task.done() and waiting is not None:
            yield waiting
        while not task.done():
            await asyncio.wait({task}, timeout=YIELD_SECONDS)
            yield None
        yield task.result()
    finally:
        task.cancel()
