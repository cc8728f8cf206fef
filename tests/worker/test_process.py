"""The whole way on a tiny model in a real worker process: stream, cancel, kill -9, bad models."""

import os
import shutil
import signal
import threading
import time

import pytest

from t2ui.config import Sampling, WorkerConfig
from t2ui.messages import (
    Ask,
    Compared,
    Done,
    Failed,
    Heatmap,
    HeatmapData,
    Mixed,
    NextToken,
    NextTokens,
    Tokens,
)
from t2ui.worker.client import WorkerClient

LONG = Sampling(max_new_tokens=400)
SHORT = Sampling(max_new_tokens=10)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny model that never ends by itself, and its experts."""
    import torch
    from tiny import make_tiny, make_tokenizer

    from t2ui.svf.adapter import adapt
    from t2ui.svf.expert import Expert

    root = tmp_path_factory.mktemp("place")
    model = make_tiny("llama")
    model.generation_config.eos_token_id = None
    model.config.eos_token_id = None
    model.save_pretrained(root / "tiny")
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(root / "tiny")
    with adapt(model, cache_dir=root / "cache") as adapter:
        for name, seed in [("math", 1), ("code", 2)]:
            generator = torch.Generator().manual_seed(seed)
            scales = {
                matrix: 1 + 0.5 * torch.randn(factors.S.numel(), generator=generator)
                for matrix, factors in adapter.factors.items()
            }
            expert = Expert(name, scales, fingerprint=adapter.fingerprint, labels=(name,))
            expert.save(root / "experts" / "tiny" / f"{name}.safetensors")
    return root


@pytest.fixture(scope="module")
def client(place):
    config = WorkerConfig(
        model=str(place / "tiny"),
        experts_dir=place / "experts",
        device="cpu",
        dtype="float32",  # auto would measure
        cache_dir=place / "cache",
        max_rows=8,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with WorkerClient(config) as made:
            status = made.wait_ready(120)
            assert status.state == "ready", status
            assert status.model == "tiny" and status.device == "cpu, float32"
            yield made


def read(job, timeout=60):
    events = []
    end = time.monotonic() + timeout
    while not job.finished and time.monotonic() < end:
        event = job.next(0.1)
        if event is not None:
            events.append(event)
    assert job.finished, events
    return events


def text(events, pane="adapted"):
    assert isinstance(events[-1], Done), events[-1]
    return "".join(p for e in events if isinstance(e, Tokens) and e.pane == pane for p in e.pieces)


def eventually(check, seconds=20.0):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def stream(job):
    """Wait for the job's first tokens."""
    while not isinstance(job.next(10), Tokens):
        assert not job.finished


def test_answers_stream_beside_each_other(client):
    events = read(client.submit(Ask("Hello", {"math": 1.0}, sampling=LONG)))
    tokens = [e for e in events if isinstance(e, Tokens)]
    assert len(tokens) > 4  # in pieces, and not one message a token
    assert len(tokens) < 2 * 400
    assert {e.pane for e in tokens[:2]} == {"base", "adapted"}
    assert max(e.tokens for e in tokens) == 400
    kinds = [type(e) for e in events if not isinstance(e, Tokens)]
    assert kinds == [Mixed, Compared, Done]
    assert text(events, "base") != text(events)


def test_requests_at_once_with_different_mixtures_never_mix(client):
    mixtures = [{"math": 1.0}, {"code": 1.0}, {"math": 0.5, "code": 0.5}, {}, {"code": -1.0}]
    alone = [
        text(read(client.submit(Ask("Hello", mixture, sampling=SHORT)))) for mixture in mixtures
    ]
    assert len(set(alone)) == len(mixtures)
    together = {}

    def ask(number):
        job = client.submit(Ask("Hello", mixtures[number % 5], sampling=SHORT))
        together[number] = text(read(job))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(15)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert together == {n: alone[n % 5] for n in range(15)}


def test_the_status_says_how_much_there_is_to_do(client):
    jobs = [client.submit(Ask("Hello", {"math": 1.0}, sampling=LONG)) for _ in range(6)]
    stream(jobs[0])
    end = time.monotonic() + 20
    while client.status().running + client.status().queued < 6 and time.monotonic() < end:
        time.sleep(0.01)
    status = client.status()
    assert status.state == "busy" and status.running <= 4 and status.queued >= 2
    for job in jobs:
        job.cancel()
    assert all(read(job)[-1].cancelled for job in jobs)


