"""How a visit begins: the experts, once the model is up, and the sliders as the link has them."""

from typing import Any

import gradio as gr

from t2ui.messages import Experts, ListExperts
from t2ui.ui.shared.components import Shared, library_of
from t2ui.ui.shared.events import LIGHT
from t2ui.ui.shared.listen import answer
from t2ui.ui.shared.panel import pack, unpack
from t2ui.ui.shared.permalink import filled, from_query

EXPERTS_TIMEOUT = 900.0  # seconds; a first start may download and decompose the model


def list_experts_when_ready(shared: Shared, header: gr.HTML) -> None:
    """List the experts whenever the header's `select` says that the model is up, or is not.

    The first time, the link has a say on the sliders.
    """

    async def list_experts(
        packed: str, mode: str | None, request: gr.Request
    ) -> tuple[Any, Any, Any]:
        found = await answer(shared.client, ListExperts(), Experts, EXPERTS_TIMEOUT)
        mixer = filled(unpack(packed), found, dict(request.query_params))
        if not isinstance(found, Experts):
            return pack(mixer), library_of(found), gr.skip()
        if mode in found.dispatchers:
            return pack(mixer), library_of(found), gr.skip()
        # `fill_from_link` may be on its way
        wanted = from_query(dict(request.query_params)).dispatch
        chosen = wanted if mode is None and wanted in found.dispatchers else found.dispatch
        return pack(mixer), library_of(found), chosen

    header.select(
        list_experts,
        [shared.mixer, shared.dispatch],
        [shared.mixer, shared.library, shared.dispatch],
        **LIGHT,
    )
