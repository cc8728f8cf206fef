"""Pages for everybody: fingers, keyboards, screen readers, weak eyes, right-to-left text."""

import browsing
import pytest
from browsing import PHONE, SHOTS, ask, eventually, rare, slide, wait_state
from looks import PALE

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit

HEBREW = "לתום היו 35 מדבקות והוא נתן 12."


def open_page(page, name):
    """Open a page by its tab, with something on it."""
    page.get_by_role("tab", name=name).click()
    if name == "Adapt":
        page.locator("#adapt-examples").get_by_role("button", name="arithmetic").click()
        page.wait_for_selector(".ex-row.held")
        page.click("#adapt-start")
        page.wait_for_selector("#adapt-search [data-state=done]", state="attached")
        page.wait_for_selector("#adapt-use")
    if name == "Inspect":
        page.wait_for_selector("#heatmap .plot[data-ready]")
        plot = page.locator("#heatmap .nsewdrag").first
        plot.click(position={"x": 40, "y": 100})  # a layer
        page.locator("#heatmap .ytick", has_text="gate").wait_for()
        plot.click(position={"x": 40, "y": 100})  # one of its matrices
        page.wait_for_selector("#component-plot .plot[data-ready]")


# --- headings and names --------------------------------------------------------------------------


def test_every_page_has_one_heading_of_the_first_order_and_it_names_the_page(visit):
    page = visit()
    for name in ("Learn", "Ask", "Adapt", "Inspect"):
        page.get_by_role("tab", name=name).click()
        eventually(lambda name=name: page.title() == f"{name} · t2ui")
        headings = page.locator("h1").all_text_contents()
        assert headings == [f"t2ui{name}"]
    orders = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')]"
        ".filter((e) => e.checkVisibility()).map((e) => Number(e.tagName[1]))"
    )
    assert orders[0] == 1 and set(orders) == {1, 2}, "no order is left out"


def test_whatever_has_the_focus_has_a_name(visit):
    page = visit()
    for name in ("Adapt", "Inspect"):
        open_page(page, name)
        nameless = page.evaluate("""() => [...document.querySelectorAll(
                'button, input:not([type=file]), select, textarea, [tabindex="0"]')]
            .filter((e) => e.checkVisibility() && !e.closest('.modebar, li'))
            .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length
                || e.getAttribute('aria-labelledby')))
            .map((e) => e.outerHTML.slice(0, 120))""")
        assert not nameless, nameless


# --- contrast ------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["dark", rare("light")])
def test_all_text_stands_out_from_its_ground(visit, client, theme):
    page = visit(color_scheme=theme, reduced_motion="reduce")
    ask(page)
    wait_state(page, "streaming")
    assert page.evaluate(PALE) == [], "Ask, while it answers"
    wait_state(page, "done")
    assert page.evaluate(PALE) == [], "Ask"
    slide(page, "math", 0.6)
    page.locator("#set-by", has_text="you").wait_for()
    assert page.evaluate(PALE) == [], "Ask, with an answer of other sliders"
    page.click("#settings-open")
    page.locator("#settings-panel:popover-open").wait_for()
    assert page.evaluate(PALE) == [], "the settings"
    page.keyboard.press("Escape")
    open_page(page, "Adapt")
    assert page.evaluate(PALE) == [], "Adapt"
    client.hold_after = 1
    page.click("#adapt-start")
    page.wait_for_selector("#adapt-search [data-state=working]", state="attached")
    assert page.evaluate(PALE) == [], "Adapt, while it searches"
    client.hold_after = None
    open_page(page, "Inspect")
    assert page.evaluate(PALE) == [], "Inspect"
    page.locator("#inspect-look input").click()
    page.get_by_role("option").first.wait_for()
    assert page.evaluate(PALE) == [], "a list of choices"
    page.screenshot(path=SHOTS / f"access-{theme}.png")


# --- fingers -------------------------------------------------------------------------------------

