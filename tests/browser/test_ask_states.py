"""The Ask page's receipt, code and permalink, and the states that it and its worker are in."""

import json
from urllib.parse import urlencode

import browsing
import pytest
from browsing import SHOTS, alpha, ask, eventually, mode, rare, serve, slide, wait_state
from fake_client import FakeClient

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit


# --- receipt, code, permalink --------------------------------------------------------------------


def test_a_permalink_brings_the_whole_state_back(visit, app):
    page = visit()
    page.locator("#prompt textarea").fill("What & why? <b>")
    slide(page, "math", 0.7)
    slide(page, "code", -0.3)
    page.locator("#footer").get_by_text("permalink").click()
    link = page.locator("#link-sheet input")
    link.wait_for()
    eventually(lambda: "prompt=" in link.input_value())  # the sheet opens before its link comes
    query = link.input_value().removeprefix(app[1].rstrip("/") + "/")
    assert query.startswith("?prompt=") and page.url.endswith(query)
    other = visit(query)
    eventually(lambda: alpha(other, "math") == 0.7)
    assert alpha(other, "code") == -0.3 and mode(other) == "none"
    assert other.locator("#prompt textarea").input_value() == "What & why? <b>"
    assert other.locator("#set-by").inner_text() == "set by: permalink"


@pytest.mark.slow
def test_a_permalink_after_a_question_keeps_the_dispatcher_on(visit):
    page = visit()
    ask(page)
    wait_state(page, "done")
    page.locator("#footer").get_by_text("permalink").click()
    link = page.locator("#link-sheet input")
    link.wait_for()
    other = visit("?" + link.input_value().partition("?")[2])
    eventually(lambda: alpha(other, "code") == 1)
    assert mode(other) == "expert"


@pytest.mark.slow
def test_a_permalink_carries_the_strength_beyond_a_sliders_range(visit):
    page = visit("?mix=math=3,code=-0.75")
    eventually(lambda: alpha(page, "math") == 2)
    assert alpha(page, "code") == -0.5 and mode(page) == "none"
    assert page.locator("#strength input[type=range]").input_value() == "1.5"


def test_a_hostile_permalink_opens_a_sound_page(visit):
    query = urlencode(
        {
            "prompt": "<img src=x onerror=alert(1)>",
            "mix": "math=1e99,</i>=1,code=nan",
            "dispatch": "x",
            "temperature": "-9",
            "seed": "9" * 40,
        }
    )
    page = visit("?" + query)
    eventually(lambda: alpha(page, "math") == 2)
    assert alpha(page, "code") == 0 and mode(page) == "expert"
    assert page.locator("#mixer .note i").count() == 0


def test_receipt_and_code_are_shown_for_the_state_at_hand(visit):
    page = visit()
    page.get_by_role("button", name="receipt").click()
    assert "Ask something first" in page.locator("#receipt-sheet").inner_text()
    page.keyboard.press("Escape")
    slide(page, "math", 0.7)
    ask(page)
    wait_state(page, "done")
    page.get_by_role("button", name="receipt").click()
    receipt = json.loads(page.locator("#receipt-sheet pre").inner_text())
    assert receipt["mixture"] == {"math": 0.7}
    page.keyboard.press("Escape")
    page.get_by_role("button", name="show the code").click()
    sheet = page.locator("#code-sheet")
    sheet.locator("pre").wait_for()
    assert "two_pass_infer" in sheet.inner_text()
    # its content is in the page a moment before the sheet is put where all of it is seen
    page.wait_for_function("""() => {
        const box = document.getElementById("code-sheet").getBoundingClientRect();
        return box.top >= 0 && box.bottom <= 720;
    }""")
    sheet.get_by_role("tab", name="Command line").click()
    assert "--mix math=0.7" in sheet.inner_text()


# --- status, states, sessions --------------------------------------------------------------------


@pytest.mark.parametrize("pace", [0.1, rare(8)], ids=["pass one first", "sliders first"])
def test_the_page_is_usable_while_the_model_loads(visit, pace):
    loading = FakeClient(loading=True, pace=pace)
    url, close = serve(loading)
    try:
        page = visit(url=url, wait=False)
        page.locator("#status", has_text="loading").wait_for()
        assert page.locator("#status .progress").count() == 1
        assert page.locator("#mixer .skeleton").count() == 1
        page.locator("#prompt textarea").fill("Early bird")
        page.click("#ask")
        page.locator("#answer-base", has_text="the model is loading").wait_for()
        page.screenshot(path=SHOTS / "loading.png")
        loading.loading = False
        page.wait_for_selector("#mix-math")
        page.wait_for_function("document.querySelector('#mix-code input')?.value === '1'")
        loading.pace = 0.1  # of the next-token card
        page.locator("#next-token .next-row").first.wait_for()
        if pace > 1:
            page.click("#stop")  # its answer would take half a minute
        else:
            page.wait_for_selector("#answer-adapted [data-state=done]", state="attached")
            page.locator("#status", has_text="ready · queue 0").wait_for()
        page.context.close()  # before its server: it would ask for the status in vain
    finally:
        close()


@pytest.mark.parametrize("state", ["restarting", rare("failed")])
def test_trouble_with_the_worker_is_in_the_header(visit, client, state):
    page = visit()
    client.state = state
    banner = page.locator("#status .banner")
    banner.wait_for()
    assert state in page.locator("#status").inner_text()
    assert "it starts again" in banner.inner_text()
    page.screenshot(path=SHOTS / f"status-{state}.png")
    client.state = None
    page.locator("#status", has_text="ready").wait_for()
    page.wait_for_selector("#mix-math")
    assert page.locator("#mix-math").count() == 1


def test_the_queue_is_said(visit, client):
    client.queued, client.pace = 3, 30.0  # until Stop
    page = visit()
    ask(page)
    page.locator("#answer-base", has_text="busy: 3 before you").wait_for()
    page.locator("#status", has_text="queue 3").wait_for()
    page.click("#stop")


def test_two_visitors_do_not_see_each_others_state(visit):
    one, two = visit(), visit()
    one.locator("#prompt textarea").fill("secret of one")
    slide(one, "math", 1.5)
    ask(two)
    wait_state(two, "done")
    wait_state(one, "empty")
    assert alpha(one, "math") == 1.5 and alpha(one, "code") == 0
    assert alpha(two, "code") == 1 and alpha(two, "math") == 0
    assert "secret" not in two.content()
    assert mode(one) == "none" and mode(two) == "expert"


def test_an_expert_less_library_says_what_to_do(visit, client, monkeypatch):
    monkeypatch.setattr(client, "names", ())
    page = visit(wait=False)
    page.locator("#mixer", has_text="No experts were found").wait_for()
    ask(page)
    wait_state(page, "done")
    page.get_by_role("tab", name="Inspect").click()
    page.locator("#heatmap .empty").wait_for()
