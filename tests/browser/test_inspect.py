"""Inspect in a real browser: its heatmap, its components, and links to what is shown."""

from pathlib import Path

import browsing
import pytest
from browsing import SHOTS, choose, click_row, eventually, every_matrix, open_inspect, slide
from looks import PALE

from t2ui.messages import Components, Failed, Heatmap

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit


def row_names(page):
    return page.evaluate(
        "[...document.querySelectorAll('#heatmap .ytick text')].map((t) => t.textContent)"
    )


def chosen(page, box):
    return page.locator(f"#{box} input").input_value()


def drawn(page):
    return page.locator("#heatmap .drawn").inner_text()


def test_rows_are_named_and_say_what_they_stand_for(visit):
    page = visit()
    open_inspect(page)
    assert row_names(page) == [str(layer) for layer in range(30)]
    words = page.locator("#heatmap .foot").inner_text()
    assert "one a layer, each cell the mean of 7 matrices (q, k, v, o, gate, up, down)" in words
    choose(page, "inspect-rows", "kinds of matrix")
    eventually(lambda: row_names(page) == ["q", "k", "v", "o", "gate", "up", "down"])
    page.screenshot(path=SHOTS / "inspect-kinds.png")
    every_matrix(page)
    eventually(lambda: row_names(page)[0] == "q 0" and "down 0" in row_names(page))
    page.screenshot(path=SHOTS / "inspect-every.png")
    overlaps = page.evaluate("""() => {
        const rows = [...document.querySelectorAll('#heatmap .ytick text')]
            .map((t) => t.getBoundingClientRect());
        return rows.slice(1).filter((row, i) => row.top < rows[i].top + 9).length;
    }""")
    assert not overlaps, "names stand upon each other"


def test_what_is_chosen_while_the_map_is_still_drawn_is_drawn_next(visit, client):
    """By choices that name the map anew, which draw it in an event that follows theirs."""
    page = visit()
    open_inspect(page)
    client.late = {Heatmap: 4.0}
    for name in ("math", "code", "reasoning"):
        choose(page, "inspect-look", f"{name} expert")
        page.wait_for_timeout(300)
    eventually(lambda: "reasoning" in drawn(page), 30)
    assert len([r for r in client.requests if isinstance(r, Heatmap)]) > 1


def test_a_row_of_several_matrices_opens_into_them_and_back(visit, client):
    page = visit()
    open_inspect(page)
    box = page.locator("#heatmap .nsewdrag").first.bounding_box()
    page.mouse.click(box["x"] + 30, box["y"] + 14.5 / 30 * box["height"])
    eventually(lambda: row_names(page) == ["q", "k", "v", "o", "gate", "up", "down"])
    assert chosen(page, "inspect-layer") == "14"
    click_row(page, 0.5 / 7)
    assert page.locator("#component-plot .matrix b").inner_text() == "layer 14 · q"
    page.get_by_role("button", name="all layers").click()
    eventually(lambda: len(row_names(page)) == 30)
    assert chosen(page, "inspect-layer") == "all"
    page.locator("#heatmap .plot").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.locator("#heatmap .foot", has_text="layer 1 · Enter shows its matrices").wait_for()
    page.keyboard.press("Enter")
    eventually(lambda: chosen(page, "inspect-layer") == "1")
    choose(page, "inspect-layer", "all")
    choose(page, "inspect-rows", "kinds of matrix")
    eventually(lambda: row_names(page)[:2] == ["q", "k"])
    box = page.locator("#heatmap .nsewdrag").first.bounding_box()
    page.mouse.click(box["x"] + 30, box["y"] + 5.5 / 7 * box["height"])
    page.locator("#heatmap .foot", has_text="30 matrices").wait_for()
    assert chosen(page, "inspect-module") == "up"


def test_a_click_on_the_heatmap_opens_that_matrix(visit, client):
    page = visit()
    open_inspect(page)
    assert client.requests[-1].mixture == {"code": 1.0}
    every_matrix(page)
    click_row(page, 0.999)
    assert page.locator("#component-plot .matrix b").inner_text() == "layer 29 · down"
    assert page.locator("#component-plot .changes li").count() == 10
    assert "turned" in page.locator("#component-plot .changes li").first.inner_text()
    page.screenshot(path=SHOTS / "inspect.png")
    page.locator("#heatmap .plot").focus()
    page.keyboard.press("ArrowUp")
    page.locator("#component-plot .matrix b", has_text="layer 28 · down").wait_for()
    client.requests.clear()
    page.keyboard.press("Enter")
    eventually(lambda: [r.name.endswith("28.mlp.down_proj") for r in client.requests] == [True])
    values = page.evaluate("document.querySelector('#heatmap .plot').data[0].z[0].slice(0, 5)")
    assert all(abs(value) < 1 for value in values) and any(values)


