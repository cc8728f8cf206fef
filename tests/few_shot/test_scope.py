"""Searching in scope "answer": the base model reads the prompts once, for every member."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_examples
import torch
from reference import random_scales
from tiny_examples import closed_example, open_example, run

from t2ui.config import FewShotConfig, Sampling
from t2ui.errors import InputError
from t2ui.few_shot.adapt import search, tail_of
from t2ui.few_shot.scoring import ExpertBasis, Scorer, answer_log_likelihood
from t2ui.few_shot.search import search_tokens
from t2ui.inference.decoding import Row, generate
from t2ui.models.chat import answer_tail
from t2ui.models.likelihood import option_log_likelihoods
from t2ui.models.running import BaseReading
from t2ui.svf.adapter import adapt
from t2ui.svf.mixture import scope_of

adapter, experts = tiny_examples.adapter, tiny_examples.experts  # fixtures

ROWS = [
    open_example(0),
    closed_example(1),
    closed_example(2, (3, 3), seed=5, correct=0),
    open_example(3, 12, 6, seed=2),
    open_example(4, 2, 3, seed=4),
]


@pytest.fixture
def trained_for_answers(experts):
    return {name: replace(expert, scope="answer") for name, expert in experts.items()}


@pytest.fixture
def reads(tiny_llama, monkeypatch):
    """(rows, tokens) of every forward pass."""
    seen, forward = [], tiny_llama.forward

    def watched(**given):
        seen.append(tuple(given["input_ids"].shape))
        return forward(**given)

    monkeypatch.setattr(tiny_llama, "forward", watched)
    return seen


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3"])
@pytest.mark.parametrize("tail", [1, 5])
@pytest.mark.parametrize("batch_tokens", [1, 60, 4000])
def test_a_population_scores_as_each_member_alone(request, architecture, tail, batch_tokens):
    model = request.getfixturevalue(f"tiny_{architecture}")
    with adapt(model) as adapter:
        members = [random_scales(model, adapter.names, seed, 0.3) for seed in range(3)] + [None]
        scorer = Scorer(adapter, None, FewShotConfig(batch_tokens=batch_tokens), None, tail)
        table = run(scorer.table(members, ROWS))
        again = run(scorer.table(members, ROWS))
        reading = BaseReading(tail, adapter.disabled)
        for m, z in enumerate(members):
            with torch.no_grad(), adapter.applied(z or {}):
                found = option_log_likelihoods(model, [r.question for r in ROWS], reading=reading)
            wanted = [float(answer_log_likelihood(*pair)) for pair in zip(found, ROWS, strict=True)]
            np.testing.assert_allclose(table.likelihood[m], wanted, atol=3e-3)
    np.testing.assert_array_equal(table.likelihood, again.likelihood)


def test_heads_are_read_once_in_a_search(tiny_llama, adapter, reads):
    """Two generations of three members: the first forward pass reads, the others go on from it."""
    members = [random_scales(tiny_llama, adapter.names, seed, 0.3) for seed in range(3)]
    rows = [closed_example(number, (2, 3), seed=number) for number in range(2)]
    scorer = Scorer(adapter, None, FewShotConfig(), None, tail=2)
    run(scorer.table(members, rows))
    head, own = reads[0], (3, sum(2 + 1 + 2 for _ in rows))
    assert head[0] == 1 and reads[1:] == [own]
    run(scorer.table(members, rows))
    assert reads[2:] == [own]
    assert scorer.tokens == head[1] + 2 * 3 * own[1] and scorer.forward_passes == 3


@pytest.mark.parametrize("generated", [False, True])
def test_generated_answers_are_those_of_each_member_alone(
    tiny_llama, tiny_tokenizer, adapter, generated
):
    members = [random_scales(tiny_llama, adapter.names, seed, 0.5) for seed in range(3)] + [None]
    rows = [open_example(0, 9), open_example(1, 14, seed=1), open_example(2, 14, seed=2)]
    config = FewShotConfig("cem", "reward", max_new_tokens=6)
    said = []
    scorer = Scorer(adapter, tiny_tokenizer, config, lambda text, _: not said.append(text), tail=3)
    for _ in range(1 + generated):  # the second time what was read is kept
        said.clear()
        run(scorer.table(members, rows))
        alone = [
            generate(
                tiny_llama,
                tiny_tokenizer,
                [Row(0, row.question.prompt, member, Sampling(6), 3)],
                adapter,
            )[0].text
            for row in rows
            for member in members
        ]
        assert sorted(said) == sorted(alone)


def test_the_second_generation_reads_no_prompt(tiny_llama, tiny_tokenizer, adapter, reads):
    members = [random_scales(tiny_llama, adapter.names, seed, 0.5) for seed in range(2)]
    rows = [open_example(0, 12), open_example(1, 17, seed=1)]
    config = FewShotConfig("cem", "reward", max_new_tokens=2)
    scorer = Scorer(adapter, tiny_tokenizer, config, lambda *_: True, tail=3)
    run(scorer.table(members, rows))
    first, reads[:] = list(reads), []
    run(scorer.table(members, rows))
    assert sum(n * tokens for n, tokens in first) > sum(n * tokens for n, tokens in reads)
    assert reads[0] == (4, 3), "the tails, of every member and prompt"


@pytest.mark.parametrize("method", ["cem", "gradient"])
def test_a_search_finds_a_mixture_of_that_scope_and_costs_what_was_said(
    tiny_llama, tiny_tokenizer, adapter, trained_for_answers, method
):
    config = FewShotConfig(method, population=5, generations=3, held_out=0.0, floor=0.0)
    rows = [closed_example(number, (2, 3), seed=number) for number in range(4)]
    *_, found = search(adapter, tiny_tokenizer, rows, trained_for_answers, config)
    assert scope_of(found.mixture, trained_for_answers) == "answer"
    tail = tail_of(tiny_tokenizer, trained_for_answers, config)
    assert tail == answer_tail(tiny_tokenizer)
    assert found.tokens == search_tokens(rows, config, len(trained_for_answers), tail)
    everywhere = replace(config, scope="all")
    assert tail_of(tiny_tokenizer, trained_for_answers, everywhere) is None


def test_the_gradient_is_that_of_the_likelihood(tiny_llama, adapter, experts):
    """By finite differences along one direction."""
    basis = ExpertBasis(adapter, experts)
    rows = ROWS[:3]
    scorer = Scorer(adapter, None, FewShotConfig(), None, tail=2)
    alpha = torch.tensor([[0.4, 0.2, 0.1]])
    z = basis.mixed(alpha)[0]
    value, gradient = run(scorer.gradient(basis, z, rows))
    direction = basis.offsets[1]
    step = 1e-2
    ends = [
        run(scorer.table([basis.scales(z + sign * step * direction)], rows)).likelihood.mean()
        for sign in (1, -1)
    ]
    assert value == pytest.approx(
        run(scorer.table([basis.scales(z)], rows)).likelihood.mean(), abs=1e-4
    )
    slope = float(gradient @ direction)
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.05, abs=1e-3)


def test_scope_answer_without_a_tokenizer_says_what_to_do(trained_for_answers, experts):
    with pytest.raises(InputError, match="needs the model's tokenizer: give one, or choose scope"):
        tail_of(None, trained_for_answers, FewShotConfig())
    assert tail_of(None, experts, FewShotConfig()) is None


def test_experts_of_two_scopes_are_mixed_as_in_the_paper(tiny_tokenizer, experts):
    mixed = dict(experts)
    first = next(iter(mixed))
    mixed[first] = replace(mixed[first], scope="answer")
    assert tail_of(tiny_tokenizer, mixed, FewShotConfig()) is None
