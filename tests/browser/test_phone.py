"""The Ask page on a phone (390 × 844, a finger), and text that runs from right to left."""

import browsing
import pytest
from browsing import PHONE, SHOTS, ask, eventually, rare, serve, wait_state
from fake_client import FakeClient
from looks import TARGET, TOO_SMALL

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit

ARABIC = "اكتب رسالة قصيرة ومهذبة إلى صاحب البيت عن صنبور يقطر"
HEBREW = "כתוב מכתב קצר ומנומס לבעל הבית"


def in_view(page, selector, least):
    """Whether at least so many pixels of its height are in view."""
    box = page.locator(selector).bounding_box()
    top, bottom = max(0, box["y"]), min(page.viewport_size["height"], box["y"] + box["height"])
    return bottom - top >= least


# --- the answer under Ask ------------------------------------------------------------------------


def test_the_answer_appears_under_ask_and_in_view(visit, client):
    client.hold_end = True
    page = visit(**PHONE)
    assert page.evaluate("matchMedia('(pointer: coarse)').matches")
    ask(page, touch=True)
    wait_state(page, "streaming")
    tops = [
        page.locator(selector).bounding_box()["y"]
        for selector in ("#ask", "#card-adapted", "#card-base", "#mixer", "#next-token", "#footer")
    ]
    assert tops == sorted(tops), "Ask, the answers, the cards, the line below"
    assert in_view(page, "#card-adapted", 240) and in_view(page, "#ask", 40)
    assert page.evaluate("document.activeElement.tagName") != "TEXTAREA", "the keyboard goes"
    client.hold_end = False
    wait_state(page, "done")
    assert page.locator("#answer-adapted .text").evaluate("(e) => e.scrollTop") == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.screenshot(path=SHOTS / "ask-phone.png")


def test_an_answer_out_of_view_is_brought_there(visit):
    page = visit(**{**PHONE, "height": 480})
    page.locator("#ask").scroll_into_view_if_needed()
    assert not in_view(page, "#card-adapted", 200)
    ask(page, touch=True)
    eventually(lambda: in_view(page, "#card-adapted", 200))
    wait_state(page, "done")


def test_a_tap_on_ask_during_an_answer_says_what_to_do(visit, client):
    client.hold_end = True
    page = visit(**PHONE)
    ask(page, touch=True)
    wait_state(page, "streaming")
    page.tap("#ask")
    tip = page.get_by_role("alert")
    tip.wait_for()
    box = page.locator(".t2-tip").bounding_box()
    assert tip.inner_text() == "Still answering. Press Stop first, then ask again."
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    page.tap("#stop")


def test_an_old_answer_is_marked_on_a_phone_too(visit):
    page = visit(**PHONE)
    ask(page, touch=True)
    wait_state(page, "done")
    page.locator("#mix-math input[type=range]").fill("0.5")
    mark = page.locator("#answered-adapted .old")
    mark.wait_for()
    box = mark.bounding_box()
    assert box["x"] + box["width"] <= 390 and mark.inner_text() == "old: sliders moved"
    page.locator("#card-adapted").scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / "ask-phone-old.png")


def test_the_ground_below_the_page_is_dark_in_the_dark(visit):
    page = visit(color_scheme="dark", **PHONE)
    ground = "(e) => getComputedStyle(e).backgroundColor"
    assert page.locator("body").evaluate(ground) == "rgb(16, 18, 21)", "tokens.css: --t2-page"
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    page.evaluate("t2ui.setDark(false)")
    assert page.locator("body").evaluate(ground) == "rgb(243, 244, 247)"
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"


# --- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [40, rare(4)])
def test_everything_to_touch_is_44_pixels(visit, count):
    more = [f"expert-{n}" for n in range(count - 4)]
    fake = FakeClient(("math", "code", "reasoning", *more), pace=0.1)
    url, close = serve(fake)
    page = visit(url=url, **PHONE)
    try:
        ask(page, touch=True)
        wait_state(page, "done")
        page.locator("#mix-code input[type=range]").fill("0.5")
        assert page.evaluate(TOO_SMALL, ["#pages .tabitem", TARGET]) == []
        page.tap("#settings-open")
        page.locator("#settings-panel").wait_for()
        assert page.evaluate(TOO_SMALL, ["#settings-panel", TARGET]) == []
        page.keyboard.press("Escape")
        for button, sheet in (
            ("receipt", "#receipt-sheet pre"),
            ("show the code", "#code-sheet pre"),
            ("permalink", "#link-sheet input"),
        ):
            page.get_by_role("button", name=button).first.tap()
            page.locator(sheet).wait_for()
            assert page.evaluate(TOO_SMALL, ["#footer", TARGET]) == []
            page.keyboard.press("Escape")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.locator("#mixer").scroll_into_view_if_needed()
        page.screenshot(path=SHOTS / f"experts-phone-{count}.png")
    finally:
        page.context.close()  # before its server
        close()


@pytest.mark.slow
def test_a_mouse_keeps_the_small_ones(visit):
    page = visit()
    assert page.locator("#mix-code").bounding_box()["height"] == 26


# --- right to left -------------------------------------------------------------------------------


def sides(page, selector, text):
    """Whether a text's first letter stands right of its last one, and how far its first letter is
    from the right edge of the box."""
    return page.locator(selector).evaluate(
        """(box, text) => {
      const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
      const letters = [];
      while (walker.nextNode()) {
        const node = walker.currentNode;
        for (let i = 0; i < node.data.length; i++) letters.push([node, i]);
      }
      const start = letters.map(([node, i]) => node.data[i]).join('').indexOf(text);
      const place = ([node, i]) => {
        const range = document.createRange();
        range.setStart(node, i);
        range.setEnd(node, i + 1);
        return range.getBoundingClientRect();
      };
      const [first, last] = [letters[start], letters[start + text.length - 1]].map(place);
      return [first.left > last.left, box.getBoundingClientRect().right - first.right];
    }""",
        text,
    )


@pytest.mark.parametrize("text", [rare(ARABIC), HEBREW], ids=["Arabic", "Hebrew"])
def test_right_to_left_text_is_set_right_to_left(visit, monkeypatch, text):
    import fake_answers

    english = "This line is English."
    answer = f"{text}\n{english}\n```python\nprint(1)\n```\n{text}"
    monkeypatch.setattr(fake_answers, "ADAPTED_TEXT", answer)
    page = visit()
    page.locator("#prompt textarea").fill(text)
    box = page.locator("#prompt textarea")
    eventually(lambda: box.evaluate("(e) => e.matches(':dir(rtl)')"), 30)
    page.click("#ask")
    wait_state(page, "done")
    box = "#answer-adapted .text"
    backwards, margin = sides(page, box, text)
    assert backwards and margin < 30, "from the right edge"
    backwards, margin = sides(page, box, english)
    assert not backwards and margin > 200, "each line by its own words"
    backwards, margin = sides(page, box, "print(1)")
    assert not backwards and margin > 200, "code runs from left to right"
    assert sides(page, "#answer-base .text", "function")[0] is False
    page.screenshot(path=SHOTS / "right-to-left.png")
    page.locator("#prompt textarea").fill("English again")
    eventually(lambda: page.locator("#prompt textarea").evaluate("(e) => e.matches(':dir(ltr)')"))


@pytest.mark.slow
def test_a_link_in_hebrew_opens_right_to_left(visit):
    page = visit(f"?prompt={HEBREW}")
    box = page.locator("#prompt textarea")
    eventually(lambda: box.evaluate("(e) => e.matches(':dir(rtl)')"), 30)
