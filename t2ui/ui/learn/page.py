"""The Learn page: six steps, of which the last three ask the worker. Layout and wiring only.

The steps themselves are in assets/learn: they need no server to be moved.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from t2ui.catalogue import NO_DISPATCH
from t2ui.messages import Experts
from t2ui.ui.learn.views import first_pass_view, matrix_view, prompt_place
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.events import ANSWERS, NEWEST, PAGE, QUICK, sent
from t2ui.ui.shared.listen import listed, patiently
from t2ui.ui.shared.panel import once_loaded, pack, panel, unpack
from t2ui.ui.shared.starters import EVERY_KIND
from t2ui.ui.shared.visitor import of


def learn_page(shared: Shared, tab: gr.Tab) -> None:
    """Build the page inside its tab."""
    prompts = json.dumps([{"name": name, "text": text} for name, text in EVERY_KIND])
    with gr.Column(elem_id="learn-card", elem_classes="t2-card", min_width=0):
        steps = panel("learn", {}, "learn", {"prompts": prompts})
        matrix = panel("learn-data", {}, "learn-matrix")
        first_pass = panel("learn-data", {}, "learn-first-pass")

    async def look(request: gr.Request, event: gr.EventData) -> AsyncIterator[Any]:
        client = of(shared.client, request)
        async for news in patiently(matrix_view(client, sent(event))):
            yield gr.skip() if news is None else pack(news)

    async def read(request: gr.Request, mixer: str, event: gr.EventData) -> AsyncIterator[Any]:
        client, place = of(shared.client, request), sent(event).get("prompt")
        async for news in patiently(first_pass_view(client, place, unpack(mixer))):
            yield gr.skip() if news is None else pack(news)

    def prepare(request: gr.Request, mode: str | None, event: gr.EventData) -> tuple[Any, Any]:
        found = listed(of(shared.client, request))
        reads = found.dispatch if mode == NO_DISPATCH and isinstance(found, Experts) else gr.skip()
        return EVERY_KIND[prompt_place(sent(event).get("prompt"))][1], reads

    steps.select(look, None, matrix, **NEWEST)
    steps.apply(read, shared.mixer, first_pass, trigger_mode="always_last", **ANSWERS)
    prepared = steps.submit(prepare, shared.dispatch, [shared.prompt, shared.dispatch], **QUICK)
    prepared.then(None, None, None, js=once_loaded("openAsk"), **PAGE)
