"""Decoding one batch in which every row has its own mixture, seed and sampling settings.

Rows join and leave between steps, so a request that arrives does not wait for others' answers and
a cancelled one is gone after the step under way. Knows token ids, scales and text pieces, nothing
of prompts, experts' names or processes.
"""

import math
import operator
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.models.likelihood import answering, cached, shared_length
from t2ui.svf.adapter import Adapter, Scales, Setting
from t2ui.svf.modules import check_model

# Writing W′ costs about as much as this many tokens save over the factored form at one row.
MERGE_FROM_TOKENS = 48
# Beyond this a division by the least temperature leaves float32.
LARGEST_LOGIT = 1e30
NOT_FINITE = (
    "The model's output is not finite any more with these scales: use smaller weights (in a "
    "training, a smaller learning rate), or float32."
)
# A second forward pass pays from about this many tokens on that are read once instead of often.
LEAST_SHARED = 8


@dataclass(frozen=True)
class Row:
    """One answer to be decoded. `scales` None or {}: the base model."""

    key: Any  # chosen by the caller, unique in the batch
    prompt_ids: Sequence[int]
    scales: Scales | None = None
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Step:
    """What one row did in one step. `text` may be empty: half a character, or a held-back stop."""

    key: Any
    token: int  # -1 where it failed
    text: str
    # None | "end" (end token) | "stop" (stop string) | "length" | "failed" (NOT_FINITE, no token)
    finished: str | None
    # log π(token | …), nats; of decoders that score, and -inf where it failed
    log_likelihood: float | None = None


@dataclass(frozen=True)
class Completion:
    """A finished row. `token_ids` include the end token, `text` does not."""

    token_ids: tuple[int, ...]
    text: str
    finished: str


