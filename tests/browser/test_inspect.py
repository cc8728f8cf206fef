"""Inspect, the page's looks, and once the whole way on the real model, in a real browser."""

import re
from pathlib import Path

import browsing
import pytest
from browsing import SHOTS, ask, boxes, eventually, serve, slide, wait_state

from t2ui.messages import Failed, Heatmap

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit


# --- inspect -------------------------------------------------------------------------------------


def open_inspect(page):
    page.get_by_role("tab", name="Inspect").click()
    page.wait_for_selector("#heatmap .plot[data-ready]")


def click_row(page, share=0.5):
    box = page.locator("#heatmap .nsewdrag").first.bounding_box()
    page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + share * box["height"])
    page.wait_for_selector("#component-plot .plot[data-ready]")
    page.locator("#component-plot .matrix b").wait_for()


def choose(page, box, option):
    page.locator(f"#{box} input").click()
    page.get_by_role("option", name=option, exact=True).click()
    page.wait_for_selector("[role=option]", state="detached")


def test_a_click_on_the_heatmap_opens_that_matrix(visit, client):
    page = visit()
    open_inspect(page)
    assert client.requests[-1].mixture == {"code": 1.0}
    click_row(page, 0.999)
    assert page.locator("#component-plot .matrix b").inner_text() == "layer 29 · down_proj"
    assert page.locator("#component-plot .changes li").count() == 10
    assert "turned" in page.locator("#component-plot .changes li").first.inner_text()
    page.screenshot(path=SHOTS / "inspect.png")
    page.locator("#heatmap .plot").focus()
    page.keyboard.press("ArrowUp")
    page.locator("#component-plot .matrix b", has_text="layer 29 · up_proj").wait_for()
    client.requests.clear()
    page.keyboard.press("Enter")
    eventually(lambda: [r.name.endswith("29.mlp.up_proj") for r in client.requests] == [True])
    values = page.evaluate("document.querySelector('#heatmap .plot').data[0].z[0].slice(0, 5)")
    assert all(abs(value) < 1 for value in values) and any(values)


def test_a_link_opens_the_page_and_what_is_on_it(visit, client):
    page = visit("?tab=inspect&mix=math=0.5")
    page.wait_for_selector("#heatmap .plot[data-ready]")
    assert page.get_by_role("tab", name="Inspect").get_attribute("aria-selected") == "true"
    assert client.requests[-1].mixture == {"code": 1.0}
    choose(page, "inspect-look", "mixture on the sliders")
    eventually(lambda: client.requests[-1].mixture == {"math": 0.5})


def test_module_layer_and_scale_are_selectable(visit, client):
    page = visit()
    open_inspect(page)
    choose(page, "inspect-module", "up_proj")
    page.locator("#heatmap .foot", has_text="30 matrices").wait_for()
    choose(page, "inspect-layer", "7")
    page.locator("#heatmap .foot", has_text="1 matri").wait_for()
    click_row(page)
    kind = "document.querySelector('#component-plot .plot').layout.yaxis.type"
    assert page.evaluate(kind) == "log"
    page.locator("#inspect-log input").uncheck()
    page.wait_for_function(f"{kind} !== 'log'")


def test_two_experts_are_compared_and_the_sliders_can_be_inspected(visit, client):
    page = visit()
    slide(page, "math", 0.5)
    open_inspect(page)
    choose(page, "inspect-compare", "reasoning expert")
    eventually(lambda: page.locator("#inspect-show input:checked").count() == 1)
    template = "document.querySelector('#heatmap .plot').data[0].hovertemplate"
    page.wait_for_function(f"{template}.includes('code − reasoning')")
    click_row(page)
    names = page.evaluate("document.querySelector('#component-plot .plot').data.map((t) => t.name)")
    assert {"base", "code", "reasoning", "z of code − reasoning"} <= set(names)
    choose(page, "inspect-compare", "nothing")
    choose(page, "inspect-look", "mixture on the sliders")
    asked = lambda: [r.mixture for r in client.requests if isinstance(r, Heatmap)]  # noqa: E731
    eventually(lambda: asked()[-1] == {"math": 0.5})


