"""Tasks from reasoning_gym: settings, rows, parts that are kept apart, and their process."""

import json
import os
import re
import time

import generator_tasks
import pytest
from generator_tasks import SUMS

from t2ui.errors import InputError
from t2ui.generators import process
from t2ui.generators.process import Generator
from t2ui.generators.stream import SHARES, part_of
from t2ui.tasks import load_task, name_and_style
from t2ui.tasks.generated import opened
from t2ui.tasks.splits import same_prompt

sums, ask = generator_tasks.sums, generator_tasks.ask  # fixtures


def prompts(rows) -> set[str]:
    return {same_prompt(row.prompt) for row in rows}


# --- names and settings --------------------------------------------------------------------------


def test_settings_stand_behind_the_name_and_a_style_behind_them():
    assert name_and_style("rg:chain_sum") == ("rg:chain_sum", "")
    assert name_and_style("rg:chain_sum:question") == ("rg:chain_sum", "question")
    assert name_and_style(f"{SUMS}:question") == (SUMS, "question")


def test_a_name_keeps_the_settings_that_are_not_at_their_default():
    assert opened("rg:chain_sum:min_terms=2:max_digits=1").name == "rg:chain_sum:max_digits=1"


def test_settings_are_read_as_their_types(ask):
    typed = ["operators=+", "operators=-", "allow_negation=false"]
    assert ask(name="basic_arithmetic", settings=typed)["settings"] == typed
    questions = [ask(row=i)["question"] for i in range(8)]
    assert not re.search(r"[*/]", " ".join(questions))
    ask(name="word_sorting", settings=["transformation=uppercase"])
    assert ask(row=0)["answer"].isupper()
    typed = ["min_time=08.30", "min_date=1999-12-31"]
    written = ask(name="time_intervals", settings=typed)["settings"]
    assert written == ["min_time=08.30.00", "min_date=1999-12-31"]
    ask(name="number_sorting", settings=["min_value=0", "max_value=9.5"])
    ask(name="figlet_font", settings=["static_word=on", "static_font=standard"])
    assert ask(row=0)["answer"] == "on"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rg:chain_sums", "no generator 'chain_sums' in reasoning_gym; near it: chain_sum"),
        ("rg:nope", "are listed in its GALLERY.md (https://"),
        ("rg:composite", "There is no generator 'composite'"),
        ("rg:lcm:max_value=x", "max_value is 'x'; expected a whole number. Its settings: min_num"),
        ("rg:lcm:bound=3", "rg:lcm has no setting 'bound=3'. Its settings: min_numbers=2, "),
        ("rg:lcm:seed=3", "rg:lcm has no setting 'seed=3'"),
        ("rg:lcm:5", "rg:lcm has no setting '5'"),
        ("rg:lcm:max_value=0", "rg:lcm refuses these settings (max_value must be > min_value)"),
        ("rg:lcm:max_value=5:max_value=6", "max_value is given 2 times; once is enough"),
        ("rg:number_sorting:max_value=x", "max_value is 'x'; expected a number"),
        ("rg:chain_sum:allow_negation=yes", "expected true or false"),
        ("rg:word_sorting:transformation=x", "expected lowercase, uppercase, original, randomcase"),
        ("rg:list_functions:x=1", "It has no settings."),
    ],
)
def test_what_there_is_none_of_is_one_line(name, said, ask):
    kind, *typed = name.removeprefix("rg:").split(":")
    with pytest.raises(InputError) as refused:
        ask(name=kind, settings=typed)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("package", ["reasoning_gym", "cellpylib"])
def test_a_package_that_is_not_installed_is_named(package, tmp_path, monkeypatch):
    absent = f"raise ModuleNotFoundError('No module named {package}', name='{package}')"
    (tmp_path / f"{package}.py").write_text(absent, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match=rf"not installed: pip install {package}\.$"):
        opened("rg:game_of_life")


def test_settings_under_which_there_are_no_rows(tiny_tokenizer):
    with pytest.raises(InputError, match="rg:spell_backward:min_word_len=30:max_word_len=40 makes"):
        load_task("rg:spell_backward:min_word_len=30:max_word_len=40", tiny_tokenizer)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"style": "loud"}, "expected chat or question"), ({"train_rows": -1}, "train_rows is -1")],
)
def test_options_that_cannot_be(options, said, tiny_tokenizer):
    with pytest.raises(InputError, match=said):
        load_task("rg:lcm", tiny_tokenizer, **options)


# --- rows ----------------------------------------------------------------------------------------


def test_rows_are_token_ids_with_the_right_answer_behind(sums, tiny_tokenizer):
    assert [len(part) for part in (sums.train, sums.validation, sums.test)] == [20, 5, 10]
    row = sums.train[0]
    question, line = row.prompt.split("\n")
    left, sign, right = re.search(r"(\d+) ([-+]) (\d+) =$", question).groups()
    said = int(left) + int(right) if sign == "+" else int(left) - int(right)
    assert line == "Answer with the number only."
    assert tiny_tokenizer.decode(row.target, skip_special_tokens=True) == str(said)
    assert row.target[-1] == tiny_tokenizer.eos_token_id
    assert sums.name == SUMS and sums.labels == ("chain_sum",)
    assert sums.max_new_tokens == 32 and sums.grade(f" {said}\n", row.answer)


