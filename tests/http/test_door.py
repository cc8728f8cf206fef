"""The door in front of the app: who comes in, and what is said to those who do not."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from door import Visitor, eventually, new_session, opened

from t2ui.http.headers import HEADERS
from t2ui.http.limits import Limits
from t2ui.messages import Ask, Failed, NextToken
from t2ui.ui.shared.panel import ASSETS, pack

STRICT = Limits(
    public=True,
    answers_per_address=3,
    answers=5,
    api_answers_per_address=1,
    tokens_per_session=1,
    tasks_per_session=2,
    body_bytes=100_000,
    body_seconds=1,
    unheard_seconds=4,
    requests_per_session=200,
    requests_per_address=2000,
    pages_per_address=200,
    sessions_per_address=200,
    api_posts_per_address=200,
)
MIXER = pack({"experts": [], "alpha": {}})


BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}  # as one asks for a page
PLAIN = "text/plain; charset=utf-8"


@pytest.fixture(scope="module")
def app():
    with opened(STRICT, pace=1.0) as made:
        yield made


@pytest.fixture
def fake(app):
    """The double, with nothing under way from the tests before."""
    client, _, demo = app
    eventually(lambda: not demo._queue.event_ids_to_events)
    client.pace, client.loading = 1.0, False
    client.requests.clear()
    client.cancelled.clear()
    return client


@pytest.fixture
def visitor(app, fake):
    """Makes visitors: visitor(address)."""
    made = []

    def make(address="8.8.8.8", session=None):
        made.append(Visitor(app[1], app[2], session, address))
        return made[-1]

    yield make
    for one in made:
        one.http.close()


def refused(response, status, says):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert says in error and len(error) < 400 and "\n" not in error
    if status == 429:
        assert int(response.headers["retry-after"]) >= 1
    return error


def ask(visitor):
    return visitor.join("run", "Fibonacci", "prompt", MIXER, "hard", 0, "", 16, 0, 1, 0)


# --- one answer ----------------------------------------------------------------------------------


def test_a_page_has_one_answer_under_way_and_others_have_theirs(visitor, fake):
    me, you = visitor(), visitor()
    assert ask(me).status_code == 200
    refused(ask(me), 429, "1 answer of yours is under way: wait for it, or press Stop.")
    assert ask(you).status_code == 200, "another page behind the same address"
    assert ask(visitor("9.9.9.9")).status_code == 200
    # a forged session is another page, until its address has had its share
    assert ask(visitor()).status_code == 200
    refused(ask(visitor()), 429, "3 answers from your address are under way: wait")
    assert ask(visitor("9.9.9.9")).status_code == 200
    refused(
        ask(visitor("7.7.7.7")),
        429,
        "The app is busy: 5 answers of other visitors",
    )


def test_the_api_has_one_answer_an_address_whatever_sessions_it_names(visitor):
    me = visitor()
    assert me.call("ask", "x").status_code == 200
    refused(me.call("ask", "x"), 429, "1 answer for your address is under way: read its events")
    refused(me.call("ask", "x", session_hash=new_session()), 429, "your address")
    refused(me.post("call/v2/ask", {"prompt": "x"}), 429, "your address")
    me.session = new_session()
    refused(me.join("ask", "x"), 429, "your address")
    assert visitor("9.9.9.9").call("ask", "x").status_code == 200
    assert me.call("experts").status_code == 200, "the list of experts never waits"


def test_posts_at_once_do_not_slip_through_together(visitor):
    me = visitor()
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda _: me.call("ask", "x").status_code, range(40)))
    assert sorted(statuses) == [200] + [429] * 39


def test_when_it_ends_there_is_room_for_the_next(visitor, fake):
    fake.pace = 0.02
    me = visitor()
    for _ in range(3):
        event = me.call("ask", "x").json()["event_id"]
        assert me.hear("ask", event)[-1][0] == "complete"


def test_next_tokens_and_other_work_have_their_own_limits(visitor, fake):
    fake.pace = 20
    me = visitor()
    asked = {"prompt": "x", "weights": {}, "normalise": False}
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(me.server, "next_token", asked)
        eventually(lambda: any(isinstance(r, NextToken) for r in fake.requests))
        refused(me.server("next_token", asked), 429, "1 next-token request of yours is under way")
        assert me.server("status").status_code == 200
        assert first.result().status_code == 200
    examples = pack({"rows": [["1+1", "2"], ["2+2", "4"]]})
    for _ in range(2):
        assert me.join("estimate", examples, "auto", "likelihood", "light").status_code == 200
    refused(me.join("estimate", examples), 429, "2 requests of yours are under way")


# --- whose it is ---------------------------------------------------------------------------------


def test_the_worker_is_told_whose_a_request_is(visitor, fake):
    fake.pace = 0.02
    me, you, other = visitor(), visitor(), visitor("9.9.9.9")
    for one in (me, you):
        ask(one)
        one.server("next_token", {"prompt": "x"})
    other.call("ask", "x")
    eventually(lambda: sum(isinstance(r, Ask) for r in fake.requests) == 3)
    asks = [r.session for r in fake.requests if isinstance(r, Ask)]
    tokens = [r.session for r in fake.requests if isinstance(r, NextToken)]
    assert len(set(asks)) == 3 and len(set(tokens)) == 2 and set(tokens) < set(asks)
    assert all(len(session) == 32 for session in asks), "an unguessable key"
    assert not {me.session, you.session, "9.9.9.9"} & set(asks)


# --- nobody listens ------------------------------------------------------------------------------


def test_a_post_that_nobody_listens_to_ends_in_the_worker(visitor, app, fake):
    fake.pace = 100
    event = visitor().call("ask", "x").json()["event_id"]
    eventually(lambda: fake.requests)
    eventually(lambda: len(fake.cancelled) == 1, 15)
    eventually(lambda: not app[2]._queue.event_ids_to_events)
    gone = visitor().http.get(f"/gradio_api/call/ask/{event}")
    refused(gone, 404, "nobody listened for 4 s")


def test_a_pages_event_that_nobody_listens_to_ends_too(visitor, fake):
    fake.pace = 100
    ask(visitor())
    eventually(lambda: fake.requests)
    eventually(lambda: len(fake.cancelled) == 1, 15)


def test_a_stop_that_comes_before_the_page_has_heard_of_the_event_ends_it(visitor, fake):
    fake.pace, me = 100, visitor()
    ask(me)
    eventually(lambda: fake.requests)
    body = {"session_hash": me.session, "fn_index": me.function("run")._id, "event_id": None}
    assert me.post("cancel", {**body, "session_hash": visitor().session}).status_code == 404
    assert not fake.cancelled, "another page's Stop ends nothing of this one"
    assert me.post("cancel", body).status_code == 200
    eventually(lambda: len(fake.cancelled) == 1, 5)
    assert me.post("reset", {"event_id": None}).status_code == 200


def test_a_stream_that_is_closed_ends_its_job(visitor, fake):
    fake.pace = 100
    me = visitor()
    event = me.call("ask", "x").json()["event_id"]
    with me.http.stream("GET", f"/gradio_api/call/ask/{event}") as response:
        assert response.status_code == 200
        eventually(lambda: fake.requests)
        time.sleep(6)  # longer than an unread one would live
        assert not fake.cancelled, "somebody listens"
    eventually(lambda: len(fake.cancelled) == 1, 15)


def test_unread_answers_do_not_fill_the_memory(visitor, app, fake):
    fake.pace = 0
    me = visitor()
    for _ in range(30):
        event = me.call("experts").json()["event_id"]
    queue = app[2]._queue
    assert any(event in events for events in queue.pending_event_ids_session.values())
    eventually(lambda: not queue.pending_messages_per_session, 15)
    assert not queue.pending_event_ids_session


def test_a_next_token_request_ends_when_its_page_is_closed(visitor, fake):
    fake.pace = 100
    me = visitor()
    with pytest.raises(httpx.ReadTimeout):
        me.http.timeout = 0.7
        me.server("next_token", {"prompt": "x"})
    eventually(lambda: len(fake.cancelled) == 1, 5)


# --- posts that are none -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"[" * 50_000, 400, "not JSON"),
        (b'{"data": ' + b"9" * 5000 + b"}", 400, "not JSON"),
        (b"[1]", 422, "expected a JSON object"),
        (b'{"data": null}', 422, "expected a list of /ask(prompt"),
        (b'{"data": "prompt"}', 422, "expected a list of /ask(prompt"),
        (b'{"data": []}', 422, "lacks prompt"),
        (b'{"data": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]}', 422, "20 values"),
        (b'{"data": ["x"], "session_hash": "../x"}', 422, "letters, digits"),
        (b'{"data": ["x"], "session_hash": {"a": 1}}', 422, "letters, digits"),
        (b'{"data": ["' + b"x" * 200_000 + b'"]}', 413, "at most 100,000 bytes"),
    ],
)
def test_a_post_to_the_api_that_is_none_says_what_is_wrong(visitor, body, status, says):
    headers = {"content-type": "application/json"}
    refused(
        visitor().http.post("/gradio_api/call/ask", content=body, headers=headers), status, says
    )


def test_a_post_of_another_content_type_is_refused(visitor):
    """A page of another origin may send such a one without asking first."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; b=1"):
        response = visitor().http.post(
            "/gradio_api/call/ask", content=b'{"data":["x"]}', headers={"content-type": kind}
        )
        refused(response, 415, "expected application/json")


