"""Large type for a projector, links that ask by themselves, QR codes, presets, and receipts."""

import json
from urllib.parse import parse_qs, urlsplit

import browsing
import pytest
from browsing import SHOTS, alpha, ask, eventually, reload, slide, wait_state
from looks import PALE

from t2ui.messages import Ask, Sweep

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit

LARGE = 20  # pixels: what the last row of a class reads
SMALLER = """(selector) => [...document.querySelectorAll(selector)].filter((e) =>
    e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())
    && parseFloat(getComputedStyle(e).fontSize) < 20).map((e) => e.className + e.textContent)"""
FRAME = "(e) => getComputedStyle(e).outlineWidth"
BARS = {"pass one": ".label-row *, .said *", "mixture": ".mix-row *:not(.only)"}
BARS |= {"next token": ".next-row *, .next-head *"}


def fits(page):
    root = "document.documentElement"
    return page.evaluate(f"[{root}.scrollWidth, {root}.scrollHeight]") == [1280, 720]


def test_a_lesson_link_asks_by_itself_in_large_type_and_points_at_a_card(visit, client):
    page = visit("?prompt=What+is+2%2B2%3F&present=1&go=1&point=adapted", color_scheme="dark")
    wait_state(page, "done")
    (asked,) = [r for r in client.requests if isinstance(r, Ask)]
    assert asked.prompt == "What is 2+2?"
    eventually(lambda: page.locator("#card-adapted").evaluate(FRAME) == "4px")
    assert page.locator("#card-base").evaluate(FRAME) != "4px"
    assert page.evaluate(SMALLER, "#answers .text *:not(.fence, .fence *)") == []
    assert page.locator("#card-adapted").bounding_box()["height"] > 450 and fits(page)
    assert not page.locator("#cards > .t2-card").first.is_visible(), "one card at a time"
    for words, texts in BARS.items():
        page.get_by_role("button", name=words, exact=True).click()
        assert page.locator("#cards > .t2-card:visible").count() == 1
        assert not page.locator("#card-adapted").is_visible() and fits(page)
        assert page.evaluate(SMALLER, texts) == [], words
        assert page.evaluate(PALE) == []
        page.screenshot(path=SHOTS / f"present-{words.replace(' ', '-')}.png")
    page.click("#present")
    assert page.locator("#card-adapted").is_visible() and page.locator("#starters").is_visible()


def test_lesson_links_work_on_compare_and_learn(visit, client):
    line = "?tab=compare&prompt=How many cows?&from=base&to=expert:math&given=He has 5 cows."
    page = visit(f"{line}&present=1&go=1&point=layers")
    eventually(lambda: [r.prompt for r in client.requests if isinstance(r, Sweep)])
    page.locator("#compare-layers").wait_for()
    assert not page.locator("#compare-answers").is_visible()
    page.get_by_role("button", name="answers", exact=True).click()
    page.locator(".t2-compare[data-state=done]").wait_for()
    assert page.evaluate(SMALLER, ".t2-compare .column :is(h3, .text, em)") == []
    learn = visit("?learn=2&present=1&point=picture")
    learn.locator(".learn-step > .picture").wait_for()
    assert learn.locator(".learn-step > .picture").evaluate(
        "(e) => getComputedStyle(e).outlineWidth"
    )
    assert learn.evaluate(SMALLER, ".learn-step :is(.words, .question) *:not(sub)") == []
    learn.screenshot(path=SHOTS / "present-learn.png")


def test_what_somebody_types_is_not_asked_by_the_link(visit, client):
    page = visit("?learn=3&go=1")
    page.locator(".learn-step").wait_for()
    page.get_by_role("tab", name="Ask").click()
    page.locator("#prompt textarea").press_sequentially("Half a", delay=60)
    page.wait_for_timeout(2000)
    assert not [r for r in client.requests if isinstance(r, Ask)]


