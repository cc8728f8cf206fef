"""What the worker says of the next token, also while an answer streams.

Requests go through the worker's own loop, without a process; test_client.py has the processes.
"""

import pytest
import torch
from serving import alone, one, run, texts

from t2ui.config import Sampling
from t2ui.messages import (
    Ask,
    NextToken,
    NextTokens,
)
from t2ui.models.chat import chat_ids, text_ids
from t2ui.models.likelihood import batched_log_likelihoods
from t2ui.models.questions import Question
from t2ui.svf.mixture import Mixture, mix


def test_next_tokens_are_those_of_both_models(backend):
    event = one(backend, NextToken("Hello", {"math": 1.0}, k=5), NextTokens)
    ids = torch.tensor([chat_ids(backend.tokenizer, "Hello")])
    with torch.no_grad():
        base = backend.model(ids).logits[0, -1].log_softmax(-1).double()
        with backend.adapter.applied(backend._mixed({"math": 1.0}, False)):
            mixed = backend.model(ids).logits[0, -1].log_softmax(-1).double()
    kl = float((mixed.exp() * (mixed - base)).sum())
    assert event.kl == pytest.approx(kl, rel=1e-3) and kl > 0
    assert len(event.candidates) == 5
    larger = [max(b, m) for _, b, m in event.candidates]
    assert larger == sorted(larger, reverse=True)
    top = int(torch.maximum(base, mixed).argmax())
    assert event.candidates[0] == (
        backend.tokenizer.decode([top]),
        pytest.approx(float(base[top].exp()), abs=1e-5),
        pytest.approx(float(mixed[top].exp()), abs=1e-5),
    )


def test_at_alpha_zero_the_next_token_is_the_base_models(backend):
    event = one(backend, NextToken("Hello", {"math": 0.0}), NextTokens)
    assert event.kl == 0 and all(base == mixed for _, base, mixed in event.candidates)


@pytest.mark.parametrize(
    "prompt", ["Which one?\nA) ice\nB) a stone\nC) 7", "Which one: ice, a stone or 7?"]
)
@pytest.mark.parametrize("alpha", [1.0, 0.0])
def test_listed_options_are_scored_as_answers_to_the_question_alone(backend, alpha, prompt):
    """As closed tasks are: the library gives the same chances."""
    event = one(backend, NextToken(prompt, {"math": alpha}), NextTokens)
    tokenizer, adapter = backend.tokenizer, backend.adapter
    ids = tuple(tuple(text_ids(tokenizer, text)) for text in ("ice", "a stone", "7"))
    question = Question(tuple(chat_ids(tokenizer, "Which one?")), ids)
    chances, sums = [], []
    for scales in ({}, mix(backend._experts.library().experts, Mixture({"math": alpha}))):
        with adapter.applied(scales):
            (scores,) = batched_log_likelihoods(backend.model, [question], 512)
        chances.append(scores.softmax(0).tolist())
        sums.append(scores.tolist())
    assert [text for text, _, _ in event.options] == ["ice", "a stone", "7"]
    assert [base for _, base, _ in event.options] == pytest.approx(chances[0], abs=1e-5)
    assert [mixed for _, _, mixed in event.options] == pytest.approx(chances[1], abs=1e-5)
    assert (sums[0] == sums[1]) == (alpha == 0)
    assert one(backend, NextToken("Which one?", {"math": alpha}), NextTokens).options == ()


def test_a_slider_drag_costs_one_forward_a_move(backend):
    run(backend, NextToken("Hello", {"math": 0.5}))
    calls = []
    hook = backend.model.register_forward_hook(lambda *_: calls.append(1))
    for alpha in (0.6, 0.7, 0.8):
        run(backend, NextToken("Hello", {"math": alpha}))
    hook.remove()
    assert len(calls) == 3


def test_a_slider_moves_while_an_answer_streams(backend):
    expected = alone(backend, "Hello", {"code": 1.0}, Sampling(40)).text
    long = Ask("Hello", {"code": 1.0}, sampling=Sampling(40))
    together = run(backend, long, *[NextToken("Other", {"math": a / 10}) for a in range(10)])
    assert texts(together[0])["adapted"] == expected
    for alpha, events in enumerate(together[1:]):
        (single,) = run(backend, NextToken("Other", {"math": alpha / 10}))
        for found, wanted in zip(events[1].candidates, single[1].candidates, strict=True):
            assert found[0] == wanted[0] and found[1:] == pytest.approx(wanted[1:], rel=1e-5)
