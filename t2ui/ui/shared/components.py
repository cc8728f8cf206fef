"""The components that every page is handed, because no page owns them alone."""

import json
import uuid
from dataclasses import dataclass
from typing import Any

import gradio as gr

from t2ui.catalogue import DISPATCHERS, NO_DISPATCH
from t2ui.messages import Experts, Failed
from t2ui.ui.shared.examples import BLANK, table_of
from t2ui.ui.shared.listen import Client
from t2ui.ui.shared.mixture import BOUNDS, empty_mixer
from t2ui.ui.shared.panel import panel
from t2ui.workshop.file import Plan


@dataclass(frozen=True)
class Shared:
    """The worker, the app under construction, and what any page may read, move or follow.

    All but `library` stand on the Ask page, `examples` on Adapt, which render them; another page
    moves them by naming them as outputs. A page that offers experts listens to `library.change`,
    which fires whenever the experts were listed.
    """

    client: Client
    demo: gr.Blocks
    public: bool  # what a visitor saves is the session's own, and ends with it
    workshop: Plan | None  # what the teacher has written
    prompt: gr.Textbox  # the question
    dispatch: gr.Radio  # pass one: a key of catalogue.DISPATCHERS
    mixer: gr.HTML  # the sliders; its value is packed, see `shared.mixture`
    normalise: gr.Checkbox  # a checkbox
    allow_transfer: gr.Checkbox  # a checkbox
    examples: gr.HTML  # a table; its value is packed, see `shared.examples`
    library: gr.State  # see `library_of`


def make_shared(
    client: Client, demo: gr.Blocks, public: bool = False, workshop: Plan | None = None
) -> Shared:
    """The shared components, not yet rendered. To be called inside `demo`."""
    return Shared(
        client=client,
        demo=demo,
        public=public,
        workshop=workshop,
        prompt=gr.Textbox(
            placeholder="Ask something, or start from one of the prompts below. Enter asks, "
            "Shift+Enter begins a new line.",
            lines=1,
            max_lines=12,
            show_label=False,
            container=False,
            elem_id="prompt",
            render=False,
        ),
        dispatch=gr.Radio(
            list(DISPATCHERS),
            value=None,  # until the worker has said what it would choose (start.py)
            label="Dispatcher",
            container=False,
            elem_id="dispatch-mode",
            render=False,
        ),
        mixer=panel(
            "mixer",
            empty_mixer(workshop.presets if workshop else {}),
            "mixer",
            {"bounds": json.dumps(BOUNDS), "manual": NO_DISPATCH},
            render=False,
        ),
        normalise=gr.Checkbox(
            False, label="Normalise: divide the α by their sum", elem_id="normalise", render=False
        ),
        allow_transfer=gr.Checkbox(
            False,
            label="Allow transfers: experts made for another model",
            elem_id="allow-transfer",
            render=False,
        ),
        examples=panel("examples", table_of(BLANK), "adapt-examples", render=False),
        library=gr.State(no_library()),
    )


def no_library() -> dict[str, Any]:
    """The library's value before the experts are known, or where they cannot be listed."""
    return {"modules": [], "layers": 0}


def library_of(found: Experts | Failed) -> dict[str, Any]:
    """The library's value after the experts were listed: what the model has to look at.

    The stamp makes every listing a new value, so that `library.change` fires.
    """
    known = no_library()
    if isinstance(found, Experts):
        known = {"modules": list(found.modules), "layers": found.layers}
    return {**known, "stamp": uuid.uuid4().hex}
