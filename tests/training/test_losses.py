"""Sampled objectives against hand computations and against the exact gradient."""

import math

import pytest
import torch

from t2ui.catalogue import BASELINES, chosen
from t2ui.errors import InputError
from t2ui.training.objectives.next_token import next_token_loss
from t2ui.training.objectives.sampled import (
    advantages,
    less_leave_one_out,
    less_mean,
    policy_loss,
    without_baseline,
)

REWARDS = [torch.tensor([1.0, -1.0]), torch.tensor([-1.0])]
COUNTS = [torch.tensor([1.0, 3.0]), torch.tensor([4.0])]


def test_without_a_baseline_the_reward_is_the_advantage():
    found = advantages(REWARDS, COUNTS, None, 0.0, without_baseline)
    assert [a.tolist() for a in found] == [[1.0, -1.0], [-1.0]]


def test_the_mean_counts_every_rollout():
    """One right of eight: the mean is −0.75."""
    found = advantages(REWARDS, COUNTS, None, 0.0, less_mean)
    assert [a.tolist() for a in found] == [[1.75, -0.25], [-0.25]]


def test_leave_one_out_worked_by_hand():
    """1 against three −1: 2. −1 against 1, −1, −1: −1 + 1/3. All alike: 0."""
    found = advantages(REWARDS, COUNTS, None, 0.0, less_leave_one_out)
    assert found[0].tolist() == pytest.approx([2.0, -1 + 1 / 3])
    assert found[1].tolist() == [0.0]


def test_leave_one_out_is_zero_on_average():
    found = advantages(REWARDS, COUNTS, None, 0.0, less_leave_one_out)
    for advantage, count in zip(found, COUNTS, strict=True):
        assert float((advantage * count).sum()) == pytest.approx(0.0, abs=1e-6)


def test_the_kl_penalty_lowers_what_the_adapted_model_likes_more_than_the_base():
    ratios = [torch.tensor([2.0, 0.0]), torch.tensor([-1.0])]
    found = advantages(REWARDS, COUNTS, ratios, 0.5, without_baseline)
    assert [a.tolist() for a in found] == [[0.0, -1.0], [-0.5]]


def test_an_unknown_baseline():
    with pytest.raises(
        InputError, match="no baseline 'best'; there are: none, mean, leave_one_out"
    ):
        chosen("baseline", "best", BASELINES)


def test_policy_loss_worked_by_hand():
    scores = torch.tensor([-1.0, -2.0], requires_grad=True)
    loss = policy_loss(scores, torch.tensor([2.0, -0.5]), torch.tensor([1.0, 3.0]), 4)
    assert loss.item() == pytest.approx(-(1 * 2 * -1 + 3 * -0.5 * -2) / 4)
    loss.backward()
    assert scores.grad.tolist() == pytest.approx([-2 / 4, 1.5 / 4])


@pytest.mark.parametrize("baseline", [without_baseline, less_mean, less_leave_one_out])
def test_the_sampled_gradient_tends_to_the_exact_one_with_its_kl_penalty(baseline):
    """Over many prompts with the same policy over three answers, for every baseline."""
    logits = torch.tensor([0.3, -0.5, 1.0])
    base = torch.tensor([0.0, 0.5, 0.2])
    reward, kl_coeff, group, prompts = torch.tensor([1.0, -1.0, -1.0]), 0.3, 4, 40_000
    leaf = logits.clone().requires_grad_(True)
    log_policy = leaf.log_softmax(0)
    kl = (log_policy.exp() * (log_policy - base.log_softmax(0))).sum()
    (kl_coeff * kl - (log_policy.exp() * reward).sum()).backward()

    drawn = torch.multinomial(
        logits.softmax(0).expand(prompts, 3),
        group,
        True,
        generator=torch.Generator().manual_seed(0),
    )
    counts = torch.nn.functional.one_hot(drawn, 3).sum(1).float()
    ratio = logits.log_softmax(0) - base.log_softmax(0)
    found = advantages([reward] * prompts, list(counts), [ratio] * prompts, kl_coeff, baseline)
    sampled = logits.clone().requires_grad_(True)
    scores = sampled.log_softmax(0)
    weights = torch.stack(found) * counts / group  # what policy_loss sums, for all at once
    assert policy_loss(scores, found[0], counts[0], group).item() == pytest.approx(
        -(weights[0] * scores).sum().item(), abs=1e-6
    )
    (-(weights * scores).sum() / prompts).backward()
    torch.testing.assert_close(sampled.grad, leaf.grad, atol=0.012, rtol=0)


def test_next_token_loss_is_the_mean_cross_entropy():
    assert next_token_loss(torch.tensor(math.log(0.5) * 4), 4).item() == pytest.approx(math.log(2))
