"""The first minute: a recorded example while the model loads, made live by one click."""

import browsing
import pytest
from browsing import SHOTS, alpha, eventually, wait_state

from t2ui.messages import Ask

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit


SET_BY = "set by: router, then classification expert, 0.91"  # in the recorded example


@pytest.fixture
def loading(client):
    client.loading = True
    yield client
    client.loading = False


def recorded(page):
    return page.locator(".recorded:visible").count()


def test_a_first_visit_shows_a_recorded_answer_and_one_click_makes_it_live(visit, loading):
    page = visit(first=True, wait=False)
    wait_state(page, "done")
    page.wait_for_selector("#status[data-state=loading]")
    assert recorded(page) == 3
    assert page.locator("#about").inner_text().startswith("Each expert turns one model’s")
    end = "document.querySelector('#about a').getBoundingClientRect().right"
    assert page.evaluate(end) <= 1280, "the sentence is whole beside the starters"
    answers = {p: page.locator(f"#answer-{p} .text").inner_text() for p in ("base", "adapted")}
    assert answers["adapted"].strip() == "5 * 6 = 30" and "15" in answers["base"]
    assert page.locator("#next-token .next-row").count() == 6
    assert page.locator("#make-live").is_visible() and page.locator(".old:visible").count() == 0
    page.screenshot(path=SHOTS / "first-visit.png")
    root = "document.documentElement"
    assert page.evaluate(f"[{root}.scrollWidth, {root}.scrollHeight]") == [1280, 720]
    loading.loading = False
    page.wait_for_selector("#status[data-state=ready]")
    eventually(lambda: page.locator("#dispatch-mode input:checked").count() == 1)  # listed now
    assert alpha(page, "math") == 1 and page.locator(".old:visible").count() == 0
    page.click("#make-live")
    wait_state(page, "done")
    eventually(lambda: recorded(page) == 0)
    (asked,) = [r for r in loading.requests if isinstance(r, Ask)]
    assert "pencils" in asked.prompt and asked.mixture is None
    again = page.context.new_page()
    again.goto(page.url)
    again.wait_for_selector("#mix-math", state="attached")
    again.wait_for_timeout(300)
    assert recorded(again) == 0 and not again.locator("#prompt textarea").input_value()


def test_a_link_that_asks_for_something_begins_with_that(visit):
    page = visit("?prompt=One+two&mix=math%3D0.5", first=True)
    eventually(lambda: page.locator("#prompt textarea").input_value() == "One two")
    assert recorded(page) == 0 and alpha(page, "math") == 0.5


def test_the_example_stands_on_the_sliders_where_the_model_was_there_first(visit, client):
    page = visit(first=True)
    wait_state(page, "done")
    page.wait_for_timeout(1000)  # for a list of experts that might come after it
    assert recorded(page) == 3 and alpha(page, "math") == 1
    assert page.locator(".old:visible").count() == 0
    assert page.locator("#set-by").inner_text() == SET_BY


def held_back(page, url):
    """The app's own script waits until the returned function is called."""
    waiting = []
    page.route("**/assets/index-*.js", lambda route: waiting.append(route))
    page.goto(url, wait_until="commit")
    page.wait_for_selector("html[data-visit]", state="attached")  # its script is its last part
    return lambda: [one.continue_() for one in waiting]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_before_the_apps_script_runs_the_example_is_there(visit, browser, app, theme, width):
    height = 720 if width == 1280 else 844
    shape = {"viewport": {"width": width, "height": height}, "color_scheme": theme}
    context = browser.new_context(**shape)
    page = context.new_page()
    go_on = held_back(page, app[1])
    look = page.locator("#first-look")
    assert page.locator("gradio-app *").count() == 0, "nothing of the app is there yet"
    text = look.inner_text()
    assert "How many pencils does she have?" in text and "5 * 6 = 30" in text
    assert look.locator(".example:visible").count() == 4
    assert page.locator("#first-look.dark").count() == (theme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.screenshot(path=SHOTS / f"first-look-{theme}-{width}.png")
    go_on()
    wait_state(page, "done")
    look.wait_for(state="detached")
    assert page.locator("#answer-adapted .text").inner_text().strip() == "5 * 6 = 30"
    context.close()


@pytest.mark.parametrize("query", ["?tab=learn", "?prompt=One+two", "visited"])
def test_a_visit_with_another_wish_first_sees_only_that_the_page_opens(browser, app, query):
    context = browser.new_context()
    if query == "visited":
        browsing.returning(context)
        query = ""
    page = context.new_page()
    go_on = held_back(page, app[1] + query)
    assert page.locator("#first-look .example:visible").count() == 0
    assert "the page opens" in page.locator("#first-look").inner_text()
    go_on()
    page.locator("#first-look").wait_for(state="detached")
    page.wait_for_selector("#status[data-state]")
    context.close()
