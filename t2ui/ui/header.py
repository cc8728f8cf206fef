"""The header: name, the model's state, light or dark. Opens the page that the link names."""

import json
from collections.abc import Sequence

import gradio as gr

from t2ui.catalogue import DISPATCHERS
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.events import QUICK
from t2ui.ui.shared.page import Page
from t2ui.ui.shared.panel import ASSETS, asset_url, once_loaded, pack, panel
from t2ui.ui.shared.views import status_view


def header(shared: Shared, pages: Sequence[Page]) -> gr.HTML:
    """A panel that asks for the status by itself: about once a second, not in a hidden tab.

    Its `select` fires when the model has come up or has failed.
    """
    client, titles = shared.client, {page.id: page.title for page in pages}
    shared.demo.load(None, None, None, js=once_loaded("openFromLink"), **QUICK)

    async def status(_: object = None) -> str:
        return pack(status_view(client.status()))

    return panel(
        "header",
        status_view(client.status()),
        elem_id="header",
        data={
            "logo": asset_url(ASSETS / "shared/logo.svg"),
            "pages": json.dumps(titles),
            "dispatchers": json.dumps({name: entry.hint for name, entry in DISPATCHERS.items()}),
        },
        server_functions=[status],
    )
