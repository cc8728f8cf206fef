"""The Library page in a real browser: found, added, saved, renamed, downloaded, deleted."""

from pathlib import Path

import browsing
import pytest
from browsing import SHOTS, alpha, eventually, mode, rare, serve, slide
from fake_client import FakeClient
from looks import PALE, TARGET, TOO_SMALL

from t2ui.messages import CompareExperts, SaveExpert, Trial

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit


def names(page):
    return page.locator(".t2-library .expert").evaluate_all("all => all.map((e) => e.dataset.name)")


def opened(page):
    page.get_by_role("tab", name="Library").click()
    page.locator(".t2-library .expert").first.wait_for()
    return page


def save(page, name):
    page.locator("#library-name").fill(name)
    page.get_by_role("button", name="save the sliders").click()
    page.get_by_text(f"{name} is there: it has a slider on Ask now.").wait_for()


def of(page, name, button):
    return page.locator(f".expert[data-name='{name}']").get_by_role("button", name=button)


@pytest.mark.parametrize("theme", ["dark", rare("light")])
def test_experts_are_found_and_go_to_the_sliders(visit, theme):
    page = opened(visit(color_scheme=theme))
    assert names(page) == ["code", "math", "reasoning", "dispatch"]
    assert page.evaluate(PALE) == []
    page.screenshot(path=SHOTS / f"library-{theme}.png")
    page.get_by_label("Search the library").fill("math questions")
    assert names(page) == ["math"]
    page.get_by_label("Search the library").fill("poems")
    page.get_by_text("No expert is found by “poems”.").wait_for()
    page.get_by_label("Search the library").fill("")
    page.get_by_role("button", name="for pass one").click()
    assert names(page) == ["dispatch"]
    page.get_by_role("button", name="all", exact=True).click()
    of(page, "reasoning", "to the sliders").click()
    page.get_by_role("tab", name="Ask").click()
    eventually(lambda: alpha(page, "reasoning") == 1 and alpha(page, "math") == 0)
    assert mode(page) == "none"


def test_the_prompt_and_the_sliders_go_along_to_another_page(visit):
    page = opened(visit())
    page.get_by_role("tab", name="Ask").click()
    page.locator("#prompt textarea").fill("My own prompt: 3 + 4?")
    slide(page, "code", 0.5)
    page.get_by_role("tab", name="Library").click()
    of(page, "math", "to the sliders").click()
    page.get_by_text("on the sliders", exact=True).wait_for()
    of(page, "code", "to the sliders").click()
    eventually(lambda: page.get_by_text("on the sliders", exact=True).count() == 1)
    page.locator(".expert[data-name=math] a", has_text="inspect").click()
    page.wait_for_selector("#heatmap .plot[data-ready]")
    assert "look=expert%3Amath" in page.url
    page.get_by_role("tab", name="Ask").click()
    eventually(lambda: alpha(page, "code") == 1)
    assert page.locator("#prompt textarea").input_value() == "My own prompt: 3 + 4?"


@pytest.mark.slow
def test_a_second_one_saved_while_the_first_is_on_its_way_is_saved_too(visit, client):
    page = visit()
    slide(page, "math", 0.5)
    opened(page)
    client.late = {SaveExpert: 1.0}
    page.evaluate("""async () => {
        const save = [...document.querySelectorAll(".t2-library button")]
            .find((button) => button.textContent === "save the sliders");
        for (const name of ["one", "two"]) {
            document.getElementById("library-name").value = name;
            save.click();
            await new Promise((go) => setTimeout(go, 300)); // the first is on its way
        }
    }""")
    page.get_by_text("two is there: it has a slider on Ask now.").wait_for()
    assert {"one", "two"} <= set(names(page))


def test_the_mixture_is_kept_renamed_downloaded_and_deleted(visit):
    fake = FakeClient(pace=0.1)
    url, close = serve(fake)
    page = visit(url=url)
    try:
        slide(page, "math", 0.5)
        opened(page)
        page.locator("#library-name").fill("../../etc")
        page.get_by_role("button", name="save the sliders").click()
        page.locator(".t2-library .note.bad", has_text="expected 1 to 40 letters").wait_for()
        page.locator("#library-name").fill("mine")
        page.get_by_role("button", name="save the sliders").click()
        page.get_by_text("mine is there: it has a slider on Ask now.").wait_for()
        (asked,) = (one for one in fake.requests if isinstance(one, SaveExpert))
        assert asked.mixture == {"math": 0.5}
        assert asked.training["recipe"]["mixture"] == {"math": 0.5}
        assert "mine" in names(page) and of(page, "math", "delete").count() == 0
        with page.expect_download() as saved:
            of(page, "mine", "download").click()
        assert saved.value.suggested_filename == "mine.safetensors"
        assert Path(saved.value.path()).read_bytes() == b"an expert\xff"
        of(page, "mine", "rename").click()
        page.get_by_label("New name of mine").fill("yours")
        page.keyboard.press("Enter")
        page.get_by_text("mine is named yours now.").wait_for()
        of(page, "yours", "delete").click()
        assert "yours" in names(page), "one press deletes nothing"
        of(page, "yours", "really?").click()
        page.get_by_text("yours is deleted.").wait_for()
        assert "yours" not in names(page)
        page.get_by_role("tab", name="Ask").click()
        assert page.locator("#mix-yours").count() == 0
    finally:
        page.context.close()  # before its server
        close()


