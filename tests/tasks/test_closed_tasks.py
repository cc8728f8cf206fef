"""Task files: rows as token ids, errors that name the line, and no test prompt in training."""

import itertools
import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from public_sets import write
from tiny import END_ID

from t2ui.config import OTHERS
from t2ui.errors import InputError
from t2ui.inference.dispatch import DispatchPrompt
from t2ui.jsonl import read_jsonl
from t2ui.models.likelihood import micro_batches
from t2ui.models.questions import Question
from t2ui.tasks import Example, dispatch_rows, load_task, word_problems
from t2ui.tasks.batching import shuffled
from t2ui.tasks.choice import choice_row

HARD = Path(__file__).parents[1] / "data" / "dispatch_hard.jsonl"
ARC_ROW = {
    "id": "q1",
    "question": "Which is a metal?",
    "choices": [
        {"label": "A", "text": "wood"},
        {"label": "B", "text": " iron "},
        {"label": "C", "text": "höney"},
    ],
    "answerKey": "B",
}


# --- JSON Lines ----------------------------------------------------------------------------------


def test_rows_in_order_blank_lines_skipped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\r\n\n  \n{"a": 2, "b": 3}')
    assert read_jsonl(path, ("a",)) == [{"a": 1}, {"a": 2, "b": 3}]


