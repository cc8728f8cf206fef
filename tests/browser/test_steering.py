"""An answer that streams follows the sliders; with "live" a finished one is asked for again."""

import browsing
import pytest
from browsing import SHOTS, ask, eventually, rare, serve, slide, wait_state
from fake_client import FakeClient

from t2ui.http.limits import Limits
from t2ui.messages import Ask, Failed, Steer

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit

PHONE = {"width": 390, "height": 844, "has_touch": True, "is_mobile": True}
SOME = 5  # batches of text, of three tokens each: after it both panes have some
MARK = "#answer-adapted .steer"


def answered(page):
    return page.locator("#answered-adapted").inner_text().replace("\n", " ")


def text(page, pane="adapted"):
    return page.locator(f"#answer-{pane} .text").inner_text()


def of(client, kind):
    return [request for request in client.requests if isinstance(request, kind)]


def is_old(page):
    return page.locator("#answer-adapted .t2[data-old]").count() == 1


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


# --- steering ------------------------------------------------------------------------------------


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


# --- live ----------------------------------------------------------------------------------------

WATCH = """() => {
  const box = document.querySelector('#answer-adapted .text');
  window.least = box.textContent.length;
  new MutationObserver(() => { window.least = Math.min(window.least, box.textContent.length); })
    .observe(box, { childList: true, subtree: true, characterData: true });
}"""


@pytest.fixture
def live(visit, client):
    """Opens a page with a finished answer and live switched on."""

    def go(query="", **options):
        page = visit(query, **options)
        ask(page, touch="has_touch" in options)
        wait_state(page, "done")
        page.locator("#live label").click()
        return page

    return go


def followed(page, alphas):
    eventually(lambda: answered(page) == f"answered with {alphas}")
    wait_state(page, "done")


def test_live_asks_again_and_underlines_the_first_difference(live, client):
    page = live()
    old, base = text(page), text(page, "base")
    page.evaluate(WATCH)
    client.hold_text = 1  # its first batch of text
    slide(page, "math", 0.5)
    eventually(lambda: len(of(client, Ask)) == 2)
    again = of(client, Ask)[-1]
    assert (again.compare, again.compare_with_last, again.dispatch) == (False, True, "none")
    assert again.prompt == of(client, Ask)[0].prompt
    assert again.mixture == {"code": 1.0, "math": 0.5}
    client.hold_text = 0
    followed(page, "code 1.00, math 0.50")
    first = page.locator("#answer-adapted mark.first")
    assert first.inner_text() == " takes" and old.replace("needs n", "takes 2") == text(page)
    assert "changed from token" in page.locator("#answer-adapted .foot").inner_text()
    assert text(page, "base") == base and page.locator("#answer-base mark.first").count() == 0
    assert page.evaluate("window.least") > 0, "the old text stands until there is new text"
    assert not is_old(page) and not of(client, Steer)
    assert page.locator("#answer-adapted .legend").is_visible(), "with its tints"
    page.screenshot(path=SHOTS / "ask-live.png")


@pytest.mark.slow
def test_live_says_when_nothing_changes(live, client):
    page = live("?mix=math=1&dispatch=none")
    client.same = True
    slide(page, "code", 0.9)
    followed(page, "math 1.00, code 0.90")
    page.locator("#answer-adapted .foot", has_text="unchanged").wait_for()


@pytest.mark.slow
def test_without_live_a_finished_answer_is_old_and_nothing_is_asked(visit, client):
    page = visit()
    ask(page)
    wait_state(page, "done")
    slide(page, "math", 0.5)
    eventually(lambda: is_old(page))
    page.wait_for_timeout(600)
    assert len(of(client, Ask)) == 1
    page.locator("#live label").click()  # now it is
    followed(page, "code 1.00, math 0.50")


@pytest.mark.slow
def test_a_newer_move_wins_and_one_answer_is_under_way_at_a_time(live, client):
    page = live()
    page.evaluate(WATCH)
    client.hold_text = 2
    most = []
    plain = client.submit

    def submit(request):
        if isinstance(request, Ask):
            most.append(len(client.open_jobs))
        return plain(request)

    client.submit = submit
    try:
        for value in (0.5, 0.6, 0.7, 0.8):
            slide(page, "math", value)
            eventually(lambda: page.evaluate("t2ui.page.adapted.state") == "streaming")
        client.hold_text = 0
        followed(page, "code 1.00, math 0.80")
    finally:
        del client.submit
    assert most and set(most) == {0}
    assert page.evaluate("window.least") > 0
    asked = [request.mixture["math"] for request in of(client, Ask)[1:]]
    assert asked == sorted(asked) and asked[-1] == 0.8


@pytest.mark.slow
def test_moves_in_quick_succession_are_one_question(live, client):
    page = live()
    page.evaluate(
        """() => {
      const slider = document.querySelector('#mix-math input[type=range]');
      for (let step = 1; step <= 10; step++) {
        slider.value = step / 10;
        slider.dispatchEvent(new Event('input', { bubbles: true }));
      }
    }"""
    )
    followed(page, "code 1.00, math 1.00")
    assert len(of(client, Ask)) == 2


def test_live_does_nothing_for_another_prompt_until_it_is_asked(live, client):
    page = live()
    page.locator("#prompt textarea").fill("Something else")
    slide(page, "math", 0.5)
    page.wait_for_timeout(600)
    assert len(of(client, Ask)) == 1
    page.click("#ask")
    eventually(lambda: page.evaluate("t2ui.page.adapted.answered?.prompt") == "Something else")
    wait_state(page, "done")
    slide(page, "math", 0.7)
    eventually(lambda: len(of(client, Ask)) == 3)
    assert of(client, Ask)[-1].prompt == "Something else"


