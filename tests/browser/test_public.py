"""The page with the door in front: experts that it saved, refusals, and an app for strangers."""

from pathlib import Path

import browsing
import pytest
from browsing import SHOTS, ask, eventually, reload, returning, serve, wait_state
from fake_client import FakeClient

from t2ui.http.limits import Limits
from t2ui.messages import Ask, DeleteExpert, EndSession, RenameExpert, SaveExpert

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit


@pytest.fixture(autouse=True)
def _as_if_new(app):
    app[0].saved.clear()


def save(page, name):
    """Search, and save what was found."""
    page.get_by_role("tab", name="Adapt").click()
    page.locator("#adapt-examples").get_by_role("button", name="arithmetic").click()
    page.wait_for_selector(".ex-row.held")
    page.click("#adapt-start")
    page.wait_for_selector("#adapt-use")
    page.fill("#adapt-name", name)
    page.click("#adapt-save")
    page.locator("#adapt-report", has_text=f"Saved as {name}.safetensors").wait_for()


def sliders(page):
    return page.evaluate("[...document.querySelectorAll('[id^=mix-]')].map((e) => e.id.slice(4))")


def row(page, name):
    return page.locator(f".saved-row[data-name={name}]")


# --- experts that the page saved -----------------------------------------------------------------


def test_a_saved_expert_is_downloaded_renamed_and_deleted(visit, client):
    page = visit()
    assert page.locator("#saved-open").is_hidden(), "nothing was saved"
    save(page, "sums")
    page.click("#saved-open")
    page.screenshot(path=SHOTS / "saved.png")
    assert "for everybody" in page.locator("#saved-sheet").inner_text()
    with page.expect_download() as started:
        row(page, "sums").get_by_role("button", name="Download").click()
    assert started.value.suggested_filename == "sums.safetensors"
    assert Path(started.value.path()).read_bytes() == b"an expert\xff"

    row(page, "sums").get_by_role("button", name="Rename").click()
    row(page, "sums").locator("input").fill("math")
    row(page, "sums").locator("input").press("Enter")
    page.locator("#saved-sheet .bad", has_text="already").wait_for()
    assert row(page, "sums").locator("input").input_value() == "math", "to be put right"
    row(page, "sums").locator("input").fill("additions")
    row(page, "sums").get_by_role("button", name="Rename").click()
    row(page, "additions").wait_for()
    assert "sums is named additions now" in page.locator("#saved-sheet").inner_text()
    assert "additions" in sliders(page) and "sums" not in sliders(page)

    row(page, "additions").get_by_role("button", name="Delete").click()
    page.wait_for_timeout(300)
    assert not [r for r in client.requests if isinstance(r, DeleteExpert)], "it asks first"
    row(page, "additions").get_by_role("button", name="Really?").click()
    page.locator("#saved-open").wait_for(state="hidden")
    eventually(lambda: "additions" not in sliders(page))
    renamed = [r.new_name for r in client.requests if isinstance(r, RenameExpert)]
    assert renamed == ["math", "additions"]
    assert set(sliders(page)) >= {"math", "code", "reasoning", "dispatch"}


@pytest.mark.slow
def test_a_half_typed_name_stays_while_the_list_is_drawn_anew(visit, client):
    page = visit()
    save(page, "sums")
    page.click("#saved-open")
    row(page, "sums").get_by_role("button", name="Rename").click()
    page.keyboard.type("ad")
    page.keyboard.press("Home")
    client.saved["new"] = SaveExpert("new", {"math": 1.0})
    row(page, "new").wait_for(timeout=20_000)
    page.keyboard.type("re")
    assert row(page, "sums").locator("input").input_value() == "read"
    page.keyboard.press("Escape")
    assert row(page, "sums").locator("input").is_hidden()
    assert page.locator("#saved-sheet").is_visible(), "Escape leaves the name as it is"
    client.saved.clear()


@pytest.mark.slow
def test_what_one_list_asks_back_another_one_does_not_take_as_asked(visit, client):
    page = visit()
    save(page, "sums")
    page.click("#saved-open")
    row(page, "sums").get_by_role("button", name="Delete").click()
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Library").click()
    card = page.locator(".expert[data-name=sums]")
    card.get_by_role("button", name="delete").click()
    card.get_by_role("button", name="really?").wait_for()
    assert not [r for r in client.requests if isinstance(r, DeleteExpert)]
    client.saved.clear()


def test_an_expert_that_appears_in_the_folder_appears_on_open_pages(visit, client):
    page = visit()
    browsing.slide(page, "math", 0.5)
    client.saved["new"] = SaveExpert("new", {"math": 1.0})
    page.wait_for_selector("#mix-new", timeout=20_000)
    assert browsing.alpha(page, "math") == 0.5, "the sliders stay where they are"
    client.saved.clear()
    page.wait_for_selector("#mix-new", state="detached", timeout=20_000)


# --- an app for strangers ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def public():
    fake = FakeClient(pace=0.1)
    fake.public = True
    url, close = serve(fake, Limits.for_public())
    yield fake, url
    close()


def test_what_a_visitor_saves_is_theirs_and_goes_with_the_page(visit, public):
    fake, url = public
    me, you = visit(url=url), visit(url=url)
    save(me, "mine")
    me.click("#saved-open")
    assert "Only you see them" in me.locator("#saved-sheet").inner_text()
    reload(you)
    assert "mine" in sliders(me) and "mine" not in sliders(you)
    assert you.locator("#saved-open").is_hidden()
    save(you, "mine")  # the same name, for another visitor
    ends = [r.session for r in fake.requests if isinstance(r, EndSession)]
    mine = next(r.session for r in fake.requests if isinstance(r, SaveExpert))
    assert mine not in ends
    me.context.close()
    eventually(lambda: mine in [r.session for r in fake.requests if isinstance(r, EndSession)])


def test_a_refusal_is_a_toast_that_says_what_to_do(browser):
    """Not by `visit`: the browser counts a refusal among the page's errors."""
    fake = FakeClient(pace=5)
    url, close = serve(fake, Limits(answers=1))
    try:
        contexts = [returning(browser.new_context()) for _ in range(2)]
        first, second = (context.new_page() for context in contexts)
        for page in (first, second):
            page.goto(url)
            page.wait_for_selector("#mix-math")
        ask(first)
        eventually(lambda: fake.requests and isinstance(fake.requests[-1], Ask))
        ask(second)
        toast = second.get_by_test_id("toast-body")
        toast.wait_for()
        assert "The app is busy: 1 answer of other visitors is under way. Try" in toast.inner_text()
        second.screenshot(path=SHOTS / "busy.png")
        wait_state(second, "empty")
        for context in contexts:
            context.close()
    finally:
        close()
