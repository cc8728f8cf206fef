"""The Settings popover: how pass one routes, and how answers are decoded."""

from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from t2ui.config import ROUTINGS
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.controls import MAX_NEW_TOKENS, MAX_SEED, MAX_TEMPERATURE, Controls

SCOPE_WORDS = {
    "": "as its experts were trained",
    "all": "all: prompt and answer (paper)",
    "answer": "answer: from the end of the prompt on",
}
ROUTING_WORDS = {"hard": "hard: the likeliest label at 1", "soft": "soft: α = probabilities"}


@dataclass(frozen=True)
class Settings:
    """The popover's components."""

    routing: gr.Radio
    threshold: gr.Slider
    scope: gr.Radio
    normalise: gr.Checkbox
    allow_transfer: gr.Checkbox
    max_new_tokens: gr.Slider
    temperature: gr.Slider
    top_p: gr.Slider
    seed: gr.Number

    @property
    def for_controls(self) -> list[Component]:
        """In the order of `clean_controls`, after prompt, dispatch and mixer; the mixer carries
        `normalise` and `allow_transfer`."""
        return [
            self.routing,
            self.threshold,
            self.scope,
            self.max_new_tokens,
            self.temperature,
            self.top_p,
            self.seed,
        ]


def settings_popover(shared: Shared) -> Settings:
    """A panel that assets/shared/core.js opens beside the button `#settings-open`.

    Normalising and transfers belong to all pages and are rendered here.
    """
    default = Controls()
    with gr.Column(elem_id="settings-panel"):
        gr.HTML("<h2>Answers</h2>", apply_default_css=False)
        max_new_tokens = gr.Slider(
            8,
            MAX_NEW_TOKENS,
            default.sampling.max_new_tokens,
            step=8,
            label="Longest answer, tokens",
            elem_id="max-new-tokens",
        )
        temperature = gr.Slider(
            0,
            MAX_TEMPERATURE,
            default.sampling.temperature,
            step=0.05,
            label="Temperature (0: always the likeliest token)",
            elem_id="temperature",
        )
        with gr.Row():
            top_p = gr.Slider(
                0.05, 1, default.sampling.top_p, step=0.05, label="Top-p", elem_id="top-p"
            )
            seed = gr.Number(
                default.sampling.seed,
                label="Seed",
                precision=0,
                minimum=0,
                maximum=MAX_SEED,
                elem_id="seed",
            )
        gr.HTML("<h2>From pass one to the sliders</h2>", apply_default_css=False)
        routing = gr.Radio(
            [(ROUTING_WORDS[routing], routing) for routing in ROUTINGS],
            value=default.routing,
            label="Routing",
            elem_id="routing",
        )
        threshold = gr.Slider(
            0,
            1,
            default.threshold,
            step=0.05,
            label="Below this probability the base model answers",
            elem_id="threshold",
        )
        scope = gr.Radio(
            [(words, name) for name, words in SCOPE_WORDS.items()],
            value=default.scope,
            label="Tokens that the mixture acts on",
            elem_id="scope",
        )
        shared.normalise.render()
        shared.allow_transfer.render()
    return Settings(
        routing,
        threshold,
        scope,
        shared.normalise,
        shared.allow_transfer,
        max_new_tokens,
        temperature,
        top_p,
        seed,
    )
