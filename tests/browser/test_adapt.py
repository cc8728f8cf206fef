"""The Adapt page in a real browser, on a test double: what a person does there."""

import json
import time
from pathlib import Path

import browsing
import pytest
from browsing import SHOTS, alpha, eventually, mode, open_adapt, reload, serve
from browsing import example_rows as rows
from fake_client import FakeClient

from t2ui.messages import Adapt, Ask, Failed, NextToken, SaveExpert

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit

CARDS = ("#adapt-left", "#adapt-score", "#adapt-alpha", "#adapt-report", "#adapt-base")


@pytest.fixture(autouse=True)
def _as_if_new(app):
    app[0].hold_after = None


def open_again(page):
    """Reload and open the page again, once it stands."""
    reload(page)
    open_adapt(page, sample="")


def wait_search(page, state):
    page.wait_for_selector(f"#adapt-search [data-state={state}]", state="attached")


def found(page):
    """A search from start to end."""
    page.click("#adapt-start")
    wait_search(page, "done")
    page.wait_for_selector("#adapt-use")


def generations(page):
    return page.evaluate(
        "(document.querySelector('#adapt-score .plot').data || [])"
        ".find((t) => t.name === 'best')?.y.length || 0"
    )


def boxes(page):
    return {card: page.locator(card).bounding_box() for card in CARDS}


# --- a search from start to end ------------------------------------------------------------------


def test_examples_in_a_mixture_out_without_a_jump(visit, client):
    client.hold_after = 3
    page = visit()
    open_adapt(page)
    assert "8 to search on · 4 held out" in page.locator("#adapt-count").inner_text()
    page.locator("#adapt-estimate", has_text="at most about").wait_for()
    before = boxes(page)
    page.screenshot(path=SHOTS / "adapt-examples.png")
    page.click("#adapt-start")
    eventually(lambda: generations(page) == 3)
    assert "at most about" in page.locator("#adapt-search .line").inner_text()
    assert page.locator(".found-row").count() == 3
    during = boxes(page)
    page.screenshot(path=SHOTS / "adapt-working.png")
    client.hold_after = None
    wait_search(page, "done")
    page.wait_for_selector("#adapt-use")
    sizes = [
        abs(float(text.split()[0].replace("−", "-")))
        for text in page.locator(".found-row .value").all_inner_texts()
    ]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 0, "the strongest stand first"
    assert before == during == boxes(page)
    report = page.locator("#adapt-report").inner_text()
    assert "held-out 4 of 12" in report and "times likelier" in report and "hint" in report
    names = page.evaluate(
        "document.querySelector('#adapt-alpha .plot').data.map((t) => t.name).filter(Boolean)"
    )
    assert set(names) == {"math", "code", "reasoning"}
    page.screenshot(path=SHOTS / "adapt.png")
    root = "document.documentElement"
    assert page.evaluate(f"[{root}.scrollWidth, {root}.scrollHeight]") == [1280, 720]
    (asked,) = [r for r in client.requests if isinstance(r, Adapt)]
    assert len(asked.examples) == 12 and asked.config.method == "auto"


def test_stop_keeps_the_best_so_far(visit, client):
    client.hold_after = 2
    page = visit()
    open_adapt(page)
    page.click("#adapt-start")
    eventually(lambda: generations(page) == 2)
    page.click("#adapt-stop")
    wait_search(page, "stopped")
    page.wait_for_selector("#adapt-use")
    assert "best so far" in page.locator("#adapt-search .line").inner_text()
    assert generations(page) == 2


def test_a_reload_finds_the_running_search_and_later_its_result(visit, client):
    client.hold_after = 2
    page = visit()
    open_adapt(page)
    page.click("#adapt-start")
    eventually(lambda: generations(page) == 2)
    open_again(page)
    wait_search(page, "working")
    eventually(lambda: len(rows(page)) == 12)
    client.hold_after = None
    wait_search(page, "done")
    assert client.cancelled == [], "a reload stops no search"
    open_again(page)
    page.wait_for_selector("#adapt-use")
    eventually(lambda: generations(page) == 6)
    page.click("#adapt-answer")
    page.wait_for_selector("#adapt-adapted [data-state=done]", state="attached")
    page.click("#adapt-use")
    page.get_by_role("tab", name="Ask").click()
    eventually(lambda: alpha(page, "math") > 0.5)


