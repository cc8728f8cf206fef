"""What steps 4 to 6 of Learn show: the worker's own numbers, and one line where there are none."""

import asyncio

import numpy as np
import pytest
from fake_client import FakeClient

from t2ui.messages import Ask, Component, Failed
from t2ui.ui.learn.views import first_pass_view, matrix_view, prompt_place
from t2ui.ui.shared.starters import EVERY_KIND


def matrix(client, **asked):
    return asyncio.run(matrix_view(client, asked))


def test_the_matrix_has_the_worker_s_numbers():
    client = FakeClient(pace=0.0)
    shown = matrix(client, layer=3, module="k_proj", expert="code")
    name = "model.layers.3.self_attn.k_proj"
    (_, event), _ = client._component(Component(name, {"code": 1.0}))
    assert shown["name"] == name and shown["shape"] == [192, 576]
    for key in ("sigma", "z", "captured"):
        assert np.allclose(shown[key], getattr(event, key), atol=1e-5), key
    assert {one["name"] for one in shown["experts"]} == {"code", "math", "reasoning"}
    assert {one["parameters"] for one in shown["experts"]} == {97_920}


@pytest.mark.parametrize(
    "asked", [{}, {"layer": 99, "module": "lm_head", "expert": "<b>"}, {"layer": "3", "module": []}]
)
def test_what_the_browser_gets_wrong_becomes_the_default(asked):
    shown = matrix(FakeClient(pace=0.0), **asked)
    assert shown["name"] == "model.layers.15.mlp.down_proj" and shown["expert"] == "math"


def test_without_a_model_or_an_expert_it_says_so():
    assert matrix(FakeClient(loading=True))["message"] == "The model is still loading."
    assert matrix(FakeClient(names=()))["message"] == "There is no expert to look at."
    client = FakeClient(pace=0.0)
    client._component = lambda request: [(0.0, Failed("No memory.", "Free some."))]
    shown = matrix(client)
    assert (shown["state"], shown["message"], shown["remedy"]) == (
        "failed",
        "No memory.",
        "Free some.",
    )


def test_pass_one_is_read_and_next_to_nothing_answered():
    client = FakeClient(pace=0.0)
    shown = asyncio.run(first_pass_view(client, 1, {}))
    (asked,) = client.requests
    assert isinstance(asked, Ask) and asked.prompt == EVERY_KIND[1][1]
    assert asked.sampling.max_new_tokens == 1 and not asked.compare
    assert shown["place"] == 1 and shown["chosen"] == "code" and shown["state"] == "done"
    assert sum(row["p"] for row in shown["rows"]) == pytest.approx(1)
    client.failure = Failed("No memory.", "Free some.")
    client._ask = lambda request: [(0.0, client.failure)]
    assert asyncio.run(first_pass_view(client, 2, {}))["message"] == "No memory."


def test_a_place_is_one_of_the_prompts():
    assert [prompt_place(one) for one in (2, -1, 7, "1", None, True)] == [2, 0, 0, 0, 0, 0]
