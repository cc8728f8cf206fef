"""The exact policy gradient on closed answers (paper, section 3.1 and objective (1)).

J(z) = E[r(ŷ, y)] − λ KL(π′ ‖ π), with π′ the adapted policy over a question's options and π the
base model's. The expectation is a sum over the options, so that its gradient needs no sampling.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from t2ui.models.likelihood import batched_log_likelihoods
from t2ui.tasks.base import Example, Task
from t2ui.training.objectives.base import LossTerm, Objective, Setup, Values

REFERENCE = "reference"  # the checkpoint's tensor of the base model's scores


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


def rewards_of(options: int, correct: int) -> Tensor:  # (options,) in {−1, 1}
    """1 for the right option of a closed question, −1 for the others."""
    rewards = torch.full((options,), -1.0)
    rewards[correct] = 1.0
    return rewards


def exact_term(row: Example, reference: Tensor, kl_coeff: float, temperature: float) -> LossTerm:
    """One closed question. `reference` is the base model's scores, (O,)."""
    rewards = rewards_of(len(row.question.options), row.correct)

    def loss(scores: Tensor) -> tuple[Tensor, Values]:
        value, reward, kl = exact_policy_loss(
            scores, rewards.to(scores.device), reference, kl_coeff, temperature
        )
        right = float(int(scores.argmax()) == row.correct)
        return value, {"reward": reward.item(), "accuracy": right, "kl": kl.item()}

    return LossTerm(row.question, loss)


class Exact(Objective):
    """Raises the expected reward over every question's options.

    The base model's scores are computed once per row in the whole run and kept in its checkpoints:
    computed anew in another batch they would round differently, and a resumed run would leave its
    curve.
    """

    def __init__(self, setup: Setup):
        super().__init__(setup)
        self._reference: dict[str, Tensor] = {}  # by row id, (O,) each

    @classmethod
    def refusal(cls, task: Task) -> str:
        is_open = task.grade is not None or any(len(r.question.options) < 2 for r in task.train)
        return "has open answers" if is_open else ""

    def terms(self, rows: Sequence[Example], step: int) -> tuple[list[LossTerm], Values]:
        config = self.setup.config
        self._find_references(rows)
        # Clones are plain tensors: those made in inference mode may not enter autograd.
        references = [self._reference[row.id].clone() for row in rows]
        return [
            exact_term(row, reference, config.kl_coeff, config.temperature)
            for row, reference in zip(rows, references, strict=True)
        ], {}

    def tensors(self) -> dict[str, Tensor]:
        """The known scores of all training rows' options in one vector, NaN where not computed."""
        rows = self.setup.task.train
        unknown = {row.id: torch.full((len(row.question.options),), math.nan) for row in rows}
        known = {**unknown, **self._reference}
        return {REFERENCE: torch.cat([known[row.id].detach().cpu() for row in rows])}

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        rows = self.setup.task.train
        device = self.setup.trainable.parameters[0].device
        parts = tensors[REFERENCE].to(device).split([len(row.question.options) for row in rows])
        for row, known in zip(rows, parts, strict=True):
            if not known.isnan().any():
                self._reference[row.id] = known

    def _find_references(self, rows: Sequence[Example]) -> None:
        missing = [row for row in rows if row.id not in self._reference]
        if not missing:
            return
        questions, trainable = [row.question for row in missing], self.setup.trainable
        with torch.inference_mode(), trainable.running("base"):
            scores = batched_log_likelihoods(
                trainable.model, questions, self.setup.config.micro_batch_tokens
            )
        self._reference |= {row.id: s.clone() for row, s in zip(missing, scores, strict=True)}