def test_a_half_typed_name_stays_while_the_list_is_drawn_anew(visit, client):
    page = visit()
    client.saved["mine"] = SaveExpert("mine", {"math": 1.0})
    page.wait_for_selector("#mix-mine", timeout=20_000)
    opened(page)
    of(page, "mine", "rename").click()
    page.keyboard.type("you")
    client.saved["new"] = SaveExpert("new", {"math": 1.0})
    eventually(lambda: "new" in names(page), 20)
    page.keyboard.type("rs")
    page.keyboard.press("Enter")
    page.get_by_text("mine is named yours now.").wait_for()
    client.saved.clear()


def test_the_mixture_is_measured_before_it_is_kept(visit):
    fake = FakeClient(pace=0.1)
    url, close = serve(fake)
    page = opened(visit(url=url))
    try:
        page.click("#library-measure")
        page.get_by_text("All sliders are at 0").wait_for()
        page.get_by_role("tab", name="Ask").click()
        slide(page, "math", 0.5)
        opened(page)
        page.click("#library-measure")
        said = page.locator("#library-measured [data-state=done] .note", has_text="base model answ")
        said.wait_for()
        (asked,) = (one for one in fake.requests if isinstance(one, Trial))
        assert asked.lineup.mixtures == ({}, {"math": 0.5})
        base, own = (sum(column.right) for column in list(fake.tried(asked))[-1].columns)
        assert f"answered {base} rightly, math 0.50 {own} (" in said.inner_text()
        page.screenshot(path=SHOTS / "library-measured.png")
        save(page, "mine")
        (kept,) = (one for one in fake.requests if isinstance(one, SaveExpert))
        assert (kept.measured.base, kept.measured.mixture) == (base, own)
        assert kept.measured.n == len(asked.questions)
        page.get_by_role("tab", name="Ask").click()
        slide(page, "math", 0.6)
        opened(page)
        save(page, "other")
        page.get_by_text("What was measured is of another mixture").wait_for()
        assert [one for one in fake.requests if isinstance(one, SaveExpert)][-1].measured is None
    finally:
        page.context.close()
        close()


@pytest.mark.slow
def test_stop_ends_a_measurement_also_before_it_was_heard_of(visit):
    fake = FakeClient(pace=1.0)
    url, close = serve(fake)
    page = visit(url=url)
    try:
        slide(page, "math", 0.5)
        opened(page)
        said = page.locator("#library-measured .note", has_text="Stopped: nothing was measured.")
        page.evaluate(
            "['measure', 'stop'].forEach((id) => document.getElementById(`library-${id}`).click())"
        )
        eventually(lambda: len(fake.cancelled) == 1)
        page.wait_for_timeout(500)  # until the page has heard of it, too
        page.click("#library-measure")
        page.locator("#library-measured .note", has_text="of 12 questions …").wait_for()
        page.click("#library-stop")
        said.wait_for()
        eventually(lambda: len(fake.cancelled) == 2)
        page.wait_for_timeout(300)
        assert said.count() == 1
    finally:
        page.context.close()
        close()


def test_a_file_is_added_and_a_bad_one_is_refused_in_one_line(visit):
    fake = FakeClient(pace=0.1)
    url, close = serve(fake)
    page = opened(visit(url=url))
    try:
        file = {"name": "a.safetensors", "mimeType": "application/octet-stream"}
        page.locator("#library-file").set_input_files({**file, "buffer": b"\xff\xfe"})
        page.locator(".note.bad", has_text="not a readable safetensors file").wait_for()
        page.locator("#library-file").set_input_files({**file, "buffer": b"added"})
        page.get_by_text("added is there: it has a slider on Ask now.").wait_for()
        assert "added" in names(page)
        page.locator("#library-file").set_input_files({**file, "buffer": b"x" * 1_400_001})
        page.locator(".note.bad", has_text="1,400,001 bytes").wait_for()
    finally:
        page.context.close()
        close()


