"""What a training step minimises, as pure functions of log-likelihoods (paper, objective (1)).

J(z) = E[r(ŷ, y) log π′(ŷ|x)] − λ KL(π′ ‖ π), with π′ the adapted policy and π the base model. For
closed answers the expectation is a sum over the options and its gradient exact; for open ones it
is sampled.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from t2ui.errors import InputError


def exact_policy_loss(
    scores: Tensor,  # (O,) log-likelihoods of the options under the adapted model
    rewards: Tensor,  # (O,) in {−1, 1}
    reference: Tensor,  # (O,) the same scores under the base model
    kl_coeff: float,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """−J(z) for one question with closed answers.

    J = Σ_o π′(o) r(o) − λ KL(π′ ‖ π), with π ∝ exp(score / temperature) over the options. Its
    gradient is the REINFORCE gradient E[r ∇ log π′] without sampling noise. Note the direction:
    adapted ‖ base. A policy that is sure of a wrong option has no gradient left; a temperature
    above 1 keeps it exploring, as it does for sampled rollouts.

    Returns:
        loss, expected reward, KL in nats; all of shape ().
    """
    log_policy = (scores / temperature).log_softmax(0)
    log_reference = (reference / temperature).log_softmax(0)
    policy = log_policy.exp()
    reward = (policy * rewards).sum()
    kl = (policy * (log_policy - log_reference)).sum()
    return kl_coeff * kl - reward, reward, kl


def policy_loss(
    scores: Tensor,  # (O,) log π′(ŷ|x) of one prompt's different rollouts
    advantages: Tensor,  # (O,)
    counts: Tensor,  # (O,) how often each was sampled
    size: float,  # G, how many were sampled; those of advantage 0 may be left out above
) -> Tensor:
    """−J(z) for one prompt with sampled rollouts: its gradient is −Σ A ∇ log π′(ŷ|x) / G."""
    return -(counts * advantages.detach() * scores).sum() / size


def advantages(
    rewards: Sequence[Tensor],  # per prompt (O,): of its different rollouts
    counts: Sequence[Tensor],  # per prompt (O,): how often each was sampled
    log_ratios: Sequence[Tensor] | None,  # per prompt (O,): log π′(ŷ|x) − log π(ŷ|x)
    kl_coeff: float,
    baseline: str,
) -> list[Tensor]:
    """r − λ log(π′/π) − b of every rollout of a step.

    Since E[∇ log π′] = 0, ∇ KL(π′ ‖ π) = E[log(π′/π) ∇ log π′]: the leash is a part of the reward.

    Args:
        log_ratios: may be None where `kl_coeff` is 0.
        baseline: "none" (paper); "mean" of the step; "leave_one_out": the mean of the prompt's
            other rollouts.
    """
    returns = [r.clone() for r in rewards]
    if kl_coeff and log_ratios is not None:
        returns = [r - kl_coeff * ratio for r, ratio in zip(returns, log_ratios, strict=True)]
    if baseline == "none":
        return returns
    if baseline == "mean":
        total = sum(float(n.sum()) for n in counts)
        mean = sum(float((n * r).sum()) for n, r in zip(counts, returns, strict=True)) / total
        return [r - mean for r in returns]
    if baseline == "leave_one_out":
        return [
            r - ((n * r).sum() - r) / (n.sum() - 1) for n, r in zip(counts, returns, strict=True)
        ]
    raise InputError(f"baseline is {baseline!r}; expected none, mean or leave_one_out.")


def next_token_loss(score: Tensor, tokens: int) -> Tensor:
    """Mean cross-entropy of a right completion, nats a token (the paper's ablation)."""
    return -score / tokens


def rewards_of(options: int, correct: int) -> Tensor:  # (options,) in {−1, 1}
    """1 for the right option of a closed question, −1 for the others."""
    rewards = torch.full((options,), -1.0)
    rewards[correct] = 1.0
    return rewards
