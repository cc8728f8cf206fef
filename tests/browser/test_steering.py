"""An answer that streams follows the sliders, and its text says from where on."""

import browsing
import pytest
from browsing import (
    PHONE,
    SHOTS,
    answered,
    ask,
    eventually,
    is_old,
    of,
    rare,
    slide,
    text,
    wait_state,
)

from t2ui.messages import Ask, Steer

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit

SOME = 5  # batches of text, of three tokens each: after it both panes have some
MARK = "#answer-adapted .steer"


@pytest.fixture
def writing(visit, client):
    """Opens a page on which an answer has some text, and goes on when `hold_text` is 0 again."""

    def go(query="", **options):
        client.hold_text = SOME
        page = visit(query, **options)
        ask(page, touch=bool(options))
        wait_state(page, "streaming")
        page.locator("#answer-adapted .foot", has_text="tokens").wait_for()
        eventually(lambda: len(text(page)) > 20)
        return page

    return go


def ends(page, client):
    client.hold_text = 0
    wait_state(page, "done")


def test_a_slider_steers_the_answer_and_the_text_says_where(writing, client):
    page = writing()
    written = text(page)
    slide(page, "code", 0)
    slide(page, "math", 0.6)
    mark = page.locator(MARK).last
    mark.wait_for()
    eventually(lambda: answered(page) == "answering with code 1.00, then math 0.60")
    assert mark.inner_text() == "from here on: math 0.60" and mark.get_attribute("role") == "note"
    assert text(page).startswith(written), "nothing that was written is lost"
    assert not is_old(page), "what is being written is what the sliders say"
    assert page.locator("#live [role=status]").inner_text().endswith("on: math 0.60.")
    job = of(client, Steer)[-1].job_id
    assert job in client.jobs and not client.cancelled
    page.screenshot(path=SHOTS / "ask-steered.png")
    ends(page, client)
    assert answered(page) == "answered with code 1.00, then math 0.60" and not is_old(page)
    assert page.locator(MARK).count() == 1, "of two at one token the last counts"
    assert page.evaluate("getComputedStyle(document.querySelector('.steer')).userSelect") == "none"
    slide(page, "math", 0.9)
    eventually(lambda: is_old(page))
    slide(page, "math", 0.6)
    eventually(lambda: not is_old(page))
    page.get_by_role("button", name="receipt").first.click()
    receipt = page.locator("#receipt-sheet pre")
    receipt.wait_for()
    assert '"timeline"' in receipt.inner_text() and '"math": 0.6' in receipt.inner_text()


def test_the_mark_stands_at_exactly_its_token(writing, client):
    page = writing()
    slide(page, "math", 0.6)
    mark = page.locator(MARK)
    mark.wait_for()
    ends(page, client)
    place = int(mark.get_attribute("data-token"))
    before = page.evaluate(
        """() => {
      const range = document.createRange();
      const text = document.querySelector('#answer-adapted .text');
      range.setStart(text, 0);
      range.setEndBefore(document.querySelector('.steer'));
      return range.toString();
    }"""
    )
    pieces = page.evaluate("t2ui.page.adapted.pieces")
    assert 0 < place < len(pieces) and before == "".join(pieces[:place])


@pytest.mark.parametrize("move", ["preset", *map(rare, ("label", "strength", "normalise"))])
def test_everything_that_moves_the_mixture_steers(writing, client, move):
    page = writing("?mix=code=0.5&dispatch=expert" if move == "normalise" else "")
    if move == "preset":
        page.locator(".presets").get_by_role("button", name="math").click()
    elif move == "label":
        page.locator(".label-row", has_text="math").click()
    elif move == "strength":
        page.locator("#strength input[type=range]").fill("0.5")
    else:
        slide(page, "math", 1)
        eventually(lambda: of(client, Steer))
        page.click("#settings-open")
        page.locator("#normalise input").check()
    wanted = {
        "strength": ({"code": 0.5}, False),
        "normalise": ({"code": 1.0, "math": 1.0}, True),
    }.get(move, ({"math": 1.0}, False))
    eventually(lambda: of(client, Steer) and of(client, Steer)[-1].mixture == wanted[0])
    eventually(lambda: of(client, Steer)[-1].normalise is wanted[1])
    page.locator(MARK).first.wait_for()


