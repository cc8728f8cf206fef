"""The page in a real browser: what a person does, on a test double, and once on the real model.

Any request to another host and any error in the page fails the test. Screenshots go to
tests/screenshots/, which git ignores.
"""

import json
import os
import re
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
from fake_client import FakeClient

from t2ui.messages import Ask, Failed, Heatmap, NextToken

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split() + ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost"]
SHOTS = Path(__file__).parent / "screenshots"
CARDS = ("#ask-bar", "#classification", "#mixer", "#next-token", "#answer-base", "#answer-adapted")
FIBONACCI = "Fibonacci in Python"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.is_file():
        pytest.skip(f"no browser at {CHROMIUM}: install Debian's chromium, or set CHROMIUM")
    SHOTS.mkdir(exist_ok=True)
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield made
        made.close()


def serve(client):
    """The app on a client: its URL, and what closes it."""
    from t2ui.ui import build, launch_options

    demo = build(client)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    return url, demo.close


@pytest.fixture(scope="module")
def app():
    """(client, url) of an app on the test double."""
    client = FakeClient()
    url, close = serve(client)
    yield client, url
    close()


@pytest.fixture
def client(app):
    """The double, as if new."""
    fake = app[0]
    fake.pace, fake.failure, fake.state, fake.queued = 0.3, None, None, 0
    fake.loading = False
    fake.requests.clear()
    fake.cancelled.clear()
    yield fake
    fake.state = None


@pytest.fixture
def visit(browser, app, client):
    """Opens pages: visit(query, width=…, …) in a browser context each; checks them at the end."""
    contexts, bad = [], []

    def go(query="", width=1280, height=720, wait=True, url=app[1], **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda r: None if r.url.startswith((url, "data:", "blob:"))
                else bad.append(r.url))  # fmt: skip
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: bad.append(str(error)))
        page.on("console", lambda m: bad.append(m.text) if m.type == "error" else None)
        page.goto(url + query)
        if wait:
            page.wait_for_selector("#mix-math")
        return page

    yield go
    for context in contexts:
        context.close()
    assert not bad, bad


def ask(page, touch=False):
    press = "tap" if touch else "click"
    getattr(page.get_by_role("button", name=FIBONACCI), press)()
    page.wait_for_function("document.querySelector('#prompt textarea').value.length > 0")
    getattr(page.locator("#ask"), press)()


def wait_state(page, state, pane="adapted"):
    page.wait_for_selector(f"#answer-{pane} [data-state={state}]", state="attached")


def slide(page, name, value):
    page.locator(f"#mix-{name} input[type=range]").fill(str(value))


def alpha(page, name):
    return float(page.locator(f"#mix-{name} input[type=range]").input_value())


def mode(page):
    return page.locator("#dispatch-mode input:checked").get_attribute("value")


def boxes(page):
    return {card: page.locator(card).bounding_box() for card in CARDS}


def eventually(check, seconds=10.0):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


# --- a question from start to end ----------------------------------------------------------------


def test_a_question_is_classified_and_answered_side_by_side_without_a_jump(visit, client):
    page = visit()
    before = boxes(page)
    client.pace = 1.0
    ask(page)
    wait_state(page, "streaming")
    during = boxes(page)
    assert "code" in page.locator(".label-row.chosen").inner_text()
    assert "\\boxed{code}" in page.locator("#classification .said").inner_text()
    assert page.locator("#set-by").inner_text() == "set by: classification expert, 0.93"
    assert alpha(page, "code") == 1 and alpha(page, "math") == 0
    assert page.locator(".base-share").get_attribute("data-share") == "0.0000"
    page.screenshot(path=SHOTS / "ask-streaming.png")
    wait_state(page, "done")
    assert before == during == boxes(page)
    base, adapted = (page.locator(f"#answer-{p} .text").inner_text() for p in ("base", "adapted"))
    assert "fibonacci(n - 1)" in base and "a, b = b, a + b" in adapted
    assert "tokens/s" in page.locator("#answer-base .foot").inner_text()
    assert "first difference at token" in page.locator("#answer-adapted .foot").inner_text()
    assert page.locator("#answer-adapted .first").count() == 1
    assert page.locator("#answer-base .first").count() == 1
    assert "2.0 % of the answer" in page.locator("#classification .foot").inner_text()
    page.screenshot(path=SHOTS / "ask.png")
    root = "document.documentElement"
    size = page.evaluate(f"[{root}.scrollWidth, {root}.scrollHeight]")
    assert size == [1280, 720], "the Ask page scrolls at 1280 × 720"


