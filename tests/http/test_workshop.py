"""A workshop over HTTP: seats, fair shares, what is closed, the board, and the contest."""

import json
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from door import Visitor, eventually, opened
from fake_client import FakeClient

from t2ui.http.limits import Limits
from t2ui.http.rates import Rates
from t2ui.http.service import Service
from t2ui.http.workshop import play
from t2ui.messages import (
    Adapt,
    AddExpert,
    Ask,
    DeleteExpert,
    EstimateAdapt,
    Failed,
    ReadExpert,
    RenameExpert,
    SaveExpert,
    ScoreMixtures,
)
from t2ui.ui.shared.panel import pack, unpack
from t2ui.ui.shared.visitor import Visitor as Who
from t2ui.ui.shared.visitor import VisitorClient
from t2ui.workshop.file import read_plan
from t2ui.workshop.live import CLOSED, Workshop

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
LIBRARY = 1  # its `act` stands behind the one of Adapt
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


# --- seats ---------------------------------------------------------------------------------------


def test_without_a_seat_there_is_only_the_page_that_gives_one(person):
    nobody = person()
    page = nobody.http.get("/")
    assert page.status_code == 200 and "Pick your seat" in page.text
    for path in ("/config", "/v1/models", "/gradio_api/queue/data?session_hash=x"):
        refused(nobody.http.get(path), 403, "You have no seat yet: open the app's page")
    refused(nobody.ask(), 403, "You have no seat yet")
    refused(nobody.server("status"), 403, "You have no seat yet")
    refused(nobody.http.get("/workshop/state"), 403, "You have no seat yet")
    refused(nobody.hand_in({"math": 1.0}), 403, "You have no seat yet")
    assert nobody.http.get("/health").status_code == 200
    seats = nobody.http.get("/workshop/seats").json()
    assert seats["title"] == "Mixing" and seats["seats"][0] == {"name": "Ada", "taken": False}


def test_a_seat_is_one_browsers_and_a_forged_one_is_nobodys(person):
    ada, other = person("Ada"), person()
    page = ada.http.get("/")
    assert "Pick your seat" not in page.text and "gradio" in page.text
    assert ada.state()["seat"] == "Ada"
    refused(other.sit("Ada"), 409, "Ada is taken: pick another, or ask the teacher")
    refused(other.sit("Zoe"), 404, "There is no seat 'Zoe'")
    refused(other.sit(7), 404, "There is no seat 7")
    assert other.http.get("/workshop/seats").json()["seats"][0]["taken"]
    for forged in ("Ada", "seat:Ada", "x" * 40):
        other.http.cookies.set("t2ui-workshop", forged)
        refused(other.ask(), 403, "This seat is not known here any more")
        assert "Pick your seat" in other.http.get("/").text
        other.http.cookies.clear()
    cookie = ada.sit("Ada").headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie
    assert ada.sit("").status_code == 200 and ada.http.get("/workshop/state").status_code == 403
    assert other.sit("Ada").status_code == 200


def test_a_browser_hears_that_the_teacher_freed_its_seat_and_not_that_the_server_began_anew(
    person, room
):
    ada, ben, teacher = person("Ada"), person("Ben"), person(teaches=True)
    assert teacher.act("free", seat="Ada").status_code == 200
    refused(ada.http.get("/workshop/state"), 410, "The teacher freed this seat")
    assert "Pick your seat" in ada.http.get("/").text and ada.sit("Ada").status_code == 200
    assert ada.state()["seat"] == "Ada", "by hand it is picked again"
    next(one for one in room[0].workshop.seats.all() if one.name == "Ben").token = ""  # a restart
    refused(ben.http.get("/workshop/state"), 403, "not known here any more")


