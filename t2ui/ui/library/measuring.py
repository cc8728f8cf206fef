"""The mixture on the sliders, tried beside the base model before it is kept: the row on the Library
page, and what is remembered for the file. Components and wiring."""

import html
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import gradio as gr

from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.lineup import Lineup
from t2ui.messages import Done, Failed, Measured, Queued, SaveExpert, Trial, Tried
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.events import ANSWERS, PAGE
from t2ui.ui.shared.listen import Client, listen
from t2ui.ui.shared.mixture import weights, words_of
from t2ui.ui.shared.panel import pack, panel, unpack
from t2ui.ui.shared.questions import NONE_THERE, QUESTIONS, choices, questions_of
from t2ui.ui.shared.visitor import of

ANSWER = Sampling(max_new_tokens=32)
PROTOCOL = f"greedy, {ANSWER.max_new_tokens} tokens, on the page"
ALL_AT_0 = "All sliders are at 0, which is the base model: move one on Ask first."
BEFORE = "Before you keep the mixture on the sliders, measure it: its file then holds the result."


def measuring_row(shared: Shared) -> gr.State:
    """Build and wire the row; what was measured last, see `measured_of`."""
    last = gr.State({})
    with gr.Row(elem_id="library-measuring"):
        questions = gr.Dropdown(
            choices(),
            value=choices()[0][1],
            label="Questions",
            show_label=False,
            container=False,
            elem_id="library-questions",
        )
        go = gr.Button("Measure the sliders ▸", elem_id="library-measure", min_width=0)
        stop = gr.Button("Stop", elem_id="library-stop", min_width=0)
        said = panel("measured", _note("", BEFORE), "library-measured")

    async def run(
        request: gr.Request, mixer: str, choice: Any, examples: str
    ) -> AsyncIterator[tuple[Any, Any]]:
        client, state = of(shared.client, request), unpack(mixer)
        recipe = recipe_of(state, client)
        try:
            name, rows = questions_of(choice, unpack(examples))
            if not recipe["mixture"] or not rows:
                raise InputError(NONE_THERE if recipe["mixture"] else ALL_AT_0)
            asked = Trial(
                tuple(rows[:QUESTIONS]),
                Lineup(({}, recipe["mixture"])),
                normalise=recipe["normalise"],
                allow_transfer=bool(state.get("allow_transfer")),
                sampling=ANSWER,
            )
        except InputError as error:
            gr.Warning(html.escape(str(error)), title="Nothing was measured")
            yield gr.skip(), gr.skip()
            return
        found, total, known = None, len(asked.questions), uuid.uuid4().hex
        yield pack(_note(known, f"{total} questions are read …", running=True)), {}
        async with aclosing(listen(client, asked)) as batches:
            async for batch in batches:
                shown, kept = gr.skip(), gr.skip()
                for event in batch:
                    if isinstance(event, Queued):
                        words = f"Waiting: {event.before} before you."
                        shown = pack(_note(known, words, running=True))
                    elif isinstance(event, Tried):
                        found = event
                        done = sum(one is not None for one in event.columns[1].right)
                        words = f"{done} of {total} questions …"
                        shown = pack(_note(known, words, running=True))
                    elif isinstance(event, Failed):
                        shown = pack(_note(known, str(event), bad=True))
                    elif isinstance(event, Done) and found:
                        measured = _measured(f"{name}, {total} questions", found)
                        shown = pack(_note(known, _words(measured, recipe["mixture"])))
                        kept = {"recipe": recipe, "found": measured}
                yield shown, kept

    tried = go.click(run, [shared.mixer, questions, shared.examples], [said, last], **ANSWERS)
    # the panel draws anew, and knows which run was stopped
    again = "(text) => t2ui.edit(text, (value) => ({...value, stamp: Date.now()}))"
    stop.click(None, said, said, js=again, cancels=[tried], **PAGE)
    return last


def recipe_of(mixer: Mapping[str, Any], client: Client) -> dict[str, Any]:
    """The mixture on the sliders, and which files its experts are: what an expert's file keeps."""
    mixture, found = weights(mixer), client.experts()
    hashes = {one.name: one.sha256 for one in found.experts} if found else {}
    return {
        "mixture": mixture,
        "normalise": bool(mixer.get("normalise")),
        "experts": {name: hashes.get(name, "") for name in mixture},
    }


def left_out(last: Mapping[str, Any], wanted: SaveExpert) -> str:
    """What is said where something was measured, but not of the mixture that was saved."""
    if not last or wanted.measured is not None:
        return ""
    return " What was measured is of another mixture: its file has no measurement."


def measured_of(last: Mapping[str, Any], recipe: Mapping[str, Any]) -> Measured | None:
    """What was measured last, if it was this mixture of these files."""
    return last["found"] if last.get("recipe") == recipe else None


def _measured(name: str, tried: Tried) -> Measured:
    base, own = tried.columns
    return Measured(name, PROTOCOL, _right(base), _right(own), len(own.right), own.p)


def _right(column: Any) -> int:
    return sum(one is True for one in column.right)


def _words(found: Measured, mixture: Mapping[str, float]) -> str:
    sure = "" if found.p is None else f" (paired p {found.p:.2g})"
    return (
        f"{found.set}: the base model answered {found.base} rightly, {words_of(mixture)} "
        f"{found.mixture}{sure}. Saved while the sliders stand so, its file holds that."
    )


def _note(run: str, text: str, running: bool = False, bad: bool = False) -> dict[str, Any]:
    return {"note": text, "running": running, "bad": bad, "run": run}