def test_pointing_at_a_token_shows_both_models_candidates(visit):
    page = visit(height=900)
    ask(page)
    wait_state(page, "done")
    page.locator("#answer-adapted .token").last.hover()
    tip = page.locator(".t2-tip")
    tip.wait_for()
    assert tip.locator(".cand.mix").count() == 3 and tip.locator(".cand.base").count() == 3
    assert "likely" in tip.inner_text() or "likelier" in tip.inner_text()
    page.keyboard.press("Escape")
    assert tip.count() == 0


def test_a_second_question_and_one_after_stop_work(visit, client):
    page = visit()
    ask(page)
    wait_state(page, "done")
    page.click("#ask")
    wait_state(page, "streaming")
    wait_state(page, "done")
    client.pace = 2.0
    page.click("#ask")
    wait_state(page, "streaming")
    page.click("#stop")
    wait_state(page, "stopped")
    eventually(lambda: client.cancelled)
    assert "stopped" in page.locator("#answer-adapted .foot").inner_text()
    client.pace = 0.1
    page.click("#ask")
    wait_state(page, "done")
    assert len([r for r in client.requests if isinstance(r, Ask)]) == 4


def test_enter_asks_and_shift_enter_does_not(visit, client):
    page = visit()
    box = page.locator("#prompt textarea")
    box.fill("one")
    box.press("Shift+Enter")
    box.type("two")
    assert box.input_value() == "one\ntwo"
    assert not [r for r in client.requests if isinstance(r, Ask)]
    box.press("Enter")
    wait_state(page, "done")
    assert [r.prompt for r in client.requests if isinstance(r, Ask)] == ["one\ntwo"]


def test_closing_the_tab_in_mid_answer_stops_the_work(visit, client):
    client.pace = 5.0
    page = visit()
    ask(page)
    page.wait_for_selector("#classification [data-state=done]", state="attached")
    page.context.close()
    eventually(lambda: client.cancelled)


@pytest.mark.parametrize(("text", "words"), [("", "empty"), ("x" * 30_000, "shorten")])
def test_a_bad_prompt_gets_a_message_with_the_remedy(visit, client, text, words):
    page = visit()
    page.locator("#prompt textarea").fill(text)
    page.click("#ask")
    toast = page.get_by_test_id("toast-body")
    toast.wait_for()
    assert words in toast.inner_text()
    assert not [r for r in client.requests if isinstance(r, Ask)]


def test_a_failed_answer_says_what_to_do_and_the_next_one_works(visit, client):
    client.failure = Failed("The model worker stopped.", "It is restarting; ask again.")
    page = visit()
    ask(page)
    wait_state(page, "failed")
    assert "ask again" in page.locator("#answer-adapted .failed").inner_text()
    page.screenshot(path=SHOTS / "ask-failed.png")
    page.click("#ask")
    wait_state(page, "done")


def test_text_from_a_model_stays_text(visit, client, monkeypatch):
    import fake_client

    evil = "<img src=x onerror=alert(1)><script>alert(2)</script> & <b>bold</b> " * 3
    monkeypatch.setattr(fake_client, "ADAPTED_TEXT", evil)
    page = visit()
    ask(page)
    wait_state(page, "done")
    assert page.locator("#answer-adapted .text").inner_text().strip() == evil.strip()
    assert page.locator("#answer-adapted img, #answer-adapted script").count() == 0


# --- sliders -------------------------------------------------------------------------------------


