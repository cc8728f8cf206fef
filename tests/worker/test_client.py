"""The client against a worker process with a fake backend: transport, death, restart, state."""

import inspect
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types

import fake_backend
import pytest

from t2ui.config import WorkerConfig
from t2ui.messages import Ask, Done, Failed, NextToken, NextTokens, Queued, Tokens
from t2ui.worker import client as client_module
from t2ui.worker import jobs
from t2ui.worker.client import InProcessClient, WorkerClient, connect


def config(model="fake", **more):
    return WorkerConfig(model=model, **more)


@pytest.fixture(params=[WorkerClient, InProcessClient])
def client(request):
    with request.param(config(), backend=fake_backend.load) as made:
        yield made


@pytest.fixture
def worker():
    with WorkerClient(config(), backend=fake_backend.load) as made:
        assert made.wait_ready(60).state == "ready"
        yield made


def read(job, timeout=30):
    """All events of a job, at most `timeout` seconds long."""
    events = []
    end = time.monotonic() + timeout
    while not job.finished and time.monotonic() < end:
        event = job.next(0.1)
        if event is not None:
            events.append(event)
    assert job.finished, events
    return events


def wait_for(condition, timeout=30):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def started(job):
    """Wait until the worker streams this job's answer."""
    while not isinstance(job.next(10), Tokens):
        assert not job.finished


# --- both transports -----------------------------------------------------------------------------


def test_events_come_in_order_and_end_with_done(client):
    events = list(client.submit(Ask("count 4")).events())
    panes = {
        pane: "".join(
            p for e in events if isinstance(e, Tokens) and e.pane == pane for p in e.pieces
        )
        for pane in ("base", "adapted")
    }
    assert panes == {"base": "1 2 3 4 ", "adapted": "1 2 3 4 "}
    assert isinstance(events[-1], Done) and not events[-1].cancelled
    assert sum(isinstance(e, (Done, Failed)) for e in events) == 1


def test_a_job_says_nothing_after_its_end(client):
    job = client.submit(NextToken("x"))
    read(job)
    assert job.finished and job.next(0) is None and list(job.events()) == []


def test_next_returns_none_while_nothing_happens(worker):
    job = worker.submit(Ask("count 100000"))
    wait_for(lambda: worker.status().state == "busy")
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        while job.next(0.2) is not None:
            pass
        assert not job.finished
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    assert job.next(10) is not None


def test_cancel_ends_with_done_cancelled(client):
    job = client.submit(Ask("count 100000"))
    started(job)
    job.cancel()
    assert read(job)[-1] == Done(cancelled=True)
    assert isinstance(read(client.submit(NextToken("next")))[-1], Done)


def test_cancel_after_the_end_is_harmless(client):
    job = client.submit(NextToken("x"))
    read(job)
    job.cancel()
    assert isinstance(read(client.submit(NextToken("y")))[-1], Done)


@pytest.mark.parametrize(
    ("prompt", "message", "remedy"),
    [
        ("input", "The input is wrong: change it.", ""),
        ("oom", "out of memory", "shorter answer"),
        ("bug", "nobody expected this", "Try again"),
    ],
)
@pytest.mark.parametrize("kind", [Ask, NextToken])
def test_an_exception_is_a_failed_event_and_the_worker_lives_on(
    client, kind, prompt, message, remedy
):
    failed = read(client.submit(kind(prompt)))[-1]
    assert isinstance(failed, Failed)
    assert message in failed.message and remedy in failed.remedy
    assert isinstance(read(client.submit(Ask("count 2")))[-1], Done)


def test_many_threads_get_their_own_answers(client):
    client.wait_ready(60)
    answers = {}

    def ask(n):
        events = read(client.submit(NextToken(f"prompt {n}")))
        answers[n] = next(e.candidates[0][0] for e in events if isinstance(e, NextTokens))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == {n: f"prompt {n}" for n in range(20)}


