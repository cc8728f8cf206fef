"""The page's looks, and once the whole way on the real model, in a real browser."""

import re

import browsing
import pytest
from browsing import (
    SHOTS,
    ask,
    boxes,
    choose,
    click_row,
    eventually,
    every_matrix,
    open_inspect,
    reload,
    serve,
    wait_state,
)

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit


# --- looks ---------------------------------------------------------------------------------------


def swipe(page, box, up):
    """A finger that comes down in the middle of a box and moves up by so many pixels."""
    touch = page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for step in range(11):
        kind = "touchMove" if step else "touchStart"
        points = [{"x": x, "y": y - up * step / 10}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.slow
def test_plots_and_page_follow_the_theme(visit):
    page = visit(color_scheme="dark")
    assert page.evaluate("document.body.classList.contains('dark')")
    ask(page)
    wait_state(page, "done")
    page.screenshot(path=SHOTS / "ask-dark.png")
    open_inspect(page)
    every_matrix(page)
    click_row(page)
    paper = "document.querySelector('#heatmap .plot')._fullLayout.paper_bgcolor"
    dark = page.evaluate(paper)
    page.screenshot(path=SHOTS / "inspect-dark.png")
    page.get_by_label("Switch between light and dark").click()
    page.wait_for_function(f"{paper} !== '{dark}'")
    reload(page)
    page.wait_for_function("!document.body.classList.contains('dark')")
    open_inspect(page)
    every_matrix(page)
    scale = "document.querySelector('#heatmap .plot')._fullData[0].colorscale"
    assert page.evaluate(scale)[1][1] != page.evaluate(scale)[0][1]


@pytest.mark.slow
def test_a_phone_shows_everything_in_one_column(visit):
    page = visit(width=390, height=844, has_touch=True, is_mobile=True)
    ask(page, touch=True)
    wait_state(page, "done")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    lefts = {round(box["x"]) for card, box in boxes(page).items() if card != "#ask-bar"}
    assert len(lefts) == 1, "cards stand in one column"
    assert page.locator("#status").inner_text() == "ready · queue 0"
    page.locator("#answer-adapted .token").nth(3).tap()
    page.locator(".t2-tip").wait_for()
    page.screenshot(path=SHOTS / "phone.png", full_page=True)
    open_inspect(page)
    choose(page, "inspect-layer", "3")
    page.locator("#heatmap .foot", has_text="7 matrices, one a row").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.screenshot(path=SHOTS / "phone-inspect.png", full_page=True)
    plot = page.locator("#heatmap .nsewdrag").first
    swipe(page, plot.bounding_box(), up=150)
    eventually(lambda: page.evaluate("scrollY") > 100)
    assert page.locator("#component-plot .matrix b").count() == 0, "a swipe opens no row"
    assert 0 <= page.locator("#status").bounding_box()["y"] < 48, "the status stays in view"
    page.screenshot(path=SHOTS / "phone-scrolled.png")
    plot.tap()
    page.locator("#component-plot .matrix b").wait_for()


@pytest.mark.slow
def test_text_is_large_enough_for_a_projector(visit):
    page = visit()
    ask(page)
    wait_state(page, "done")
    small = page.evaluate("""() => [...document.querySelectorAll('.t2 *, .card-head *')]
        .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3
            && n.textContent.trim()) && !e.closest('.fence'))
        .filter((e) => parseFloat(getComputedStyle(e).fontSize) < 13)
        .map((e) => e.className + ': ' + e.textContent)""")
    assert not small, small


# --- the real thing ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(900)
def test_the_whole_way_on_the_embedded_model(visit, real_cache):
    """What issue 2's first paragraph says, with trained experts, from typing to singular values."""
    from t2ui.config import WorkerConfig
    from t2ui.worker.client import WorkerClient

    worker = WorkerClient(WorkerConfig(cache_dir=real_cache))
    if worker.wait_ready(600).state == "failed":
        pytest.fail(worker.status().detail)
    url, close = serve(worker)
    try:
        page = visit(url=url, wait=False)
        page.set_default_timeout(240_000)
        page.wait_for_selector(".mix-row input[type=range]")
        expert = page.locator("[id^=mix-]:has(input[type=range])").first
        page.locator("#prompt textarea").fill("What do plants take in: helium or carbon dioxide?")
        card = page.locator("#next-token")
        card.locator(".next-row").first.wait_for()
        page.click("#settings-open")
        page.locator("#max-new-tokens input[type=number]").fill("16")
        page.locator("#max-new-tokens input[type=number]").blur()
        page.keyboard.press("Escape")
        page.click("#ask")
        page.wait_for_selector("#classification [data-state=done]", state="attached")
        assert page.locator(".label-row").count() >= 2
        wait_state(page, "done")  # a starved browser may go there without showing "streaming"
        for pane in ("base", "adapted"):
            assert page.locator(f"#answer-{pane} .text").inner_text().strip()
        page.wait_for_timeout(500)
        before = card.locator(".next-rows").inner_text()
        expert.locator("input[type=range]").fill("2")
        eventually(lambda: card.locator(".next-rows").inner_text() != before, 60)
        page.screenshot(path=SHOTS / "real-ask.png")
        open_inspect(page)
        every_matrix(page)
        click_row(page)
        assert re.match(r"layer \d+ · \w+", page.locator("#component-plot .matrix b").inner_text())
        page.wait_for_timeout(500)
        page.screenshot(path=SHOTS / "real-inspect.png")
        page.context.close()  # before its server: it would ask for the status in vain
    finally:
        close()
        worker.close()
