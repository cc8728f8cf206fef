"""The Learn page in a real browser: six steps, a question before each one's thing to move."""

import browsing
import numpy as np
import pytest
from browsing import PHONE, SHOTS, eventually, rare, serve
from fake_client import FakeClient
from looks import PALE, TARGET, TOO_SMALL

from t2ui.messages import Ask, Component, Failed

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit

# Which option is right in each step on the test double, and what moves a step so far that it says.
RIGHT = ("an ellipse", "a line", "about 5", "more than 1 in 5", "at 1.", "code")
SLIDERS = {1: ("#learn-angle", 360), 3: ("#learn-k", 6), 4: ("#learn-held", 130)}
MATRIX = "model.layers.15.mlp.down_proj"  # the double's own default


def step(page, number):
    page.locator(f".learn-step[data-step='{number}']").wait_for()


def say(page, option):
    page.locator(".learn-step .options label", has_text=option).first.click()


def lit(page):
    return set(
        page.evaluate(
            "[...document.querySelectorAll('.learn-step .lit')].map((e) => e.dataset.symbol)"
        )
    )


def move(page, number):
    """The hand's part of a step."""
    if number in SLIDERS:
        page.locator(SLIDERS[number][0]).fill(str(SLIDERS[number][1]))
    if number == 2:
        page.locator("#learn-z2").focus()
        page.keyboard.press("Home")
    if number == 5:
        page.locator("#learn-alpha").fill("2")


def ready(page, number):
    """Until the worker's part of a step is there."""
    step(page, number)
    if number in (4, 5):
        page.locator(".learn-step select option").first.wait_for(state="attached")


def verdict(page):
    return page.locator(".learn-step .verdict").inner_text()


def test_a_link_opens_its_step_and_each_step_has_one(visit, app):
    page = visit("?learn=3")
    step(page, 3)
    assert page.get_by_role("tab", name="Learn").get_attribute("aria-selected") == "true"
    page.locator(".learn-foot .next").click()
    step(page, 4)
    assert page.url == f"{app[1]}?learn=4"
    page.locator(".learn-steps a").first.click()
    step(page, 1)
    page.get_by_role("tab", name="Ask").click()
    page.locator("#ask").wait_for()
    eventually(lambda: page.url == f"{app[1]}?tab=ask")  # another page is no step of Learn
    nonsense = visit("?learn=9e9")
    step(nonsense, 1)


def test_nothing_moves_before_the_question_is_answered_and_then_it_says(visit):
    page = visit("?learn=1")
    step(page, 1)
    assert page.locator("#learn-angle").is_disabled()
    page.locator(".plane").click(position={"x": 200, "y": 100})
    page.get_by_role("alert").get_by_text("Answer the question first").wait_for()
    assert verdict(page) == "" and not lit(page)
    say(page, "a square")
    page.locator("#learn-angle").fill("100")
    assert verdict(page) == "", "it has seen a part of the ellipse only"
    assert lit(page) == {"x"}
    page.locator("#learn-angle").fill("360")
    assert verdict(page).startswith("Not quite. An ellipse")
    assert "s₁ = 1.80 and s₂ = 0.70" in verdict(page)
    say(page, "an ellipse")
    assert verdict(page).startswith("As you said.")


@pytest.mark.slow
def test_the_circle_can_be_walked_by_hand_past_its_start(visit):
    page = visit("?learn=1")
    step(page, 1)
    say(page, "an ellipse")
    box = page.locator(".plane").bounding_box()
    x, y, r = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, 90
    page.mouse.move(x + r, y - 20)
    page.mouse.down()
    for i in range(26):
        angle = 2 * np.pi * i / 24 + 0.2
        page.mouse.move(x + r * np.cos(angle), y - r * np.sin(angle))
    page.mouse.up()
    assert verdict(page).startswith("As you said.")