def test_a_slow_answer_says_so_and_comes(visit, client):
    page = visit()
    client.loading = True
    page.get_by_role("tab", name="Inspect").click()
    page.locator("#heatmap", has_text="loading or busy").wait_for()
    client.loading = False
    page.wait_for_selector("#heatmap .plot[data-ready]")


def test_who_opens_inspect_before_the_experts_are_known_sees_them_come(visit, client):
    client.loading = True
    page = visit(wait=False)
    page.locator("#status", has_text="loading").wait_for()
    page.get_by_role("tab", name="Inspect").click()
    page.locator("#heatmap", has_text="loading or busy").wait_for()
    client.loading = False
    page.wait_for_selector("#heatmap .plot[data-ready]")


def test_a_worker_that_restarts_leaves_the_choices_and_draws_again(visit, client, monkeypatch):
    page = visit()
    open_inspect(page)
    choose(page, "inspect-look", "math expert")
    choose(page, "inspect-module", "up_proj")
    lost = Failed("The model worker stopped.", "It is restarting.")
    with monkeypatch.context() as patch:
        patch.setattr(client, "_heatmap", lambda request: [(0.0, lost)])
        choose(page, "inspect-layer", "7")
        page.locator("#heatmap", has_text="It is restarting").wait_for()
    client.state = "restarting"
    page.locator("#status .banner").wait_for()
    client.state = None
    page.locator("#heatmap .foot", has_text="1 matri").wait_for()
    assert client.requests[-1].mixture == {"math": 1.0} and client.requests[-1].module == "up_proj"
    assert page.locator("#inspect-look input").input_value() == "math expert"


def test_csv_and_png_are_saved(visit):
    page = visit()
    open_inspect(page)
    click_row(page)
    with page.expect_download() as saved:
        page.click("#save-heatmap")
    assert saved.value.suggested_filename == "code-all.csv"
    lines = Path(saved.value.path()).read_text().splitlines()
    assert len(lines) == 1 + 210 and lines[0].startswith("matrix,layer,mean_abs")
    with page.expect_download() as saved:
        page.click("#save-component")
    assert Path(saved.value.path()).read_text().startswith("component,sigma")
    with page.expect_download() as saved:
        page.locator("#heatmap [data-title*='png' i]").click()
    assert saved.value.suggested_filename == "code-all.png"


def swipe(page, box, up):
    """A finger that comes down in the middle of a box and moves up by so many pixels."""
    touch = page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for step in range(11):
        kind = "touchMove" if step else "touchStart"
        points = [{"x": x, "y": y - up * step / 10}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


# --- looks ---------------------------------------------------------------------------------------


def test_plots_and_page_follow_the_theme(visit):
    page = visit(color_scheme="dark")
    assert page.evaluate("document.body.classList.contains('dark')")
    ask(page)
    wait_state(page, "done")
    page.screenshot(path=SHOTS / "ask-dark.png")
    open_inspect(page)
    click_row(page)
    paper = "document.querySelector('#heatmap .plot')._fullLayout.paper_bgcolor"
    dark = page.evaluate(paper)
    page.screenshot(path=SHOTS / "inspect-dark.png")
    page.get_by_label("Switch between light and dark").click()
    page.wait_for_function(f"{paper} !== '{dark}'")
    page.reload()
    page.wait_for_function("!document.body.classList.contains('dark')")
    open_inspect(page)
    scale = "document.querySelector('#heatmap .plot')._fullData[0].colorscale"
    assert page.evaluate(scale)[1][1] != page.evaluate(scale)[0][1]


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
        click_row(page)
        assert re.match(r"layer \d+ · \w+", page.locator("#component-plot .matrix b").inner_text())
        page.wait_for_timeout(500)
        page.screenshot(path=SHOTS / "real-inspect.png")
    finally:
        close()
        worker.close()
