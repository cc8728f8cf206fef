"""The Adapt page: examples in, a mixture out, seen generation by generation. Layout and wiring.

A search is started here and kept by `Searches`; the page's script asks for its state by its id,
which the tab remembers, so a reload finds it again. `result` has what can be done with it.
"""

import html
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.components import Component

from t2ui.catalogue import SEARCH_METHODS
from t2ui.config import PRESETS, FewShotConfig
from t2ui.errors import InputError
from t2ui.figures.singular_values import plotly_file
from t2ui.messages import Adapt, EstimateAdapt, Failed, SearchEstimate
from t2ui.ui.adapt.generated import MadeRows, names_a_generator
from t2ui.ui.adapt.link import DEFAULTS, from_link, link_to
from t2ui.ui.adapt.result import no_answers, result_cards, search_id
from t2ui.ui.adapt.saved import saved_experts
from t2ui.ui.adapt.search_view import OBJECTIVES, methods_hint
from t2ui.ui.adapt.searches import Searches
from t2ui.ui.shared.card import card
from t2ui.ui.shared.colours import expert_colours
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.durations import about
from t2ui.ui.shared.events import LIGHT, NEWEST, PAGE, QUICK, sent
from t2ui.ui.shared.examples import check_rows, filled, merged, parse, rows_of, samples, table_of
from t2ui.ui.shared.listen import answer, patiently
from t2ui.ui.shared.mixture import experts_of
from t2ui.ui.shared.panel import asset_url, once_loaded, pack, page_link, panel, unpack
from t2ui.ui.shared.visitor import of, visitor_of

TIMEOUT_SECONDS = 120.0
ADD_EXAMPLES = "The expected time appears here once there are examples."
MEASURING = "The expected time is being worked out …"


@dataclass(frozen=True)
class AdaptPage:
    """The page's components that its wiring reads."""

    examples: gr.HTML
    method: gr.Dropdown
    objective: gr.Dropdown
    budget: gr.Dropdown
    estimate: gr.HTML
    search: gr.HTML
    start: gr.Button
    stop: gr.Button
    link: gr.HTML
    answers: tuple[gr.HTML, gr.HTML]

    @property
    def asked(self) -> list[Component]:
        """The inputs of `request_of`, in order."""
        return [self.examples, self.method, self.objective, self.budget]


def adapt_page(shared: Shared, tab: gr.Tab) -> None:
    """Build the page inside its tab."""
    searches = Searches(shared.client)

    async def search_state(asked: Any) -> str:
        asked = asked if isinstance(asked, dict) else {}
        seen = asked.get("seen")
        return pack(searches.value(str(asked.get("id", "")), seen if type(seen) is int else -1))

    plots = {"plotly": asset_url(plotly_file())}
    with gr.Row(elem_id="adapt"):
        with card("Examples", "Prompts with their right answers.", "adapt-count", "adapt-left"):
            examples = shared.examples.render()
            with gr.Row(elem_id="adapt-settings"):
                method, objective, budget = _settings()
            data = {"methods": methods_hint()}
            estimate = panel("estimate", _estimate(ADD_EXAMPLES), "adapt-estimate", data)
            with gr.Row(elem_id="adapt-buttons"):
                start = gr.Button("Start ▸", variant="primary", elem_id="adapt-start", min_width=0)
                stop = gr.Button("Stop", elem_id="adapt-stop", min_width=0)
            search = panel("search", {"id": ""}, "adapt-search", server_functions=[search_state])
            link = page_link("adapt", "A link that carries the examples and the settings.")
        with gr.Column(elem_id="adapt-right", min_width=0):
            with gr.Row(elem_id="adapt-plots"):
                with card("Score", "Of every member of each generation; higher is better."):
                    panel("search-score", {}, "adapt-score", plots)
                about = "Mean ± spread of the search, by generation."
                with card("α of each expert", about, learn=5):
                    panel("search-alpha", {}, "adapt-alpha", plots)
            answers = result_cards(shared, searches, search)
    saved_experts(shared)
    boxes = (examples, method, objective, budget)
    page = AdaptPage(*boxes, estimate, search, start, stop, link, answers)
    _wire_examples(shared, page, tab)
    _wire_link(page)
    _wire_search(shared, page, searches)


def _settings() -> tuple[gr.Dropdown, gr.Dropdown, gr.Dropdown]:
    found = {name: FewShotConfig.preset(name) for name in PRESETS}
    budgets = [
        (f"{name}: {one.population} × {one.generations}", name)
        for name, one in sorted(found.items(), key=lambda p: p[1].population * p[1].generations)
    ]
    methods = [("best", "auto"), *((one.words, name) for name, one in SEARCH_METHODS.items())]
    objectives = [(words, name) for name, words in OBJECTIVES.items()]

    def box(name: str, label: str, offered: list[tuple[str, str]]) -> gr.Dropdown:
        element = f"adapt-{name}"
        return gr.Dropdown(offered, value=DEFAULTS[name], label=label, elem_id=element, min_width=0)

    return (
        box("method", "Method", methods),
        box("objective", "Score", objectives),
        box("budget", "Budget", budgets),
    )


