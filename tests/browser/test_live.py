"""With "live" on, a finished answer is asked for again wherever the sliders move."""

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
    serve,
    slide,
    text,
    wait_state,
)
from fake_client import FakeClient

from t2ui.http.limits import Limits
from t2ui.messages import Ask, Failed, Steer

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit

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


@pytest.mark.slow
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


@pytest.mark.parametrize("when", ["sent", *map(rare, ("taken", "let go"))])
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


@pytest.mark.slow
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


@pytest.mark.slow
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
