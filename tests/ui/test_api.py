"""The API by name: one more route is one file and one line, and what a caller may leave out."""

import httpx
import pytest
from fake_client import FakeClient

from t2ui.catalogue import ROUTES, Entry
from t2ui.messages import Ask, CompareExperts, Components
from t2ui.records import ComponentChoice


@pytest.fixture
def api(monkeypatch):
    """(a client of the app, the worker's double), with a route of the test's own."""
    from gradio_client import Client

    from t2ui.ui import build, launch_options

    monkeypatch.setitem(ROUTES, "count", Entry("count_route:ROUTE", "how many experts there are"))
    fake = FakeClient(pace=0)
    demo = build(fake)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield Client(url, verbose=False), fake
    demo.close()


def test_a_route_that_was_added_is_published_and_answers(api):
    client, fake = api
    described = client.view_api(return_format="dict")["named_endpoints"]
    assert set(described) == {"/ask", "/experts", "/components", "/likeness", "/count"}
    assert client.predict(api_name="/count") == len(fake.names) + 1
    assert client.predict(2, api_name="/count") == len(fake.names) + 3
    with pytest.raises(Exception, match="more is -1; expected 0 or more"):
        client.predict(more=-1, api_name="/count")


def test_a_caller_reads_what_every_argument_is(api):
    described = api[0].view_api(return_format="dict")["named_endpoints"]["/ask"]
    names = [argument["parameter_name"] for argument in described["parameters"]]
    assert names[:6] == ["prompt", "mixture", "dispatch", "max_new_tokens", "seed", "temperature"]
    more = {
        "routing",
        "threshold",
        "normalise",
        "allow_transfer",
        "scope",
        "top_p",
        "top_k",
        "stop",
    }
    assert more == set(names[6:])


def test_nobody_who_leaves_the_dispatcher_out_chooses_one(api):
    client, fake = api
    client.predict("x", api_name="/ask")
    assert [r.dispatch for r in fake.requests if isinstance(r, Ask)] == [""]


def test_components_and_likeness_are_what_the_worker_says(api):
    client, fake = api
    found = client.predict({"math": 1.0}, "What is 3 + 4?", api_name="/components")
    asked = fake.requests[-1]
    (_, expected), _ = fake._components(asked)
    assert asked == Components({"math": 1.0}, ComponentChoice(), "What is 3 + 4?")
    assert found["changed"] == pytest.approx(expected.changed)
    name = expected.components[0].name
    client.predict({"math": 1.0}, matrix=name, index=3, at=0.5, api_name="/components")
    assert fake.requests[-1].choice == ComponentChoice(chosen=((name, 3),), at=0.5)
    alike = client.predict(["math", "code"], api_name="/likeness")
    (_, expected), _ = fake._likeness(CompareExperts(("math", "code")))
    assert alike["cosine"][0] == pytest.approx(expected.cosine[0].tolist())
    with pytest.raises(Exception, match="no expert named 'poems'"):
        client.predict(["poems"], api_name="/likeness")
    with pytest.raises(Exception, match="coefficient"):
        client.predict({"math": "much"}, api_name="/components")


HUGE = 10**400  # JSON has such numbers, floats do not


def test_a_bad_argument_is_named_in_one_short_line(api):
    client, _ = api
    for route, given, words in (
        ("/ask", {"mixture": {"math": HUGE}}, "expected a finite number"),
        ("/ask", {"max_new_tokens": HUGE}, "expected between 1 and 4096"),
        ("/ask", {"temperature": HUGE}, "expected between 0 and 5"),
        ("/ask", {"seed": HUGE}, "seed is 1000"),
        ("/ask", {"threshold": HUGE}, "expected between 0 and 1"),
        ("/components", {"count": "x"}, "count is 'x'; a number is expected"),
        ("/components", {"at": "x"}, "at is 'x'; a number is expected"),
        ("/components", {"index": -1}, "index is -1; expected between 0"),
        ("/components", {"mixture": "ab"}, "mixture is 'ab'; expected an object"),
        ("/components", {"mixture": [1]}, "expected an object"),
    ):
        needed = {"prompt": "Hello", **({"mixture": {}} if route == "/components" else {})}
        with pytest.raises(Exception, match=words) as caught:
            client.predict(**{**needed, **given}, api_name=route)
        assert len(str(caught.value)) < 500


def test_what_no_component_can_read_is_not_repeated_to_the_sender_nor_to_the_log(api, capfd):
    """A hostile client would fill the disk with it."""
    client, _ = api
    kinds = {one["id"]: one["type"] for one in client.config["components"]}
    events = [
        (event["id"], place, len(event["inputs"]), kinds[block])
        for event in client.config["dependencies"]
        for place, block in enumerate(event["inputs"])
        if kinds[block] in ("radio", "slider", "dropdown") and event["queue"] is False
    ]
    assert {kind for *_, kind in events} >= {"radio", "dropdown"}
    for event, place, count, kind in events[:8]:
        data = [None] * count
        data[place] = "A" * 100_000
        asked = {"data": data, "fn_index": event, "session_hash": "stranger"}
        answer = httpx.post(f"{client.src}gradio_api/run/predict", json=asked, timeout=20)
        said = answer.json()["error"]
        assert answer.status_code == 500 and 0 < len(said) < 500, (kind, said)
    out = capfd.readouterr()
    assert "Traceback" not in out.err and "AAAA" * 100 not in out.err + out.out


def test_a_fault_of_the_app_is_said_to_be_one(api, monkeypatch, capfd):
    client, fake = api

    def broken(*args):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(fake, "submit", broken)
    with pytest.raises(Exception, match="The app failed at this request; its log says why"):
        client.predict("x", api_name="/ask")
    assert "ZeroDivisionError: a bug" in capfd.readouterr().err
