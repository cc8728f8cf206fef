"""The sampled policy gradient on open answers (paper, section 3.1 and objective (1)): REINFORCE.

J(z) = E[r(ŷ, y) log π′(ŷ|x)] − λ KL(π′ ‖ π), with π′ the adapted policy and π the base model. The
expectation is taken over completions that are sampled from π′ (rollouts) and graded by the task.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import reduce
from torch import Tensor

from t2ui.catalogue import BASELINES, chosen
from t2ui.errors import InputError
from t2ui.models.likelihood import batched_log_likelihoods
from t2ui.models.questions import Question
from t2ui.models.running import BaseReading
from t2ui.tasks.answering import Draws, Group, sample_groups
from t2ui.tasks.base import Example, Task
from t2ui.training.objectives.base import LossTerm, Objective, Setup, Values

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# (per prompt (O,) returns, per prompt (O,) counts) -> per prompt (O,) advantages
Baseline = Callable[[list[Tensor], Sequence[Tensor]], list[Tensor]]
REMEDY = (
    "Choose easier examples, another prompt, more --rollouts, or --start from an expert trained "
    "with --objective next_token."
)


class Sampled(Objective):
    """Raises the expected reward of sampled completions."""

    def __init__(self, setup: Setup):
        super().__init__(setup)
        self.baseline: Baseline = chosen("baseline", setup.config.baseline, BASELINES).load()
        # Sampled tokens belong to the policy that they were sampled from.
        self.token_temperature = setup.config.temperature
        self.rewarded = False  # whether any rollout so far was right, at least in part

    @classmethod
    def refusal(cls, task: Task) -> str:
        return "has closed answers" if task.grade is None else ""

    def terms(self, rows: Sequence[Example], step: int) -> tuple[list[LossTerm], Values]:
        config, started = self.setup.config, time.perf_counter()
        trainable, adapted, base = self.setup.trainable, [], []
        with torch.inference_mode(), trainable.running("inference"):
            groups = self._rollouts(rows, step)
            seconds = time.perf_counter() - started
            if config.kl_coeff:
                adapted = self._scores(groups, self.setup.reading)
        if config.kl_coeff:
            with torch.inference_mode(), trainable.running("base"):
                base = self._scores(groups, None)
        # Clones are plain tensors: those made in inference mode may not enter autograd.
        ratios = [(a - b).cpu().clone() for a, b in zip(adapted, base, strict=True)] or None
        values = rollout_values(groups, ratios)
        self._check_rewarded(max(values["accuracy"], (values["reward"] + 1) / 2), step)
        terms = sampled_terms(
            groups,
            ratios,
            config.kl_coeff,
            self.baseline,
            config.negative_reward,
            config.micro_batch_tokens,
        )
        return terms, {**values, "rollout_seconds": seconds}

    def facts(self) -> dict[str, Any]:
        return {"rewarded": self.rewarded}

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.rewarded = facts["rewarded"]

    def check_learned(self, steps: int) -> None:
        if not self.rewarded:
            raise InputError(
                f"Not one rollout of {steps} steps was right: there was nothing to learn from, "
                f"and no expert is written. {REMEDY}"
            )

    def _rollouts(self, rows: Sequence[Example], step: int) -> list[Group]:
        setup, processes = self.setup, self.setup.processes
        assert setup.tokenizer is not None  # the trainer sees to it
        draws = Draws(
            setup.config.rollouts,
            setup.config.seed * 1_000_003 + step,
            setup.config.temperature,
            processes.process_index,
            processes.num_processes,
        )
        return sample_groups(
            setup.trainable.model,
            setup.tokenizer,
            setup.task,
            rows,
            draws,
            setup.reading,
            setup.elsewhere(),
        )

    def _scores(self, groups: Sequence[Group], reading: BaseReading | None) -> list[Tensor]:
        questions, tokens = (
            [group.question for group in groups],
            self.setup.config.micro_batch_tokens,
        )
        model = self.setup.trainable.model
        return scores_of(model, questions, tokens, self.token_temperature, reading)

    def _check_rewarded(self, score: float, step: int) -> None:
        """All wrong for a whole epoch: there is nothing to learn from."""
        setup = self.setup
        if setup.processes.num_processes > 1:  # all stop or none: they wait for one another
            mean = torch.tensor(score, device=setup.trainable.parameters[0].device)
            score = float(reduce(mean, "mean"))
        self.rewarded = self.rewarded or score > 0
        if not self.rewarded and (step + 1) * setup.config.batch >= len(setup.task.train):
            raise InputError(
                f"Not one rollout of a whole epoch ({len(setup.task.train)} prompts) was right: "
                f"there is nothing to learn from, and no expert is written. {REMEDY}"
            )


def rollout_values(groups: Sequence[Group], log_ratios: Sequence[Tensor] | None) -> Values:
    """Means over all rollouts of a step, and how many tokens they hold."""
    counts = [group.counts for group in groups]
    reward = _mean(counts, [group.rewards for group in groups])
    values = {
        "reward": reward,
        "accuracy": _mean(counts, [group.right for group in groups]),
        "rollout_tokens": sum(
            float(n) * len(option)
            for group in groups
            for option, n in zip(group.question.options, group.counts, strict=True)
        ),
    }
    return values if log_ratios is None else {**values, "kl": _mean(counts, log_ratios)}


def _mean(counts: Sequence[Tensor], values: Sequence[Tensor]) -> float:
    total = sum(float((n * v).sum()) for n, v in zip(counts, values, strict=True))
    return total / sum(float(n.sum()) for n in counts)


# --- the loss ------------------------------------------------------------------------------------


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
    baseline: Baseline,
) -> list[Tensor]:
    """r − λ log(π′/π) − b of every rollout of a step.

    Since E[∇ log π′] = 0, ∇ KL(π′ ‖ π) = E[log(π′/π) ∇ log π′]: the KL penalty is folded into the
    reward.

    Args:
        log_ratios: may be None where `kl_coeff` is 0.
        baseline: takes a baseline off the returns; see below.
    """
    returns = [r.clone() for r in rewards]
    if kl_coeff and log_ratios is not None:
        returns = [r - kl_coeff * ratio for r, ratio in zip(returns, log_ratios, strict=True)]
    return baseline(returns, counts)


def without_baseline(returns: list[Tensor], counts: Sequence[Tensor]) -> list[Tensor]:
    """The returns as they are (paper)."""
    return returns


def less_mean(returns: list[Tensor], counts: Sequence[Tensor]) -> list[Tensor]:
    """Less the mean of all rollouts of the step."""
    mean = _mean(counts, returns)
    return [r - mean for r in returns]


def less_leave_one_out(returns: list[Tensor], counts: Sequence[Tensor]) -> list[Tensor]:
    """Less the mean of the same prompt's other rollouts."""
    return [r - ((n * r).sum() - r) / (n.sum() - 1) for n, r in zip(counts, returns, strict=True)]


