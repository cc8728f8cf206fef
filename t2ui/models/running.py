"""How a model is run: as it answers, with its cache, and by whom a prompt is read.

Knows nothing of text, experts or what is computed.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from t2ui.errors import InputError
from t2ui.model_lock import locked
from t2ui.products import linear
from t2ui.wrapped_models import unwrapped

if TYPE_CHECKING:
    from transformers import Cache


CPU_TOKENS, DEVICE_TOKENS = 400, 2048
# Of logits, beside the largest; of the narrower dtypes more.
ROUNDING, HALF_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-8}, 0.02


def tokens_at_once(model: nn.Module) -> int:
    """How many tokens one forward pass may have where other people's answers wait for it: on a CPU
    about a second's (with 1500 it was up to 20 seconds on a busy machine)."""
    return CPU_TOKENS if next(model.parameters()).device.type == "cpu" else DEVICE_TOKENS


class BaseReading(NamedTuple):
    """Scope "answer": the base model reads a prompt but for its last tokens; what is set on the
    model acts from there on."""

    tail: int  # how many last tokens, at least 1
    base: Callable[[], AbstractContextManager[None]]  # the base model, inside the block


@contextmanager
def answering(model: nn.Module, dropout: bool = False) -> Iterator[None]:
    """A model as it answers, for this thread alone inside the block: dropout off, as in eval mode,
    and the output head's input contiguous.

    Afterwards every module is in the mode that it was in. Other threads wait, see `model_lock`.

    Args:
        dropout: leave the mode as it is: for a training step's forward pass.
    """
    with locked(model), _without_dropout(model, dropout), contiguous_head(model):
        yield


@contextmanager
def _without_dropout(model: nn.Module, dropout: bool) -> Iterator[None]:
    in_train_mode = [] if dropout else [m for m in model.modules() if m.training]
    for module in in_train_mode:
        module.training = False
    try:
        yield
    finally:
        for module in in_train_mode:
            module.training = True


@contextmanager
def contiguous_head(model: nn.Module) -> Iterator[None]:
    """Hand the output head a contiguous input inside the block, see also `linear`.

    transformers slices the last positions of a batch; the CPU's matmul then copies the head's
    whole weight once a row, which takes longer than the rest of the model.

    Raises:
        InputError: the model has no output head.
    """
    head = _head(model)
    if type(head) is nn.Linear and "forward" not in vars(head) and unwrapped(model) is model:
        vars(head)["forward"] = lambda x: linear(x.contiguous(), head.weight, head.bias)
        try:
            yield
        finally:
            del vars(head)["forward"]
        return
    hook = head.register_forward_pre_hook(lambda _, args: (args[0].contiguous(), *args[1:]))
    try:
        yield
    finally:
        hook.remove()


def _head(model: nn.Module) -> nn.Module:
    get = getattr(model, "get_output_embeddings", None)
    head: nn.Module | None = get() if get else None
    if head is None:
        raise InputError(
            f"{type(unwrapped(model)).__name__} has no output head, so it cannot answer: load the "
            "whole model, with load_model or AutoModelForCausalLM."
        )
    return head


@contextmanager
def given_to_head(model: nn.Module, asked: bool = True) -> Iterator[list[Tensor]]:
    """What the output head is given inside the block, one call after the other: the hidden states
    (B, T, hidden) that it makes logits of; nothing where it is not asked for."""
    given: list[Tensor] = []
    if not asked:
        yield given
        return
    hook = _head(model).register_forward_pre_hook(lambda _, args: given.append(args[0]))
    try:
        yield given
    finally:
        hook.remove()


@torch.inference_mode()
def by_head(model: nn.Module, states: Tensor) -> Tensor:  # (T, hidden) -> (T, V) float32
    """The output head's logits of such states."""
    with answering(model):
        found: Tensor = _head(model)(states)
    return found.float()


def makes(model: nn.Module, states: Tensor, logits: Tensor) -> bool:  # (T, hidden), (T, V)
    """Whether the output head alone makes these logits of these states, to rounding."""
    most = ROUNDING.get(states.dtype, HALF_ROUNDING) * float(logits.float().abs().max())
    return bool((by_head(model, states) - logits.float()).abs().max() <= most)


def cached(model: nn.Module, cache: "Cache") -> dict[str, object]:
    """The argument that hands a model its cache: `cache` from transformers 5.24 on, which warns of
    `past_key_values`, the name before that."""
    named = "cache" in inspect.signature(type(unwrapped(model)).forward).parameters
    return {"cache" if named else "past_key_values": cache}