def test_a_teacher_of_before_the_restart_hears_that_there_is_a_new_link(person, room, monkeypatch):
    teacher = person(teaches=True)
    monkeypatch.setattr(room[0].workshop, "secret", Workshop(room[0].workshop.plan).secret)
    line = "The server was started again: open the new link that it printed."
    refused(teacher.http.get("/workshop/state"), 403, line)
    refused(teacher.server("status"), 403, line)
    page = teacher.http.get("/").text
    assert "Pick your seat" in page and line in page


def test_the_seats_page_says_to_whom_the_teacher_freed_why_it_is_there(person):
    ada, teacher = person("Ada"), person(teaches=True)
    assert teacher.act("free", seat="Ada").status_code == 200
    assert "The teacher freed your seat: pick one." in ada.http.get("/").text
    assert "The teacher freed your seat" not in person().http.get("/").text


def test_one_address_takes_some_seats_at_once_and_a_class_within_a_minute(person, room):
    limits = room[0].limits
    now = [0.0]
    rates = Rates(lambda: now[0])
    usual = Limits.for_public().for_a_class().seats_per_address
    seated = sum(not rates.take("school", usual) for _ in range(40))
    assert seated < 20
    for now[0] in range(60):
        seated += not rates.take("school", usual)
    assert seated >= 40
    room[0].limits = replace(limits, seats_per_address=0.1)
    try:
        script = person()
        assert {script.sit("Zoe").status_code for _ in range(3)} == {404, 429}
        refused(script.sit("Ada"), 429, "Too many requests from your address")
    finally:
        room[0].limits = limits


def test_a_post_from_a_form_of_another_page_is_no_seats(person):
    ada = person("Ada")
    sent = ada.http.post("/workshop/entry", content=b'{"mixture": {}}')
    refused(sent, 415, "expected application/json")


# --- fair shares ---------------------------------------------------------------------------------


def test_answers_count_by_seat_whatever_the_address_and_the_page(person, room):
    room[0].worker.pace = 50.0
    try:
        ada, ben = person("Ada"), person("Ben")
        assert ada.ask().status_code == 200
        again = Person(room[1], room[2])
        again.http.cookies = ada.http.cookies
        refused(again.ask(), 429, "1 answer of yours is under way")
        assert ben.ask().status_code == 200, "the same address, another seat"
        assert person("Cem").call("ask", "x").status_code == 200
        eventually(lambda: {"seat:Ada", "seat:Ben", "seat:Cem"} <= sessions(room))
    finally:
        room[0].worker.pace = 0


def sessions(room):
    return {one.session for one in room[0].worker.requests if isinstance(one, Ask)}


def test_a_seat_has_a_sessions_limits_and_a_class_may_come_at_once():
    strangers = Limits.for_public().for_a_class()
    assert strangers.pages_per_address == Limits().pages_per_address and strangers.public
    seat = strangers.for_a_seat()
    assert seat.answers_per_address == seat.answers_per_session == 1
    assert seat.requests_per_address == seat.requests_per_session


# --- what is closed ------------------------------------------------------------------------------


class Recorder:
    """A worker that is sent things."""

    def __init__(self):
        self.requests = []

    def submit(self, request):
        self.requests.append(request)
        return request


