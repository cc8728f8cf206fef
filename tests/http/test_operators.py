"""What an operator needs: health, metrics, logs, an end that drains, and who is let in at all."""

import contextlib
import io
import json
import logging
import signal
import subprocess
import sys
import threading

import httpx
import pytest
from api import asking
from door import Visitor, eventually, opened
from fake_client import FakeClient

from t2ui.cli.serve import _is_loopback
from t2ui.http.limits import Limits
from t2ui.http.logs import LOGGER, JsonLines
from t2ui.http.service import Service
from t2ui.messages import Failed

USER = [{"role": "user", "content": "a secret question"}]


@pytest.fixture
def app():
    client = FakeClient(pace=0)
    service = Service(client)
    with opened(service=service) as (_, url, demo):
        with httpx.Client(base_url=url, timeout=20) as http:
            yield service, http, demo


# --- health --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "status", "says"),
    [
        ("ready", 200, "ok"),
        ("busy", 200, "ok"),
        ("loading", 503, "loading"),
        ("restarting", 503, "restarting"),
        ("failed", 503, "failed"),
    ],
)
def test_health_is_the_workers(app, state, status, says):
    service, http, _ = app
    service.worker.state = state
    response = http.get("/health")
    assert (response.status_code, response.json()["status"]) == (status, says)
    assert response.headers["cache-control"] == "no-store"
    assert ("retry-after" in response.headers) == (status == 503)


# --- metrics -------------------------------------------------------------------------------------


def numbers(http):
    """The metrics by name and labels; every line has the form that Prometheus reads."""
    response = http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found, typed = {}, set()
    for line in response.text.splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
        elif not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
            family = name.partition("{")[0]
            for end in ("_bucket", "_sum", "_count"):
                family = family.removesuffix(end) if family.removesuffix(end) in typed else family
            assert family in typed, line
    return found


def test_metrics_count_what_every_door_answers(app):
    service, http, demo = app
    ai = asking(str(http.base_url).rstrip("/"))
    ai.chat.completions.create(model="t2ui/math", messages=USER)
    me = Visitor(str(http.base_url), demo)
    me.hear("ask", me.call("ask", "x").json()["event_id"])
    service.worker.failure = Failed("It broke.", "Ask again.")
    with pytest.raises(Exception, match="It broke. Ask again."):
        ai.chat.completions.create(model="t2ui/math", messages=USER)
    http.get("/nothing")
    said = numbers(http)
    assert said['t2ui_answers_total{ended="done"}'] == 2
    assert said['t2ui_answers_total{ended="failed"}'] == 1
    assert said['t2ui_requests_total{kind="openai",status="200"}'] == 1
    assert said['t2ui_requests_total{kind="openai",status="500"}'] == 1
    assert said['t2ui_requests_total{kind="closed",status="404"}'] == 1
    assert said["t2ui_first_token_seconds_count"] == 2
    assert said['t2ui_first_token_seconds_bucket{le="+Inf"}'] == 2
    assert said["t2ui_under_way"] == 0 and said['t2ui_worker_state{state="ready"}'] == 1


def test_a_public_app_shows_strangers_no_metrics():
    with opened(Limits(public=True), pace=0) as (_, url, _):
        assert httpx.get(f"{url}/metrics").status_code == 404


# --- logs ----------------------------------------------------------------------------------------


def test_a_log_line_is_json_and_holds_no_texts(app):
    _, http, _ = app
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        http.get("/?prompt=a+secret+question")
        body = {"model": "t2ui/base", "messages": USER}
        assert http.post("/v1/chat/completions", json=body).status_code == 200
        assert http.post("/v1/chat/completions", json={**body, "x": 1}).status_code == 400
        eventually(lambda: stream.getvalue().count("\n") == 3)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["path"], one["status"]) for one in lines] == [
        ("/", 200),
        ("/v1/chat/completions", 200),
        ("/v1/chat/completions", 400),
    ]
    assert all(one["message"] == "request" and one["seconds"] >= 0 for one in lines)
    assert "secret" not in stream.getvalue()


# --- the end -------------------------------------------------------------------------------------


