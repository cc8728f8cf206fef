"""Which step of a training is kept: the best by accuracy, where that ties by reward, then by loss;
and what a first half by next tokens leaves."""

from dataclasses import replace

import pytest
import torch
from open_training import config, make_task

from t2ui.errors import InputError
from t2ui.svf.expert import Expert
from t2ui.training.lora import train_lora, training_record
from t2ui.training.objectives.sampled import scores_of
from t2ui.training.parameters import ScaleOffsets
from t2ui.training.svf import train_svf
from t2ui.training.trainer import Trainer


def scripted(monkeypatch, *found):
    """Validations find these (accuracy, reward, cross-entropy), one after the other."""
    left = iter(found)
    keys = ("accuracy", "reward", "cross_entropy")
    monkeypatch.setattr(
        "t2ui.training.trainer.validate", lambda *_: dict(zip(keys, next(left), strict=True))
    )


@pytest.mark.parametrize(
    ("validations", "best_step"),
    [
        ([(0.1, -0.8, 3), (0.5, 0, 2), (0.5, 0.1, 2), (0.5, 0.05, 1)], 4),  # the reward
        ([(0.1, -0.8, 3), (0.5, 0, 2), (0.5, 0, 1.5), (0.5, 0, 1.7)], 4),  # the loss
        ([(0.1, -0.8, 3), (0.5, 0, 2), (0.5, 0, 2), (0.4, 0.9, 0.1)], 2),  # accuracy comes first
        ([(0.1, -0.8, 3), (0.1, -0.7, 3), (0.0, 0.9, 1), (0.0, 0.9, 1)], 2),  # beats the start
    ],
)
def test_where_accuracy_ties_the_better_reward_or_loss_is_kept(
    validations, best_step, tiny_llama, tiny_tokenizer, tmp_path, monkeypatch
):
    settings = config(steps=6, evaluate_every=2)
    for steps in (6, 4):  # in one run, and resumed
        scripted(monkeypatch, *validations[: steps // 2 + 1])
        folder = tmp_path / str(steps)
        short = replace(settings, steps=steps)
        list(train_svf(tiny_llama, make_task(), short, folder, tokenizer=tiny_tokenizer))
    scripted(monkeypatch, *validations[3:])
    list(train_svf(tiny_llama, make_task(), settings, folder, tokenizer=tiny_tokenizer))
    for folder in (tmp_path / "6", tmp_path / "4"):
        assert Expert.load(folder / "open.safetensors").training["best_step"] == best_step


def test_a_better_loss_alone_is_no_better_expert(adapter, tiny_tokenizer, tmp_path, monkeypatch):
    """Of sampled answers none more is right than at the start."""
    scripted(monkeypatch, (0.5, 0, 3), (0.5, 0, 2))
    run = Trainer(ScaleOffsets(adapter), tiny_tokenizer, make_task(), config(steps=5), tmp_path)
    list(run.run())
    with pytest.raises(InputError, match="No step of 5 did better on validation than the start"):
        run.check_improved()


def test_validation_reads_the_loss_of_right_answers(adapter, tiny_tokenizer, tmp_path):
    run = Trainer(ScaleOffsets(adapter), tiny_tokenizer, make_task(), config(steps=5), tmp_path)
    first = next(iter(run.run()))
    rows = make_task().validation
    with torch.inference_mode(), run.trainable.running("inference"):
        scores = scores_of(adapter.model, [row.question for row in rows], 2000, 1.0)
    expected = -sum(float(s[0]) / 3 for s in scores) / len(rows)
    assert first.values["cross_entropy"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("lora", [False, True])
def test_a_first_half_by_next_tokens_always_leaves_a_file(
    lora, tiny_llama, tiny_tokenizer, tmp_path, monkeypatch
):
    """The best of its steps, though all answer worse than the start; a second half goes on from
    it."""
    scripted(monkeypatch, (0.5, 0, 1), (0.2, -0.6, 3), (0.3, -0.4, 2), (0.3, -0.4, 2.5))
    settings = config(steps=6, evaluate_every=2, objective="next_token")
    given = {"tokenizer": tiny_tokenizer}
    train = train_lora if lora else train_svf
    list(train(tiny_llama, make_task(), settings, tmp_path / "first", **given))
    if lora:
        start = tmp_path / "first" / "lora"
        record = training_record(start)
    else:
        start = Expert.load(tmp_path / "first" / "open.safetensors")
        record = start.training
    assert (record["best_step"], record["validation_accuracy"]) == (4, 0.3)
    scripted(monkeypatch, (0.2, -0.6, 3), (0.5, 0, 3))
    second = config(steps=2, evaluate_every=2)
    events = list(train(tiny_llama, make_task(), second, tmp_path / "second", start=start, **given))
    assert events[-1].values["best_step"] == 2
