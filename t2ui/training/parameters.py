"""What a training moves: the scales of an expert. `lora.py` has the same interface for a LoRA."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor, nn

from t2ui.svf.adapter import Adapter, Scales
from t2ui.svf.expert import Expert

if TYPE_CHECKING:
    from transformers import PreTrainedModel

How = Literal["training", "inference", "base"]


class Trainable(Protocol):
    """Parameters that a run trains, and the ways to run the model with them."""

    model: "PreTrainedModel"
    parameters: list[nn.Parameter]
    fingerprint: str  # of what is trained, as checkpoints compare it

    def running(self, how: How) -> AbstractContextManager[None]:
        """The model, inside the block, as the adapted policy π′ or as the base model.

        Args:
            how: "training": π′ with gradients; "inference": π′, as fast as it gets; "base": the
                base model, which is the reference policy π.
        """

    def policy(self) -> Scales:
        """The scales of the policy as it is now, for other machines.

        Raises:
            InputError: it is none that scales can give.
        """


class ScaleOffsets:
    """The scales of all adapted matrices as one vector of offsets, δ = z − 1: a weight decay would
    then pull towards the base model, not towards z = 0.

    Args:
        start: an expert to go on from; otherwise the base model, z = 1.
    """

    def __init__(self, adapter: Adapter, start: Expert | None = None):
        self.adapter = adapter
        self.model = adapter.model
        self.fingerprint = adapter.fingerprint
        self.sizes = [adapter.factors[name].S.numel() for name in adapter.names]
        device = adapter.factors[adapter.names[0]].S.device
        offset = torch.zeros(sum(self.sizes), device=device)
        if start is not None:
            adapter.check(start)
            for name, part in zip(adapter.names, offset.split(self.sizes), strict=True):
                if name in start.scales:
                    part.copy_(start.scales[name] - 1)
        self.offset = nn.Parameter(offset)
        self.parameters: list[nn.Parameter] = [self.offset]

    @contextmanager
    def running(self, how: How) -> Iterator[None]:
        """See `Trainable`: training runs factored, inference merged, and no scales are the base
        model exactly."""
        offset = self.offset if how == "training" else self.offset.detach()
        scales = {} if how == "base" else self.scales(offset)
        with self.adapter.applied(scales, "merged" if how == "inference" else "factored"):
            yield

    def policy(self) -> Scales:
        return self.scales(self.offset.detach())

    def scales(self, values: Tensor) -> Mapping[str, Tensor]:
        """(all scales,) offsets -> z of every matrix."""
        return dict(zip(self.adapter.names, (1 + values).split(self.sizes), strict=True))