def test_a_link_opens_the_page_and_what_is_on_it(visit, client):
    page = visit("?tab=inspect&mix=math=0.5")
    page.wait_for_selector("#heatmap .plot[data-ready]")
    assert page.get_by_role("tab", name="Inspect").get_attribute("aria-selected") == "true"
    assert client.requests[-1].mixture == {"code": 1.0}
    choose(page, "inspect-look", "mixture on the sliders")
    eventually(lambda: client.requests[-1].mixture == {"math": 0.5})


@pytest.mark.slow
def test_module_layer_and_scale_are_selectable(visit, client):
    page = visit()
    open_inspect(page)
    choose(page, "inspect-module", "up")
    page.locator("#heatmap .foot", has_text="30 matrices").wait_for()
    choose(page, "inspect-layer", "7")
    page.locator("#heatmap .foot", has_text="1 matrix").wait_for()
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
    assert chosen(page, "inspect-look") == "code expert"
    assert chosen(page, "inspect-compare") == "reasoning expert"
    offered = [words.strip() for words in page.locator("#inspect-show label").all_inner_texts()]
    assert offered == ["code", "reasoning", "code − reasoning"]
    assert "The code expert against the reasoning expert" in drawn(page)
    page.screenshot(path=SHOTS / "inspect-compare.png")
    every_matrix(page)
    click_row(page)
    names = page.evaluate("document.querySelector('#component-plot .plot').data.map((t) => t.name)")
    assert {"base", "code", "reasoning", "z of code − reasoning"} <= set(names)
    choose(page, "inspect-compare", "nothing")
    choose(page, "inspect-look", "mixture on the sliders")
    asked = lambda: [r.mixture for r in client.requests if isinstance(r, Heatmap)]  # noqa: E731
    eventually(lambda: asked()[-1] == {"math": 0.5})


def test_a_link_to_what_is_not_here_says_so(visit):
    page = visit("?tab=inspect&look=expert:nosuch&layer=999")
    page.get_by_text("look 'expert:nosuch', layer '999': what the boxes show").wait_for()
    page.wait_for_selector("#heatmap .plot[data-ready]")


@pytest.mark.slow
def test_a_link_brings_back_what_is_compared_with_what(visit, app):
    page = visit()
    slide(page, "math", 0.5)
    open_inspect(page)
    choose(page, "inspect-look", "reasoning expert")
    choose(page, "inspect-compare", "mixture on the sliders")
    shown = page.locator("#inspect-show label:has(input:checked)")
    eventually(lambda: shown.inner_text().strip() == "reasoning − mixture")
    page.locator("#inspect-show").get_by_text("mixture", exact=True).click()
    eventually(lambda: shown.inner_text().strip() == "mixture")
    choose(page, "inspect-rows", "every matrix")
    choose(page, "inspect-module", "attention")
    choose(page, "inspect-layer", "3")
    page.locator("#heatmap .foot", has_text="4 matrices").wait_for()
    page.get_by_role("button", name="permalink").locator("visible=true").click()
    link = page.locator("#inspect-link-sheet input")
    link.wait_for()
    eventually(lambda: "compare=mixture" in link.input_value())
    assert page.url == link.input_value(), "a reload shows the same"
    other = visit(link.input_value().removeprefix(app[1]))
    other.locator("#heatmap .foot", has_text="4 matrices").wait_for()
    assert drawn(other) == drawn(page) and "(math 0.50)" in drawn(other)
    for box in ("look", "compare", "rows", "module", "layer"):
        assert chosen(other, f"inspect-{box}") == chosen(page, f"inspect-{box}")
    assert chosen(other, "inspect-compare") == "mixture on the sliders"
    shown = other.locator("#inspect-show label:has(input:checked)")
    eventually(lambda: shown.inner_text().strip() == "mixture")


@pytest.mark.slow
def test_sliders_at_zero_beside_an_expert_are_said_to_be_the_base_model(visit):
    page = visit()
    open_inspect(page)
    choose(page, "inspect-look", "mixture on the sliders")
    page.locator("#heatmap", has_text="All sliders are at 0").wait_for()
    assert page.locator("#heatmap .cover .remedy").is_visible()
    choose(page, "inspect-compare", "math expert")
    page.locator("#heatmap .drawn", has_text="z of base model − z of math").wait_for()
    assert drawn(page).startswith("All sliders are at 0, so the mixture is the base model.")
    assert page.locator("#inspect-show").get_by_text("base model − math").is_visible()
    page.screenshot(path=SHOTS / "inspect-zeros.png")
    page.locator("#inspect-show").get_by_text("base model", exact=True).click()
    page.locator("#heatmap .cover", has_text="All sliders are at 0").wait_for()


