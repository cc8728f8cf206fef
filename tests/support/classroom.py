"""A workshop's app on a test double, and the people in its school, who talk plain HTTP to it."""

from dataclasses import replace

import pytest
from door import Visitor, opened
from fake_client import FakeClient

from t2ui.http.limits import Limits
from t2ui.http.service import Service
from t2ui.http.workshop import play
from t2ui.ui.shared.panel import pack
from t2ui.workshop.file import read_plan
from t2ui.workshop.live import Workshop

FILE = """
title = "Mixing"
names = ["Ada", "Ben", "Cem", "Dora", "Emil", "Finn"]
[presets]
soft = { math = 0.5 }
[[tasks]]
name = "Sums"
rows = [["What is 1 + 1?", "2"], ["What is 2 + 2?", "4"]]
[contest]
name = "Problems"
rows = [["What is 3 + 3?", "6"], ["What is 4 + 4?", "8"], ["A hidden question?", "never seen"]]
visible = 2
"""
MIXER = pack({"experts": [{"name": "math"}], "alpha": {"math": 1.0}})


def started(folder, client):
    """A workshop's service on a worker."""
    file = folder / "class.toml"
    file.write_text(FILE)
    workshop = Workshop(read_plan(file))
    limits = replace(Limits().for_a_class(), seats_per_address=1000)  # these tests sit down often
    return Service(client, limits, workshop=workshop)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """(service, URL, the app's blocks)."""
    service = started(tmp_path_factory.mktemp("room"), FakeClient(pace=0))
    with pytest.MonkeyPatch.context() as sooner:
        sooner.setattr(play, "DISK_SECONDS", 0.1)
        with opened(service=service) as (_, url, demo):
            yield service, url, demo


class Person(Visitor):
    """Somebody in the school, which has one address."""

    def sit(self, name):
        return self.http.post("/workshop/seats", json={"seat": name})

    def state(self, page="Ask"):
        return self.http.get("/workshop/state", params={"page": page}).json()

    def hand_in(self, mixture):
        return self.http.post("/workshop/entry", json={"mixture": mixture})

    def act(self, act, **more):
        return self.http.post("/workshop/board", json={"act": act, **more})

    def ask(self):
        return self.join("run", "Who?", "none", MIXER, "hard", 0, "", 16, 0, 1, 0)


@pytest.fixture
def person(room):
    """Makes people, seated or not; all get up at the end."""
    service, url, demo = room
    made = []

    def make(seat="", teaches=False):
        one = Person(url, demo)
        made.append(one)
        if seat:
            assert one.sit(seat).status_code == 200
        if teaches:
            secret = service.workshop.secret
            assert one.http.get(f"/workshop/teacher?key={secret}").status_code == 303
        return one

    yield make
    for one in made:
        one.http.close()
    for seat in service.workshop.seats.all():
        seat.token = ""


def refused(response, status, says):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    error = error["message"] if isinstance(error, dict) else error  # as OpenAI's API has it
    assert says in error and len(error) < 400 and "\n" not in error
