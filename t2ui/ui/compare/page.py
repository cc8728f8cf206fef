"""The Compare page: one prompt under seven mixtures, side by side. Layout and wiring only.

What is tried on many questions is in `proof`.
"""

import html
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from t2ui.catalogue import NO_DISPATCH
from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.messages import Failed, LayersMeasured, LayersOff, Sweep, SweepTexts, Swept
from t2ui.ui.compare.link import from_link, link_to
from t2ui.ui.compare.points import (
    BASE,
    EXPERT,
    LENGTHS,
    NO_LINE,
    SLIDERS,
    choices,
    lined_up,
    tokens,
)
from t2ui.ui.compare.proof import Proof, proof_row, wire_proof
from t2ui.ui.compare.views import answered, answering, columns, layers, no_layers
from t2ui.ui.shared.card import card
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.controls import clean_mixture
from t2ui.ui.shared.events import ANSWERS, LIGHT, NEWEST, PAGE, QUICK, sent
from t2ui.ui.shared.listen import answer, listen, patiently
from t2ui.ui.shared.mixture import moved, words_of
from t2ui.ui.shared.panel import pack, panel, unpack
from t2ui.ui.shared.permalink import not_here
from t2ui.ui.shared.questions import choices as offered_questions
from t2ui.ui.shared.questions import expert_for
from t2ui.ui.shared.visitor import of

TIMEOUT_SECONDS = 120.0
NOTHING_YET = "Seven mixtures answer one prompt: press Compare."
NO_LAYERS = "Press “layers” under a column: which layers its answer is owed to."
READING = "The model reads the prompt …"
# What was sent before it was stopped may come after: the panel knows by `run` what was stopped.
STOPPED_JS = """(text) => t2ui.edit(text, (value) => {
    const runs = (one) => ['waiting', 'working'].includes(one?.state);
    if (runs(value)) value = {...value, state: value.columns.length ? 'stopped' : 'empty',
        message: 'Stopped.', stopped: value.run};
    return runs(value.trial)
        ? {...value, trial: {...value.trial, state: 'stopped'}, stopped: value.trial.run} : value;
})"""


@dataclass(frozen=True)
class Boxes:
    """What a comparison is asked with."""

    prompt: gr.Textbox
    given: gr.Textbox
    start: gr.Dropdown
    end: gr.Dropdown
    length: gr.Dropdown

    proof: Proof

    @property
    def linked(self) -> list[Component]:
        """What a link carries, in the order of `link.FIELDS`."""
        line = [self.prompt, self.start, self.end, self.given, self.length]
        return [*line, self.proof.questions, self.proof.controls]


def compare_page(shared: Shared, tab: gr.Tab) -> None:
    """Build the page inside its tab."""
    with gr.Row(elem_id="compare-bar", elem_classes="t2-card"):
        prompt = gr.Textbox(label="Prompt", lines=1, max_lines=2, elem_id="compare-prompt")
        given = gr.Textbox(label="Right answer, if you know it", elem_id="compare-given")
        ends = [("base model", BASE), ("mixture on the sliders", SLIDERS)]
        start = gr.Dropdown(ends, value=BASE, label="From", elem_id="compare-from")
        end = gr.Dropdown(ends, value=None, label="To", elem_id="compare-to")
        length = gr.Dropdown(
            [(f"{n} tokens", n) for n in LENGTHS],
            value=32,
            label="Length",
            elem_id="compare-length",
        )
        go = gr.Button("Compare ▸", variant="primary", elem_id="compare-go", min_width=0)
        stop = gr.Button("Stop", elem_id="compare-stop", min_width=0)
    about = "From where the answers part; what all of them begin with stands above."
    with card("Answers", about, "compare-side", "compare-answers", 5):
        table = panel("compare", columns("empty", NOTHING_YET), "compare-table")
        proof = proof_row(shared.examples)
    about = (
        "How much likelier the text is with a layer than without it, in nats. Up: the layer speaks "
        "for it."
    )
    with card("Layers, switched off one at a time", about, "layers-side", "compare-layers", 5):
        bars = panel("layers", no_layers("empty", NO_LAYERS), "layers-bars")
    boxes = Boxes(prompt, given, start, end, length, proof)
    _wire_boxes(shared, boxes, tab)
    tried = wire_proof(shared, proof, boxes.linked, table)
    _wire_columns(
        shared, boxes, (go, stop), (table, bars), [tried, _wire_layers(shared, table, bars)]
    )
    _wire_use(shared, table)


def _wire_boxes(shared: Shared, boxes: Boxes, tab: gr.Tab) -> None:
    """Offer the experts whenever they were listed; the first time, the link has a say."""

    def offer(request: gr.Request, mixer: str, *now: Any) -> list[Any]:
        offered = choices(unpack(mixer))
        values = [value for _, value in offered]
        asked = from_link(dict(request.query_params)) if now[2] is None else {}
        names = [v.removeprefix(EXPERT) for v in values if v.startswith(EXPERT)]
        start = asked.get("from", now[1])
        end = asked.get("to", now[2])
        length = next((n for n in LENGTHS if str(n) == asked.get("length")), None)
        questions = asked.get("questions")
        known = [value for _, value in offered_questions()]
        questions = questions if questions in known else None
        shown = f"{EXPERT}{expert_for(questions or now[5], names)}" if names else None
        offers = {"from": values, "to": values, "length": map(str, LENGTHS), "questions": known}
        if names and (lost := not_here(asked, offers)):  # not where listing them failed
            gr.Warning(html.escape(lost), title="The link names what is not here")
        return [
            asked.get("prompt") or gr.skip(),
            gr.update(choices=offered, value=start if start in values else BASE),
            gr.update(choices=offered, value=end if end in values else shown),
            asked.get("given") or gr.skip(),
            length or gr.skip(),
            questions or gr.skip(),
            True if asked.get("controls") == "1" else gr.skip(),
        ]

    shared.library.change(offer, [shared.mixer, *boxes.linked], boxes.linked, **LIGHT)
    # whose answers are shown is said anew, whoever changed the prompt
    aged = "(text) => { t2ui.page.compared = text; t2ui.say('compared'); }"
    boxes.prompt.change(None, boxes.prompt, None, js=aged, **PAGE)
    # whoever comes from Ask finds its prompt here, unless there is one already
    fill = "(mine, asked) => mine || !asked ? undefined : asked"  # undefined writes nothing
    tab.select(None, [boxes.prompt, shared.prompt], boxes.prompt, js=fill, **PAGE)


