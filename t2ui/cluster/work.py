"""Work that consists of independent rows: what is done with them on a model, wherever that is.

Work and rows are plain data, so that they can go to other processes: token ids, scales, settings.
What judges an answer stays with whoever asked. Knows nothing of who runs it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.config import Sampling
from t2ui.inference.decoding import Decoder, Row
from t2ui.inference.prompt_store import PromptStore
from t2ui.models.likelihood import batch_scores
from t2ui.models.questions import Question
from t2ui.models.read_prompts import ReadPrompts
from t2ui.models.running import BaseReading
from t2ui.svf.adapter import Adapter, Scales

Wanted = Callable[[int], bool]  # place of a row -> whether anybody still waits for its result
Base = Callable[[], AbstractContextManager[None]]  # the base model, inside the block


@dataclass
class Machine:
    """A model, and what is kept on it from one piece of work to the next. Not thread-safe."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None = None  # where answers are decoded
    adapter: Adapter | None = None  # where work brings scales
    base: Base | None = None  # where the base model reads prompts, without an adapter
    store: PromptStore = field(default_factory=PromptStore)  # before answers that are decoded
    read: dict[tuple[Question, ...], ReadPrompts] = field(default_factory=dict)
    heads: set[tuple[int, ...]] = field(default_factory=set)  # whose tokens are counted

    def reading(self, tail: int | None) -> BaseReading | None:
        """By whom prompts are read in scope "answer"; None in scope "all"."""
        base = self.adapter.disabled if self.adapter else self.base
        return BaseReading(tail, base) if tail is not None and base is not None else None

    def applied(self, scales: "Carried | None") -> AbstractContextManager[None]:
        """The first of these scales inside the block, as W′; None: the model as it is set."""
        if scales is None:
            return nullcontext()
        assert self.adapter is not None, "scales need an adapter"
        return self.adapter.applied(scales.each[0] or {}, "merged")


class Piece(NamedTuple):
    """What one forward pass gave: results of those rows that are done with it, by their places."""

    results: Sequence[tuple[int, Any]] = ()
    tokens: int = 0  # that it processed, padding counted


class Work(Protocol):
    """What is done with rows. The results do not depend on which rows are done together, up to
    rounding."""

    @property
    def at_once(self) -> int:
        """How many rows are done together at most: what one worker gets at a time."""

    def setting(self, machine: Machine) -> AbstractContextManager[None]:
        """The block in which the rows are run: it sets the model, once for all of them."""

    def run(self, machine: Machine, rows: Sequence[Any], wanted: Wanted) -> Iterator[Piece]:
        """Do them, a piece for every forward pass; rows that nobody waits for may be left out."""


class Carried:
    """Scales of some members, None for the base model.

    Here they are what they were made as. On their way to another process every member is one array:
    a tensor that is a view, as z of one matrix often is, would take all of its storage along.
    """

    def __init__(self, each: Sequence[Scales | None]):
        self.each = tuple(each)

    def __getstate__(self) -> list[tuple[list[str], list[int], np.ndarray] | None]:
        return [_packed(scales) if scales else None for scales in self.each]

    def __setstate__(self, state: list[tuple[list[str], list[int], np.ndarray] | None]) -> None:
        self.each = tuple(None if packed is None else _unpacked(*packed) for packed in state)


def _packed(scales: Scales) -> tuple[list[str], list[int], np.ndarray]:
    flat = torch.cat([z.detach().float().reshape(-1) for z in scales.values()])
    return list(scales), [z.numel() for z in scales.values()], flat.cpu().numpy()


def _unpacked(names: list[str], sizes: list[int], flat: np.ndarray) -> Scales:
    values = torch.from_numpy(np.array(flat))  # what arrives may not be written to
    return dict(zip(names, values.split(sizes), strict=True))