def test_a_hand_on_a_slider_turns_the_dispatcher_off_and_says_so(visit, client):
    page = visit()
    assert mode(page) == "expert"
    slide(page, "math", 0.6)
    eventually(lambda: mode(page) == "none")
    assert page.locator("#set-by").inner_text() == "set by: you"
    assert "dispatcher is off" in page.locator("#mixer .note").inner_text()
    page.locator("#classification", has_text="The dispatcher is off").wait_for()
    assert page.locator(".base-share .value").inner_text() == "40 %"
    ask(page)
    wait_state(page, "done")
    (asked,) = [r for r in client.requests if isinstance(r, Ask)]
    assert asked.dispatch == "none" and asked.mixture == {"math": 0.6}
    assert alpha(page, "math") == 0.6


def test_sliders_obey_arrow_keys_numbers_and_their_reset(visit):
    page = visit()
    range_ = page.locator("#mix-code input[type=range]")
    assert [range_.get_attribute(k) for k in ("min", "max", "step")] == ["-1", "2", "0.01"]
    range_.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert alpha(page, "code") == 0.03
    assert page.evaluate("document.activeElement.type") == "range"
    number = page.locator("#mix-code input[type=number]")
    number.fill("-5")
    number.press("Enter")
    assert alpha(page, "code") == -1 and number.input_value() == "-1.00"
    number.blur()
    assert page.locator(".base-share .value").inner_text() == "200 %"
    page.locator("#mix-code").get_by_role("button").click()
    assert alpha(page, "code") == 0


def test_presets_strength_and_reset(visit):
    page = visit()
    presets = page.locator(".presets")
    presets.get_by_role("button", name="even").click()
    assert {alpha(page, n) for n in ("math", "code", "reasoning")} == {0.33}
    assert alpha(page, "dispatch") == 0
    presets.get_by_role("button", name="math").click()
    assert alpha(page, "math") == 1 and alpha(page, "code") == 0
    page.locator("#strength input[type=range]").fill("0.5")
    assert page.locator(".base-share .value").inner_text() == "50 %"
    page.locator("#mix-reset").click()
    assert alpha(page, "math") == 0 and page.locator(".base-share .value").inner_text() == "100 %"
    assert page.locator("#strength input[type=range]").input_value() == "1"


def test_the_next_token_follows_the_slider_and_the_prompt_newest_wins(visit, client):
    client.pace = 1.0
    page = visit()
    card = page.locator("#next-token")
    assert "appear here" in card.inner_text()
    page.locator("#prompt textarea").fill("Write a function")
    card.locator(".next-row").first.wait_for()
    assert card.locator(".next-row").count() == 6
    assert "KL 0.00 nats" in card.inner_text()
    for step in range(1, 21):
        slide(page, "code", step / 10)
    eventually(lambda: client.requests[-1].mixture == {"code": 2.0})
    eventually(lambda: "KL 1.51" in card.inner_text())
    asked = [r for r in client.requests if isinstance(r, NextToken)]
    assert asked[-1].mixture == {"code": 2.0} and len(asked) < 20
    first = card.locator(".next-row code").first.inner_text()
    slide(page, "code", -1)
    eventually(lambda: card.locator(".next-row code").first.inner_text() != first)


def test_the_next_token_is_asked_for_again_after_a_failure(visit, client, monkeypatch):
    lost = Failed("The model worker stopped.", "It is restarting.")
    with monkeypatch.context() as patch:
        patch.setattr(client, "_next_token", lambda request: [(0.0, lost)])
        page = visit()
        page.locator("#prompt textarea").fill("Write a function")
        page.locator("#next-token", has_text="It is restarting").wait_for()
    page.locator("#next-token .next-row").first.wait_for()


def test_a_click_on_another_label_corrects_the_dispatch(visit, client):
    page = visit()
    ask(page)
    wait_state(page, "done")
    page.locator(".label-row", has_text="math").click()
    eventually(lambda: alpha(page, "math") == 1)
    assert alpha(page, "code") == 0 and mode(page) == "none"
    assert "math" in page.locator(".label-row.chosen").inner_text()
    assert "press Ask" in page.locator("#mixer .note").inner_text()
    page.locator(".label-row", has_text="others").click()
    eventually(lambda: alpha(page, "math") == 0)
    assert page.locator(".base-share .value").inner_text() == "100 %"


