"""The tools as a server of the Model Context Protocol, on streamable HTTP and without sessions."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from inspect import Parameter, signature
from typing import Any

from starlette.types import ASGIApp

from t2ui import __version__
from t2ui.errors import InputError
from t2ui.http.mcp import tools
from t2ui.http.mcp.protocol import Protocol, protocol
from t2ui.ui.shared.listen import Client
from t2ui.ui.shared.visitor import of

PATH = "/mcp"
NAME = "t2ui: experts in a model's singular values"
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


def make_mcp(client: Client) -> tuple[ASGIApp, Lifespan]:
    """The ASGI app at PATH, and the block in which it works."""
    made = protocol("t2ui", NAME, INSTRUCTIONS, __version__, PATH)
    for function, title in TITLES.items():
        _publish(made, client, function, title)
    app = made.app()

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with made.server.session_manager.run():
            yield

    return app, running


def _publish(
    made: Protocol, client: Client, function: Callable[..., Awaitable[Any]], title: str
) -> None:
    """Make a tool of a function: its client is the caller's own."""
    said = signature(function)
    takes_progress = "progress" in said.parameters

    @wraps(function)
    async def tool(context: Any, **arguments: Any) -> Any:
        own = of(client, context.request_context)
        if takes_progress:
            arguments["progress"] = context.report_progress
        try:
            return await function(own, **arguments)
        except (tools.ToolFailed, InputError) as error:
            raise made.error(str(error)) from None

    kept = [one for name, one in said.parameters.items() if name not in ("client", "progress")]
    first = Parameter("context", Parameter.POSITIONAL_OR_KEYWORD, annotation=made.context)
    tool.__signature__ = said.replace(parameters=[first, *kept])  # type: ignore[attr-defined]
    tool.__annotations__ = {one.name: one.annotation for one in (first, *kept)} | {
        "return": said.return_annotation
    }
    made.server.add_tool(tool, title=title, annotations=made.annotations, structured_output=True)
