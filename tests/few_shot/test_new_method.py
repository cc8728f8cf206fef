"""A search method is one file and one line of registration: one added here is found everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_examples
from fake_client import FakeClient
from hill_climb import ENTRY
from tiny_examples import open_example

from t2ui.catalogue import SEARCH_METHODS
from t2ui.config import FewShotConfig
from t2ui.errors import InputError
from t2ui.few_shot.adapt import few_shot_adapt
from t2ui.few_shot.search import search_tokens

ROOT = Path(__file__).resolve().parents[2]

adapter, experts = tiny_examples.adapter, tiny_examples.experts  # fixtures


@pytest.fixture
def added(monkeypatch):
    monkeypatch.setitem(SEARCH_METHODS, "climb", ENTRY)


def test_the_library_searches_with_it(added, adapter, tiny_tokenizer, experts):
    rows = [open_example(i, 5, 3, seed=i) for i in range(6)]
    config = FewShotConfig("climb", population=6, generations=4, held_out=0, anchors=False)
    result = few_shot_adapt(adapter.model, tiny_tokenizer, rows, experts, config)
    assert result.set_by.startswith("hill climbing, generation ")
    assert len(result.generations) == 4
    first, last = result.generations[0], result.generations[-1]
    assert last.best > first.best
    assert last.tokens == search_tokens(rows, config, len(experts))


def test_without_its_line_it_is_refused_and_what_there_is_is_listed():
    with pytest.raises(InputError, match="method is 'climb'; expected auto, cem, cma"):
        FewShotConfig("climb")


def test_one_that_needs_the_gradient_is_refused_for_rewards(monkeypatch):
    monkeypatch.setitem(
        SEARCH_METHODS, "steep", type(ENTRY)("hill_climb:HillClimb", "steepest", "", True)
    )
    with pytest.raises(InputError, match="method steep needs objective likelihood, got reward"):
        FewShotConfig("steep", "reward")


def test_the_command_line_offers_it():
    code = (
        "from hill_climb import ENTRY\n"
        "from t2ui.catalogue import SEARCH_METHODS\n"
        "SEARCH_METHODS['climb'] = ENTRY\n"
        "from t2ui.cli.main import main\n"
        "main(['adapt', '--help'])"
    )
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests/support")])
    environment = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert ", gradient, climb." in " ".join(done.stdout.split())


def test_the_adapt_page_offers_it(added):
    from t2ui.ui import build

    components = build(FakeClient()).config["components"]
    menu = next(c["props"] for c in components if c["props"].get("elem_id") == "adapt-method")
    assert ("hill climbing", "climb") in [tuple(choice) for choice in menu["choices"]]
