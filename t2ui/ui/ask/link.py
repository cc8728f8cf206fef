"""Fill the Ask page from the link it was opened with. The mixture comes later, with the experts."""

from typing import Any

import gradio as gr

from t2ui.ui.ask.settings import Settings
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.controls import SAMPLING, Controls
from t2ui.ui.shared.events import QUICK
from t2ui.ui.shared.permalink import from_query

ASKED = ("prompt", "dispatch", "routing", "threshold", "scope", "normalise", "allow_transfer")


def fill_from_link(shared: Shared, settings: Settings) -> None:
    """Set what the link says when the app is opened."""

    def from_link(request: gr.Request) -> list[Any]:
        asked, default = from_query(dict(request.query_params)), Controls()
        pairs = [
            (getattr(holder, key), getattr(plain, key))
            for holder, plain, keys in (
                (asked, default, ASKED),
                (asked.sampling, default.sampling, SAMPLING),
            )
            for key in keys
        ]
        # what the link does not say stays untouched: somebody may be typing already
        return [gr.skip() if value == plain else value for value, plain in pairs]

    filled = [
        shared.prompt,
        shared.dispatch,
        settings.routing,
        settings.threshold,
        settings.scope,
    ]
    filled += [
        shared.normalise,
        shared.allow_transfer,
        *(getattr(settings, key) for key in SAMPLING),
    ]
    shared.demo.load(from_link, None, filled, **QUICK)
