"""The keys and values that a batch has in transformers' cache: its rows chosen, moved, padded, and
room for the tokens to come."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import (
    CacheLayerMixin,
    DynamicLayer,
    LinearAttentionCacheLayerMixin,
)

from t2ui.errors import InputError

LEAST_ROOM = 64  # columns for tokens to come, wherever keys and values have to be moved
ROOM_SHARE = 8  # and at least an eighth of what is there


class RoomyCache(DynamicCache):
    """transformers' DynamicCache, which copies all keys and values for every piece and every token,
    with room behind them: what is new is written there.

    Not for gradients: what was computed with the keys and values is written beside.
    """

    def __init__(self, columns: int = 0) -> None:
        """
        Args:
            columns: that there is room for from the beginning: of a prompt of known length, say.
        """
        super().__init__()
        self._columns = columns

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new keys and values, (B, heads, T, width) each, behind those of a layer; all of
        them."""
        while len(self.layers) <= layer_idx:
            self.layers.append(_RoomyLayer(self._columns))
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)


class _RoomyLayer(DynamicLayer):
    """`keys` and `values` are the filled part of longer tensors, as long as nobody replaces them:
    then they are moved into new ones when the next tokens come."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self._columns = columns
        self._held: list[Tensor] = []  # the longer tensors of keys and of values

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """See `RoomyCache.update`."""
        new = (key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(*new)
        length = self.get_seq_length()
        end = length + key_states.shape[2]
        parts = [one[:, :, :0] for one in new]
        if length:
            assert self.keys is not None and self.values is not None
            parts = [self.keys, self.values]
        if not self._has_room(parts, end):
            self._hold([parts], length, end)
        for held, one in zip(self._held, new, strict=True):
            held[:, :, length:end] = one
        self.keys, self.values = (held[:, :, :end] for held in self._held)
        return self.keys, self.values

    def fill(self, batches: Sequence[Sequence[Tensor]], length: int) -> None:
        """Hold the keys and values of several batches, all padded on the left to this length."""
        self._hold(batches, length, length + 1)
        self.keys, self.values = (held[:, :, :length] for held in self._held)

    def _hold(self, batches: Sequence[Sequence[Tensor]], length: int, end: int) -> None:
        """Hold the keys and values of one batch or several, padded with zeros on the left to this
        length, with room for columns up to `end` and beyond."""
        columns = self._columns
        if end > columns:
            columns = end + max(LEAST_ROOM, end // ROOM_SHARE)
        self._held = []  # before the new ones are made
        for parts in zip(*batches, strict=True):
            rows = sum(len(part) for part in parts)
            _, heads, _, width = parts[0].shape
            self._held.append(parts[0].new_empty(rows, heads, columns, width))
            for place, part in zip(self._held[-1].split([*map(len, parts)]), parts, strict=True):
                padding = length - part.shape[2]
                place[:, :, :padding] = 0  # not seen, but a NaN would be
                place[:, :, padding:length] = part

    def _has_room(self, parts: Sequence[Tensor], end: int) -> bool:
        """Whether keys and values still lie at the beginning of what is held, and it is long
        enough."""
        return bool(self._held) and all(
            held.data_ptr() == part.data_ptr()
            and held.stride() == part.stride()
            and held.shape[0] == part.shape[0]
            and held.shape[2] >= end
            for held, part in zip(self._held, parts, strict=True)
        )


def take(cache: DynamicCache, index: Tensor, spare: int = 0) -> None:
    """Keep these rows of a cache, without its first `spare` columns."""
    for layer, keys, values in attention_layers(cache):
        on = index.to(keys.device)
        layer.keys = keys[on][:, :, spare:]
        layer.values = values[on][:, :, spare:]


def join(cache: RoomyCache, other: RoomyCache, length: int) -> None:
    """Take the rows of another cache in behind those of this one, all padded on the left to this
    length."""
    layers = zip(attention_layers(cache), attention_layers(other), strict=True)
    for (layer, *own), (_, *joining) in layers:
        assert isinstance(layer, _RoomyLayer)
        layer.fill([own, joining], length)


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
