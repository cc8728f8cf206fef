"""A task is one file and one line of the catalogue: it is found in the help, loaded, trained on
and measured, with its own options, alone or as a member of a family."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import made_up
import pytest
from public_sets import write_public_sets
from tiny import make_tiny, make_tokenizer

from t2ui.catalogue import TASKS, chosen, names_of
from t2ui.errors import InputError
from t2ui.svf.expert import Expert
from t2ui.tasks import load_task, name_and_style, options_of, read_options

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for name, entry in (made_up.TASK | made_up.FAMILY).items():
        monkeypatch.setitem(TASKS, name, entry)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, an empty folder of data, and one of no experts."""
    folder = tmp_path_factory.mktemp("catalogue")
    make_tiny("llama").save_pretrained(folder / "tiny")
    make_tokenizer().save_pretrained(folder / "tiny")
    for name in ("data", "experts"):
        (folder / name).mkdir()
    return folder


@pytest.fixture
def evaluate(cli, folder):
    where = ("--model", folder / "tiny", "--data", folder / "data", "--experts", folder / "experts")
    return lambda *words: cli("evaluate", "base", *where, *words)


def test_every_line_of_the_catalogue_leads_to_a_loader():
    for name, entry in TASKS.items():
        options = options_of(f"{name}chess" if name.endswith(":") else name)
        assert entry.words and inspect.Parameter.empty not in options.values(), name


def test_a_task_is_loaded_with_its_own_options(tiny_tokenizer, tmp_path):
    assert options_of("letters") == {
        **{"style": "chat", "rows": 12, "notes": None, "words": (), "sure": False}
    }
    task = load_task("letters", tiny_tokenizer, tmp_path, rows=4)
    assert [len(part) for part in (task.train, task.validation, task.test)] == [4, 4, 4]
    with pytest.raises(InputError, match="Task 'letters' has no option reward: leave it out"):
        load_task("letters", tiny_tokenizer, tmp_path, reward="exact")


def test_a_family_is_told_the_whole_name(tiny_tokenizer, tmp_path):
    task = load_task("game:chess", tiny_tokenizer, tmp_path, rows=2)
    assert (task.name, task.train[0].id) == ("game:chess", "game:chess 0")
    for name in ("game", "game:", "play:chess", "letters:chess", ":chess"):
        with pytest.raises(InputError, match=f"no task '{name}'; there are: .*letters, game:NAME"):
            chosen("task", name, TASKS)


def test_what_stands_behind_a_task_is_its_style():
    assert name_and_style("letters") == ("letters", "")
    assert name_and_style("letters:loud") == ("letters", "loud")
    assert name_and_style("game:chess") == ("game:chess", "")
    assert name_and_style("game:chess:loud") == ("game:chess", "loud")
    for unknown in ("poems", "poems:loud", "game", "game:"):
        with pytest.raises(InputError, match="There is no task"):
            name_and_style(unknown)


def test_options_are_read_as_their_types():
    texts = ["style=loud", "rows=3", "notes=a/b", "words=x,y", "sure=true"]
    assert read_options("letters", texts) == {
        **{"style": "loud", "rows": 3, "notes": Path("a/b"), "words": ("x", "y"), "sure": True}
    }
    for text, message in (
        ("rows=few", "option rows is 'few'; expected a value like 12"),
        ("sure=yes", "option sure is 'yes'; expected true or false"),
        ("colour=red", "got the option 'colour=red'; expected style=…, rows=…"),
        ("rows", "got the option 'rows'; expected style=…"),
    ):
        with pytest.raises(InputError, match=message):
            read_options("letters", [text])


def test_the_help_names_every_task():
    """Also one that is added before the command line is imported."""
    code = (
        "import made_up, sys\n"
        "from t2ui.catalogue import TASKS\n"
        "TASKS.update(made_up.TASK | made_up.FAMILY)\n"
        "from t2ui.cli.main import main\n"
        "for command in ('train', 'evaluate', 'adapt'):\n"
        "    try:\n"
        "        main([command, '--help'])\n"
        "    except SystemExit as ended:\n"
        "        assert not ended.code\n"
        "    print('== end of help')\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/support'}", "COLUMNS": "300"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    helps = " ".join(run.stdout.replace("│", " ").split()).split("== end of help")
    assert [names_of(TASKS) in text for text in helps] == [True, True, True, False]


def test_it_is_measured_in_its_styles_and_with_its_options(evaluate):
    status, out, err = evaluate("letters,letters:loud,game:chess:loud", "--option", "rows=5")
    assert status == 0, err
    for shown in ("letters test, chat", "letters test, loud", "game:chess test, loud"):
        assert f"{shown}, by sum (n = 5)" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["game:"], "There is no task 'game:'"),
        (["letters", "--option", "hard=x"], "--option has 'hard=x'; expected notes, rows, style"),
        (["letters", "--option", "rows=x"], "option rows is 'x'"),
    ],
)
def test_options_and_names_that_there_are_not(evaluate, words, said):
    status, out, err = evaluate(*words)
    assert (status, out) == (2, "")
    assert said in err and err.count("\n") == 1


def test_it_is_trained_on(cli, folder, tmp_path):
    given = ("--model", folder / "tiny", "--data", folder / "data", "--out", tmp_path / "run")
    quick = ("--steps", 8, "--batch", 6, "--learning-rate", 0.1, "--kl-coeff", 0)
    more = ("--evaluate-every", 4, "--option", "rows=6", "--json")
    status, out, err = cli("train", "game:chess", *given, *quick, *more)
    assert status == 0, err
    steps = [json.loads(line) for line in out.splitlines()]
    assert steps[-1]["kind"] == "end" and steps[-1]["validation"] > 0.5
    expert = Expert.load(tmp_path / "run" / "game_chess.safetensors")
    assert expert.task == "game:chess" and expert.training["train_rows"] == 6


def test_prompts_of_pass_one_are_measured_as_routes(evaluate, tmp_path):
    """`dispatch` says so itself; what stands behind its colon is one family."""
    write_public_sets(tmp_path, 20)
    data = ("--data", tmp_path, "--limit", 2, "--json")
    status, out, err = evaluate("dispatch", *data)
    assert status == 0, err
    families = {record["set"]: record["n"] for record in json.loads(out)["dispatch"]}
    assert families.pop("all") == sum(families.values()) == 2 * len(families)
    assert len(families) == 7 + 24, "the public sets, and the kinds that we wrote"
    status, out, err = evaluate("dispatch:mbpp", *data)
    assert {r["set"]: r["n"] for r in json.loads(out)["dispatch"]} == {"mbpp": 2, "all": 2}
    status, out, err = evaluate("dispatch:poems", *data)
    assert status == 2 and "There is no family 'poems' of dispatch prompts" in err