@pytest.mark.slow
def test_a_knob_is_turned_by_keys_and_by_dragging(visit):
    page = visit("?learn=2")
    step(page, 2)
    knob = page.get_by_role("slider", name="z₂")
    assert knob.get_attribute("aria-valuetext") == "1.00", "straight up"
    knob.focus()
    page.keyboard.press("ArrowUp")
    assert knob.get_attribute("aria-valuetext") == "1.00", "it is locked"
    say(page, "a line")
    knob.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("PageDown")
    assert knob.get_attribute("aria-valuetext") == "0.70"
    assert lit(page) == {"z2"} and "0.70 × 0.70 = 0.49" in page.locator(".values").inner_text()
    box = knob.bounding_box()
    page.mouse.move(box["x"] + 36, box["y"] + 36)
    page.mouse.down()
    page.mouse.move(box["x"] + 36, box["y"] + 116)
    page.mouse.up()
    assert knob.get_attribute("aria-valuetext") == "0.00"
    assert verdict(page).startswith("As you said. A line")


def test_the_picture_is_taken_apart_as_numpy_does_it(visit):
    page = visit("?learn=3")
    step(page, 3)
    picture = np.array(page.evaluate("t2ui.learn.picture()"))
    found = page.evaluate(
        """() => {
            const plain = (rows) => rows.map((row) => [...row]);
            const { s, U, Vh } = t2ui.learn.svd(t2ui.learn.picture());
            return { s, U: plain(U), Vh: plain(Vh) };
        }"""
    )
    u, s, vh = np.linalg.svd(picture)
    assert picture.shape == (96, 96) and np.allclose(found["s"], s, atol=1e-8)
    rebuilt = (np.array(found["U"]).T * found["s"]) @ np.array(found["Vh"])
    assert np.allclose(rebuilt, picture, atol=1e-8)
    say(page, "about 30")
    page.locator("#learn-k").fill("6")
    assert lit(page) == {"z"}
    share = s[:6].sum() / s.sum()
    assert f"the first 6 of 96 hold {100 * share:.0f} % of Σs" in verdict(page)

    def shown():
        data = page.locator("canvas.whole").evaluate(
            "(e) => [...e.getContext('2d').getImageData(0, 0, 96, 96).data]"
        )
        return np.array(data).reshape(96, 96, 4)[..., 0]

    assert np.abs(shown() - 255 * ((u[:, :6] * s[:6]) @ vh[:6]).clip(0, 1)).max() < 1
    page.locator("#learn-i").fill("2")
    page.locator("#learn-zi").focus()
    page.keyboard.press("End")
    z = np.array([1, 3, 1, 1, 1, 1])
    assert np.abs(shown() - 255 * ((u[:, :6] * s[:6] * z) @ vh[:6]).clip(0, 1)).max() < 1


def test_the_first_three_need_no_model_and_the_others_say_that_they_wait(visit, client):
    client.loading = True
    page = visit("?learn=1", wait=False)
    for number in (1, 2, 3):
        step(page, number)
        say(page, RIGHT[number - 1])
        move(page, number)
        assert verdict(page).startswith("As you said.")
        page.locator(".learn-foot .next").click()
    step(page, 4)
    page.get_by_text("Steps 1 to 3 need no model").wait_for()
    assert not [one for one in client.requests if isinstance(one, Component)]
    client.loading = False
    page.locator(".spectrum").wait_for()
    assert page.locator(".learn-steps .done").count() == 3


