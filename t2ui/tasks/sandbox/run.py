"""Runs Python that a model wrote against tests, where it can neither harm nor cheat.

The tests run in one process and the answer in another, which only sends values back (see
`inside/`): whatever an answer does to its own interpreter, a pass means that the tests' asserts
held. A test that calls a method of an object which the answer made trusts that method, as the
test's author chose to. Knows nothing of tasks and models.

What goes over as a value: plain built-in types, and of the standard library dates, decimals,
fractions, arrays, paths, addresses and collections. Subclasses of these (named tuples, enumerations
of numbers) compare by that value. The answer's other objects compare with each other, as its
classes say; never with a plain value. What it raises is caught by the name of its class. There is
the standard library, no numpy.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from t2ui.errors import InputError

INSIDE = Path(__file__).with_name("inside")
MAX_VERDICT = 100_000  # bytes
WALLS = ("namespaces", "user", "files", "calls")
NOT_READABLE = 77  # exit status, see inside/start.py


@dataclass(frozen=True)
class Limits:
    """What one run may use. The answer and its tests each have the memory and processor time."""

    cpu_seconds: int = 8  # the slowest solution of MBPP takes three, and more beside other work
    wall_seconds: float = 30.0
    megabytes: int = 512
    file_megabytes: int = 1

    def __post_init__(self) -> None:
        for name in ("cpu_seconds", "wall_seconds", "megabytes", "file_megabytes"):
            if not 0 < getattr(self, name) < 1_000_000:
                raise InputError(f"{name} is {getattr(self, name)}; a positive number is expected.")
        if self.megabytes < 64:
            raise InputError(f"megabytes is {self.megabytes}; Python alone needs 64.")


@dataclass(frozen=True)
class Verdict:
    """Whether every line of the tests ran and every assert held; else `reason` says why not."""

    passed: bool
    reason: str = ""


@dataclass(frozen=True)
class Isolation:
    """What this machine's kernel allowed: how answers are kept in."""

    network: str  # "network namespace" | "refused system calls" | "refused by Python"
    processes: str  # the same, with "process namespace"
    # "own temporary folder only" | "Python's library, read-only" | and without Landlock, where an
    # answer reads what this user may read: "read-only" | "writing refused by Python"
    files: str
    user: int  # that the tests run as; the answer has another one if this process is root

    def told(self) -> str:
        """For people, in a line."""
        return f"answers run in a sandbox: {self.network}; files: {self.files}"


@dataclass(frozen=True)
class Job:
    """One run. `entry`: the names under test; only these may replace a builtin or a module."""

    code: str
    tests: str
    entry: tuple[str, ...] = ()


def run_python(
    code: str,
    tests: str,
    entry: Sequence[str] = (),
    limits: Limits | None = None,
    walls: Sequence[str] = WALLS,
) -> Verdict:
    """Run `code`, then `tests`, which use what it defines.

    Args:
        tests: Python; passed means that it ran to its end. Its names are those of the answer, the
            builtins and the standard library; asserts compare plain values in the tests' process.
        entry: names under test that are also builtins or standard modules, e.g. ("sum",).
        walls: which layers to use where the kernel allows them; all of them but in tests.

    Raises:
        InputError: no tests, or a system without the means to keep the answer in.
    """
    return _verdict(_run(Job(code, tests, tuple(entry)), limits or Limits(), walls))


def isolation(walls: Sequence[str] = WALLS) -> Isolation:
    """How answers are kept in on this machine, found out by running one."""
    found = _run(Job("", "pass"), Limits(), walls)
    if isinstance(found, str) or not found["passed"]:
        reason = found if isinstance(found, str) else found["reason"]
        raise InputError(f"The sandbox does not start here: {reason}.")
    calls = found["calls"]
    return Isolation(
        network="network namespace" if found["namespaces"] else calls,
        processes="process namespace" if found["namespaces"] else calls,
        files=_files(found),
        user=found["user"],
    )


def _files(found: dict) -> str:
    """What an answer can do with files."""
    if found["writable"]:
        return "own temporary folder only"
    if found["files"]:
        return "Python's library, read-only"
    by_kernel = found["calls"] == "refused system calls"
    return "read-only" if by_kernel else "writing refused by Python"


def _run(job: Job, limits: Limits, walls: Sequence[str]) -> dict | str:
    """What the judge said, or why it said nothing."""
    if not job.tests.strip():
        raise InputError("There are no tests to run the answer against: give at least one assert.")
    if os.name != "posix":
        raise InputError("Running model-written Python needs Linux or macOS.")
    sent = json.dumps({"code": job.code, "tests": job.tests, "entry": job.entry}).encode()
    with tempfile.TemporaryDirectory(prefix="t2ui-") as folder:
        os.chmod(folder, 0o755)  # where it cannot be replaced, the answer may at least be in it
        settings = {
            "folder": folder,
            "walls": list(walls),
            "cpu_seconds": limits.cpu_seconds,
            "megabytes": limits.megabytes,
            "file_megabytes": limits.file_megabytes,
        }
        program = [sys.executable, "-I", "-S", "-X", "utf8", str(INSIDE / "start.py")]
        child = subprocess.Popen(
            [*program, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            close_fds=True,
            start_new_session=True,
        )
        try:
            said, _ = child.communicate(sent, timeout=limits.wall_seconds)
        except subprocess.TimeoutExpired:
            return f"stopped after {limits.wall_seconds:g} s"
        finally:
            _end(child)
    if child.returncode == NOT_READABLE:
        raise InputError(
            "Running model-written Python as root needs namespaces, which this kernel refuses, or "
            "a Python whose library other users may read: run t2ui as another user."
        )
    try:
        return json.loads(said[:MAX_VERDICT])
    except ValueError:
        return f"the tests' process ended early (exit status {child.returncode})"


def _end(child: subprocess.Popen) -> None:
    """Kill what is left of a run; with it goes everything that it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # all gone; macOS: only zombies left
        pass
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def _verdict(found: dict | str) -> Verdict:
    if isinstance(found, str):
        return Verdict(False, found)
    return Verdict(found["passed"] is True, found["reason"])
