"""The Adapt page's table of examples in a real browser: what a person types, adds and removes."""

import browsing
import pytest
from browsing import eventually, open_adapt
from browsing import example_rows as rows

from t2ui.messages import EstimateAdapt

pytestmark = pytest.mark.browser

app, browser, client, visit = browsing.app, browsing.browser, browsing.client, browsing.visit


def press(page, *names):
    """Buttons of the table, one right after the other; the focus stays where it is."""
    page.evaluate(
        """(names) => names.forEach((name) =>
        [...document.querySelectorAll("#adapt-examples button")]
            .find((button) => button.textContent === name).click())""",
        names,
    )


def paste(page, text):
    page.evaluate(
        """(text) => {
        document.querySelector("#adapt-paste-sheet textarea").value = text;
        document.querySelector("#adapt-paste-add").click();
    }""",
        text,
    )


def note(page):
    return page.locator("#adapt-examples .note")


def test_typed_rows_are_kept_and_the_split_follows(visit, client):
    page = visit()
    open_adapt(page, sample="")
    for i in range(4):
        if i == 3:
            page.get_by_role("button", name="+ row").click()
        page.get_by_label(f"Prompt {i + 1}").fill(f"question {i}")
        page.get_by_label(f"Right answer {i + 1}").fill(f"answer {i}")
    page.wait_for_selector(".ex-row.held")
    assert page.locator("#adapt-count").inner_text() == "3 to search on · 1 held out"
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA", "typing goes on"
    page.get_by_label("Remove row 1").click()
    eventually(lambda: [r[0] for r in rows(page)] == ["question 1", "question 2", "question 3"])
    estimates = lambda: [r for r in client.requests if isinstance(r, EstimateAdapt)]  # noqa: E731
    eventually(lambda: len(estimates()[-1].adapt.examples) == 3)


def test_csv_is_pasted_and_a_file_is_uploaded(visit, client, tmp_path):
    page = visit()
    open_adapt(page, sample="")
    page.get_by_role("button", name="paste").click()
    page.fill("#adapt-paste-sheet textarea", 'prompt,answer\n"a, b",1\nc,2')
    page.click("#adapt-paste-add")
    eventually(lambda: rows(page) == [["a, b", "1"], ["c", "2"]])
    file = tmp_path / "more.jsonl"
    file.write_text('{"prompt": "d", "answer": 3}\n{"prompt": "e", "answer": "4"}\n')
    page.locator("#adapt-examples input[type=file]").set_input_files(file)
    page.wait_for_selector(".ex-row.held")
    assert [r[0] for r in rows(page)] == ["a, b", "c", "d", "e"]
    file.write_text("only one column\n")
    page.locator("#adapt-examples input[type=file]").set_input_files(file)
    page.locator("#adapt-examples .note.bad", has_text="Line 1").wait_for()
    assert len(rows(page)) == 4
    file.write_text("x" * 600_000)
    page.locator("#adapt-examples input[type=file]").set_input_files(file)
    page.locator("#adapt-examples .note.bad", has_text="more.jsonl has 600,000 bytes").wait_for()


def test_what_is_added_while_the_last_is_still_read_or_estimated_is_not_lost(visit, client):
    client.late = {EstimateAdapt: 1.5}
    page = visit()
    open_adapt(page, sample="")
    page.evaluate("""() => {
        const named = (name) => [...document.querySelectorAll("#adapt-examples button")]
            .find((button) => button.textContent === name);
        named("arithmetic").click();
        named("seven words").click();
        document.querySelector("#adapt-paste-sheet textarea").value = "prompt,answer\\nlast,1";
        document.querySelector("#adapt-paste-add").click();
    }""")
    eventually(lambda: rows(page)[-1:] == [["last", "1"]])
    count = len(rows(page))
    assert count > 12, "both samples came, too"
    eventually(lambda: page.locator(".ex-row.held, .ex-row.seen").count() == count)


def test_a_generator_is_named_and_its_rows_come(visit, client):
    page = visit()
    open_adapt(page, sample="")
    page.get_by_role("button", name="paste").click()
    page.fill("#adapt-paste-sheet textarea", "rg:gcd:max_value=50 5")
    page.click("#adapt-paste-add")
    page.get_by_label("Prompt 1").fill("typed meanwhile")
    assert "makes its rows" in note(page).inner_text(), "typing does not take it away"
    eventually(lambda: len([row for row in rows(page) if row[0]]) == 6, 60)
    mine, *made = (prompt for prompt, _ in rows(page))
    assert mine == "typed meanwhile"
    assert all(prompt.startswith("Find the Greatest Common Divisor") for prompt in made)
    assert "5 examples added." in page.locator("#adapt-examples .note").inner_text()


