"""The header: name, the model's state, light or dark. Opens the page that the link names."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from t2ui.catalogue import DISPATCHERS
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.events import QUICK
from t2ui.ui.shared.listen import Client
from t2ui.ui.shared.page import Page
from t2ui.ui.shared.panel import ASSETS, asset_url, once_loaded, pack, panel
from t2ui.ui.shared.views import status_view
from t2ui.ui.shared.visitor import of


def header(shared: Shared, pages: Sequence[Page]) -> gr.HTML:
    """A panel that asks for the status by itself: about once a second, not in a hidden tab.

    Its `select` fires when the model has come up or has failed, and when the experts are others
    than the page knows.
    """
    client, titles = shared.client, {page.id: page.title for page in pages}
    shared.demo.load(None, None, None, js=once_loaded("openFromLink"), **QUICK)

    async def status(_: object = None, request: gr.Request | None = None) -> str:
        return pack(_view(of(client, request)))

    return panel(
        "header",
        _view(client),
        elem_id="header",
        data={
            "logo": asset_url(ASSETS / "shared/logo.svg"),
            "pages": json.dumps(titles),
            "dispatchers": json.dumps({name: entry.hint for name, entry in DISPATCHERS.items()}),
        },
        server_functions=[status],
    )


def _view(client: Client) -> dict[str, Any]:
    """The state, and a mark that changes with the list of experts."""
    known = client.experts()
    parts = [] if known is None else [(one.name, one.sha256, one.saved) for one in known.experts]
    digest = hashlib.sha256(repr((parts, known and known.problems)).encode())
    return {**status_view(client.status()), "library": digest.hexdigest()[:16]}
