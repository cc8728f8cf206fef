"""A tiny model's adapter with experts, and tasks for it: what methods are compared on."""

import pytest
from reference import random_scales

from t2ui.inference.dispatch import LabelReader
from t2ui.models.chat import chat_ids
from t2ui.models.questions import Question
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.tasks import Example, Task

SETTINGS = {"model": "tiny", "fingerprint": "f"}
LABELS = ("math", "code", "others")


@pytest.fixture
def setup(tiny_llama, tiny_tokenizer):
    """(adapter, dispatcher, experts): math, code and a classification expert."""
    with adapt(tiny_llama) as adapter:
        experts = {
            name: Expert(
                name,
                random_scales(tiny_llama, adapter.names, seed=seed, spread=0.6),
                fingerprint=adapter.fingerprint,
                labels=LABELS if name == "router" else (name,),
                objective="dispatch" if name == "router" else "",
            )
            for seed, name in enumerate(("math", "code", "router"), start=1)
        }
        yield adapter, LabelReader(adapter.model, tiny_tokenizer, adapter), experts


def open_task(tokenizer, count: int = 6) -> Task:
    rows = tuple(
        Example(
            f"row {i}",
            Question(tuple(chat_ids(tokenizer, f"say {i}")), ((5, 3),)),
            answer=str(i % 2),
            prompt=f"say {i}",
        )
        for i in range(count)
    )
    return Task(
        "talk",
        (),
        (),
        rows,
        grade=lambda text, answer: len(text) % 2 == int(answer),
        max_new_tokens=6,
    )


def closed_task(tokenizer, count: int = 8) -> Task:
    rows = tuple(
        Example(
            f"row {i}",
            Question(
                tuple(chat_ids(tokenizer, f"choose {i}")),
                (tuple(tokenizer.encode("yes")), tuple(tokenizer.encode("never"))),
            ),
            i % 2,
            (3, 5),
            prompt=f"choose {i}",
        )
        for i in range(count)
    )
    return Task("choose", (), (), rows)
