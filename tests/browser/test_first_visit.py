"""The first minute: a recorded example while the model loads, made live by one click."""

import browsing
import pytest
from browsing import SHOTS, alpha, eventually, wait_state

from t2ui.messages import Ask

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit


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
    assert page.locator("#set-by").inner_text() == "set by: classification expert, 1.00"
