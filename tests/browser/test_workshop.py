"""A workshop in the browser: two students and the teacher, from the seats to the result."""

import browsing
import classroom
import pytest
from browsing import SHOTS, alpha, eventually, rare, slide, wait_state
from door import opened
from fake_client import FakeClient

from t2ui.http.limits import Limits
from t2ui.http.service import Service
from t2ui.messages import Adapt, SaveExpert
from t2ui.workshop.file import read_plan
from t2ui.workshop.live import Workshop

pytestmark = pytest.mark.browser
browser = browsing.browser  # the fixture

LONG = "Wilhelmina Warmuth-Wassermann von Weimar"
TAB = "#pages [role=tab]:has-text('Workshop')"
FILE = classroom.FILE.replace('"Cem", "Dora", "Emil", "Finn"', f'"Cem", "{LONG}"')


@pytest.fixture
def room(browser, tmp_path):
    """(client, workshop, come): `come(path)` is somebody with a browser of their own."""
    file = tmp_path / "class.toml"
    file.write_text(FILE)
    workshop, client = Workshop(read_plan(file)), FakeClient(pace=0)
    contexts, bad = [], []
    with opened(service=Service(client, Limits(), workshop=workshop)) as (_, url, _):

        def come(path="/", width=1280, height=720):
            fingers = {"has_touch": True, "is_mobile": True} if width < 600 else {}
            size = {"width": width, "height": height}
            contexts.append(browser.new_context(viewport=size, **fingers))
            page = contexts[-1].new_page()
            page.set_default_timeout(60_000)
            page.on("pageerror", lambda error: bad.append(str(error)))
            page.on("request", lambda r: r.url.startswith(url) or bad.append(r.url))
            page.goto(url + path)
            return page

        yield client, workshop, come
        for context in contexts:
            context.close()
    assert not [one for one in bad if not one.startswith(("data:", "blob:"))], bad


def sit(page, name):
    page.get_by_role("button", name=name, exact=True).click()
    page.wait_for_selector("#mix-math", state="attached")
    page.locator("#seat-name", has_text=name).wait_for()
    return page


def open_tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def test_a_student_hands_in_and_the_teacher_sees_it_and_frees_the_seat(room):
    _, workshop, come = room
    student = sit(come(), LONG)
    student.get_by_role("button", name="soft", exact=True).click()
    eventually(lambda: alpha(student, "math") == 0.5)
    student.click("#hand-in")
    student.locator("#seat-score", has_text="1/2").wait_for()
    student.locator("#status[data-state=ready]").wait_for()
    seat, tab = (student.locator(one).bounding_box() for one in (".seat-box", TAB))
    assert seat["x"] >= tab["x"] + tab["width"], "it lies over the tabs"
    assert LONG in student.get_attribute("#seat-name", "title")

    teacher = come(f"/workshop/teacher?key={workshop.secret}")
    teacher.locator(".tiles li.near b", has_text=LONG).wait_for()
    teacher.locator(f'.players [data-name="{LONG}"]', has_text="math 0.50").wait_for()
    for _ in range(2):  # it asks back
        teacher.get_by_role("button", name=f"Free {LONG}").click()
    student.get_by_role("heading", name="Mixing").wait_for()  # and its open page takes it no more
    student.locator("#said", has_text="The teacher freed your seat: pick one.").wait_for()
    assert student.evaluate("localStorage.getItem('t2ui-seat')") is None
    assert student.get_by_role("button", name=LONG).is_enabled()


