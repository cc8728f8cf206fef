"""Adapters on the tiny models, random scales for them, and prompts of one length."""

import pytest
from reference import matrix_names, prompt_ids, random_scales
from tiny import ARCHITECTURES

from t2ui.svf.adapter import adapt

UP = "model.layers.0.mlp.up_proj"
IDS = [prompt_ids(11, seed) for seed in range(5)]  # five prompts of one length


def differ(a, b):
    assert (a - b).abs().max() > 0.05, "the scales change nothing: the test would prove nothing"


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture
def model(architecture, request):
    return request.getfixturevalue(f"tiny_{architecture}")


@pytest.fixture
def adapter(model):
    with adapt(model) as adapter:
        yield adapter


@pytest.fixture
def scales(architecture, model):
    return random_scales(model, matrix_names(architecture), seed=1)


@pytest.fixture
def llama(tiny_llama):
    with adapt(tiny_llama) as adapter:
        yield adapter


@pytest.fixture
def z(tiny_llama):
    return random_scales(tiny_llama, matrix_names("llama"), seed=1)
