"""The header: name, the model's state, light or dark. Its `select` fires when the model is up."""

import json

import gradio as gr

from t2ui.catalogue import DISPATCHERS
from t2ui.ui.ask.views import status_view
from t2ui.ui.shared.listen import Client
from t2ui.ui.shared.panel import ASSETS, asset_url, pack, panel


def header(client: Client) -> gr.HTML:
    """A panel that asks for the status by itself: about once a second, not in a hidden tab."""

    async def status(_: object = None) -> str:
        return pack(status_view(client.status()))

    return panel(
        "header",
        status_view(client.status()),
        elem_id="header",
        data={
            "logo": asset_url(ASSETS / "shared/logo.svg"),
            "dispatchers": json.dumps({name: entry.hint for name, entry in DISPATCHERS.items()}),
        },
        server_functions=[status],
    )