@pytest.mark.parametrize("width", [360, rare(390)])
def test_on_a_phone_nothing_of_the_header_and_of_the_result_is_cut(room, width):
    _, workshop, come = room
    student = sit(come(width=width, height=844), LONG)
    workshop.contest.hand_in(LONG, {"math": 1.0}, ["math"])
    student.locator("#seat-score", has_text="2/2").wait_for()
    student.locator("#status[data-state=ready]").wait_for()
    parts = (
        ".brand",
        "#seat-name",
        "#seat-score",
        "#hand-in",
        "#status",
        "#header .right > button:visible",
    )
    boxes = [student.locator(one).last.bounding_box() for one in parts]
    for left, right in zip(boxes, boxes[1:], strict=False):
        assert left["x"] + left["width"] <= right["x"], "one lies over the next"
    assert boxes[-1]["x"] + boxes[-1]["width"] <= width
    tabs = "[...document.querySelectorAll('#pages [role=tab]')].filter((tab) => tab.offsetWidth)"
    sizes = student.evaluate(
        f"{tabs}.map((tab) => [tab.textContent, tab.scrollWidth - tab.clientWidth])"
    )
    assert len(sizes) == 7 and not [one for one in sizes if one[1] > 1]

    workshop.contest.end()
    teacher = come(f"/workshop/teacher?key={workshop.secret}", width=width, height=844)
    teacher.locator(".standings .bounds").first.wait_for()
    for bounds in teacher.locator(".standings .bounds").all():
        assert bounds.evaluate("(e) => e.scrollWidth <= e.clientWidth")
        box = bounds.bounding_box()
        assert box["x"] + box["width"] <= width - 16 and box["height"] < 30


def test_after_a_restart_the_board_says_once_that_there_is_a_new_link(room):
    _, workshop, come = room
    teacher = come(f"/workshop/teacher?key={workshop.secret}")
    teacher.locator(".tiles, .seats p").first.wait_for()
    teacher.locator("#status[data-state=ready]").wait_for()
    workshop.secret = Workshop(workshop.plan).secret
    said = "The server was started again: open the new link that it printed."
    line = teacher.locator("#workshop").get_by_text(said)  # an event on its way may have a toast
    teacher.locator("#status[data-state=refused]").wait_for()
    line.wait_for()
    assert line.count() == 1 and teacher.locator(".banner, .t2-tip").count() == 0
    other = teacher.context.new_page()  # of the same browser: the cookie is both pages'
    other.goto(f"{teacher.url.split('?')[0]}workshop/teacher?key={workshop.secret}")
    other.locator("#status[data-state=ready]").wait_for()
    line.wait_for(state="detached")
    other.close()  # left in mid-stream it can keep its browser from closing
    workshop.secret = Workshop(workshop.plan).secret
    again = teacher.context.new_page()  # the board may be loading itself anew at this moment
    again.goto(teacher.url.split("?")[0])
    again.locator("#said", has_text="The server was started again").wait_for()
    again.close()


def test_the_header_tells_no_server_from_one_that_does_not_let_the_page_in(room):
    page = sit(room[2](), "Ada")
    for path in ("**/component_server/**", "**/health"):
        page.route(path, lambda route: route.abort())
    page.locator(".banner", has_text="The page cannot reach its server").wait_for()
    page.unroute("**/health")
    page.locator("#status[data-state=refused]").wait_for()
    assert page.locator(".banner").count() == 0
    page.unroute("**/component_server/**")
    page.locator("#status[data-state=ready]").wait_for()


def test_the_seats_page_asks_again_shows_who_sits_and_gives_back_the_same_seat(room):
    _, workshop, come = room
    ada = come()
    ada.get_by_role("button", name="Ada").wait_for()
    ada.route("**/workshop/seats", lambda route: route.abort())
    ada.get_by_role("button", name="Ada").click()
    ada.locator(
        "#said", has_text="The server does not answer: it is asked again by itself"
    ).wait_for()
    ben = come()
    ada.unroute("**/workshop/seats")
    ada.locator("#seat-name", has_text="Ada").wait_for()
    ben.locator("button:disabled", has_text="Ada").wait_for()

    ada.context.clear_cookies()  # a day later, say
    workshop.seats.all()[0].token = ""
    ada.goto(ada.url)
    ada.locator("#seat-name", has_text="Ada").wait_for()


def test_who_handed_nothing_in_is_not_told_to_once_the_contest_is_over(room):
    _, workshop, come = room
    ben = sit(come(), "Ben")
    open_tab(ben, "Workshop")
    ben.locator(".entry", has_text="You have not handed in yet").wait_for()
    workshop.contest.hand_in("Ada", {"math": 1.0}, ["math"])
    workshop.contest.hand_in("Cem", {"math": 2.0}, ["math"])
    workshop.contest.end()
    ben.locator(".entry", has_text="You handed nothing in.").wait_for()
    line = (
        "“Ada” (handed in first of 2 with as many right) against base model: 1 question only “Ada”"
    )
    ben.locator(".test", has_text=line).wait_for()


