"""A task with open answers that the tiny model can learn, and the settings to learn it quickly."""

from reference import prompt_ids

from t2ui.config import TrainConfig
from t2ui.models.questions import Question
from t2ui.tasks import Example, Task

WANTED = "abcdefghijklm"  # a completion is right when it begins with one of these


def right(text: str, answer: str) -> bool:
    return text[:1] in WANTED and text != ""


def never(text: str, answer: str) -> bool:
    return False


def make_task(train=12, validation=8, judge=right, **settings) -> Task:
    rows = [
        Example(
            id=str(i),
            question=Question(tuple(prompt_ids(3 + i % 3, seed=70 + i % 4)), ((68, 69, 2),)),
            answer="a",
        )
        for i in range(train + validation)
    ]
    settings = {"max_new_tokens": 3, **settings}
    return Task("open", tuple(rows[:train]), tuple(rows[train:]), grade=judge, **settings)


QUICK = {
    "steps": 10,
    "batch": 6,
    "rollouts": 8,
    "learning_rate": 0.05,
    "kl_coeff": 0.0,
    "evaluate_every": 5,
    "checkpoint_every": 2,
}


def config(**settings) -> TrainConfig:
    return TrainConfig(**{**QUICK, **settings})


def improving():
    """A stand-in for validation that gets better every time."""
    known = iter(range(1, 9))
    return lambda *_, **__: [i < found for found in [next(known)] for i in range(8)]