def test_what_runs_is_answered_to_its_end_and_nothing_new_is_begun(app):
    service, http, demo = app
    service.worker.pace = 0.3
    url = str(http.base_url).rstrip("/")
    texts = []

    def answer():
        asked = {"model": "t2ui/math", "messages": USER, "stream": True}
        chunks = list(asking(url).chat.completions.create(**asked))
        texts.append((chunks[-1].choices[0].finish_reason, len(chunks)))

    running = threading.Thread(target=answer)
    running.start()
    eventually(lambda: service.drain.under_way == 1)
    service.drain.begin()
    assert http.get("/health").json()["status"] == "draining"
    body = {"model": "t2ui/base", "messages": USER}
    refused = http.post("/v1/chat/completions", json=body)
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) == 30
    assert refused.json()["error"]["type"] == "server_error"
    me = Visitor(url, demo)
    assert me.call("ask", "x").status_code == me.join("run", "x").status_code == 503
    assert service.drain.finish(30) == 0
    running.join(20)
    assert texts and texts[0][0] == "stop" and texts[0][1] > 5


def test_a_drain_has_an_end(app):
    service, http, _ = app
    service.worker.pace = 100
    body = {"model": "t2ui/base", "messages": USER, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200
        service.drain.begin()
        assert service.drain.finish(0.5) == 1
    eventually(lambda: len(service.worker.cancelled) == 1)


SERVER = """
import sys
sys.path[:0] = ["tests/support", "."]
import fake_client, t2ui.worker.client, contextlib
fake = fake_client.FakeClient(pace=0.3)
t2ui.worker.client.connect = lambda config: contextlib.nullcontext(fake)
from t2ui.cli.main import main
main(sys.argv[1:])
"""


def test_sigterm_drains_a_real_server(tmp_path):
    import os
    import socket
    from pathlib import Path

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, "serve", "--port", str(port), "--log-json"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "T2UI_CACHE": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"

        def up():
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"{url}/health").status_code == 200

        eventually(up, 200)
        asked = {"model": "t2ui/math", "messages": USER, "stream": True}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=asked, timeout=60) as said:
            lines = said.iter_lines()
            assert next(lines).startswith("data: ")
            server.send_signal(signal.SIGTERM)
            rest = list(lines)
        assert rest[-2:] == ["data: [DONE]", ""] or "data: [DONE]" in rest
        assert server.wait(30) == 0
        log = [json.loads(line) for line in server.stderr if line.startswith("{")]
        assert any(one.get("path") == "/v1/chat/completions" for one in log)
    finally:
        server.kill()
        server.wait()
        server.stderr.close()


# --- who is let in at all ------------------------------------------------------------------------


def test_other_addresses_need_keys_or_a_word(cli, monkeypatch):
    status, _, err = cli("serve", "--host", "0.0.0.0", "--port", "1")
    assert status == 2 and "--keys FILE" in err and "--open" in err
    client = contextlib.nullcontext(FakeClient())
    monkeypatch.setattr("t2ui.worker.client.connect", lambda config: client)
    for word in ("--open", "--public"):  # a port that there is not: it got further than this
        status, _, err = cli("serve", "--host", "0.0.0.0", "--port", "99999", word)
        assert status == 2 and "Cannot listen" in err
    for host, own in {"localhost": 1, "127.0.0.9": 1, "::1": 1, "10.0.0.1": 0, "me.lan": 0}.items():
        assert _is_loopback(host) == bool(own)


def test_time_is_measured_from_asking_to_the_first_text():
    from t2ui.http.metrics import Metrics
    from t2ui.messages import Status

    metrics = Metrics()
    for seconds in (0.04, 0.3, 70.0):
        metrics.first_token(seconds)
    text = metrics.text(Status("ready", "tiny", "cpu", rows=3, memory=5, restarts=2), 1)
    assert 't2ui_first_token_seconds_bucket{le="0.05"} 1' in text
    assert 't2ui_first_token_seconds_bucket{le="0.5"} 2' in text
    assert "t2ui_first_token_seconds_sum 70.34" in text
    for line in ("batch_rows 3", "worker_memory_bytes 5", "worker_restarts_total 2", "under_way 1"):
        assert f"t2ui_{line}" in text
