"""The Compare page's proof: every column tries many questions, so that one anecdote is not all.

Components and wiring; what the strips show is in `views`.
"""

import html
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.lineup import held_back
from t2ui.messages import Done, Failed, Queued, Trial, Tried
from t2ui.ui.compare.link import link_to
from t2ui.ui.compare.points import NO_LINE, lined_up, tokens
from t2ui.ui.compare.views import a_trial, begun, tried, with_columns
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.events import ANSWERS
from t2ui.ui.shared.examples import Row
from t2ui.ui.shared.listen import listen
from t2ui.ui.shared.panel import pack, unpack
from t2ui.ui.shared.questions import NONE_THERE, QUESTIONS, choices, questions_of
from t2ui.ui.shared.visitor import of


@dataclass(frozen=True)
class Chosen:
    """The questions, and whether controls stand in the table."""

    name: str
    questions: Sequence[Row]
    shots: Sequence[Row]  # left out of the questions: the control that has examples in its prompt
    controls: bool


@dataclass(frozen=True)
class Proof:
    """The row below the table."""

    questions: gr.Dropdown
    controls: gr.Checkbox
    go: gr.Button
    examples: gr.HTML  # the table on Adapt

    @staticmethod
    def chosen(questions: Any, controls: Any, examples: str) -> Chosen:
        """What the components say, all of them untrusted.

        Raises:
            InputError: examples on Adapt that are not whole.
        """
        name, rows = questions_of(questions, unpack(examples))
        shots, questions = held_back(rows, bool(controls))
        return Chosen(name, questions[:QUESTIONS], shots, bool(controls))


def proof_row(examples: gr.HTML) -> Proof:
    """The components, in a row of their own."""
    offered = choices()
    with gr.Row(elem_id="compare-proof"):
        questions = gr.Dropdown(
            offered,
            value=offered[0][1],
            label="Questions",
            show_label=False,
            container=False,
            elem_id="compare-questions",
        )
        controls = gr.Checkbox(False, label="controls", elem_id="compare-controls", min_width=0)
        go = gr.Button("Try the questions ▸", elem_id="compare-try", min_width=0)
    return Proof(questions, controls, go, examples)


def wire_proof(
    shared: Shared,
    proof: Proof,
    linked: Sequence[Component],  # what a link carries, in the order of `link.FIELDS`
    table: gr.HTML,
) -> Dependency:
    """Let the button try the questions; the event, for whoever stops it."""

    async def run(
        request: gr.Request, mixer: str, shown: str, examples: str, *boxes: Any
    ) -> AsyncIterator[Any]:
        prompt, start, end, given, length, questions, controls = boxes
        state = unpack(mixer)
        try:
            chosen = proof.chosen(questions, controls, examples)
            line = lined_up(start, end, state, chosen.controls, chosen.shots)
            if line is None or not chosen.questions:
                raise InputError(NONE_THERE if line else NO_LINE)
            found, lineup = line
            asked = Trial(
                tuple(chosen.questions),
                lineup,
                allow_transfer=bool(state.get("allow_transfer")),
                sampling=Sampling(max_new_tokens=tokens(length)),
            )
        except InputError as error:
            gr.Warning(html.escape(str(error)), title="Nothing was tried")
            yield gr.skip()
            return
        known, what = uuid.uuid4().hex, (chosen.name, len(chosen.questions))
        value = with_columns(unpack(shown), found)
        value = begun(value, a_trial("waiting", known, *what, "The questions are read …"))
        if value.get("prompt"):  # of the answers, which another one in the box does not change
            prompt, given = value["prompt"], value.get("given")
        controls = any(column["control"] for column in value["columns"])
        asked_with = (prompt, start, end, given, length, questions, controls)
        value["link"] = link_to(asked_with, state) if prompt else ""
        yield pack(value)
        async with aclosing(listen(of(shared.client, request), asked)) as batches:
            async for batch in batches:
                last = value
                for event in batch:
                    if isinstance(event, Queued):
                        said = f"Waiting: {event.before} before you."
                        value = {**value, "trial": a_trial("waiting", known, *what, said)}
                    elif isinstance(event, Tried):
                        value = tried(value, event, a_trial("working", known, *what))
                    elif isinstance(event, Done):
                        ended = {**value["trial"], "state": "done", "message": ""}
                        value = {**value, "trial": ended}
                    elif isinstance(event, Failed):
                        value = {**value, "trial": a_trial("failed", known, *what, str(event))}
                yield pack(value) if value is not last else gr.skip()

    inputs = [shared.mixer, table, proof.examples, *linked]
    return proof.go.click(run, inputs, table, **ANSWERS)
