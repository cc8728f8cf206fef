"""Puts the first look into the page on its way out."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE = "/"
BEFORE = b"<gradio-app"  # the element in which the app builds itself


class FirstLook:
    """An ASGI app around the app. One of its middlewares, the innermost."""

    def __init__(self, app: ASGIApp, markup: str) -> None:
        self._app, self._markup = app, markup.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PAGE:
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def sending(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            headers = MutableHeaders(raw=list(start["headers"]))
            if headers.get("content-type", "").startswith("text/html") and body:
                body = body.replace(BEFORE, self._markup + BEFORE, 1)
                headers["content-length"] = str(len(body))
            await send({**start, "headers": headers.raw})
            await send({**message, "body": body})

        await self._app(scope, receive, sending)
