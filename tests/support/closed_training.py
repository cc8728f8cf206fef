"""A task with closed answers that the tiny model can learn, settings to learn it, and its log."""

import json

import pytest
import torch
from reference import prompt_ids

from t2ui.config import TrainConfig
from t2ui.models.questions import Question
from t2ui.tasks import Example, Task


def make_task(name="pick", *, train=10, validation=8, seed=0, **details) -> Task:
    """The right option is always the one that begins with token 100, not with 200."""
    rows = []
    for i in range(train + validation):
        options = ((100, 150), (200, 150))
        correct = i % 2
        rows.append(
            Example(
                id=f"{seed}-{i}",
                question=Question(
                    (*prompt_ids(2 + i % 4, seed=50 + i), 7, 8, 9),
                    options[::-1] if correct else options,
                ),
                correct=correct,
                lengths=(3, 3),
            )
        )
    return Task(name, tuple(rows[:train]), tuple(rows[train:]), **details)


QUICK = {"steps": 8, "batch": 4, "learning_rate": 0.05, "evaluate_every": 4, "checkpoint_every": 3}
LEARNING = {"steps": 8, "batch": 12}


def config(**settings) -> TrainConfig:
    return TrainConfig(**{**QUICK, **settings})


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def log_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def without_times(events) -> list[tuple]:
    return [
        (e["kind"], e["step"], {k: v for k, v in e["values"].items() if k != "seconds"})
        for e in events
    ]
