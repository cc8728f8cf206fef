"""Connections: a reader who takes nothing is cut off, and who has gone is worked for no longer."""

import asyncio
from contextlib import suppress

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from t2ui.http.bodies import handing_on


class Patient:
    """A `send` that waits only so long for its reader to take what was sent before."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send, self._seconds = send, seconds
        self.gave_up = False

    async def __call__(self, message: Message) -> None:
        try:
            with anyio.fail_after(self._seconds):
                await self._send(message)
        except TimeoutError:
            self.gave_up = True
            raise OSError("The reader takes nothing any more.") from None


def cut_off(send: Send) -> None:
    """End the connection that the server's own `send` writes to.

    Closing it would first wait until everything was read, which is what did not happen. ASGI has
    no word for this; uvicorn's `send` is a method of an object that has the transport.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()


async def while_connected(
    app: ASGIApp, scope: Scope, post: tuple[bytes, Receive], send: Send
) -> None:
    """Run the app on a post that was read, until it has answered or its sender has gone."""
    body, receive = post
    gone = asyncio.Event()

    async def waiting() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    running = asyncio.ensure_future(app(scope, handing_on(body, waiting), send))
    watching = asyncio.ensure_future(watch())
    try:
        await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        if not running.done():
            running.cancel()
    with suppress(asyncio.CancelledError):
        await running
