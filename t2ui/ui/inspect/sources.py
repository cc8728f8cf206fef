"""What the Inspect page can look at, and its data from the worker. Knows no gradio component."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from t2ui.figures.colours import BASE
from t2ui.figures.heatmap import Quantity
from t2ui.messages import Component, ComponentData, Failed, Heatmap, HeatmapData
from t2ui.ui.inspect.rows import shortened
from t2ui.ui.shared.colours import other_colour
from t2ui.ui.shared.listen import Client, answer
from t2ui.ui.shared.mixture import experts_of, weights

MIXTURE = "mixture"  # an expert may have that name: its choice has a prefix
TIMEOUT_SECONDS = 60.0
BASE_NAME = "base model"
ALL_ZERO = "All sliders are at 0: the mixture is the base model itself."


@dataclass(frozen=True)
class Source:
    """One thing to look at: an expert alone, or the mixture on the sliders."""

    name: str  # "math", "mixture", or "base model" where every slider is at 0
    colour: str
    mixture: dict[str, float]
    normalise: bool
    words: str  # "the math expert"

    @property
    def is_base(self) -> bool:
        """Whether it is the mixture with every slider at 0."""
        return not self.mixture


@dataclass(frozen=True)
class Chosen:
    """What the page's choices say, all of them untrusted."""

    show: str = "first"  # of two sources: first | second | difference
    rows: str = "matrix"  # matrix | layer | kind
    module: str = "all"
    layer: str = "all"

    @property
    def layer_index(self) -> int | None:
        """The layer; None for all."""
        return int(self.layer) if self.layer.isdecimal() else None


@dataclass(frozen=True)
class Drawn:
    """A heatmap with what it is of."""

    data: HeatmapData
    quantity: Quantity
    what: str  # in a sentence
    file: str

    @property
    def empty(self) -> bool:
        """Whether there is no difference anywhere."""
        return not np.nan_to_num(self.data.values).any()


def source(choice: Any, mixer: Mapping[str, Any]) -> Source | None:
    """What a choice of the page stands for; None for "nothing" and for what is not there."""
    experts = {expert["name"]: expert["colour"] for expert in experts_of(mixer)}
    if choice == MIXTURE:
        mixture = weights(mixer)
        if not mixture:
            return Source(BASE_NAME, BASE, {}, False, "the base model")
        by_size = sorted(mixture, key=lambda name: -abs(mixture[name]))
        named = shortened([f"{name} {mixture[name]:.2f}".replace("-", "−") for name in by_size], 3)
        colour = experts.get(by_size[0], BASE)
        words = f"the mixture on the sliders ({named})"
        return Source("mixture", colour, mixture, bool(mixer.get("normalise")), words)
    name = str(choice).removeprefix("expert:")
    if name not in experts:
        return None
    return Source(name, experts[name], {name: 1.0}, False, f"the {name} expert")


def sources_of(look: Any, compare: Any, mixer: Mapping[str, Any]) -> list[Source]:
    """What is looked at: one or two, in two colours also where the sliders have the same one."""
    found = [one for one in (source(look, mixer), source(compare, mixer)) if one is not None]
    if len(found) == 2 and found[0].colour == found[1].colour:
        taken = [expert["colour"] for expert in experts_of(mixer)]
        found[1] = replace(found[1], colour=other_colour(found[0].colour, taken))
    return found


def shows(sources: list[Source]) -> list[tuple[str, str]]:
    """What of two sources can be shown, in words, and the choice that stands for it."""
    if len(sources) < 2:
        return [("z − 1", "first")]
    first, second = (one.name for one in sources)
    return [(first, "first"), (second, "second"), (f"{first} − {second}", "difference")]


def pair_of(sources: list[Source], show: str) -> tuple[Source, Source | None]:
    """What is shown, and what it is compared with; None for the base model."""
    if len(sources) == 2 and show == "difference":
        return sources[0], sources[1]
    return sources[1 if len(sources) == 2 and show == "second" else 0], None


def in_words(one: Source, other: Source | None) -> str:
    """A sentence that says what is drawn."""
    zeros = "All sliders are at 0, so the mixture is the base model. "
    if other is None:
        start = zeros if one.is_base else ""
        return f"{start}{_capital(one.words)} against the base model: z − 1."
    start = zeros if one.is_base or other.is_base else ""
    return (
        f"{start}{_capital(one.words)} against {other.words}: z of {one.name} − z of {other.name}."
    )


def no_difference(one: Source, other: Source | None) -> str:
    """What to say where a heatmap would show nothing."""
    if one.is_base and (other is None or other.is_base):
        return ALL_ZERO
    if other is None:
        return f"{_capital(one.words)} leaves these matrices as they are: z = 1 everywhere."
    return f"{_capital(one.words)} and {other.words} are the same here: nothing differs."


async def map_data(client: Client, sources: list[Source], chosen: Chosen) -> Drawn | Failed:
    """The heatmap to show."""
    one, other = pair_of(sources, chosen.show)
    request = Heatmap(
        one.mixture,
        chosen.module,
        one.normalise,
        minus=other.mixture if other else {},
        minus_normalise=bool(other and other.normalise),
        layer=chosen.layer_index,
        rows=chosen.rows,
    )
    data = await answer(client, request, HeatmapData, TIMEOUT_SECONDS)
    if not isinstance(data, HeatmapData):
        return data
    quantity = Quantity()
    if other:
        quantity = Quantity(f"{one.name} − {other.name}", "lower", "higher")
    file = "-minus-".join(two.name for two in (one, other) if two).replace(" ", "-")
    return Drawn(data, quantity, in_words(one, other), f"{file}-{chosen.module}")


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


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