def test_the_matrix_is_that_of_the_library(visit, client):
    page = visit("?learn=4")
    ready(page, 4)
    (_, event), _ = client._component(Component(MATRIX, {"math": 1.0}))
    half = int(np.searchsorted(event.captured, 0.5)) + 1
    words = page.locator(".learn-step .words").inner_text()
    assert f"layer 15, down, 576 × 1536, 576 singular values from {event.sigma[0]:.2f}" in words
    say(page, "more than 1 in 5")
    page.locator("#learn-held").fill(str(half - 1))
    assert verdict(page) == "" and lit(page) == {"s"}
    page.locator("#learn-held").fill(str(half))
    assert verdict(page).startswith(f"As you said. {half} of 576")
    assert f"the first {half} components hold 50 %" in page.locator(".values").inner_text()
    page.locator("#learn-matrix-module").select_option("k_proj")
    page.locator(".learn-step .words", has_text="k, 192 × 576, 192 singular").wait_for()


def test_the_knobs_are_those_of_the_expert(visit, client):
    page = visit("?learn=5")
    ready(page, 5)
    z = FakeClient.z(MATRIX, {"math": 1.0})
    knobs = page.locator(".rack output").all_inner_texts()
    assert knobs == [f"{one:.3f}" for one in z[:16]]
    assert "97,920 such numbers in 210 matrices" in page.locator(".learn-step .words").inner_text()
    place = int(abs(z[:16] - 1).argmax())
    twice = f"{1 + 2 * (z[place] - 1):.3f}"
    say(page, twice)
    page.locator("#learn-alpha").fill("0")
    assert page.locator(".rack output").all_inner_texts() == ["1.000"] * 16
    assert "exactly the base model" in page.locator(".values").inner_text()
    page.locator("#learn-alpha").fill("2")
    assert page.locator(".rack output").nth(place).inner_text() == twice
    assert verdict(page).startswith(f"As you said. At {twice}") and lit(page) == {"alpha"}
    page.locator("#learn-expert-expert").select_option("code")
    page.locator(".learn-step .words", has_text="The code expert").wait_for()
    other = 1 + 2 * (FakeClient.z(MATRIX, {"code": 1.0}) - 1)
    eventually(lambda: page.locator(".rack output").first.inner_text() == f"{other[0]:.3f}")


def test_the_last_step_reads_a_prompt_and_ends_on_ask(visit, client):
    page = visit("?learn=6")
    step(page, 6)
    page.get_by_text("Answer the question first: then pass one").wait_for()
    assert not [one for one in client.requests if isinstance(one, Ask)]
    say(page, "math")
    page.locator(".pass-row").first.wait_for()
    (asked,) = (one for one in client.requests if isinstance(one, Ask))
    assert "15 marbles" in asked.prompt and asked.sampling.max_new_tokens == 1 and not asked.compare
    assert page.locator(".pass-row em").all_inner_texts() == ["0.93", "0.02", "0.02", "0.02"]
    assert verdict(page).startswith("Not quite. It chose code with a probability of 0.93")
    page.get_by_role("button", name="Fibonacci in Python").click()
    page.locator("blockquote", has_text="Fibonacci").wait_for()
    page.get_by_role("button", name="Ask it").click()
    page.locator("#prompt textarea").wait_for()
    assert "Fibonacci" in page.locator("#prompt textarea").input_value()
    eventually(lambda: page.evaluate("document.activeElement.id") == "ask")
    assert page.evaluate("location.search") == "?tab=ask"


@pytest.mark.slow
def test_a_worker_that_fails_says_so_and_can_be_asked_again(visit, client, monkeypatch):
    with monkeypatch.context() as patch:
        lost = Failed("The model worker stopped.", "It is restarting.")
        patch.setattr(client, "_component", lambda request: [(0.0, lost)])
        page = visit("?learn=4")
        page.get_by_text("It is restarting.").wait_for()
    page.get_by_role("button", name="try again").click()
    page.locator(".spectrum").wait_for()