def test_a_prompt_that_comes_while_the_card_is_not_ready_is_filled_in(visit):
    page = visit()
    page.evaluate("t2ui.kept = t2ui.presentAnswer; delete t2ui.presentAnswer")
    for _ in range(3):  # each opening waits for the card's script, in which order is chance
        page.get_by_role("tab", name="Inspect").click()
        page.wait_for_selector("#components-prompt", state="visible")
        page.get_by_role("tab", name="Ask").click()
    page.locator("#prompt textarea").fill("What is 3 plus 4")
    page.wait_for_timeout(300)
    page.evaluate("t2ui.presentAnswer = t2ui.kept")
    page.get_by_role("tab", name="Compare").click()  # no second visit of Inspect fills it
    prompt = page.locator("#components-prompt textarea")
    eventually(lambda: prompt.input_value() == "What is 3 plus 4")
    stale = page.evaluate("t2ui.presentAnswer('', '', '')")  # called before, answered after
    assert stale == [], "it writes nothing"


def test_components_are_named_tested_and_slid(visit, client):
    page = visit("?prompt=What+is+3+plus+4&tab=inspect")
    page.wait_for_selector("#heatmap .plot[data-ready]")
    choose(page, "inspect-look", "math expert")
    choose(page, "inspect-layer", "7")
    eventually(lambda: page.locator("#components-prompt textarea").input_value() != "")
    page.click("#components-go")
    page.wait_for_selector(".part")
    asked = [r for r in client.requests if isinstance(r, Components)][-1]
    assert (asked.mixture, asked.choice.layer) == ({"math": 1.0}, 7)
    assert asked.prompt == "What is 3 plus 4"
    (_, found), _ = client._components(asked)
    shown = page.locator(".part")
    offs = [off.replace("−", "-") for off in shown.locator(".effect em").all_inner_texts()]
    expected = [changed - found.adapted for changed in found.changed]
    assert [float(off) for off in offs] == pytest.approx(expected, abs=0.006)
    assert shown.nth(1).get_by_text("direction not unique").is_visible()
    assert page.get_by_text("direction not unique").count() == 1
    assert shown.first.locator(".side", has_text="the heads' values").locator("code").count() == 0
    assert not page.locator(".t2-parts .cover-text").is_visible()
    shown.first.locator("input[type=range]").fill("2")
    said = shown.first.locator(".tried")
    eventually(lambda: said.inner_text().startswith("z 2.00: the answer is"))
    slid = client.requests[-1]
    assert slid.choice.chosen == ((found.components[0].name, found.components[0].index),)
    assert slid.text == found.text and slid.choice.at == 2.0
    shown.first.locator("input[type=range]").focus()
    for _ in range(12):  # quicker than the answers come: the newest is answered
        page.keyboard.press("ArrowLeft")
    eventually(lambda: said.inner_text().startswith("z 1.88: the answer is"))
    assert page.evaluate(PALE) == []
    page.locator("#components").scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / "inspect-components.png", full_page=True)
    failed = Failed("The model worker stopped.", "It is restarting.")
    client.failure = failed
    page.click("#components-go")
    page.locator(".t2-parts [role=alert]", has_text="worker stopped").wait_for()


@pytest.mark.slow
def test_a_slow_answer_says_so_and_comes(visit, client):
    page = visit()
    client.loading = True
    page.get_by_role("tab", name="Inspect").click()
    page.locator("#heatmap", has_text="loading or busy").wait_for()
    client.loading = False
    page.wait_for_selector("#heatmap .plot[data-ready]")


@pytest.mark.slow
def test_who_opens_inspect_before_the_experts_are_known_sees_them_come(visit, client):
    client.loading = True
    page = visit(wait=False)
    page.locator("#status", has_text="loading").wait_for()
    page.get_by_role("tab", name="Inspect").click()
    page.locator("#heatmap", has_text="loading or busy").wait_for()
    client.loading = False
    page.wait_for_selector("#heatmap .plot[data-ready]")


@pytest.mark.slow
def test_a_worker_that_restarts_leaves_the_choices_and_draws_again(visit, client, monkeypatch):
    page = visit()
    open_inspect(page)
    choose(page, "inspect-look", "math expert")
    choose(page, "inspect-module", "up")
    lost = Failed("The model worker stopped.", "It is restarting.")
    with monkeypatch.context() as patch:
        patch.setattr(client, "_heatmap", lambda request: [(0.0, lost)])
        choose(page, "inspect-layer", "7")
        page.locator("#heatmap", has_text="It is restarting").wait_for()
    client.state = "restarting"
    page.locator("#status .banner").wait_for()
    client.state = None
    page.locator("#heatmap .foot", has_text="1 matrix").wait_for()
    assert client.requests[-1].mixture == {"math": 1.0} and client.requests[-1].module == "up_proj"
    assert page.locator("#inspect-look input").input_value() == "math expert"


def test_csv_and_png_are_saved(visit):
    page = visit()
    open_inspect(page)
    choose(page, "inspect-layer", "3")
    page.locator("#heatmap .foot", has_text="7 matrices, one a row").wait_for()
    click_row(page)
    choose(page, "inspect-layer", "all")
    page.locator("#heatmap .foot", has_text="30 rows").wait_for()
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
