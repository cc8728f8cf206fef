"""The Inspect page: what an expert or the mixture does to the singular values. Layout, wiring."""

import html
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import gradio as gr

from t2ui.figures.singular_values import plotly_file
from t2ui.messages import Failed
from t2ui.ui.inspect.choices import Choices, lost_of_link, make_choices, offered, show_of
from t2ui.ui.inspect.components import components_card
from t2ui.ui.inspect.matrices import component_view, heatmap_view, no_plot
from t2ui.ui.inspect.saving import saving_buttons
from t2ui.ui.inspect.sources import (
    Chosen,
    map_data,
    matrix_data,
    no_difference,
    pair_of,
    sources_of,
)
from t2ui.ui.shared.card import card
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.events import LIGHT, NEWEST, QUICK, WORKER, sent
from t2ui.ui.shared.listen import Client, patiently
from t2ui.ui.shared.panel import asset_url, pack, panel, unpack
from t2ui.ui.shared.visitor import of

NO_EXPERTS = "No experts were found: there is nothing to look at yet."
OTHERWISE = "Move a slider on Ask, or choose something else to look at."
WAITING = "The model is loading or busy: this appears when it is its turn."
NOTHING_YET = "Click the row of a matrix in the heatmap: its singular values appear here."
MAP_HINT = (
    "Red is turned up, blue is turned down. Where a row stands for several matrices, the colour "
    "says how much is changed, up or down. Grey: a matrix has no more components. Drag over a "
    "part of it to see it larger."
)


def inspect_page(shared: Shared, tab: gr.Tab) -> None:
    """Build the page inside its tab."""
    data = {"plotly": asset_url(plotly_file())}
    with gr.Row(elem_id="inspect"):
        with card(
            "Look at", "z − 1 of an expert, or of the mixture on the sliders.", "", "look", 5
        ):
            choices = make_choices()
            with gr.Column(elem_id="inspect-save"):
                saving = gr.Column()  # filled below: it needs to know the matrix that is open
        with card("Change of every singular value", MAP_HINT, "map-up", "map", 5):
            heatmap = panel("heatmap", no_plot("waiting"), "heatmap", data)
        with card("One matrix", "σ before and after, z, and captured variance.", "", "matrix", 4):
            component = panel("component", no_plot("empty", NOTHING_YET), "component-plot", data)
    components_card(shared, choices, tab)
    with saving:
        saving_buttons(shared, choices, component)
    _wire_choices(shared, choices, heatmap)
    _wire_map(shared, choices, heatmap, tab)
    _wire_matrix(shared, choices, (heatmap, component), tab)


async def _map_now(client: Client, look: str, compare: str, *rest: str) -> str:
    *chosen, mixer = rest
    state = unpack(mixer)
    if state.get("experts") == []:
        none = no_plot("empty", NO_EXPERTS, "Put expert files into the experts folder.")
        return pack({**none, "wanted": True})
    sources = sources_of(look, compare, state)
    if not sources:  # drawn by `redraw` once they are known
        return pack({**no_plot("waiting", WAITING), "wanted": True})
    asked = Chosen(*map(str, chosen))
    pair = pair_of(sources, asked.show)
    if all(one is None or one.is_base for one in pair):
        return pack(no_plot("empty", no_difference(*pair), OTHERWISE))
    found = await map_data(client, sources, asked)
    if isinstance(found, Failed):
        return pack(no_plot("failed", found.message, found.remedy))
    if found.empty:
        return pack(no_plot("empty", no_difference(*pair), OTHERWISE))
    view = heatmap_view(found.data, found.quantity, found.what, found.file)
    return pack({**view, "up": _wider(asked)})


def _wider(asked: Chosen) -> dict[str, str] | None:
    """The way back from a part: what to choose to see more, and in words."""
    if asked.layer_index is not None:
        return {"layer": "all", "words": "all layers"}
    if asked.module not in ("all", "attention", "mlp"):
        return {"module": "all", "words": "all matrices"}
    return None


def _wire_choices(shared: Shared, choices: Choices, heatmap: gr.HTML) -> None:
    """Offer the experts whenever they were listed; then draw the heatmap, if somebody waits for it
    or saw it fail."""
    client, mixer = shared.client, shared.mixer

    def offer(request: gr.Request, mixer: str, library: dict[str, Any], *chosen: Any) -> list[Any]:
        query = dict(request.query_params)
        if chosen[0] is None and (lost := lost_of_link(mixer, library, query)):
            gr.Warning(html.escape(lost), title="The link names what is not here")
        return offered(mixer, library, chosen, query)

    boxes = choices.of_map
    filled = shared.library.change(offer, [mixer, shared.library, *boxes], boxes, **LIGHT)

    async def redraw(request: gr.Request, shown: str, *chosen: Any) -> AsyncIterator[Any]:
        before = unpack(shown)
        if not before.get("wanted") and before.get("state") != "failed":
            yield gr.skip()
            return
        async for news in _patiently(_map_now(of(client, request), *chosen)):
            yield news

    async def late(
        request: gr.Request, shown: str, look: str, compare: str, *rest: Any
    ) -> AsyncIterator[Any]:
        """Asked before the experts were known, answered after: by then nobody redraws it."""
        if not unpack(shown).get("wanted") or not sources_of(look, compare, unpack(rest[-1])):
            yield gr.skip()
            return
        async for news in _patiently(_map_now(of(client, request), look, compare, *rest)):
            yield news

    inputs = [heatmap, *boxes, mixer]
    filled.then(redraw, inputs, heatmap, **NEWEST)
    small = "(map, ...rest) => [JSON.stringify({wanted: JSON.parse(map).wanted}), ...rest]"
    heatmap.change(late, inputs, heatmap, js=small, **WORKER)


