"""How a visit begins: the experts, once the model is up, and the sliders as the link has them."""

from typing import Any

import gradio as gr
from gradio.components import Component

from t2ui.messages import Experts, ListExperts
from t2ui.ui.shared.components import Shared, library_of
from t2ui.ui.shared.events import LIGHT
from t2ui.ui.shared.listen import answer
from t2ui.ui.shared.panel import pack, unpack
from t2ui.ui.shared.permalink import filled

EXPERTS_TIMEOUT = 900.0  # seconds; a first start may download and decompose the model


def list_experts_when_ready(shared: Shared, header: Component) -> None:
    """List the experts whenever the header's `select` says that the model is up, or is not.

    The first time, the link has a say on the sliders.
    """

    async def list_experts(packed: str, mode: str, request: gr.Request) -> tuple[Any, Any, Any]:
        found = await answer(shared.client, ListExperts(), Experts, EXPERTS_TIMEOUT)
        mixer = filled(unpack(packed), found, dict(request.query_params))
        dispatch = gr.skip()
        if isinstance(found, Experts) and mode == "expert":
            trained = any(expert.kind == "dispatcher" for expert in found.experts)
            dispatch = gr.skip() if trained else "prompt"
        return pack(mixer), library_of(found), dispatch

    header.select(
        list_experts,
        [shared.mixer, shared.dispatch],
        [shared.mixer, shared.library, shared.dispatch],
        **LIGHT,
    )