# Targets that a finger may miss, with their sizes. One that is drawn smaller than 44 pixels must
# still be hit 21 pixels from its middle.
SMALL = """(root) => {
    const inside = 'button, a[href], .modebar-btn, select, textarea, [role=option], '
        + 'input:not([type=file]), li[tabindex]';
    const targets = [...document.querySelectorAll(root)]
        .flatMap((part) => [...part.querySelectorAll(inside)])
        .map((e) => e.matches('[type=checkbox], [type=radio]') ? e.closest('label') : e)
        .filter((e) => e.checkVisibility({ visibilityProperty: true }));
    const found = [];
    for (const e of new Set(targets)) {
        e.scrollIntoView({ block: 'center' });
        const { left, top, width, height } = e.getBoundingClientRect();
        if (width >= 43.5 && height >= 43.5) continue;
        const [x, y] = [left + width / 2, top + height / 2];
        const hit = (dx, dy) => e.contains(document.elementFromPoint(x + dx, y + dy));
        if (hit(-21, 0) && hit(21, 0) && hit(0, -21) && hit(0, 21)) continue;
        found.push(`${Math.round(width)} × ${Math.round(height)} ${e.outerHTML.slice(0, 100)}`);
    }
    return found;
}"""


@pytest.mark.parametrize("name", ["Inspect", rare("Adapt")])
def test_targets_are_large_enough_for_fingers(visit, name):
    page = visit(**PHONE)
    assert page.evaluate("matchMedia('(pointer: coarse)').matches")
    open_page(page, name)
    part = f"#{name.lower()}"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate(SMALL, part) == []
    assert page.evaluate(SMALL, "#header, #pages > .tab-wrapper") == []
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=SHOTS / f"phone-{name.lower()}-fingers.png")
    opener = "button:has-text('permalink'):visible" if name == "Inspect" else "text=paste >> nth=0"
    page.locator(part).locator(opener).first.tap()
    page.locator(".sheet:popover-open").wait_for()
    assert page.evaluate(SMALL, ".sheet:popover-open") == []


@pytest.mark.slow
def test_a_mouse_keeps_the_small_ones(visit):
    page = visit()
    open_page(page, "Adapt")
    assert page.locator("#adapt-save").bounding_box()["height"] == 25
    assert page.locator("#adapt-start").bounding_box()["height"] == 36


# --- hints ---------------------------------------------------------------------------------------


def hint(page):
    return page.locator(".t2-tip[role=tooltip]")


def test_hints_open_by_keyboard(visit):
    page = visit()
    page.get_by_role("tab", name="Inspect").click()
    page.wait_for_selector("#heatmap .plot[data-ready]")
    assert hint(page).count() == 0
    about = page.get_by_role("button", name="About Change of every singular value")
    page.get_by_role("tab", name="Inspect").focus()
    for _ in range(25):
        page.keyboard.press("Tab")
        if about.evaluate("e => e === document.activeElement"):
            break
    hint(page).wait_for()
    assert "Red is turned up, blue is turned down" in hint(page).inner_text()
    page.keyboard.press("Escape")
    assert hint(page).count() == 0
    page.locator("#save-heatmap").focus()
    assert "every matrix on a line of its own" in hint(page).inner_text()
    page.locator("#inspect-log input").focus()
    assert "Singular values span decades" in hint(page).inner_text(), "of what Gradio draws"
    described = page.evaluate("document.activeElement.ariaDescription")
    assert described and described.startswith("Singular values span decades")
    page.locator("#heatmap .plot").focus()
    assert hint(page).count() == 0, "it goes with the focus"


@pytest.mark.slow
def test_the_mouse_has_the_browsers_own_hints(visit):
    page = visit()
    page.get_by_role("tab", name="Inspect").click()
    page.locator("#inspect-look input").click()
    page.locator("#inspect-look input").hover()
    assert hint(page).count() == 0
    assert page.locator("#inspect-look").get_attribute("title").startswith("z − 1 for an expert")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="About Look at").click()
    hint(page).wait_for()
    page.locator("#matrix h2").click()
    assert hint(page).count() == 0, "a click elsewhere closes it"


