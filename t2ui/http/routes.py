"""The routes that the page and the API need. What is not here is closed.

Gradio serves many more: uploads, a proxy to other hosts, code editing, monitoring. A new route of
the app is written down here, or nobody reaches it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

API = "/gradio_api"
OPENAI = "/v1"


@dataclass(frozen=True)
class Route:
    """What stands at a path. The kind says how the door treats it."""

    methods: str
    pattern: str  # of the whole path, after unquoting
    kind: str


OPEN = (
    # the page, made anew for each visit
    Route("GET HEAD", "/", "page"),
    Route("GET", "/config/?", "page"),
    Route("GET", f"{API}/info/?", "page"),
    # files that never change
    Route("GET HEAD", "/(static|assets|svelte)/.+", "static"),
    Route("GET HEAD", f"{API}/file=.+", "file"),
    Route("GET HEAD", "/favicon.ico", "static"),
    Route("GET", f"(/|{API}/)theme.css", "static"),
    Route("GET", "/manifest.json", "static"),
    Route("GET", "/robots.txt", "static"),
    # the page's life
    Route("GET", f"{API}/startup-events", "startup"),  # asked by `Blocks.launch` itself
    Route("GET", f"{API}/app_id/?", "small"),
    Route("GET", f"{API}/heartbeat/(?P<session>[^/]+)", "heartbeat"),
    # events: posted, listened to, stopped
    Route("POST", f"{API}/queue/join", "join"),
    Route("GET", f"{API}/queue/data", "listen"),
    Route("POST", f"{API}/(run|api)/(?P<name>[^/]+)/?", "run"),
    Route("POST", f"{API}/cancel", "cancel"),
    Route("POST", f"{API}/reset/?", "small"),
    Route("POST", f"{API}/component_server/?", "server"),
    # the API that is like OpenAI's
    Route("GET", f"{OPENAI}/models", "openai"),
    Route("GET", f"{OPENAI}/models/.+", "openai"),
    Route("POST", f"{OPENAI}/(chat/)?completions", "openai"),
    # tools for agents; the second is where a Space's are looked for
    Route("GET POST DELETE", f"({API})?/mcp/?", "mcp"),
    # a workshop's own
    Route("GET POST", "/workshop/(seats|board)", "workshop"),
    Route("GET", "/workshop/(state|teacher)", "workshop"),
    Route("POST", "/workshop/entry", "workshop"),
    # for operators
    Route("GET HEAD", "/health", "health"),
    Route("GET", "/metrics", "metrics"),
    # the API by name
    Route("POST", f"{API}/call/(v2/)?(?P<name>[^/]+)/?", "call"),
    Route("GET", f"{API}/call/(v2/)?(?P<name>[^/]+)/(?P<event>[^/]+)", "hear"),
)
_COMPILED = tuple((route, re.compile(route.pattern)) for route in OPEN)


def find(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """The kind of what stands at a path, and the parts that its pattern names; None: closed."""
    if any(part in (".", "..") for part in re.split(r"[/\\]", path)) or "\0" in path:
        return None
    for route, pattern in _COMPILED:
        if method in route.methods.split() and (found := pattern.fullmatch(path)):
            return route.kind, {k: v for k, v in found.groupdict().items() if v is not None}
    return None


def is_shipped(path: str, folders: tuple[Path, ...]) -> bool:
    """Whether a file route asks for a file that comes with the app."""
    asked = unquote(path.removeprefix(f"{API}/file="))
    try:
        file = Path(asked).resolve()
    except (OSError, ValueError, RuntimeError):
        return False
    return any(file == folder or file.is_relative_to(folder) for folder in folders)
