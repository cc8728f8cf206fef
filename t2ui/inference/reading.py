"""Reads prompts in pieces, so that a long one holds up nobody and can be dropped at any time.

Several prompts are read together, each row with its own scales. What all of them begin with, a
chat format say, is read once for the rows that have the same scales.
"""

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin, LinearAttentionCacheLayerMixin

from t2ui.errors import InputError
from t2ui.inference.rows import Row, RunningRow
from t2ui.models.likelihood import answering, cached, shared_length
from t2ui.svf.adapter import Adapter, Scales, Setting

# Reading a shared beginning once costs a further forward pass: it pays from about this many tokens.
LEAST_SHARED = 8


class Reading:
    """Prompts being read together. Call `read` until `ended`; then its rows can join a batch.

    Afterwards `cache`, `attention` (B, T) and `logits` (B, V) belong to `rows`, in their order.
    """

    def __init__(self, model: PreTrainedModel, adapter: Adapter | None, rows: Sequence[RunningRow]):
        """Without an adapter the rows run through the model as it is set at each call."""
        self._model, self._adapter = model, adapter
        self.rows = list(rows)
        self.dropped: set[object] = set()  # keys that nobody waits for any more
        self.cache = DynamicCache()
        self.logits = torch.empty(0)
        # Rollouts of one prompt differ only from their first token on: it is read once for all.
        place: dict[tuple, int] = {}
        self._place = [
            place.setdefault((tuple(r.row.prompt_ids), id(r.row.scales or None)), len(place))
            for r in self.rows
        ]
        self._read_rows = [self.rows[self._place.index(i)].row for i in range(len(place))]
        self._distinct = list({id(r.scales or None): r for r in self._read_rows}.values())
        self._shared = self._worth_sharing()
        self.attention = self._padded_attention()
        self.total = self.attention.shape[1]  # tokens of the longest prompt
        self.done = 0  # of them, read so far
        self._setting: Setting | None = None

    @property
    def ended(self) -> bool:
        """Whether every prompt is read to its end."""
        return self.done == self.total

    @property
    def left(self) -> int:
        """Tokens that are still to be read, padding counted."""
        return (self.total - self.done) * len(self._read_rows)

    @property
    def keys(self) -> list[object]:
        """The rows' keys, dropped ones included."""
        return [r.row.key for r in self.rows]

    def read(self, tokens: int) -> int:
        """Read about so many tokens, of all rows together, and at least one of each.

        Returns:
            How many were read, padding counted.
        """
        read = 0
        while read < tokens and not self.ended:
            read += self._read_piece(tokens - read)
        return read

    def _read_piece(self, tokens: int) -> int:
        """One forward pass; how many tokens it read."""
        rows = self._distinct if self.done < self._shared else self._read_rows
        end = self._shared if self.done < self._shared else self.total
        end = min(end, self.done + max(1, tokens // len(rows)))
        if self.done < self._shared:
            ids = torch.tensor([list(rows[0].prompt_ids[self.done : end])] * len(rows))
            attention = torch.ones(len(rows), end, dtype=torch.long)
        else:
            ids = torch.stack([self._columns(row, self.done, end) for row in rows])
            attention = self.attention[:, :end]
        read = (end - self.done) * len(rows)
        self.logits = self._run([row.scales for row in rows], ids, attention)
        self.done = end
        if end == self._shared:
            self._leave_shared()
        if self.ended:
            self._finish()
        return read

    def drop(self, keys: Collection[object]) -> bool:
        """Let rows go; whether any is left that somebody waits for."""
        self.dropped |= set(keys) & set(self.keys)
        return len(self.dropped) < len(self.rows)

    def _worth_sharing(self) -> int:
        """How many tokens at the beginning are read once, and not by every row; 0 for none."""
        rows = self._read_rows
        prompts = [row.prompt_ids for row in rows]
        shared = min(shared_length(prompts), min(map(len, prompts)) - 1)
        windowed = getattr(self._model.config.get_text_config(), "sliding_window", None) is not None
        # transformers counts a window in columns of the cache, and padding would lie in between
        if len(self._distinct) > len(rows) // 2 or shared < LEAST_SHARED or windowed:
            return 0
        return shared

    def _padded_attention(self) -> Tensor:  # (B, T)
        """1 for a token, 0 for the padding, which lies behind what is shared."""
        length = max(len(row.prompt_ids) for row in self._read_rows)
        attention = torch.ones(len(self._read_rows), length, dtype=torch.long)
        for i, row in enumerate(self._read_rows):
            attention[i, self._shared : self._shared + length - len(row.prompt_ids)] = 0
        return attention

    def _columns(self, row: Row, start: int, end: int) -> Tensor:  # (end - start,)
        """A row's ids in these columns behind the shared ones; 0 where there is padding."""
        padding = self.total - len(row.prompt_ids)
        own = [0] * max(0, min(end, self._shared + padding) - start)
        first = max(start - padding, self._shared)
        return torch.tensor(own + list(row.prompt_ids[first : first + end - start - len(own)]))

    def _leave_shared(self) -> None:
        """From one row for each of the scales to one for each prompt."""
        place = {id(row.scales or None): i for i, row in enumerate(self._distinct)}
        take(self.cache, torch.tensor([place[id(row.scales or None)] for row in self._read_rows]))
        self._setting = None

    def _finish(self) -> None:
        if self._shared:  # the padding goes where others expect it
            self.attention = padding_first(self.cache, self.attention)
        if len(self._read_rows) < len(self.rows):
            index = torch.tensor(self._place)
            take(self.cache, index)
            self.attention, self.logits = self.attention[index], self.logits[index]

    def _run(self, scales: list[Scales | None], ids: Tensor, attention: Tensor) -> Tensor:
        """Logits (B, V) behind the last token; `attention` is of the cache and of `ids`."""
        if self._adapter is None:
            return self._forward(ids, attention)
        with self._adapter.kept():
            if self._setting is None:  # S ⊙ z is cast and gathered once, not for every piece
                self._adapter.set_rows(scales)
                self._setting = self._adapter.current()
            else:
                self._adapter.restore(self._setting)
            return self._forward(ids, attention)

    def _forward(self, ids: Tensor, attention: Tensor) -> Tensor:
        device = self._model.device
        positions = (attention.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with answering(self._model):
            return self._model(
                input_ids=ids.to(device),
                attention_mask=attention.to(device),
                position_ids=positions.to(device),
                **cached(self._model, self.cache),
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]


def take(cache: DynamicCache, index: Tensor, spare: int = 0) -> None:
    """Keep these rows of a cache, without its first `spare` columns."""
    for layer, keys, values in attention_layers(cache):
        on = index.to(keys.device)
        layer.keys = keys[on][:, :, spare:]
        layer.values = values[on][:, :, spare:]


def padding_first(cache: DynamicCache, attention: Tensor) -> Tensor:
    """Move every row's padding before its tokens; the attention (B, T) that belongs to it."""
    order = attention.argsort(dim=1, stable=True)  # (B, T)
    for layer, keys, values in attention_layers(cache):
        on = order.to(keys.device)[:, None, :, None]
        layer.keys = keys.gather(2, on.expand_as(keys))
        layer.values = values.gather(2, on.expand_as(values))
    return attention.gather(1, order)


def attention_layers(cache: DynamicCache) -> Iterator[tuple[CacheLayerMixin, Tensor, Tensor]]:
    """Every layer of a cache that a forward pass has filled, with its keys and its values, each
    (B, heads, T, width).

    Raises:
        InputError: a layer has no keys and values, or more than these (linear attention, say).
    """
    for layer in cache.layers:
        if isinstance(layer, LinearAttentionCacheLayerMixin) or not isinstance(
            layer, CacheLayerMixin
        ):
            raise InputError(
                f"The model's cache has a {type(layer).__name__}; expected attention layers with "
                "keys and values alone: load a model of another architecture."
            )
        if layer.keys is None or layer.values is None:
            raise InputError(
                f"The model's cache has a {type(layer).__name__} without keys and values; every "
                "layer is expected to have its own: load a model of another architecture."
            )
        yield layer, layer.keys, layer.values