@pytest.mark.slow
def test_pasted_text_that_cannot_be_read_stays_to_be_put_right(visit, client):
    page = visit()
    open_adapt(page, sample="")
    text = page.locator("#adapt-paste-sheet textarea")
    page.get_by_role("button", name="paste").click()
    text.fill("only one column")
    page.click("#adapt-paste-add")
    page.locator("#adapt-examples .note.bad", has_text="Line 1").wait_for()
    page.get_by_role("button", name="paste").click()
    assert text.input_value() == "only one column"
    text.fill("a,1")
    page.click("#adapt-paste-add")
    eventually(lambda: rows(page) == [["a", "1"]])
    eventually(lambda: text.input_value() == "")


@pytest.mark.slow
def test_cells_of_a_spreadsheet_become_rows(visit, client):
    page = visit()
    open_adapt(page, sample="")
    page.get_by_label("Prompt 1").focus()
    page.evaluate("""() => {
        const data = new DataTransfer();
        data.setData("text", "a\\t1\\nb\\t2");
        document.activeElement.dispatchEvent(
            new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
    }""")
    eventually(lambda: rows(page) == [["a", "1"], ["b", "2"]])


def test_rows_that_come_leave_the_hand_in_its_cell(visit, client):
    page = visit()
    open_adapt(page, sample="")
    page.get_by_label("Right answer 2").fill("42")
    page.keyboard.press("Home")
    press(page, "arithmetic")
    eventually(lambda: len(rows(page)) > 3)
    page.keyboard.type("1")
    eventually(lambda: rows(page)[0] == ["", "142"])
    page.get_by_label("Prompt 3").focus()
    page.get_by_label("Prompt 3").fill("")
    page.keyboard.type("its own row")
    press(page, "seven words")
    page.keyboard.type(", still")
    eventually(lambda: len(rows(page)) > 16)
    page.keyboard.type(" typed")
    eventually(lambda: "its own row, still typed" in [prompt for prompt, _ in rows(page)])


def test_an_empty_row_in_hand_is_kept_for_it(visit, client):
    page = visit()
    open_adapt(page, sample="")
    page.get_by_label("Right answer 3").focus()
    press(page, "arithmetic")
    eventually(lambda: len(rows(page)) > 3)
    page.keyboard.type("7")
    eventually(lambda: rows(page)[-1] == ["", "7"])


def test_what_was_refused_is_still_said_when_the_next_is_added(visit, client):
    page = visit()
    open_adapt(page, sample="")
    paste(page, "one column")
    press(page, "arithmetic")
    note(page).get_by_text("examples added").wait_for()
    assert "Line 1" in note(page).inner_text() and "bad" in note(page).get_attribute("class")
    press(page, "seven words")
    eventually(lambda: "Line 1" not in note(page).inner_text())
    page.evaluate("""() => { // typed before the answer comes
        document.querySelector("#adapt-paste-sheet textarea").value = "one column";
        document.querySelector("#adapt-paste-add").click();
        const cell = document.querySelector(".ex-row textarea");
        cell.value = "typed meanwhile";
        cell.dispatchEvent(new Event("input"));
    }""")
    note(page).get_by_text("Line 1").wait_for()
    assert rows(page)[0][0] == "typed meanwhile"


def test_clear_ends_what_is_still_being_added(visit, client):
    page = visit()
    open_adapt(page, sample="")
    paste(page, "rg:gcd:max_value=50 5")
    press(page, "arithmetic", "clear")
    assert page.locator(".ex-row.held").count() == 0
    press(page, "seven words")
    eventually(lambda: len(rows(page)) > 3, 60)
    words = rows(page)
    assert not [prompt for prompt, _ in words if prompt.startswith("Find the Greatest")]
    page.wait_for_timeout(500)
    assert rows(page) == words, "arithmetic was cleared before it began"


def test_a_removed_row_takes_its_part_of_the_split_along(visit, client):
    page = visit()
    open_adapt(page)
    client.late = {EstimateAdapt: 5.0}
    before = page.locator(".ex-row .tag").all_inner_texts()
    page.get_by_label("Remove row 2").click()
    assert page.locator(".ex-row .tag").all_inner_texts() == [before[0], *before[2:]]
