"""Posts that are none and posts that are too many: the door says what is wrong with them."""

import socket

import pytest
import strict_door
from door import Visitor, opened
from strict_door import refused

from t2ui.http.limits import Limits
from t2ui.messages import Ask, Failed

app, fake, visitor = strict_door.app, strict_door.fake, strict_door.visitor  # fixtures

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}  # as one asks for a page
PLAIN = "text/plain; charset=utf-8"


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
