"""A finished answer that a first visit shows at once, while the model loads.

`.ci/record_example.py` records it with the default model and the shipped experts: the events of
one question as the worker sent them, and its receipt. The page plays them as it plays any answer,
and says that they are recorded. A test replays the receipt, so that the file is never stale.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from t2ui.config import DEFAULT_MODEL
from t2ui.messages import (
    Classified,
    Compared,
    Done,
    Event,
    ExpertInfo,
    Mixed,
    NextTokens,
    Status,
    Tokens,
    TokenShift,
)
from t2ui.ui.shared.controls import Controls
from t2ui.ui.shared.mixture import empty_mixer, with_experts
from t2ui.ui.shared.panel import ASSETS
from t2ui.ui.shared.views import AskView

EXAMPLE = ASSETS / "ask/example.json"
KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Classified, Mixed, Tokens, Compared, Done, NextTokens)
}


def recorded() -> dict[str, Any]:
    """The file: {prompt, experts, events}."""
    said: dict[str, Any] = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    return said


def event_of(kind: str, fields: Mapping[str, Any]) -> Event:
    """An event from the file, which has its class's name and its fields."""
    if kind == "Compared":
        shifts = tuple(TokenShift(**shift) for shift in fields["shifts"])
        return Compared(shifts, fields["first_difference"])
    event: Event = KINDS[kind](**fields)
    return event


def example(model: str) -> dict[str, Any]:
    """The values of the Ask page's panels with the example in them, by the panel's name, and
    `prompt`; empty for another model than the one that it was recorded with."""
    if model != DEFAULT_MODEL:
        return {}
    said = recorded()
    mixer = with_experts(empty_mixer(), _infos(said["experts"]))
    view = AskView(Controls(prompt=said["prompt"]), mixer, Status("ready", model, ""))
    shown: dict[str, Any] = {}
    for kind, fields in said["events"]:
        event = event_of(kind, fields)
        view.apply(event)
        if isinstance(event, NextTokens):
            shown["next_token"] = {
                "rows": [list(row) for row in event.candidates],
                "kl": event.kl,
                "seconds": event.seconds,
                "left_out": event.left_out,
                "example": True,
            }
    values = view.values()
    made = {key: (view.answered or {})[key] for key in ("prompt", "mixture")}
    shown["next_token"] = {**shown["next_token"], "made": made}
    marked = {name: {**values[name], "example": True} for name in values if name != "mixer"}
    return {
        "prompt": said["prompt"],
        "mixer": values["mixer"],
        **marked,
        **shown,
        "receipt": view.receipt,
    }


def _infos(experts: Sequence[Mapping[str, Any]]) -> tuple[ExpertInfo, ...]:
    """The shipped experts, as far as the sliders say something of them."""
    unknown: dict[str, Any] = {
        "parameters": 0,
        "matrices": 0,
        "base_model": DEFAULT_MODEL,
        "transfer": False,
        "metrics": [],
        "training": {},
        "sha256": "",
    }
    known = [{**unknown, **one, "labels": tuple(one["labels"])} for one in experts]
    return tuple(ExpertInfo(**one) for one in known)
