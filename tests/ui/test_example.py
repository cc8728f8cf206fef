"""The recorded example of a first visit: what it shows, and that the model says the same today."""

import pytest

from t2ui.config import DEFAULT_MODEL, default_experts_dir
from t2ui.ui.ask.example import example


def test_in_the_example_base_is_wrong_and_the_expert_right():
    shown = example(DEFAULT_MODEL)
    texts = {pane: "".join(shown[pane]["pieces"]) for pane in ("base", "adapted")}
    assert texts["adapted"].strip().endswith("30") and texts["base"].strip().endswith("15")
    assert shown["classification"]["chosen"] == "math"
    assert shown["mixer"]["alpha"]["math"] == 1 and shown["adapted"]["first"] is not None
    assert all(shown[name]["example"] for name in ("classification", "base", "adapted"))
    assert shown["next_token"]["made"] == {"prompt": shown["prompt"], "mixture": {"math": 1.0}}


def test_another_model_has_no_example():
    assert example("some/other-model") == {}


@pytest.mark.model
def test_the_example_replays_to_the_same_tokens(default_model):
    from t2ui.inference.two_pass import replay
    from t2ui.svf.library import load_library

    model, tokenizer = default_model
    shown = example(DEFAULT_MODEL)
    experts = load_library(default_experts_dir() / DEFAULT_MODEL).experts
    again = replay(model, tokenizer, shown["receipt"], experts)
    remedy = "record the example anew: .ci/record_example.py"
    assert again.difference is None, f"{again.difference} {remedy}"
    assert again.text == "".join(shown["adapted"]["pieces"]), remedy
    listed = {one["name"]: one["hint"] for one in shown["mixer"]["experts"]}
    assert listed == {name: expert.description for name, expert in experts.items()}, remedy
