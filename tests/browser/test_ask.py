"""The Ask page in a real browser, on a test double: a question, its answers, and the sliders."""

import browsing
import pytest
from browsing import SHOTS, alpha, ask, boxes, eventually, mode, slide, wait_state

from t2ui.messages import Ask, Failed, NextToken

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit


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
    import fake_answers

    evil = "<img src=x onerror=alert(1)><script>alert(2)</script> & <b>bold</b> " * 3
    monkeypatch.setattr(fake_answers, "ADAPTED_TEXT", evil)
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    slide(page, "code", -0.49)  # divided by 0.01, math would be at 50
    assert "cannot be normalised" in page.locator("#mixer .note").inner_text()
    page.locator("#mix-reset").click()
    assert "normalised" not in page.locator("#mixer .note").inner_text()
    assert page.locator(".base-share .value").inner_text() == "100 %"


@pytest.mark.slow
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
    page.locator("#allow-transfer input").check()
    assert boxes(page) == before
    panel = page.locator("#settings-panel").bounding_box()
    assert panel["y"] >= 0 and panel["y"] + panel["height"] <= 720
    page.screenshot(path=SHOTS / "settings.png")
    page.keyboard.press("Escape")
    page.locator("#settings-panel").wait_for(state="hidden")
    ask(page)
    wait_state(page, "done")
    asked = [r for r in client.requests if isinstance(r, Ask)][-1]
    assert (asked.sampling.max_new_tokens, asked.sampling.seed, asked.routing) == (24, 11, "soft")
    assert asked.sampling.temperature == pytest.approx(0.7)
    assert asked.allow_transfer and not asked.normalise
