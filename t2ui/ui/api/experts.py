"""`/experts`: what there is to mix."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import gradio as gr

from t2ui.messages import Failed
from t2ui.ui.api.route import Route
from t2ui.ui.shared.listen import Client, listed
from t2ui.ui.shared.visitor import of


def experts_of(client: Client) -> Callable[..., Any]:
    """The function behind the route."""

    async def experts(http: gr.Request | None = None) -> dict[str, Any]:
        """The experts found, the files that could not be used, the labels of pass one, and the
        dispatchers that can be used."""
        found = listed(of(client, http))
        if found is None:
            found = Failed("The model is loading.", "Ask for the experts again in a few seconds.")
        if isinstance(found, Failed):
            raise gr.Error(str(found), print_exception=False)
        return asdict(found)

    return experts


ROUTE = Route(experts_of)
