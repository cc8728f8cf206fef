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
SOURCE = "own requests and exercises (Apache-2.0), answered by the base model"


class Rehearsal:
    """A run's rehearsed prompts, as many per step as its configuration says."""

    def __init__(self, setup: Setup):
        if setup.tokenizer is None:
            raise InputError("rehearsal needs the model's tokenizer: give it as tokenizer.")
        self.setup, self.tokenizer = setup, setup.tokenizer
        self.prompts = rehearsal_prompts(self.tokenizer, setup.task.labels, setup.config.seed)
        check_context(setup.trainable.model, self.prompts, MAX_TOKENS)

    def terms(self, step: int) -> list[LossTerm]:
        """The loss terms of this process's share of a step's rehearsed prompts."""
        setup = self.setup
        rows = rows_of_step(self.prompts, setup.config.rehearsal, setup.config.seed, step)
        mine = rows[setup.processes.process_index :: setup.processes.num_processes]
        if not mine:
            return []
        with torch.inference_mode(), setup.trainable.running("base"):
            answered = with_own_answers(setup.trainable.model, self.tokenizer, mine, MAX_TOKENS)
        return [next_token_term(row, "rehearsal") for row in answered]


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
