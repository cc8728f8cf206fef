"""The app on a test double, with a door that lets little in, and visitors who are refused."""

import pytest
from door import Visitor, eventually, opened

from t2ui.http.limits import Limits

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
