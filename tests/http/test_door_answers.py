"""What goes out by the door: headers on everything, to who reads it, and to each their own."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import strict_door
from door import Visitor, opened

from t2ui.http.headers import HEADERS
from t2ui.http.limits import Limits
from t2ui.ui.shared.panel import ASSETS

app, fake, visitor = strict_door.app, strict_door.fake, strict_door.visitor  # fixtures


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/config"),
        ("GET", "/static/nothing"),
        ("GET", "/nothing"),
        ("POST", "/"),
        ("OPTIONS", "/gradio_api/call/ask"),
        ("GET", "/gradio_api/upload"),
        ("GET", "/gradio_api/heartbeat/..%2f"),
        ("GET", f"/gradio_api/file={ASSETS.as_posix()}/shared/core.js"),
        ("POST", "/gradio_api/call/ask"),
    ],
)
def test_every_response_says_what_the_page_may_do(visitor, method, path):
    origin = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for headers in ({}, origin):
        response = visitor().http.request(method, path, headers=headers)
        for name, value in HEADERS.items():
            assert response.headers.get_list(name) == [value], (path, response.status_code)
    policy = HEADERS["content-security-policy"]
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in policy
    assert "default-src 'self'" in policy and "object-src 'none'" in policy


def test_a_reader_who_takes_nothing_is_cut_off(visitor):
    limits = Limits(send_seconds=1)
    with opened(limits, pace=0) as (_, url, _):
        host, port = url.removeprefix("http://").split(":")
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((host, int(port)))
            asked = b"GET /config HTTP/1.1\r\nHost: x\r\n\r\n" * 200  # 30 MB of answers
            threading.Thread(target=_send, args=(connection, asked), daemon=True).start()
            time.sleep(5)
            connection.settimeout(20)
            assert _received(connection) < 10_000_000


def _received(connection):
    """Bytes until the connection ends, in good order or not."""
    size = 0
    try:
        while data := connection.recv(1 << 20):
            size += len(data)
    except ConnectionResetError:
        return size
    return size


def _send(connection, data):
    try:
        connection.sendall(data)
    except OSError:
        return  # it was cut off, as it should be


def test_calls_under_one_name_each_hear_their_own():
    with opened(pace=0.3) as (_, url, demo):
        me = Visitor(url, demo)
        mixtures = [{"math": 0.1}, {"math": 0.2}, {"math": 0.3}]
        posts = [me.call("ask", "x", mixture, session_hash="one") for mixture in mixtures]
        events = [post.json()["event_id"] for post in posts]
        with ThreadPoolExecutor(3) as pool:
            heard = list(pool.map(lambda event: me.hear("ask", event), events))
        assert [found[-1][0] for found in heard] == ["complete"] * 3
        assert [found[-1][1][0]["receipt"]["mixture"] for found in heard] == mixtures
