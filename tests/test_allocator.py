"""Freed memory is kept, but not where an operator has chosen otherwise."""

import ctypes
import platform
import subprocess
import sys

import pytest

BYTES = """
import ctypes, sys, torch
from t2ui.allocator import keep_freed_memory
class Info(ctypes.Structure):  # malloc.h, struct mallinfo2
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost").split()]
mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info
kept = sys.argv[1] == "kept" and keep_freed_memory()
before = mallinfo2()
tensors = [torch.ones(2**20) for _ in range(8)]  # 4 MB each
mapped = mallinfo2().hblkhd - before.hblkhd
tensors.clear()
print(kept, mapped, mallinfo2().fordblks - before.fordblks)
"""
ALL_TENSORS = 8 * 4 * 2**20
NO_COUNTS = platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2")


def run(how: str, **environment: str) -> tuple[bool, int, int]:
    """Whether it took effect; the allocator's own count of bytes that it mapped for single
    tensors, and of bytes it holds free once they are gone."""
    done = subprocess.run(
        [sys.executable, "-c", BYTES, how],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, mapped, free = done.stdout.split()
    return kept == "True", int(mapped), int(free)


@pytest.mark.skipif(NO_COUNTS, reason="only glibc from 2.33 on counts these bytes")
def test_what_is_freed_stays_with_the_process():
    kept, mapped, free = run("kept")
    assert kept and mapped == 0 and free >= ALL_TENSORS
    kept, mapped, free = run("as it comes")
    assert not kept and mapped >= ALL_TENSORS and free < ALL_TENSORS // 8


@pytest.mark.skipif(NO_COUNTS, reason="only glibc from 2.33 on counts these bytes")
def test_an_operator_who_has_chosen_is_left_alone():
    assert run("kept", MALLOC_ARENA_MAX="2")[0] is False
    assert run("kept", GLIBC_TUNABLES="glibc.malloc.check=0")[0] is False
