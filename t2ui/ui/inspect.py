"""The Inspect page: what an expert or the mixture does to the singular values. Layout, wiring."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from t2ui.errors import InputError
from t2ui.figures import plotly_file
from t2ui.messages import (
    Component as ComponentRequest,
)
from t2ui.messages import (
    ComponentData,
    Failed,
    Heatmap,
    HeatmapData,
)
from t2ui.ui.ask import PAGE, card
from t2ui.ui.colours import BASE
from t2ui.ui.listen import Client, answer
from t2ui.ui.matrices import (
    component_csv,
    component_view,
    difference,
    heatmap_csv,
    heatmap_view,
    no_plot,
    rows_of_layer,
)
from t2ui.ui.mixture import weights
from t2ui.ui.panel import asset_url, panel

MIXTURE = "mixture"  # an expert may have that name: its choice has a prefix
SLIDERS = ("mixture on the sliders", MIXTURE)
NOTHING = ("nothing", "")
KINDS = ("attention", "mlp")
TIMEOUT_SECONDS = 60.0
NOTHING_YET = "Click a row of the heatmap: its singular values appear here."
WORKER = {"concurrency_id": "worker", "concurrency_limit": 64, **PAGE}


@dataclass(frozen=True)
class InspectPage:
    """The page's components."""

    look: Component
    compare: Component
    show: Component
    module: Component
    layer: Component
    log: Component
    heatmap: Component
    component: Component


