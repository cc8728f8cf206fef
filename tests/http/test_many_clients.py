"""Many clients at once over the API: nothing is lost, nothing crosses, nobody waits for another."""

import asyncio
import json
import random
import socket
import threading

import httpx
import named_backend
import pytest
from door import eventually, opened

from t2ui.config import WorkerConfig
from t2ui.http.limits import Limits
from t2ui.http.service import Service
from t2ui.worker.client import WorkerClient

CLIENTS = 40
LIMITS = Limits(
    api_answers_per_address=CLIENTS + 10,
    answers_per_address=CLIENTS + 10,
    api_posts_per_address=100_000,
    requests_per_address=100_000,
    send_seconds=600,
)


@pytest.fixture
def app():
    """(service, worker's client, URL) of an app whose worker is a process of its own."""
    config = WorkerConfig("named", max_rows=16)
    with WorkerClient(config, backend=named_backend.load) as client:
        assert client.wait_ready(240).state == "ready"
        service = Service(client, LIMITS)
        with opened(service=service) as (_, url, _):
            yield service, client, url


def asked(name: str, count: int, stream: bool = False) -> dict:
    messages = [{"role": "user", "content": f"count {count}"}]
    mixture = {"t2ui": {"mixture": {name: 1.0}}}
    return {"model": "t2ui/base", "messages": messages, "stream": stream, **mixture}


def wanted(name: str, count: int) -> str:
    return "".join(f"{name}:{n} " for n in range(1, count + 1))


def streamed(lines) -> list[dict]:
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def text_of(chunks: list[dict]) -> str:
    return "".join(
        choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]
    )


async def one_client(http: httpx.AsyncClient, name: str, requests: int) -> tuple[int, int]:
    """Its requests one after the other: whole, streamed, left in the middle; (done, left)."""
    draw, done, left = random.Random(name), 0, 0
    for number in range(requests):
        own, count, kind = f"{name}-{number}", draw.randint(1, 12), draw.random()
        if kind < 0.5:
            reply = await http.post("/v1/chat/completions", json=asked(own, count))
            assert reply.status_code == 200, reply.text
            said = reply.json()
            assert said["choices"][0]["message"]["content"] == wanted(own, count)
            assert said["t2ui"]["mixture"] == {own: 1.0}
            done += 1
            continue
        count = count if kind < 0.8 else 2000  # the long ones are left before they end
        async with http.stream(
            "POST", "/v1/chat/completions", json=asked(own, count, stream=True)
        ) as reply:
            assert reply.status_code == 200
            lines = []
            async for line in reply.aiter_lines():
                lines.append(line)
                if count == 2000 and len(lines) > 4:
                    break
        text = text_of(streamed(lines))
        if count == 2000:
            assert wanted(own, count).startswith(text)
            left += 1
        else:
            assert text == wanted(own, count) and "data: [DONE]" in lines
            done += 1
    return done, left


async def all_clients(url: str, requests: int) -> list[tuple[int, int]]:
    limits = httpx.Limits(max_connections=CLIENTS + 5)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as http:
        return await asyncio.gather(
            *(one_client(http, f"expert{n}", requests) for n in range(CLIENTS))
        )


@pytest.mark.parametrize("requests", [8, pytest.param(250, marks=pytest.mark.slow)])
def test_nothing_is_lost_and_nothing_crosses(app, requests):
    service, client, url = app
    ended = asyncio.run(all_clients(url, requests))
    assert all(done + left == requests for done, left in ended)
    assert sum(left for _, left in ended) > CLIENTS, "some were left in the middle"
    eventually(lambda: service.drain.under_way == 0)
    eventually(lambda: client.status().running == client.status().queued == 0)
    counted = service.metrics.text(client.status(), 0)
    assert f't2ui_answers_total{{ended="done"}} {sum(done for done, _ in ended)}' in counted
    assert 'ended="failed"' not in counted


def test_a_killed_worker_ends_what_it_was_at_and_the_rest_is_answered(app):
    service, client, url = app
    found: list[list[dict]] = []

    def stream():
        body = asked("long", 100_000, stream=True)
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=240) as reply:
            # without a first token yet it is an error as any other, and no stream
            began = reply.status_code == 200
            found.append(streamed(reply.iter_lines()) if began else [json.loads(reply.read())])

    threads = [threading.Thread(target=stream) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: client.status().running == 3)
    killing = {**asked("x", 1), "messages": [{"role": "user", "content": "die"}]}
    reply = httpx.post(f"{url}/v1/chat/completions", json=killing, timeout=240)
    assert reply.status_code == 503 and int(reply.headers["retry-after"]) >= 1
    assert "stopped unexpectedly" in reply.json()["error"]["message"]
    later = httpx.post(f"{url}/v1/chat/completions", json=asked("later", 3), timeout=240)
    assert later.json()["choices"][0]["message"]["content"] == wanted("later", 3)
    for thread in threads:
        thread.join(60)
    assert len(found) == 3
    for chunks in found:
        assert chunks[-1]["error"]["type"] == "server_error"
        assert wanted("long", 100_000).startswith(text_of(chunks[:-1]))
    assert client.status().restarts == 1
    assert "t2ui_worker_restarts_total 1" in httpx.get(f"{url}/metrics").text


def test_a_reader_who_takes_nothing_slows_nobody(app):
    _, client, url = app
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps(asked("slow" * 200, 100_000, stream=True)).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        eventually(lambda: client.status().running == 1)
        ended = asyncio.run(all_clients(url, 2))
        assert sum(done + left for done, left in ended) == 2 * CLIENTS
        eventually(lambda: client.status().running == 1)  # the one that nobody reads goes on
    eventually(lambda: client.status().running == 0)