@pytest.mark.slow
def test_each_press_of_permalink_is_answered(visit):
    page = visit()
    page.locator("#prompt textarea").fill("Hi")
    page.locator("#footer").get_by_text("show the code").click()
    page.locator("#footer pre", has_text="t2ui").locator("visible=true").first.wait_for()
    page.keyboard.press("Escape")
    page.locator("#footer").get_by_text("permalink").click()
    page.locator("#link-sheet .qr svg").wait_for()
    assert "prompt=Hi" in page.locator("#link-sheet input").input_value()


def test_the_address_names_the_open_page_and_asks_for_nothing(visit, client):
    page = visit()
    page.get_by_role("tab", name="Library").click()
    eventually(lambda: page.url.endswith("?tab=library"))
    page.locator(".t2-library .expert").first.wait_for()
    reload(page)
    eventually(
        lambda: page.get_by_role("tab", name="Library").get_attribute("aria-selected") == "true"
    )
    page.get_by_role("tab", name="Ask").click()
    page.locator("#prompt textarea").fill("Hi")
    page.locator("#footer").get_by_text("permalink").click()
    sheet = page.locator("#link-sheet")
    sheet.locator(".qr svg").wait_for()
    sheet.get_by_role("button", name="asks by itself").click()
    assert "go=1" in sheet.locator("input").input_value() and "go=1" not in page.url
    off = visit("?present=0&go=0&prompt=Hi")
    off.locator("#mixer .mix-row").first.wait_for()
    off.wait_for_timeout(1500)
    assert off.locator("#present").get_attribute("aria-pressed") == "false"
    assert not [r for r in client.requests if isinstance(r, Ask)]


def test_back_leads_to_the_page_before(visit):
    """Also from a step of Learn that a link opened, and to a link that says more than a page."""
    page = visit("?tab=library&find=math")

    def stands(name: str, query: str) -> None:
        tab = page.get_by_role("tab", name=name)
        eventually(lambda: tab.get_attribute("aria-selected") == "true")
        eventually(lambda: page.evaluate("location.search") == query)

    stands("Library", "?tab=library&find=math")
    before = page.evaluate("history.length")
    page.get_by_role("tab", name="Learn").click()
    stands("Learn", "?tab=library&find=math")
    page.get_by_role("link", name="next:").click()
    stands("Learn", "?learn=2")
    page.get_by_role("tab", name="Ask").click()
    stands("Ask", "?tab=ask")
    page.locator("#prompt textarea").fill("Half a question")
    assert page.evaluate("history.length") == before + 2
    page.go_back()
    stands("Learn", "?learn=2")
    page.go_back()
    stands("Library", "?tab=library&find=math")
    page.go_forward()
    stands("Learn", "?learn=2")
    page.go_forward()
    stands("Ask", "?tab=ask")
    assert page.locator("#prompt textarea").input_value() == "Half a question"


def test_a_reload_keeps_what_was_typed_and_set_by_hand(visit):
    page = visit()
    page.locator("#prompt textarea").fill("Half a question")
    slide(page, "math", 0.7)
    eventually(lambda: alpha(page, "math") == 0.7)
    reload(page)
    eventually(lambda: page.locator("#prompt textarea").input_value() == "Half a question")
    eventually(lambda: alpha(page, "math") == 0.7)
    assert page.locator("#set-by").inner_text() == "set by: you"
    reload(page, visit=True)  # that begins anew
    page.wait_for_timeout(1000)
    assert alpha(page, "math") == 0 and page.locator("#prompt textarea").input_value() == ""


def test_a_link_becomes_a_lesson_and_a_qr_code(visit):
    page = visit()
    page.locator("#prompt textarea").fill("Hi")
    page.locator("#footer").get_by_text("permalink").click()
    sheet = page.locator("#link-sheet")
    sheet.locator(".qr svg").wait_for()
    plain = sheet.locator(".qr path").get_attribute("d")
    sheet.get_by_role("button", name="large type").click()
    sheet.get_by_role("button", name="asks by itself").click()
    sheet.locator("select").select_option("pass-one")
    said = parse_qs(urlsplit(sheet.locator("input").input_value()).query)
    assert said.pop("dispatch") == ["expert"], "the worker's own choice"
    assert said == {"prompt": ["Hi"], "present": ["1"], "go": ["1"], "point": ["pass-one"]}
    assert sheet.locator(".qr path").get_attribute("d") != plain, "the code is the link's own"
    sheet.get_by_role("button", name="Enlarge the QR code").click()
    assert page.locator("dialog.qr-large svg").bounding_box()["height"] > 600
    page.screenshot(path=SHOTS / "qr.png")


