"""Scores a whole population on a few examples: members × examples are the rows of one batch.

The model's weights are not written. Knows scales, examples and batches, nothing of searches; every
generator here pauses after each batch, with the model and torch's modes as they were.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from t2ui.cluster.executor import Executor, Local
from t2ui.cluster.work import Answers, Asked, Carried, Machine, Piece, Wanted, Work
from t2ui.config import FewShotConfig, Sampling
from t2ui.errors import InputError
from t2ui.few_shot.members import (
    LikelihoodGradient,
    MemberBatch,
    MemberScores,
    answer_log_likelihood,
    pack_tokens,
)
from t2ui.few_shot.racing import Race
from t2ui.models.likelihood import PACK_TOKENS
from t2ui.models.questions import Question, packed_tokens, question_packs
from t2ui.svf.adapter import Adapter, Scales
from t2ui.svf.decomposition import layer_of
from t2ui.svf.expert import Expert
from t2ui.tasks.base import Example
from t2ui.tasks.batching import check_context

Right = Callable[[str, str], bool]  # (generated text, right answer)


class ExpertBasis:
    """Experts' offsets z_k − 1 as one matrix, so that a population is mixed in one product.

    The same arithmetic as `mixture.mix`, up to rounding. Matrices that no expert adapts are not
    in it.
    """

    def __init__(self, adapter: Adapter, experts: Mapping[str, Expert]):
        adapted = {name for expert in experts.values() for name in expert.scales}
        self.names = sorted((n for n in adapter.names if n in adapted), key=layer_of)
        self.sizes = [adapter.factors[n].S.numel() for n in self.names]
        self.layers = 1 + max(map(layer_of, adapter.names))
        device = adapter.factors[self.names[0]].S.device
        rows = [
            torch.cat(
                [
                    expert.scales[n] - 1 if n in expert.scales else torch.zeros(size)
                    for n, size in zip(self.names, self.sizes, strict=True)
                ]
            )
            for expert in experts.values()
        ]
        self.offsets = torch.stack(rows).to(device)  # (K, all scales)
        widths = [0] * self.layers
        for name, size in zip(self.names, self.sizes, strict=True):
            widths[layer_of(name)] += size
        self._by_layer = self.offsets.split(widths, dim=1)

    def mixed(self, alpha: Tensor) -> Tensor:  # (P, K) or (P, K, layers) -> (P, all scales)
        """z′ = 1 + Σ α_k (z_k − 1) of every member."""
        if alpha.ndim == 2:
            return 1 + alpha @ self.offsets
        parts = [alpha[:, :, layer] @ part for layer, part in enumerate(self._by_layer)]
        return 1 + torch.cat(parts, dim=1)

    def scales(self, z: Tensor) -> Scales:  # (all scales,)
        """One member's z by matrix, as views."""
        return dict(zip(self.names, z.split(self.sizes), strict=True))


@dataclass(frozen=True)
class ScoreTable:
    """Members' scores on examples; arrays are (members, examples) float64, NaN: not asked for.

    Closed answers: `likelihood` is the log-probability of the right option among the options,
    `own` the same where it is the model's choice. Open answers: mean log-likelihoods per token of
    the right answer, and of the model's own where that was right.
    """

    likelihood: np.ndarray
    right: np.ndarray  # 1 or 0
    own: np.ndarray  # NaN where wrong

    def reported(self, objective: str) -> np.ndarray:  # (members,)
        """The objective in units that people read: nats, share of right answers, or their sum."""
        if objective == "likelihood":
            return self.likelihood.mean(1)
        if objective == "reward":
            return self.right.mean(1)
        return self.right.mean(1) + self.likelihood.mean(1)

    def searched(self, objective: str) -> np.ndarray:  # (members,)
        """The same with ties of rewards broken by the mean log-likelihood of the member's own
        right answers (paper): its exponential, below 1, is added to their number."""
        scores = self.reported(objective)
        if objective != "reward":
            return scores
        counted = ~np.isnan(self.own)
        total = np.where(counted, self.own, 0.0).sum(1)
        ties = np.where(counted.any(1), np.exp(total / np.maximum(counted.sum(1), 1)), 0.0)
        return scores + ties / self.own.shape[1]


