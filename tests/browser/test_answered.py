"""What stands on the Ask page says what made it: the answers, pass one and the next token."""

from dataclasses import replace

import browsing
import pytest
from browsing import SHOTS, answered, ask, eventually, is_old, rare, slide, wait_state

from t2ui.messages import Ask, Done, NextToken, NextTokens

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit

ORANGE, BLUE = "rgb(230, 159, 0)", "rgb(0, 114, 178)"  # of code and math
LONG = "".join(f"This is sentence number {n} of a long answer.\n" for n in range(1, 40))


def grey(page, selector):
    return page.locator(selector).evaluate("(e) => getComputedStyle(e).filter") == "grayscale(1)"


def colour(page, selector, what):
    return page.locator(selector).first.evaluate(f"(e) => getComputedStyle(e).{what}")


# --- the answers ---------------------------------------------------------------------------------


def test_an_answer_says_what_made_it_and_is_old_once_the_sliders_say_otherwise(visit, client):
    client.hold_end = True
    page = visit()
    ask(page)
    wait_state(page, "streaming")
    assert answered(page) == "answering with code 1.00"
    client.hold_end = False
    wait_state(page, "done")
    assert answered(page) == "answered with code 1.00"
    text = page.locator("#answer-adapted .text").inner_text()
    for _ in range(2):
        slide(page, "math", 1.5)
        eventually(lambda: is_old(page, "#answer-adapted"))
        assert answered(page) == "answered with code 1.00 old: sliders moved"
        eventually(lambda: grey(page, "#answer-adapted .text"))
        assert page.locator("#answer-adapted .text").inner_text() == text, "it stays"
        assert colour(page, "#card-adapted", "borderTopColor") == ORANGE, "not the sliders'"
        assert not is_old(page, "#answer-base"), "the base model has no sliders"
        page.screenshot(path=SHOTS / "ask-old.png")
        slide(page, "math", 0)
        eventually(lambda: not is_old(page, "#answer-adapted"))
        assert answered(page) == "answered with code 1.00"
    eventually(lambda: not grey(page, "#answer-adapted .text"))


@pytest.mark.parametrize("move", ["preset", *map(rare, ("label", "strength", "normalise"))])
def test_everything_that_moves_the_mixture_makes_the_answer_old(visit, move):
    page = visit("?mix=code=0.5" if move == "normalise" else "")
    ask(page)
    wait_state(page, "done")
    if move == "preset":
        page.locator(".presets").get_by_role("button", name="even").click()
    elif move == "label":
        page.locator(".label-row", has_text="math").click()
    elif move == "strength":
        page.locator("#strength input[type=range]").fill("0.5")
    else:
        page.click("#settings-open")
        page.locator("#normalise input").check()
    eventually(lambda: is_old(page, "#answer-adapted"))
    assert "old: sliders moved" in answered(page)
    if move == "label":
        page.locator(".label-row", has_text="code").click()
        eventually(lambda: not is_old(page, "#answer-adapted"))
    if move == "normalise":
        assert "answered with code 0.50" in answered(page)
        page.locator("#normalise input").uncheck()
        eventually(lambda: not is_old(page, "#answer-adapted"))


def test_another_prompt_makes_both_answers_and_pass_one_old_until_it_is_taken_back(visit):
    page = visit()
    ask(page)
    wait_state(page, "done")
    panels = ("#answer-adapted", "#answer-base", "#classification")
    prompt = page.locator("#prompt textarea")
    asked = prompt.input_value()
    prompt.fill("Something else")
    eventually(lambda: all(is_old(page, panel) for panel in panels))
    assert answered(page) == "answered with code 1.00 old: another prompt"
    assert page.locator("#answered-base").inner_text() == "old: another prompt"
    assert "old: another prompt" in page.locator("#classification .foot").inner_text()
    heads = [page.locator(f"#card-{pane} h2").bounding_box()["y"] for pane in ("base", "adapted")]
    assert heads[0] == heads[1]
    prompt.fill(asked)
    eventually(lambda: not any(is_old(page, panel) for panel in panels))
    prompt.fill("Something else")
    page.click("#ask")
    wait_state(page, "done")
    eventually(lambda: not any(is_old(page, panel) for panel in panels))


