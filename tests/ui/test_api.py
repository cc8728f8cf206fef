"""The API by name: one more route is one file and one line, and what a caller may leave out."""

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
