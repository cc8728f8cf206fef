"""Sets from the hub: fetched once, kept in the cache, and read as if they had been here."""

import sys
from types import SimpleNamespace

import public_sets
import pytest
from public_sets import mbpp_row
from tiny import text_of

from t2ui.errors import InputError
from t2ui.tasks import load_task

mbpp = public_sets.mbpp  # a fixture
own_cache = public_sets.own_cache  # a fixture for every test here

HUB_ROWS = {
    ("openai/gsm8k", "train"): [{"question": "1+1?", "answer": "One and one.\n#### 1,002"}] * 20,
    ("openai/gsm8k", "test"): [{"question": "2+2?", "answer": "#### -4"}],
    ("google-research-datasets/mbpp", "train"): [
        {k: v for k, v in mbpp_row(2, "").items() if k != "prompt"} | {"text": "Add."}
    ],
    ("allenai/ai2_arc", "test"): [
        {
            "id": "1",
            "question": "q?",
            "answerKey": "2",
            "choices": {"text": ["a", "b"], "label": ["1", "2"]},
        }
    ],
}


@pytest.fixture
def hub(monkeypatch):
    """A `datasets` with a few rows a split; counts what is asked for."""
    asked = []

    def load_dataset(name, configuration, split):
        asked.append((name, configuration, split))
        return HUB_ROWS.get((name, split), HUB_ROWS.get((name, "test"), []))

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return asked


def test_a_set_that_is_not_here_comes_from_the_hub_once(hub, tmp_path, tiny_tokenizer):
    task = load_task("gsm8k", tiny_tokenizer, tmp_path)
    assert task.train[0].answer == "1,002" and task.test[0].answer == "-4"
    assert hub == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]
    load_task("gsm8k", tiny_tokenizer, tmp_path)
    assert len(hub) == 2


def test_rows_of_the_hub_take_the_local_form(hub, tmp_path, tiny_tokenizer):
    (example,) = load_task("arc_easy", tiny_tokenizer, tmp_path).test
    assert example.correct == 1
    assert {c for _, c, _ in hub} == {"ARC-Easy"}
    rows = load_task("mbpp", tiny_tokenizer, tmp_path).train
    (example,) = (e for e in rows if e.family == "mbpp")
    assert "Add." in text_of(tiny_tokenizer, example.question.prompt)


def test_a_set_that_is_here_is_not_asked_for(hub, mbpp, tiny_tokenizer):
    load_task("mbpp", tiny_tokenizer, mbpp)
    assert hub == []


def test_a_broken_download_leaves_nothing_and_says_so(monkeypatch, tmp_path, tiny_tokenizer):
    def load_dataset(name, configuration, split):
        yield {"question": "1+1?", "answer": "#### 2"}
        raise ConnectionError("no network")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(InputError, match="openai/gsm8k .train. could not be read from the hub"):
        load_task("gsm8k", tiny_tokenizer, tmp_path)
    assert list((tmp_path / "cache").rglob("*.jsonl")) == []