def test_an_answer_that_streams_follows_the_sliders_and_is_old_only_where_it_cannot(visit, client):
    """More of it: test_steering."""
    client.hold_end, client.hold_text = True, 5
    page = visit()
    ask(page)
    wait_state(page, "streaming")
    slide(page, "code", 0.5)
    eventually(lambda: answered(page) == "answering with code 1.00, then code 0.50")
    assert not is_old(page, "#answer-adapted")
    client.hold_text = 0
    page.locator("#answer-adapted .text", has_text="power of n.").wait_for()
    slide(page, "code", 0.25)  # the whole text is there: too late
    eventually(lambda: is_old(page, "#answer-adapted"))
    assert answered(page) == "answering with code 1.00, then code 0.50 old: sliders moved"
    client.hold_end = False
    wait_state(page, "done")
    assert answered(page) == "answered with code 1.00, then code 0.50 old: sliders moved"


@pytest.mark.slow
def test_many_coefficients_are_said_in_short_and_none_as_the_base_model(visit):
    page = visit("?mix=code=0.5,math=-0.25,reasoning=1,dispatch=0.125")
    ask(page)
    wait_state(page, "done")
    assert answered(page) == "answered with reasoning 1.00, code 0.50, math −0.25 and 1 more"
    assert "dispatch 0.13" in page.locator("#answered-adapted").get_attribute("title")
    page.locator("#mix-reset").click()
    page.click("#ask")
    page.locator("#answered-adapted", has_text="the base model").wait_for()
    wait_state(page, "done")
    assert not is_old(page, "#answer-adapted")


# --- the next token ------------------------------------------------------------------------------


def test_the_next_token_never_shows_old_numbers_in_new_colours(visit, client):
    page = visit("?mix=code=1")
    page.locator("#prompt textarea").fill("Write a function")
    card = page.locator("#next-token")
    page.locator("#next-token .foot", has_text="KL 0.65 nats").wait_for()
    bar = "#next-token .pair-bar.mix b"
    assert colour(page, bar, "backgroundColor") == ORANGE and not is_old(page, "#next-token")
    numbers = card.locator(".next-rows").inner_text()
    client.hold_next = True
    slide(page, "math", 1.5)
    eventually(lambda: is_old(page, "#next-token"))
    assert colour(page, ".gradio-container", "getPropertyValue('--t2-mix')") == "#0072B2"
    assert card.locator(".next-rows").inner_text() == numbers
    assert colour(page, bar, "backgroundColor") == ORANGE, "the old numbers keep their colour"
    foot = card.locator(".foot").last.inner_text()
    assert foot == "old: the new numbers are on their way" and "KL" not in card.inner_text()
    eventually(lambda: grey(page, "#next-token .next-rows"))
    client.hold_next = False
    eventually(lambda: not is_old(page, "#next-token"))
    assert colour(page, bar, "backgroundColor") == BLUE and "KL" in card.inner_text()
    client.hold_next = True
    page.locator("#prompt textarea").fill("Write a function in C")
    eventually(lambda: is_old(page, "#next-token"))
    client.hold_next = False
    page.locator("#prompt textarea").fill("Write a function")
    eventually(lambda: not is_old(page, "#next-token"))


def test_the_next_token_says_what_was_left_out_of_a_long_prompt(visit, client, monkeypatch):
    plain = client._next_token

    def long(request):
        (at, found), done = plain(request)
        return [(at, NextTokens(found.candidates, found.kl, found.seconds, 1240)), done]

    monkeypatch.setattr(client, "_next_token", long)
    page = visit()
    page.locator("#prompt textarea").fill("A long story. " * 200)
    line = page.locator("#next-token .left-out")
    line.wait_for()
    assert line.inner_text() == "long prompt: 1,240 tokens in its middle left out here"
    card = page.locator("#next-token").bounding_box()
    foot = page.locator("#next-token .foot").last.bounding_box()
    assert line.evaluate("(e) => e.scrollWidth <= e.clientWidth"), "it is not cut"
    assert foot["y"] + foot["height"] <= card["y"] + card["height"] + 1
    assert page.evaluate("document.documentElement.scrollHeight") == 720
    page.screenshot(path=SHOTS / "next-token-long.png")
    assert isinstance(client.requests[-1], NextToken)