@pytest.mark.slow
def test_scripts_that_come_late_lose_neither_rows_nor_prompt(visit, client):
    page = visit(query="?prompt=hello")
    open_adapt(page)
    rows = page.locator(".ex-row").count()
    page.route("**/adapt.js*", lambda route: (time.sleep(1.5), route.continue_()))
    client.requests.clear()
    open_again(page)
    eventually(lambda: page.locator(".ex-row.held").count())
    assert page.locator(".ex-row").count() == rows
    assert "Error" not in page.locator("#adapt-search").inner_text()
    eventually(lambda: any(isinstance(r, NextToken) for r in client.requests))


def test_another_visitor_sees_nothing_of_it(visit, client):
    one, two = visit(), visit()
    open_adapt(one)
    found(one)
    open_adapt(two, sample="science")
    assert generations(two) == 0 and two.locator("#adapt-use").count() == 0
    assert "rolls" not in json.dumps(rows(two))


@pytest.mark.slow
def test_a_second_search_replaces_the_first(visit, client):
    page = visit()
    open_adapt(page)
    found(page)
    client.hold_after = 1
    page.click("#adapt-start")
    wait_search(page, "working")
    page.wait_for_selector("#adapt-use", state="detached")
    eventually(lambda: generations(page) == 1)


# --- what becomes of the mixture -----------------------------------------------------------------


def test_use_moves_the_sliders_of_ask(visit, client):
    page = visit()
    open_adapt(page)
    found(page)
    shown = page.locator(".found-row", has_text="math").locator(".value").inner_text()
    page.click("#adapt-use")
    page.locator("#adapt-report .note", has_text="sliders").wait_for()
    page.get_by_role("tab", name="Ask").click()
    eventually(lambda: f"{alpha(page, 'math'):.2f}" == shown)
    assert page.locator("#set-by").inner_text() == "set by: CEM, generation 6"
    assert mode(page) == "none"


def test_a_held_out_prompt_is_answered_side_by_side(visit, client):
    page = visit()
    open_adapt(page)
    found(page)
    page.locator("#adapt-prompt").select_option("1")
    page.click("#adapt-answer")
    page.wait_for_selector("#adapt-adapted [data-state=done]", state="attached")
    asked = [r for r in client.requests if isinstance(r, Ask)][-1]
    searched = next(r for r in client.requests if isinstance(r, Adapt))
    assert asked.prompt == searched.examples[5][0], "the second of those held out"
    assert asked.dispatch == "none" and asked.mixture["math"] > 0.5
    assert page.locator("#adapt-base .text").inner_text().strip()
    page.get_by_role("tab", name="Ask").click()
    assert page.locator("#answer-base [data-state=empty]").count() == 1
    assert page.locator("#ask").evaluate("e => getComputedStyle(e).opacity") == "1"


def test_a_mixture_is_saved_as_an_expert_once(visit, client):
    page = visit()
    open_adapt(page)
    found(page)
    page.fill("#adapt-name", "../evil")
    page.click("#adapt-save")
    page.locator("#adapt-report .note.bad", has_text="letters").wait_for()
    assert client.saved == {}
    page.fill("#adapt-name", "rolls")
    page.click("#adapt-save")
    page.locator("#adapt-report .note", has_text="Saved as rolls").wait_for()
    assert client.saved["rolls"].training["set_by"] == "CEM, generation 6"
    page.click("#adapt-save")
    page.locator("#adapt-report .note.bad", has_text="already").wait_for()
    page.get_by_role("tab", name="Ask").click()
    page.wait_for_selector("#mix-rolls")
    reload(page)
    page.wait_for_selector("#mix-rolls")


@pytest.mark.slow
def test_a_saved_expert_can_be_inspected_at_once(visit, client):
    page = visit()
    open_adapt(page)
    found(page)
    page.fill("#adapt-name", "rolls")
    page.click("#adapt-save")
    page.locator("#adapt-report .note", has_text="Saved as rolls").wait_for()
    page.get_by_role("tab", name="Inspect").click()
    page.wait_for_selector("#heatmap .plot[data-ready]")
    page.locator("#inspect-look input").click()
    page.get_by_role("option", name="rolls expert").wait_for()


@pytest.mark.slow
def test_the_mixture_is_downloaded_as_a_file(visit, client):
    page = visit()
    open_adapt(page)
    found(page)
    with page.expect_download() as saved:
        page.click("#adapt-file")
    assert saved.value.suggested_filename == "mixture.json"
    held = json.loads(Path(saved.value.path()).read_text())
    assert held["format"] == "t2ui.mixture" and held["weights"]["math"] > 0.5


def test_mixtures_saved_in_quick_succession_are_all_saved(visit, client):
    page = visit()
    open_adapt(page)
    found(page)
    client.late = {SaveExpert: 1.0}
    page.evaluate("""async () => {
        for (const name of ["one", "two"]) {
            document.getElementById("adapt-name").value = name;
            document.getElementById("adapt-save").click();
            await new Promise((go) => setTimeout(go, 300)); // the first is on its way
        }
    }""")
    eventually(lambda: {"one", "two"} <= set(client.saved), 20)


