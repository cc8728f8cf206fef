"""What can be taken away from the Inspect page: tables as CSV, and a link to what it shows."""

import uuid
from typing import Any

import gradio as gr

from t2ui.ui.inspect.choices import Choices
from t2ui.ui.inspect.link import link_to
from t2ui.ui.inspect.matrices import component_csv, heatmap_csv
from t2ui.ui.inspect.sources import Chosen, Drawn, map_data, matrix_data, sources_of
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.events import QUICK, WORKER
from t2ui.ui.shared.panel import pack, page_link, panel, unpack
from t2ui.ui.shared.visitor import of


def saving_buttons(shared: Shared, choices: Choices, component: gr.HTML) -> None:
    """Build and wire them; `component` knows which matrix is open.

    CSV comes from the worker's exact values, not from the quantised picture.
    """
    save_map = gr.Button("Heatmap CSV", size="sm", elem_id="save-heatmap")
    save_row = gr.Button("Matrix CSV", size="sm", elem_id="save-component")
    link = page_link("inspect", "A link that carries what this page shows, and the sliders.")
    saved = panel("download", {"name": "", "text": "", "stamp": ""}, "download")

    async def save_heatmap(
        request: gr.Request, look: str, compare: str, show: str, rows: str, *rest: str
    ) -> str:
        module, layer, mixer = rest
        sources = sources_of(look, compare, unpack(mixer))
        chosen = Chosen(str(show), "matrix", str(module), str(layer))
        found = await map_data(of(shared.client, request), sources, chosen) if sources else None
        if isinstance(found, Drawn):
            return _file(f"{found.file}.csv", heatmap_csv(found.data))
        gr.Warning("There is no heatmap to save: choose an expert first.")
        return gr.skip()

    async def save_matrix(
        request: gr.Request, look: str, compare: str, mixer: str, shown: str
    ) -> str:
        sources = sources_of(look, compare, unpack(mixer))
        name = str(unpack(shown).get("name", ""))
        mine = of(shared.client, request)
        found = await matrix_data(mine, sources, name) if sources and name else None
        if isinstance(found, list):
            return _file(f"{name}.csv", component_csv(found))
        gr.Warning("No matrix is open: click a row of the heatmap first.")
        return gr.skip()

    def permalink(*chosen: Any) -> str:
        *boxes, mixer = chosen
        said = link_to(boxes, unpack(mixer))
        return pack({"link": said, "note": "", "stamp": uuid.uuid4().hex})

    inputs = [*choices.of_map, shared.mixer]
    save_map.click(save_heatmap, inputs, saved, **WORKER)
    what = [choices.look, choices.compare, shared.mixer, component]
    save_row.click(save_matrix, what, saved, **WORKER)
    link.select(permalink, inputs, link, **QUICK)


def _file(name: str, text: str) -> str:
    """A value of the download panel; the stamp makes the same file again a new value."""
    return pack({"name": name, "text": text, "stamp": uuid.uuid4().hex})