def test_the_line_on_the_form_can_be_another_or_none(tiny_tokenizer):
    few = {"train_rows": 2, "validation_rows": 2, "limit": 2}
    alone = load_task(SUMS, tiny_tokenizer, style="question", **few)
    assert alone.train[0].prompt.endswith("=")
    other = load_task(SUMS, tiny_tokenizer, instruction="In digits.", **few)
    assert other.train[0].prompt == f"{alone.train[0].prompt}\nIn digits."
    assert other.name != alone.name and [row.id for row in other.test] == [
        row.id for row in alone.test
    ]
    assert load_task(SUMS, tiny_tokenizer, instruction="", **few).train[0] == alone.train[0]


def test_training_rows_can_stand_before_the_question(tiny_tokenizer):
    few = {"train_rows": 4, "validation_rows": 2, "limit": 2}
    alone = load_task(SUMS, tiny_tokenizer, **few)
    shown = load_task(SUMS, tiny_tokenizer, shots=2, **few)
    before = "".join(
        f"{row.prompt}\n{tiny_tokenizer.decode(row.target, skip_special_tokens=True)}\n\n"
        for row in alone.train[:2]
    )
    assert [row.prompt for row in shown.test] == [before + row.prompt for row in alone.test]
    assert [row.id for row in shown.test] == [row.id for row in alone.test]
    assert shown.name == f"{alone.name}:shots=2"
    with pytest.raises(InputError, match="shots is -1; expected 0 or more"):
        load_task(SUMS, tiny_tokenizer, shots=-1)


def test_a_prompt_is_in_one_part_under_all_settings_and_counts(tiny_tokenizer):
    """Sums of one digit are few: the parts would share prompts if seeds alone kept them apart."""
    tasks = [
        load_task(SUMS, tiny_tokenizer),
        load_task(f"{SUMS}:min_terms=2", tiny_tokenizer, train_rows=10, limit=30),
        load_task("rg:chain_sum:max_terms=2:max_digits=2", tiny_tokenizer, train_rows=500),
    ]
    found = {
        part: set().union(*(prompts(getattr(task, part)) for task in tasks)) for part in SHARES
    }
    assert not found["train"] & found["test"] and not found["train"] & found["validation"]
    assert not found["validation"] & found["test"]
    whole = tasks[0]
    parts = [whole.train, whole.validation, whole.test]
    asked_for = sum(map(len, parts))
    assert asked_for == len(prompts([row for part in parts for row in part])) == 200
    assert all(len(part) > 8 for part in parts)
    assert list(tasks[1].test) == list(whole.test[:30])  # more rows go on where fewer end


def test_parts_have_about_their_share_of_all_prompts():
    counts = {part: 0 for part in SHARES}
    for i in range(4000):
        counts[part_of(f"What is {i}?")] += 1
    assert all(abs(counts[part] / 40 - share) < 3 for part, share in SHARES.items())
    assert part_of("What  is\n7?") == part_of("What is 7?")


def test_rows_are_the_same_in_every_process_and_order(ask):
    """Some generators go through sets, whose order depends on the process, or draw from the
    generator that Python shares."""
    other = process._Child()
    try:
        for kind in ("isomorphic_strings", "ransom_note", "list_functions", "pool_matrix"):
            ask(name=kind, settings=[])
            rows = [ask(row=i) for i in range(6)]
            other.asked(json.dumps({"name": kind, "settings": []}), 300)
            again = [other.asked(json.dumps({"row": i}), 300) for i in reversed(range(6))]
            assert again == rows[::-1], kind
    finally:
        process._end(other)


def test_training_rows_are_made_only_where_they_are_looked_at(tiny_tokenizer, monkeypatch):
    made, row = [], Generator.row
    monkeypatch.setattr(Generator, "row", lambda self, i: (made.append(i), row(self, i))[1])
    task = load_task("rg:gcd", tiny_tokenizer, limit=3)
    assert len(task.test) == 3 and len(made) < 100
    assert len(task.train) == 4000 and len(made) > 4000


# --- their process -------------------------------------------------------------------------------


def test_a_process_that_does_not_start_is_one_line(monkeypatch, tmp_path):
    here = tmp_path / "child.py"
    here.write_text("raise SystemExit(3)", encoding="utf-8")
    monkeypatch.setattr(process, "CHILD", here)
    with pytest.raises(InputError, match="rg:gcd did not start: its process ended"):
        Generator("gcd", [])


def test_the_process_ends_with_what_asked_it():
    made = Generator("gcd", [])
    pid = made._child.process.pid
    del made
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("it goes on")
