"""The package `mcp`: version 2, or version 1, which Gradio brings to a Hugging Face Space.

Both have what is used here under other names; nobody else imports the package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from starlette.types import ASGIApp

SECOND, FIRST = "mcp.server.mcpserver", "mcp.server.fastmcp"  # where the server's class is


def available() -> bool:
    """Whether the package is installed."""
    return find_spec("mcp") is not None


@dataclass(frozen=True)
class Protocol:
    """A server without tools, and the names that go with it."""

    server: Any  # `add_tool`, `session_manager`
    context: type  # that a tool's first argument is an instance of
    error: type[Exception]  # whose text the caller is told
    annotations: Any  # of a tool that changes nothing and asks no other host
    app: Callable[[], ASGIApp]


def protocol(name: str, title: str, instructions: str, version: str, path: str) -> Protocol:
    """A server that answers at `path`, every request for itself.

    Hosts and origins are the door's to check.
    """
    security = import_module("mcp.server.transport_security")
    open_door = security.TransportSecuritySettings(enable_dns_rebinding_protection=False)
    serving = {
        "streamable_http_path": path,
        "stateless_http": True,
        "transport_security": open_door,
    }
    if find_spec(SECOND) is not None:
        found = import_module(SECOND)
        server = found.MCPServer(
            name, title=title, instructions=instructions, version=version, log_level="ERROR"
        )
        types = import_module("mcp_types")
        hints = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)
        error = import_module(f"{SECOND}.exceptions").ToolError

        def app() -> ASGIApp:
            return server.streamable_http_app(**serving)

        return Protocol(server, found.Context, error, hints, app)
    found = import_module(FIRST)
    server = found.FastMCP(name, instructions=instructions, log_level="ERROR", **serving)
    types = import_module("mcp.types")
    hints = types.ToolAnnotations(readOnlyHint=True, openWorldHint=False)
    error = import_module(f"{FIRST}.exceptions").ToolError
    return Protocol(server, found.Context, error, hints, server.streamable_http_app)
