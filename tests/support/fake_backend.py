"""A backend without a model: what a prompt or a model's name says, it does. Imported by the worker.

Prompts: "count N" gives N tokens to both panes, one a step; "oom", "bug", "input", "die" do what
they say when the ask starts, "oom later" in a step. Models: "fake", "fake missing", "fake crash",
"fake crash once <file>", "fake slow <file>" (loads until the file is there). A search does what
its first prompt says: "count N" gives N generations, a piece of work before each.
"""

import os
import signal
import time
from pathlib import Path

from t2ui.errors import InputError
from t2ui.messages import (
    Adapt,
    Adapted,
    Ask,
    Done,
    Experts,
    Generation,
    Mixed,
    NextToken,
    NextTokens,
    SearchBegan,
    Tokens,
)


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


class FakeBackend:
    name = "fake"
    device = "nowhere"

    def __init__(self, step_seconds: float = 0.002):
        self.left: dict[str, list] = {}  # job id -> [tokens left, tokens so far, rows, prompt]
        self.step_seconds = step_seconds
        self.search_seconds = 0.0
        self.freed = 0
        self.listed = [Experts((), (), ("others",), (), 0)]  # told once, as a real one does

    @property
    def asks(self) -> int:
        return len(self.left)

    @property
    def rows(self) -> int:
        return sum(rows for _, _, rows, _ in self.left.values())

    def listings(self):
        told, self.listed = self.listed, []
        return told

    def answer(self, request):
        if isinstance(request, NextToken):
            self._obey(request.prompt)
        yield NextTokens(((getattr(request, "prompt", ""), 0.0, 0.0),), float(os.getpid()), 0.0)

    def start(self, job_id: str, ask: Ask):
        mixture = dict(ask.mixture or {})
        yield Mixed(mixture, 1 - sum(mixture.values()), "you")
        self._obey(ask.prompt)
        count = int(ask.prompt.split()[-1]) if ask.prompt.startswith("count") else 3
        self.left[job_id] = [count, 0, 2 if ask.compare else 1, ask.prompt]

    def step(self):
        time.sleep(self.step_seconds)
        for job_id, entry in list(self.left.items()):
            if entry[3] == "oom later":
                raise OutOfMemoryError("tried to allocate 3 GiB")
            entry[0] -= 1
            entry[1] += 1
            for pane in ("base", "adapted"):
                yield job_id, Tokens(pane, (f"{entry[1]} ",), entry[1], 0.0)
            if entry[0] == 0:
                del self.left[job_id]
                yield job_id, Done(timings={"total": 1.0})

    def search(self, adapt: Adapt, stopped):
        prompt = adapt.examples[0][0]
        yield SearchBegan(("math",), (), 9)
        number = 0
        while number < int(prompt.split()[-1] if prompt.startswith("count") else 3):
            time.sleep(self.search_seconds)
            self._obey(prompt)
            yield None
            if stopped():
                break
            number += 1
            yield generation(number)
        yield Adapted(
            {"math": 0.5},
            False,
            f"CEM, generation {number}",
            "nothing held out",
            None,
            None,
            None,
            None,
            0,
            1,
            1,
            0.0,
            "{}",
        )

    def stop(self, job_id: str):
        return [Done(cancelled=True)] if self.left.pop(job_id, None) else []

    def clear(self):
        ids = list(self.left)
        self.left.clear()
        return ids

    def free_memory(self):
        self.freed += 1

    def _obey(self, prompt: str) -> None:
        if prompt == "oom":
            raise OutOfMemoryError("tried to allocate 3 GiB")
        if prompt == "bug":
            raise KeyError("nobody expected this")
        if prompt == "input":
            raise InputError("The input is wrong: change it.")
        if prompt == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if prompt == "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(60)  # another thread may be stopped first, and this one would go on


def generation(number: int) -> Generation:
    """A generation of one expert and two members."""
    return Generation(
        number,
        -1.0 / number,
        -2.0,
        0.1,
        {"math": 0.5},
        {"math": 0.1},
        ((0.4,), (0.6,)),
        (-2.1, -1.0 / number),
        100 * number,
        number,
        0.1 * number,
    )


def load(config, progress) -> FakeBackend:
    progress("reading the fake model", 0.5)
    words = config.model.split()[1:]
    if words[:1] == ["missing"]:
        raise InputError("There is no such model: check its name.")
    if words[:1] == ["crash"]:
        once = Path(words[2]) if words[1:2] == ["once"] else None
        if once is None or not once.exists():
            if once:
                once.touch()
            os._exit(7)
    while words[:1] == ["slow"] and not Path(words[1]).exists():
        time.sleep(0.01)
    return FakeBackend()
