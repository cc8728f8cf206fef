"""Intervals, paired tests and protocols against values worked out elsewhere."""

import pytest
import torch
from reference import log_likelihood, matrix_names, prompt_ids, random_scales, rewritten

from t2ui.adapter import adapt
from t2ui.evaluate import (
    compare_closed,
    dispatch_table,
    option_scores,
    paired_p,
    right_by,
    sample,
    wilson,
)
from t2ui.expert import Expert
from t2ui.likelihood import Question
from t2ui.tasks import Example


def make_row(key: str, correct: int = 0, lengths=(3, 3), sizes=(3, 5), seed=0) -> Example:
    options = tuple(tuple(prompt_ids(n, seed + i)) for i, n in enumerate(sizes))
    return Example(key, Question(tuple(prompt_ids(6, seed)), options), correct, lengths)


@pytest.mark.parametrize(
    ("right", "n", "interval"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0000, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (20, 20, (0.8389, 1.0)),
        (0, 0, (0.0, 1.0)),
    ],
)
def test_wilson_interval(right, n, interval):
    assert wilson(right, n) == pytest.approx(interval, abs=6e-5)
    assert all(0 <= bound <= 1 for bound in wilson(right, n))


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [
        (9, 1, 2 * (1 + 10) / 1024),
        (1, 9, 2 * (1 + 10) / 1024),
        (5, 0, 2 / 32),
        (8, 2, 2 * (1 + 10 + 45) / 1024),
        (3, 3, 1.0),
        (1, 1, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_is_the_exact_two_sided_binomial_test(won, lost, p):
    base = [False] * won + [True] * lost + [True] * 7 + [False] * 4
    adapted = [True] * won + [False] * lost + [True] * 7 + [False] * 4
    assert paired_p(base, adapted) == pytest.approx(p)


def test_paired_rows_must_pair():
    with pytest.raises(ValueError):
        paired_p([True], [True, False])


def test_protocols_compare_sums_and_sums_per_byte():
    """The long option loses by sum and wins by byte, as in lm-evaluation-harness' acc_norm."""
    rows = [make_row("a", correct=1, lengths=(4, 20)), make_row("b", correct=0, lengths=(4, 4))]
    scores = {"a": torch.tensor([-6.0, -20.0]), "b": torch.tensor([-6.0, -20.0])}
    assert right_by(rows, scores, "sum") == [False, True]
    assert right_by(rows, scores, "byte") == [True, True]


@pytest.mark.parametrize("batch_tokens", [1, 30, 2000])
def test_option_scores_under_base_and_scales(tiny_qwen2, batch_tokens):
    rows = [make_row(str(i), sizes=(2 + i, 4), seed=3 * i) for i in range(4)]
    seen = []
    with adapt(tiny_qwen2) as adapter:
        scales = random_scales(tiny_qwen2, adapter.names, seed=1)
        for z in ({}, scales):
            seen.clear()
            found = option_scores(adapter, rows, z, batch_tokens, seen.append)
            assert sum(seen) == 4
            model = rewritten(tiny_qwen2, z)
            for row in rows:
                wanted = [
                    log_likelihood(model, row.question.prompt, o) for o in row.question.options
                ]
                torch.testing.assert_close(
                    found[row.id], torch.stack(wanted), atol=3e-3, rtol=1e-3
                )
        assert all(linear.run == linear.base for linear in adapter.linears.values())


def test_compare_closed_says_how_base_and_expert_do(tiny_llama):
    rows = [make_row(str(i), i % 2, (3, 4), sizes=(3, 3), seed=2 * i) for i in range(12)]
    scales = random_scales(tiny_llama, matrix_names("llama"), seed=1, spread=1.0)
    with adapt(tiny_llama) as adapter:
        records = compare_closed(adapter, rows, Expert("e", scales), "a set")
        before = right_by(rows, option_scores(adapter, rows, {}), "byte")
        after = right_by(rows, option_scores(adapter, rows, scales), "byte")
    assert before != after
    assert [r["protocol"] for r in records] == ["sum", "byte"]
    record = records[1]
    assert (record["set"], record["n"]) == ("a set", 12)
    assert record["base"] == round(sum(before) / 12, 4)
    assert record["expert"] == round(sum(after) / 12, 4)
    assert record["interval"] == [round(b, 4) for b in wilson(sum(after), 12)]
    assert record["base_interval"] == [round(b, 4) for b in wilson(sum(before), 12)]
    assert record["p"] == pytest.approx(paired_p(before, after), rel=0.05)


class FakeDispatcher:
    """Says `code` to prompts with a brace, `math` to the others."""

    def classify(self, prompt, labels, expert):
        self.asked = labels, expert
        return type("Found", (), {"label": "code" if "{" in prompt else "math"})


def test_dispatch_table_counts_misroutes_by_family():
    prompts = [
        ("math", "sums", "1 + 1"),
        ("math", "sums", "{1} + 1"),
        ("others", "chat", "hello"),
        ("code", "programs", "{}"),
    ]
    dispatcher = FakeDispatcher()
    records = dispatch_table(dispatcher, prompts, ("math", "code", "others"), None)
    assert dispatcher.asked == (("math", "code", "others"), None)
    assert [(r["set"], r["n"], r["misroutes"]) for r in records] == [
        ("sums", 2, 0.5),
        ("chat", 1, 1.0),
        ("programs", 1, 0.0),
        ("all", 4, 0.5),
    ]
    assert records[0]["confusion"] == {"math": {"math": 1, "code": 1}}
    assert records[-1]["confusion"] == {
        "math": {"math": 1, "code": 1},
        "others": {"math": 1},
        "code": {"code": 1},
    }
    assert records[-1]["interval"] == [round(b, 4) for b in wilson(2, 4)]


def test_a_sample_is_the_same_for_everybody():
    rows = [make_row(str(i)) for i in range(30)]
    first = sample(rows, 10, seed=4)
    assert first == sample(rows, 10, seed=4)
    assert first != sample(rows, 10, seed=5)
    assert first == sample(rows, 20, seed=4)[:10]
    assert len({r.id for r in first}) == 10
    assert len(sample(rows, None, seed=4)) == 30
