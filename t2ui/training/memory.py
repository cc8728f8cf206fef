"""How much memory a training takes."""

import sys

import torch


def peak_memory(device: torch.device) -> int | None:
    """The most that this process has held so far, MB: of the GPU's memory where it uses one, else
    of main memory, the loading of the model included. None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20
