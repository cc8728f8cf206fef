"""What scripts call by name on the app's own port, one file a route; the page's events are private.

To add one, write a file here that holds a `Route`, and its line into `catalogue.ROUTES`. It is then
called as `/gradio_api/call/NAME` with the arguments in their order, as `/gradio_api/call/v2/NAME`
with them by name, and by gradio_client. An argument with a default may be left out, or null.
"""

from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction

from t2ui.catalogue import ROUTES
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
    """Blocks whose routes may be called without the arguments that have a default."""

    def validate_inputs(self, block_fn: BlockFunction, inputs: list[Any]) -> None:
        """Gradio's own check, which asks for all of them, and does not tell the caller so."""
        if block_fn.api_visibility == "public":
            for place, argument in enumerate(block_fn.inputs):
                if place >= len(inputs):
                    inputs.append(_default(argument))
                elif inputs[place] is None:
                    inputs[place] = _default(argument)
        super().validate_inputs(block_fn, inputs)


def _default(argument: object) -> Any:
    """What an argument is where it is left out; blocks that hold others have no value."""
    return getattr(argument, "value", None)