def test_a_model_that_cannot_be_loaded_fails_every_request_with_the_reason():
    for transport in (WorkerClient, InProcessClient):
        with transport(config("fake missing"), backend=fake_backend.load) as client:
            early = client.submit(NextToken("early"))
            status = client.wait_ready(60)
            assert status.state == "failed" and "no such model" in status.detail
            for job in (early, client.submit(NextToken("late"))):
                reason = "There is no such model: check its name."
                assert read(job)[-1] == Failed(reason, cause="worker")


def test_requests_wait_while_the_model_loads(tmp_path):
    loaded = tmp_path / "loaded"
    for transport in (WorkerClient, InProcessClient):
        with transport(config(f"fake slow {loaded}"), backend=fake_backend.load) as client:
            wait_for(lambda c=client: c.status().progress == 0.5)
            status = client.status()
            assert status.state == "loading" and status.detail == "reading the fake model"
            first, second = client.submit(Ask("count 2")), client.submit(Ask("count 2"))
            assert first.next(1) == Queued(0) and second.next(1) == Queued(1)
            assert client.status().queued == 2
            second.cancel()
            assert read(second) == [Done(cancelled=True)]  # at once, though nobody listens yet
            loaded.touch()
            assert isinstance(read(first)[-1], Done)
        loaded.unlink()


def test_a_closed_client_ends_every_job():
    for transport in (WorkerClient, InProcessClient):
        client = transport(config(), backend=fake_backend.load)
        job = client.submit(Ask("count 100000"))
        started(job)
        client.close()
        assert "closed" in read(job)[-1].message
        assert "closed" in read(client.submit(NextToken("x")))[-1].message


def test_nothing_starts_before_it_is_needed():
    with WorkerClient(config(), start=False, backend=fake_backend.load) as client:
        time.sleep(0.1)
        assert client.pid is None and client.status().state == "loading"
        assert isinstance(read(client.submit(NextToken("x")))[-1], Done)


# --- a process that dies -------------------------------------------------------------------------


def test_after_kill_9_jobs_fail_and_the_next_request_is_served(worker):
    job = worker.submit(Ask("count 100000"))
    started(job)
    killed = worker.pid
    os.kill(killed, signal.SIGKILL)
    failed = read(job)[-1]
    assert isinstance(failed, Failed)
    assert "stopped unexpectedly" in failed.message and "ask again" in failed.remedy
    assert worker.status().state == "restarting"
    assert isinstance(read(worker.submit(NextToken("during the restart")))[-1], Done)
    assert worker.wait_ready(60).state == "ready"
    assert worker.pid != killed


def test_a_request_submitted_before_the_death_is_noticed_is_served(worker):
    os.kill(worker.pid, signal.SIGKILL)
    assert isinstance(read(worker.submit(NextToken("at once")))[-1], Done)


def test_what_still_queued_when_the_worker_died_is_served_by_the_next():
    with WorkerClient(config(max_rows=2), backend=fake_backend.load) as client:
        running = client.submit(Ask("count 100000"))
        started(running)
        waiting = client.submit(Ask("count 3"))
        assert waiting.next(10) == Queued(0)
        os.kill(client.pid, signal.SIGKILL)
        assert isinstance(read(running)[-1], Failed)
        assert isinstance(read(waiting)[-1], Done)


def test_a_request_that_kills_the_worker_is_not_given_to_the_next(worker):
    assert isinstance(read(worker.submit(NextToken("die")))[-1], Failed)
    assert isinstance(read(worker.submit(NextToken("fine")))[-1], Done)


def test_a_worker_that_dies_once_while_loading_is_started_again(tmp_path):
    model = f"fake crash once {tmp_path / 'crashed'}"
    with WorkerClient(config(model), backend=fake_backend.load) as client:
        assert isinstance(read(client.submit(NextToken("patient")))[-1], Done)


def test_a_worker_that_always_dies_while_loading_is_given_up_then_tried_again(monkeypatch):
    with WorkerClient(config("fake crash"), backend=fake_backend.load) as client:
        job = client.submit(NextToken("x"))
        status = client.wait_ready(120)
        assert status.state == "failed"
        assert "3 times" in status.detail and "exit code 7" in status.detail
        assert "3 times" in read(job)[-1].message
        assert "3 times" in read(client.submit(NextToken("at once")), timeout=1)[-1].message
        monkeypatch.setattr(jobs, "RETRY_SECONDS", 0.0)
        again = client.submit(NextToken("later"))
        assert client.status().state == "loading"
        again.cancel()


