"""The card of single components on the Inspect page: their names, and a test of each. Wiring."""

import html
import uuid
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
from gradio.components import Component

from t2ui.errors import InputError
from t2ui.messages import Components, ComponentsMeasured, Failed
from t2ui.records import ComponentChoice
from t2ui.ui.inspect.choices import Choices
from t2ui.ui.inspect.named import ORDERS, chosen_part, no_parts, parts_view, with_tried
from t2ui.ui.inspect.sources import Chosen, source
from t2ui.ui.shared.card import card
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.controls import clean_mixture
from t2ui.ui.shared.events import NEWEST, PAGE, WORKER, sent
from t2ui.ui.shared.listen import answer, patiently
from t2ui.ui.shared.panel import once_loaded, pack, panel, unpack
from t2ui.ui.shared.visitor import of

TIMEOUT_SECONDS = 120.0
NOTHING_YET = (
    "Press “Name and test”: the components that are changed most, the tokens that they read and "
    "write, and what the answer loses without each."
)
WORKING = "Names are looked up, and the answer is scored once without each component …"
ABOUT = (
    "A component of a matrix reads v · x and writes u, σ times as strong. Tokens are named where a "
    "matrix reads the residual stream (q, k, v, gate, up) or writes to it (o, down), not on its "
    "other side. A name says what a component is joined to; the test says what it does."
)


def components_card(shared: Shared, choices: Choices, tab: gr.Tab) -> None:
    """Build the card inside the page, and wire it."""
    with card("Components", ABOUT, "components-side", "components", 5):
        with gr.Row(elem_id="components-bar"):
            prompt = gr.Textbox(label="Prompt", max_lines=2, elem_id="components-prompt")
            text = gr.Textbox(
                label="Answer that is tested",
                placeholder="empty: what the mixture itself answers",
                max_lines=2,
                elem_id="components-text",
            )
            by = gr.Dropdown(
                list(ORDERS), value="z", label="Most changed by", elem_id="components-by"
            )
            go = gr.Button("Name and test ▸", variant="primary", elem_id="components-go")
        parts = panel("parts", no_parts("empty", NOTHING_YET), "components-parts")
    present = [prompt, text, shared.prompt]
    fill = once_loaded("presentAnswer")
    gr.on([tab.select, shared.prompt.change], None, present, [prompt, text], js=fill, **PAGE)
    asked = [choices.look, choices.module, choices.layer, by, prompt, text, shared.mixer]
    _wire_test(shared, (go, prompt, text), asked, parts)
    _wire_slider(shared, parts)


def _wire_test(
    shared: Shared,
    pressed: tuple[gr.Button, gr.Textbox, gr.Textbox],
    asked: list[Component],
    parts: gr.HTML,
) -> None:
    async def test(
        request: gr.Request, look: str, module: str, layer: str, by: str, *rest: str
    ) -> AsyncIterator[Any]:
        prompt, text, packed = rest
        mixer, client = unpack(packed), of(shared.client, request)
        what = source(look, mixer)
        try:
            if what is None or what.is_base:
                raise InputError("Choose an expert, or move a slider on Ask: z = 1 is no change.")
            chosen = Chosen(module=str(module), layer=str(layer))
            wanted = Components(
                what.mixture,
                ComponentChoice(chosen.module, chosen.layer_index, str(by)),
                prompt or "",
                (text or "") if prompt else "",
                what.normalise,
                bool(mixer.get("allow_transfer")),
            )
        except InputError as error:
            gr.Warning(html.escape(str(error)), title="Nothing was tested")
            yield gr.skip()
            return
        yield pack(no_parts("waiting", WORKING))
        work = answer(client, wanted, ComponentsMeasured, TIMEOUT_SECONDS)
        async for news in patiently(work):
            if news is None:
                yield gr.skip()
            elif isinstance(news, Failed):
                yield pack(no_parts("failed", news.message, news.remedy))
            else:
                shown = parts_view(wanted, news, what.words, client.status().device)
                yield pack({**shown, "stamp": uuid.uuid4().hex})

    go, *boxes = pressed
    gr.on([go.click, *(box.submit for box in boxes)], test, asked, parts, **WORKER)


def _wire_slider(shared: Shared, parts: gr.HTML) -> None:
    async def slide(
        request: gr.Request, packed: str, shown: str, event: gr.EventData
    ) -> AsyncIterator[Any]:
        """The answer's likelihood with one component's z where the slider stands."""
        value, moved = unpack(shown), sent(event)
        asked = value.get("asked")
        choice = chosen_part(value, moved.get("part"), moved.get("z"))
        if choice is None or not isinstance(asked, dict):
            yield gr.skip()
            return
        try:
            wanted = Components(
                clean_mixture(asked.get("mixture")),
                choice,
                str(asked.get("prompt", "")),
                str(asked.get("text", "")),
                bool(asked.get("normalise")),
                bool(unpack(packed).get("allow_transfer")),
                str(asked.get("scope", "")),
            )
        except InputError as error:
            gr.Warning(html.escape(str(error)), title="Nothing was tested")
            yield gr.skip()
            return
        work = answer(of(shared.client, request), wanted, ComponentsMeasured, TIMEOUT_SECONDS)
        async for news in patiently(work):
            if news is None:
                yield gr.skip()
            elif isinstance(news, Failed):
                gr.Warning(html.escape(str(news)), title="Nothing was tested")
                yield gr.skip()
            else:
                yield pack(with_tried(value, moved["part"], news))

    inputs = [shared.mixer, parts]
    parts.apply(slide, inputs, parts, **NEWEST)
