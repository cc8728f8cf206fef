"""What the door says to whom it does not let in: one line that says what to do.

Programs get it as JSON, a person who opened an address in a browser as the line alone.
"""

import json
import math
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope, Send


class Refusal(Exception):
    """A request that goes no further: its status, and a line for the person who sent it.

    `retry` is in seconds, for 429 and 503. `param` and `code` are for programs: the field that is
    wrong, and a word for what is wrong with it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        retry: float | None = None,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.retry = status, message, retry
        self.param, self.code = param, code

    @property
    def headers(self) -> dict[str, str]:
        """Those that belong to its status."""
        found = {}
        if self.retry is not None:
            found["retry-after"] = str(max(1, math.ceil(self.retry)))
        if self.status == 401:  # a browser then asks for a password, which is the key
            found["www-authenticate"] = 'Basic realm="t2ui: any name, and your key"'
        return found

    def openai(self) -> dict[str, Any]:
        """As OpenAI's API shapes an error."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error")
        return {
            "error": {
                "message": _whole(self.message),
                "type": "server_error" if self.status >= 500 else kind,
                "param": _whole(self.param),
                "code": self.code or CODES.get(self.status),
            }
        }

    async def send(self, scope: Scope, send: Send, openai: bool = False) -> None:
        """Answer the request with it, in the shape of OpenAI's API or plainly."""
        if opened_by_hand(scope) and not openai:
            kind, said = "text/plain; charset=utf-8", f"{_whole(self.message)}\n"
        else:
            kind = "application/json"
            said = json.dumps(self.openai() if openai else {"error": self.message})
        body = said.encode()
        given = {"content-type": kind, "content-length": str(len(body)), "vary": "accept"}
        headers = [(key.encode(), value.encode()) for key, value in (given | self.headers).items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def opened_by_hand(scope: Scope) -> bool:
    """Whether a browser asks for this to show it: an address typed in, or a link followed."""
    asks = Headers(scope=scope).get("accept", "")  # browsers alone read XHTML
    return scope["method"] in ("GET", "HEAD") and "application/xhtml+xml" in asks


def _whole(text: str | None) -> str | None:
    """With a sign in the place of half a character, which cannot be sent."""
    return None if text is None else text.encode(errors="replace").decode()


CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def busy(message: str, retry: float = 5) -> Refusal:
    """Too much at once, or too often."""
    return Refusal(429, message, retry)
