"""An objective is one file and one line of the catalogue: it is found in the help, trained by and
resumed, and the trainer knows none by its name. How far a row travels to its gradient."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import made_up
import pytest
import torch
from open_training import config, make_task
from reference import prompt_ids

from t2ui.catalogue import BASELINES, TRAIN_OBJECTIVES, Entry
from t2ui.config import TrainConfig
from t2ui.errors import InputError
from t2ui.models.questions import Question
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.tasks import Example, Task
from t2ui.training.checkpoint import CHECKPOINT, read
from t2ui.training.objectives import settled
from t2ui.training.objectives.exact import Exact
from t2ui.training.objectives.sampled import Sampled
from t2ui.training.parameters import ScaleOffsets
from t2ui.training.svf import train_svf
from t2ui.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def registered(monkeypatch):
    for name, entry in made_up.OBJECTIVE.items():
        monkeypatch.setitem(TRAIN_OBJECTIVES, name, entry)


def closed_task() -> Task:
    rows = tuple(
        Example(
            str(i),
            Question(tuple(prompt_ids(3 + i % 3, seed=i)), ((100, 150), (200, 150))),
            i % 2,
            (2, 2),
        )
        for i in range(16)
    )
    return Task("closed", rows[:10], rows[10:])


def test_auto_is_the_first_that_fits_the_task(registered):
    assert settled(closed_task(), "auto") == ("exact", Exact)
    assert settled(make_task(), "auto") == ("sampled", Sampled)
    assert settled(closed_task(), "margin")[1] is made_up.Margin
    ungraded = replace(make_task(), grade=None)  # one option per row: neither closed nor graded
    assert settled(ungraded, "auto")[0] == "next_token"


def test_a_refusal_names_those_that_fit(registered):
    with pytest.raises(
        InputError, match="has closed answers: choose exact or next_token or margin"
    ):
        settled(closed_task(), "sampled")
    with pytest.raises(InputError, match="'open' has open answers: choose sampled or next_token"):
        settled(make_task(), "margin")


def test_an_objective_trains_and_goes_into_the_expert(
    registered, tiny_llama, tiny_tokenizer, tmp_path
):
    task = made_up.load("letters", tiny_tokenizer, tmp_path)
    settings = config(objective="margin", steps=8, batch=6, learning_rate=0.1, evaluate_every=4)
    steps = [e for e in train_svf(tiny_llama, task, settings, tmp_path) if e.kind == "step"]
    assert [e.values["seen"] for e in steps] == [6.0 * n for n in range(1, 9)]
    assert steps[-1].values["margin_loss"] < 0.5 * steps[0].values["margin_loss"]
    assert Expert.load(tmp_path / "letters.safetensors").training["objective"] == "margin"


def test_a_checkpoint_keeps_what_the_objective_wants_kept(
    registered, adapter, tiny_tokenizer, tmp_path
):
    task = made_up.load("letters", tiny_tokenizer, tmp_path)
    settings = config(objective="margin", steps=3)
    list(Trainer(ScaleOffsets(adapter), None, task, settings, tmp_path).run())
    facts, tensors = read(tmp_path)
    assert facts["seen"] == 18 and tensors["first"].shape == (1,)
    again = Trainer(ScaleOffsets(adapter), None, task, replace(settings, steps=4), tmp_path)
    assert again.objective.seen == 18
    assert [e.values["seen"] for e in again.run() if e.kind == "step"] == [24.0]


def test_an_objective_may_refuse_what_was_not_learned(
    registered, adapter, tiny_tokenizer, tmp_path
):
    task = made_up.load("letters", tiny_tokenizer, tmp_path)
    run = Trainer(ScaleOffsets(adapter), None, task, config(objective="margin"), tmp_path)
    with pytest.raises(InputError, match="Too few rows were seen to learn a margin"):
        run.check_improved()


def test_the_margin_is_what_was_meant():
    scores = torch.tensor([0.0, 2.5, 2.0])
    assert made_up.margin_loss(scores, 1).item() == pytest.approx(0.5)
    assert made_up.margin_loss(scores, 0).item() == pytest.approx(3.5 + 3.0)


def test_the_help_names_every_objective_and_baseline():
    code = (
        "import made_up\n"
        "from t2ui.catalogue import BASELINES, TRAIN_OBJECTIVES, Entry\n"
        "TRAIN_OBJECTIVES.update(made_up.OBJECTIVE)\n"
        "BASELINES['median'] = Entry('made_up:less_median', 'the median')\n"
        "from t2ui.cli.main import main\n"
        "main(['train', '--help'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/support'}", "COLUMNS": "300"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    shown = " ".join(run.stdout.replace("│", " ").split())
    for name, entry in (TRAIN_OBJECTIVES | made_up.OBJECTIVE).items():
        assert f"{name} ({entry.words})" in shown
    assert f"{', '.join(BASELINES)}, median" in shown


def test_a_baseline_is_one_function_and_one_line(monkeypatch, adapter, tiny_tokenizer, tmp_path):
    seen = []

    def less_nothing(returns, counts):
        seen.append([float(n.sum()) for n in counts])
        return returns

    monkeypatch.setattr(made_up, "less_nothing", less_nothing, raising=False)
    monkeypatch.setitem(BASELINES, "mine", Entry("made_up:less_nothing", "nothing"))
    settings = config(baseline="mine", steps=2)
    list(Trainer(ScaleOffsets(adapter), tiny_tokenizer, make_task(), settings, tmp_path).run())
    assert seen == [[8.0] * 6] * 2
    with pytest.raises(InputError, match="baseline is 'yours'; expected none, mean"):
        TrainConfig(baseline="yours")


def test_open_answers_need_a_tokenizer(adapter, tmp_path):
    with pytest.raises(InputError, match="Open answers need the model's tokenizer"):
        Trainer(ScaleOffsets(adapter), None, make_task(), config(), tmp_path)


def test_only_its_own_file_knows_an_objective_by_name():
    named = re.compile(r"""["'](exact|sampled|next_token|leave_one_out)["']""")
    for path in sorted((ROOT / "t2ui").rglob("*.py")):
        page = path.parts[len(ROOT.parts) + 1] in ("http", "ui")  # whose next token is a card's
        elsewhere = path.parent.name != "objectives" and path.name not in (
            "catalogue.py",
            "config.py",
        )
        if elsewhere and not page:
            found = [line for line in path.read_text().splitlines() if named.search(line)]
            assert not [line for line in found if "reward" not in line.lower()], path


# --- how far a row travels -----------------------------------------------------------------------

# Not counted: what is read of a row (properties), settings that check themselves, and what is
# logged once the gradient is there.
NOT_COUNTED = {"tokens", "names", "target", "right", "__post_init__", "flat", "append_log"}


def calls_of_a_step(events) -> set[tuple[str, str, str]]:
    """(module, module that it calls, function) for every call between two modules of t2ui of which
    one is in training or tasks, while the next event is made."""
    package, calls = ROOT / "t2ui", set()

    def module(frame) -> str | None:
        path = frame.f_code.co_filename
        return path[len(str(package)) + 1 : -3] if path.startswith(str(package)) else None

    def called(frame, event, _) -> None:
        callee = module(frame) if event == "call" else None
        caller = frame.f_back
        while callee and caller is not None and module(caller) is None:
            caller = caller.f_back
        if not callee or caller is None or frame.f_code.co_name in NOT_COUNTED:
            return
        pair = module(caller), callee
        if pair[0] != pair[1] and any(name.startswith(("training", "tasks")) for name in pair):
            calls.add((f"{pair[0]}.{caller.f_code.co_name}", callee, frame.f_code.co_name))

    sys.setprofile(called)
    try:
        event = next(events)
    finally:
        sys.setprofile(None)
    assert event.kind == "step"
    return calls


@pytest.mark.parametrize(
    ("objective", "task", "most"),
    [("sampled", make_task, 11), ("exact", closed_task, 9), ("next_token", make_task, 7)],
)
def test_a_row_reaches_its_gradient_in_few_calls(
    tiny_llama, tiny_tokenizer, tmp_path, objective, task, most
):
    """From `train_svf` to the gradient step; it took 23, 16 and 10."""
    settings = config(objective=objective, kl_coeff=0.1, steps=1)
    with adapt(tiny_llama):
        events = train_svf(tiny_llama, task(), settings, tmp_path, tokenizer=tiny_tokenizer)
        next(events)  # the validation of the base model
        calls = calls_of_a_step(events)
        events.close()
    assert {callee for _, callee, _ in calls} >= {f"training/objectives/{objective}"}
    assert len(calls) <= most, sorted(calls)
    assert (tmp_path / CHECKPOINT).exists()
