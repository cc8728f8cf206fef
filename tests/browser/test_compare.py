"""The Compare page in a real browser: seven mixtures answer one prompt beside each other."""

import browsing
import pytest
from browsing import PHONE, SHOTS, alpha, choose, eventually, mode, rare, slide
from fake_client import FakeClient
from looks import PALE, TARGET, TOO_SMALL

from t2ui.messages import Failed, LayersOff, Sweep, Trial

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit

LINK = "?tab=compare&prompt=How many cows?&from=base&to=expert:math&given=He has 5 cows."


def opened(page):
    """Until the link has filled the boxes."""
    page.locator("#compare-go").wait_for()
    eventually(lambda: page.locator("#compare-to input").input_value() == "math expert")
    return page


def compared(page, state="done"):
    page.locator(f".t2-compare[data-state={state}]").wait_for()


def test_a_link_asks_for_the_comparison_and_the_numbers_are_the_worker_s(visit, client):
    page = opened(visit(LINK))
    client.hold_end = True
    page.click("#compare-go")
    compared(page, "working")
    assert page.evaluate(PALE) == []
    client.hold_end = False
    compared(page)
    (sweep,) = (one for one in client.requests if isinstance(one, Sweep))
    assert sweep.prompt == "How many cows?" and sweep.given == "He has 5 cows."
    assert [one.get("math", 0) for one in sweep.lineup.mixtures] == [0, 0.25, 0.5, 0.75, 1, 1.5, 2]
    swept = FakeClient.swept(sweep)
    shared = "".join(swept.columns[0].pieces[: swept.parts_at])
    assert page.locator(".shared").text_content() == f"all begin: {shared}"
    texts = page.locator(".t2-compare .column .text").all_text_contents()
    assert [text.removesuffix(" …") for text in texts] == [
        "".join(column.pieces[swept.parts_at :]) for column in swept.columns
    ]
    said = page.locator(".likelihood em").all_inner_texts()
    assert said == [f"−{-c.log_likelihood / swept.given_tokens:.2f}" for c in swept.columns]
    page.screenshot(path=SHOTS / "compare.png")
    assert page.evaluate("document.documentElement.scrollHeight") == 720
    page.get_by_role("button", name="permalink").locator("visible=true").click()
    other = opened(visit(page.url.removeprefix(browsing_url(page))))
    assert other.locator("#compare-prompt textarea").input_value() == "How many cows?"
    assert other.locator("#compare-given :is(input, textarea)").input_value() == "He has 5 cows."


def test_a_link_brings_the_sliders_that_it_compares_and_all_boxes(visit, client):
    page = opened(visit(LINK))
    page.get_by_role("tab", name="Ask").click()
    slide(page, "math", 0.8)
    page.get_by_role("tab", name="Compare").click()
    choose(page, "compare-to", "mixture on the sliders")
    choose(page, "compare-length", "64 tokens")
    page.locator("#compare-controls input").check()
    page.click("#compare-go")
    compared(page)
    page.get_by_role("button", name="permalink").locator("visible=true").click()
    client.requests.clear()
    other = visit(page.url.removeprefix(browsing_url(page)) + "&go=1")
    compared(other)
    (sweep,) = (one for one in client.requests if isinstance(one, Sweep))
    assert max(one.get("math", 0) for one in sweep.lineup.mixtures) == 1.6
    assert sweep.sampling.max_new_tokens == 64 and sweep.lineup.controls
    assert alpha(other, "math") == 0.8


@pytest.mark.slow
def test_a_link_that_cannot_be_asked_says_so_once(visit, client):
    line = "?tab=compare&prompt=How many cows?&from=base&to=base&go=1"
    page = visit(line)
    page.locator(".toast-body").first.wait_for()
    page.wait_for_timeout(3000)
    assert page.locator(".toast-body").count() == 1
    assert not [one for one in client.requests if isinstance(one, Sweep)]


def browsing_url(page):
    return page.evaluate("location.origin + location.pathname")


def test_a_column_goes_to_the_sliders_and_its_prompt_to_ask(visit):
    page = opened(visit(LINK))
    page.click("#compare-go")
    compared(page)
    page.get_by_role("button", name="to the sliders").nth(5).click()
    page.get_by_role("tab", name="Ask").click()
    eventually(lambda: alpha(page, "math") == 1.5)
    assert mode(page) == "none"
    assert page.locator("#prompt textarea").input_value() == "How many cows?"
    assert page.locator("#set-by").inner_text() == "set by: Compare: math 1.50"


