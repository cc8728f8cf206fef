"""Decoding one batch in which every row has its own mixture, seed and sampling settings.

Rows join and leave between steps, so a request that arrives does not wait for others' answers and
a cancelled one is gone after the step under way. Prompts are read in pieces, beside the answers
that go on. Knows token ids, scales and text pieces, nothing of prompts, experts' names or
processes.
"""

import operator
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.errors import InputError
from t2ui.inference.choosing import choose
from t2ui.inference.merging import KEPT_BYTES, Merging, copied, equal
from t2ui.inference.prompt_store import PromptStore
from t2ui.inference.reading import Reading, of_like_length, tails
from t2ui.inference.rows import NOT_FINITE, Completion, Row, RunningRow, Step
from t2ui.models.batch_cache import RoomyCache, join, take
from t2ui.models.chat import end_tokens_in
from t2ui.models.loading import context_limit
from t2ui.models.running import answering, cached, given_to_head, makes
from t2ui.svf.adapter import Adapter, Scales, Setting
from t2ui.svf.modules import check_model

__all__ = [
    "NOT_FINITE",
    "Completion",
    "Decoder",
    "Row",
    "Step",
    "end_tokens",
    "generate",
]

PIECE_TOKENS = 4096  # of prompts, read in one forward pass where nobody waits for a decode step
# The reading with the least left goes on, but every fourth time the oldest: a long one must not
# wait for ever.
OLDEST_EVERY = 4


