"""Protocols and outcomes against values worked out elsewhere."""

import math

import pytest
import torch
from reference import log_likelihood, prompt_ids, random_scales, rewritten
from scores import option_scores, right_by

from t2ui.config import Sampling
from t2ui.evaluation.measure import sample
from t2ui.evaluation.statistics import (
    expected_calibration_error,
    mean_negative_log_likelihood,
)
from t2ui.inference.decoding import Row, generate
from t2ui.models.questions import Question
from t2ui.svf.adapter import adapt
from t2ui.tasks import Example, Task
from t2ui.tasks.answering import greedy_scores, greedy_texts


def make_row(key: str, correct: int = 0, lengths=(3, 3), sizes=(3, 5), seed=0) -> Example:
    options = tuple(tuple(prompt_ids(n, seed + i)) for i, n in enumerate(sizes))
    return Example(key, Question(tuple(prompt_ids(6, seed)), options), correct, lengths)


def test_expected_calibration_error_is_the_mean_gap_of_confidence_and_accuracy():
    """Worked out by hand: three in the bin (8/15, 9/15], two in the last."""
    confidences = [0.55, 0.57, 0.59, 0.95, 1.0]
    right = [True, False, False, True, True]
    first, last = abs(1 - (0.55 + 0.57 + 0.59)), abs(2 - 1.95)
    assert expected_calibration_error(confidences, right) == pytest.approx((first + last) / 5)
    assert expected_calibration_error([0.7] * 10, [True] * 7 + [False] * 3) == pytest.approx(0)
    assert expected_calibration_error([1.0, 1.0], [False, False]) == 1
    assert expected_calibration_error([0.0], [False]) == 0
    assert expected_calibration_error([], []) == 0


def test_the_mean_negative_log_likelihood_is_in_nats_and_always_finite():
    assert mean_negative_log_likelihood([0.5, 0.25]) == pytest.approx(1.5 * math.log(2))
    assert mean_negative_log_likelihood([1.0]) == 0
    assert 700 < mean_negative_log_likelihood([0.0]) < 710


def test_protocols_compare_sums_and_sums_per_byte():
    """The long option loses by sum and wins by byte, as in lm-evaluation-harness' acc_norm."""
    rows = [make_row("a", correct=1, lengths=(4, 20)), make_row("b", correct=0, lengths=(4, 4))]
    scores = {"a": torch.tensor([-6.0, -20.0]), "b": torch.tensor([-6.0, -20.0])}
    assert right_by(rows, scores, "sum") == [False, True]
    assert right_by(rows, scores, "byte") == [True, True]


@pytest.mark.parametrize("batch_tokens", [1, 30, 2000])
def test_option_scores_under_base_and_scales(tiny_qwen2, batch_tokens):
    rows = [make_row(str(i), sizes=(2 + i, 4), seed=3 * i) for i in range(4)]
    with adapt(tiny_qwen2) as adapter:
        scales = random_scales(tiny_qwen2, adapter.names, seed=1)
        for z in ({}, scales):
            found = option_scores(adapter, rows, z, batch_tokens)
            model = rewritten(tiny_qwen2, z)
            for row in rows:
                wanted = [
                    log_likelihood(model, row.question.prompt, o) for o in row.question.options
                ]
                torch.testing.assert_close(found[row.id], torch.stack(wanted), atol=3e-3, rtol=1e-3)
        assert all(linear.run == linear.base for linear in adapter.linears.values())


@pytest.mark.parametrize("batch_rows", [1, 4, 32])
def test_open_answers_are_the_greedy_ones_in_the_examples_order(
    tiny_llama, tiny_tokenizer, batch_rows
):
    """Whoever they are decoded with, and although they are decoded by length."""
    rows = [
        Example(str(i), Question(tuple(prompt_ids(3 + 5 * i % 7, i)), ((5,),)), answer=str(i))
        for i in range(9)
    ]
    task = Task("t", (), (), grade=lambda text, answer: answer in "24", max_new_tokens=12)
    with adapt(tiny_llama) as adapter:
        scales = random_scales(tiny_llama, adapter.names, seed=1)
        for z in ({}, scales):
            with adapter.applied(z, "merged"):
                found = dict(greedy_texts(tiny_llama, tiny_tokenizer, task, rows, batch_rows))
                right = greedy_scores(tiny_llama, tiny_tokenizer, task, rows, batch_rows)
            alone = [
                generate(
                    tiny_llama,
                    tiny_tokenizer,
                    [Row(0, row.question.prompt, z, Sampling(task.max_new_tokens))],
                    adapter,
                )[0].text
                for row in rows
            ]
            assert [found[i] for i in range(9)] == alone
            assert right == [i in (2, 4) for i in range(9)]
        assert all(linear.run == linear.base for linear in adapter.linears.values())


def test_a_sample_is_the_same_for_everybody():
    rows = [make_row(str(i)) for i in range(30)]
    first = sample(rows, 10, seed=4)
    assert first == sample(rows, 10, seed=4)
    assert first != sample(rows, 10, seed=5)
    assert first == sample(rows, 20, seed=4)[:10]
    assert len({r.id for r in first}) == 10
    assert len(sample(rows, None, seed=4)) == 30