@dataclass(frozen=True)
class OptionScores:
    """Log-likelihoods of options. A row is a batch of questions, as `planned_batches` makes them;
    its result has one tensor a question, (options,) float32 on the CPU."""

    packed: bool  # whether the questions of a batch lie in one row of the model's
    scales: Carried | None = None  # one z for all rows; None: the model as it is set
    tail: int | None = None  # in scope "answer": the base model reads prompts up to their tails
    at_once: ClassVar[int] = 1

    def setting(self, machine: Machine) -> AbstractContextManager[None]:
        return machine.applied(self.scales)

    def run(
        self, machine: Machine, rows: Sequence[Sequence[Question]], wanted: Wanted
    ) -> Iterator[Piece]:
        reading = machine.reading(self.tail)
        for place, questions in enumerate(rows):
            with torch.inference_mode():
                scores = batch_scores(machine.model, questions, self.packed, reading=reading)
                found: list[Tensor] = [score.cpu() for score in scores]
            yield Piece([(place, found)], sum(question.tokens for question in questions))


class Asked(NamedTuple):
    """A row of `Answers`."""

    prompt: Sequence[int]  # token ids
    sampling: Sampling
    member: int = 0  # of the scales


class Answer(NamedTuple):
    """The result of a row of `Answers`. `token_ids` include the end token, `text` does not."""

    token_ids: tuple[int, ...]
    text: str
    finished: str  # see `Step.finished`
    log_likelihood: float | None  # mean per token, nats; None where members have no z of their own
    error: Exception | None = None  # why it failed, where that is known


@dataclass(frozen=True)
class Answers:
    """Answers that are decoded. A row is an `Asked`, its result an `Answer`."""

    batch_rows: int  # decoded together
    # Rows join once so few are left in the batch: a few long answers must not hold up the others.
    refill: int
    scales: Carried | None = None  # None: the model as it is set
    each_its_own: bool = False  # each row has its member's; otherwise the first's, as W′, for all
    tail: int | None = None  # as of `OptionScores`

    @property
    def at_once(self) -> int:
        return self.batch_rows

    def setting(self, machine: Machine) -> AbstractContextManager[None]:
        return nullcontext() if self.each_its_own else machine.applied(self.scales)

    def run(self, machine: Machine, rows: Sequence[Asked], wanted: Wanted) -> Iterator[Piece]:
        decoder = self._decoder(machine)
        waiting = [self._row(place, asked) for place, asked in enumerate(rows)]
        steps_of: dict[int, list] = {place: [] for place in range(len(rows))}
        while waiting or len(decoder):
            waiting = [row for row in waiting if wanted(row.key)]
            tokens = 0
            if waiting and len(decoder) <= self.refill:
                free = self.batch_rows - len(decoder)
                joining, waiting = waiting[:free], waiting[free:]
                decoder.add(joining)
                tokens += sum(self._prompt_tokens(machine, row.prompt_ids) for row in joining)
            done = []
            steps = decoder.step()
            for step in steps:
                steps_of[step.key].append(step)
                if step.finished:
                    done.append((step.key, _answer(steps_of.pop(step.key))))
            yield Piece(done, tokens + len(steps))

    def _decoder(self, machine: Machine) -> Decoder:
        assert machine.tokenizer is not None, "answers need a tokenizer"
        if self.each_its_own:
            return Decoder(
                machine.model, machine.tokenizer, machine.adapter, scores=True, store=machine.store
            )
        reading = machine.reading(self.tail)
        base = reading.base if reading else None
        return Decoder(machine.model, machine.tokenizer, None, base=base)

    def _row(self, place: int, asked: Asked) -> Row:
        own = self.scales.each[asked.member] if self.scales and self.each_its_own else None
        return Row(place, asked.prompt, own or None, asked.sampling, self.tail)

    def _prompt_tokens(self, machine: Machine, prompt: Sequence[int]) -> int:
        """What reading a prompt costs: in scope "answer" its head is read once for all members."""
        if self.tail is None:
            return len(prompt)
        head = tuple(prompt[: -self.tail])
        new = 0 if head in machine.heads else len(head)
        machine.heads.add(head)
        return new + len(prompt) - len(head)


def _answer(steps: Sequence[Any]) -> Answer:
    """One row's steps put together."""
    last = steps[-1]
    scores = [step.log_likelihood for step in steps if step.log_likelihood is not None]
    return Answer(
        tuple(step.token for step in steps),
        "".join(step.text for step in steps),
        last.finished,
        float(np.mean(scores)) if scores else None,
        last.error,
    )
