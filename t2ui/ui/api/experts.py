"""`/experts`: what there is to mix."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import gradio as gr

from t2ui.messages import Experts, Failed, ListExperts
from t2ui.ui.api.route import Route
from t2ui.ui.shared.listen import Client, answer

TIMEOUT_SECONDS = 60.0


def experts_of(client: Client) -> Callable[..., Any]:
    """The function behind the route."""

    async def experts() -> dict[str, Any]:
        """The experts found, the files that could not be used, the labels of pass one, and the
        dispatchers that can be used."""
        found = await answer(client, ListExperts(), Experts, TIMEOUT_SECONDS)
        if isinstance(found, Failed):
            raise gr.Error(f"{found.message} {found.remedy}".strip(), print_exception=False)
        return asdict(found)

    return experts


ROUTE = Route(experts_of)