def test_newest_wins_and_one_is_on_its_way_at_a_time(writing, client):
    page = writing()
    client.hold_steer = True
    slide(page, "math", 0.1)
    eventually(lambda: of(client, Steer))
    for step in range(2, 11):
        slide(page, "math", step / 10)
    page.wait_for_timeout(500)
    assert len(of(client, Steer)) == 1
    client.hold_steer = False
    eventually(lambda: answered(page) == "answering with code 1.00, then code 1.00, math 1.00")
    assert [steer.mixture["math"] for steer in of(client, Steer)] == [0.1, 1.0]


@pytest.mark.slow
def test_of_marks_that_stand_close_only_the_last_is_in_words(writing, client):
    page = writing()
    for value in (0.2, 0.4, 0.6):
        slide(page, "math", value)
        eventually(lambda wanted=value: f"math {wanted:.2f}" in answered(page))
        client.hold_text += 2  # three tokens of each pane
        page.wait_for_timeout(300)
    page.locator(f"{MARK}.tick").first.wait_for()
    assert page.locator(f"{MARK}:not(.tick)").inner_text() == "from here on: code 1.00, math 0.60"
    tick = page.locator(f"{MARK}.tick").last
    assert "math 0.40" in tick.get_attribute("aria-label")
    assert tick.get_attribute("role") == "img"


def test_what_comes_too_late_is_one_line_and_the_answer_stays(visit, client):
    client.hold_end = True
    page = visit()
    ask(page)
    eventually(lambda: text(page).endswith("power of n."))
    written = text(page)
    slide(page, "math", 0.6)
    tip = page.get_by_role("alert")
    tip.wait_for()
    assert tip.inner_text() == "That answer has ended: ask again with the new coefficients."
    page.screenshot(path=SHOTS / "ask-steered-too-late.png")
    assert text(page) == written and page.locator(MARK).count() == 0
    assert answered(page) == "answering with code 1.00 old: sliders moved"
    assert len(of(client, Steer)) == 1, "it is not tried again and again"
    client.hold_end = False
    wait_state(page, "done")


@pytest.mark.slow
def test_an_expert_that_has_gone_is_one_line_and_the_answer_goes_on(writing, client, monkeypatch):
    page = writing()
    monkeypatch.setattr(client, "known", ("code",))
    slide(page, "math", 0.6)
    tip = page.get_by_role("alert")
    tip.wait_for()
    assert "There is no expert named 'math'" in tip.inner_text()
    slide(page, "math", 0)
    slide(page, "code", 0.5)
    eventually(lambda: answered(page) == "answering with code 1.00, then code 0.50")
    ends(page, client)


def test_a_steering_says_which_scope_is_set(writing, client):
    page = writing()
    page.click("#settings-open")
    page.locator("#scope label", has_text="answer:").click()
    page.keyboard.press("Escape")
    slide(page, "math", 0.6)
    eventually(lambda: of(client, Steer) and of(client, Steer)[-1].scope == "answer")


@pytest.mark.slow
def test_with_another_prompt_in_the_box_the_sliders_are_the_next_questions(writing, client):
    page = writing()
    page.locator("#prompt textarea").fill("Something else")
    eventually(lambda: "old: another prompt" in answered(page))
    slide(page, "math", 0.6)
    page.wait_for_timeout(500)
    assert not of(client, Steer)


@pytest.mark.slow
def test_marks_in_the_dark_and_on_a_phone(writing, client):
    page = writing(**PHONE, color_scheme="dark")
    slide(page, "math", 0.6)
    page.locator(MARK).wait_for()
    box = page.locator(MARK).bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    switch = page.locator("#live label").bounding_box()
    assert min(switch["width"], switch["height"]) >= 44
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#card-adapted").scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / "ask-steered-phone.png")


def test_the_answer_that_was_asked_for_is_steered_with_live_on_too(visit, client):
    client.hold_text = SOME
    page = visit()
    page.locator("#live label").click()
    ask(page)
    wait_state(page, "streaming")
    slide(page, "math", 0.6)
    page.locator(MARK).wait_for()
    ends(page, client)
    page.wait_for_timeout(600)
    assert len(of(client, Ask)) == 1, "it is what the sliders say"
