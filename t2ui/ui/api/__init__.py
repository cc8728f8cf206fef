"""What scripts call by name on the app's own port, one file a route; the page's events are private.

To add one, write a file here that holds a `Route`, and its line into `catalogue.ROUTES`. It is then
called as `/gradio_api/call/NAME` with the arguments in their order, as `/gradio_api/call/v2/NAME`
with them by name, and by gradio_client. An argument with a default may be left out, or null.
"""

from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction

from t2ui.catalogue import ROUTES
from t2ui.errors import MOST_QUOTED
from t2ui.ui.api.route import Route
from t2ui.ui.shared.events import ANSWERS_LANE
from t2ui.ui.shared.listen import Client


def publish(client: Client) -> None:
    """Add every route to the page under construction."""
    for name, entry in ROUTES.items():
        route: Route = entry.load()
        limits = ANSWERS_LANE if route.answers else {"concurrency_limit": None}
        gr.api(route.make(client), api_name=name, **limits)


class Blocks(gr.Blocks):
    """Blocks whose routes may be called without the arguments that have a default, and whose errors
    are one short line: never the whole of what was sent, never null."""

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], *args: Any, **kwargs: Any
    ) -> list[Any]:
        """What was sent, as the function takes it. What a component cannot read is the sender's
        mistake: the log gets no traceback of it, which would hold all that was sent."""
        try:
            found: list[Any] = await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except gr.Error as error:
            raise gr.Error(_short(error.message), print_exception=False) from None
        except Exception as error:
            said = _short(f"{type(error).__name__}: {error}")
            raise gr.Error(
                f"An input of this request cannot be read ({said}): reload the page.",
                print_exception=False,
            ) from None
        return found

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Gradio's own, which tells callers nothing of an error that is a fault of the app's."""
        try:
            answer: dict[str, Any] = await super().process_api(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:  # Gradio prints the traceback of both
            raise gr.Error("The app failed at this request; its log says why.") from error
        return answer

    def validate_inputs(self, block_fn: BlockFunction, inputs: list[Any]) -> None:
        """Gradio's own check, which asks for all of them, and does not tell the caller so."""
        if block_fn.api_visibility == "public":
            for place, argument in enumerate(block_fn.inputs):
                if place >= len(inputs):
                    inputs.append(_default(argument))
                elif inputs[place] is None:
                    inputs[place] = _default(argument)
        super().validate_inputs(block_fn, inputs)


def _short(message: str) -> str:
    """At most as much of a message as errors may quote."""
    return message if len(message) <= MOST_QUOTED else f"{message[: MOST_QUOTED - 1]}…"


def _default(argument: object) -> Any:
    """What an argument is where it is left out; blocks that hold others have no value."""
    return getattr(argument, "value", None)