@pytest.mark.slow
def test_forty_experts_stand_on_a_phone_too(visit):
    fake = FakeClient(("math", "code", *(f"expert-{n}" for n in range(37))), pace=0.1)
    url, close = serve(fake)
    page = visit("?tab=library", url=url, width=390, height=844, has_touch=True, is_mobile=True)
    try:
        page.locator(".t2-library .expert").first.wait_for()
        assert len(names(page)) == 40
        assert page.get_by_text("40 of 40 experts").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate(TOO_SMALL, ["#pages .tabitem", TARGET]) == []
        page.get_by_label("Search the library").fill("expert-36")
        assert names(page) == ["expert-36"]
        page.screenshot(path=SHOTS / "library-phone.png")
    finally:
        page.context.close()
        close()


def test_experts_stand_beside_each_other(visit, client):
    page = opened(visit())
    page.wait_for_selector("#likeness .map[data-ready]")
    asked = [r for r in client.requests if isinstance(r, CompareExperts)][-1]
    (_, found), _ = client._likeness(asked)
    cells = page.locator("#likeness .matrix-box td button").all_inner_texts()
    off = [found.cosine[i, j] for i in range(4) for j in range(4) if i != j]
    assert [float(c.replace("−", "-")) for c in cells] == pytest.approx(off, abs=6e-4)
    page.get_by_role("button", name="shared components").click()
    shares = page.locator("#likeness .matrix-box td button").all_inner_texts()
    assert [float(s.split()[0]) / 100 for s in shares] == pytest.approx(
        [found.overlap[i, j] for i in range(4) for j in range(4) if i != j], abs=0.006
    )
    tasks = page.locator("#likeness .tasks-box tbody tr", has_text="math").locator("td")
    assert tasks.all_inner_texts() == ["+28.0"]
    assert page.locator("#likeness .unmeasured").all_inner_texts() == ["–"] * 3
    page.locator("#likeness .matrix-box td button").first.click()
    page.wait_for_selector("#likeness .by-layer[data-ready]")
    shown = page.evaluate("document.querySelector('#likeness .by-layer').data[0].y")
    assert shown == pytest.approx(found.by_layer[:, 0, 1].tolist(), abs=1e-6)
    for theme in ("light", "dark"):
        assert page.evaluate(PALE) == [], theme
        page.screenshot(path=SHOTS / f"library-likeness-{theme}.png", full_page=True)
        page.get_by_label("Switch between light and dark").click()


CROWD = (
    "math code reasoning haystack syllogisms spirals reversal sequences primes formats cubes "
    "palindromes isomorphic sentences sorting filters fractions siblings equations sums decimals "
    "family jumbles jumbels"  # the last two are one and the same to the double
).split()


@pytest.mark.parametrize("phone", [rare(False), True], ids=["screen", "phone"])
def test_names_on_the_map_cover_neither_each_other_nor_a_dot(visit, phone):
    fake = FakeClient(CROWD, pace=0.1)
    url, close = serve(fake)
    size = {"width": 390, "height": 844, "has_touch": True, "is_mobile": True} if phone else {}
    page = visit("?tab=library", url=url, **size)
    try:
        page.wait_for_selector("#likeness .map .points path")
        page.locator("#likeness .map").screenshot(path=SHOTS / f"library-map-{phone}.png")
        found = page.evaluate(
            """() => {
          const box = (e) => e.getBoundingClientRect();
          const all = (selector) => [...document.querySelectorAll(`#likeness .map ${selector}`)];
          const named = all(".annotation-text, .textpoint text").filter((e) => e.textContent);
          const area = box(document.querySelector("#likeness .map"));
          const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
          const dots = all(".points path");
          return {
            names: named.length, dots: dots.length,
            covered: named.flatMap((a, i) => [...named.slice(i + 1), ...dots]
              .filter((b) => meet(box(a), box(b))).map((b) => `${a.textContent} ${b.textContent}`)),
            out: named.filter((e) => box(e).left < area.left || box(e).right > area.right).length,
            said: document.querySelector("#likeness .alike-map .foot").textContent,
          };
        }"""
        )
        assert found["covered"] == [] and found["out"] == 0
        assert found["dots"] == 25, "every expert has its dot"
        assert found["names"] >= 12
        left = 25 - found["names"]
        assert (f"{left} of the names have no room" in found["said"]) == (left > 0)
    finally:
        page.context.close()  # before its server
        close()