def test_the_next_token_of_a_list_of_options_is_their_chances(visit, client, monkeypatch):
    plain, options = client._next_token, (("ice", 0.2, 0.7), ("a very heavy stone", 0.8, 0.3))

    def closed(request):
        (at, found), done = plain(request)
        return [(at, replace(found, options=options)), done]

    monkeypatch.setattr(client, "_next_token", closed)
    page = visit()
    page.locator("#prompt textarea").fill("What melts?\nA) ice\nB) a very heavy stone")
    page.locator("#next-token .of-options").wait_for()
    assert page.locator("#next-token .option").all_inner_texts() == [
        "ice",
        "a very heavy stone",
    ]
    assert page.locator("#next-token .next-row.best .option").inner_text() == "ice"
    assert page.locator("#next-token .pair-bar em").all_inner_texts() == [
        *(".20", ".70"),
        *(".80", ".30"),
    ]
    assert page.evaluate("document.documentElement.scrollHeight") == 720
    page.screenshot(path=SHOTS / "next-token-options.png")


# --- a long answer -------------------------------------------------------------------------------


def scrolled(page, pane="adapted"):
    """(from its top, from its end) in pixels."""
    return page.locator(f"#answer-{pane} .text").evaluate(
        "(e) => [e.scrollTop, e.scrollHeight - e.clientHeight - e.scrollTop]"
    )


@pytest.fixture
def long_answers(monkeypatch):
    import fake_answers

    monkeypatch.setattr(fake_answers, "BASE_TEXT", LONG)
    monkeypatch.setattr(fake_answers, "ADAPTED_TEXT", LONG.replace("sentence", "statement"))


def test_a_long_answer_is_followed_and_then_stands_at_its_beginning(visit, client, long_answers):
    client.hold_end = True
    page = visit()
    ask(page)
    wait_state(page, "streaming")
    eventually(lambda: scrolled(page)[0] > 90 and scrolled(page)[1] < 2)
    client.hold_end = False
    wait_state(page, "done")
    assert [scrolled(page, pane)[0] for pane in ("adapted", "base")] == [0, 0]


@pytest.mark.slow
def test_a_long_answer_stays_where_a_hand_has_put_it(visit, client, long_answers):
    client.hold_end = True
    page = visit()
    ask(page)
    wait_state(page, "streaming")
    eventually(lambda: scrolled(page)[0] > 90 and scrolled(page)[1] < 2)
    page.locator("#answer-adapted .text").hover()
    page.mouse.wheel(0, -70)
    eventually(lambda: scrolled(page)[1] > 60)
    place = scrolled(page)[0]
    client.hold_end = False
    wait_state(page, "done")
    assert scrolled(page)[0] == place > 0, "no jump"
    assert scrolled(page, "base")[0] == 0
    client.hold_end = True
    page.click("#ask")  # the next question is followed anew
    eventually(lambda: scrolled(page)[0] > 90 and scrolled(page)[1] < 2)
    client.hold_end = False
    wait_state(page, "done")
    assert scrolled(page)[0] == 0


# --- Enter during an answer ----------------------------------------------------------------------


def test_enter_and_ask_during_an_answer_say_what_to_do(visit, client):
    client.hold_end = True
    page = visit()
    ask(page)
    wait_state(page, "streaming")
    box = page.locator("#prompt textarea")
    prompt = box.input_value()
    tip = page.get_by_role("alert")
    box.press("Enter")
    assert tip.inner_text() == "Still answering. Press Stop first, then ask again."
    assert box.input_value() == prompt
    page.keyboard.press("Escape")
    assert tip.count() == 0
    page.locator("#ask").click()
    tip.wait_for()
    page.screenshot(path=SHOTS / "ask-still-answering.png")
    assert len([r for r in client.requests if isinstance(r, Ask)]) == 1
    page.click("#stop")
    wait_state(page, "stopped")
    assert tip.count() == 0
    client.hold_end = False
    box.press("Enter")
    wait_state(page, "done")
    assert len([r for r in client.requests if isinstance(r, Ask)]) == 2


