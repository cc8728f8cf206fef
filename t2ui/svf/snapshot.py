"""What a model's weights were: enough to notice, at little cost, that one has changed since."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

SAMPLES = 16  # elements of every matrix that are looked at each time


class Snapshot:
    """The weights of some modules at one moment.

    A weight that was replaced, moved, or written to in place has changed; so has one whose write
    went past torch's count of writes (`weight.data`), where it hit an element that is looked at.
    """

    def __init__(self, modules: Mapping[str, nn.Module]):
        self._modules = dict(modules)
        self._take()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Snapshot":
        copied = Snapshot.__new__(Snapshot)
        memo[id(self)] = copied
        # Taken when it is used first: the copied modules have no weights yet.
        copied._places = {}
        copied._modules = copy.deepcopy(self._modules, memo)
        return copied

    def _take(self) -> None:
        self._places = {name: _place(module) for name, module in self._modules.items()}
        self._samples = {name: _sample(module) for name, module in self._modules.items()}
        self._values = self._read()

    def changed(self) -> list[str]:
        """Names of the modules whose weights are no longer what they were."""
        if not self._places:
            self._take()
        written: set[str] = set()
        for names, values in self._read().items():
            if not torch.equal(values, self._values[names]):
                sizes = [len(self._samples[name]) for name in names]
                parts = zip(
                    names, values.split(sizes), self._values[names].split(sizes), strict=True
                )
                written |= {name for name, now, before in parts if not torch.equal(now, before)}
        return [
            name
            for name, module in self._modules.items()
            if name in written or self._places[name] != _place(module)
        ]

    def _read(self) -> dict[tuple[str, ...], Tensor]:
        """Names -> their samples as they are now, behind one another: those of one device and
        dtype are read together."""
        groups: dict[tuple[torch.device, torch.dtype], list[str]] = {}
        for name, sample in self._samples.items():
            groups.setdefault((sample.device, sample.dtype), []).append(name)
        return {
            tuple(names): torch.cat([self._samples[name] for name in names])
            for names in groups.values()
        }


def _weight(module: nn.Module) -> Tensor:
    return module.get_parameter("weight").detach()


def _place(module: nn.Module) -> tuple[int, int]:
    """Where the weight is in memory, and how often it was written to."""
    weight = _weight(module)
    # tensors made in inference mode count no writes
    return weight.data_ptr(), -1 if weight.is_inference() else weight._version


def _sample(module: nn.Module) -> Tensor:
    """Elements from the first row and column to the last, as a view: it shows what is there now."""
    weight = _weight(module)
    count = min(SAMPLES, *weight.shape)
    steps = [(size - 1) // max(count - 1, 1) for size in weight.shape]
    stride = sum(step * of for step, of in zip(steps, weight.stride(), strict=True))
    return weight.as_strided((count,), (stride,), weight.storage_offset())