def test_stop_stops_live_until_the_next_move(live, client):
    page = live()
    client.hold_text = 2
    slide(page, "math", 0.5)
    eventually(lambda: page.evaluate("t2ui.page.adapted.state") == "streaming")
    slide(page, "math", 0.6)
    page.click("#stop")
    page.wait_for_function("!['waiting', 'streaming'].includes(t2ui.page.adapted.state)")
    page.wait_for_timeout(800)
    asked = len(of(client, Ask))
    assert page.evaluate("t2ui.page.adapted.state") == "stopped" and text(page)
    client.hold_text = 0
    slide(page, "math", 0.7)
    followed(page, "code 1.00, math 0.70")
    assert len(of(client, Ask)) == asked + 1


@pytest.mark.parametrize("when", ["sent", "taken", "let go"])
def test_stop_holds_between_an_answer_and_the_newer_one(live, client, when):
    page = live()
    client.hold_text = 2
    slide(page, "math", 0.5)
    eventually(lambda: page.evaluate("t2ui.page.adapted.state") == "streaming")
    page.evaluate(
        """(when) => {
      const stop = () => {
        if (!window.pressed) document.getElementById('stop').click();
        window.pressed = true;
      };
      const plain = window.fetch;
      const paused = () => t2ui.page.adapted.state === 'stopped';
      if (when === 'let go') t2ui.hear('adapted', () => paused() && stop());
      else window.fetch = async (...call) => {
        const answer = plain(...call);
        const joins = String(call[0]?.url || call[0]).includes('/queue/join');
        if (!joins || !paused()) return answer;
        if (when === 'taken') await answer.then((got) => got.clone().text());
        stop();
        return answer;
      };
    }""",
        when,
    )
    slide(page, "math", 0.6)
    page.wait_for_function("window.pressed")
    page.wait_for_timeout(800)
    assert page.evaluate("t2ui.page.adapted.state") == "stopped" and text(page)
    eventually(lambda: not client.open_jobs)
    client.hold_text = 0
    slide(page, "math", 0.7)
    followed(page, "code 1.00, math 0.70")


@pytest.mark.slow
def test_stop_before_the_first_token_leaves_the_old_text(live, client):
    page = live()
    old = text(page)
    client.loading = True  # the double says nothing until it is False again
    client.state = "ready"
    slide(page, "math", 0.5)
    page.wait_for_function("t2ui.page.adapted.state === 'waiting'")
    assert text(page) == old and not is_old(page)
    page.click("#stop")
    page.wait_for_function("t2ui.page.adapted.state === 'done'")
    assert text(page) == old
    eventually(lambda: is_old(page))
    client.loading, client.state = False, None


def test_ask_takes_the_place_of_live(live, client):
    page = live()
    client.hold_text = 2
    slide(page, "math", 0.5)
    eventually(lambda: page.evaluate("t2ui.page.adapted.state") == "streaming")
    page.locator("#prompt textarea").fill("Something else")
    page.click("#ask")
    eventually(lambda: of(client, Ask)[-1].prompt == "Something else")
    client.hold_text = 0
    eventually(lambda: page.evaluate("t2ui.page.adapted.answered?.prompt") == "Something else")
    wait_state(page, "done")
    assert page.get_by_role("alert").count() == 0


def test_a_live_answer_that_fails_leaves_the_old_text_and_says_why(live, client):
    page = live()
    old = text(page)
    client.failure = Failed("The model worker stopped.", "It is restarting; ask again.")
    slide(page, "math", 0.5)
    page.locator("#answer-adapted .failed", has_text="ask again").wait_for()
    assert text(page).startswith(old)
    eventually(lambda: is_old(page))
    slide(page, "math", 0.6)
    followed(page, "code 1.00, math 0.60")


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


def test_what_came_too_late_to_steer_is_asked_again_by_live(live, client):
    page = live()
    client.hold_end = True
    page.click("#ask")
    wait_state(page, "streaming")
    page.locator("#answer-adapted .text", has_text="power of n.").wait_for()
    slide(page, "math", 0.6)
    eventually(lambda: of(client, Steer))
    assert page.get_by_role("alert").count() == 0
    client.hold_end = False
    followed(page, "code 1.00, math 0.60")
    assert not of(client, Ask)[-1].compare


def test_among_strangers_live_brings_no_messages(visit):
    """One answer a session: the one before has to have ended."""
    fake = FakeClient(pace=0.1)
    fake.public = True
    url, close = serve(fake, Limits.for_public())
    page = visit(url=url)
    try:
        ask(page)
        wait_state(page, "done")
        page.locator("#live label").click()
        for value in (0.2, 0.4, 0.6, 0.8):
            slide(page, "math", value)
            page.wait_for_timeout(250)
        followed(page, "code 1.00, math 0.80")
        assert page.get_by_test_id("toast-body").all_inner_texts() == []
    finally:
        page.context.close()
        close()


@pytest.mark.slow
def test_live_on_a_phone(live, client):
    page = live(**PHONE)
    page.locator("#mix-math input[type=range]").fill("0.5")
    followed(page, "code 1.00, math 0.50")
    first = page.locator("#answer-adapted mark.first")
    first.wait_for()
    inside = page.locator("#answer-adapted .text").bounding_box()
    mark = first.bounding_box()
    assert inside["y"] <= mark["y"] < inside["y"] + inside["height"], "what changed is in view"
    page.locator("#card-adapted").scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / "ask-live-phone.png")
