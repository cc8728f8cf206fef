"""The app on a test double in a real browser, and what a person does on its pages.

Any request to another host and any error in the page fails the test. Screenshots go to
tests/screenshots/, which git ignores. `SLOWER=6 pytest tests/browser` is a device so many times
slower: what comes in the wrong order there does so for some visitor.
"""

import os
import time
from pathlib import Path

import pytest
from fake_client import FakeClient

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --in-process-gpu --disable-software-rasterizer "
    "--disable-extensions --disable-features=Translate,OptimizationHints"
).split() + ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost"]
SLOWER = float(os.environ.get("SLOWER", "1"))
SHOTS = Path(__file__).parents[1] / "screenshots"
CARDS = ("#ask-bar", "#classification", "#mixer", "#next-token", "#answer-base", "#answer-adapted")
FIBONACCI = "Fibonacci in Python"
PHONE = {"width": 390, "height": 844, "has_touch": True, "is_mobile": True}
CUT = ("AbortError: signal is aborted", "Unexpected error Connection errored out")
leaving = set()  # pages that are being left: their streams are cut, and Gradio's client says so


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


def rare(value):
    """A case that is left out of CI: one much like it is there."""
    return pytest.param(value, marks=pytest.mark.slow)


def serve(client, limits=None):
    """The app on a client: its URL, and what closes it."""
    from t2ui.http.launch import launch_options
    from t2ui.http.limits import Limits
    from t2ui.http.service import Service
    from t2ui.ui import build

    service = Service(client, limits or Limits())
    demo = build(service.client, service.limits.public)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(service))
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
    fake.loading = fake.hold_end = fake.hold_next = False
    fake.hold_text, fake.same, fake.hold_steer = 0, False, False
    fake.late = {}
    fake.saved.clear()
    fake.requests.clear()
    fake.cancelled.clear()
    yield fake
    fake.state = None


def returning(context):
    """Somebody who has asked before finds an empty page, without the example."""
    context.add_init_script("localStorage.setItem('t2ui-visited', '1')")
    return context


@pytest.fixture
def visit(browser, app, client):
    """Opens pages: visit(query, width=…, …) in a browser context each; checks them at the end."""
    contexts, bad = [], []

    def go(query="", width=1280, height=720, wait=True, url=app[1], first=False, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = (context if first else returning(context)).new_page()
        if SLOWER > 1:
            device = context.new_cdp_session(page)
            device.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
        page.on(
            "request",
            lambda r: None if r.url.startswith((url, "data:", "blob:")) else bad.append(r.url),
        )
        page.set_default_timeout(60_000)

        def wrong(text):
            if not (page in leaving and text.startswith(CUT)):
                bad.append(text)

        page.on("pageerror", lambda error: wrong(str(error)))
        page.on("console", lambda m: wrong(m.text) if m.type == "error" else None)
        page.goto(url + query)
        if wait:
            page.wait_for_selector("#mix-math", state="attached")  # a link may open another page
        return page

    yield go
    for context in contexts:
        context.close()
    assert not bad, bad


def open_adapt(page, sample="arithmetic"):
    """The Adapt page, with the rows of a sample and their split."""
    page.get_by_role("tab", name="Adapt").click()
    if sample:
        page.locator("#adapt-examples").get_by_role("button", name=sample).click()
        page.wait_for_selector(".ex-row.held")


def example_rows(page):
    """The prompts and right answers in Adapt's table."""
    return page.evaluate(
        "[...document.querySelectorAll('.ex-row')].map((r) => "
        "[...r.querySelectorAll('textarea')].map((t) => t.value))"
    )


def open_inspect(page):
    page.get_by_role("tab", name="Inspect").click()
    page.wait_for_selector("#heatmap .plot[data-ready]")


def click_row(page, share=0.5):
    box = page.locator("#heatmap .nsewdrag").first.bounding_box()
    page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + share * box["height"])
    page.wait_for_selector("#component-plot .plot[data-ready]")
    page.locator("#component-plot .matrix b").wait_for()


def every_matrix(page):
    """A row each, as many as there are."""
    choose(page, "inspect-rows", "every matrix")
    page.locator("#heatmap .foot", has_text="210 matrices").wait_for()


def reload(page, visit=False):
    """Load a page anew, or `visit` its address again in the same tab, until its sliders stand."""
    leaving.add(page)
    if visit:
        page.goto(page.url)
    else:
        page.reload()
    page.wait_for_selector("#mix-math", state="attached")
    leaving.discard(page)


def ask(page, touch=False):
    press = "tap" if touch else "click"
    getattr(page.get_by_role("button", name=FIBONACCI), press)()
    page.wait_for_function("document.querySelector('#prompt textarea').value.length > 0")
    getattr(page.locator("#ask"), press)()


def wait_state(page, state, pane="adapted"):
    page.wait_for_selector(f"#answer-{pane} [data-state={state}]", state="attached")


def slide(page, name, value):
    page.locator(f"#mix-{name} input[type=range]").fill(str(value))


def choose(page, box, option):
    page.locator(f"#{box} input").click()
    page.get_by_role("option", name=option, exact=True).click()
    page.wait_for_selector("[role=option]", state="detached")


def alpha(page, name):
    return float(page.locator(f"#mix-{name} input[type=range]").input_value())


def mode(page):
    return page.locator("#dispatch-mode input:checked").get_attribute("value")


def answered(page):
    """The line on the adapted answer that says what made it."""
    return page.locator("#answered-adapted").inner_text().replace("\n", " ")


def text(page, pane="adapted"):
    return page.locator(f"#answer-{pane} .text").inner_text()


def of(client, kind):
    """The requests of one kind that the worker's double got."""
    return [request for request in client.requests if isinstance(request, kind)]


def is_old(page, panel="#answer-adapted"):
    """Whether the panel is marked as not what the sliders say."""
    return page.locator(f"{panel} .t2[data-old]").count() == 1


def boxes(page):
    return {card: page.locator(card).bounding_box() for card in CARDS}


def eventually(check, seconds=10.0):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)
