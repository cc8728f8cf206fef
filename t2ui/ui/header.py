"""The header: name, the model's state, light or dark.

Its `select` fires when the model is up, and when the experts are others than the page knows.
"""

import hashlib
from typing import Any

import gradio as gr

from t2ui.ui.ask.views import status_view
from t2ui.ui.shared.listen import Client
from t2ui.ui.shared.panel import ASSETS, asset_url, pack, panel
from t2ui.ui.shared.visitor import of


def header(client: Client) -> gr.HTML:
    """A panel that asks for the status by itself: about once a second, not in a hidden tab."""

    async def status(_: object = None, request: gr.Request | None = None) -> str:
        return pack(_view(of(client, request)))

    return panel(
        "header",
        _view(client),
        elem_id="header",
        data={"logo": asset_url(ASSETS / "shared/logo.svg")},
        server_functions=[status],
    )


def _view(client: Client) -> dict[str, Any]:
    """The state, and a mark that changes with the list of experts."""
    known = client.experts()
    parts = [] if known is None else [(one.name, one.sha256, one.saved) for one in known.experts]
    digest = hashlib.sha256(repr((parts, known and known.problems)).encode())
    return {**status_view(client.status()), "library": digest.hexdigest()[:16]}