class Decoder:
    """A running batch on one model. `add` rows, call `step` until `len(decoder)` is 0.

    One decoder belongs to one thread; several on one model may run in several threads, which take
    turns step by step. A model in train mode answers as in eval mode.
    """

    def __init__(self, model, tokenizer, adapter: Adapter | None, scores: bool = False):
        """Without an adapter every row runs through the model as it is set at the moment.

        Args:
            scores: whether steps carry their tokens' log-likelihoods.
        """
        self.model, self.tokenizer, self.adapter = check_model(model), tokenizer, adapter
        self.scores = scores
        self.end_tokens = frozenset(end_tokens(model, tokenizer))
        self._waiting: list[_Running] = []
        self._rows: list[_Running] = []  # in the order of the batch
        self._cache: DynamicCache | None = None
        self._attention = torch.zeros(0, 0, dtype=torch.long)  # (B, T), 0 is left padding
        self._plan: list[Scales | None] = []  # the scales that `_setting` was made for
        self._setting: Setting | None = None

    def __len__(self) -> int:
        """Rows that are decoding or about to."""
        return len(self._rows) + len(self._waiting)

    def add(self, rows: Iterable[Row]) -> None:
        """Let rows join at the next step.

        Raises:
            InputError: a prompt that is empty or, with its answer, longer than the context.
        """
        new = [_Running(row, self.tokenizer) for row in rows]
        for running in new:
            self._check_length(running.row)
        self._waiting += new

    def drop(self, keys: Collection[Any]) -> None:
        """Remove rows at once; unknown keys are ignored (they may just have finished)."""
        self._waiting = [r for r in self._waiting if r.row.key not in keys]
        self._keep([i for i, r in enumerate(self._rows) if r.row.key not in keys])

    def clear(self) -> None:
        """Remove all rows, after an error inside a step."""
        self._waiting, self._rows = [], []
        self._forget()

    def _forget(self) -> None:
        """Hold nothing of rows that are gone: a merged W′ is as large as the model."""
        self._cache, self._setting, self._plan = None, None, []

    @torch.inference_mode()
    def step(self) -> list[Step]:
        """Prefill what waits, or else decode one token of every row; one Step a row concerned."""
        if self._waiting:
            new, self._waiting = self._waiting, []
            cache, attention, logits = self._prefill(new)
            steps = self._advance(new, logits)
            self._join(new, cache, attention)
        elif self._rows:
            steps = self._advance(self._rows, self._forward())
        else:
            return []
        self._keep([i for i, r in enumerate(self._rows) if r.finished is None])
        return steps

    def _advance(self, rows: list["_Running"], logits: Tensor) -> list[Step]:  # (B, V)
        # NaN and infinity show in the largest; they end their own row, not the batch
        usable = (logits.amax(-1).abs() < LARGEST_LOGIT).tolist()
        steps = [
            row.advance(logits[i], self.end_tokens) if usable[i] else row.fail()
            for i, row in enumerate(rows)
        ]
        if not self.scores:
            return steps
        picked = torch.tensor([[max(step.token, 0)] for step in steps], device=logits.device)
        scored = logits.float().log_softmax(-1).gather(1, picked).flatten().tolist()
        return [
            replace(step, log_likelihood=score) if step.finished != "failed" else step
            for step, score in zip(steps, scored, strict=True)
        ]

    def _prefill(self, new: list["_Running"]) -> tuple[DynamicCache, Tensor, Tensor]:
        # Rollouts of one prompt differ only from their first token on: read it once for all.
        place: dict[tuple, int] = {}
        index = [
            place.setdefault((tuple(r.row.prompt_ids), id(r.row.scales or None)), len(place))
            for r in new
        ]
        rows = [new[index.index(i)].row for i in range(len(place))]
        cache, attention, logits = self._read(rows)
        if len(rows) < len(new):
            _take(cache, torch.tensor(index))
            attention, logits = attention[index], logits[index]
        return cache, attention, logits

    def _read(self, rows: list[Row]) -> tuple[DynamicCache, Tensor, Tensor]:
        """Read prompts. What all of them begin with, a chat format say, is read once for the rows
        that have the same scales."""
        prompts = [row.prompt_ids for row in rows]
        distinct = list({id(row.scales or None): row for row in rows}.values())
        shared = min(shared_length(prompts), min(map(len, prompts)) - 1)
        cache = DynamicCache()
        if len(distinct) > len(rows) // 2 or shared < LEAST_SHARED or self._has_window():
            shared = 0
        else:
            ids = torch.tensor([list(prompts[0][:shared])] * len(distinct))
            self._run(distinct, ids, torch.ones_like(ids), cache)
            place = {id(row.scales or None): i for i, row in enumerate(distinct)}
            _take(cache, torch.tensor([place[id(row.scales or None)] for row in rows]))
        length = max(map(len, prompts)) - shared
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        attention = torch.ones(len(rows), shared + length, dtype=torch.long)
        for i, prompt in enumerate(prompts):
            padding = shared + length - len(prompt)
            ids[i, padding:] = torch.tensor(prompt[shared:])
            attention[i, shared : shared + padding] = 0
        logits = self._run(rows, ids, attention, cache)
        if shared:  # the padding lies behind what is shared: it goes where others expect it
            attention = _padding_first(cache, attention)
        return cache, attention, logits

    def _run(self, rows: list[Row], ids: Tensor, attention: Tensor, cache: DynamicCache) -> Tensor:
        """Logits (B, V) behind the last token; `attention` is of the cache and of `ids`."""
        device = self.model.device
        positions = (attention.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with self._adapted([row.scales for row in rows]), answering(self.model):
            return self.model(
                input_ids=ids.to(device),
                attention_mask=attention.to(device),
                position_ids=positions.to(device),
                **cached(self.model, cache),
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]

    def _has_window(self) -> bool:
        """Whether attention has a window, which transformers counts in columns of the cache."""
        return getattr(self.model.config.get_text_config(), "sliding_window", None) is not None

    def _forward(self) -> Tensor:  # (B, V)
        device = self.model.device
        column = torch.ones(len(self._rows), 1, dtype=torch.long)
        self._attention = torch.cat([self._attention, column], dim=1)
        # The adapter keeps its rows from one step to the next: S ⊙ z is cast and gathered once.
        with self.adapter.kept() if self.adapter else nullcontext(), answering(self.model):
            if self.adapter:
                self._set_rows()
            return self.model(
                input_ids=torch.tensor([[r.tokens[-1]] for r in self._rows], device=device),
                attention_mask=self._attention.to(device),
                position_ids=(self._attention.sum(1, keepdim=True) - 1).to(device),
                **cached(self.model, self._cache),
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]

    def _adapted(self, scales: list[Scales | None]) -> AbstractContextManager:
        return self.adapter.rows(scales) if self.adapter else nullcontext()

    def _set_rows(self) -> None:
        """The rows' scales; merged into one weight where they are all the same and the answer is
        long enough to pay for it."""
        # The scales themselves are held, not their ids: a freed one's address may be used again.
        plan = [r.row.scales or None for r in self._rows]
        same = len(plan) == len(self._plan) and all(map(operator.is_, plan, self._plan))
        if same and self._setting is not None:
            return self.adapter.restore(self._setting)
        self._setting, self._plan = None, []  # the old W′ goes before a new one is made
        longest = max(r.row.sampling.max_new_tokens - len(r.tokens) for r in self._rows)
        if len(set(map(id, plan))) == 1 and plan[0] is not None and longest >= MERGE_FROM_TOKENS:
            self.adapter.set(self._rows[0].row.scales, "merged")
        else:
            self.adapter.set_rows([r.row.scales for r in self._rows])
        self._setting, self._plan = self.adapter.current(), plan

    def _join(self, new: list["_Running"], cache: DynamicCache, attention: Tensor) -> None:
        if not self._rows:
            self._rows, self._cache, self._attention = new, cache, attention
            return
        length = max(attention.shape[1], self._attention.shape[1])
        both = (self._attention, attention)
        self._attention = torch.cat([_pad_left(part, length, 1) for part in both])
        for old, layer in zip(self._cache.layers, cache.layers, strict=True):
            for part in ("keys", "values"):
                pair = (getattr(old, part), getattr(layer, part))
                setattr(old, part, torch.cat([_pad_left(p, length, 2) for p in pair]))
        self._rows = self._rows + new

    def _keep(self, indices: list[int]) -> None:
        """Keep these rows of the batch, and no more left padding than they need."""
        if len(indices) == len(self._rows):
            return
        self._rows = [self._rows[i] for i in indices]
        if not self._rows:
            return self._forget()
        index = torch.tensor(indices)
        self._attention = self._attention[index]
        spare = int(self._attention.shape[1] - self._attention.sum(1).max())
        self._attention = self._attention[:, spare:]
        _take(self._cache, index, spare)

    def _check_length(self, row: Row) -> None:
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        wanted = len(row.prompt_ids) + row.sampling.max_new_tokens
        if not row.prompt_ids:
            raise InputError("The prompt has no tokens: type a question or an instruction.")
        if limit is not None and wanted > limit:
            raise InputError(
                f"The prompt has {len(row.prompt_ids)} tokens and up to "
                f"{row.sampling.max_new_tokens} were asked for; the model's context holds {limit}: "
                "shorten the prompt or the answer."
            )


def generate(model, tokenizer, rows: Sequence[Row], adapter: Adapter | None) -> list[Completion]:
    """Decode rows to their ends as one batch; completions in the rows' order.

    Greedy rows give the tokens that `transformers.generate(do_sample=False)` gives on the same
    weights. Settings in the model's own generation config other than its end tokens are not used.
    Several threads may call it with one model and one adapter.

    Raises:
        InputError: a prompt that does not fit, or a row's logits are not finite.
    """
    decoder = Decoder(model, tokenizer, adapter)
    decoder.add([Row(i, r.prompt_ids, r.scales, r.sampling) for i, r in enumerate(rows)])
    tokens: list[list[int]] = [[] for _ in rows]
    texts: list[list[str]] = [[] for _ in rows]
    finished = [""] * len(rows)
    while len(decoder):
        for step in decoder.step():
            if step.finished == "failed":
                raise InputError(NOT_FINITE)
            tokens[step.key].append(step.token)
            texts[step.key].append(step.text)
            finished[step.key] = step.finished or ""
    return [
        Completion(tuple(t), "".join(x), f) for t, x, f in zip(tokens, texts, finished, strict=True)
    ]


def end_tokens(model, tokenizer) -> list[int]:
    """The end tokens of the model's generation settings, and the tokenizer's: many models that were
    fine-tuned for chats list only the former, which their base model had."""
    settings = getattr(model, "generation_config", None)  # a bare backbone has none
    end = getattr(settings, "eos_token_id", None)
    listed = end if isinstance(end, (list, tuple)) else [end]
    found = dict.fromkeys([*listed, tokenizer.eos_token_id])
    return [token for token in found if token is not None]


class _Running:
    """One row under way: its tokens, its random numbers, its text."""

    def __init__(self, row: Row, tokenizer):
        self.row, self.tokenizer = row, tokenizer
        self.tokens: list[int] = []
        self.finished: str | None = None
        self.random = torch.Generator().manual_seed(row.sampling.seed)
        self.warpers = _warpers(row.sampling)
        self.shown = 0  # characters handed out
        self.hold = max((len(s) for s in row.sampling.stop), default=1) - 1

    def advance(self, logits: Tensor, ends: Collection[int]) -> Step:  # (V,)
        sampling = self.row.sampling
        token = self._sample(logits)
        self.tokens.append(token)
        text = self._decoded()
        stop = min((i for s in sampling.stop if (i := text.find(s)) >= 0), default=-1)
        if token in ends:
            self.finished = "end"
        elif stop >= 0:
            self.finished = "stop"
        elif len(self.tokens) >= sampling.max_new_tokens:
            self.finished = "length"
        until = len(text) if stop < 0 else stop
        if self.finished is None:
            until -= self.hold
        if self.finished in (None, "length"):
            # Half a character: wait for its other bytes, or drop it where none will come. Some
            # tokenizers show one sign for each byte.
            until = min(until, len(text.rstrip("\ufffd")))
        new = text[self.shown : max(until, self.shown)]
        self.shown += len(new)
        return Step(self.row.key, token, new, self.finished)

    def fail(self) -> Step:
        """End without a token: the logits hold none."""
        self.finished = "failed"
        return Step(self.row.key, -1, self._decoded()[self.shown :], self.finished, -math.inf)

    def _decoded(self) -> str:
        return self.tokenizer.decode(
            self.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def _sample(self, logits: Tensor) -> int:
        if self.row.sampling.temperature == 0:
            return int(logits.argmax())
        # On the CPU in float32, so that a seed gives the same tokens on every device.
        scores = self.warpers(torch.zeros(1, 0, dtype=torch.long), logits.float().cpu()[None])
        return int(torch.multinomial(scores.softmax(-1)[0], 1, generator=self.random))


def _warpers(sampling: Sampling) -> LogitsProcessorList:
    warpers = LogitsProcessorList()
    if sampling.temperature not in (0, 1):
        warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    return warpers


def _take(cache: DynamicCache, index: Tensor, spare: int = 0) -> None:
    """Keep these rows of a cache, without its first `spare` columns."""
    for layer in cache.layers:
        on = index.to(layer.keys.device)
        layer.keys = layer.keys[on][:, :, spare:]
        layer.values = layer.values[on][:, :, spare:]


def _padding_first(cache: DynamicCache, attention: Tensor) -> Tensor:
    """Move every row's padding before its tokens; the attention (B, T) that belongs to it."""
    order = attention.argsort(dim=1, stable=True)  # (B, T)
    for layer in cache.layers:
        on = order.to(layer.keys.device)[:, None, :, None]
        layer.keys = layer.keys.gather(2, on.expand_as(layer.keys))
        layer.values = layer.values.gather(2, on.expand_as(layer.values))
    return attention.gather(1, order)


def _pad_left(tensor: Tensor, length: int, dim: int) -> Tensor:
    missing = length - tensor.shape[dim]
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat([tensor.new_zeros(shape), tensor], dim=dim)
