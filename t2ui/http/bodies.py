"""Posts: read whole, within limits, before anybody works on them; and handed on."""

import json
from collections.abc import Callable
from typing import Any

import anyio
from starlette.types import Message, Receive, Scope

from t2ui.errors import quoted
from t2ui.http.addresses import SESSION_HASH
from t2ui.http.limits import Limits
from t2ui.http.refusal import Refusal


async def read_body(
    scope: Scope, receive: Receive, limits: Limits, count: Callable[[int], object]
) -> bytes:
    """The body of a post.

    Args:
        count: is told of the bytes of every part that arrives, also of a post that is refused.

    Raises:
        Refusal: it is no JSON by its type, too large, too slow, or its sender is gone.
    """
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != b"application/json":
        raise Refusal(
            415,
            f"The content type is {quoted(kind.decode('latin-1'))}; expected application/json.",
        )
    too_large = Refusal(413, f"A post may have at most {limits.body_bytes:,} bytes: shorten it.")
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced[:20]) > limits.body_bytes:
        raise too_large
    parts, size = [], 0
    try:
        with anyio.fail_after(limits.body_seconds):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Refusal(400, "The post ended before it was whole: send it again.")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                count(len(parts[-1]))
                if size > limits.body_bytes:
                    raise too_large
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise Refusal(
            408, f"The post did not arrive within {limits.body_seconds:g} s: send it again."
        ) from None


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object that a post holds, with a session that is a plain word, or none.

    Raises:
        Refusal: it is none.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:  # nested too deep, a number too long
        reason = " ".join(str(error).split())[:100]
        raise Refusal(400, f"The body is not JSON ({reason}).") from None
    if not isinstance(value, dict):
        raise Refusal(422, f"The body is {quoted(value)}; expected a JSON object.")
    session = value.get("session_hash")
    if session is not None:
        check_session(session)
    return value


def check_session(session: Any) -> str:
    """A session as it names itself.

    Raises:
        Refusal: no plain word.
    """
    if not isinstance(session, str) or not SESSION_HASH.fullmatch(session):
        raise Refusal(
            422, f"The session is {quoted(session)}; expected 1 to 64 letters, digits, - and _."
        )
    return session


def handing_on(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the whole body first, then what comes after it."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving


def with_body(scope: Scope, body: bytes) -> None:
    """Set what the headers say of a body to what it is now."""
    dropped = (b"content-length", b"transfer-encoding")
    headers = [line for line in scope["headers"] if line[0] not in dropped]
    scope["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