def test_a_frozen_worker_counts_as_dead(worker, monkeypatch):
    monkeypatch.setattr(client_module, "SILENCE_SECONDS", 2.0)
    assert isinstance(read(worker.submit(NextToken("freeze")))[-1], Failed)
    assert isinstance(read(worker.submit(NextToken("thaw")))[-1], Done)


def test_a_long_silence_of_requests_is_not_death(worker, monkeypatch):
    monkeypatch.setattr(client_module, "SILENCE_SECONDS", 2.0)
    pid = worker.pid
    time.sleep(3.5)
    assert worker.pid == pid and worker.status().state == "ready"


def test_the_worker_ends_with_its_parent(tmp_path):
    script = """
        import fake_backend, os, sys
        from t2ui.worker.client import WorkerClient
        from t2ui.config import WorkerConfig
        if __name__ == "__main__":
            client = WorkerClient(WorkerConfig(model="fake"), backend=fake_backend.load)
            client.wait_ready(60)
            print(client.pid, flush=True)
            os.kill(os.getpid(), 9)
    """
    pid = int(run_script(tmp_path, script).stdout)
    wait_for(lambda: not is_running(pid))


def test_ctrl_c_in_the_terminal_leaves_no_traceback_of_the_worker(tmp_path):
    script = """
        import fake_backend, os, signal, sys, time
        from t2ui.worker.client import WorkerClient
        from t2ui.config import WorkerConfig
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has none
        if __name__ == "__main__":
            client = WorkerClient(WorkerConfig(model="fake"), backend=fake_backend.load)
            if sys.argv[1:] == ["late"]:
                client.wait_ready(60)
            try:
                time.sleep(0.15)
                os.killpg(0, signal.SIGINT)  # as a terminal does: the whole process group
                time.sleep(5)
            except KeyboardInterrupt:
                print("interrupted", client.wait_ready(60).state)
    """
    for args in ([], ["late"]):
        ended = run_script(tmp_path, script, *args)
        assert ended.stdout.split() == ["interrupted", "ready"]
        assert ended.stderr == "" and ended.returncode == 0


def run_script(folder, script, *args):
    """Run a script in a process group of its own, with what this process can import."""
    file = folder / "script.py"  # spawn imports the main module again, so it must be a file
    file.write_text(textwrap.dedent(script))
    return subprocess.run(
        [sys.executable, file, *args],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
    )


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_importing_the_client_imports_no_torch():
    code = "import sys, t2ui.worker.client; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "False", ended.stderr


def test_connect_makes_a_process_except_on_zero_gpu(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    with connect(config(), backend=fake_backend.load) as client:
        assert isinstance(client, WorkerClient)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    with connect(config(), backend=fake_backend.load) as client:
        assert isinstance(client, InProcessClient)


def test_on_zero_gpu_the_work_runs_inside_decorated_calls(monkeypatch):
    """With a stand-in for `spaces`: the real one exists on a Space only."""
    calls = []

    def decorate(generator_function):
        assert inspect.isgeneratorfunction(generator_function)

        def call(messages):
            calls.append(pickle.loads(pickle.dumps(messages)))
            for envelope in generator_function(messages):
                yield pickle.loads(pickle.dumps(envelope))
            if messages[0][1] == NextToken("quota"):
                raise RuntimeError("GPU quota exceeded")

        return call

    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", types.SimpleNamespace(GPU=lambda duration: decorate))
    with connect(config(), backend="fake_backend:load") as client:
        events = read(client.submit(Ask("count 3")))
        assert isinstance(events[-1], Done) and len(calls) == 1
        bug = read(client.submit(NextToken("bug")))[-1]
        assert isinstance(bug, Failed)
        read(client.submit(NextToken("quota")))
        assert isinstance(read(client.submit(NextToken("next")))[-1], Done)
        assert len(calls) == 4
