"""The keys and values that a batch has in transformers' cache: its rows chosen, moved, padded."""

from collections.abc import Iterator

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import CacheLayerMixin, LinearAttentionCacheLayerMixin

from t2ui.errors import InputError


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
