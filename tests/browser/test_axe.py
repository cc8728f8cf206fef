"""Every page under axe-core, the checker that accessibility audits begin with."""

import browsing
import pytest
from browsing import PHONE, ask, eventually, rare, wait_state

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit


@pytest.fixture(scope="module")
def axe():
    """Checks a page: what is serious or worse, a line each."""
    package = pytest.importorskip("axe_playwright_python.sync_playwright")

    def check(page):
        found = package.Axe().run(page).response["violations"]
        return [
            f"{one['id']} ({one['impact']}): {node['html'][:160]} {node['target']}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    return check


@pytest.mark.slow
def test_axe_would_find_it(visit, axe):
    page = visit()
    page.evaluate(
        "document.querySelector('#ask').insertAdjacentHTML('afterend', '<img src=data:,>')"
    )
    (found,) = axe(page)
    assert found.startswith("image-alt (critical)")


def shown(page, name):
    """A page with something on it."""
    page.get_by_role("tab", name=name).click()
    if name == "Ask":
        ask(page)
        wait_state(page, "done")
    elif name == "Adapt":
        page.locator("#adapt-examples").get_by_role("button", name="arithmetic").click()
        page.wait_for_selector(".ex-row.held")
        page.click("#adapt-start")
        page.wait_for_selector("#adapt-use")
    elif name == "Inspect":
        page.wait_for_selector("#heatmap .plot[data-ready]")
    elif name == "Compare":
        page.locator("#compare-prompt textarea").fill("What is 7 + 5?")
        page.click("#compare-go")
        page.wait_for_selector("#compare-table [data-state=done]", state="attached")
        page.click("#compare-try")
        page.wait_for_selector("#compare-table [data-trial=done]", state="attached")
    elif name == "Library":
        page.locator(".t2-library .expert").first.wait_for()
    elif name == "Learn":
        page.locator(".learn-step").first.wait_for()


@pytest.mark.parametrize("theme", ["dark", rare("light"), rare("phone")])
def test_axe_finds_nothing_serious_on_any_page(visit, axe, theme):
    options = PHONE if theme == "phone" else {"color_scheme": theme}
    page = visit(reduced_motion="reduce", **options)
    found = {}
    for name in ("Ask", "Learn", "Adapt", "Inspect", "Compare", "Library"):
        shown(page, name)
        eventually(lambda name=name: page.title() == f"{name} · t2ui")
        found |= {name: serious} if (serious := axe(page)) else {}
    assert not found, "\n".join(f"{page}: {line}" for page in found for line in found[page])
