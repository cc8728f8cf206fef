"""The sandbox's layers, together and alone, and the limits and tests that answers are run with."""

import ctypes
from pathlib import Path

import pytest

from t2ui.tasks.sandbox.run import WALLS, Limits

needs_linux = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")

TESTS = "assert f(2) == 4\nassert f(3) == 918273"  # only the tests know the second number
SHORT = Limits(cpu_seconds=1, wall_seconds=6)
# The layers alone, as on kernels that refuse namespaces, or have no filter for system calls either.
LAYERS = {"all": WALLS, "files": ("files", "calls"), "calls": ("calls",), "python": ()}
every_layer = pytest.mark.parametrize("walls", LAYERS.values(), ids=LAYERS)


@pytest.fixture
def landlock():
    """Asks the kernel itself which version of Landlock it has."""
    if ctypes.CDLL(None).syscall(444, None, 0, 1) < 1:
        pytest.skip("this kernel has no Landlock")