def test_text_in_examples_stays_text(visit, client):
    evil = "<img src=x onerror=alert(1)>"
    page = visit()
    open_adapt(page, sample="")
    page.get_by_label("Prompt 1").fill(evil)
    page.get_by_label("Right answer 1").fill("<b>x</b>")
    found(page)
    assert page.locator("#adapt-prompt option").first.inner_text() == evil
    assert page.locator("#adapt img").count() == 0


# --- states --------------------------------------------------------------------------------------


def test_nothing_starts_without_examples(visit, client):
    page = visit()
    open_adapt(page, sample="")
    page.click("#adapt-start")
    toast = page.get_by_test_id("toast-body")
    toast.wait_for()
    assert "no examples" in toast.inner_text()
    page.get_by_label("Prompt 1").fill("half an example")
    page.locator("#adapt-estimate .bad", has_text="Row 1 has no right answer").wait_for()
    assert not [r for r in client.requests if isinstance(r, Adapt)]


def test_a_failed_search_says_what_to_do_and_the_next_one_works(visit, client):
    client.failure = Failed("The model worker stopped.", "It is restarting; start again.")
    page = visit()
    open_adapt(page)
    page.click("#adapt-start")
    wait_search(page, "failed")
    assert page.locator("#adapt-search .line").inner_text() == "The model worker stopped."
    assert "start again" in page.locator("#adapt-score").inner_text()
    assert "stopped" in page.locator("#adapt-score").inner_text()
    page.screenshot(path=SHOTS / "adapt-failed.png")
    found(page)


def test_a_search_that_waits_says_how_many_are_before(visit, client):
    client.queued, client.pace = 2, 20.0
    page = visit()
    open_adapt(page, sample="")
    page.get_by_label("Prompt 1").fill("a")
    page.get_by_label("Right answer 1").fill("b")
    page.get_by_text("The expected time is being worked out").wait_for()
    page.click("#adapt-start")
    page.locator("#adapt-search", has_text="busy: 2 searches before you").wait_for()
    page.click("#adapt-stop")
    page.locator("#adapt-score", has_text="Stopped before").wait_for()


@pytest.mark.slow
def test_the_page_is_usable_while_the_model_loads(visit):
    loading = FakeClient(loading=True, pace=0.1)
    url, close = serve(loading)
    try:
        page = visit(url=url, wait=False)
        page.get_by_role("tab", name="Adapt").click()
        page.locator("#adapt-examples").get_by_role("button", name="science").click()
        eventually(lambda: len(rows(page)) == 12)
        page.click("#adapt-start")
        page.locator("#adapt-search", has_text="the model is loading").wait_for()
        loading.loading = False
        wait_search(page, "done")
        page.context.close()  # before its server: it would ask for the status in vain
    finally:
        close()


# --- looks ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_curves_follow_the_theme(visit, client):
    page = visit(color_scheme="dark")
    open_adapt(page)
    found(page)
    page.click("#adapt-answer")
    page.wait_for_selector("#adapt-adapted [data-state=done]", state="attached")
    page.screenshot(path=SHOTS / "adapt-dark.png")
    best = "document.querySelector('#adapt-score .plot').data.find((t) => t.name === 'best')"
    dark = page.evaluate(f"{best}.line.color")
    page.get_by_label("Switch between light and dark").click()
    page.wait_for_function(f"{best}.line.color !== '{dark}'")


@pytest.mark.slow
def test_a_phone_shows_everything_in_one_column(visit, client):
    page = visit(width=390, height=844, has_touch=True, is_mobile=True)
    open_adapt(page)
    page.locator("#adapt-start").tap()
    wait_search(page, "done")
    page.wait_for_selector("#adapt-use")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    lefts = {round(page.locator(card).bounding_box()["x"]) for card in CARDS[1:]}
    assert len(lefts) == 1, "cards stand in one column"
    page.screenshot(path=SHOTS / "phone-adapt.png", full_page=True)


@pytest.mark.slow
def test_text_is_large_enough_for_a_projector(visit, client):
    page = visit()
    open_adapt(page)
    found(page)
    small = page.evaluate("""() => [...document.querySelectorAll('#adapt .t2 *')]
        .filter((e) => e.checkVisibility() && !e.closest('svg, .plot')
            && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
        .filter((e) => parseFloat(getComputedStyle(e).fontSize) < 13)
        .map((e) => e.className + ': ' + e.textContent)""")
    assert not small, small
