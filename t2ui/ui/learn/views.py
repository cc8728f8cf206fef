"""What steps 4 to 6 of Learn show, from the worker's events. Plain data; knows no gradio."""

from collections.abc import Mapping
from typing import Any

from t2ui.config import Sampling
from t2ui.messages import (
    Ask,
    Classified,
    Component,
    ComponentData,
    Experts,
    Failed,
    Heatmap,
    HeatmapData,
)
from t2ui.ui.shared.colours import expert_colours
from t2ui.ui.shared.listen import Client, answer, listed
from t2ui.ui.shared.starters import EVERY_KIND
from t2ui.ui.shared.views import classified

TIMEOUT_SECONDS = 60.0
DIGITS = 5  # of σ, z and shares, behind the point
LOADING = Failed("The model is still loading.", "Try again in a moment.")


def failed(kind: str, event: Failed) -> dict[str, Any]:
    """Why a step has nothing to show."""
    return {"kind": kind, "state": "failed", "message": event.message, "remedy": event.remedy}


async def matrix_view(client: Client, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A matrix of the model under one expert: σ, z and captured shares.

    Args:
        asked: "layer", "module" and "expert", untrusted; what is not there becomes the default:
            the layer in the middle, the last kind of matrix, the first expert that answers.
    """
    found = listed(client)
    if not isinstance(found, Experts):
        return failed("matrix", found or LOADING)
    answering = [one for one in found.experts if one.kind == "expert" and not one.transfer]
    if not answering:
        return failed("matrix", Failed("There is no expert to look at.", "Train one, or add one."))
    layer, module = asked.get("layer"), asked.get("module")
    if type(layer) is not int or not 0 <= layer < found.layers:
        layer = found.layers // 2
    if module not in found.modules:
        module = found.modules[-1]
    names = [one.name for one in answering]
    expert = asked.get("expert")
    mixture = {str(expert) if expert in names else names[0]: 1.0}
    part = Heatmap(mixture, module, layer=layer)  # which names the matrix in full
    named = await answer(client, part, HeatmapData, TIMEOUT_SECONDS)
    if isinstance(named, Failed):
        return failed("matrix", named)
    request = Component(named.names[0], mixture)
    data = await answer(client, request, ComponentData, TIMEOUT_SECONDS)
    if isinstance(data, Failed):
        return failed("matrix", data)
    colours = expert_colours(one.name for one in found.experts)
    return {
        "kind": "matrix",
        "state": "done",
        "model": client.status().model.rstrip("/").rsplit("/", 1)[-1],
        "name": data.name,
        "layer": layer,
        "module": module,
        "expert": next(iter(mixture)),
        "layers": found.layers,
        "modules": list(found.modules),
        "experts": [
            {
                "name": one.name,
                "colour": colours[one.name],
                "parameters": one.parameters,
                "matrices": one.matrices,
                "bytes": one.size_bytes,
            }
            for one in answering
        ],
        "shape": list(data.shape),
        "sigma": [round(float(value), DIGITS) for value in data.sigma],
        "z": [round(float(value), DIGITS) for value in data.z],
        "captured": [round(float(value), DIGITS) for value in data.captured],
    }


async def first_pass_view(client: Client, place: Any, mixer: Mapping[str, Any]) -> dict[str, Any]:
    """Pass one of a prompt of step 6; of its answer one token is written, and not shown.

    Args:
        place: in EVERY_KIND, untrusted.
        mixer: the sliders' value, for the experts' colours.
    """
    place = prompt_place(place)
    prompt = EVERY_KIND[place][1]
    request = Ask(prompt, sampling=Sampling(max_new_tokens=1), compare=False)
    event = await answer(client, request, Classified, TIMEOUT_SECONDS)
    if isinstance(event, Failed):
        return {**failed("pass one", event), "place": place}
    shown = classified(event, mixer, "", prompt)
    return {**shown, "kind": "pass one", "place": place}


def prompt_place(place: Any) -> int:
    """A place in EVERY_KIND, the first for nonsense."""
    return place if type(place) is int and 0 <= place < len(EVERY_KIND) else 0