def request_of(examples: str, method: Any, objective: Any, budget: Any) -> Adapt:
    """The search that the page's components ask for, all of them untrusted.

    Raises:
        InputError: no examples, what `check_rows` raises, or settings that do not go together.
    """
    rows, places = filled(rows_of(unpack(examples)))
    check_rows(rows, places)
    settings = FewShotConfig.preset(budget if budget in PRESETS else "light")
    method = settings.method if method == "auto" else str(method)  # the paper's is CEM
    return Adapt(tuple(rows), replace(settings, method=method, objective=str(objective)))


def _wire_examples(shared: Shared, page: AdaptPage, tab: gr.Tab) -> None:
    """Rows from samples, pasted text, files and generators; the split and the time that a search
    will take."""
    made = MadeRows(shared.public or shared.workshop is not None)

    async def add(examples: str, event: gr.EventData) -> str:
        """Rows of a sample that the script names, or of text."""
        rows, text = rows_of(unpack(examples)), str(sent(event).get("text", ""))
        sample = samples().get(str(sent(event).get("sample")))
        if sample is not None:
            return pack(table_of(*merged(rows, sample["rows"])))
        try:
            more = await made.rows(text) if names_a_generator(text) else parse(text)
            return pack(table_of(*merged(rows, more)))
        except InputError as error:
            return pack({**table_of(rows, str(error)), "bad": True})

    async def estimated(http: gr.Request, *asked: Any) -> str:
        rows, places = filled(rows_of(unpack(asked[0])))
        if not rows:
            return pack(_estimate(ADD_EXAMPLES))
        try:
            request = request_of(*asked)
        except InputError as error:
            return pack({**_estimate(str(error)), "bad": True})
        asking = EstimateAdapt(request)
        mine = of(shared.client, http)
        found = await answer(mine, asking, SearchEstimate, TIMEOUT_SECONDS)
        if isinstance(found, Failed):
            return pack({**_estimate(str(found)), "bad": True})
        held = [places[row] for row in found.held_out]
        text = f"at most {about(found.seconds)} · {found.tokens:,} tokens · {found.report}"
        return pack({**_estimate(text), "held": held, "searched": len(rows) - len(held)})

    async def estimate(http: gr.Request, *asked: Any) -> AsyncIterator[Any]:
        waiting = pack({**_estimate(MEASURING), "held": None})
        async for shown in patiently(estimated(http, *asked), waiting):
            yield gr.skip() if shown is None else shown

    def linked(request: gr.Request) -> list[Any]:
        """What the link says; the rest stays."""
        asked = from_link(dict(request.query_params))
        said = asked.settings or {}
        rows = pack(table_of(asked.rows)) if asked.rows else gr.skip()
        return [rows, *(said.get(name, gr.skip()) for name in DEFAULTS)]

    kept = [page.examples, page.search]
    opened = shared.demo.load(None, kept, kept, js=once_loaded("remembered"), **PAGE)
    shown = opened.then(linked, None, page.asked, **QUICK)
    added = page.examples.upload(add, page.examples, page.examples, **LIGHT)
    added.then(None, None, None, js=once_loaded("examplesAdded"), **PAGE)
    for through in (shown, added):
        through.then(None, None, None, js=once_loaded("estimateSearch"), **PAGE)
    changed = [page.examples.input, tab.select]
    changed += [box.input for box in (page.method, page.objective, page.budget)]
    gr.on(changed, estimate, page.asked, page.estimate, **NEWEST)


def _wire_link(page: AdaptPage) -> None:
    def permalink(examples: str, *chosen: Any) -> str:
        settings = dict(zip(DEFAULTS, chosen, strict=True))
        link, note = link_to(rows_of(unpack(examples)), settings)
        return pack({"link": link, "note": note, "stamp": uuid.uuid4().hex})

    page.link.select(permalink, page.asked, page.link, **QUICK)


def _wire_search(shared: Shared, page: AdaptPage, searches: Searches) -> None:
    async def start(http: gr.Request, *values: Any) -> tuple[Any, ...]:
        *asked, search, mixer = values
        colours = expert_colours(one["name"] for one in experts_of(unpack(mixer)))
        try:
            request = request_of(*asked)
            started = searches.start(request, colours, search_id(search), visitor_of(http))
        except InputError as error:
            gr.Warning(html.escape(str(error)), title="Nothing was started")
            return gr.skip(), gr.skip(), gr.skip()
        return pack({"id": started}), *no_answers()

    async def stop(search: str) -> None:
        searches.stop(search_id(search))

    inputs = [*page.asked, page.search, shared.mixer]
    page.start.click(start, inputs, [page.search, *page.answers], **LIGHT)
    page.stop.click(stop, page.search, None, **LIGHT)


def _estimate(text: str) -> dict[str, Any]:
    """A value of the estimate panel: the line, and which rows of the table are held out (None:
    as before)."""
    return {"text": text, "bad": False, "held": [], "searched": 0}
