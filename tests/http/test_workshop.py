"""A workshop over HTTP: seats, fair shares, what is closed, what the page holds, and the board."""

import json
from dataclasses import replace

import classroom
import pytest
from classroom import MIXER, Person, refused
from door import eventually

from t2ui.http.limits import Limits
from t2ui.http.rates import Rates
from t2ui.messages import (
    Adapt,
    AddExpert,
    Ask,
    DeleteExpert,
    EstimateAdapt,
    ReadExpert,
    RenameExpert,
    SaveExpert,
)
from t2ui.ui.shared.panel import unpack
from t2ui.ui.shared.visitor import Visitor as Who
from t2ui.ui.shared.visitor import VisitorClient
from t2ui.workshop.live import CLOSED, Workshop

LIBRARY = 1  # its `act` stands behind the one of Adapt
room, person = classroom.room, classroom.person  # fixtures


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


# --- what the page holds -------------------------------------------------------------------------


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
