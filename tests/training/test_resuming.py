"""A training that was cut off goes on along the same curve, and only as the run that it was."""

from dataclasses import replace

import closed_training
import pytest
import torch
from closed_training import LEARNING, config, log_of, make_task, without_times
from safetensors.torch import load_file
from tiny import make_tiny

from t2ui.errors import InputError
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.training.checkpoint import append_log, read_log
from t2ui.training.parameters import ScaleOffsets
from t2ui.training.svf import train_svf
from t2ui.training.trainer import Trainer

one_thread = closed_training.one_thread  # a fixture for every test here


@pytest.mark.parametrize("stop_after", [3, 5, 8])
def test_a_run_that_was_cut_off_goes_on_along_the_same_curve(tiny_llama, tmp_path, stop_after):
    """Bit for bit, over several epochs, wherever it stopped; what was not saved is done again."""
    task, settings = make_task(train=10), config(steps=11)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with adapt(tiny_llama) as adapter:
        list(Trainer(ScaleOffsets(adapter), None, task, settings, whole).run())
    with adapt(tiny_llama) as adapter:
        for event in Trainer(ScaleOffsets(adapter), None, task, settings, parts).run():
            if event.step == stop_after and event.kind == "step":
                break
    with adapt(tiny_llama) as adapter:
        resumed = Trainer(ScaleOffsets(adapter), None, task, settings, parts)
        assert resumed.step in (stop_after - stop_after % 3, stop_after - stop_after % 3 - 3)
        list(resumed.run())
    ends = [load_file(folder / "checkpoint.safetensors") for folder in (whole, parts)]
    assert ends[0].keys() == ends[1].keys()
    assert ends[0]["values"].abs().max() > 0.05
    for key, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][key]), key
    curves = [{(k, s): v for k, s, v in without_times(log_of(folder))} for folder in (whole, parts)]
    assert curves[0] == curves[1]


def test_a_finished_run_is_not_run_again(tiny_llama, tmp_path):
    task, settings = make_task(train=24, validation=12), config(**LEARNING)
    list(train_svf(tiny_llama, task, settings, tmp_path))
    before = Expert.load(tmp_path / "pick.safetensors").sha256
    events = list(train_svf(tiny_llama, task, settings, tmp_path))
    assert [e.kind for e in events] == ["end"]
    assert Expert.load(tmp_path / "pick.safetensors").sha256 == before


def test_more_steps_may_be_asked_for(adapter, tmp_path):
    list(Trainer(ScaleOffsets(adapter), None, make_task(), config(steps=3), tmp_path).run())
    longer = Trainer(ScaleOffsets(adapter), None, make_task(), config(steps=5), tmp_path)
    assert [e.step for e in longer.run() if e.kind == "step"] == [4, 5]
    assert longer.record()["schedule"] == [[0, 3], [3, 5]]  # the rate did not fall as in one run


def test_a_run_does_not_go_on_under_other_prompts(adapter, tmp_path):
    """What was reworded, or is judged in another way, is another run; its base scores too."""
    task = make_task()
    list(Trainer(ScaleOffsets(adapter), None, task, config(steps=3), tmp_path).run())
    row = task.train[-1]
    longer = replace(row, question=replace(row.question, prompt=(*row.question.prompt, 7)))
    for other in (replace(task, train=(*task.train[:-1], longer)), replace(task, stop=("x",))):
        with pytest.raises(InputError, match="different: prompts, answers or reward"):
            Trainer(ScaleOffsets(adapter), None, other, config(steps=3), tmp_path)


def test_what_training_does_not_read_may_change_under_way(adapter, tmp_path):
    """A version may hold more of a question than the one that began the run."""
    task = make_task()
    list(Trainer(ScaleOffsets(adapter), None, task, config(steps=3), tmp_path).run())
    rows = tuple(replace(r, question=replace(r.question, ends=(1, 2))) for r in task.train)
    trainer = Trainer(
        ScaleOffsets(adapter), None, replace(task, train=rows), config(steps=4), tmp_path
    )
    assert [e.step for e in trainer.run() if e.kind == "step"] == [4]


def test_half_a_line_of_the_log_does_not_spoil_the_next(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"kind": "step", "step": 1}\n{"kind": "st')
    append_log(tmp_path, {"kind": "step", "step": 2})
    append_log(tmp_path, {"kind": "step", "step": 3})
    assert [event["step"] for event in read_log(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "task", "message"),
    [
        ({"learning_rate": 0.02}, "pick", "different: learning_rate"),
        ({"seed": 1, "kl_coeff": 0.5}, "pick", "different: kl_coeff, seed"),
        ({}, "other", "of another run"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(adapter, tmp_path, settings, task, message):
    list(Trainer(ScaleOffsets(adapter), None, make_task(), config(steps=3), tmp_path).run())
    with pytest.raises(InputError, match=message):
        Trainer(ScaleOffsets(adapter), None, make_task(task), config(steps=3, **settings), tmp_path)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
def test_a_checkpoint_of_another_model_is_refused(adapter, tmp_path, architecture):
    """Of the same shapes (llama), of the same names (qwen2), or of neither."""
    list(Trainer(ScaleOffsets(adapter), None, make_task(), config(steps=3), tmp_path).run())
    with adapt(make_tiny(architecture, seed=9)) as other:
        with pytest.raises(InputError, match="is of another model|other weights"):
            Trainer(ScaleOffsets(other), None, make_task(), config(steps=3), tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"", lambda data: b"{}"])
def test_a_damaged_checkpoint(adapter, tmp_path, damage):
    list(Trainer(ScaleOffsets(adapter), None, make_task(), config(steps=3), tmp_path).run())
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="cannot be read .*remove it to start"):
        Trainer(ScaleOffsets(adapter), None, make_task(), config(steps=3), tmp_path)
