"""Scores a whole population on a few examples: members × examples are the rows of one batch.

The model's weights are not written. Knows scales, examples and batches, nothing of searches; every
generator here pauses after each batch, with the model and torch's modes as they were.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from t2ui.config import FewShotConfig, Sampling
from t2ui.errors import InputError
from t2ui.few_shot.racing import Race
from t2ui.inference.decoding import Decoder, Row
from t2ui.inference.prompt_store import PromptStore
from t2ui.models.likelihood import PACK_TOKENS, packed_log_likelihoods
from t2ui.models.questions import Question, packed_tokens, question_packs
from t2ui.models.read_prompts import ReadPrompts, own_questions, read_prompts
from t2ui.models.running import BaseReading
from t2ui.svf.adapter import Adapter, Scales
from t2ui.svf.decomposition import layer_of
from t2ui.svf.expert import Expert
from t2ui.tasks.base import Example
from t2ui.tasks.batching import check_context

Right = Callable[[str, str], bool]  # (generated text, right answer)
KEPT_TOKENS = 16_384  # of prompts that the base model has read, for all generations of a search


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
    ):
        """
        Args:
            tail: in scope "answer": the base model reads the prompts up to so many last tokens,
                once for all members and generations. None: every member reads them (scope "all").
        """
        self.adapter, self.tokenizer = adapter, tokenizer
        self.config, self.right, self.tail = config, right, tail
        self.tokens = self.forward_passes = 0
        self._read: dict[tuple[Question, ...], ReadPrompts] = {}
        self._store = PromptStore()  # of prompts before generated answers
        self._heads: set[tuple[int, ...]] = set()  # of them, whose tokens are counted

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
        asked = [e for e, example in enumerate(examples) if _has_likelihood(example, self.config)]
        for pack in self._packs([examples[e] for e in asked], self.config.batch_tokens):
            places = [asked[i] for i in pack]
            questions = [examples[e].question for e in places]
            at_once = max(1, self.config.batch_tokens // pack_tokens(questions, self.tail))
            for first in range(0, len(members), at_once):
                found = self._packed(members[first : first + at_once], questions)
                for m, scores in enumerate(found, start=first):
                    for e, options in zip(places, scores, strict=True):
                        self._enter(table, (m, e), options, examples[e])
                yield
        opened = [e for e, example in enumerate(examples) if len(example.question.options) < 2]
        if rewarded and opened:
            assert self.right is not None, "`check` refuses open answers without it"
            yield from self._generated(table, members, examples, opened, self.right, winners)
        return table

    @staticmethod
    def _packs(examples: Sequence[Example], tokens: int) -> list[list[int]]:
        return question_packs([e.question for e in examples], min(tokens, PACK_TOKENS))

    def _packed(
        self, members: Sequence[Scales | None], questions: Sequence[Question]
    ) -> list[list[Tensor]]:  # for every member and question: (options,) float32, on the CPU
        self.tokens += len(members) * pack_tokens(questions, self.tail)
        self.forward_passes += 1
        read = self._heads_of(questions)
        with torch.inference_mode(), self.adapter.rows(members):
            found = packed_log_likelihoods(
                self.adapter.model, questions, len(members), read, self.tail or 0
            )
        return [[options.cpu() for options in scores] for scores in found]

    def _heads_of(self, questions: Sequence[Question]) -> ReadPrompts | None:
        """What the base model has read of the prompts; read once and kept, in scope "answer"."""
        if self.tail is None:
            return None
        key = tuple(questions)
        if key not in self._read:
            if sum(len(read.positions) for read in self._read.values()) > KEPT_TOKENS:
                self._read.clear()
            reading = BaseReading(self.tail, self.adapter.disabled)
            self._read[key] = read_prompts(self.adapter.model, questions, reading)
            self.tokens += len(self._read[key].positions)
            self.forward_passes += 1
        return self._read[key]

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
        members: Sequence[Scales | None],
        examples: Sequence[Example],
        opened: Sequence[int],  # places in `examples`
        right: Right,
        winners: int | None,
    ) -> Generator[None, None, None]:
        """Let every member answer the open examples, and score its own right answers."""
        sampling = Sampling(max_new_tokens=self.config.max_new_tokens, stop=self.config.stop)
        opened = sorted(opened, key=lambda e: len(examples[e].question.prompt))
        waiting = [
            Row((m, e), examples[e].question.prompt, members[m] or None, sampling, self.tail)
            for e in opened
            for m in range(len(members))
        ]
        # closed examples count as well, and objective "both" has no bound
        only = len(opened) == len(examples) and self.config.objective == "reward"
        race = Race([row.key for row in waiting], winners if only else None)
        texts: dict[tuple[int, int], list[str]] = {}
        scores: dict[tuple[int, int], list[float]] = {}
        assert self.tokenizer is not None, "`check` refuses open answers without it"
        decoder = Decoder(
            self.adapter.model, self.tokenizer, self.adapter, scores=True, store=self._store
        )
        while waiting or len(decoder):
            waiting = [row for row in waiting if not race.lost(row.key[0])]
            if waiting and len(decoder) <= self.config.batch_rows // 2:
                joining = waiting[: self.config.batch_rows - len(decoder)]
                waiting = waiting[len(joining) :]
                decoder.add(joining)
                self.tokens += sum(self._prompt_tokens(row.prompt_ids) for row in joining)
            steps = decoder.step()
            self.forward_passes += 1
            self.tokens += len(steps)
            for step in steps:
                texts.setdefault(step.key, []).append(step.text)
                assert step.log_likelihood is not None, "the decoder was made with scores"
                scores.setdefault(step.key, []).append(step.log_likelihood)
                if step.finished:
                    m, e = step.key
                    table.right[m, e] = right("".join(texts[m, e]), examples[e].answer)
                    race.tell(m, bool(table.right[m, e]))
                    if table.right[m, e]:
                        table.own[m, e] = np.mean(scores[m, e])
            yield

    def _prompt_tokens(self, prompt: Sequence[int]) -> int:
        """What reading a member's prompt costs: in scope "answer" its head is read once for all."""
        if self.tail is None:
            return len(prompt)
        head = tuple(prompt[: -self.tail])
        new = 0 if head in self._heads else len(head)
        self._heads.add(head)
        return new + len(prompt) - len(head)

    def gradient(
        self, basis: ExpertBasis, z: Tensor, examples: Sequence[Example]
    ) -> Generator[None, None, tuple[float, Tensor]]:
        """Mean log-likelihood of the answers under one z, and its gradient, (all scales,).

        A backward pass is counted as two forward passes.
        """
        leaf = z.detach().clone().requires_grad_()
        total = 0.0
        for pack in self._packs(examples, backward_tokens(self.config)):
            batch = [examples[place] for place in pack]
            questions = [example.question for example in batch]
            read = self._heads_of(questions)
            with torch.enable_grad(), self.adapter.applied(basis.scales(leaf)):
                (found,) = packed_log_likelihoods(
                    self.adapter.model, questions, 1, read, self.tail or 0
                )
                pairs = zip(found, batch, strict=True)
                mean = torch.stack([answer_log_likelihood(*p) for p in pairs]).sum()
                mean = mean / len(examples)
                mean.backward(inputs=[leaf])  # the model's own parameters stay without .grad
            total += float(mean.detach())
            self.tokens += 3 * pack_tokens(questions, self.tail)
            self.forward_passes += 1
            yield
        assert leaf.grad is not None, "`check` refuses a search without examples"
        return total, leaf.grad


def answer_log_likelihood(scores: Tensor, example: Example) -> Tensor:  # (options,) -> ()
    """log π(right option | options) of a closed answer; per token of an open one."""
    if len(scores) > 1:
        return scores.log_softmax(0)[example.correct]
    return scores[0] / len(example.target)


def backward_tokens(config: FewShotConfig) -> int:
    """Tokens in one batch of a backward pass: half of a forward pass's, as activations are kept."""
    return max(1, config.batch_tokens // 2)


def pack_tokens(questions: Sequence[Question], tail: int | None) -> int:
    """Tokens of these questions in one row of a member; in scope "answer" without the heads."""
    if tail is None:
        return packed_tokens(questions)
    return sum(question.tokens for question in own_questions(questions, tail))


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
