"""ui: Adapt's searches go on without their page, are found, stopped and forgotten. No browser."""

import asyncio
import time

from fake_client import FakeClient

from t2ui.messages import (
    Adapt,
    Failed,
)
from t2ui.ui.adapt import searches as searches_module
from t2ui.ui.adapt.searches import GONE, Searches

COLOURS = {"math": "#0072B2", "code": "#E69F00", "reasoning": "#009E73"}
PAIRS = tuple((f"How many are {n} and {n}?", str(2 * n)) for n in range(1, 7))


def begin(searches, *asked, **more):
    """`Searches.start` in a loop, as the page calls it; its watcher ends with this loop."""

    async def start():
        return searches.start(*asked, **more)

    return asyncio.run(start())


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def test_a_search_goes_on_without_its_page_and_is_found_by_its_id():
    searches = Searches(FakeClient(pace=0.01))
    search_id = begin(searches, Adapt(PAIRS), COLOURS)
    until(lambda: searches.value(search_id)["state"] == "done")
    again = searches.value(search_id)
    assert again["report"] and again["score"]
    request, found = searches.found(search_id)
    assert request.examples == PAIRS and set(found.mixture) == {"math", "code", "reasoning"}


def test_nobody_finds_a_search_without_its_id():
    searches = Searches(FakeClient(pace=0))
    begin(searches, Adapt(PAIRS), COLOURS)
    for guess in ("", "0", "x" * 32):
        assert searches.value(guess)["state"] == "empty" and searches.found(guess) is None
    assert searches.value("x" * 32)["message"] == GONE
    searches.stop("nobody's")


def test_stop_keeps_what_was_found():
    client = FakeClient(pace=0.2)
    searches = Searches(client)
    search_id = begin(searches, Adapt(PAIRS), COLOURS)
    until(lambda: searches.value(search_id)["count"] >= 2)
    searches.stop(search_id)
    until(lambda: searches.value(search_id)["state"] == "stopped")
    assert searches.found(search_id) and client.cancelled == [search_id]


def test_starting_again_stops_the_search_before():
    client = FakeClient(pace=5)
    searches = Searches(client)
    first = begin(searches, Adapt(PAIRS), COLOURS)
    second = begin(searches, Adapt(PAIRS), COLOURS, before=first)
    assert client.cancelled == [first] and first != second


def test_a_search_that_nobody_looks_at_is_stopped(monkeypatch):
    client = FakeClient(pace=5)
    searches = Searches(client)
    deserted = begin(searches, Adapt(PAIRS), COLOURS)
    looked_at = begin(searches, Adapt(PAIRS), COLOURS)
    real = time.monotonic()

    class Later:
        monotonic = staticmethod(lambda: real + searches_module.DESERTED_SECONDS + 10)

    searches.value(looked_at)
    assert client.cancelled == []
    with monkeypatch.context() as patch:
        patch.setattr(searches_module, "time", Later)
        searches.value(looked_at)
    assert client.cancelled == [deserted]


def test_a_search_is_stopped_when_no_page_at_all_asks_for_anything(monkeypatch):
    monkeypatch.setattr(searches_module, "DESERTED_SECONDS", 0.05)
    monkeypatch.setattr(searches_module, "WATCH_SECONDS", 0.01)
    client = FakeClient(pace=5)

    async def walk_away():
        searches = Searches(client)
        search_id = searches.start(Adapt(PAIRS), COLOURS)
        watcher = searches._kept[search_id].watcher
        await asyncio.wait_for(asyncio.shield(watcher), 5)
        return search_id

    assert [asyncio.run(walk_away())] == client.cancelled


def test_old_searches_that_ended_are_forgotten(monkeypatch):
    monkeypatch.setattr(searches_module, "MOST_KEPT", 3)
    searches = Searches(FakeClient(pace=0))
    ids = []
    for _ in range(5):
        ids.append(begin(searches, Adapt(PAIRS), COLOURS))
        until(lambda: searches.value(ids[-1])["state"] == "done")
    assert [searches.found(one) is not None for one in ids] == [False, False, True, True, True]


def test_a_worker_that_dies_is_a_failed_search():
    client = FakeClient(pace=0.01)
    client.failure = Failed("The model worker stopped unexpectedly.", "It is restarting.")
    searches = Searches(client)
    search_id = begin(searches, Adapt(PAIRS), COLOURS)
    until(lambda: searches.value(search_id)["state"] == "failed")
    assert "restarting" in searches.value(search_id)["remedy"]