@pytest.mark.parametrize("theme", ["dark", rare("light")])
def test_every_step_fits_a_projector_and_stands_out(visit, theme):
    page = visit("?learn=1", color_scheme=theme, reduced_motion="reduce")
    for number in range(1, 7):
        ready(page, number)
        assert page.evaluate(PALE) == [], number
        say(page, RIGHT[number - 1])
        move(page, number)
        page.locator(".learn-step.seen").wait_for()
        page.screenshot(path=SHOTS / f"learn-{number}-{theme}.png")
        assert page.evaluate(PALE) == [], number
        assert page.evaluate("document.documentElement.scrollHeight") == 720
        after = (
            "[...document.querySelectorAll('.after')].map((e) => e.scrollHeight - e.clientHeight)"
        )
        assert page.evaluate(after) == [0], f"step {number} is cut"
        page.locator(".learn-steps a").nth(min(number, 5)).click()


def test_every_step_fits_a_phone_and_fingers(visit):
    page = visit("?learn=1", **PHONE)
    for number in range(1, 7):
        ready(page, number)
        page.locator(".learn-step .options label").first.tap()
        move(page, number)
        page.locator(".learn-step.seen").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate(TOO_SMALL, [".t2-learn", TARGET]) == [], number
        page.screenshot(path=SHOTS / f"learn-phone-{number}.png", full_page=True)
        page.locator(".learn-steps a").nth(min(number, 5)).tap()


def top_of_title(page, number):
    """Where a step's title stands below the header, once it has come to rest."""
    step(page, number)
    header = page.locator("#header").bounding_box()
    title = page.locator(f"#learn-title-{number}").bounding_box()
    return title["y"] - header["y"] - header["height"]


def test_a_step_begins_with_its_title_below_the_header_of_a_phone(visit):
    page = visit("?learn=1", **PHONE)
    ready(page, 1)
    for number in range(2, 7):
        page.locator(".learn-foot .next").tap()
        eventually(lambda n=number: 0 <= top_of_title(page, n) < 40)
    page.locator(".learn-foot .chip").first.tap()
    eventually(lambda: 0 <= top_of_title(page, 5) < 40)


def test_a_hint_of_another_page_leads_to_the_beginning_of_its_step(visit):
    page = visit(**PHONE)
    for visits in ("the first", "another one"):
        page.get_by_role("tab", name="Ask").tap()
        hint = page.get_by_role("button", name="About Pass one")
        hint.tap()
        assert page.evaluate("scrollY") > 200, visits
        page.get_by_role("link", name="Learn it: step 6").tap()
        eventually(lambda: 0 <= top_of_title(page, 6) < 40)
        assert page.evaluate("document.activeElement.id") == "learn-title-6", visits


def test_an_expert_with_the_longest_name_stays_on_the_card(visit):
    longest = "mw" * 20  # as many letters as a name may have, and wide ones
    fake = FakeClient((longest, "math"), pace=0.1)
    url, close = serve(fake)
    page = visit("?learn=5", url=url, **PHONE)
    try:
        ready(page, 5)
        page.locator("#learn-expert-expert").select_option(longest)
        page.locator(".learn-step .words", has_text=longest).wait_for()
        card = page.locator("#learn-card").bounding_box()
        for part in ("#learn-expert-expert", ".learn-slider output", ".learn-step .values"):
            box = page.locator(part).bounding_box()
            assert box["x"] + box["width"] <= card["x"] + card["width"] - 8, part
        assert page.locator("#learn-card").evaluate("(e) => e.scrollWidth <= e.clientWidth")
        page.screenshot(path=SHOTS / "learn-longest-name.png", full_page=True)
    finally:
        page.context.close()  # before its server
        close()


# --- large type ----------------------------------------------------------------------------------

SMALL = """[...document.querySelectorAll('.learn-step *')].filter((e) =>
    e.checkVisibility() && !e.closest('svg, sub')
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())
    && parseFloat(getComputedStyle(e).fontSize) < 18).map((e) => e.className + e.textContent)"""