class Decoder:
    """A running batch on one model. `add` rows, call `step` until `len(decoder)` is 0.

    One decoder belongs to one thread; several on one model may run in several threads, which take
    turns step by step. A model in train mode answers as in eval mode. A caller with answers under
    way calls `read` with few tokens, and `decode`, in turn.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        adapter: Adapter | None,
        scores: bool = False,
        base: Callable[[], AbstractContextManager[None]] | None = None,
        store: PromptStore | None = None,
    ):
        """Without an adapter every row runs through the model as it is set at the moment.

        Args:
            scores: whether steps carry their tokens' log-likelihoods.
            base: without an adapter, the block in which the base model reads what is before the
                rows' tails.
            store: keeps what the base model has read, for rows to come.
        """
        check_model(model)
        self.model, self.tokenizer, self.adapter = model, tokenizer, adapter
        self.scores, self.store, self._base = scores, store, base
        self.end_tokens = frozenset(end_tokens(model, tokenizer))
        self._waiting: list[RunningRow] = []
        self._readings: list[Reading] = []  # oldest first
        self._reads = 0
        self.tokens_read = 0  # of prompts so far, padding counted
        self._rows: list[RunningRow] = []  # in the order of the batch
        self._cache: RoomyCache | None = None
        self._attention = torch.zeros(0, 0, dtype=torch.long)  # (B, T), 0 is left padding
        self._padded = False  # whether any of it is 0
        self._plan: list[Scales | None] = []  # the scales that `_setting` was made for
        self._setting: Setting | None = None
        self._merged: Merging | None = None  # of the last mixture that was worth it
        self._plain_head: bool | None = None  # not looked at yet

    def __len__(self) -> int:
        """Rows that are decoding, or whose prompt is being read or about to."""
        reading = sum(len(r.rows) - len(r.dropped) for r in self._readings)
        return len(self._rows) + len(self._waiting) + reading

    @property
    def decoding(self) -> int:
        """Rows that a call of `decode` gives a token each."""
        return len(self._rows)

    @property
    def reading(self) -> bool:
        """Whether there is a prompt to read."""
        return bool(self._waiting or self._readings)

    def read_so_far(self) -> dict[Any, tuple[int, int]]:
        """Of each row whose prompt is being read: tokens read, and tokens in all."""
        return {
            key: (reading.done, reading.total)
            for reading in self._readings
            for key in reading.keys
            if key not in reading.dropped
        }

    def add(self, rows: Iterable[Row]) -> None:
        """Let rows join as soon as their prompts are read.

        Raises:
            InputError: a prompt that is empty or, with its answer, longer than the context.
        """
        new = list(rows)
        for row in new:
            self._check(row)
        self._waiting += [RunningRow(row, self.tokenizer) for row in self._shared(new)]

    def drop(self, keys: Collection[Any]) -> None:
        """Remove rows at once; unknown keys are ignored (they may just have finished)."""
        self._waiting = [r for r in self._waiting if r.row.key not in keys]
        self._readings = [reading for reading in self._readings if reading.drop(keys)]
        self._keep([i for i, r in enumerate(self._rows) if r.row.key not in keys])

    def steer(self, key: Any, scales: Scales | None) -> int | None:
        """Let a row's answer go on under other scales, from its next token on.

        Returns:
            That token's place in the answer, from 0; None where no such row is under way.
        """
        reading = [r for one in self._readings for r in one.rows if r.row.key not in one.dropped]
        for running in (*self._waiting, *reading, *self._rows):
            if running.row.key == key:
                return running.steer(copied(scales) if scales else None)
        return None

    def clear(self) -> None:
        """Remove all rows, after an error inside a step."""
        self._waiting, self._readings, self._rows = [], [], []
        self._forget()

    def _forget(self) -> None:
        """Hold nothing of rows that are gone, but for a W′ that is small: the next answer may well
        have the same mixture."""
        self._cache, self._setting, self._plan = None, None, []
        self._let_go()

    def _let_go(self) -> None:
        """Hold no W′ that nobody runs through, unless it is small."""
        if self._merged is not None and self._merged.bytes > KEPT_BYTES:
            self._merged = None

    def _shared(self, new: Sequence[Row]) -> list[Row]:
        """With the scales of rows that are under way or come beside them, where they are equal:
        what is computed for one then serves both. Otherwise with a copy: what is computed holds,
        also where somebody changes theirs."""
        rows = [r for one in self._readings for r in one.rows]
        running = (*self._waiting, *rows, *self._rows)
        known = list({id(r.scales): r.scales for r in running if r.scales}.values())
        if self._merged is not None:
            known.append(self._merged.scales)
        found: dict[int, Scales] = {}  # what stands for each object that was given

        def own(scales: Scales | None) -> Scales | None:
            if not scales:
                return None
            if id(scales) not in found:
                ours = next((one for one in known if equal(one, scales)), None)
                if ours is None:
                    known.append(ours := copied(scales))
                found[id(scales)] = ours
            return found[id(scales)]

        return [
            replace(
                row,
                scales=own(row.scales),
                timeline=[(place, own(scales)) for place, scales in row.timeline],
            )
            for row in new
        ]

    def step(self, tokens: int = PIECE_TOKENS) -> list[Step]:
        """Read a piece of what waits, of so many tokens, or else decode one token of every row; one
        Step per row concerned."""
        return self.read(tokens) if self.reading else self.decode()

    @torch.inference_mode()
    def read(self, tokens: int = PIECE_TOKENS) -> list[Step]:
        """Read a piece of the prompts that wait.

        Where reading fails, the rows concerned end as failed, and no others.

        Returns:
            The first tokens of the prompts that are now read to their ends.
        """
        self._begin_reading()
        if not self._readings:
            return []
        self._reads += 1
        oldest = self._reads % OLDEST_EVERY == 0
        reading = self._readings[0] if oldest else min(self._readings, key=lambda r: r.left)
        try:
            self.tokens_read += reading.read(tokens)
        except Exception as error:
            self._readings.remove(reading)
            return [r.fail(error) for r in reading.rows if r.row.key not in reading.dropped]
        if not reading.ended:
            return []
        self._readings.remove(reading)
        steps = self._first_steps(reading)
        self._join(reading.rows, reading.cache, reading.attention)
        self._keep_unfinished([r for r in reading.rows if r.row.key in reading.dropped])
        return [step for step in steps if step.key not in reading.dropped]

    def _begin_reading(self) -> None:
        """Put what waits into readings: each row with a draft alone, of the others those with the
        same tail and prompts of like length."""
        for running in [r for r in self._waiting if r.draft]:
            self._waiting.remove(running)
            self._read_together([running])
        for tail in tails(r.row for r in self._waiting) or (None,):
            together = [r for r in self._waiting if r.row.tail in (None, tail)]
            self._waiting = [r for r in self._waiting if r.row.tail not in (None, tail)]
            for alike in of_like_length(together):
                self._read_together(alike)

    def _read_together(self, rows: list[RunningRow]) -> None:
        how = self.model, self.adapter, rows, self._base, self.store, self._written
        self._readings.append(Reading(*how))

    def _written(self, scales: Sequence[Scales | None]) -> Setting | None:
        """The setting with W′ for rows of these scales, where all of it is written already."""
        mixtures = {id(one): one for one in scales if one}
        merged = self._merged
        if merged is None or not merged.complete or set(mixtures) != {id(merged.scales)}:
            return None
        return merged.setting

    def _first_steps(self, reading: Reading) -> list[Step]:
        """The first token of every row; of a row with a draft, all that can be kept of it and the
        one that differs, as decoding would have given them one by one."""
        draft = reading.rows[0].draft if len(reading.rows) == 1 else ()
        if not draft:
            return self._advance(reading.rows, reading.logits, reading.states)
        steps: list[Step] = []
        states = reading.predicting
        for place, logits in enumerate(reading.predictions):
            state = None if states is None else states[place][None]
            steps += self._advance(reading.rows, logits[None], state)
            same = place < len(draft) and steps[-1].token == draft[place]
            # once steered, other scales predict what comes behind the first token
            same = same and not reading.rows[0].steered
            if steps[-1].finished or not same:
                reading.keep(place)
                break
        return steps

    @torch.inference_mode()
    def decode(self) -> list[Step]:
        """One token of every row in the batch."""
        if not self._rows:
            return []
        steps = self._advance(self._rows, *self._forward())
        self._keep_unfinished()
        return steps

    def _keep_unfinished(self, dropped: Collection[RunningRow] = ()) -> None:
        gone = set(map(id, dropped))  # another row may have got a dropped one's key meanwhile
        self._keep(
            [i for i, r in enumerate(self._rows) if r.finished is None and id(r) not in gone]
        )

    def _advance(
        self,
        rows: list["RunningRow"],
        logits: Tensor,  # (B, V)
        states: Tensor | None = None,  # (B, hidden)
    ) -> list[Step]:
        samplings, random = [r.row.sampling for r in rows], [r.random for r in rows]
        choices = choose(logits, samplings, random, self.scores)
        if states is not None and not self._may_keep(states, logits):
            states = None
        return [
            r.advance(
                c,
                self.end_tokens,
                logits[i] if r.row.logprobs is not None else None,
                states[i] if states is not None and r.row.states else None,
            )
            for i, (r, c) in enumerate(zip(rows, choices, strict=True))
        ]

    def _may_keep(self, states: Tensor, logits: Tensor) -> bool:
        """Whether the output head alone makes these logits of these states: some models go on with
        what it gives. Looked at once."""
        if self._plain_head is None:
            if not bool(logits.isfinite().all()):
                return False  # of a row that fails: it says nothing of the head
            self._plain_head = makes(self.model, states, logits)
        return self._plain_head

    def _forward(self) -> tuple[Tensor, Tensor | None]:  # (B, V), (B, hidden)
        column = torch.ones(len(self._rows), 1, dtype=torch.long)
        self._attention = torch.cat([self._attention, column], dim=1)
        # The adapter keeps its rows from one step to the next: S ⊙ z is cast and gathered once.
        assert self._cache is not None, "rows without a cache"
        asked = any(r.row.states for r in self._rows)
        with (
            self.adapter.kept() if self.adapter else nullcontext(),
            answering(self.model),
            given_to_head(self.model, asked) as given,
        ):
            if self.adapter:
                self._set_rows(self.adapter)
            logits = self.model(
                input_ids=self._sent(torch.tensor([[r.tokens[-1]] for r in self._rows])),
                # transformers would wait for the device to see that there is no padding
                attention_mask=self._sent(self._attention) if self._padded else None,
                position_ids=self._sent(self._attention.sum(1, keepdim=True) - 1),
                **cached(self.model, self._cache),
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        return logits, given[-1][:, -1] if given else None

    def _sent(self, tensor: Tensor) -> Tensor:
        """On the model's device; it goes there while the host prepares the rest."""
        return tensor.to(self.model.device, non_blocking=True)

    def _set_rows(self, adapter: Adapter) -> None:
        """Set the rows' scales; merged into W′, bit by bit, where all rows but base rows have the
        same and the answer is long enough to pay for it."""
        # The scales themselves are held, not their ids: a freed one's address may be used again.
        plan = [r.at_its_place().scales for r in self._rows]
        same = len(plan) == len(self._plan) and all(map(operator.is_, plan, self._plan))
        if not same:
            self._setting, self._plan = None, []
        own = [r for r, scales in zip(self._rows, plan, strict=True) if scales]
        merged = self._merged_for({id(scales): scales for scales in plan if scales}, own, adapter)
        more = merged is not None and merged.go_on(len(own))
        if self._setting is not None and not more:
            adapter.restore(self._setting)
            return
        adapter.set_rows(plan, merged.setting if merged else None)
        self._setting, self._plan = adapter.current(), plan

    def _merged_for(
        self, mixtures: dict[int, Scales], own: Sequence[RunningRow], adapter: Adapter
    ) -> Merging | None:
        """W′ of the only mixture in the batch, begun where it pays; each matrix is written once,
        whoever joins or leaves beside it."""
        only = next(iter(mixtures.values())) if len(mixtures) == 1 else None
        if only is not None and self._merged is not None and self._merged.scales is only:
            return self._merged
        self._let_go()
        if only is None or not Merging.pays(own):
            return None
        self._merged = None  # the old W′ goes before a new one is made
        self._merged = Merging(only, adapter)
        return self._merged

    def _join(self, new: list["RunningRow"], cache: RoomyCache, attention: Tensor) -> None:
        if self._cache is None:  # no row is decoding
            self._rows, self._cache, self._attention = new, cache, attention
            self._padded = bool((attention == 0).any())
            return
        length = max(attention.shape[1], self._attention.shape[1])
        both = (self._attention, attention)
        self._attention = torch.cat([pad(part, (length - part.shape[1], 0)) for part in both])
        join(self._cache, cache, length)
        self._rows = self._rows + new
        self._padded = bool((self._attention == 0).any())

    def _keep(self, indices: list[int]) -> None:
        """Keep these rows of the batch, and no more left padding than they need."""
        if len(indices) == len(self._rows):
            return
        self._rows = [self._rows[i] for i in indices]
        if not self._rows or self._cache is None:
            self._forget()
            return
        index = torch.tensor(indices)
        self._attention = self._attention[index]
        spare = int(self._attention.shape[1] - self._attention.sum(1).max())
        self._attention = self._attention[:, spare:]
        self._padded = bool((self._attention == 0).any())
        take(self._cache, index, spare)

    def _check(self, row: Row) -> None:
        if row.tail is not None and row.tail < 1:
            raise InputError(f"A row's tail is {row.tail}; expected at least 1, or None.")
        limit = context_limit(self.model)
        wanted = len(row.prompt_ids) + row.sampling.max_new_tokens
        if not row.prompt_ids:
            raise InputError("The prompt has no tokens: type a question or an instruction.")
        if limit is not None and wanted > limit:
            raise InputError(
                f"The prompt has {len(row.prompt_ids)} tokens and up to "
                f"{row.sampling.max_new_tokens} were asked for; the model's context holds {limit}: "
                "shorten the prompt or the answer."
            )


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    adapter: Adapter | None,
    base: Callable[[], AbstractContextManager[None]] | None = None,
) -> list[Completion]:
    """Decode rows to their ends as one batch; completions in the rows' order.

    Greedy rows give the tokens that `transformers.generate(do_sample=False)` gives on the same
    weights. Settings in the model's own generation config other than its end tokens are not used.
    Several threads may call it with one model and one adapter.

    Args:
        base: see `Decoder`.

    Raises:
        InputError: a prompt that does not fit, or a row's logits are not finite.
    """
    decoder = Decoder(model, tokenizer, adapter, base=base)
    decoder.add([replace(row, key=i) for i, row in enumerate(rows)])
    tokens: list[list[int]] = [[] for _ in rows]
    texts: list[list[str]] = [[] for _ in rows]
    finished = [""] * len(rows)
    while len(decoder):
        for step in decoder.step():
            if step.finished == "failed":
                raise step.error or InputError(NOT_FINITE)
            tokens[step.key].append(step.token)
            texts[step.key].append(step.text)
            finished[step.key] = step.finished or ""
    return [
        Completion(tuple(t), "".join(x), f) for t, x, f in zip(tokens, texts, finished, strict=True)
    ]


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What ends an answer, see `end_tokens_in`; a bare backbone has no generation settings."""
    return end_tokens_in(getattr(model, "generation_config", None), tokenizer)