class Scorer:
    """Scores members on examples and counts what that costs. See `ScoreTable`."""

    def __init__(
        self,
        adapter: Adapter,
        tokenizer: PreTrainedTokenizerBase | None,  # needed for answers that are generated
        config: FewShotConfig,
        right: Right | None,
        tail: int | None = None,
        executor: Executor | None = None,
    ):
        """
        Args:
            tail: in scope "answer": the base model reads the prompts up to so many last tokens,
                once for all members and generations. None: every member reads them (scope "all").
            executor: who runs the members; by default this process.
        """
        self.adapter, self.tokenizer = adapter, tokenizer
        self.config, self.right, self.tail = config, right, tail
        self.tokens = self.forward_passes = 0
        self.executor = executor or Local(Machine(adapter.model, tokenizer, adapter))

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse what cannot be scored.

        Raises:
            InputError: see `few_shot.search`.
        """
        if not examples:
            raise InputError("There are no examples: few-shot adaptation needs at least one.")
        for example in examples:
            prompt, options = example.question.prompt, example.question.options
            if not prompt or not all(options):
                raise InputError(f"Example {example.id!r} has an empty prompt or answer.")
            if not options and self.config.objective != "reward":
                raise InputError(
                    f"Example {example.id!r} has no right answer, only a scorer: choose objective "
                    "reward."
                )
            generated = len(options) < 2 and self.config.objective != "likelihood"
            if generated and self.right is None:
                raise InputError(
                    f"Example {example.id!r} has an open answer, and nothing says whether a "
                    "generated one is right: choose objective likelihood, or give `right`."
                )
            if generated and self.tokenizer is None:
                raise InputError(
                    f"Example {example.id!r} has an open answer, which is to be generated, and "
                    "there is no tokenizer: give one, or choose objective likelihood."
                )
            new_tokens = self.config.max_new_tokens if generated else 0
            check_context(self.adapter.model, [example], new_tokens)

    def table(
        self,
        members: Sequence[Scales | None],
        examples: Sequence[Example],
        winners: int | None = None,
    ) -> Generator[None, None, ScoreTable]:
        """Score every member on every example; None or {} is the base model.

        Examples with several options are closed: their reward costs no decoding.

        Args:
            winners: of objective "reward", only so many of the best matter: who cannot be among
                them any more is not asked on, and its remaining scores are NaN.
        """
        shape = len(members), len(examples)
        table = ScoreTable(*(np.full(shape, np.nan) for _ in range(3)))
        rewarded = self.config.objective != "likelihood"
        carried = Carried(members)
        batches, places = self._member_batches(len(members), examples)
        for piece in self._pieces(MemberScores(carried, self.tail), batches):
            for number, scores in piece.results:
                for m, of_member in enumerate(scores, start=batches[number].first):
                    for e, options in zip(places[number], of_member, strict=True):
                        self._enter(table, (m, e), options, examples[e])
            yield
        opened = [e for e, example in enumerate(examples) if len(example.question.options) < 2]
        if rewarded and opened:
            assert self.right is not None, "`check` refuses open answers without it"
            yield from self._generated(table, carried, examples, opened, self.right, winners)
        return table

    @staticmethod
    def _packs(examples: Sequence[Example], tokens: int) -> list[list[int]]:
        return question_packs([e.question for e in examples], min(tokens, PACK_TOKENS))

    def _member_batches(
        self, members: int, examples: Sequence[Example]
    ) -> tuple[list[MemberBatch], list[list[int]]]:
        """Forward passes, and the places in `examples` of the questions of each."""
        asked = [e for e, one in enumerate(examples) if _has_likelihood(one, self.config)]
        batches, places = [], []
        for pack in self._packs([examples[e] for e in asked], self.config.batch_tokens):
            packed = [asked[i] for i in pack]
            questions = [examples[e].question for e in packed]
            at_once = max(1, self.config.batch_tokens // pack_tokens(questions, self.tail))
            for first in range(0, members, at_once):
                batches.append(MemberBatch(first, min(first + at_once, members), questions))
                places.append(packed)
        return batches, places

    def _pieces(
        self, work: Work, rows: Sequence[Any], wanted: Wanted | None = None
    ) -> Generator[Piece, None, None]:
        """Run work, and count what it costs."""
        asked = () if wanted is None else (wanted,)
        with closing(self.executor.run(work, rows, *asked)) as pieces:
            for piece in pieces:
                self.tokens += piece.tokens
                self.forward_passes += 1
                yield piece

    @staticmethod
    def _enter(
        table: ScoreTable, where: tuple[int, int], options: Tensor, example: Example
    ) -> None:
        table.likelihood[where] = answer_log_likelihood(options, example)
        if len(options) > 1:
            table.right[where] = int(options.argmax()) == example.correct
            if table.right[where]:
                table.own[where] = table.likelihood[where]

    def _generated(
        self,
        table: ScoreTable,
        members: Carried,
        examples: Sequence[Example],
        opened: Sequence[int],  # places in `examples`
        right: Right,
        winners: int | None,
    ) -> Generator[None, None, None]:
        """Let every member answer the open examples, and score its own right answers."""
        sampling = Sampling(max_new_tokens=self.config.max_new_tokens, stop=self.config.stop)
        opened = sorted(opened, key=lambda e: len(examples[e].question.prompt))
        keys = [(m, e) for e in opened for m in range(len(members.each))]
        asked = [Asked(examples[e].question.prompt, sampling, m) for m, e in keys]
        # closed examples count as well, and objective "both" has no bound
        only = len(opened) == len(examples) and self.config.objective == "reward"
        race = Race(keys, winners if only else None)
        rows = self.config.batch_rows
        work = Answers(rows, rows // 2, members, each_its_own=True, tail=self.tail)
        for piece in self._pieces(work, asked, lambda place: not race.lost(keys[place][0])):
            for place, answer in piece.results:
                m, e = keys[place]
                table.right[m, e] = right(answer.text, examples[e].answer)
                race.tell(m, bool(table.right[m, e]))
                if table.right[m, e]:
                    table.own[m, e] = answer.log_likelihood
            yield

    def gradient(
        self, basis: ExpertBasis, z: Tensor, examples: Sequence[Example]
    ) -> Generator[None, None, tuple[float, Tensor]]:
        """Mean log-likelihood of the answers under one z, and its gradient, (all scales,).

        A backward pass is counted as two forward passes.
        """
        packs = self._packs(examples, backward_tokens(self.config))
        batches = [[examples[place] for place in pack] for pack in packs]
        work = LikelihoodGradient(Carried([basis.scales(z)]), len(examples), self.tail)
        total, slope = 0.0, torch.zeros_like(z, requires_grad=False)
        for piece in self._pieces(work, batches):
            for _, (value, gradient) in piece.results:
                total += value
                slope += gradient.to(slope.device)
            yield
        return total, slope


def backward_tokens(config: FewShotConfig) -> int:
    """Tokens in one batch of a backward pass: half of a forward pass's, as activations are kept."""
    return max(1, config.batch_tokens // 2)


def head_tokens(examples: Sequence[Example], config: FewShotConfig, tail: int | None) -> int:
    """Tokens that the base model reads once for all members, in scope "answer"."""
    if tail is None:
        return 0
    asked = [e.question for e in examples if _has_likelihood(e, config)]
    packs = question_packs(asked, min(config.batch_tokens, PACK_TOKENS))
    heads = [[Question(asked[place].prompt[:-tail], ()) for place in pack] for pack in packs]
    tokens = sum(map(packed_tokens, heads))
    for example in examples:
        if _is_generated(example, config):
            tokens += max(len(example.question.prompt) - tail, 0)
    return tokens


def member_tokens(
    examples: Sequence[Example], config: FewShotConfig, tail: int | None = None
) -> int:
    """Tokens that scoring one member on these examples processes, padding counted.

    Args:
        tail: as of `Scorer`.
    """
    asked = [e.question for e in examples if _has_likelihood(e, config)]
    packs = question_packs(asked, min(config.batch_tokens, PACK_TOKENS))
    tokens = sum(pack_tokens([asked[place] for place in pack], tail) for pack in packs)
    for example in examples:
        if _is_generated(example, config):
            tokens += len(example.question.prompt[-(tail or 0) :]) + config.max_new_tokens
    return tokens


def _is_generated(example: Example, config: FewShotConfig) -> bool:
    """Whether its answer is generated: open, and the objective asks for rewards."""
    return len(example.question.options) < 2 and config.objective != "likelihood"


def _has_likelihood(example: Example, config: FewShotConfig) -> bool:
    """Whether its answer is scored by likelihood; open answers may be generated instead."""
    return len(example.question.options) > 1 or config.objective != "reward"
