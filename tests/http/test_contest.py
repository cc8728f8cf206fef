"""A workshop's contest over HTTP: entries, their scores, the end, and who is told what."""

import json
import time
from contextlib import contextmanager

import classroom
import pytest
from classroom import Person, refused, started
from door import eventually, opened
from fake_client import FakeClient

from t2ui.http.workshop import play
from t2ui.messages import Adapt, Failed, ScoreMixtures
from t2ui.workshop.file import read_plan
from t2ui.workshop.live import Workshop

room, person = classroom.room, classroom.person  # fixtures


@pytest.mark.parametrize(
    ("mixture", "says"),
    [
        ({"math": "much"}, "'much'; a number is expected"),
        ({"poems": 1.0}, "There is no expert 'poems'"),
        (None, "expected coefficients by expert"),
        ({}, "All sliders are at 0"),
    ],
)
def test_a_mixture_that_is_none_is_not_handed_in(person, room, mixture, says):
    finn = person("Finn")
    refused(finn.hand_in(mixture), 422, says)
    assert "Finn" not in room[0].workshop.contest.entries


def test_while_the_model_loads_or_has_failed_nothing_is_handed_in(person, room, monkeypatch):
    worker, ben = room[0].worker, person("Ben")
    monkeypatch.setattr(worker, "loading", True)
    refused(
        ben.hand_in({"math": 0.5}), 503, "The model is loading: hand in again in a few seconds."
    )
    monkeypatch.setattr(worker, "state", "failed")
    refused(ben.hand_in({"math": 0.5}), 503, worker.status().detail)


def test_a_contest_from_the_first_entry_to_the_restart(tmp_path):
    client = FakeClient(pace=0.1)
    service = started(tmp_path, client)
    with opened(service=service) as (_, url, demo):
        ada, ben, teacher = (Person(url, demo) for _ in range(3))
        ada.sit("Ada"), ben.sit("Ben")
        teacher.http.get(f"/workshop/teacher?key={service.workshop.secret}")

        def entry(one):
            return one.state()["contest"]["entry"]

        assert ada.hand_in({"math": 0.5}).status_code == 202
        eventually(lambda: entry(ada)["right"] == 1)
        assert entry(ada)["of"] == 2 and entry(ben) is None
        assert ada.hand_in({"math": 1.0}).status_code == 202, "the last one counts"
        assert ben.hand_in({"code": 0.4}).status_code == 202
        eventually(lambda: (entry(ada)["right"], entry(ben)["right"]) == (2, 0))

        assert teacher.act("search").status_code == 200
        refused(teacher.act("search"), 409, "searches already")
        eventually(lambda: teacher.state()["contest"]["search"]["state"] == "scored")
        (search,) = (one for one in client.requests if isinstance(one, Adapt))
        assert search.config.found_by == "cem" and search.config.objective == "reward"
        assert search.examples == service.workshop.plan.contest.visible

        assert teacher.act("end").status_code == 200
        refused(ada.hand_in({"math": 0.1}), 409, "nothing is handed in any more")
        eventually(lambda: teacher.state()["contest"]["state"] == "ended")
        refused(teacher.act("end"), 409, "was ended before")
        board = teacher.state()["contest"]["result"]
        assert board["best"] == "Ada" and len(board["tests"]) == 2
        assert {one["name"] for one in board["standings"]} == {
            "Ada",
            "Ben",
            "CEM search",
            "base model",
        }
        mine = ben.state()["contest"]["result"]
        assert {one["name"] for one in mine["standings"]} == {"Ben", "CEM search", "base model"}
        # what the hidden part asks is nowhere that a student can look
        told = json.dumps(ben.state()) + ben.http.get("/config").text + ben.http.get("/").text
        assert "What is 3 + 3?" in told and "hidden question" not in told
        scores = [one for one in client.requests if isinstance(one, ScoreMixtures)]
        assert scores[-1].examples == (("A hidden question?", "never seen"),)
        assert scores[-1].rivals[0] == {} and len(scores[-1].rivals) == 2
    again = Workshop(read_plan(tmp_path / "class.toml"))
    assert again.contest.result == board and set(again.contest.entries) == {"Ada", "Ben"}


@contextmanager
def contest_of(tmp_path, client):
    """(workshop, Ada, Ben, the teacher) of a contest of its own."""
    service = started(tmp_path, client)
    with opened(service=service) as (_, url, demo):
        ada, ben, teacher = (Person(url, demo) for _ in range(3))
        ada.sit("Ada"), ben.sit("Ben")
        teacher.http.get(f"/workshop/teacher?key={service.workshop.secret}")
        yield service.workshop, ada, ben, teacher


def result_of(one):
    eventually(lambda: one.state()["contest"]["state"] == "ended")
    return one.state()["contest"]["result"]


def test_an_entry_whose_expert_was_deleted_neither_stops_the_end_nor_its_neighbours(tmp_path):
    client = FakeClient(names=("math", "mine"), pace=0.1)
    with contest_of(tmp_path, client) as (workshop, ada, ben, teacher):
        assert ada.hand_in({"mine": 1.0}).status_code == 202
        eventually(lambda: ada.state()["contest"]["entry"]["state"] == "scored")
        workshop.contest.searched({"mine": 0.5}, 1)
        client.names = ("math",)
        note = "The expert 'mine' is not there any more: hand in another mixture."
        eventually(lambda: ada.state()["contest"]["entry"]["note"] == note)
        assert ben.hand_in({"math": 1.0}).status_code == 202
        eventually(lambda: ben.state()["contest"]["entry"]["right"] == 2)
        assert teacher.act("end").status_code == 200
        why = "The expert 'mine' is not there any more."
        out = [{"name": "Ada", "why": why}, {"name": "CEM search", "why": why}]
        board = result_of(teacher)
        assert board["left_out"] == out and board["best"] == "Ben"
        assert {one["name"] for one in board["standings"]} == {"Ben", "base model"}
        assert result_of(ada)["left_out"] == out and result_of(ben)["left_out"] == out[1:]