def test_layers_are_switched_off_one_at_a_time(visit, client):
    page = opened(visit(LINK, color_scheme="dark"))
    page.click("#compare-go")
    compared(page)
    page.get_by_role("button", name="layers").nth(3).click()
    page.locator(".t2-layers[data-state=done]").wait_for()
    asked = client.requests[-1]
    assert isinstance(asked, LayersOff) and asked.mixture == {"math": 1.0}
    assert asked.text == "He has 5 cows.", "the right answer, where one is given"
    assert page.locator(".t2-layers svg g").count() == 30
    assert page.locator("#layers-side").inner_text() == "math 1.00, one layer off at a time"
    assert "−9.00 nats with all layers, −14.00" in page.locator(".t2-layers .foot").inner_text()
    assert page.evaluate(PALE) == []
    page.screenshot(path=SHOTS / "compare-layers-dark.png")


def test_answers_stay_when_controls_join_for_the_questions(visit):
    page = opened(visit(LINK))
    page.click("#compare-go")
    compared(page)
    before = page.locator(".t2-compare .column .text").all_inner_texts()
    page.locator("#compare-controls input").check()
    page.click("#compare-try")
    page.locator(".t2-compare[data-trial=done]").wait_for()
    after = page.locator(".t2-compare .column .text").all_inner_texts()
    assert any(before) and after[:7] == before
    assert after[7:] == ["Press Compare for its answer."] * 3
    assert page.evaluate(PALE) == []
    page.get_by_role("button", name="permalink").locator("visible=true").click()
    assert "prompt=How+many+cows" in page.url and page.url.endswith("&controls=1"), "as is shown"


@pytest.mark.slow
def test_who_only_tried_questions_keeps_the_prompt_on_ask(visit):
    page = opened(visit("?tab=compare&to=expert:math"))
    page.get_by_role("tab", name="Ask").click()
    page.locator("#prompt textarea").fill("My own question")
    page.get_by_role("tab", name="Compare").click()
    eventually(lambda: page.locator("#compare-prompt textarea").input_value() == "My own question")
    page.click("#compare-try")
    page.locator(".t2-compare[data-trial=done]").wait_for()
    page.get_by_role("button", name="to the sliders").nth(5).click()
    page.get_by_role("tab", name="Ask").click()
    eventually(lambda: alpha(page, "math") == 1.5)
    assert page.locator("#prompt textarea").input_value() == "My own question"


def test_a_link_to_what_is_not_here_says_so(visit):
    page = opened(visit("?tab=compare&prompt=Hi&from=expert:poems&to=expert:math&length=999"))
    page.get_by_text("from 'expert:poems', length '999': what the boxes show").wait_for()
    assert page.locator("#compare-from input").input_value() == "base model"


def test_every_column_tries_many_questions_beside_its_controls(visit, client):
    page = opened(visit(LINK))
    page.locator("#compare-controls input").check()
    page.click("#compare-go")
    compared(page)
    assert page.locator(".t2-compare .column").count() == 10
    layers = page.locator(".t2-compare .acts").get_by_role("button", name="layers")
    assert layers.count() == 6, "not of the base model, nor of a control"
    page.click("#compare-try")
    page.locator(".t2-compare[data-trial=done]").wait_for()
    (trial,) = (one for one in client.requests if isinstance(one, Trial))
    last = FakeClient.tried(trial)[-1].columns
    assert len(trial.lineup.columns) == len(last) == 10 and len(trial.lineup.shots) == 4
    said = page.locator(".t2-compare .tried b").all_inner_texts()
    assert said == [f"{sum(one.right)} of {len(trial.questions)}" for one in last]
    right = page.evaluate(
        "[...document.querySelectorAll('.squares')].map((s) => s.querySelectorAll('.right').length)"
    )
    assert right == [sum(one.right) for one in last]
    text = page.locator(".t2-compare .column .text").nth(2).inner_text()
    assert text, "the answers of the prompt stay"
    assert page.evaluate(PALE) == []
    page.screenshot(path=SHOTS / "compare-proof.png")
    assert page.evaluate("document.documentElement.scrollHeight") == 720
    client.hold_end = True
    page.click("#compare-try")
    page.locator(".t2-compare[data-trial=working]").wait_for()
    page.click("#compare-stop")
    page.locator(".t2-compare[data-trial=stopped]").wait_for()
    eventually(lambda: client.cancelled)
    client.pace = 30  # long before the first question is answered
    page.click("#compare-try")
    page.get_by_text("The questions are read").wait_for()
    assert page.locator(".t2-compare .tried").count() == 0, "what stood there was of another trial"
    page.click("#compare-stop")
    page.get_by_text("8 questions (arithmetic): stopped").wait_for()


