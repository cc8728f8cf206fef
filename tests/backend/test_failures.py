"""What the worker refuses, and how it goes on after what failed.

Requests go through the worker's own loop, without a process; test_client.py has the processes.
"""

import pytest
import torch
from serving import GREEDY, alone, failure_of, run, texts

from t2ui.config import Sampling, WorkerConfig
from t2ui.errors import InputError
from t2ui.inference.reading import Reading
from t2ui.messages import (
    Ask,
    Component,
    Done,
    Failed,
    Heatmap,
    NextToken,
)
from t2ui.svf.expert import Expert
from t2ui.worker.scheduler import Scheduler


@pytest.mark.parametrize("kind", [Ask, NextToken])
def test_an_unknown_expert_fails_with_the_known_names(backend, kind):
    failed = failure_of(backend, kind("Hello", {"law": 1.0}))
    for name in ("law", "math", "code"):
        assert name in failed.message


@pytest.mark.parametrize("value", [float("nan"), 1e9, float("inf")])
def test_a_weight_that_makes_no_sense_is_refused(backend, value):
    for kind in (Ask, NextToken):
        with pytest.raises(InputError, match="math"):
            kind("Hello", {"math": value})
    name = backend.adapter.names[0]
    for request in (Heatmap({"math": value}), Component(name, {"math": value})):
        assert "math" in failure_of(backend, request).message


def test_weights_that_sum_to_zero_cannot_be_normalised(backend):
    failed = failure_of(backend, Ask("Hello", {"math": 1.0, "code": -1.0}, normalise=True))
    assert "normalise" in failed.message


def test_a_dispatcher_that_is_not_there_fails_with_a_remedy(backend, folder):
    (folder / "dispatch.safetensors").unlink()
    failed = failure_of(backend, Ask("Hello", dispatch="expert"))
    assert "classification expert" in failed.message and "prompt" in failed.message


def test_a_prompt_longer_than_the_context_fails_with_its_token_count(backend):
    prompt = "x" * 600  # 600 tokens; the context holds 512
    failed = failure_of(backend, Ask(prompt, {"math": 1.0}))
    assert "512" in failed.message and "tokens" in failed.message
    assert isinstance(run(backend, Ask("Hello", sampling=GREEDY))[0][-1], Done)


def test_out_of_memory_in_a_prefill_leaves_the_answers_that_stream(backend, monkeypatch):
    loop = Scheduler(backend, WorkerConfig(model="tiny"))
    loop.take("fine", Ask("Hello", {"math": 1.0}, sampling=GREEDY))
    said = [envelope for _ in range(3) for envelope in loop.turn()]

    def fail(reading, tokens):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Reading, "read", fail)
        loop.take("large", Ask("Large", {"code": 1.0}, sampling=GREEDY))
        said += loop.turn()
    while not loop.idle:
        said += loop.turn()
    failed = [event for job_id, event in said if job_id == "large"][-1]
    assert "memory" in failed.message and "shorter" in failed.remedy
    streamed = texts([event for job_id, event in said if job_id == "fine"])
    assert streamed["adapted"] == alone(backend, "Hello", {"math": 1.0}).text


def test_after_a_failed_step_the_next_ask_is_right(backend, monkeypatch):
    def fail():
        backend.adapter.set_rows([backend._mixed({"code": 2.0}, False)])
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backend._answers._decoder, "_forward", fail)
    (events,) = run(backend, Ask("Hello", {"math": 1.0}, sampling=GREEDY))
    assert "memory" in events[-1].message
    (events,) = run(backend, Ask("Hello", {"math": 1.0}, sampling=GREEDY))
    assert texts(events)["adapted"] == alone(backend, "Hello", {"math": 1.0}).text
    assert texts(events)["base"] == alone(backend, "Hello", {}).text


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_broken_mixture_ends_its_own_ask_only(backend, folder, adapter, temperature):
    scales = {name: torch.full_like(f.S, 1e38) for name, f in adapter.factors.items()}
    Expert("broken", scales).save(folder / "broken.safetensors")
    sampling = Sampling(12, temperature)
    asks = [Ask("Hello", {name: 1.0}, sampling=sampling) for name in ("math", "broken", "code")]
    fine, failed, other = run(backend, *asks)
    assert "not finite" in failed[-1].message and "smaller coefficients" in failed[-1].message
    assert sum(isinstance(event, (Done, Failed)) for event in failed) == 1
    for events, name in ((fine, "math"), (other, "code")):
        assert texts(events)["adapted"] == alone(backend, "Hello", {name: 1.0}, sampling).text
        assert texts(events)["base"] == alone(backend, "Hello", {}, sampling).text
    assert backend.asks == backend.rows == 0
