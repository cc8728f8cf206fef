"""The tools as a server of the Model Context Protocol, on streamable HTTP and without sessions."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from importlib.util import find_spec
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from t2ui import __version__
from t2ui.errors import InputError
from t2ui.http.mcp import tools
from t2ui.ui.shared.listen import Client
from t2ui.ui.shared.visitor import of

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

PATH = "/mcp"
INSTRUCTIONS = (
    "t2ui answers with a small language model whose singular values are scaled by experts "
    "(Transformer²). list_experts says what there is; ask answers with a mixture of them or lets "
    "the model choose; adapt finds a mixture from a few examples; look_into_expert and "
    "look_into_matrix show what an expert changes."
)
TITLES: dict[Callable[..., Awaitable[Any]], str] = {  # every tool, with its title
    tools.list_experts: "List the experts",
    tools.ask: "Ask with a mixture, or by pass one",
    tools.adapt: "Find a mixture from examples",
    tools.look_into_expert: "Look into an expert",
    tools.look_into_matrix: "Look into a matrix",
}
# Those that write an answer or search take a place among the answers.
ANSWERING = frozenset({tools.ask.__name__, tools.adapt.__name__})

Lifespan = Callable[[], AbstractAsyncContextManager[None]]


def available() -> bool:
    """Whether the package that speaks the protocol is installed, in a version that fits."""
    return find_spec("mcp") is not None and find_spec("mcp.server.mcpserver") is not None


def make_mcp(client: Client) -> tuple[ASGIApp, Lifespan]:
    """The ASGI app at PATH, and the block in which it works."""
    from mcp.server.mcpserver import MCPServer
    from mcp.server.transport_security import TransportSecuritySettings

    server = MCPServer(
        "t2ui",
        title="t2ui: experts in a model's singular values",
        instructions=INSTRUCTIONS,
        version=__version__,
        log_level="ERROR",
    )
    for function, title in TITLES.items():
        _publish(server, client, function, title)
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        # the door in front knows the hosts and the origins
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with server.session_manager.run():
            yield

    return app, running


def _publish(
    server: "MCPServer", client: Client, function: Callable[..., Awaitable[Any]], title: str
) -> None:
    """Make a tool of a function: its client is the caller's own."""
    from mcp.server.mcpserver import Context
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp_types import ToolAnnotations

    said = signature(function)
    takes_progress = "progress" in said.parameters

    @wraps(function)
    async def tool(context: Context, **arguments: Any) -> Any:
        own = of(client, context.request_context)
        if takes_progress:
            arguments["progress"] = context.report_progress
        try:
            return await function(own, **arguments)
        except (tools.ToolFailed, InputError) as error:
            raise ToolError(str(error)) from None

    kept = [one for name, one in said.parameters.items() if name not in ("client", "progress")]
    first = Parameter("context", Parameter.POSITIONAL_OR_KEYWORD, annotation=Context)
    tool.__signature__ = said.replace(parameters=[first, *kept])  # type: ignore[attr-defined]
    tool.__annotations__ = {one.name: one.annotation for one in (first, *kept)} | {
        "return": said.return_annotation
    }
    server.add_tool(
        tool,
        title=title,
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
        structured_output=True,
    )