@pytest.mark.slow
def test_a_contest_by_hand(room):
    client, workshop, come = room
    ada = sit(come(), "Ada")
    late = come()
    assert late.get_by_role("button", name="Ada").is_disabled()
    ben = sit(late, "Ben")
    teacher = come(f"/workshop/teacher?key={workshop.secret}")
    teacher.locator(".tiles b", has_text="Ada").wait_for()

    # presets and tasks are the file's
    ada.get_by_role("button", name="soft", exact=True).click()
    eventually(lambda: alpha(ada, "math") == 0.5)
    chip = ada.get_by_role("button", name="Sums (2)")
    for question in ("What is 1 + 1?", "What is 2 + 2?", "What is 1 + 1?"):
        chip.click()
        ada.wait_for_function(f"document.querySelector('#prompt textarea').value === '{question}'")
    ada.click("#ask")
    wait_state(ada, "done")
    teacher.locator(".asked .q", has_text="What is 1 + 1?").wait_for()
    teacher.locator(".asked .a", has_text="Here is a").wait_for()
    assert "def fibonacci" in teacher.locator(".asked .a").get_attribute("title")

    # by hand, twice: the last one counts
    ada.click("#hand-in")
    ada.locator("#seat-score", has_text="1/2").wait_for()
    slide(ada, "math", 1)
    ada.click("#hand-in")
    ada.locator("#seat-score", has_text="2/2").wait_for()
    ben.click("#hand-in")
    ben.locator(".t2-tip", has_text="All sliders are at 0").wait_for()
    slide(ben, "code", 1)
    ben.click("#hand-in")
    ben.locator("#seat-score", has_text="0/2").wait_for()
    open_tab(ben, "Workshop")
    ben.locator(".entry", has_text="0 of 2 right with code 1.00").wait_for()
    ben.get_by_role("button", name="Ask ▸").nth(1).click()
    ben.wait_for_function("document.querySelector('#prompt textarea').value === 'What is 4 + 4?'")

    # searching and saving are the teacher's
    open_tab(ben, "Library")
    ben.fill("#library-name", "mine")
    ben.get_by_role("button", name="save the sliders").click()
    ben.locator(".t2-library .note", has_text="experts are not added, saved").wait_for()
    assert not [one for one in client.requests if isinstance(one, (SaveExpert, Adapt))]

    # the end: hidden questions decide
    teacher.screenshot(path=SHOTS / "board.png")
    teacher.click("#start-cem")
    teacher.locator(".players [data-name='CEM search'] .note", has_text="math").wait_for()
    teacher.click("#end-contest")
    teacher.click("#end-contest")  # it asks back
    teacher.locator(".standings [data-name=Ada]", has_text="1/1").wait_for()
    teacher.locator(".test", has_text="“Ada” against base model").wait_for()
    teacher.screenshot(path=SHOTS / "board-ended.png")
    ada.locator("#hand-in").wait_for(state="hidden")
    open_tab(ben, "Workshop")
    ben.locator(".standings [data-name=Ben]", has_text="0/1").wait_for()
    assert ben.locator(".standings [data-name=Ada]").count() == 0

    # a server that was started again knows no seats: the browser takes its own once more
    for seat in workshop.seats.all():
        seat.token = ""
    eventually(lambda: {s.name for s in workshop.seats.all() if s.token} == {"Ada", "Ben"}, 30)


@pytest.mark.slow
def test_whoever_was_freed_and_replaced_picks_anew(room):
    _, workshop, come = room
    ada = sit(come(), "Ada")
    workshop.seats.free("Ada")
    workshop.seats.take("Ada")  # another browser
    ada.get_by_role("heading", name="Mixing").wait_for()
    assert ada.get_by_role("button", name="Ada").is_disabled()