@pytest.mark.parametrize("theme", ["dark", rare("light")])
def test_every_step_is_one_screen_in_large_type_too(visit, theme):
    page = visit("?learn=1&present=1", color_scheme=theme, reduced_motion="reduce")
    size = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    for number in range(1, 7):
        ready(page, number)
        eventually(lambda: page.evaluate("document.documentElement.id") == "t2-present")
        assert page.evaluate(size) == [1280, 720], number
        say(page, RIGHT[number - 1])
        move(page, number)
        page.locator(".learn-step.seen").wait_for()
        page.screenshot(path=SHOTS / f"present-learn-{number}-{theme}.png")
        assert page.evaluate(size) == [1280, 720], number
        for part in (".learn-step > *", ".pass", ".learn-foot .chip"):
            foot = [box["y"] + box["height"] for box in boxes(page, part)]
            assert max(foot, default=0) <= 712, (number, part)
        cut = "[...document.querySelectorAll('.after')].map((e) => e.scrollHeight - e.clientHeight)"
        assert page.evaluate(cut) == [0], f"step {number} is cut"
        assert page.evaluate(SMALL) == [], number
        assert page.evaluate(PALE) == [], number
        page.locator(".learn-steps a").nth(min(number, 5)).click()


def boxes(page, selector):
    return [one.bounding_box() for one in page.locator(selector).all() if one.is_visible()]


@pytest.mark.slow
def test_large_type_stays_in_the_address_from_step_to_step(visit, app):
    page = visit("?learn=1&present=1")
    step(page, 1)
    page.locator(".learn-foot .next").click()
    step(page, 2)
    assert page.url == f"{app[1]}?learn=2&present=1"
    page.click("#present")
    page.locator(".learn-foot .next").click()
    step(page, 3)
    assert page.url == f"{app[1]}?learn=3", "it was left"


def test_the_keyboard_alone_is_enough(visit):
    page = visit("?learn=2")
    step(page, 2)
    page.locator(".learn-steps a").first.focus()
    page.keyboard.press("Enter")
    step(page, 1)
    page.keyboard.press("Tab")  # from the step's title to the question
    page.keyboard.press("ArrowDown")
    assert page.locator(".options input").nth(1).is_checked()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "learn-angle"
    page.keyboard.press("End")
    assert verdict(page).startswith("As you said.")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "next: knobs →"
    page.keyboard.press("Enter")
    step(page, 2)
    assert page.evaluate("document.activeElement.textContent") == "Its singular values are knobs"
    nameless = page.locator(".t2-learn :is(a, button, input, select, [tabindex='0'])").evaluate_all(
        "all => all.filter((e) => e.checkVisibility() && !(e.ariaLabel || e.textContent.trim() "
        "|| e.labels?.length)).map((e) => e.outerHTML.slice(0, 120))"
    )
    assert nameless == []


# --- hints of other pages ------------------------------------------------------------------------


def test_a_hint_leads_to_its_step_by_mouse_and_by_keyboard(visit):
    page = visit()
    about = page.get_by_role("button", name="About Mixture")
    about.click()
    page.get_by_role("link", name="Learn it: step 5").click()
    ready(page, 5)
    page.get_by_role("tab", name="Ask").click()
    page.get_by_role("button", name="About Pass one").focus()
    page.keyboard.press("Enter")
    eventually(lambda: page.evaluate("document.activeElement.textContent") == "Learn it: step 6")
    page.keyboard.press("Escape")
    assert page.locator(".t2-tip").count() == 0
    assert page.evaluate("document.activeElement.ariaLabel") == "About Pass one"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    step(page, 6)
    assert page.evaluate("location.search") == "?learn=6"


@pytest.mark.slow
def test_a_hint_leads_to_its_step_by_touch(visit):
    page = visit("?tab=inspect", **PHONE)
    page.wait_for_selector("#heatmap .plot[data-ready]")
    page.locator("#inspect-look [data-testid=block-info]").tap()
    link = page.get_by_role("link", name="Learn it: step 5")
    assert link.bounding_box()["height"] >= TARGET
    link.tap()
    step(page, 5)
