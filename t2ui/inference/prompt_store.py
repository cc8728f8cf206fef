"""Keeps what the base model has read, so that the same prompt need not be read again.

With scope "answer" one reading serves the base model and every mixture: whoever moves a slider, or
tries seven mixtures one after the other, reads the prompt once. Knows token ids only; holds keys
and values of one row each. Not thread-safe.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from t2ui.models.batch_cache import RoomyCache, attention_layers

LEAST_KEPT = 8  # tokens: a shorter beginning costs less to read than to look up and to copy

Layers = list[tuple[Tensor, Tensor]]  # per layer: keys and values, (1, heads, T, width) each


class PromptStore:
    """The prompts that were read last, up to a limit in bytes; the oldest goes first."""

    def __init__(self, limit: int = 256 * 2**20):
        """With a limit of 0 nothing is kept."""
        self._limit = limit
        self._kept: OrderedDict[tuple[int, ...], Layers] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """What the kept keys and values take."""
        return self._bytes

    def put(self, ids: Sequence[int], cache: DynamicCache, row: int = 0) -> None:
        """Keep a copy of one row, which holds these ids at its end, behind any padding."""
        key = tuple(ids)
        if len(key) < LEAST_KEPT or key in self._kept:
            return
        one = slice(row, row + 1)
        layers = [
            (keys[one, :, -len(key) :], values[one, :, -len(key) :])
            for _, keys, values in attention_layers(cache)
        ]
        size = sum(map(_size, layers))
        if size > self._limit:
            return
        for shorter in [k for k in self._kept if key[: len(k)] == k]:  # the new one serves them too
            self._forget(shorter)
        while self._bytes + size > self._limit:
            self._forget(next(iter(self._kept)))
        self._kept[key] = [(keys.clone(), values.clone()) for keys, values in layers]
        self._bytes += size

    def beginning(self, ids: Sequence[int], columns: int = 0) -> tuple[int, RoomyCache | None]:
        """The longest beginning of these ids that is kept: its length, and a cache of one row
        that holds it, with room for so many columns in all; 0 and None where it is not worth it."""
        best, length = None, 0
        for key in self._kept:
            alike = _alike(key, ids)
            if alike > length:
                best, length = key, alike
        if best is None or length < LEAST_KEPT:
            return 0, None
        self._kept.move_to_end(best)
        cache = RoomyCache(columns)
        for number, (keys, values) in enumerate(self._kept[best]):
            cache.update(keys[:, :, :length], values[:, :, :length], number)
        return length, cache

    def whole(self, prompts: Sequence[Sequence[int]], columns: int = 0) -> RoomyCache | None:
        """A batch of prompts that are all kept, each whole, padded on the left, with room for so
        many columns in all; None where one is not."""
        found = [self._holding(tuple(ids)) for ids in prompts]
        kept = [layers for layers in found if layers is not None]
        if len(kept) < len(prompts):
            return None
        length = max(map(len, prompts))
        cache = RoomyCache(columns)
        for number, rows in enumerate(zip(*kept, strict=True)):
            keys, values = (
                torch.cat(
                    [
                        pad(row[part][:, :, : len(ids)], (0, 0, length - len(ids), 0))
                        for row, ids in zip(rows, prompts, strict=True)
                    ]
                )
                for part in (0, 1)
            )
            cache.update(keys, values, number)
        return cache

    def _holding(self, ids: tuple[int, ...]) -> Layers | None:
        """What is kept that begins with these ids."""
        key = next((key for key in self._kept if key[: len(ids)] == ids), None)
        if key is None or not ids:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def clear(self) -> None:
        """Forget everything: memory is short, or the model's weights have changed."""
        self._kept.clear()
        self._bytes = 0

    def _forget(self, key: tuple[int, ...]) -> None:
        layers = self._kept.pop(key)
        self._bytes -= sum(map(_size, layers))


def _size(layer: tuple[Tensor, Tensor]) -> int:
    """Bytes of a layer's keys and values, which may differ in width."""
    return sum(tensor.numel() * tensor.element_size() for tensor in layer)


def _alike(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with."""
    length = min(len(a), len(b))
    if tuple(a[:length]) == tuple(b[:length]):
        return length
    return next(i for i in range(length) if a[i] != b[i])
