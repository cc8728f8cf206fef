"""The mixture card with four experts and with forty, at 1280 × 720: nothing is cut or hidden."""

import browsing
import pytest
from browsing import SHOTS, alpha, eventually, rare, serve, slide, wait_state
from fake_client import FakeClient

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit

NAMES = (
    "math code reasoning law-contracts poems medicine translation-de summaries sql physics "
    "chemistry history geography cooking travel emails kotlin rust bash regex latex proofs "
    "geometry statistics logic-puzzles biology music chess haiku jokes tone-formal tone-casual "
    "extraction news sentiment dialogue roleplay word-problems-of-grade-eight legal-letters"
).split()
INSIDE = """(selector) => {
  const host = document.querySelector('#mixer').closest('.t2-card').getBoundingClientRect();
  return [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility()).map((e) => {
    const box = e.getBoundingClientRect();
    const cut = [...e.querySelectorAll('*'), e].some((x) => {
      const { overflowX, textOverflow } = getComputedStyle(x);
      const hides = overflowX === 'hidden' && textOverflow !== 'ellipsis';
      return hides && x.scrollWidth > x.clientWidth + 1;
    });
    return box.left >= host.left && box.right <= host.right && box.top >= host.top
      && box.bottom <= host.bottom && !cut;
  });
}"""


@pytest.fixture
def library(request, visit):
    """visit() on an app with so many experts, the dispatcher counted; and its double."""
    fake = FakeClient(NAMES[: request.param - 1], pace=0.1)
    url, close = serve(fake)
    pages = []

    def go(query="", **options):
        pages.append(visit(query, url=url, **options))
        return pages[-1]

    yield go, fake
    for page in pages:
        page.context.close()  # before its server
    close()


def in_view(page):
    """Names of the rows that stand in the list's visible part, whole."""
    return page.evaluate(
        """() => {
      const list = document.querySelector('.mix-rows').getBoundingClientRect();
      return [...document.querySelectorAll('.mix-rows .mix-row')].filter((row) => {
        const box = row.getBoundingClientRect();
        return box.top >= list.top - 1 && box.bottom <= list.bottom + 1;
      }).map((row) => row.querySelector('.name span').textContent);
    }"""
    )


def names(page):
    return page.locator(".mix-rows .mix-row .name span").all_inner_texts()


def everything_stands(page):
    assert all(page.evaluate(INSIDE, "#mixer .chip")), "a preset is cut"
    assert page.evaluate(INSIDE, "#mixer .base-share") == [True]
    assert page.evaluate(INSIDE, "#strength") == [True]
    shown = page.locator("#mixer .chip").filter(visible=True).all_inner_texts()
    assert {"base", "even", "↺"} <= set(shown)
    root = "document.documentElement"
    assert page.evaluate(f"[{root}.scrollWidth, {root}.scrollHeight]") == [1280, 720]


@pytest.mark.parametrize("library", [5, 40, *map(rare, (4, 12))], indirect=True)
def test_no_slider_hides_and_no_preset_is_cut(library):
    go, fake = library
    page = go()
    count = len(fake.names) + 1
    page.locator("#prompt textarea").fill("Sort a list")
    page.click("#ask")
    wait_state(page, "done")
    everything_stands(page)
    assert page.locator(".mix-rows .mix-row").count() == count
    if count <= 5:
        assert in_view(page) == names(page), "every slider is in view"
        assert page.locator(".mix-rows .rest, .search").count() == 0
    else:
        assert names(page)[0] == "code", "the one in use comes first"
        assert page.locator(".mix-rows .rest").inner_text() == f"{count - 1} not in use"
        assert page.locator(".search").get_attribute("placeholder") == f"search {count} experts"
        overflow = "(e) => [getComputedStyle(e).overflowY, e.scrollHeight > e.clientHeight]"
        assert page.locator(".mix-rows").evaluate(overflow) == ["auto", True]
        page.locator(".mix-rows .mix-row").last.scroll_into_view_if_needed()
        everything_stands(page)
        page.locator(".mix-rows").evaluate("(e) => { e.scrollTop = 0; }")
    first = page.locator("#classification .label-row").first.inner_text()
    assert count <= 5 or first.startswith("code"), "of many labels the likeliest comes first"
    for theme in ("light", "dark"):
        page.evaluate("(dark) => t2ui.setDark(dark)", theme == "dark")
        shot = SHOTS / f"experts-{count}-{theme}.png"
        page.screenshot(path=shot, animations="disabled")


