"""The Inspect page: what an expert or the mixture does to the singular values. Layout, wiring."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

import gradio as gr

from t2ui.figures.singular_values import plotly_file
from t2ui.messages import Failed
from t2ui.ui.inspect.matrices import (
    component_csv,
    component_view,
    heatmap_csv,
    heatmap_view,
    no_plot,
)
from t2ui.ui.inspect.sources import MIXTURE, map_data, matrix_data, sources_of
from t2ui.ui.shared.card import card
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.events import PAGE, QUICK, WORKER
from t2ui.ui.shared.listen import YIELD_SECONDS, Client
from t2ui.ui.shared.mixture import experts_of
from t2ui.ui.shared.panel import asset_url, pack, panel, unpack
from t2ui.ui.shared.visitor import of

SLIDERS = ("mixture on the sliders", MIXTURE)
NOTHING = ("nothing", "")
KINDS = ("attention", "mlp")
NO_EXPERTS = "No experts were found: there is nothing to look at yet."
ALL_ZERO = "All sliders are at 0: the mixture is the base model itself."
WAITING = "The model is loading or busy: this appears when it is its turn."
LONG_SECONDS = 0.5  # before that, what was there stays
NOTHING_YET = "Click a row of the heatmap: its singular values appear here."


@dataclass(frozen=True)
class InspectPage:
    """The page's components."""

    look: gr.Dropdown
    compare: gr.Dropdown
    show: gr.Radio
    module: gr.Dropdown
    layer: gr.Dropdown
    log: gr.Checkbox
    heatmap: gr.HTML
    component: gr.HTML


def inspect_page(shared: Shared, tab: gr.Tab) -> None:
    """Build the page inside its tab."""
    data = {"plotly": asset_url(plotly_file())}
    with gr.Row(elem_id="inspect"):
        with card("Look at", "z − 1 of an expert, or of the mixture on the sliders.", "", "look"):
            look = gr.Dropdown(  # nothing is chosen until there are experts, see `choices`
                [SLIDERS], value=None, label="Expert or mixture", elem_id="inspect-look"
            )
            compare = gr.Dropdown(
                [NOTHING], value="", label="Compare with", elem_id="inspect-compare"
            )
            show = gr.Radio(
                ["first", "second", "difference"],
                value="first",
                label="Show",
                visible=False,
                elem_id="inspect-show",
            )
            module = gr.Dropdown(
                ["all", *KINDS], value="all", label="Matrices", elem_id="inspect-module"
            )
            layer = gr.Dropdown(["all"], value="all", label="Layers", elem_id="inspect-layer")
            log = gr.Checkbox(True, label="σ on a log scale", elem_id="inspect-log")
            save_map = gr.Button("Heatmap as CSV", size="sm", elem_id="save-heatmap")
            save_row = gr.Button("Matrix as CSV", size="sm", elem_id="save-component")
        with card("Change of every singular value", "Red is turned up, blue down.", "", "map"):
            heatmap = panel("heatmap", no_plot("waiting"), "heatmap", data)
        with card("One matrix", "σ before and after, z, and captured variance.", "", "matrix"):
            component = panel("component", no_plot("empty", NOTHING_YET), "component-plot", data)
    saved = panel("download", {"name": "", "text": "", "stamp": ""}, "download")
    page = InspectPage(look, compare, show, module, layer, log, heatmap, component)
    _wire_choices(shared, page)
    _wire(shared.client, page, shared.mixer, tab)
    _wire_saving(shared.client, page, shared.mixer, saved, (save_map, save_row))


def choices(mixer: str, library: dict, *chosen: Any) -> list[Any]:
    """Updates of look, compare, module and layer for the library that was found.

    What is `chosen` there stays, as long as it is still offered: the worker may have restarted.
    """
    names = [expert["name"] for expert in experts_of(unpack(mixer))]
    if not names:  # an empty folder, or a worker that is down: nothing to choose from
        return [gr.skip()] * 4
    experts = [(f"{name} expert", f"expert:{name}") for name in names]
    layers = map(str, range(library["layers"]))
    offered = [
        [*experts, SLIDERS],
        [NOTHING, *experts, SLIDERS],
        [(one, one) for one in ("all", *KINDS, *library["modules"])],
        [(one, one) for one in ("all", *layers)],
    ]
    updates = []
    for options, now in zip(offered, chosen, strict=True):
        values = [value for _, value in options]
        updates.append(gr.update(choices=options, value=now if now in values else values[0]))
    return updates


async def _map_now(
    client: Client, look: str, compare: str, show: str, module: str, layer: str, mixer: str
) -> str:
    state = unpack(mixer)
    if state.get("experts") == []:
        none = no_plot("empty", NO_EXPERTS, "Put expert files into the experts folder.")
        return pack({**none, "wanted": True})
    sources = sources_of(look, compare, state)
    if not sources:  # drawn by `redraw` once they are known
        return pack({**no_plot("waiting", WAITING), "wanted": True})
    if not all(one.mixture for one in sources):
        return pack(no_plot("empty", ALL_ZERO, "Move a slider on Ask, or choose an expert."))
    found = await map_data(client, sources, show, module, layer)
    if isinstance(found, Failed):
        return pack(no_plot("failed", found.message, found.remedy))
    data, title, file = found
    return pack(heatmap_view(data, title, f"{module}|{layer}", file))


