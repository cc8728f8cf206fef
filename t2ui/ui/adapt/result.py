"""The lower half of the Adapt page: before and after, two answers side by side, and what becomes
of the mixture that was found: onto the sliders, into a file, or into the experts folder."""

import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import gradio as gr

from t2ui.catalogue import NO_DISPATCH
from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.messages import Adapt, Adapted, ExpertSaved, Failed, Measured, SaveExpert
from t2ui.ui.adapt.searches import Searches
from t2ui.ui.shared.card import card
from t2ui.ui.shared.components import Shared, library_of
from t2ui.ui.shared.controls import Controls
from t2ui.ui.shared.events import ANSWERS, LIGHT, PAGE, WORKER, sent
from t2ui.ui.shared.listen import answer, listen
from t2ui.ui.shared.mixture import experts_of, moved, with_experts
from t2ui.ui.shared.panel import once_loaded, pack, panel, unpack
from t2ui.ui.shared.views import AskView, no_answer
from t2ui.ui.shared.visitor import of

TIMEOUT_SECONDS = 120.0
ANSWER = Sampling(max_new_tokens=96)
NOT_YET = "There is no mixture yet: press Start first."
USED = "The sliders on Ask are set; its dispatcher is off, so that they stay."
EMPTY = {
    "base": "The base model's answer to one of the prompts appears here.",
    "adapted": "The answer with the mixture that was found appears here.",
}


def result_cards(shared: Shared, searches: Searches, search: gr.HTML) -> tuple[gr.HTML, gr.HTML]:
    """Build and wire the cards; `search` holds the search's id.

    Returns the two answers, which a new search empties (see `no_answers`).
    """
    with gr.Row(elem_id="adapt-found"):
        with card("Before and after", "On examples that the search has not seen.", "saved-side"):
            report = panel("report", _said(), "adapt-report")
        with card("Base", "The model as it is, z = 1.", elem_id="adapt-card-base"):
            base = panel("answer", _empty("base"), "adapt-base", {"pane": "base"})
        with card("Adapted", "With the mixture that was found.", elem_id="adapt-card-adapted"):
            adapted = panel("answer", _empty("adapted"), "adapt-adapted", {"pane": "adapted"})
    file = panel("download", {"name": "", "text": "", "stamp": ""}, "adapt-download")
    _wire_use(shared, searches, search, report)
    _wire_save(shared, searches, search, report)
    _wire_answers(shared, searches, search, (report, base, adapted))

    async def download(search: str) -> str:
        found = searches.found(search_id(search))
        if found is None:
            return gr.skip()
        return pack({"name": "mixture.json", "text": found[1].file, "stamp": uuid.uuid4().hex})

    report.download(download, search, file, **LIGHT)
    return base, adapted


def no_answers() -> tuple[str, str]:
    """Values of the two answers before one is asked for."""
    return pack(_empty("base")), pack(_empty("adapted"))


def search_id(search: Any) -> str:
    """The search's id as the browser has it."""
    return str(unpack(search).get("id", ""))


def _wire_use(shared: Shared, searches: Searches, search: gr.HTML, report: gr.HTML) -> None:
    async def use(search: str, mixer: str) -> tuple[Any, ...]:
        found = searches.found(search_id(search))
        if found is None:
            return *[gr.skip()] * 4, pack(_said(NOT_YET, bad=True))
        request, adapted = found
        measured = f", measured on {adapted.report}" if adapted.n else ""
        note = f"Found on Adapt from {len(request.examples)} examples{measured}."
        state = moved(unpack(mixer), adapted.mixture, adapted.set_by, note)
        transfers = {expert["name"] for expert in experts_of(state) if expert["transfer"]}
        # the search was allowed to use them, and what it found needs them on Ask too
        allow = bool(state.get("allow_transfer")) or bool(transfers & set(adapted.mixture))
        moved_to = {**state, "normalise": adapted.normalise, "allow_transfer": allow}
        return pack(moved_to), NO_DISPATCH, adapted.normalise, allow, pack(_said(USED))

    boxes = [shared.normalise, shared.allow_transfer]
    outputs = [shared.mixer, shared.dispatch, *boxes, report]
    report.apply(use, [search, shared.mixer], outputs, **LIGHT)