def test_students_are_told_how_many_were_as_good_as_the_best_but_not_who(tmp_path):
    with contest_of(tmp_path, FakeClient(pace=0.1)) as (_, ada, ben, teacher):
        for one in (ada, ben):
            assert one.hand_in({"math": 1.0}).status_code == 202
        assert teacher.act("end").status_code == 200
        assert result_of(teacher)["tied"] == ["Ada", "Ben"]
        assert result_of(ben)["tied"] == ["", ""]


def test_a_contest_in_which_every_entry_is_left_out_ends_without_a_best(tmp_path):
    client = FakeClient(names=("math", "mine"), pace=0.1)
    with contest_of(tmp_path, client) as (_, ada, _, teacher):
        assert ada.hand_in({"mine": 1.0}).status_code == 202
        client.names = ("math",)
        assert teacher.act("end").status_code == 200
        assert result_of(teacher)["best"] is None and result_of(ada)["tests"] == []


def test_an_expert_that_goes_while_mixtures_are_scored_fails_its_own_entry_alone(tmp_path):
    class Late(FakeClient):
        """Deletes the expert as soon as it is asked for with others."""

        def submit(self, request):
            if isinstance(request, ScoreMixtures) and len(request.mixtures) > 1:
                self.names = ("math",)
            return super().submit(request)

    client = Late(names=("math", "mine"), pace=0.1)
    client.loading = True
    with contest_of(tmp_path, client) as (workshop, ada, ben, teacher):
        for seat, name in (("Ada", "mine"), ("Ben", "math")):
            workshop.contest.hand_in(seat, {name: 1.0}, (name,))
        client.loading = False
        eventually(lambda: ben.state()["contest"]["entry"]["right"] == 2)
        eventually(lambda: ada.state()["contest"]["entry"]["state"] == "gone")
        client.names = ("math", "mine")  # it is back until the end
        eventually(lambda: ada.state()["contest"]["entry"]["state"] == "scored")
        assert teacher.act("end").status_code == 200
        assert [one["name"] for one in result_of(teacher)["left_out"]] == ["Ada"]


def test_a_mixture_that_does_not_fit_is_left_out_and_the_others_are_decided(tmp_path):
    class Unfit(FakeClient):
        """Its expert `code` is of another model."""

        def _score(self, request):
            if any("code" in one for one in request.mixtures):
                return [(0.1, Failed("code does not fit.", cause="input"))]
            return super()._score(request)

    with contest_of(tmp_path, Unfit(pace=0.1)) as (workshop, ada, ben, teacher):
        for seat, name in (("Ada", "code"), ("Ben", "math")):
            workshop.contest.hand_in(seat, {name: 1.0}, (name,))
        eventually(lambda: ada.state()["contest"]["entry"]["state"] == "failed")
        eventually(lambda: ben.state()["contest"]["entry"]["right"] == 2)
        assert teacher.act("end").status_code == 200
        found = result_of(teacher)
        assert found["left_out"] == [{"name": "Ada", "why": "code does not fit."}]
        assert found["best"] == "Ben"


def test_while_the_experts_are_not_known_nothing_is_scored_or_decided(tmp_path):
    client = FakeClient(pace=0.1, loading=True)
    with contest_of(tmp_path, client) as (workshop, ada, _, teacher):
        workshop.contest.hand_in("Ada", {"math": 1.0}, ("math",))
        assert teacher.act("end").status_code == 200
        time.sleep(3 * play.LOOK_SECONDS)
        assert not client.requests and ada.state()["contest"]["entry"]["state"] == "waiting"
        client.state = "failed"
        eventually(lambda: "the worker died" in teacher.state()["contest"]["note"])
        client.state, client.loading = None, False
        assert teacher.act("end").status_code == 200
        assert result_of(teacher)["best"] == "Ada"
        assert ada.state()["contest"]["entry"]["right"] == 2, "it was handed in before the end"


def test_an_entry_that_cannot_be_scored_says_why_and_stays(person, room):
    room[0].worker.failure = Failed("The device ran out of memory.")
    emil = person("Emil")
    assert emil.hand_in({"math": 0.5}).status_code == 202
    eventually(lambda: emil.state()["contest"]["entry"]["state"] == "failed")
    assert emil.state()["contest"]["entry"]["note"] == "The device ran out of memory."
    assert emil.hand_in({"math": 0.5}).status_code == 202
    eventually(lambda: emil.state()["contest"]["entry"]["right"] == 1)


def test_a_disk_that_refuses_is_said_without_a_path_and_written_to_again(person, room, monkeypatch):
    contest, cem, teacher = room[0].workshop.contest, person("Cem"), person(teaches=True)
    with monkeypatch.context() as broken:
        broken.setattr(contest, "path", contest.path.parent)
        sent = cem.hand_in({"math": 0.5})
        refused(sent, 503, "The server's disk refused your entry: tell the teacher")
        assert str(contest.path) not in sent.text and cem.state()["contest"]["entry"] is None
        refused(teacher.act("end"), 503, "cannot be written")
        assert teacher.state()["contest"]["state"] == "open"
    eventually(lambda: teacher.state()["contest"]["note"] == "")
    assert contest.path.is_file()