def test_what_was_said_goes_when_the_answer_has_ended(visit, client):
    client.hold_end = True
    page = visit()
    ask(page)
    wait_state(page, "streaming")
    page.locator("#prompt textarea").press("Enter")
    page.get_by_role("alert").wait_for()
    client.hold_end = False
    wait_state(page, "done")
    page.get_by_role("alert").wait_for(state="detached")


@pytest.mark.parametrize("ms", [20, *map(rare, (0, 300))])
def test_a_question_right_after_stop_is_not_lost(visit, client, ms):
    client.hold_end = True
    page = visit()
    ask(page)
    wait_state(page, "streaming")
    page.evaluate(
        "(ms) => { document.querySelector('#stop').click();"
        "setTimeout(() => document.querySelector('#ask').click(), ms); }",
        ms,
    )
    eventually(lambda: len([r for r in client.requests if isinstance(r, Ask)]) == 2)
    client.hold_end = False
    wait_state(page, "done")
    assert len([r for r in client.requests if isinstance(r, Ask)]) == 2


# --- tokens and the permalink --------------------------------------------------------------------


def test_tokens_are_quoted_and_what_would_not_be_seen_is_visible(visit, client, monkeypatch):
    rows = (("\n", 0.5, 0.5), ('"', 0.2, 0.2), (" a\t", 0.1, 0.1), ("\u200b", 0.1, 0.1))
    events = [(0.0, NextTokens(rows, 0.0, 0.1)), (0.0, Done())]
    monkeypatch.setattr(client, "_next_token", lambda request: events)
    page = visit()
    ask(page)
    wait_state(page, "done")
    page.locator("#answer-adapted .token", has_text="short").hover()
    tip = page.locator(".t2-tip")
    tip.wait_for()
    assert tip.locator("p code").inner_text() == "“·short”"
    assert tip.locator(".cand code").all_inner_texts() == [
        *("“·short”", "“·the”", "“⏎”"),
        *("“·a”", "“·short”", "“·the”"),
    ]
    shown = page.locator("#next-token .next-row code").all_inner_texts()
    assert shown == ["“⏎”", '“"”', "“·a⇥”", "“⟨U+200B⟩”"]


def test_no_sheet_prints_null(visit):
    page = visit()
    page.locator("#prompt textarea").fill("Hi")
    for button, sheet in (
        ("receipt", "#receipt-sheet"),
        ("show the code", "#code-sheet pre"),
        ("permalink", "#link-sheet input"),
    ):
        page.get_by_role("button", name=button).first.click()
        page.locator(sheet).wait_for()
        said = page.locator(sheet.split()[0]).evaluate("(e) => e.textContent")
        assert "null" not in said and "undefined" not in said
        page.keyboard.press("Escape")


def test_tokens_are_tinted_by_their_likelihood_or_by_kl(visit):
    """A token can be as likely as before where everything beside it has changed."""
    page = visit()
    ask(page)
    wait_state(page, "done")
    tokens = page.locator("#answer-adapted .token")
    tints = page.locator("#answer-adapted .tints")
    before = [one.evaluate("(e) => e.style.background") for one in tokens.all()[:6]]
    assert tints.get_attribute("aria-pressed") == "false" and any("--t2-" in t for t in before)
    tints.click()
    assert tints.get_attribute("aria-pressed") == "true"
    after = [one.evaluate("(e) => e.style.background") for one in tokens.all()[:6]]
    assert any("--t2-accent" in t for t in after) and not any("--t2-up" in t for t in after)
    tokens.nth(1).hover()
    page.locator(".t2-tip", has_text="KL (adapted ‖ base) at this place").wait_for()
    tints.click()
    assert [one.evaluate("(e) => e.style.background") for one in tokens.all()[:6]] == before