# --- loss terms ----------------------------------------------------------------------------------


def sampled_terms(
    groups: Sequence[Group],
    log_ratios: Sequence[Tensor] | None,  # per group (O,): log π′(ŷ|x) − log π(ŷ|x)
    kl_coeff: float,
    baseline: Baseline,
    negative_reward: float,
    micro_batch_tokens: int,
) -> list[LossTerm]:
    """The rollouts with their advantages; those without a gradient are left out.

    Where all rollouts of a prompt are right or all are wrong, leave-one-out leaves nothing to
    learn; with sparse rewards that is most of them, and scoring them would cost the most. A
    prompt's rollouts become as many terms as it takes to keep each within the tokens.
    """
    counts = [group.counts for group in groups]
    scores = [(g.rewards + 1) / 2 for g in groups]
    rewards = [score + (1 - score) * negative_reward for score in scores]
    found = advantages(rewards, counts, log_ratios, kl_coeff, baseline)
    terms = []
    for group, advantage in zip(groups, found, strict=True):
        kept = advantage.nonzero().flatten().tolist()
        question = _only(group.question, kept)
        for part in _parts(question, micro_batch_tokens):
            places = [kept[i] for i in part]
            terms.append(_policy_term(group, advantage, _only(question, part), places))
    return terms


def _policy_term(
    group: Group, advantage: Tensor, question: Question, places: list[int]
) -> LossTerm:
    size = float(group.counts.sum())
    advantage, counts = advantage[places], group.counts[places]

    def loss(scores: Tensor) -> tuple[Tensor, Values]:
        value = policy_loss(scores, advantage.to(scores.device), counts.to(scores.device), size)
        return value, {}

    return LossTerm(question, loss)


def scores_of(
    model: "PreTrainedModel",
    questions: Sequence[Question],
    micro_batch_tokens: int,
    temperature: float,
    reading: BaseReading | None = None,
) -> list[Tensor]:
    """Log-likelihoods of every question's options, (O,) each, the model as it is set now. Options
    that would not fit into memory together are scored in parts."""
    parts = [
        (number, _only(question, places))
        for number, question in enumerate(questions)
        for places in _parts(question, micro_batch_tokens)
    ]
    found = batched_log_likelihoods(
        model, [question for _, question in parts], micro_batch_tokens, temperature, reading
    )
    scores: list[list[Tensor]] = [[] for _ in questions]
    for (number, _), score in zip(parts, found, strict=True):
        scores[number].append(score)
    return [torch.cat(each) for each in scores]


def _parts(question: Question, tokens: int) -> list[list[int]]:
    """Places of options, cut so that each part with the prompt holds at most so many tokens (or
    one option): many long rollouts of one prompt would not fit into memory together."""
    parts: list[list[int]] = []
    used = 0
    for place, option in enumerate(question.options):
        if not parts or used + len(option) - 1 > tokens:
            parts.append([])
            used = len(question.prompt)
        parts[-1].append(place)
        used += len(option) - 1
    return parts


def _only(question: Question, places: Sequence[int]) -> Question:
    if len(places) == len(question.options):
        return question
    return Question(question.prompt, tuple(question.options[i] for i in places))
