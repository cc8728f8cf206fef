"""Where a training step's terms come from: runs the model for what a loss needs to know.

That is rollouts with their rewards, the base model's scores that the leash is measured from, and
the base model's own answers where other kinds of prompts are rehearsed. What a step sees depends
on the seed and the step's number alone.
"""

import math
import time
from collections.abc import Sequence

import torch
from accelerate.utils import reduce
from torch import Tensor

from t2ui.config import TrainConfig
from t2ui.errors import InputError
from t2ui.models.likelihood import Question
from t2ui.tasks.base import Example, Task
from t2ui.tasks.jsonl import check_context, rows_of_step
from t2ui.tasks.rehearsal import rehearsal_prompts
from t2ui.training.rollouts import Group, sample_groups, with_own_answers
from t2ui.training.step_terms import (
    LossTerm,
    Values,
    exact_term,
    next_token_term,
    rollout_values,
    sampled_terms,
    scores_of,
)

REWARD_REMEDY = (
    "Choose easier examples, another prompt, more --rollouts, or --start from an expert trained "
    "with --objective next_token."
)
REHEARSED_TOKENS = 96  # of an answer that is rehearsed


class TermSource:
    """Terms of a run's steps.

    Args:
        config: its objective is settled ("auto" is not).
        processes: accelerate's state; every process takes a share of a step's rows.
    """

    def __init__(self, trainable, tokenizer, task: Task, config: TrainConfig, processes):
        self.trainable, self.tokenizer, self.processes = trainable, tokenizer, processes
        self.model, self.task, self.config = trainable.model, task, config
        self.rehearsal: tuple[Example, ...] = ()
        if config.rehearsal:
            if tokenizer is None:
                raise InputError("rehearsal needs the model's tokenizer: give it as tokenizer.")
            self.rehearsal = rehearsal_prompts(tokenizer, task.labels, config.seed)
            check_context(self.model, self.rehearsal, REHEARSED_TOKENS)
        self.rewarded = False  # whether any rollout so far was right
        self._reference: dict[str, Tensor] = {}  # base scores by row id: they never change
        # Sampled tokens belong to the policy that they were sampled from.
        self.token_temperature = config.temperature if config.objective == "sampled" else 1.0

    def terms(self, step: int) -> tuple[list[LossTerm], Values]:
        """A step's questions with their losses, and what is known before the update."""
        rows = self._mine(self.task.train, self.config.batch, step)
        terms, values = self._of_objective(rows, step)
        return [*terms, *self._rehearsed(step)], values

    def known_references(self) -> Tensor:
        """The base model's scores of all training rows' options, NaN where not computed."""
        unknown = math.nan
        return torch.cat(
            [
                self._reference.get(row.id, torch.full((len(row.question.options),), unknown))
                .detach()
                .cpu()
                for row in self.task.train
            ]
        )

    def set_references(self, values: Tensor) -> None:
        """The reverse of `known_references`."""
        parts = values.split([len(row.question.options) for row in self.task.train])
        for row, known in zip(self.task.train, parts, strict=True):
            if not known.isnan().any():
                self._reference[row.id] = known

    def scores(self, questions: Sequence[Question]) -> list[Tensor]:
        """Log-likelihoods of every question's options, (O,) each, the model as it is set now."""
        tokens = self.config.micro_batch_tokens
        return scores_of(self.model, questions, tokens, self.token_temperature)

    def _mine(self, rows: Sequence[Example], count: int, step: int) -> list[Example]:
        """This process's share of so many rows for a step."""
        mine = slice(self.processes.process_index, None, self.processes.num_processes)
        return rows_of_step(rows, count, self.config.seed, step)[mine]

    def _of_objective(self, rows: Sequence[Example], step: int) -> tuple[list[LossTerm], Values]:
        config = self.config
        if config.objective == "next_token":
            return [next_token_term(row) for row in rows], {}
        if config.objective == "exact":
            self._find_references(rows)
            # plain tensors: inference tensors may not enter autograd
            references = [self._reference[row.id].clone() for row in rows]
            return [
                exact_term(row, reference, config.kl_coeff, config.temperature)
                for row, reference in zip(rows, references, strict=True)
            ], {}
        started = time.perf_counter()
        with torch.inference_mode(), self.trainable.inference():
            groups = sample_groups(
                self.model,
                self.tokenizer,
                self.task,
                rows,
                config.rollouts,
                seed=(config.seed * 1_000_003 + step) * self.processes.num_processes
                + self.processes.process_index,
                temperature=config.temperature,
            )
        generated = time.perf_counter() - started
        ratios = self._log_ratios(groups) if config.kl_coeff else None
        values = rollout_values(groups, ratios)
        self._check_rewarded(values["accuracy"], step)
        terms = sampled_terms(
            groups,
            ratios,
            config.kl_coeff,
            config.baseline,
            config.negative_reward,
            config.micro_batch_tokens,
        )
        return terms, {**values, "rollout_seconds": generated}

    def _rehearsed(self, step: int) -> list[LossTerm]:
        """Prompts of other kinds with the base model's own answers: what it would unlearn."""
        rows = self._mine(self.rehearsal, self.config.rehearsal, step)
        if not rows:
            return []
        with torch.inference_mode(), self.trainable.base():
            rows = with_own_answers(self.model, self.tokenizer, rows, REHEARSED_TOKENS)
        return [next_token_term(row, "rehearsal") for row in rows]

    def _log_ratios(self, groups: Sequence[Group]) -> list[Tensor]:
        """log π′(ŷ|x) − log π(ŷ|x) of every group's rollouts, (O,) each, on the CPU."""
        questions = [group.question for group in groups]
        with torch.inference_mode(), self.trainable.inference():
            adapted = self.scores(questions)
        with torch.inference_mode(), self.trainable.base():
            base = self.scores(questions)
        return [(a - b).cpu().clone() for a, b in zip(adapted, base, strict=True)]

    def _check_rewarded(self, accuracy: float, step: int) -> None:
        """All wrong for a whole epoch: there is nothing to learn from."""
        if self.processes.num_processes > 1:  # all stop or none: they wait for one another
            share = torch.tensor(accuracy, device=self.trainable.parameters[0].device)
            accuracy = float(reduce(share, "mean"))
        self.rewarded = self.rewarded or accuracy > 0
        if not self.rewarded and (step + 1) * self.config.batch >= len(self.task.train):
            raise InputError(
                f"Not one rollout of a whole epoch ({len(self.task.train)} prompts) was right: "
                f"there is nothing to learn from, and no expert is written. {REWARD_REMEDY}"
            )

    def _find_references(self, rows: Sequence[Example]) -> None:
        """The base model's scores, computed once a row in the whole run."""
        missing = [row for row in rows if row.id not in self._reference]
        if missing:
            with torch.inference_mode(), self.trainable.base():
                scores = self.scores([row.question for row in missing])
            self._reference |= {r.id: s.clone() for r, s in zip(missing, scores, strict=True)}
