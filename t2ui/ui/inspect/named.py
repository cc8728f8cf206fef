"""What the components' panel shows, from the worker's event. Plain data; knows no gradio."""

from collections.abc import Mapping
from typing import Any

from t2ui.messages import Components, ComponentsMeasured
from t2ui.records import LEAST_Z, MOST_Z, ComponentChoice, Ends, NamedComponent
from t2ui.ui.inspect.matrices import in_words, percent, turned
from t2ui.ui.inspect.rows import label
from t2ui.ui.shared.mixture import finite

ORDERS = (("|z − 1|", "z"), ("σ · |z − 1|", "sigma"))


def no_parts(state: str, message: str = "", remedy: str = "") -> dict[str, Any]:
    """The panel without components: `state` is empty, waiting or failed."""
    return {
        "state": state,
        "message": message,
        "remedy": remedy,
        "what": "",
        "parts": [],
        "tokens": [],
        "prompt_tokens": 0,
        "rounds": False,
        "stamp": "",
    }


def parts_view(
    asked: Components, found: ComponentsMeasured, words: str, device: str
) -> dict[str, Any]:
    """The components, each with its names and, where there was a prompt, its test.

    Args:
        words: what was looked at, "the math expert".
        device: the worker's, with its dtype: in 16 bits small effects are rounding.
    """
    order = dict((value, name) for name, value in ORDERS)[asked.choice.by]
    count = len(found.components)
    several = f"{count} components" if count > 1 else "component"
    return {
        **no_parts("done"),
        "what": f"The {several} that {words} changes most, by {order}.",
        "asked": {
            "mixture": dict(asked.mixture),
            "normalise": asked.normalise,
            "scope": found.scope,
            "prompt": asked.prompt,
            "text": found.text,
        },
        "bounds": [LEAST_Z, MOST_Z],
        "tokens": list(found.tokens),
        "prompt_tokens": found.prompt_tokens,
        "text": found.text,
        "text_tokens": found.text_tokens,
        "base": found.base,
        "adapted": found.adapted,
        "scope": found.scope,
        "rounds": "float16" in device,
        "parts": [_part(found, place) for place in range(count)],
    }


def _part(found: ComponentsMeasured, place: int) -> dict[str, Any]:
    one = found.components[place]
    tested = found.adapted is not None
    return {
        "name": one.name,
        "index": one.index,
        "title": f"{label(one.name, one.layer)} · {one.index}",
        "words": in_words(one.z),
        "turned": turned(one.z),
        "z": one.z,
        "sigma": one.sigma,
        "shared": "" if one.unique else _shared(one),
        "reads": _side(one.reads_what, one.reads),
        "writes": _side(one.writes_what, one.writes),
        "activity": list(found.activity[place]) if tested else [],
        # how much likelier the answer is with its z back at 1 than with the mixture, nats
        "off": found.changed[place] - found.adapted if found.adapted is not None else None,
        "tried": None,  # see `tried`
    }


def _shared(one: NamedComponent) -> str:
    return (
        f"σ is within {percent(one.gap)} of a neighbour's: any rotation among the two serves as "
        "well, so these directions, and their names, are not unique."
    )


def _side(what: str, ends: Ends | None) -> dict[str, Any]:
    """What it is joined to on one side, and the tokens at both ends, where it has any."""
    if ends is None:
        return {"what": what, "along": [], "against": [], "chance": None}
    along, against = ([list(pair) for pair in side] for side in (ends.along, ends.against))
    return {"what": what, "along": along, "against": against, "chance": ends.chance}


def chosen_part(value: Mapping[str, Any], place: Any, z: Any) -> ComponentChoice | None:
    """The component of the panel that a slider names and the z that it was moved to; None where
    there is no such one. What comes from the browser is untrusted; the worker checks the rest."""
    parts = value.get("parts")
    if type(place) is not int or not isinstance(parts, list) or not 0 <= place < len(parts):
        return None
    part = parts[place]
    if not isinstance(part, Mapping) or isinstance(z, bool) or not isinstance(z, (int, float)):
        return None
    name, index = str(part.get("name")), part.get("index")
    at = finite(z, LEAST_Z, MOST_Z, ComponentChoice.at)
    return ComponentChoice(chosen=((name, index),), at=at) if type(index) is int else None


def with_tried(value: dict[str, Any], place: int, found: ComponentsMeasured) -> dict[str, Any]:
    """The panel's value after one component's z was set to another value: how much likelier that
    makes the answer than the mixture as it is, nats."""
    if found.adapted is None:
        return value
    parts = list(value["parts"])
    shift = found.changed[0] - found.adapted
    parts[place] = {**parts[place], "tried": {"z": found.at, "shift": shift}}
    return {**value, "parts": parts}
