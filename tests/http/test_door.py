"""The door in front of the app: who comes in, whose a request is, and what nobody listens to."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import strict_door
from door import eventually, new_session
from strict_door import refused

from t2ui.messages import Ask, NextToken
from t2ui.ui.shared.panel import pack

app, fake, visitor = strict_door.app, strict_door.fake, strict_door.visitor  # fixtures

MIXER = pack({"experts": [], "alpha": {}})


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
