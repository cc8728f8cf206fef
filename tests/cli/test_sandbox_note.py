"""`evaluate` and `train` say which walls stand around the answers that they run."""

import pytest
from layers import needs_linux

from t2ui.tasks.sandbox.run import isolation

pytestmark = needs_linux


@pytest.fixture
def command(cli, tmp_path):
    """Run a command on a tiny model and own rows that Python judges; what it said on stderr."""
    from tiny import make_tiny, make_tokenizer

    from t2ui.cli import options as cli_shared

    make_tiny("llama").save_pretrained(tmp_path / "tiny")
    make_tokenizer().save_pretrained(tmp_path / "tiny")
    rows = tmp_path / "rows.jsonl"
    row = '{"prompt": "f%d", "tests": "assert f(1)", "answer": "f = abs"}\n'
    rows.write_text("".join(row % i for i in range(3)))  # a prompt is in one part only
    cli_shared._told_of_sandbox.cache_clear()

    given = ("--data", rows, "--model", tmp_path / "tiny", "--max-new-tokens", 2)
    return lambda *words: cli(*words, *given)[2]


def test_evaluate_says_once_which_walls_hold(command):
    said = command("evaluate", "base", "jsonl,jsonl", "--reward", "python")
    assert said.count(isolation().told()) == 1 and "t2ui: " not in said


def test_train_says_which_walls_hold(command, tmp_path):
    said = command(
        "train",
        "jsonl",
        "--reward",
        "python",
        "--out",
        tmp_path / "run",
        "--steps",
        1,
        "--batch",
        1,
        "--objective",
        "next_token",
    )
    assert said.count(isolation().told()) == 1


def test_nobody_is_told_of_walls_that_nothing_is_behind(command):
    said = command("evaluate", "base", "jsonl", "--reward", "exact")
    assert "sandbox" not in said and "t2ui: " not in said