def test_a_correction_while_the_answer_streams_stays(visit, client):
    client.pace = 1.5
    page = visit()
    ask(page)
    wait_state(page, "streaming")
    page.locator(".label-row", has_text="math").click()
    wait_state(page, "done")
    assert "2.0 % of the answer" in page.locator("#classification .foot").inner_text()
    assert "math" in page.locator(".label-row.chosen").inner_text()
    page.locator("#dispatch-mode input[value=prompt]").check(force=True)
    page.click("#ask")
    page.locator(".label-row.chosen", has_text="code").wait_for()


def test_normalise_leaves_nothing_to_the_base_and_refuses_a_zero_sum(visit):
    page = visit()
    slide(page, "math", 0.5)
    page.click("#settings-open")
    page.locator("#normalise input").check()
    eventually(lambda: page.locator(".base-share .value").inner_text() == "0 %")
    page.keyboard.press("Escape")
    slide(page, "code", -0.5)
    assert "cannot be normalised" in page.locator("#mixer .note").inner_text()


def test_settings_do_not_push_the_page_and_reach_the_worker(visit, client):
    page = visit()
    before = boxes(page)
    page.click("#settings-open")
    page.locator("#max-new-tokens input[type=number]").fill("24")
    page.locator("#max-new-tokens input[type=number]").blur()
    page.locator("#temperature input[type=range]").fill("0.7")
    page.locator("#seed input").fill("11")
    page.locator("#seed input").blur()
    page.locator("#routing").get_by_text("soft").click()
    assert boxes(page) == before
    page.screenshot(path=SHOTS / "settings.png")
    page.keyboard.press("Escape")
    page.locator("#settings-panel").wait_for(state="hidden")
    ask(page)
    wait_state(page, "done")
    asked = [r for r in client.requests if isinstance(r, Ask)][-1]
    assert (asked.sampling.max_new_tokens, asked.sampling.seed, asked.routing) == (24, 11, "soft")
    assert asked.sampling.temperature == pytest.approx(0.7)


# --- receipt, code, permalink --------------------------------------------------------------------


def test_a_permalink_brings_the_whole_state_back(visit, app):
    page = visit()
    page.locator("#prompt textarea").fill("What & why? <b>")
    slide(page, "math", 0.7)
    slide(page, "code", -0.3)
    page.locator("#footer").get_by_text("permalink").click()
    link = page.locator("#link-sheet input")
    link.wait_for()
    query = link.input_value().removeprefix(app[1].rstrip("/") + "/")
    assert query.startswith("?prompt=") and page.url.endswith(query)
    other = visit(query)
    eventually(lambda: alpha(other, "math") == 0.7)
    assert alpha(other, "code") == -0.3 and mode(other) == "none"
    assert other.locator("#prompt textarea").input_value() == "What & why? <b>"
    assert other.locator("#set-by").inner_text() == "set by: permalink"


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


def test_a_permalink_carries_the_strength_beyond_a_sliders_range(visit):
    page = visit("?mix=math=3,code=-0.75")
    eventually(lambda: alpha(page, "math") == 2)
    assert alpha(page, "code") == -0.5 and mode(page) == "none"
    assert page.locator("#strength input[type=range]").input_value() == "1.5"


def test_a_hostile_permalink_opens_a_sound_page(visit):
    query = urlencode({"prompt": "<img src=x onerror=alert(1)>", "mix": "math=1e99,</i>=1,code=nan",
                       "dispatch": "x", "temperature": "-9", "seed": "9" * 40})  # fmt: skip
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
    box = sheet.bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= 720
    sheet.get_by_role("tab", name="Command line").click()
    assert "--mix math=0.7" in sheet.inner_text()


# --- status, states, sessions --------------------------------------------------------------------


@pytest.mark.parametrize("pace", [0.1, 8], ids=["pass one first", "sliders first"])
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
            assert page.locator("#status").inner_text().endswith("ready · queue 0")
        page.context.close()  # before its server: it would ask for the status in vain
    finally:
        close()


@pytest.mark.parametrize("state", ["restarting", "failed"])
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
    assert page.locator("#mix-math").count() == 1


def test_the_queue_is_said(visit, client):
    client.queued, client.pace = 3, 3.0
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
    from t2ui.client import WorkerClient
    from t2ui.config import WorkerConfig

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