def test_the_answers_say_which_prompt_they_are_to(visit):
    page = opened(visit(LINK))
    page.click("#compare-go")
    compared(page)
    assert page.locator(".t2-compare .old").is_hidden()
    page.locator("#compare-prompt textarea").fill("How many goats?")
    page.get_by_text("These answers are to “How many cows?”").wait_for()
    page.locator("#compare-prompt textarea").fill("")
    page.get_by_text("These answers are to “How many cows?”").wait_for()
    page.get_by_role("tab", name="Ask").click()
    page.locator("#prompt textarea").fill("How many cows?")
    page.get_by_role("tab", name="Compare").click()  # which fills the empty box from there
    page.locator(".t2-compare .old").wait_for(state="hidden")


def test_a_failure_is_said_and_a_stop_ends_it(visit, client):
    page = opened(visit(LINK))
    client.failure = Failed("The device ran out of memory.", "Ask for a shorter answer.")
    page.click("#compare-go")
    compared(page, "failed")
    page.get_by_text("Ask for a shorter answer.").wait_for()
    client.hold_end = True
    page.click("#compare-go")
    compared(page, "working")
    page.click("#compare-stop")
    compared(page, "stopped")
    eventually(lambda: client.cancelled)
    client.hold_end = False
    written = page.locator(".t2-compare .shared").inner_text()
    assert len(written) > len("all begin: "), "what was written before Stop"
    page.click("#compare-try")
    page.locator(".t2-compare[data-trial=done]").wait_for()
    assert page.locator(".t2-compare .shared").inner_text() == written
    page.click("#compare-go")
    compared(page)


def test_nothing_is_asked_without_a_prompt_or_a_line(visit, client):
    page = visit("?tab=compare")
    opened_to = page.locator("#compare-to input")
    eventually(lambda: opened_to.input_value() != "")
    page.click("#compare-go")
    page.get_by_text("The prompt is empty").wait_for()
    assert not [one for one in client.requests if isinstance(one, Sweep)]


def test_all_seven_columns_are_in_view_in_large_type(visit):
    page = opened(visit(f"{LINK}&present=1"))
    page.click("#compare-go")
    compared(page)
    page.screenshot(path=SHOTS / "present-compare.png")
    wide = "document.querySelector('.t2-compare .columns')"
    assert page.locator(".t2-compare .column").count() == 7
    assert page.evaluate(f"{wide}.scrollWidth <= {wide}.clientWidth")
    root = "document.documentElement"
    assert page.evaluate(f"[{root}.scrollWidth, {root}.scrollHeight]") == [1280, 720]
    for column in page.locator(".t2-compare .column").all():
        assert column.evaluate("(e) => e.scrollWidth <= e.clientWidth")
    small = page.evaluate(
        """[...document.querySelectorAll('#compare-bar *, #compare-answers *')].filter((e) =>
        e.checkVisibility() && parseFloat(getComputedStyle(e).fontSize) < 16 && (e.value
        || [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())))
        .map((e) => e.outerHTML.slice(0, 90))"""
    )
    assert small == []


@pytest.mark.parametrize("device", [rare({}), PHONE], ids=["screen", "phone"])
def test_what_is_chosen_ends_before_the_arrow_of_its_list(visit, device):
    page = opened(visit(LINK, **device))
    page.locator("#compare-to input").click()
    page.get_by_role("option", name="mixture on the sliders").click()
    for name in ("from", "to", "length", "questions"):
        ends = page.locator(f"#compare-{name} input").evaluate(
            """(e) => {
          const style = getComputedStyle(e);
          const arrow = e.parentElement.querySelector('.icon-wrap').getBoundingClientRect();
          const end = e.getBoundingClientRect().right - parseFloat(style.paddingRight);
          return [arrow.left - end, style.textOverflow, e.clientWidth];
        }"""
        )
        assert ends[0] >= 0 and ends[1] == "ellipsis", name
        assert ends[2] > 60, name
    assert page.locator("#compare-questions input").bounding_box()["width"] > 200


def test_it_stands_in_one_column_on_a_phone(visit):
    page = opened(visit(LINK, **PHONE))
    tabs = page.locator("#pages > .tab-wrapper button[role=tab]:visible").all_inner_texts()
    assert tabs == ["Learn", "Ask", "Adapt", "Inspect", "Compare", "Library"], "none is folded"
    page.locator("#compare-go").tap()
    compared(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate(TOO_SMALL, ["#pages .tabitem", TARGET]) == []
    page.screenshot(path=SHOTS / "compare-phone.png", full_page=True)