def test_a_line_separator_inside_a_string_is_no_new_line(tmp_path):
    """json.dumps(ensure_ascii=False) writes U+2028 and U+0085 as they are."""
    path = tmp_path / "rows.jsonl"
    text = "one\u2028two\u0085three\u001dfour"
    path.write_text(json.dumps({"a": text}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_jsonl(path, ("a",)) == [{"a": text}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n\n{"a": ', r"rows.jsonl, line 3: not JSON \(Expecting value\)"),
        ('{"a": 1}\n{"b": 1}\n', "rows.jsonl, line 2: no field a; every line needs a"),
        ('{"a": 1}\n[1, 2]\n', r"rows.jsonl, line 2: \[1, 2\] is not a JSON object"),
        ('"a"\n', 'rows.jsonl, line 1: "a" is not a JSON object'),
        ("", "rows.jsonl has no rows"),
        ("\n\n", "rows.jsonl has no rows"),
        ('{"a": "x"}\n{"a": ' + "[" * 200_000, "rows.jsonl, line 2: brackets are too deep"),
        ('{"a": "\\ud83d"}', "rows.jsonl, line 1: half a character"),
    ],
)
def test_malformed_lines_are_named(tmp_path, text, message):
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        read_jsonl(tmp_path / "rows.jsonl", ("a",))


def test_files_that_are_missing_or_of_another_encoding(tmp_path):
    with pytest.raises(InputError, match="There is no data file at .*none.jsonl"):
        read_jsonl(tmp_path / "none.jsonl", ("a",))
    (tmp_path / "latin.jsonl").write_bytes('{"a": "é"}'.encode("latin-1"))
    with pytest.raises(InputError, match="latin.jsonl is not UTF-8"):
        read_jsonl(tmp_path / "latin.jsonl", ("a",))


def test_a_mark_of_its_encoding_is_no_part_of_a_file(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": "\\ud83d\\ude00"}', encoding="utf-8-sig")
    assert read_jsonl(tmp_path / "rows.jsonl", ("a",)) == [{"a": "\U0001f600"}]


def test_fields_that_must_be_texts(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": "x", "b": 1}\n{"a": 5, "b": 1}\n')
    assert len(read_jsonl(tmp_path / "rows.jsonl", ("a", "b"))) == 2
    with pytest.raises(InputError, match="rows.jsonl, line 2: a is 5; expected a text"):
        read_jsonl(tmp_path / "rows.jsonl", ("a", "b"), ("a",))


def test_shuffled_is_a_permutation_by_seed():
    rows = list(range(50))
    assert shuffled(rows, 1) == shuffled(rows, 1) != shuffled(rows, 2)
    assert sorted(shuffled(rows, 1)) == rows == list(range(50))


def closed(prompt: int, *options: int) -> Example:
    question = Question((5,) * prompt, tuple((6,) * n for n in options))
    return Example(f"{prompt}-{options}", question, 0, tuple(options))


def test_micro_batches_hold_every_row_once_and_keep_to_their_tokens():
    rows = [closed(p, 1 + p * 7 % 13, 1 + p * 5 % 11) for p in range(1, 60)]
    rows += [closed(60 - p, 1, p) for p in range(1, 60, 7)]  # alike in tokens, not in shape
    batches = list(micro_batches(rows, 300))
    assert Counter(r.id for b in batches for r in b) == Counter(r.id for r in rows)
    assert len(batches) < len(rows) / 2
    for batch in batches:
        left = max(len(r.question.prompt) for r in batch)
        right = max(r.question.tokens - len(r.question.prompt) for r in batch)
        assert (left + right) * len(batch) <= 300


def test_micro_batches_are_as_large_as_their_rows_allow():
    wide, long = closed(40, 1, 1), closed(1, 20, 21)
    assert [len(batch) for batch in micro_batches([wide, long] * 3, 6 * 40)] in ([3, 3], [6])
    assert [len(batch) for batch in micro_batches([wide] * 3 + [long] * 3, 120)] == [3, 3]


def test_a_row_that_is_too_long_by_itself_is_a_batch():
    rows = [closed(50, 1, 1), closed(2, 1, 1), closed(60, 1, 1)]
    assert [[r.id for r in b] for b in micro_batches(rows, 10)] == [
        ["2-(1, 1)"],
        ["50-(1, 1)"],
        ["60-(1, 1)"],
    ]


# --- multiple choice -----------------------------------------------------------------------------


def test_an_arc_row_in_chat_style(tiny_tokenizer):
    row = choice_row(tiny_tokenizer, ARC_ROW, "test.jsonl, row 1", "chat", end=False)
    prompt = "<|im_start|>user\nWhich is a metal?<|im_end|>\n<|im_start|>assistant\n"
    assert tiny_tokenizer.decode(row.question.prompt) == prompt
    assert [tiny_tokenizer.decode(o) for o in row.question.options] == ["wood", "iron", "höney"]
    assert (row.id, row.correct, row.lengths) == ("q1", 1, (4, 4, 6))


def test_an_arc_row_in_the_layout_of_lm_evaluation_harness(tiny_tokenizer):
    row = choice_row(tiny_tokenizer, ARC_ROW, "", "plain", end=True)
    assert tiny_tokenizer.decode(row.question.prompt) == "Question: Which is a metal?\nAnswer:"
    assert tiny_tokenizer.decode(row.question.options[1][:-1]) == " iron"
    assert all(option[-1] == END_ID for option in row.question.options)
    assert row.lengths == (5, 5, 7)


def test_numbered_keys(tiny_tokenizer):
    choices = [{"label": n, "text": f"t{n}"} for n in (1, 2, 3)]
    row = {**ARC_ROW, "choices": choices, "answerKey": "3"}
    assert choice_row(tiny_tokenizer, row, "", "chat", False).correct == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answerKey": "D"}, r"x.jsonl, row 7: answerKey 'D' among choices \['A', 'B', 'C'\]"),
        ({"answerKey": ""}, "answerKey ''"),
        ({"choices": ARC_ROW["choices"][1:2]}, "at least two choices"),
        ({"choices": []}, "at least two choices"),
        ({"choices": {"text": ["a"], "label": ["A"]}}, "row 7: choices are .*a list of objects"),
        ({"choices": [{"label": "B"}]}, "a list of objects with label and text"),
        ({"choices": [*ARC_ROW["choices"], {"label": "D", "text": " "}]}, "choice D is empty"),
    ],
)
def test_bad_choices(tiny_tokenizer, change, message):
    with pytest.raises(InputError, match=message):
        choice_row(tiny_tokenizer, {**ARC_ROW, **change}, "x.jsonl, row 7", "chat", False)


def test_unknown_style(tiny_tokenizer):
    with pytest.raises(InputError, match="style is 'letter'; expected chat or plain"):
        choice_row(tiny_tokenizer, ARC_ROW, "", "letter", False)


def test_arc_splits_are_kept_apart(tiny_tokenizer, tmp_path):
    for part, count in (("train", 3), ("dev", 2), ("test", 1)):
        rows = [{**ARC_ROW, "id": f"{part}{i}", "question": f"{part} {i}?"} for i in range(count)]
        write(tmp_path / "arc_easy" / f"{part}.jsonl", rows)
    task = load_task("arc_easy", tiny_tokenizer, tmp_path)
    assert [r.id for r in task.train] == ["train0", "train1", "train2"]
    assert [r.id for r in task.validation] == ["dev0", "dev1"]
    assert [r.id for r in task.test] == ["test0"]
    assert (task.name, task.labels) == ("arc_easy", ("reasoning",))


def test_errors_of_a_task_file_name_it(tiny_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # as where it is not installed
    for part in ("train", "dev", "test"):
        write(tmp_path / "arc_easy" / f"{part}.jsonl", [ARC_ROW, {**ARC_ROW, "answerKey": "Z"}])
    with pytest.raises(InputError, match="train.jsonl, row 2: answerKey 'Z'"):
        load_task("arc_easy", tiny_tokenizer, tmp_path)
    write(tmp_path / "arc_easy" / "train.jsonl", [{"id": 1}])
    with pytest.raises(InputError, match="train.jsonl, line 1: no field question, choices, answ"):
        load_task("arc_easy", tiny_tokenizer, tmp_path)
    with pytest.raises(InputError, match="There is no data file at .*arc_challenge"):
        load_task("arc_challenge", tiny_tokenizer, tmp_path)


def test_unknown_task(tiny_tokenizer, tmp_path):
    with pytest.raises(InputError, match="There is no task 'poetry'; there are: arc_easy, arc_ch"):
        load_task("poetry", tiny_tokenizer, tmp_path)


@pytest.mark.parametrize(("name", "rows"), [("arc_easy", 2376), ("arc_challenge", 1172)])
def test_the_public_arc_files_parse(tiny_tokenizer, data_dir, name, rows):
    task = load_task(name, tiny_tokenizer, data_dir, end=True)
    assert len(task.test) == rows
    for part in (task.train, task.validation, task.test):
        assert len({row.id for row in part}) == len(part)
        assert all(len(o) >= 2 for row in part for o in row.question.options)
        answers = Counter(row.correct for row in part)
        assert max(answers.values()) < 0.35 * len(part)  # no position is always right
    asked = [
        {" ".join(row.prompt.split()) for row in part}
        for part in (task.train, task.validation, task.test)
    ]
    # as published, seven and six questions of test stand in train
    assert not asked[0] & asked[1] and not (asked[0] | asked[1]) & asked[2]


# --- dispatch ------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path) -> Path:
    """A small copy of the public data's layout."""

    def questions(part, count):
        return [{"question": f"{part} {i}?"} for i in range(count)]

    for part in ("train", "test"):
        write(tmp_path / "gsm8k" / f"{part}.jsonl", questions(f"gsm8k {part}", 40))
    for part in ("train", "dev"):
        write(tmp_path / "strategyqa" / f"{part}.jsonl", questions(f"strategyqa {part}", 20))
    problems = [  # no two alike: the split keeps those together
        {"id": str(i), "question": f"arith {a}{b}?", "equation": "X=1 + 1", "answer": "2"}
        for i, (a, b) in enumerate(itertools.product("pqrstu", "vwxyz"))
    ]
    write(tmp_path / "arith_aggregate" / "all.jsonl", problems)
    for level in ("easy", "challenge"):
        for part in ("train", "test"):
            rows = [{**ARC_ROW, "question": f"arc {level} {part} {i}?"} for i in range(20)]
            write(tmp_path / f"arc_{level}" / f"{part}.jsonl", rows)
    mbpp = [
        {"prompt": f"mbpp {split} {i}", "test_list": [f"assert f({i})"], "split": split}
        for split in ("train", "test", "prompt")
        for i in range(30)
    ]
    write(tmp_path / "mbpp" / "full.jsonl", mbpp)
    write(tmp_path / "humaneval" / "test.jsonl", [{"prompt": f"def human{i}():"} for i in range(9)])
    return tmp_path


def prompt_of(row: Example) -> str:
    return row.id.removeprefix(f"{row.family}: ")


def families(rows) -> set[str]:
    return {row.family for row in rows}


def test_dispatch_rows_ask_what_pass_one_asks(tiny_tokenizer, data):
    """The same ids as the dispatcher's, or training would teach another question."""
    task = load_task("dispatch", tiny_tokenizer, data)
    form = DispatchPrompt.of(tiny_tokenizer, task.labels)
    row = next(row for row in task.test if row.family == "humaneval")
    asked = form.question(tiny_tokenizer, prompt_of(row))
    assert row.question == Question((*form.before, *asked.prompt), asked.options)
    assert task.labels[row.correct] == "code"
    assert (task.objective, task.labels) == ("dispatch", ("math", "code", "reasoning", OTHERS))


def test_dispatch_labels_by_family(tiny_tokenizer, data):
    task = load_task("dispatch", tiny_tokenizer, data)
    wanted = {
        "gsm8k": "math",
        "arith": "math",
        "mbpp": "code",
        "humaneval": "code",
        "arc_easy": "reasoning",
        "arc_challenge": "reasoning",
        "strategyqa": "reasoning",
    }
    for row in (*task.train, *task.validation, *task.test):
        if row.family in wanted:
            assert task.labels[row.correct] == wanted[row.family]
    own = {task.labels[r.correct] for r in task.train if r.family == "own requests"}
    assert own == set(task.labels)


def test_dispatch_splits_of_public_sets_stay_apart(tiny_tokenizer, data):
    task = load_task("dispatch", tiny_tokenizer, data)
    trained = [prompt_of(row) for row in (*task.train, *task.validation)]
    split = re.compile(r"^(?:gsm8k|strategyqa|mbpp|arc \w+) (train|test|dev|prompt) ")
    assert {m[1] for p in trained if (m := split.match(p))} == {"train"}
    assert not any(prompt.startswith("def human") for prompt in trained)
    tested = [prompt_of(row) for row in task.test]
    assert {m[1] for p in tested if (m := split.match(p))} == {"test", "dev"}
    assert families(task.test) >= {"gsm8k", "arith", "mbpp", "humaneval", "strategyqa"}
    arith = [{p for p in prompts if p.startswith("arith")} for prompts in (trained, tested)]
    parts = word_problems.arith_questions(data)
    assert arith[0] == set(parts["train"]) and arith[1] == set(parts["test"])
    assert len(arith[0]) > 10 and len(arith[1]) > 10 and not arith[0] & arith[1]


def test_a_question_of_both_splits_is_not_tested(tiny_tokenizer, data):
    """Whether its choices are shown or not, and whatever its capitals."""
    rows = [{**ARC_ROW, "question": f"Both {i}?"} for i in range(20)]
    write(data / "arc_easy" / "train.jsonl", rows)
    tests = [{**ARC_ROW, "question": q} for i in range(20) for q in (f"both  {i}?", f"One {i}?")]
    write(data / "arc_challenge" / "test.jsonl", tests)
    found = [p for _, f, p in dispatch_rows.test_prompts(data) if f == "arc_challenge"]
    assert sorted(p.split("\n")[0] for p in found) == sorted(f"One {i}?" for i in range(20))


def test_a_limit_counts_prompts_of_each_family(data):
    counts = Counter(family for _, family, _ in dispatch_rows.test_prompts(data, limit=7))
    assert counts.pop("arc_easy") == 7
    assert set(counts.values()) == {7}


def test_train_and_validation_share_no_prompt(tiny_tokenizer, data):
    task = load_task("dispatch", tiny_tokenizer, data)
    assert not {r.id for r in task.train} & {r.id for r in task.validation}
    assert {task.labels[r.correct] for r in task.validation} == set(task.labels)


def test_a_family_that_is_left_out_is_only_tested(tiny_tokenizer, data):
    task = load_task("dispatch", tiny_tokenizer, data, leave_out=("strategyqa", "arith"))
    assert not {"strategyqa", "arith"} & families((*task.train, *task.validation))
    assert {"strategyqa", "arith"} <= families(task.test)
    assert "gsm8k" in families(task.train)
    assert task.data["left out"] == "strategyqa, arith"


def test_leaving_out_all_of_a_label_is_refused(tiny_tokenizer, data):
    with pytest.raises(InputError, match="leaves no training prompts for others"):
        load_task("dispatch", tiny_tokenizer, data, leave_out=("own requests",))


def test_the_same_call_gives_the_same_rows(tiny_tokenizer, data):
    first, again = (load_task("dispatch", tiny_tokenizer, data) for _ in range(2))
    assert first == again


def test_hard_prompts_are_only_tested(tiny_tokenizer, data, tmp_path):
    rows = [
        {"prompt": "add it up", "label": "math", "note": "x"},
        {"prompt": "hi", "label": OTHERS, "note": "small talk, not trained on"},
        {"prompt": "ho", "label": OTHERS, "note": "same kind as chat"},
    ]
    hard = write(tmp_path / "hard.jsonl", rows)
    task = load_task("dispatch", tiny_tokenizer, data, hard=hard)
    found = {prompt_of(r): (r.family, task.labels[r.correct]) for r in task.test[-3:]}
    assert found == {
        "add it up": ("hard math", "math"),
        "hi": ("hard others, unseen kinds", OTHERS),
        "ho": ("hard others, trained kinds", OTHERS),
    }
    write(hard, [{"prompt": "hi", "label": "poetry", "note": "x"}])
    with pytest.raises(InputError, match="hard.jsonl: the label 'poetry' is none of math, code"):
        load_task("dispatch", tiny_tokenizer, data, hard=hard)


@pytest.mark.parametrize(
    ("file", "row", "message"),
    [
        ("gsm8k/train.jsonl", {"q": 1}, "train.jsonl, line 1: no field question"),
        ("mbpp/full.jsonl", {"prompt": "x"}, "full.jsonl, line 1: no field test_list, split"),
        ("humaneval/test.jsonl", [], r"test.jsonl, line 1: \[\] is not a JSON object"),
    ],
)
def test_malformed_dispatch_data(tiny_tokenizer, data, file, row, message):
    write(data / file, [row])
    with pytest.raises(InputError, match=message):
        load_task("dispatch", tiny_tokenizer, data)


def words(row: Example) -> str:
    """What is asked: ARC's choices and MBPP's tests follow on further lines in some prompts."""
    prompt = prompt_of(row)
    asked = prompt.split("\n")[0] if row.family.startswith(("arc", "mbpp")) else prompt
    return " ".join(re.findall(r"\w+", asked.casefold()))


def test_no_test_prompt_is_in_training_in_the_real_data(tiny_tokenizer, data_dir):
    task = load_task("dispatch", tiny_tokenizer, data_dir, hard=HARD)
    trained = {words(row) for row in (*task.train, *task.validation)}
    assert [row.id for row in task.test if words(row) in trained] == []
    assert Counter(row.family for row in task.test)["arc_challenge"] == 400
    both = {r.id for r in task.train} & {r.id for r in task.validation}
    assert both == set()
    counts = Counter(task.labels[row.correct] for row in task.train)
    assert set(counts) == set(task.labels)
    kinds = Counter(r["label"] for r in read_jsonl(dispatch_rows.OWN_KINDS, ("label",)))
    assert all(counts[label] <= dispatch_rows.PER_LABEL + kinds[label] for label in counts)


def test_every_own_training_request_trains(tiny_tokenizer, data_dir):
    task = load_task("dispatch", tiny_tokenizer, data_dir)
    rows = read_jsonl(dispatch_rows.OWN_REQUESTS, ("prompt", "label", "split"))
    for split, used in (("train", task.train), ("validation", task.validation)):
        own = {(task.labels[r.correct], prompt_of(r)) for r in used if r.family == "own requests"}
        assert own == {(r["label"], r["prompt"]) for r in rows if r["split"] == split}
