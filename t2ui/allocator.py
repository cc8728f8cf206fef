"""What glibc does with memory that was freed: given back to the system, each page of it costs a
page fault when the next step asks for it again. On two CPU cores sixteen answers with different
mixtures came a tenth sooner without; for forty beside the base model no gain was seen.

Imports no torch.
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT_FREE_BYTES = 512 * 2**20  # at the heap's end
LARGEST_ON_HEAP = 32 * 2**20  # the most that glibc takes; by itself it begins with 128 kB


def keep_freed_memory() -> bool:
    """Let this process keep what is freed, up to 512 MB. For processes that are ours alone.

    Returns:
        False where the system has no such settings (musl, macOS, Windows), or where the operator
        has chosen by an environment variable of malloc's.
    """
    chosen = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if chosen or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (M_MMAP_THRESHOLD, LARGEST_ON_HEAP), (M_TRIM_THRESHOLD, KEPT_FREE_BYTES)
    return all(mallopt(*setting) == 1 for setting in settings)