def _wire_choices(shared: Shared, page: InspectPage) -> None:
    """Offer the experts whenever they were listed; then draw the heatmap, if somebody waits for it
    or saw it fail."""
    client, mixer = shared.client, shared.mixer
    offered = [page.look, page.compare, page.module, page.layer]
    filled = shared.library.change(choices, [mixer, shared.library, *offered], offered, **QUICK)

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

    inputs = [page.heatmap, page.look, page.compare, page.show, page.module, page.layer, mixer]
    filled.then(redraw, inputs, page.heatmap, **WORKER)
    small = "(map, ...rest) => [JSON.stringify({wanted: JSON.parse(map).wanted}), ...rest]"
    page.heatmap.change(late, inputs, page.heatmap, js=small, **WORKER)


def _wire(client: Client, page: InspectPage, mixer: gr.HTML, tab: gr.Tab) -> None:
    inputs = [page.look, page.compare, page.show, page.module, page.layer, mixer]

    async def draw(request: gr.Request, *chosen: Any) -> AsyncIterator[Any]:
        async for news in _patiently(_map_now(of(client, request), *chosen)):
            yield news

    # `.input`, not `.change`: filling in the choices when the page opens must draw nothing yet
    newest = {"trigger_mode": "always_last", **WORKER}
    moved = [box.input for box in (page.look, page.show, page.module, page.layer)]
    gr.on([tab.select, *moved], draw, inputs, page.heatmap, **newest)

    def offer_show(compare: str) -> dict:
        return gr.update(visible=bool(compare), value="difference" if compare else "first")

    page.compare.input(offer_show, page.compare, page.show, queue=False, **PAGE).then(
        draw, inputs, page.heatmap, **WORKER
    )

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
        file = f"{name}-{'-'.join(one.name for one in sources)}"
        return pack(component_view(found, bool(log), file))

    async def on_row(
        request: gr.Request, look: str, compare: str, log: bool, mixer: str, event: gr.EventData
    ) -> AsyncIterator[Any]:
        name = str(event._data.get("name", ""))
        async for news in _patiently(open_matrix(request, name, look, compare, log, mixer), name):
            yield news

    async def again(
        request: gr.Request, look: str, compare: str, log: bool, mixer: str, shown: str
    ) -> AsyncIterator[Any]:
        name = str(unpack(shown).get("name", ""))
        async for news in _patiently(open_matrix(request, name, look, compare, log, mixer), name):
            yield news

    what = [page.look, page.compare, page.log, mixer]
    page.heatmap.select(on_row, what, page.component, **newest)
    moved = [box.input for box in (page.look, page.compare, page.log)]
    gr.on([tab.select, *moved], again, [*what, page.component], page.component, **newest)


async def _patiently(work: Coroutine[Any, Any, str], name: str = "") -> AsyncIterator[Any]:
    """The result of `work`; when that takes long, that it does. Ends the work when nobody waits."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=LONG_SECONDS)
        if not task.done():
            yield pack({**no_plot("waiting", WAITING), "name": name})
        while not task.done():
            await asyncio.wait({task}, timeout=YIELD_SECONDS)
            yield gr.skip()
        yield task.result()
    finally:
        task.cancel()


def _wire_saving(
    client: Client,
    page: InspectPage,
    mixer: gr.HTML,
    saved: gr.HTML,
    buttons: tuple[gr.Button, gr.Button],
) -> None:
    """CSV from the worker's exact values, not from the quantised picture."""

    async def save_map(
        request: gr.Request,
        look: str,
        compare: str,
        show: str,
        module: str,
        layer: str,
        mixer: str,
    ) -> str:
        sources = sources_of(look, compare, unpack(mixer))
        found = (
            await map_data(of(client, request), sources, show, module, layer) if sources else None
        )
        if isinstance(found, tuple):
            return _file(f"{found[2]}.csv", heatmap_csv(found[0]))
        gr.Warning("There is no heatmap to save: choose an expert first.")
        return gr.skip()

    async def save_row(request: gr.Request, look: str, compare: str, mixer: str, shown: str) -> str:
        sources = sources_of(look, compare, unpack(mixer))
        name = str(unpack(shown).get("name", ""))
        mine = of(client, request)
        found = await matrix_data(mine, sources, name) if sources and name else None
        if isinstance(found, list):
            return _file(f"{name}.csv", component_csv(found))
        gr.Warning("No matrix is open: click a row of the heatmap first.")
        return gr.skip()

    buttons[0].click(
        save_map,
        [page.look, page.compare, page.show, page.module, page.layer, mixer],
        saved,
        **WORKER,
    )
    buttons[1].click(save_row, [page.look, page.compare, mixer, page.component], saved, **WORKER)


def _file(name: str, text: str) -> str:
    """A value of the download panel; the stamp makes the same file again a new value."""
    return pack({"name": name, "text": text, "stamp": uuid.uuid4().hex})
