"""What the door says to whom it does not let in: one line that says what to do, as JSON."""

import json
import math

from starlette.types import Send


class Refusal(Exception):
    """A request that goes no further: its status, and a line for the person who sent it.

    `retry` is in seconds, for 429 and 503.
    """

    def __init__(self, status: int, message: str, retry: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry = status, message, retry

    async def send(self, send: Send) -> None:
        """Answer the request with it."""
        body = json.dumps({"error": self.message}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if self.retry is not None:
            headers.append((b"retry-after", str(max(1, math.ceil(self.retry))).encode()))
        start = {"type": "http.response.start", "status": self.status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": body})


def busy(message: str, retry: float = 5) -> Refusal:
    """Too much at once, or too often."""
    return Refusal(429, message, retry)
