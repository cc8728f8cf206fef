"""ui: Adapt's examples: samples, what is pasted or uploaded, rows from a generator. No browser."""

import asyncio
import threading

import pytest

from t2ui.config import DEFAULT_MODEL, default_experts_dir
from t2ui.errors import InputError
from t2ui.generators.stream import part_of
from t2ui.messages import Adapt
from t2ui.svf.library import load_library
from t2ui.ui.adapt.generated import MadeRows, names_a_generator
from t2ui.ui.shared.examples import (
    MAX_ROWS,
    MAX_TEXT,
    filled,
    merged,
    parse,
    rows_of,
    samples,
)

# --- examples ------------------------------------------------------------------------------------


def test_the_samples_are_whole_and_each_is_enough_to_hold_some_out():
    for one in samples().values():
        assert len(one["rows"]) >= 10 and one["hint"]
        assert all(prompt.strip() and right.strip() for prompt, right in one["rows"])
        Adapt(one["rows"])


def test_the_expert_that_a_sample_is_for_ships():
    shipped = load_library(default_experts_dir() / DEFAULT_MODEL)
    assert {one["expert"] for one in samples().values()} <= set(shipped.answering)


def test_the_arithmetic_sample_is_right():
    from t2ui.tasks.numbers import answered_number

    for _, worked in samples()["arithmetic"]["rows"]:
        for line in worked.split("\n"):
            left, right = line.split("=")
            value = eval(left, {"__builtins__": {}})  # our own text: numbers and one sign
            assert value == answered_number(right), line


@pytest.mark.parametrize(
    "text",
    [
        "a,1\nb,2",
        "prompt,answer\na,1\nb,2\n",
        'question;target\n"a";1\nb;2',
        "a\t1\nb\t2",
        "id,Answer,note,Prompt\n7,1,x,a\n8,2,y,b",
        '\ufeff{"prompt": "a", "answer": 1}\n\n{"question": "b", "target": "2", "id": 3}',
        "a,1\r\nb,2\r\n",
    ],
)
def test_csv_tabs_and_json_lines_are_read(text):
    assert parse(text) == [("a", "1"), ("b", "2")]


def test_quoted_cells_may_hold_commas_and_lines():
    assert parse('"a, and\nb","1, 2"') == [("a, and\nb", "1, 2")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no text"),
        (None, "no text"),
        ("only one column\n", "Line 1 has 1 column"),
        ("a,1\nb\n", "Line 2"),
        ("a,1\nb, \n", "Line 2 has no answer"),
        ("one, two, three", "Line 1 has 3 columns"),
        (
            '{"prompt": "a", "answer": "1"}\n{"prompt": ',
            "Line 2 is not JSON .*, at its character 12",
        ),
        ('{"prompt": "a"}', "expected prompt and answer"),
        ('{"prompt": "a", "answer": "1"}\n[1]', "Line 2 is not a JSON object"),
        ("prompt,answer\n", "No example"),
        ("x" * 5000 + ",1", "5,000 characters"),
        ("x" * (MAX_TEXT + 1), "at most"),
    ],
)
def test_text_that_cannot_be_read_says_where_and_what_is_expected(text, words):
    with pytest.raises(InputError, match=words):
        parse(text)


def test_new_rows_join_the_old_ones_once_and_only_so_many():
    rows, note = merged([("a", "1"), ("", " ")], [("a", "1"), ("b", "2")])
    assert rows == [("a", "1"), ("b", "2")] and note == "1 example added."
    rows, note = merged([("a", "1"), ("a", "1")], [("b", "2"), ("b", "2")])
    assert rows == [("a", "1"), ("a", "1"), ("b", "2")], "what was typed twice stays"
    assert note == "1 example added."
    rows, note = merged([], [(str(n), "x") for n in range(MAX_ROWS + 6)])
    assert len(rows) == MAX_ROWS and "6 are left out" in note


@pytest.mark.parametrize("value", [None, [], {"rows": 3}, {"rows": [1, [2], ["a", "b", "c"]]}])
def test_nonsense_from_the_browser_is_no_row(value):
    assert rows_of(value) == []


def test_rows_keep_their_places_when_blank_ones_are_left_out():
    assert filled([("", ""), ("a", "1"), (" ", ""), ("b", "")]) == (
        [("a", "1"), ("b", "")],
        [1, 3],
    )


# --- rows from a generator -----------------------------------------------------------------------


def test_a_generators_rows_are_examples():
    """The first that no training reads, and no evaluation."""
    made = asyncio.run(MadeRows(False).rows(" rg:chain_sum:max_terms=2:max_digits=2 5\n"))
    assert len(set(made)) == 5
    Adapt(tuple(made))
    for prompt, right in made:
        question, line = prompt.split("\n")
        left, sign, other = question.split(":")[1].strip(" =").split()
        assert int(right) == int(left) + int(other) * (1 if sign == "+" else -1)
        assert line == "Answer with the number only." and part_of(question) == "validation"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rg:lcms", "no generator 'lcms'"),
        ("rg:lcm:bound=3 4", "has no setting 'bound=3'"),
        ("rg:lcm four", "names no generator; expected e.g."),
        ("rg:lcm 99999", "99999 rows were asked for; 1 to 64 fit"),
        ("rg:lcm 0", "0 rows were asked for; 1 to 64 fit"),
        ("rg:lcm 65", "65 rows were asked for"),
        ("rg:boxnet 2", "rg:boxnet has no rows with a right answer"),
        ("rg:rectangle_count 2", "at most 4,000 fit: choose smaller settings"),
    ],
)
def test_rows_that_cannot_be_made_say_why(text, words):
    with pytest.raises(InputError, match=words):
        asyncio.run(MadeRows(False).rows(text))


def test_a_slow_generator_is_given_up(monkeypatch):
    monkeypatch.setattr("t2ui.ui.adapt.generated.SECONDS", 0.0)
    with pytest.raises(InputError, match="rg:gcd made 0 rows in 0 s: ask for fewer, or choose eas"):
        asyncio.run(MadeRows(False).rows("rg:gcd"))


def test_rows_are_made_for_one_at_a_time_and_not_for_strangers(monkeypatch):
    began, go_on = threading.Event(), threading.Event()

    def slow(name, count, seconds):
        began.set()
        assert go_on.wait(20)
        return [("1 + 1?", "2")] * count

    monkeypatch.setattr("t2ui.ui.adapt.generated.sample_rows", slow)

    async def two():
        made = MadeRows(False)
        first = asyncio.create_task(made.rows("rg:gcd 3"))
        await asyncio.to_thread(began.wait, 20)
        with pytest.raises(InputError, match="being made for somebody else"):
            await made.rows("rg:gcd 3")
        go_on.set()
        assert len(await first) == 3
        assert len(await made.rows("rg:gcd 4")) == 4

    asyncio.run(two())
    with pytest.raises(InputError, match="A public app, or a workshop, makes no rows"):
        asyncio.run(MadeRows(True).rows("rg:gcd"))


def test_only_a_name_asks_for_rows():
    assert names_a_generator(" rg:gcd") and names_a_generator("rg:")
    assert not any(map(names_a_generator, ("a,b", '{"prompt": "rg:"}', "", None, 3)))
