"""What the Inspect page lets people choose: what to look at, how rows are made, and which."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from t2ui.ui.inspect.link import TAB, from_link
from t2ui.ui.inspect.rows import kinds
from t2ui.ui.inspect.sources import MIXTURE, shows, sources_of
from t2ui.ui.shared.mixture import experts_of
from t2ui.ui.shared.panel import unpack
from t2ui.ui.shared.permalink import not_here

SLIDERS = ("mixture on the sliders", MIXTURE)
NOTHING = ("nothing", "")
KINDS = ("attention", "mlp")
OF_ROWS = ("rows", "module", "layer")
SHOWS = ("first", "second", "difference")  # of two that are compared
ROWS = [("layers", "layer"), ("kinds of matrix", "kind"), ("every matrix", "matrix")]


@dataclass(frozen=True)
class Choices:
    """The boxes, in the order of `link.CHOICES`, and the one that concerns the other plot."""

    look: gr.Dropdown
    compare: gr.Dropdown
    show: gr.Radio
    rows: gr.Dropdown
    module: gr.Dropdown
    layer: gr.Dropdown
    log: gr.Checkbox

    @property
    def of_map(self) -> list[Component]:
        """What the heatmap depends on."""
        return [self.look, self.compare, self.show, self.rows, self.module, self.layer]


def make_choices() -> Choices:
    """Build the boxes. Nothing is chosen until there are experts, see `offered`."""
    return Choices(
        look=gr.Dropdown([SLIDERS], value=None, label="Expert or mixture", elem_id="inspect-look"),
        compare=gr.Dropdown([NOTHING], value="", label="Compare with", elem_id="inspect-compare"),
        show=gr.Radio(
            shows([]), value="first", label="Show", visible=False, elem_id="inspect-show"
        ),
        rows=gr.Dropdown(ROWS, value="layer", label="Rows", elem_id="inspect-rows"),
        module=gr.Dropdown(
            ["all", *KINDS], value="all", label="Matrices", elem_id="inspect-module"
        ),
        layer=gr.Dropdown(["all"], value="all", label="Layers", elem_id="inspect-layer"),
        log=gr.Checkbox(True, label="σ on a log scale", elem_id="inspect-log"),
    )


def offered(
    mixer: str, library: dict[str, Any], chosen: tuple[Any, ...], query: Mapping[str, Any]
) -> list[Any]:
    """Updates of the boxes in `of_map` for the library that was found.

    What is `chosen` there stays, as long as it is still offered: the worker may have restarted.
    The first time, the link has a say.
    """
    state = unpack(mixer)
    if not experts_of(state):  # an empty folder, or a worker that is down: nothing to choose from
        return [gr.skip()] * len(chosen)
    options = _options(state, library)
    look, compare, show, *rest = chosen
    if look is None:
        asked = from_link(query)
        look, compare = asked.get("look"), asked.get("compare", "")
        show = asked.get("show", "difference")
        rest = [asked.get(key, now) for key, now in zip(OF_ROWS, rest, strict=True)]
    look, looked = _kept(look, options["look"])
    compare, compared = _kept(compare, options["compare"])
    updates = [_kept(now, options[key])[1] for key, now in zip(OF_ROWS, rest, strict=True)]
    first = {"value": show} if chosen[0] is None else {}  # as the link has it
    return [looked, compared, {**first, **show_of(look, compare, show, state)}, *updates]


def lost_of_link(mixer: str, library: Mapping[str, Any], query: Mapping[str, Any]) -> str:
    """What a link to this page names and that is not here, in one line; "" where all of it is."""
    state = unpack(mixer)
    if query.get("tab") != TAB or not experts_of(state):
        return ""
    offers = {
        key: [value for _, value in options] for key, options in _options(state, library).items()
    }
    return not_here(from_link(query), offers)


def _options(mixer: Mapping[str, Any], library: Mapping[str, Any]) -> dict[str, list[Any]]:
    """(words, value) of everything that the boxes can offer, by the link's fields."""
    names = [expert["name"] for expert in experts_of(mixer)]
    experts = [(f"{name} expert", f"expert:{name}") for name in names]
    matrices = [(named, part) for part, named in kinds(library["modules"]).items()]
    return {
        "look": [*experts, SLIDERS],
        "compare": [NOTHING, *experts, SLIDERS],
        "show": [(way, way) for way in SHOWS],
        "rows": ROWS,
        "module": [*((one, one) for one in ("all", *KINDS)), *matrices],
        "layer": [(one, one) for one in ("all", *map(str, range(library["layers"])))],
    }


def show_of(look: Any, compare: Any, show: Any, mixer: Mapping[str, Any]) -> dict[str, Any]:
    """An update of the radio: named after what is compared, hidden where nothing is.

    What is chosen stays, if it is still offered, and is not sent: a hand may have chosen another
    one by the time that the update arrives.
    """
    sources = sources_of(look, compare, mixer)
    if not sources:  # the page asked before the experts were known: `offered` answers later
        return gr.skip()
    choices = shows(sources)
    values = [value for _, value in choices]
    chosen = {} if show in values else {"value": values[-1]}
    if len(choices) == 1:  # hidden; Gradio refuses a value on its way that is offered no more
        return gr.update(visible=False, **chosen)
    return gr.update(choices=choices, visible=True, **chosen)


def _kept(now: Any, options: list[tuple[str, str]]) -> tuple[Any, dict[str, Any]]:
    """What is chosen of the options, and the update of the box."""
    values = [value for _, value in options]
    value = now if now in values else values[0]
    return value, gr.update(choices=options, value=value)
