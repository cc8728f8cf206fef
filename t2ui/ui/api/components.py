"""`/components`: single components of what a mixture changes, named by tokens and tested."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import gradio as gr

from t2ui.checks import check_range
from t2ui.errors import InputError
from t2ui.messages import Components, ComponentsMeasured, Failed
from t2ui.records import LEAST_Z, MOST_Z, ComponentChoice
from t2ui.ui.api.route import Route, mixture_of
from t2ui.ui.shared.listen import Client, answer
from t2ui.ui.shared.visitor import of

TIMEOUT_SECONDS = 120.0
MOST_INDEX = 1_000_000  # more components than any matrix has


def components_of(client: Client) -> Callable[..., Any]:
    """The function behind the route."""

    async def components(
        mixture: dict[str, float],
        prompt: str = "",
        text: str = "",
        by: str = ComponentChoice.by,
        count: int = ComponentChoice.count,
        matrix: str = "",
        index: int = 0,
        at: float = ComponentChoice.at,
        scope: str = "",
        http: gr.Request | None = None,  # Gradio gives it; it is no argument of the route
    ) -> dict[str, Any]:
        """The components that a mixture changes most, by "z" (|z - 1|) or "sigma" (sigma |z - 1|),
        or the one of this `matrix` (its full name) and `index`: the tokens that each reads and
        writes, and with a prompt how strongly each word is read and the log-likelihood of the
        answer `text` (by default the mixture's own) with z of that one component set to `at`.
        """
        try:
            check_range("index", index, 0, MOST_INDEX)
            check_range("count", count, 1, MOST_INDEX)
            check_range("at", at, LEAST_Z, MOST_Z)
            chosen = ((matrix, int(index)),) if matrix else ()
            choice = ComponentChoice(by=by, count=int(count), chosen=chosen, at=float(at))
            request = Components(mixture_of(mixture) or {}, choice, prompt, text, scope=scope or "")
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        found = await answer(of(client, http), request, ComponentsMeasured, TIMEOUT_SECONDS)
        if isinstance(found, Failed):
            raise gr.Error(str(found), print_exception=False)
        return asdict(found)

    return components


ROUTE = Route(components_of, answers=True)
