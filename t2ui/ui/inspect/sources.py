"""What the Inspect page can look at, and its data from the worker. Knows no gradio component."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from t2ui.errors import InputError
from t2ui.figures.colours import BASE
from t2ui.messages import Component, ComponentData, Failed, Heatmap, HeatmapData
from t2ui.ui.inspect.matrices import difference, rows_of_layer
from t2ui.ui.shared.colours import other_colour
from t2ui.ui.shared.listen import Client, answer
from t2ui.ui.shared.mixture import experts_of, weights

MIXTURE = "mixture"  # an expert may have that name: its choice has a prefix
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Source:
    """One thing to look at: an expert alone, or the mixture on the sliders."""

    name: str
    colour: str
    mixture: dict[str, float]
    normalise: bool


def source(choice: Any, mixer: Mapping[str, Any]) -> Source | None:
    """What a choice of the page stands for; None for "nothing" and for what is not there."""
    experts = {expert["name"]: expert["colour"] for expert in experts_of(mixer)}
    if choice == MIXTURE:
        mixture = weights(mixer)
        strongest = max(mixture, key=lambda name: abs(mixture[name]), default="")
        colour = experts.get(strongest, BASE)
        return Source("mixture", colour, mixture, bool(mixer.get("normalise")))
    name = str(choice).removeprefix("expert:")
    if name not in experts:
        return None
    return Source(name, experts[name], {name: 1.0}, False)


def sources_of(look: Any, compare: Any, mixer: Mapping[str, Any]) -> list[Source]:
    """What is looked at: one or two, in two colours also where the sliders have the same one."""
    found = [one for one in (source(look, mixer), source(compare, mixer)) if one is not None]
    if len(found) == 2 and found[0].colour == found[1].colour:
        taken = [expert["colour"] for expert in experts_of(mixer)]
        found[1] = replace(found[1], colour=other_colour(found[0].colour, taken))
    return found


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


async def matrix_data(
    client: Client, sources: list[Source], name: str
) -> list[tuple[str, str, ComponentData]] | Failed:
    """(name, colour, data) of a matrix for each source."""
    found = []
    for one in sources:
        request = Component(name, one.mixture, one.normalise)
        event = await answer(client, request, ComponentData, TIMEOUT_SECONDS)
        if not isinstance(event, ComponentData):
            return event
        found.append((one.name, one.colour, event))
    return found