def test_what_a_call_leaves_out_is_its_default(visitor, fake):
    fake.pace = 0.02
    me = visitor()
    event = me.call("ask", "Fibonacci").json()["event_id"]
    assert me.hear("ask", event)[-1][0] == "complete"
    event = me.post("call/v2/ask", {"prompt": "Fibonacci", "seed": 7}).json()["event_id"]
    assert me.hear("ask", event)[-1][0] == "complete"
    first, second = (r for r in fake.requests if isinstance(r, Ask))
    assert first.sampling.seed == 0 and second.sampling.seed == 7
    assert first.dispatch == second.dispatch == ""  # the worker chooses
    refused(me.post("call/v2/ask", {"prompt": "x", "sed": 7}), 422, "has no 'sed'")
    refused(me.post("call/v2/ask", {"seed": 7}), 422, "lacks prompt")


@pytest.mark.parametrize(
    "arguments",
    [
        ["", None],
        ["x", {"math": float("nan")}],
        ["x", {"math": float("inf")}],
        ["x", {"<script>": "1e400"}],
        ["x", {"n" * 50_000: "v" * 30_000}],
        ["x", "m" * 90_000],
        ["x", None, "d" * 90_000],
        ["x", None, "", "t" * 90_000],
        ["x", None, "", 10, ["s"] * 15_000],
        [{"a": "p" * 90_000}],
    ],
)
def test_an_error_quotes_a_little_of_what_was_sent(visitor, fake, arguments):
    import json

    fake.pace = 0.02
    me = visitor()
    body = json.dumps({"data": arguments}).encode()  # NaN too, as Python writes it
    response = me.http.post(
        "/gradio_api/call/ask", content=body, headers={"content-type": "application/json"}
    )
    kind, said = me.hear("ask", response.json()["event_id"])[-1]
    assert kind == "error" and said["error"] and len(said["error"]) < 700


