"""Examples and experts for tiny models: what few-shot adaptation is tested with."""

import pytest
from reference import prompt_ids, random_scales

from t2ui.models.questions import Question
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.tasks import Example


def run(steps):
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def open_example(key, prompt=7, answer=4, seed=0) -> Example:
    target = tuple(prompt_ids(answer, seed + 50))
    return Example(str(key), Question(tuple(prompt_ids(prompt, seed)), (target,)), answer="a")


def closed_example(key, sizes=(2, 4, 3), seed=0, correct=1) -> Example:
    options = tuple(tuple(prompt_ids(n, seed + 60 + i)) for i, n in enumerate(sizes))
    return Example(str(key), Question(tuple(prompt_ids(6 + seed % 3, seed)), options), correct)


def three_experts(model, spread=0.3) -> dict[str, Expert]:
    with adapt(model) as adapter:
        return {
            name: Expert(name, random_scales(model, adapter.names, seed, spread))
            for seed, name in enumerate(("math", "code", "poems"))
        }


@pytest.fixture(scope="module")
def experts(tiny_llama):
    return three_experts(tiny_llama)


@pytest.fixture
def adapter(tiny_llama):
    with adapt(tiny_llama) as adapter:
        yield adapter
