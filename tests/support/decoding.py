"""Rows to decode on tiny models, and a model that says what a test wants it to say."""

from contextlib import contextmanager

import pytest
import torch

from t2ui.config import Sampling
from t2ui.inference.decoding import Decoder, Row, generate
from t2ui.svf.adapter import adapt

COUNT = 24


@pytest.fixture
def llama(tiny_llama):
    with adapt(tiny_llama) as adapter:
        yield adapter


@pytest.fixture
def decoder(tiny_llama, tiny_tokenizer, llama):
    return Decoder(tiny_llama, tiny_tokenizer, llama)


def row(key, ids, count=COUNT, scales=None, tail=None, draft=(), **sampling) -> Row:
    return Row(key, ids, scales, Sampling(max_new_tokens=count, **sampling), tail, draft)


def tokens_of(model, tokenizer, adapter, *rows) -> list[list[int]]:
    return [list(c.token_ids) for c in generate(model, tokenizer, rows, adapter)]


@contextmanager
def scripted(model, tokens):
    """Whatever the model computes, it says these tokens, one a forward pass."""
    script = iter(tokens)

    def say(module, args, output):
        found = torch.full_like(output, -50.0)
        found[..., next(script)] = 50.0
        return found

    hook = model.get_output_embeddings().register_forward_hook(say)
    try:
        yield
    finally:
        hook.remove()


def pieces(steps) -> str:
    return "".join(step.text for step in steps)


def run(decoder, collected=None) -> dict:
    """Step to the end; tokens by key."""
    collected = {} if collected is None else collected
    while len(decoder):
        collect(decoder.step(), collected)
    return collected


def collect(steps, collected):
    for step in steps:
        collected.setdefault(step.key, []).append(step.token)