def test_a_handler_that_fails_says_so(visitor, fake):
    fake.pace, fake.failure = 0.02, Failed("The model worker died.", "Ask again.")
    me = visitor()
    kind, said = me.hear("ask", me.call("ask", "x").json()["event_id"])[-1]
    assert (kind, said["error"]) == ("error", "The model worker died. Ask again.")


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("call/run", {"data": ["x"]}, 404, "The API has no '/run'"),
        ("call/nothing", {"data": []}, 404, "it has /ask, /experts"),
        ("queue/join", {"data": [], "fn_index": 10**9, "session_hash": "a"}, 404, "reload"),
        ("queue/join", {"data": [], "fn_index": "0", "session_hash": "a"}, 404, "reload"),
        ("queue/join", {"data": [], "fn_index": True, "session_hash": "a"}, 404, "reload"),
        ("run/predict", {"data": [], "fn_index": None}, 404, "reload"),
        ("cancel", {"session_hash": "a", "fn_index": "x", "event_id": "b"}, 422, "whole number"),
        ("cancel", {"fn_index": 1}, 422, "letters"),
        ("cancel", {"session_hash": "a", "fn_index": 1}, 404, "nothing to stop"),
        ("component_server/", {"session_hash": "a", "component_id": 1, "fn_name": "x"}, 404, "x"),
        ("component_server", {"session_hash": "a", "component_id": [], "fn_name": []}, 404, "[]"),
    ],
)
def test_posts_for_what_is_not_there(visitor, path, body, status, says):
    refused(visitor().post(path, body), status, says)


