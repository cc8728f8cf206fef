"""The exact objective, an expectation over a question's options, against its definition."""

import math

import pytest
import torch

from t2ui.training.objectives.exact import exact_policy_loss


def test_loss_worked_out_by_hand():
    """π′ = (1/4, 3/4), π = (1/2, 1/2), r = (1, −1), λ = 0.5."""
    scores, reference = torch.tensor([1.0, 3.0]).log(), torch.tensor([5.0, 5.0])
    loss, reward, kl = exact_policy_loss(scores, torch.tensor([1.0, -1.0]), reference, 0.5)
    assert reward.item() == pytest.approx(0.25 - 0.75)
    assert kl.item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert loss.item() == pytest.approx(0.5 * kl.item() + 0.5)


def test_temperature_flattens_both_policies():
    scores, reference = torch.tensor([1.0, 9.0]).log(), torch.tensor([4.0, 1.0]).log()
    _, reward, kl = exact_policy_loss(scores, torch.tensor([1.0, -1.0]), reference, 0.5, 2.0)
    assert reward.item() == pytest.approx(0.25 - 0.75)  # square roots: 1 to 3, and 2 to 1
    assert kl.item() == pytest.approx(
        0.25 * math.log(0.25 / (2 / 3)) + 0.75 * math.log(0.75 / (1 / 3))
    )


def test_the_kl_is_zero_at_the_base_and_is_from_adapted_to_base():
    rewards, base = torch.tensor([1.0, -1.0, -1.0]), torch.tensor([0.5, -1.0, 2.0])
    assert exact_policy_loss(base + 3, rewards, base, 1.0)[2].item() == pytest.approx(0, abs=1e-6)
    other = torch.tensor([3.0, 0.0, 0.0])
    forward = exact_policy_loss(other, rewards, base, 1.0)[2]
    backward = exact_policy_loss(base, rewards, other, 1.0)[2]
    ratio = other.log_softmax(0) - base.log_softmax(0)
    torch.testing.assert_close(forward, (other.softmax(0) * ratio).sum())
    assert abs(forward - backward) > 0.1


def objective_cases():
    random = torch.Generator().manual_seed(0)
    for options in (2, 3, 5):
        for kl_coeff in (0.0, 0.1, 2.0):
            for temperature in (1.0, 3.0):
                scores, base = 2 * torch.randn(2, options, generator=random, dtype=torch.float64)
                rewards = -torch.ones(options, dtype=torch.float64)
                rewards[options // 2] = 1
                yield scores, rewards, base, kl_coeff, temperature


@pytest.mark.parametrize("case", list(objective_cases()))
def test_gradient_is_the_reinforce_expectation_less_the_kl_penalty(case):
    """∇J = E[r ∇log π′] − λ ∇KL, each expectation taken as a sum over the options."""
    scores, rewards, base, kl_coeff, temperature = case

    def log_policy(s):
        return (s / temperature).log_softmax(0)

    policy, log_base = log_policy(scores).exp(), log_policy(base)
    grad_log = torch.autograd.functional.jacobian(log_policy, scores)  # (O, O): ∇ log π′(o)
    reinforce = (policy * rewards) @ grad_log
    penalty = (policy * (log_policy(scores) - log_base)) @ grad_log  # E[∇ log π′] is zero
    leaf = scores.clone().requires_grad_(True)
    loss, _, _ = exact_policy_loss(leaf, rewards, base, kl_coeff, temperature)
    loss.backward()
    torch.testing.assert_close(-leaf.grad, reinforce - kl_coeff * penalty)


def test_gradient_is_what_sampled_reinforce_tends_to():
    scores, rewards = torch.tensor([0.3, -0.5, 1.0]), torch.tensor([1.0, -1.0, -1.0])
    leaf = scores.clone().requires_grad_(True)
    exact_policy_loss(leaf, rewards, torch.zeros(3), 0.0)[0].backward()
    policy = scores.softmax(0)
    drawn = torch.multinomial(policy, 200_000, True, generator=torch.Generator().manual_seed(0))
    sampled = (rewards[drawn][:, None] * (torch.eye(3)[drawn] - policy)).mean(0)
    torch.testing.assert_close(-leaf.grad, sampled, atol=5e-3, rtol=0)
