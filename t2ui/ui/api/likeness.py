"""`/likeness`: how alike the experts are."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from t2ui.errors import InputError, quoted
from t2ui.messages import CompareExperts, Failed, Likeness
from t2ui.ui.api.route import Route
from t2ui.ui.shared.listen import Client, answer
from t2ui.ui.shared.visitor import of

TIMEOUT_SECONDS = 60.0


def likeness_of(client: Client) -> Callable[..., Any]:
    """The function behind the route."""

    async def likeness(
        names: list[str] | None = None, http: gr.Request | None = None
    ) -> dict[str, Any]:
        """The cosine of z - 1 of every two experts (all, or those of these names), overall and by
        layer, the share of the most changed components that they have in common, a map in two
        dimensions, and what their files say of right answers. null: there is no number."""
        try:
            if not isinstance(names, (list, type(None))):
                raise InputError(f"names is {quoted(names)}; expected a list like ['math'].")
            request = CompareExperts(tuple(names or ()))
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        found = await answer(of(client, http), request, Likeness, TIMEOUT_SECONDS)
        if isinstance(found, Failed):
            raise gr.Error(str(found), print_exception=False)
        return found.plain()

    return likeness


ROUTE = Route(likeness_of, answers=True)  # the worker computes it, as it does answers
