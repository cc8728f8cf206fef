"""What a population's members are asked: work whose rows can go to other machines.

Members × examples are the rows of one batch; the model's weights are not written. Knows scales,
questions and batches, nothing of searches; after every piece the model is as it was.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from t2ui.cluster.work import Carried, Machine, Piece, Wanted
from t2ui.models.likelihood import packed_log_likelihoods
from t2ui.models.questions import Question, packed_tokens
from t2ui.models.read_prompts import ReadPrompts, own_questions, read_prompts
from t2ui.tasks.base import Example

KEPT_TOKENS = 16_384  # of prompts that the base model has read, for all generations of a search


class MemberBatch(NamedTuple):
    """A row of `MemberScores`: members first to last − 1 on some questions, one forward pass."""

    first: int
    last: int
    questions: Sequence[Question]


@dataclass(frozen=True)
class MemberScores:
    """Log-likelihoods of options under every member. The result of a row has for every member and
    question (options,) float32 on the CPU."""

    members: Carried
    tail: int | None  # as of `Scorer`
    at_once: ClassVar[int] = 1

    def setting(self, machine: Machine) -> AbstractContextManager[None]:
        return nullcontext()

    def run(self, machine: Machine, rows: Sequence[MemberBatch], wanted: Wanted) -> Iterator[Piece]:
        assert machine.adapter is not None, "members need an adapter"
        for place, (first, last, questions) in enumerate(rows):
            read = yield from _heads(machine, questions, self.tail)
            members = self.members.each[first:last]
            with torch.inference_mode(), machine.adapter.rows(members):
                found = packed_log_likelihoods(
                    machine.model, questions, len(members), read, self.tail or 0
                )
            scores = [[options.cpu() for options in of_member] for of_member in found]
            yield Piece([(place, scores)], len(members) * pack_tokens(questions, self.tail))


@dataclass(frozen=True)
class LikelihoodGradient:
    """Σ log-likelihoods of right answers under one z, over `count`, and its gradient. A row is a
    batch of examples; its result is a float and a tensor (all scales,)."""

    member: Carried  # of one
    count: int
    tail: int | None
    at_once: ClassVar[int] = 1

    def setting(self, machine: Machine) -> AbstractContextManager[None]:
        return nullcontext()

    def run(
        self, machine: Machine, rows: Sequence[Sequence[Example]], wanted: Wanted
    ) -> Iterator[Piece]:
        assert machine.adapter is not None, "members need an adapter"
        z = self.member.each[0] or {}
        sizes = [part.numel() for part in z.values()]
        leaf = torch.cat([part.detach() for part in z.values()]).requires_grad_()
        for place, batch in enumerate(rows):
            questions = [example.question for example in batch]
            read = yield from _heads(machine, questions, self.tail)
            scales = dict(zip(z, leaf.split(sizes), strict=True))
            with torch.enable_grad(), machine.adapter.applied(scales):
                (found,) = packed_log_likelihoods(machine.model, questions, 1, read, self.tail or 0)
                pairs = zip(found, batch, strict=True)
                mean = torch.stack([answer_log_likelihood(*pair) for pair in pairs]).sum()
                mean = mean / self.count
                (gradient,) = torch.autograd.grad(mean, leaf)
            result = float(mean.detach()), gradient.cpu()
            # a backward pass is counted as two forward passes
            yield Piece([(place, result)], 3 * pack_tokens(questions, self.tail))


def answer_log_likelihood(scores: Tensor, example: Example) -> Tensor:  # (options,) -> ()
    """log π(right option | options) of a closed answer; per token of an open one."""
    if len(scores) > 1:
        return scores.log_softmax(0)[example.correct]
    return scores[0] / len(example.target)


def pack_tokens(questions: Sequence[Question], tail: int | None) -> int:
    """Tokens of these questions in one row of a member; in scope "answer" without the heads."""
    if tail is None:
        return packed_tokens(questions)
    return sum(question.tokens for question in own_questions(questions, tail))


def _heads(
    machine: Machine, questions: Sequence[Question], tail: int | None
) -> Generator[Piece, None, ReadPrompts | None]:
    """What the base model has read of the prompts; read once and kept, in scope "answer"."""
    reading = machine.reading(tail)
    if reading is None:
        return None
    key = tuple(questions)
    if key not in machine.read:
        if sum(len(read.positions) for read in machine.read.values()) > KEPT_TOKENS:
            machine.read.clear()
        machine.read[key] = read_prompts(machine.model, questions, reading)
        yield Piece((), len(machine.read[key].positions))
    return machine.read[key]