@pytest.mark.parametrize("library", [25, rare(5)], indirect=True)
def test_no_row_covers_another_one_in_large_type(library):
    page = library[0]("?mix=math=0.5&present=1&point=mixture")
    page.locator(".mix-rows .mix-row").nth(2).wait_for()
    eventually(lambda: page.locator("#card-mixture").bounding_box()["height"] > 400)
    page.screenshot(path=SHOTS / f"present-experts-{len(names(page))}.png")
    parts = ".mix-row .name, .mix-rows .rest, #strength .name, .base-share .name"
    overlaps = page.evaluate(
        """(parts) => {
      const list = document.querySelector('.mix-rows');
      const inside = (e) => !list.contains(e)
        || e.getBoundingClientRect().bottom <= list.getBoundingClientRect().bottom;
      const all = [...document.querySelectorAll(parts)].filter(inside).map((e) => {
        const range = document.createRange();
        range.selectNodeContents(e);
        return range.getBoundingClientRect();
      });
      return all.flatMap((a, i) => all.slice(i + 1).map((b) => Math.min(a.bottom, b.bottom)
        - Math.max(a.top, b.top))).filter((shared) => shared > 0.5);
    }""",
        parts,
    )
    assert overlaps == []
    tall = page.locator(".mix-rows .mix-row").evaluate_all("all => all.map((e) => e.offsetHeight)")
    assert min(tall) >= 40, "its thumb is 28 pixels high, and its letters stand on 35"
    page.locator(".mix-rows .mix-row").last.scroll_into_view_if_needed()
    assert in_view(page)[-1] == names(page)[-1]
    assert page.evaluate(INSIDE, ".base-share") == [True]


@pytest.mark.parametrize("library", [12], indirect=True)
def test_rows_stay_under_the_hand_and_those_in_use_come_first_once_it_has_gone(library):
    page = library[0]()
    before = names(page)
    assert before == sorted(before[:-1]) + ["dispatch"]
    slider = page.locator("#mix-poems input[type=range]")
    slider.scroll_into_view_if_needed()
    slider.hover()
    place = page.locator("#mix-poems").bounding_box()
    slider.fill("0.5")
    assert page.locator("#mix-poems").bounding_box() == place and names(page) == before
    page.mouse.move(5, 5)
    assert names(page) == before, "it has the focus still"
    page.locator("#prompt textarea").focus()
    eventually(lambda: names(page)[0] == "poems")
    assert in_view(page)[0] == "poems"
    page.locator("#mix-poems").get_by_role("button", name="Reset").click()
    page.mouse.move(5, 5)
    page.locator("#prompt textarea").focus()
    eventually(lambda: names(page) == before)


@pytest.mark.parametrize("library", [40], indirect=True)
def test_search_finds_by_name_and_keeps_those_in_use(library):
    page = library[0]("?mix=math=0.5")
    search = page.locator("#mixer .search")
    search.fill("LAW")
    assert names(page) == ["math", "law-contracts"]
    assert page.locator(".mix-rows .rest").inner_text() == "1 of the 39 others found"
    page.screenshot(path=SHOTS / "experts-search.png")
    search.fill("quantum")
    assert names(page) == ["math"]
    assert page.locator(".mix-rows .rest").inner_text() == "none of the 39 others found"
    search.press("Escape")
    assert len(names(page)) == 40
    search.fill("law")
    slide(page, "law-contracts", 0.7)
    assert alpha(page, "law-contracts") == 0.7 and alpha(page, "math") == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("library", [40], indirect=True)
def test_each_rows_own_button_is_its_preset(library):
    page = library[0]("?mix=math=0.5")
    page.locator("#mixer .search").fill("sql")
    page.get_by_role("button", name="Only sql, at 1.").click()
    assert alpha(page, "sql") == 1 and alpha(page, "math") == 0
    assert page.locator("#set-by").inner_text() == "set by: you"
    page.locator(".presets").get_by_role("button", name="even").click()
    assert alpha(page, "sql") == alpha(page, "chess") == pytest.approx(1 / 39, abs=6e-3)
    page.locator("#mix-reset").click()
    assert page.locator(".base-share .value").inner_text() == "100 %"


@pytest.mark.parametrize("library", [4], indirect=True)
def test_presets_that_do_not_fit_in_a_narrow_card_give_way_to_the_rows_buttons(library):
    page = library[0]()
    chip = page.locator(".presets").get_by_role("button", name="reasoning")
    only = page.locator("#mix-reasoning .only")
    assert chip.is_visible() and not only.is_visible()
    page.set_viewport_size({"width": 920, "height": 720})
    only.wait_for()
    assert not chip.is_visible() and all(page.evaluate(INSIDE, "#mixer .chip"))
    only.click()
    assert alpha(page, "reasoning") == 1
    page.set_viewport_size({"width": 1280, "height": 720})
    chip.wait_for()
