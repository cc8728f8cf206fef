"""How a visit begins: what the link carries, then the experts once the model is up."""

from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from t2ui.messages import Experts
from t2ui.ui.ask.page import QUICK, AskPage
from t2ui.ui.inspect.page import choices
from t2ui.ui.shared.controls import Controls
from t2ui.ui.shared.listen import Client, listed
from t2ui.ui.shared.panel import pack, unpack
from t2ui.ui.shared.permalink import filled, from_query
from t2ui.ui.shared.visitor import of

SAMPLING = ("max_new_tokens", "temperature", "top_p", "seed")


def wire_start(
    client: Client,
    page: AskPage,
    header: Component,
    inspected: list[Component],
    saved: list[Dependency],
    demo: gr.Blocks,
) -> Dependency:
    """Fill the pages: from the link when they open, with the experts once the model is up.

    `inspected` are the Inspect page's choices, in the order of `inspect.choices`; `saved` may have
    added an expert, or taken one away. Returns what can be followed by what needs the experts.
    """
    settings = page.settings

    def from_link(request: gr.Request) -> list[Any]:
        asked, default = from_query(dict(request.query_params)), Controls()
        pairs = [
            (getattr(holder, key), getattr(plain, key))
            for holder, plain, keys in (
                (asked, default, ("prompt", "dispatch", "routing", "threshold", "normalise")),
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
            settings.max_new_tokens,
            settings.temperature,
            settings.top_p,
            settings.seed,
        ],
        **QUICK,
    )

    def list_experts(packed: str, mode: str, request: gr.Request) -> tuple[Any, Any, Any]:
        found = listed(of(client, request))
        if found is None:  # the model loads: the page shows a skeleton, and asks again
            return gr.skip(), gr.skip(), gr.skip()
        mixer = filled(unpack(packed), found, dict(request.query_params))
        if not isinstance(found, Experts):
            return pack(mixer), gr.skip(), gr.skip()
        library = {"modules": list(found.modules), "layers": found.layers}
        trained = any(expert.kind == "dispatcher" for expert in found.experts)
        dispatch = gr.skip() if trained or mode != "expert" else "prompt"
        return pack(mixer), library, dispatch

    library = gr.State({"modules": [], "layers": 0})
    shown = header.select(
        list_experts,
        [page.mixer, page.dispatch],
        [page.mixer, library, page.dispatch],
        **QUICK,
    )
    offered = [page.mixer, library, *inspected]
    for change in saved:
        change.then(choices, offered, inspected, **QUICK)
    return shown.then(choices, offered, inspected, **QUICK)
