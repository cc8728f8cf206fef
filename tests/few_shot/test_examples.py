"""Examples that a person gives: pairs, files, shots of a task, and what counts as their answer."""

from dataclasses import replace

import pytest
from tiny_examples import open_example

from t2ui.errors import InputError
from t2ui.few_shot.examples import answers, examples_of, read_examples, shots_of
from t2ui.tasks import Task


def test_pairs_become_chat_prompts_with_the_end_token(tiny_tokenizer):
    (example,) = examples_of(tiny_tokenizer, [("2 + 2?", "4")])
    text = tiny_tokenizer.decode(example.question.prompt)
    assert text == "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    assert tiny_tokenizer.decode(example.target) == "4<|im_end|>"
    assert example.answer == "4"
    with pytest.raises(InputError, match="row 2: the answer is ' '"):
        examples_of(tiny_tokenizer, [("a", "b"), ("c", " ")])


def test_a_file_of_open_and_closed_examples(tmp_path, tiny_tokenizer):
    path = tmp_path / "few.jsonl"
    path.write_text(
        '{"prompt": "2 + 2?", "answer": 4}\n\n'
        '{"prompt": "Ice is", "answer": "cold", "options": ["hot", "cold"]}\n'
    )
    first, second = read_examples(tiny_tokenizer, path)
    assert first.answer == "4" and len(first.question.options) == 1
    assert second.correct == 1 and second.lengths == (3, 4)
    assert tiny_tokenizer.decode(second.target) == "cold"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "few.jsonl has no rows"),
        ('{"prompt": "a", "answer": "b"}\n{"prompt":', "line 2: not JSON"),
        ('\n\n{"prompt": "a"}', "line 3: no field answer"),
        ("[1]", "line 1: .* is not a JSON object"),
        ('{"prompt": 3, "answer": "b"}', "row 1: the prompt is 3"),
        ('{"prompt": "a", "answer": true}', "row 1: the answer is True"),
        ('{"prompt": "a", "answer": "b", "options": "b"}', "a list of texts"),
        ('{"prompt": "a", "answer": "b", "options": ["c", "d"]}', "the answer among them"),
        ('{"prompt": "a", "answer": "b", "options": ["b"]}', "two or more"),
        ('{"prompt": "a", "answer": "b", "options": ["b", "b", "c"]}', "two or more"),
    ],
)
def test_bad_files_of_examples(tmp_path, tiny_tokenizer, text, said):
    path = tmp_path / "few.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_examples(tiny_tokenizer, path)


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("So she has 1,200.", "1200", True),
        ("12 in all, or 13", "12", False),
        ("The answer is: Oxygen!", "oxygen", True),
        ("dioxygen", "oxygen", False),
        ("new  York city", "New York", True),
        ("3 apples", "3 apples", True),
        ("3 pears", "3 apples", False),
        ("", "x", False),
    ],
)
def test_whether_a_text_gives_the_answer(text, answer, right):
    assert answers(text, answer) is right


def test_shots_never_come_from_the_test_rows():
    parts = [tuple(open_example(f"{part} {i}") for i in range(5)) for part in "tvx"]
    task = Task("t", parts[0], parts[1], parts[2])
    found = shots_of(task, 3, seed=0)
    assert len({e.id for e in found}) == 3 and {e.id[0] for e in found} == {"v"}
    assert found == shots_of(task, 5, seed=0)[:3] != shots_of(task, 3, seed=1)
    assert shots_of(replace(task, validation=()), 1, seed=0)[0].id[0] == "t"
    with pytest.raises(InputError, match="has 5 rows .* 6 were asked for"):
        shots_of(task, 6, seed=0)
