"""Results that are kept: what is read again, and how a run that was stopped or killed goes on."""

import json

import pytest
import tiny_tasks
from tiny_tasks import LABELS, SETTINGS, open_task

from t2ui.errors import InputError
from t2ui.evaluation.comparison import Comparison
from t2ui.evaluation.methods import base, of_expert
from t2ui.evaluation.result_log import ResultLog

setup = tiny_tasks.setup  # a fixture


def kept(path, settings=SETTINGS):
    with ResultLog(path, settings) as log:
        return log.of("s", "m", "1")


def test_results_are_read_again(tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    with ResultLog(path, SETTINGS) as log:
        log.add("s", "m", "1", "row a", {"right": {"greedy": True}, "text": "é\n"})
        log.add("s", "m", "2", "row a", {"right": {"greedy": False}})
        log.add("t", "m", "1", "row a", {"right": {"greedy": False}})
    assert kept(path) == {"row a": {"right": {"greedy": True}, "text": "é\n"}}


def test_half_a_line_of_a_killed_run_is_dropped(tmp_path):
    path = tmp_path / "results.jsonl"
    with ResultLog(path, SETTINGS) as log:
        log.add("s", "m", "1", "a", {"right": {}})
    with path.open("a") as file:
        file.write('{"set": "s", "method": "m", "dig')
    assert list(kept(path)) == ["a"]
    with ResultLog(path, SETTINGS) as log:
        log.add("s", "m", "1", "b", {"right": {}})
    assert list(kept(path)) == ["a", "b"]


@pytest.mark.parametrize("size", [0, 5])
def test_a_run_killed_before_its_first_line_starts_anew(tmp_path, size):
    path = tmp_path / "results.jsonl"
    path.write_text('{"sett'[:size])
    assert kept(path) == {}
    assert json.loads(path.read_text()) == {"settings": SETTINGS}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"settings": {"model": "other", "fingerprint": "f"}}\n', "made with model 'other'"),
        ("[]\n", "line 1: no result"),
        ("poem\n", "line 1: no result"),
        (json.dumps({"settings": SETTINGS}) + '\n{"set": "s"}\n', "line 2: no result"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, text, message):
    path = tmp_path / "results.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        kept(path)
    assert path.read_text() == text


def test_a_full_disk_is_said(tmp_path):
    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

    log = ResultLog(None, SETTINGS)
    log._file = Full()
    with pytest.raises(InputError, match="No space left on device"):
        log.add("s", "m", "1", "a", {})


def test_a_stopped_comparison_goes_on_and_comes_to_the_same(setup, tiny_tokenizer, tmp_path):
    adapter, dispatcher, experts = setup
    task = open_task(tiny_tokenizer)
    chosen = [base(adapter, dispatcher, LABELS), of_expert(adapter, dispatcher, experts["math"])]

    def compare(path, stop_after=None):
        with ResultLog(path, SETTINGS) as log:
            comparison = Comparison(adapter, tiny_tokenizer, chosen, log, batch_rows=2)
            done = comparison.add_set("s", task, task.test)
            for count, _ in enumerate(done, start=1):
                if count == stop_after:
                    done.close()
                    break
            assert all(linear.run == linear.base for linear in adapter.linears.values())
            return comparison.records(), path and path.read_text().count("\n") - 1

    whole, _ = compare(None)
    _, lines = compare(tmp_path / "r.jsonl", stop_after=8)
    assert lines == 8
    again, lines = compare(tmp_path / "r.jsonl")
    assert (again, lines) == (whole, 12)
    third, lines = compare(tmp_path / "r.jsonl")  # nothing is left to do
    assert (third, lines) == (whole, 12)
