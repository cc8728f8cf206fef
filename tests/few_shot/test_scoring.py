"""Scores of a population in one batch, against weights rewritten one by one."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_examples
import torch
from reference import log_likelihood, random_scales, rewritten
from tiny_examples import closed_example, open_example, run

from t2ui.config import FewShotConfig, Sampling
from t2ui.few_shot.scoring import ExpertBasis, Scorer, ScoreTable, answer_log_likelihood
from t2ui.inference.decoding import Row, generate
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, mix

adapter, experts = tiny_examples.adapter, tiny_examples.experts  # fixtures


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3"])
@pytest.mark.parametrize("batch_tokens", [1, 60, 4000])
def test_a_population_in_one_batch_scores_as_weights_rewritten_one_by_one(
    request, architecture, batch_tokens
):
    """The authors' way beside ours: every member's W′ written into a model of its own."""
    model = request.getfixturevalue(f"tiny_{architecture}")
    rows = [
        open_example(0),
        closed_example(1),
        closed_example(2, (3, 3), seed=5, correct=0),
        open_example(3, 12, 6, seed=2),
    ]
    with adapt(model) as adapter:
        members = [random_scales(model, adapter.names, seed, 0.3) for seed in range(3)] + [None]
        scorer = Scorer(adapter, None, FewShotConfig(batch_tokens=batch_tokens), None)
        table = run(scorer.table(members, rows))
    for m, z in enumerate(members):
        other = rewritten(model, z or {})
        for e, row in enumerate(rows):
            scores = torch.stack(
                [log_likelihood(other, row.question.prompt, o) for o in row.question.options]
            )
            assert table.likelihood[m, e] == pytest.approx(
                float(answer_log_likelihood(scores, row)), abs=3e-3
            )
            if len(scores) > 1:
                assert table.right[m, e] == (int(scores.argmax()) == row.correct)
            else:
                assert np.isnan(table.right[m, e])
    assert scorer.tokens == len(members) * sum(row.question.tokens for row in rows)
    assert scorer.forward_passes == (16 if batch_tokens == 1 else scorer.forward_passes)


def test_an_open_answer_counts_per_token_and_a_closed_one_among_its_options():
    one = replace(open_example(0, answer=4))
    assert answer_log_likelihood(torch.tensor([-6.0]), one) == -1.5
    two = closed_example(1, (2, 2), correct=1)
    found = answer_log_likelihood(torch.tensor([-3.0, -3.0]), two)
    assert float(found) == pytest.approx(np.log(0.5))


def test_open_rewards_are_those_of_every_member_generating_alone(
    adapter, tiny_llama, tiny_tokenizer, experts
):
    def right(text, answer):
        return len(text.encode()) % 2 == int(answer)

    rows = [replace(open_example(i, 4 + i, seed=i), answer=str(i % 2)) for i in range(4)]
    rows.append(closed_example(9))
    members = [None, *(e.scales for e in experts.values())]
    config = FewShotConfig(objective="reward", max_new_tokens=5, batch_rows=3)
    table = run(Scorer(adapter, tiny_tokenizer, config, right).table(members, rows))
    assert not np.isnan(table.right).any()
    assert {0.0, 1.0} == set(table.right[:, :4].ravel())
    for m, z in enumerate(members):
        model = rewritten(tiny_llama, z or {})
        for e, row in enumerate(rows[:4]):
            one = Row(0, row.question.prompt, z, Sampling(max_new_tokens=5))
            (alone,) = generate(tiny_llama, tiny_tokenizer, [one], adapter)
            assert table.right[m, e] == right(alone.text, row.answer)
            if table.right[m, e]:
                own = log_likelihood(model, row.question.prompt, alone.token_ids)
                mean = float(own) / len(alone.token_ids)
                assert table.own[m, e] == pytest.approx(mean, abs=2e-3)
            else:
                assert np.isnan(table.own[m, e])
    assert np.isnan(table.likelihood[:, :4]).all()  # not asked for


def test_rewards_come_first_and_their_own_likelihood_breaks_ties():
    right = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]], dtype=float)
    own = np.where(right == 1, [[-1.0], [-0.5], [-9.0], [0.0]], np.nan)
    table = ScoreTable(np.full((4, 3), -2.0), right, own)
    scores = table.searched("reward")
    assert list(np.argsort(-scores)) == [2, 1, 0, 3]
    assert scores[0] == pytest.approx(2 / 3 + np.exp(-1) / 3)
    assert scores[3] == 0
    np.testing.assert_allclose(table.reported("reward"), [2 / 3, 2 / 3, 1, 0])
    np.testing.assert_allclose(table.reported("likelihood"), -2.0)
    np.testing.assert_allclose(table.searched("both"), right.mean(1) - 2)


@pytest.mark.parametrize("per_layer", [False, True])
def test_a_blend_is_the_mixture(adapter, experts, per_layer):
    partial = {n: z for n, z in experts["code"].scales.items() if "mlp" in n}
    used = {**experts, "code": Expert("code", partial)}
    random = np.random.default_rng(0)
    members = random.uniform(-1, 2, (4, 3, 2) if per_layer else (4, 3)).astype(np.float32)
    basis = ExpertBasis(adapter, used)
    mixed = basis.mixed(torch.tensor(members))
    for member, z in zip(members, mixed, strict=True):
        weights = {n: tuple(a) if per_layer else a for n, a in zip(used, member, strict=True)}
        wanted = mix(used, Mixture(weights))
        found = basis.scales(z)
        assert found.keys() == wanted.keys()
        for name in wanted:
            torch.testing.assert_close(found[name], wanted[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch_tokens", [30, 4000])
def test_the_gradient_is_the_slope_of_the_likelihood(adapter, experts, batch_tokens):
    rows = [open_example(0), closed_example(1), open_example(2, 9, 5, seed=3)]
    scorer = Scorer(adapter, None, FewShotConfig(batch_tokens=batch_tokens), None)
    basis = ExpertBasis(adapter, experts)
    alpha = torch.tensor([[0.4, 0.1, 0.3]])
    value, gradient = run(scorer.gradient(basis, basis.mixed(alpha)[0], rows))
    assert not any(p.grad is not None for p in adapter.model.parameters())
    steps = torch.cat([alpha, alpha + 0.01 * torch.eye(3), alpha - 0.01 * torch.eye(3)])
    members = [basis.scales(z) for z in basis.mixed(steps)]
    scores = run(scorer.table(members, rows)).reported("likelihood")
    assert value == pytest.approx(scores[0], abs=1e-4)
    slopes = (scores[1:4] - scores[4:]) / 0.02
    np.testing.assert_allclose(basis.offsets @ gradient, slopes, rtol=0.03, atol=0.01)