def _wire_columns(
    shared: Shared,
    boxes: Boxes,
    buttons: tuple[gr.Button, gr.Button],
    panels: tuple[gr.HTML, gr.HTML],
    others: list[Dependency],
) -> None:
    (go, stop), (table, bars), proof = buttons, panels, boxes.proof

    async def run(
        request: gr.Request, mixer: str, examples: str, *asked: Any
    ) -> AsyncIterator[Any]:
        prompt, start, end, given, length, questions, controls = asked
        state = unpack(mixer)
        try:
            shots = proof.chosen(questions, controls, examples).shots if controls else ()
            controls = bool(controls)
            line = lined_up(start, end, state, controls, shots)
            if line is None:
                raise InputError(NO_LINE)
            found, lineup = line
            sweep = Sweep(
                prompt,
                lineup,
                given or "",
                allow_transfer=bool(state.get("allow_transfer")),
                sampling=Sampling(max_new_tokens=tokens(length)),
            )
        except InputError as error:
            gr.Warning(html.escape(str(error)), title="Nothing was compared")
            yield gr.skip(), gr.skip()
            return
        link = {"link": link_to(asked, state), "run": uuid.uuid4().hex}
        yield pack({**columns("waiting", READING), **link}), pack(no_layers("empty", NO_LAYERS))
        async with aclosing(listen(of(shared.client, request), sweep)) as batches:
            async for batch in batches:
                shown = None
                for event in batch:
                    if isinstance(event, SweepTexts):
                        shown = answering(found, event.texts, prompt, given or "")
                    elif isinstance(event, Swept):
                        shown = answered(found, event, prompt, given or "")
                    elif isinstance(event, Failed):
                        shown = columns("failed", event.message, event.remedy)
                yield (pack({**shown, **link}) if shown else gr.skip()), gr.skip()

    asked = gr.on(
        [go.click, boxes.prompt.submit, boxes.given.submit],
        run,
        [shared.mixer, proof.examples, *boxes.linked],
        [table, bars],
        cancels=others,  # they are about the columns before
        **ANSWERS,
    )
    stop.click(None, table, table, js=STOPPED_JS, cancels=[asked, *others], **PAGE)


def _wire_use(shared: Shared, table: gr.HTML) -> None:
    def use(mixer: str, shown: str, event: gr.EventData) -> tuple[Any, ...]:
        """A column goes to the sliders, its prompt to Ask."""
        value = unpack(shown)
        column = _chosen(value, event)
        if column is None:
            return gr.skip(), gr.skip(), gr.skip()
        mixture = clean_mixture(column.get("mixture"))
        by = f"Compare: {words_of(mixture)}"
        prompt = str(value.get("prompt", "")) or gr.skip()  # none where only questions were tried
        return pack(moved(unpack(mixer), mixture, by)), NO_DISPATCH, prompt

    outputs = [shared.mixer, shared.dispatch, shared.prompt]
    table.select(use, [shared.mixer, table], outputs, **QUICK)


def _wire_layers(shared: Shared, table: gr.HTML, bars: gr.HTML) -> Dependency:
    async def show(
        request: gr.Request, mixer: str, shown: str, event: gr.EventData
    ) -> AsyncIterator[Any]:
        value = unpack(shown)
        column = _chosen(value, event)
        if column is None:
            yield gr.skip()
            return
        text = str(value.get("given") or f"{value.get('shared', '')}{column.get('text', '')}")
        mixture = clean_mixture(column.get("mixture"))
        try:
            asked = LayersOff(
                str(value.get("prompt", "")),
                text,
                mixture,
                allow_transfer=bool(unpack(mixer).get("allow_transfer")),
            )
        except InputError as error:
            yield pack(no_layers("failed", str(error)))
            return
        client = of(shared.client, request)
        yield pack(no_layers("waiting", "Every layer is switched off once …"))
        async for news in patiently(answer(client, asked, LayersMeasured, TIMEOUT_SECONDS)):
            if news is None:
                yield gr.skip()
            elif isinstance(news, Failed):
                yield pack(no_layers("failed", news.message, news.remedy))
            else:
                yield pack({**layers(news, words_of(mixture), text), "stamp": uuid.uuid4().hex})

    return table.apply(show, [shared.mixer, table], bars, **NEWEST)


def _chosen(value: Mapping[str, Any], event: gr.EventData) -> Mapping[str, Any] | None:
    """The column that a click names; what comes from the browser is untrusted."""
    place = sent(event).get("column")
    found = value.get("columns")
    if type(place) is not int or not isinstance(found, list) or not 0 <= place < len(found):
        return None
    return found[place] if isinstance(found[place], Mapping) else None