def test_hints_open_by_touch(visit):
    page = visit(**PHONE)
    page.get_by_role("tab", name="Inspect").tap()
    page.wait_for_selector("#heatmap .plot[data-ready]")
    page.get_by_role("button", name="About Look at").tap()
    assert "z − 1 of an expert" in hint(page).inner_text()
    page.locator("#map h2").tap()
    assert "Red is turned up" in hint(page).inner_text(), "a card's title does too"
    box = hint(page).bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    page.screenshot(path=SHOTS / "phone-hint.png")
    page.locator("#inspect-compare [data-testid=block-info]").tap()
    assert "the difference of the two" in hint(page).inner_text(), "and the name of a field"
    assert page.evaluate("document.activeElement.tagName") != "INPUT", "no keyboard over it"
    marked = "e => getComputedStyle(e).textDecorationLine"
    assert page.locator("#inspect-compare [data-testid=block-info]").evaluate(marked) == "underline"


@pytest.mark.slow
def test_where_there_is_no_pointer_fields_with_a_hint_are_marked(visit):
    page = visit(**PHONE)
    page.get_by_role("tab", name="Adapt").tap()
    for field in ("method", "objective", "budget"):
        name = page.locator(f"#adapt-{field} [data-testid=block-info]")
        assert name.evaluate("e => getComputedStyle(e).textDecorationLine") == "underline"
    page = visit()
    page.get_by_role("tab", name="Adapt").click()
    name = page.locator("#adapt-method [data-testid=block-info]")
    assert name.evaluate("e => getComputedStyle(e).textDecorationLine") == "none"


@pytest.mark.slow
def test_a_long_press_says_what_a_button_does_and_does_not_press_it(visit, client):
    page = visit(**PHONE)
    page.get_by_role("tab", name="Adapt").tap()
    page.locator("#adapt-examples").get_by_role("button", name="arithmetic").tap()
    page.wait_for_selector(".ex-row.held")
    start = page.locator("#adapt-start")
    start.scroll_into_view_if_needed()
    box = start.bounding_box()
    point = [{"x": box["x"] + 60, "y": box["y"] + 20}]
    touch = page.context.new_cdp_session(page)
    client.requests.clear()
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": point})
    hint(page).wait_for()
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert "Search the mixture" in hint(page).inner_text()
    page.wait_for_timeout(300)
    assert page.locator("#adapt-search [data-state=empty]").count() == 1, "nothing was started"
    start.tap()
    page.wait_for_selector("#adapt-search [data-state=done]", state="attached")


# --- right-to-left text --------------------------------------------------------------------------


@pytest.mark.slow
def test_right_to_left_examples_and_results_are_set_right_to_left(visit, monkeypatch):
    import fake_answers

    monkeypatch.setattr(fake_answers, "ADAPTED_TEXT", f"{HEBREW}\n\nThen in English.")
    page = visit()
    page.get_by_role("tab", name="Adapt").click()
    direction = "e => getComputedStyle(e).direction"
    for row in range(3):
        page.get_by_label(f"Prompt {row + 1}").fill(HEBREW)
        page.get_by_label(f"Right answer {row + 1}").fill("35 - 12 = 23")
    assert page.get_by_label("Prompt 1").evaluate(direction) == "rtl"
    page.get_by_label("Prompt 2").fill("Tom had 35 stickers.")
    assert page.get_by_label("Prompt 2").evaluate(direction) == "ltr"
    page.click("#adapt-start")
    page.wait_for_selector("#adapt-use")
    assert page.locator("#adapt-prompt option").first.evaluate(direction) == "rtl"
    page.click("#adapt-answer")
    page.wait_for_selector("#adapt-adapted [data-state=done]", state="attached")
    # how far from the left and from the right edge of the box the two paragraphs begin
    gaps = page.evaluate("""() => {
        const box = document.querySelector('#adapt-adapted .text');
        const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
        const of = (word) => {
            walker.currentNode = box;
            let node;
            while ((node = walker.nextNode())) if (node.textContent.includes(word)) {
                const range = document.createRange();
                range.selectNode(node);
                const r = range.getBoundingClientRect(), b = box.getBoundingClientRect();
                return [r.left - b.left, b.right - r.right];
            }
        };
        return [of('לתום'), of('Then')];
    }""")
    (_, right), (left, _) = gaps
    assert right < 20 and left < 20, "each paragraph begins on its own side"
    page.screenshot(path=SHOTS / "adapt-rtl.png")
