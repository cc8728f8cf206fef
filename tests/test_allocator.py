"""Freed memory is kept, but not where an operator has chosen otherwise."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from t2ui.allocator import keep_freed_memory
kept = sys.argv[1] == "kept" and keep_freed_memory()
def several(): return [torch.ones(2**20) for _ in range(8)]  # 4 MB each
for _ in range(16): several()  # until each has its place
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4): several()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(how: str, **environment: str) -> tuple[bool, int]:
    """Whether it took effect, and page faults of allocations that come again and again."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_what_is_freed_is_used_again_without_page_faults():
    # whether the heap's end is free, and given back, depends on where things come to lie
    assert any(run("as it comes")[1] > 4000 for _ in range(6))
    kept, faults = run("kept")
    assert kept and faults < 400


def test_an_operator_who_has_chosen_is_left_alone():
    assert run("kept", MALLOC_ARENA_MAX="2")[0] is False
    assert run("kept", GLIBC_TUNABLES="glibc.malloc.check=0")[0] is False