def test_cancel_stops_an_answer_before_its_end(client):
    job = client.submit(Ask("Hello", {"math": 1.0}, sampling=LONG))
    stream(job)
    job.cancel()
    events = read(job)
    assert events[-1].cancelled
    assert max((e.tokens for e in events if isinstance(e, Tokens)), default=0) < 400


def test_a_slider_is_answered_while_answers_stream(client):
    job = client.submit(Ask("Hello", {"math": 1.0}, sampling=LONG))
    stream(job)
    (event, done) = read(client.submit(NextToken("Other", {"code": 0.5})))
    assert isinstance(event, NextTokens) and isinstance(done, Done)
    job.cancel()


def test_arrays_come_through_the_pipe(client):
    (data, _) = read(client.submit(Heatmap({"math": 1.0})))
    assert isinstance(data, HeatmapData) and data.values.shape == (14, 32)


def test_the_experts_are_known_once_the_worker_is_ready_and_after_a_change(client, place):
    assert [e.name for e in client.experts().experts] == ["code", "math"]
    folder = place / "experts" / "tiny"
    for name in (b"\xff\xfe.safetensors", b"more.safetensors"):  # one that is no text, one that is
        shutil.copy(folder / "math.safetensors", os.fsencode(folder) + b"/" + name)
    try:
        eventually(lambda: len(client.experts().problems) == 2)
        (odd, why), (name, twice) = sorted(client.experts().problems, reverse=True)
        assert odd == "\ufffd\ufffd.safetensors" and "not UTF-8" in why
        assert name == "more.safetensors" and "rename one of them" in twice
        assert [e.name for e in client.experts().experts] == ["code", "math"]
    finally:
        os.unlink(os.fsencode(folder) + b"/\xff\xfe.safetensors")
        (folder / "more.safetensors").unlink()
    eventually(lambda: not client.experts().problems)


def test_a_busy_worker_is_not_asked_for_the_experts(client):
    jobs = [client.submit(Ask("Hello", {"math": 1.0}, sampling=LONG)) for _ in range(6)]
    stream(jobs[0])
    assert [e.name for e in client.experts().experts] == ["code", "math"]
    for job in jobs:
        job.cancel()


def test_kill_9_in_mid_answer_and_the_next_is_served(client):
    expected = text(read(client.submit(Ask("Hello", {"code": 1.0}, sampling=SHORT))))
    job = client.submit(Ask("Hello", {"math": 1.0}, sampling=LONG))
    stream(job)
    os.kill(client.pid, signal.SIGKILL)
    failed = read(job)[-1]
    assert isinstance(failed, Failed) and "ask again" in failed.remedy
    assert client.status().state == "restarting"
    again = client.submit(Ask("Hello", {"code": 1.0}, sampling=SHORT))
    assert text(read(again, 120)) == expected
    assert client.status().state in ("busy", "ready")


def test_a_bad_expert_file_is_reported_and_the_others_work(client, place):
    bad = place / "experts" / "tiny" / "bad.safetensors"
    bad.write_bytes(b"\x00" * 100)
    try:
        eventually(lambda: client.experts().problems)
        assert [name for name, _ in client.experts().problems] == ["bad.safetensors"]
        assert text(read(client.submit(Ask("Hello", {"math": 1.0}, sampling=SHORT))))
    finally:
        bad.unlink()


@pytest.mark.parametrize(
    "missing", ["tokenizer.json", pytest.param("the folder", marks=pytest.mark.slow)]
)
def test_a_model_that_is_not_there_is_said(place, tmp_path, missing):
    folder = tmp_path / "model"
    if missing == "tokenizer.json":
        folder.mkdir()
        for file in (place / "tiny").iterdir():
            if "token" not in file.name:
                (folder / file.name).write_bytes(file.read_bytes())
    with WorkerClient(WorkerConfig(model=str(folder), cache_dir=place / "cache")) as client:
        status = client.wait_ready(120)
        assert status.state == "failed"
        assert ("tokenizer" if missing == "tokenizer.json" else "not a model folder") in (
            status.detail
        )
        assert isinstance(read(client.submit(NextToken("x")))[-1], Failed)
