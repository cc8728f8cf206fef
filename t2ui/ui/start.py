"""How a visit begins: what the link carries, then the experts once the model is up."""

from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from t2ui.messages import Experts, ListExperts
from t2ui.ui.ask.page import PAGE, QUICK, AskPage
from t2ui.ui.inspect.page import choices
from t2ui.ui.shared.controls import SAMPLING, Controls
from t2ui.ui.shared.listen import Client, answer
from t2ui.ui.shared.panel import pack, unpack
from t2ui.ui.shared.permalink import filled, from_query

ANSWER = ("prompt", "dispatch", "routing", "threshold", "normalise", "allow_transfer")
EXPERTS_TIMEOUT = 900.0  # seconds; a first start may download and decompose the model


def wire_start(
    client: Client,
    page: AskPage,
    header: Component,
    inspected: list[Component],
    saved: Dependency,
    demo: gr.Blocks,
) -> Dependency:
    """Fill the pages: from the link when they open, with the experts once the model is up.

    `inspected` are the Inspect page's choices, in the order of `inspect.choices`; `saved` may have
    added an expert. Returns what can be followed by what needs the experts.
    """
    settings = page.settings

    def from_link(request: gr.Request) -> list[Any]:
        asked, default = from_query(dict(request.query_params)), Controls()
        pairs = [
            (getattr(holder, key), getattr(plain, key))
            for holder, plain, keys in (
                (asked, default, ANSWER),
                (asked.sampling, default.sampling, SAMPLING),
            )
            for key in keys
        ]
        # what the link does not say stays untouched: somebody may be typing already
        return [gr.skip() if value == plain else value for value, plain in pairs]

    demo.load(
        from_link,
        None,
        [
            page.prompt,
            page.dispatch,
            settings.routing,
            settings.threshold,
            settings.normalise,
            settings.allow_transfer,
            settings.max_new_tokens,
            settings.temperature,
            settings.top_p,
            settings.seed,
        ],
        **QUICK,
    )

    async def list_experts(
        packed: str, mode: str | None, request: gr.Request
    ) -> tuple[Any, Any, Any]:
        found = await answer(client, ListExperts(), Experts, EXPERTS_TIMEOUT)
        mixer = filled(unpack(packed), found, dict(request.query_params))
        if not isinstance(found, Experts):
            return pack(mixer), gr.skip(), gr.skip()
        library = {"modules": list(found.modules), "layers": found.layers}
        if mode in found.dispatchers:
            return pack(mixer), library, gr.skip()
        wanted = from_query(dict(request.query_params)).dispatch  # `from_link` may be on its way
        chosen = wanted if mode is None and wanted in found.dispatchers else found.dispatch
        return pack(mixer), library, chosen

    library = gr.State({"modules": [], "layers": 0})
    listed = header.select(
        list_experts,
        [page.mixer, page.dispatch],
        [page.mixer, library, page.dispatch],
        concurrency_limit=None,
        **PAGE,
    )
    offered = [page.mixer, library, *inspected]
    saved.then(choices, offered, inspected, **QUICK)
    return listed.then(choices, offered, inspected, **QUICK)
