"""How a visit begins: the experts, once the model is up, and the sliders as the link has them."""

from typing import Any

import gradio as gr

from t2ui.messages import Experts
from t2ui.ui.shared.components import Shared, library_of
from t2ui.ui.shared.events import LIGHT
from t2ui.ui.shared.listen import listed
from t2ui.ui.shared.panel import pack, unpack
from t2ui.ui.shared.permalink import filled, from_query
from t2ui.ui.shared.visitor import of


def list_experts_when_ready(shared: Shared, header: gr.HTML) -> None:
    """List the experts whenever the header's `select` says that they may be others.

    The first time, the link has a say on the sliders.
    """

    def list_experts(packed: str, mode: str | None, request: gr.Request) -> tuple[Any, Any, Any]:
        found = listed(of(shared.client, request))
        if found is None:  # the model loads: the page shows a skeleton, and asks again
            return gr.skip(), gr.skip(), gr.skip()
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
        **LIGHT,  # queued: only then does the State's `change` fire, which other pages follow
    )