def _wire_save(shared: Shared, searches: Searches, search: gr.HTML, report: gr.HTML) -> None:
    async def save(
        request: gr.Request, search: str, mixer: str, event: gr.EventData
    ) -> tuple[Any, Any, Any]:
        found = searches.found(search_id(search))
        if found is None:
            return gr.skip(), gr.skip(), pack(_said(NOT_YET, bad=True))
        name = str(sent(event).get("name", "")).strip()
        try:
            wanted = _kept(name, *found)
        except InputError as error:
            return gr.skip(), gr.skip(), pack(_said(str(error), bad=True))
        mine = of(shared.client, request)
        done = await answer(mine, wanted, ExpertSaved, TIMEOUT_SECONDS)
        if isinstance(done, Failed):
            return gr.skip(), gr.skip(), pack(_said(str(done), bad=True))
        saved = pack(_said(f"Saved as {done.file_name}: it has a slider on Ask now."))
        state = with_experts(unpack(mixer), done.experts.experts, done.experts.problems)
        return pack(state), library_of(done.experts), saved

    outputs = [shared.mixer, shared.library, report]
    saved = report.submit(save, [search, shared.mixer], outputs, **WORKER)
    saved.then(None, None, None, js=once_loaded("mixtureSaved"), **PAGE)


def _wire_answers(
    shared: Shared,
    searches: Searches,
    search: gr.HTML,
    cards: tuple[gr.HTML, gr.HTML, gr.HTML],
) -> None:
    """One prompt, answered by the base model and with the mixture found: an ordinary Ask."""
    report, *panes = cards

    async def run(
        request: gr.Request, search: str, mixer: str, event: gr.EventData
    ) -> AsyncIterator[tuple[Any, ...]]:
        found, view = searches.found(search_id(search)), searches.view(search_id(search))
        which = sent(event).get("prompt")
        if found is None or view is None or type(which) is not int:
            yield gr.skip(), gr.skip()
            return
        if not 0 <= which < len(view.prompts):
            yield gr.skip(), gr.skip()
            return
        adapted = found[1]
        controls = Controls(
            view.prompts[which],
            adapted.mixture,
            NO_DISPATCH,
            normalise=adapted.normalise,
            sampling=ANSWER,
            allow_transfer=True,  # the search was allowed to use them
        )
        answers = AskView(controls, unpack(mixer), shared.client.status())
        yield tuple(pack(answers.panes[pane]) for pane in ("base", "adapted"))
        async with aclosing(listen(of(shared.client, request), controls.request())) as batches:
            async for batch in batches:
                for one in batch:
                    answers.apply(one)
                now = tuple(pack(answers.panes[pane]) for pane in ("base", "adapted"))
                yield now if batch else (gr.skip(), gr.skip())

    inputs = [search, shared.mixer]
    report.select(run, inputs, panes, trigger_mode="always_last", **ANSWERS)


def _kept(name: str, request: Adapt, adapted: Adapted) -> SaveExpert:
    """The mixture with where it came from and, where answers were judged, how it did on examples
    that the search has not seen. The examples themselves stay out.

    Raises:
        InputError: a name that is none.
    """
    provenance = {
        "set_by": adapted.set_by,
        "examples": len(request.examples),
        "objective": request.config.objective,
        "report": adapted.report,
        "before": adapted.before,
        "after": adapted.after,
    }
    before, after, measured = adapted.right_before, adapted.right_after, None
    if before is not None and after is not None and adapted.n:
        measured = Measured(adapted.report, "on the page", before, after, adapted.n, None)
    return SaveExpert(name, adapted.mixture, adapted.normalise, provenance, measured)


def _empty(pane: str) -> dict[str, Any]:
    return {**no_answer(pane), "message": EMPTY[pane]}


def _said(note: str = "", bad: bool = False) -> dict[str, Any]:
    """A value of the report panel: what was said last; the rest comes with the search."""
    return {"note": note, "bad": bad, "stamp": uuid.uuid4().hex}
