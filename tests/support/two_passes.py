"""Experts of a tiny model, answers to one prompt with them, and what has to stay as it was."""

import pytest
import torch
from reference import greedy, logits, matrix_names, prompt_ids, random_scales, rewritten

from t2ui.config import Sampling
from t2ui.inference.two_pass import two_pass_infer
from t2ui.models.chat import chat_ids
from t2ui.svf.adapter import attached
from t2ui.svf.expert import Expert

PROMPT = "What is 7 + 5?"
SHORT = Sampling(max_new_tokens=12)


def experts_for(model, names, dispatcher=False, **details) -> dict[str, Expert]:
    found = {
        name: Expert(name, random_scales(model, names, seed, spread=0.5), **details)
        for seed, name in enumerate(("math", "code"), start=1)
    }
    if dispatcher:
        found["dispatch"] = Expert(
            "dispatch",
            random_scales(model, names, 3, spread=0.3),
            objective="dispatch",
            labels=("code", "math", "others"),
        )
    return found


@pytest.fixture
def experts(tiny_llama):
    return experts_for(tiny_llama, matrix_names("llama"))


@pytest.fixture
def with_dispatcher(tiny_llama):
    return experts_for(tiny_llama, matrix_names("llama"), dispatcher=True)


def infer(model, tokenizer, experts, **settings):
    return two_pass_infer(model, tokenizer, PROMPT, experts, **{"sampling": SHORT, **settings})


def plain(model, tokenizer, scales=None, count=12) -> tuple[int, ...]:
    return tuple(greedy(rewritten(model, scales or {}), chat_ids(tokenizer, PROMPT), count))


def assert_untouched(model, before):
    state, output = before
    assert attached(model) is None
    assert not any("forward" in vars(module) for module in model.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(logits(model, prompt_ids(7)), output)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.fixture
def untouched(tiny_llama):
    """The model's weights and output before the test; checked again after it."""
    before = (
        {n: t.clone() for n, t in tiny_llama.state_dict().items()},
        logits(tiny_llama, prompt_ids(7)),
    )
    yield before
    assert_untouched(tiny_llama, before)
