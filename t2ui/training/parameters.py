"""What a training moves: the scales of an expert. `lora.py` has the same shape for LoRA.

A trainable is a list of parameters and three ways to run the model with them: `training()` with
gradients, `inference()` without, and `base()`, the reference policy.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from t2ui.svf.adapter import Adapter
from t2ui.svf.expert import Expert


class ScaleOffsets:
    """δ = z − 1 of every adapted matrix as one vector, so that no decay could pull towards z = 0.

    Args:
        start: an expert to go on from; otherwise the base model, z = 1.
    """

    def __init__(self, adapter: Adapter, start: Expert | None = None):
        self.adapter, self.model = adapter, adapter.model
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

    def training(self) -> AbstractContextManager:
        """The model with these scales, factored, with gradients."""
        return self.adapter.applied(self.scales(self.offset))

    def inference(self) -> AbstractContextManager:
        """The model with these scales, merged."""
        return self.adapter.applied(self.scales(self.offset.detach()), "merged")

    def base(self) -> AbstractContextManager:
        """The reference policy."""
        return self.adapter.disabled()

    def scales(self, values: Tensor) -> Mapping[str, Tensor]:
        """(all scales,) offsets -> z of every matrix."""
        return dict(zip(self.adapter.names, (1 + values).split(self.sizes), strict=True))