def _wire_map(shared: Shared, choices: Choices, heatmap: gr.HTML, tab: gr.Tab) -> None:
    client, mixer = shared.client, shared.mixer
    inputs = [*choices.of_map, mixer]

    async def draw(request: gr.Request, *chosen: Any) -> AsyncIterator[Any]:
        async for news in _patiently(_map_now(of(client, request), *chosen)):
            yield news

    # `.input`, not `.change`: filling in the choices when the page opens must draw nothing yet
    moved = [box.input for box in (choices.show, choices.rows, choices.module, choices.layer)]
    gr.on(moved, draw, inputs, heatmap, **NEWEST)

    def name_shows(
        look: str, compare: str, show: str, before: str, mixer: str
    ) -> tuple[dict[str, Any], str]:
        """The difference first, whatever was shown of what was compared before."""
        wanted = show if compare == before else "difference"
        update = show_of(look, compare, wanted, unpack(mixer))
        if wanted != show and "visible" in update:
            update = {"value": wanted, **update}
        return update, compare

    # One event for all three: a dropdown says `input` twice for one choice (once as it loses the
    # focus), and an answer that comes late must not undo what was chosen meanwhile.
    before = gr.State("")  # what it was compared with when the radio was named
    named = gr.on(
        [tab.select, choices.look.input, choices.compare.input],
        name_shows,
        [choices.look, choices.compare, choices.show, before, mixer],
        [choices.show, before],
        trigger_mode="always_last",
        **QUICK,
    )
    named.then(draw, inputs, heatmap, **NEWEST)

    def open_group(event: gr.EventData) -> tuple[Any, ...]:
        """A row that stands for several matrices is opened: those alone; or they are left again."""
        asked = sent(event)
        return tuple(
            str(asked[key]) if isinstance(asked.get(key), str) else gr.skip()
            for key in ("module", "layer")
        )

    opened = heatmap.apply(open_group, None, [choices.module, choices.layer], **QUICK)
    opened.then(draw, inputs, heatmap, **NEWEST)


def _wire_matrix(
    shared: Shared, choices: Choices, plots: tuple[gr.HTML, gr.HTML], tab: gr.Tab
) -> None:
    client, (heatmap, component) = shared.client, plots

    async def open_matrix(
        request: gr.Request, name: str, look: str, compare: str, log: bool, mixer: str
    ) -> str:
        state = unpack(mixer)
        sources = sources_of(look, compare, state)
        if not name or not sources:
            none = state.get("experts") == []
            return pack(no_plot("empty", NO_EXPERTS if none else NOTHING_YET))
        found = await matrix_data(of(client, request), sources, name)
        if isinstance(found, Failed):
            return pack({**no_plot("failed", found.message, found.remedy), "name": name})
        file = f"{name}-{'-'.join(one.name.replace(' ', '-') for one in sources)}"
        return pack(component_view(found, bool(log), file))

    async def on_row(
        request: gr.Request, look: str, compare: str, log: bool, mixer: str, event: gr.EventData
    ) -> AsyncIterator[Any]:
        name = str(sent(event).get("name", ""))
        async for news in _patiently(open_matrix(request, name, look, compare, log, mixer), name):
            yield news

    async def again(
        request: gr.Request, look: str, compare: str, log: bool, mixer: str, shown: str
    ) -> AsyncIterator[Any]:
        name = str(unpack(shown).get("name", ""))
        async for news in _patiently(open_matrix(request, name, look, compare, log, mixer), name):
            yield news

    what = [choices.look, choices.compare, choices.log, shared.mixer]
    heatmap.select(on_row, what, component, **NEWEST)
    moved = [box.input for box in (choices.look, choices.compare, choices.log)]
    gr.on([tab.select, *moved], again, [*what, component], component, **NEWEST)


async def _patiently(work: Coroutine[Any, Any, str], name: str = "") -> AsyncIterator[Any]:
    """The result of `work`; when that takes long, that it does. Ends the work when nobody waits."""
    async for news in patiently(work, pack({**no_plot("waiting", WAITING), "name": name})):
        yield gr.skip() if news is None else news