def test_the_qr_encoder_agrees_with_another_one(visit):
    """In all sizes a link may have; `qrcode` is a widely used encoder."""
    qrcode = pytest.importorskip("qrcode")
    page = visit()
    texts = ["http://t2ui.example/?prompt=" + "aß€ " * n for n in (0, 9, 60, 200, 400)]
    for text in [*texts, "z" * 2953]:
        ours = page.evaluate("(text) => t2ui.qr(text)", text)
        code = qrcode.QRCode(error_correction=qrcode.ERROR_CORRECT_L, border=0, mask_pattern=3)
        code.add_data(qrcode.util.QRData(text.encode(), mode=qrcode.util.MODE_8BIT_BYTE))
        code.make(fit=True)
        assert ours == [[bool(dark) for dark in row] for row in code.modules], len(text)
    assert page.evaluate("(text) => t2ui.qr(text)", "z" * 2954) is None


def test_a_mixture_is_kept_under_a_name_for_the_next_visit(visit):
    page = visit()
    slide(page, "math", 0.7)
    slide(page, "code", -0.25)
    page.click("#kept-open")
    page.locator("#kept-sheet input").fill("my <mix>")
    page.keyboard.press("Enter")
    again = page.context.new_page()
    again.goto(page.url)
    again.wait_for_selector("#mix-math", state="attached")
    again.click("#kept-open")
    again.locator("#kept-sheet").get_by_role("button", name="my <mix>", exact=True).click()
    assert (alpha(again, "math"), alpha(again, "code")) == (0.7, -0.25)
    assert again.locator("#set-by").inner_text() == "set by: preset my <mix>"
    again.get_by_role("button", name="Forget my <mix>").click()
    assert again.locator("#kept-sheet li").count() == 0


def test_the_receipts_of_a_visit_are_saved_as_json_lines(visit):
    page = visit()
    saved = page.locator("#session-receipts")
    assert not saved.is_visible()
    ask(page)
    eventually(lambda: saved.is_visible() and saved.inner_text().startswith("1 answer "))
    wait_state(page, "done")
    slide(page, "math", 0.5)
    page.click("#ask")
    eventually(lambda: saved.inner_text().startswith("2 answers"))
    with page.expect_download() as download:
        saved.click()
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    shown = json.loads(page.locator("#receipt-sheet pre").evaluate("(e) => e.textContent"))
    assert len(lines) == 2 and json.loads(lines[-1]) == shown


def test_adapt_library_and_learn_have_links_to_their_state(visit, app):
    page = visit("?tab=library&find=math")
    page.locator(".t2-library .expert").first.wait_for()
    page.locator("#library").get_by_role("button", name="answering").click()
    page.locator("#library .copy-icon").click()
    again = visit(page.url.removeprefix(app[1].rstrip("/") + "/"))
    again.locator(".t2-library .expert").first.wait_for()
    assert again.locator(".t2-library .expert").count() == 1
    assert again.locator("[data-kind=answering]").get_attribute("aria-pressed") == "true"
    again.get_by_role("tab", name="Adapt").click()
    again.locator("#adapt-examples textarea").nth(0).fill("2 + 2?")
    again.locator("#adapt-examples textarea").nth(1).fill("4")
    again.locator("#adapt-link .copy-icon").click()
    link = again.locator("#adapt-link-sheet input")
    eventually(lambda: "2+%2B+2" in link.input_value())
    other = visit("?" + link.input_value().partition("?")[2])
    row = other.locator("#adapt-examples textarea")
    eventually(lambda: [row.nth(0).input_value(), row.nth(1).input_value()] == ["2 + 2?", "4"])
    other.get_by_role("tab", name="Learn").click()
    other.locator(".learn-steps a").nth(1).click()
    other.locator("#learn .copy-icon").click()
    assert other.locator("#learn-link-sheet input").input_value().endswith("/?learn=2")