@pytest.mark.parametrize(
    "request_",
    [
        AddExpert(b"x"),
        SaveExpert("mine", {"math": 1.0}),
        RenameExpert("mine", "yours"),
        DeleteExpert("mine"),
        Adapt((("q", "a"),)),
        EstimateAdapt(Adapt((("q", "a"),))),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_is_the_teachers_never_reaches_the_worker(request_):
    worker = Recorder()
    job = VisitorClient(worker, Who("seat:Ada", closed=CLOSED)).submit(request_)
    failed = job.next()
    says = ("In this workshop", "Only the teacher")
    assert failed.message.startswith(says) and job.finished and not worker.requests
    assert failed.remedy and failed.cause == "input", "what the page says in its place does not fit"
    assert VisitorClient(worker, Who("teacher")).submit(request_) and worker.requests
    assert ReadExpert not in CLOSED and Ask not in CLOSED


def heard(visitor, name, data, event_data, nth=0):
    """The last value of a page's event that its script sends something along with."""
    fn = visitor.function(name, nth)
    body = {"fn_index": fn._id, "data": data, "session_hash": visitor.session}
    event = visitor.post("queue/join", {**body, "event_data": event_data}).json()["event_id"]
    path = f"/gradio_api/queue/data?session_hash={visitor.session}"
    with visitor.http.stream("GET", path, timeout=60) as stream:
        for line in stream.iter_lines():
            said = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if said.get("msg") == "process_completed" and said["event_id"] == event:
                return said["output"]["data"]
    raise AssertionError("it never ended")


def test_the_page_says_so_to_students_and_not_to_the_teacher(person):
    gone = {"act": "save", "name": "mine"}
    said = unpack(heard(person("Ada"), "act", [MIXER, None], gone, LIBRARY)[-1])
    assert "experts are not added, saved, renamed or deleted" in said["note"] and said["bad"]
    said = unpack(heard(person(teaches=True), "act", [MIXER, None], gone, LIBRARY)[-1])
    assert said["note"].startswith("mine is there")


# --- the board -----------------------------------------------------------------------------------


def test_the_board_is_the_teachers(person, room):
    for one in (person(), person("Ada")):
        refused(one.http.get("/workshop/board"), 403, "The board is the teacher's")
        refused(one.act("end"), 403, "The board is the teacher's")
        wrong = one.http.get("/workshop/teacher?key=guessed")
        assert wrong.status_code == 403 and wrong.headers["content-type"].startswith("text/plain")
        assert wrong.text.startswith("This is not the teacher's link, or an old one: open the one")
    assert room[0].workshop.contest.state == "open"
    teacher = person(teaches=True)
    assert teacher.http.get("/").status_code == 200
    assert teacher.http.get("/workshop/board").json()["teacher"] is True
    assert teacher.state()["teacher"] is True, "the page asks one address"
    refused(teacher.hand_in({"math": 1.0}), 403, "The teacher hands nothing in")
    refused(teacher.act("dance"), 422, 'act is "dance"; expected search, end or free')
    refused(teacher.act("free", seat="Zoe"), 409, "There is no seat 'Zoe'")


def test_who_is_where_and_what_was_answered_is_seen_on_the_board_alone(person):
    ben, teacher = person("Dora"), person(teaches=True)
    event = ben.call("ask", "A secret question?", {"math": 0.7}, "none", 8).json()["event_id"]
    assert ben.hear("ask", event)[-1][0] == "complete"
    mine = json.dumps(ben.state("Inspect"))
    assert "secret question" not in mine and "Here is a" not in mine
    (seen,) = (one for one in teacher.state()["seats"] if one["name"] == "Dora")
    assert seen["here"] and seen["page"] == "Inspect" and 0 <= seen["ago"] < 60
    assert seen["answers"] == 1 and seen["question"] == "A secret question?"
    assert seen["mixture"] == {"math": 0.7} and seen["answer"].startswith("Here is a short")
    assert teacher.act("free", seat="Dora").status_code == 200
    refused(ben.ask(), 403, "This seat is not known here any more")


# --- the contest ---------------------------------------------------------------------------------


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


def test_presets_and_tasks_stand_on_the_page(person):
    ada = person("Ada")
    mixer = unpack(ada.http.get("/config").json() and mixer_of(ada))
    assert [one["name"] for one in mixer["presets"]][-1] == "soft"
    assert mixer["presets"][-1]["alpha"]["math"] == 0.5
    config = ada.http.get("/config").text
    assert "Sums (2)" in config and "Passengers" not in config


def mixer_of(visitor):
    parts = visitor.http.get("/config").json()["components"]
    value = next(one["props"]["value"] for one in parts if one["props"].get("elem_id") == "mixer")
    return heard(visitor, "list_experts", [value, "none"], {})[0]
