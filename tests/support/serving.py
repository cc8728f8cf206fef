"""A backend on a tiny model with two experts and a classification expert, and how to ask it.

Requests go through the worker's own scheduler, without a process.
"""

import pytest
import torch

from t2ui.backend.serving import ModelBackend
from t2ui.config import Sampling, WorkerConfig
from t2ui.inference.decoding import Row, generate
from t2ui.messages import Done, Failed, Tokens
from t2ui.models.chat import chat_ids
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.worker.scheduler import Scheduler

GREEDY = Sampling(max_new_tokens=12)


@pytest.fixture(scope="module")
def adapter(tiny_llama, tmp_path_factory):
    with adapt(tiny_llama, cache_dir=tmp_path_factory.mktemp("svd")) as made:
        yield made


def make_expert(adapter, name, seed, **more):
    """A random expert that changes answers."""
    generator = torch.Generator().manual_seed(seed)
    scales = {
        matrix: 1 + 0.5 * torch.randn(factors.S.numel(), generator=generator)
        for matrix, factors in adapter.factors.items()
    }
    return Expert(name, scales, base_model="tiny-llama", fingerprint=adapter.fingerprint, **more)


@pytest.fixture
def folder(adapter, tmp_path):
    """An experts folder with two experts and a classification expert."""
    for name, seed in [("math", 1), ("code", 2)]:
        make_expert(adapter, name, seed, labels=(name,)).save(
            tmp_path / "tiny-llama" / f"{name}.safetensors"
        )
    make_expert(
        adapter, "dispatch", 3, labels=("math", "code", "others"), objective="dispatch"
    ).save(tmp_path / "tiny-llama" / "dispatch.safetensors")
    return tmp_path / "tiny-llama"


@pytest.fixture
def backend(adapter, tiny_tokenizer, folder):
    return ModelBackend(adapter.model, tiny_tokenizer, adapter, folder.parent)


@pytest.fixture
def empty(adapter, tiny_tokenizer, tmp_path):
    return ModelBackend(adapter.model, tiny_tokenizer, adapter, tmp_path / "nothing here")


def run(backend, *requests, **config):
    """All events of each request, sent at once."""
    loop = Scheduler(backend, WorkerConfig(model="tiny", **config))
    for number, request in enumerate(requests):
        loop.take(str(number), request)
    events = {str(number): [] for number in range(len(requests))}
    while not loop.idle:
        for job_id, event in loop.turn():
            events[job_id].append(event)
    return list(events.values())


def one(backend, request, kind):
    (events,) = run(backend, request)
    found = [e for e in events if isinstance(e, kind)]
    assert found, events
    return found[0]


def failure_of(backend, request):
    return one(backend, request, Failed)


def listing(backend):
    """The list of experts, as the page is shown it."""
    return backend._experts.listing()


def texts(events):
    """The two panes' texts, from the streamed pieces."""
    assert isinstance(events[-1], Done), events[-1]
    streamed = {"base": "", "adapted": ""}
    for event in events:
        if isinstance(event, Tokens):
            streamed[event.pane] += "".join(event.pieces)
    return streamed


def alone(backend, prompt, weights, sampling=GREEDY):
    """The answer that a single row gives, without any worker."""
    scales = backend._mixed(weights, False)
    row = Row(0, chat_ids(backend.tokenizer, prompt), scales, sampling)
    return generate(backend.model, backend.tokenizer, [row], backend.adapter)[0]
