"""Rehearsal in a training: beside its own rows a step sees prompts of other kinds, with the base
model's own answers, so that these are not unlearned. The prompts are in `tasks.rehearsal`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.inference.decoding import Row, generate
from t2ui.models.questions import Question
from t2ui.tasks.base import Example
from t2ui.tasks.batching import check_context, rows_of_step
from t2ui.tasks.rehearsal import rehearsal_prompts
from t2ui.training.objectives.base import LossTerm, Setup
from t2ui.training.objectives.next_token import next_token_term

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_TOKENS = 96  # of an answer that is rehearsed
# Answered together: a batch costs little more than a row. Counted from the run's start, so that a
# resumed run answers the same ones together.
BLOCK_STEPS = 8
SOURCE = "own requests and exercises (Apache-2.0), answered by the base model"


class Rehearsal:
    """A run's rehearsed prompts, as many per step as its configuration says."""

    def __init__(self, setup: Setup):
        if setup.tokenizer is None:
            raise InputError("rehearsal needs the model's tokenizer: give it as tokenizer.")
        self.setup, self.tokenizer = setup, setup.tokenizer
        self.prompts = rehearsal_prompts(self.tokenizer, setup.task.labels, setup.config.seed)
        check_context(setup.trainable.model, self.prompts, MAX_TOKENS)
        self._answered: dict[int, list[Example]] = {}  # by step, of the block under way

    def terms(self, step: int) -> list[LossTerm]:
        """The loss terms of this process's share of a step's rehearsed prompts."""
        if step not in self._answered:
            self._answered = self._block(step // BLOCK_STEPS * BLOCK_STEPS)
        return [next_token_term(row, "rehearsal") for row in self._answered[step]]

    def _block(self, first: int) -> dict[int, list[Example]]:
        """The rows of a block's steps, with their answers."""
        rows = {step: self._rows(step) for step in range(first, first + BLOCK_STEPS)}
        different = list({row.id: row for mine in rows.values() for row in mine}.values())
        if not different:
            return rows
        model = self.setup.trainable.model
        with torch.inference_mode(), self.setup.trainable.running("base"):
            found = with_own_answers(model, self.tokenizer, different, MAX_TOKENS)
        answered = {row.id: row for row in found}
        return {step: [answered[row.id] for row in mine] for step, mine in rows.items()}

    def _rows(self, step: int) -> list[Example]:
        """This process's share of a step's prompts."""
        config, processes = self.setup.config, self.setup.processes
        rows = rows_of_step(self.prompts, config.rehearsal, config.seed, step)
        return list(rows[processes.process_index :: processes.num_processes])


def with_own_answers(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    examples: Sequence[Example],
    max_new_tokens: int,
) -> list[Example]:
    """The examples with the model's greedy answer, as it is set now, as their only option."""
    sampling = Sampling(max_new_tokens)
    rows = [Row(i, example.question.prompt, None, sampling) for i, example in enumerate(examples)]
    found = generate(model, tokenizer, rows, None)
    return [
        replace(example, question=Question(example.question.prompt, (completion.token_ids,)))
        for example, completion in zip(examples, found, strict=True)
    ]