def test_a_function_of_the_queue_is_not_called_around_it(visitor):
    me = visitor()
    fn = me.function("ask")
    values = ["x", *[None] * (len(fn.inputs) - 1)]
    body = {"fn_index": fn._id, "data": values, "session_hash": "a"}
    refused(me.post("run/ask", body), 404, "through the queue")
    refused(me.post("queue/join", {**body, "data": ["x"]}), 422, "expected a list of")
    refused(me.post("queue/join", {"fn_index": fn._id, "data": values}), 422, "session")


def test_a_post_that_does_not_arrive_is_given_up(app, visitor):
    host, port = app[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /gradio_api/call/ask HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 1000\r\n\r\n{"data": ['
        )
        answer = b"".join(iter(lambda: connection.recv(10_000), b""))
    assert answer.startswith(b"HTTP/1.1 408") and b"did not arrive within 1 s" in answer


def test_who_opens_an_address_by_hand_reads_a_line_and_a_program_json(visitor):
    me = visitor()
    line = "There is nothing at GET '/nowhere'."
    seen = me.http.get("/nowhere", headers=BROWSER)
    assert seen.status_code == 404 and seen.headers["content-type"] == PLAIN
    assert seen.text == f"{line}\n"
    assert me.http.get("/nowhere").json() == {"error": line}
    v1 = me.http.post("/v1/chat/completions", headers=BROWSER, content=b"no")
    assert v1.json()["error"]["type"] == "invalid_request_error", "whoever asks"


def test_too_often_is_too_often():
    limits = Limits(
        public=True,
        requests_per_session=0.1,
        api_posts_per_address=0.2,
        pages_per_address=0.3,
        sessions_per_address=0.4,
    )
    with opened(limits, pace=0) as (_, url, demo):
        me = Visitor(url, demo, address="8.8.8.8")

        def last(often, *request, **more):
            said = [often(*request, **more) for _ in range(40)]
            assert said[0].status_code == 200
            return said[-1]

        refused(last(me.server, "status"), 429, "Too many requests from this page: at most 0.1")
        refused(last(me.call, "experts"), 429, "Too many requests from your address: at most 0.2")
        refused(last(me.http.get, "/config"), 429, "Too many requests from your address: at most")
        page = [me.http.get("/", headers=BROWSER) for _ in range(40)][-1]
        assert page.status_code == 429 and page.headers["content-type"] == PLAIN
        assert page.text.startswith("Too many requests from your address: at most 0.3 a second")
        forged = [Visitor(url, demo, address="8.8.8.8").server("status") for _ in range(20)]
        refused(forged[-1], 429, "Too many requests from your address: at most 0.4 a second")
        you = Visitor(url, demo, address="9.9.9.9")
        assert you.call("experts").status_code == you.server("status").status_code == 200


def test_too_much_is_too_much_whatever_it_is_sent_to():
    limits = Limits(public=True, bytes_per_address=1000)
    large = {"data": ["x" * 30_000]}
    with opened(limits, pace=0) as (_, url, demo):
        me = Visitor(url, demo, address="8.8.8.8")
        assert me.http.post("/gradio_api/call/ask", json=large).status_code == 200
        for path in ("/gradio_api/call/ask", "/gradio_api/queue/join"):
            said = me.http.post(path, json=large)
            refused(said, 429, "Posts from your address have more than 1,000 bytes a second")
        assert me.http.post("/v1/chat/completions", json=large).status_code == 429
        you = Visitor(url, demo, address="7.7.7.7")
        kind = {"content-type": "application/json"}
        for status in (413, 429):  # what is refused for its size has come all the same
            parts = (b"x" * 100_000 for _ in range(30))
            said = you.http.post("/gradio_api/call/ask", content=parts, headers=kind)
            assert said.status_code == status, said.text
        assert Visitor(url, demo, address="9.9.9.9").call("experts").status_code == 200


# --- what goes out -------------------------------------------------------------------------------


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