def inspect_page(client: Client, mixer: Component, tab: gr.Tab) -> InspectPage:
    """Build the page inside the current tab; `mixer` holds the sliders' mixture."""
    data = {"plotly": asset_url(plotly_file())}
    with gr.Row(elem_id="inspect"):
        with card("Look at", "z − 1 of an expert, or of the mixture on the sliders.", "", "look"):
            look = gr.Dropdown(
                [SLIDERS], value=MIXTURE, label="Expert or mixture", elem_id="inspect-look"
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
    _wire(client, page, mixer, tab)
    _wire_saving(client, page, mixer, saved, (save_map, save_row))
    return page


def choices(mixer: dict, library: dict) -> list[Any]:
    """Updates of look, compare, module and layer for the library that was found."""
    experts = [(f"{e['name']} expert", f"expert:{e['name']}") for e in mixer.get("experts") or []]
    first = experts[0][1] if experts else MIXTURE
    modules = ["all", *KINDS, *library["modules"]]
    layers = ["all", *(str(layer) for layer in range(library["layers"]))]
    return [
        gr.update(choices=[*experts, SLIDERS], value=first),
        gr.update(choices=[NOTHING, *experts, SLIDERS], value=""),
        gr.update(choices=modules, value="all"),
        gr.update(choices=layers, value="all"),
    ]


@dataclass(frozen=True)
class Source:
    """One thing to look at: an expert alone, or the mixture on the sliders."""

    name: str
    colour: str
    mixture: dict[str, float]
    normalise: bool


def source(choice: Any, mixer: Any) -> Source | None:
    """What a choice of the page stands for; None for "nothing" and for what is not there."""
    experts = {e["name"]: e["colour"] for e in (mixer or {}).get("experts") or []}
    if choice == MIXTURE:
        mixture = weights(mixer)
        strongest = max(mixture, key=lambda name: abs(mixture[name]), default="")
        return Source("mixture", experts.get(strongest, BASE), mixture, bool(mixer["normalise"]))
    name = str(choice).removeprefix("expert:")
    if name not in experts:
        return None
    return Source(name, experts[name], {name: 1.0}, False)


async def _maps(client: Client, sources: list[Source], module: str) -> list[HeatmapData] | Failed:
    found = []
    for one in sources:
        try:
            request = Heatmap(one.mixture, str(module), one.normalise)
        except InputError as error:
            return Failed(str(error))
        event = await answer(client, request, HeatmapData, TIMEOUT_SECONDS)
        if not isinstance(event, HeatmapData):
            return event
        found.append(event)
    return found


def _sources(look: Any, compare: Any, mixer: Any) -> list[Source]:
    return [one for one in (source(look, mixer), source(compare, mixer)) if one is not None]


async def map_data(
    client: Client, sources: list[Source], show: str, module: str, layer: str
) -> tuple[HeatmapData, str, str] | Failed:
    """The heatmap to show, with its quantity ("z − 1") and a file name."""
    second = len(sources) == 2 and show == "second"
    both = len(sources) == 2 and show == "difference"
    wanted = sources if both else [sources[1] if second else sources[0]]
    maps = await _maps(client, wanted, module)
    if isinstance(maps, Failed):
        return maps
    data = rows_of_layer(
        difference(*maps) if both else maps[0], int(layer) if str(layer).isdigit() else None
    )
    title = f"{sources[0].name} − {sources[1].name}" if both else "z − 1"
    return data, title, "-minus-".join(one.name for one in wanted) + f"-{module}"


async def matrix_data(
    client: Client, sources: list[Source], name: str
) -> list[tuple[str, str, ComponentData]] | Failed:
    """(name, colour, data) of a matrix for each source."""
    found = []
    for one in sources:
        request = ComponentRequest(name, one.mixture, one.normalise)
        event = await answer(client, request, ComponentData, TIMEOUT_SECONDS)
        if not isinstance(event, ComponentData):
            return event
        found.append((one.name, one.colour, event))
    return found


def _wire(client: Client, page: InspectPage, mixer: Component, tab: gr.Tab) -> None:
    inputs = [page.look, page.compare, page.show, page.module, page.layer, mixer]

    async def draw(look, compare, show, module, layer, mixer) -> dict:  # noqa: ANN001
        sources = _sources(look, compare, mixer)
        if not sources:
            return no_plot("empty", "No experts were found: there is nothing to look at yet.",
                           "Put expert files into the experts folder, or train one.")  # fmt: skip
        if not sources[0].mixture:
            return no_plot("empty", "All sliders are at 0: the mixture is the base model itself.",
                           "Move a slider on the Ask page, or choose an expert.")  # fmt: skip
        found = await map_data(client, sources, show, module, layer)
        if isinstance(found, Failed):
            return no_plot("failed", found.message, found.remedy)
        data, title, file = found
        return heatmap_view(data, title, f"{module}|{layer}", file)

    gr.on(
        [tab.select, page.look.change, page.compare.change, page.show.change, page.module.change,
         page.layer.change],
        draw, inputs, page.heatmap, trigger_mode="always_last", **WORKER,
    )  # fmt: skip

    def offer_show(compare: str) -> dict:
        return gr.update(visible=bool(compare), value="difference" if compare else "first")

    page.compare.change(offer_show, page.compare, page.show, queue=False, **PAGE)

    async def open_matrix(name: str, look, compare, log, mixer) -> dict:  # noqa: ANN001
        if not name:
            return no_plot("empty", NOTHING_YET)
        sources = _sources(look, compare, mixer)
        if not sources:
            return no_plot("empty", "No experts were found: there is nothing to look at yet.")
        found = await matrix_data(client, sources, name)
        if isinstance(found, Failed):
            return {**no_plot("failed", found.message, found.remedy), "name": name}
        file = f"{name}-{'-'.join(one.name for one in sources)}"
        return component_view(found, bool(log), file)

    async def on_row(look, compare, log, mixer, event: gr.EventData) -> dict:  # noqa: ANN001
        return await open_matrix(str(event._data.get("name", "")), look, compare, log, mixer)

    async def again(look, compare, log, mixer, shown) -> dict:  # noqa: ANN001
        return await open_matrix(shown.get("name", ""), look, compare, log, mixer)

    what = [page.look, page.compare, page.log, mixer]
    page.heatmap.select(on_row, what, page.component, trigger_mode="always_last", **WORKER)
    gr.on(
        [tab.select, page.look.change, page.compare.change, page.log.change],
        again, [*what, page.component], page.component, trigger_mode="always_last", **WORKER,
    )  # fmt: skip


def _wire_saving(
    client: Client,
    page: InspectPage,
    mixer: Component,
    saved: Component,
    buttons: tuple[Component, Component],
) -> None:
    """CSV from the worker's exact values, not from the quantised picture."""

    async def save_map(look, compare, show, module, layer, mixer) -> AsyncIterator[Any]:  # noqa: ANN001
        sources = _sources(look, compare, mixer)
        found = await map_data(client, sources, show, module, layer) if sources else None
        if isinstance(found, tuple):
            yield {"name": f"{found[2]}.csv", "text": heatmap_csv(found[0]), "stamp": _stamp()}
        else:
            gr.Warning("There is no heatmap to save: choose an expert first.")
            yield gr.skip()

    async def save_row(look, compare, mixer, shown) -> AsyncIterator[Any]:  # noqa: ANN001
        sources = _sources(look, compare, mixer)
        name = shown.get("name", "")
        found = await matrix_data(client, sources, name) if sources and name else None
        if isinstance(found, list):
            yield {"name": f"{name}.csv", "text": component_csv(found), "stamp": _stamp()}
        else:
            gr.Warning("No matrix is open: click a row of the heatmap first.")
            yield gr.skip()

    buttons[0].click(
        save_map,
        [page.look, page.compare, page.show, page.module, page.layer, mixer],
        saved,
        **WORKER,
    )
    buttons[1].click(save_row, [page.look, page.compare, mixer, page.component], saved, **WORKER)


def _stamp() -> str:
    return uuid.uuid4().hex
