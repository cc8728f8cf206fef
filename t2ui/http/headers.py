"""What every response says to the browser: what the page may load, who may frame it."""

from starlette.types import Message, Send

# Gradio's page has scripts within its markup and builds functions from text: without
# 'unsafe-inline' and 'unsafe-eval' it does not run. No other host is let in for anything.
POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "media-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "connect-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    # a Space is shown in a frame on huggingface.co
    "frame-ancestors": "'self' https://huggingface.co https://*.hf.space",
}
HEADERS = {
    "content-security-policy": "; ".join(f"{key} {value}" for key, value in POLICY.items()),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # a link carries the prompt
}
_LINES = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
_NAMES = {name for name, _ in _LINES}


def with_headers(send: Send) -> Send:
    """The same, with the headers above on the response, whatever it said itself."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            said = [line for line in message.get("headers", ()) if line[0].lower() not in _NAMES]
            message = {**message, "headers": [*said, *_LINES]}
        await send(message)

    return sending
