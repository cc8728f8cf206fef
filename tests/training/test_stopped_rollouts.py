"""Sampled training that stops, goes on or cannot write: what its folder holds then."""

import json
from dataclasses import replace

import pytest
import torch
from open_training import config, improving, make_task

from t2ui.errors import InputError
from t2ui.svf.adapter import adapt, attached
from t2ui.svf.expert import Expert
from t2ui.training.checkpoint import read_log
from t2ui.training.parameters import ScaleOffsets
from t2ui.training.svf import train_svf
from t2ui.training.trainer import Trainer


@pytest.mark.parametrize("stop_after", [3, 5])
def test_a_sampled_run_resumes_along_its_curve(tiny_llama, tiny_tokenizer, tmp_path, stop_after):
    task, settings = make_task(), config(steps=7, kl_coeff=0.05)
    ends = []
    for folder, stop in (("whole", None), ("parts", stop_after)):
        with adapt(tiny_llama) as adapter:
            run = Trainer(ScaleOffsets(adapter), tiny_tokenizer, task, settings, tmp_path / folder)
            for event in run.run():
                if event.kind == "step" and event.step == stop:
                    break
        if stop:
            with adapt(tiny_llama) as adapter:
                offsets = ScaleOffsets(adapter)
                run = Trainer(offsets, tiny_tokenizer, task, settings, tmp_path / folder)
                assert 0 < run.step <= stop
                list(run.run())
        ends.append(run.trainable.offset.detach().clone())
    assert ends[0].abs().max() > 0.05
    assert torch.equal(*ends)


def test_going_on_from_an_expert(tiny_llama, tiny_tokenizer, tmp_path):
    with adapt(tiny_llama) as adapter:
        scales = {n: torch.full_like(adapter.factors[n].S, 1.25) for n in adapter.names[:3]}
        start = Expert("half", scales, "tiny-llama", "")
        offsets = ScaleOffsets(adapter, start)
        found = offsets.scales(offsets.offset.detach())
    for name, z in found.items():
        assert torch.equal(z, scales.get(name, torch.ones_like(z)))
    settings = config(steps=1, evaluate_every=1)
    with pytest.raises(InputError, match="another run"):
        for begun in (None, start):
            run = train_svf(
                tiny_llama, make_task(), settings, tmp_path, tokenizer=tiny_tokenizer, start=begun
            )
            next(e for e in run if e.kind == "step")
            run.close()


def test_an_expert_says_what_it_went_on_from(tiny_llama, tiny_tokenizer, tmp_path):
    """With that one's training, so that the card and the costs hold the whole of it."""
    settings, task = config(steps=15, learning_rate=0.1), make_task()
    first = list(
        train_svf(
            tiny_llama, task, settings, tmp_path / "a", tokenizer=tiny_tokenizer, command="first"
        )
    )
    start = Expert.load(tmp_path / "a" / "open.safetensors")
    start = replace(start, scales={n: 1 + (z - 1) / 2 for n, z in start.scales.items()})
    list(
        train_svf(
            tiny_llama,
            task,
            settings,
            tmp_path / "b",
            tokenizer=tiny_tokenizer,
            start=start,
            command="second",
        )
    )
    training = Expert.load(tmp_path / "b" / "open.safetensors").training
    assert (training["command"], training["before"]["command"]) == ("second", "first")
    assert first[-1].values["best_step"] == training["before"]["best_step"]
    assert "before" not in training["before"]


def test_stopping_keeps_the_best_so_far(tiny_llama, tiny_tokenizer, tmp_path):
    settings = config(steps=40, seed=1)
    run = train_svf(tiny_llama, make_task(), settings, tmp_path, tokenizer=tiny_tokenizer)
    for event in run:
        if event.kind == "validation" and event.step and event.values["best"] > 0.5:
            break
    run.close()
    kept = Expert.load(tmp_path / "open.safetensors")
    assert 0 < kept.training["best_step"] <= event.step < 40
    assert 100 < kept.training["peak_memory_mb"] < 100_000
    assert attached(tiny_llama) is None


def test_early_stop(tiny_llama, tiny_tokenizer, tmp_path, monkeypatch):
    accuracies = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.1, 0.9])
    monkeypatch.setattr(
        "t2ui.training.validation.greedy_scores",
        lambda *_, **__: [i < 10 * found for found in [next(accuracies)] for i in range(8)],
    )
    settings = config(steps=12, evaluate_every=2, patience=2)
    events = list(train_svf(tiny_llama, make_task(), settings, tmp_path, tokenizer=tiny_tokenizer))
    assert events[-1].kind == "end" and events[-1].step == 6
    assert Expert.load(tmp_path / "open.safetensors").training["best_step"] == 2


def test_a_full_disk_keeps_the_checkpoint_before(adapter, tiny_tokenizer, tmp_path, monkeypatch):
    run = Trainer(ScaleOffsets(adapter), tiny_tokenizer, make_task(), config(steps=4), tmp_path)
    events = run.run()
    next(e for e in events if e.kind == "step" and e.step == 3)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("t2ui.training.checkpoint.save_file", full)
    with pytest.raises(InputError, match="No space left on device.*free some space"):
        list(events)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert not list(tmp_path.glob(".checkpoint*"))


def test_a_log_that_cannot_be_written(adapter, tiny_tokenizer, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("t2ui.training.checkpoint.open", full, raising=False)
    run = Trainer(ScaleOffsets(adapter), tiny_tokenizer, make_task(), config(), tmp_path)
    with pytest.raises(InputError, match="log in .* cannot be written .*No space left on device"):
        list(run.run())


def test_half_a_line_of_the_log_is_left_out(tmp_path):
    whole = {"kind": "step", "step": 2, "values": {}}
    (tmp_path / "log.jsonl").write_text(
        '{"kind": "st\n{"ki' + json.dumps(whole) + "\n" + json.dumps(whole) + "\n" + '{"kind"'
    )
    assert read_log(tmp_path) == [whole]


def test_an_expert_that_cannot_be_written_says_so(
    tiny_llama, tiny_tokenizer, tmp_path, monkeypatch
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("t2ui.svf.expert.save_file", full)
    monkeypatch.setattr("t2ui.training.validation.greedy_scores", improving())
    run = train_svf(
        tiny_llama,
        make_task(),
        config(steps=2, evaluate_every=1),
        tmp_path,
        tokenizer=tiny_tokenizer,
    )
    with pytest.raises(InputError, match="open.safetensors cannot be written .*No space left"):
        list(run)
    monkeypatch.undo()
    list(
        train_svf(
            tiny_llama,
            make_task(),
            config(steps=2, evaluate_every=1),
            tmp_path,
            tokenizer=tiny_tokenizer,
        )
    )
    assert Expert.load(tmp_path / "open.safetensors").training["best_step"] == 2


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_validation_that_was_stopped_is_made_up_for(
    tiny_llama, tiny_tokenizer, tmp_path, monkeypatch, at
):
    """Ctrl-C in the middle of a validation, the last one too: no checkpoint goes unmeasured."""
    found = improving()

    def stopping(*_, **__):
        right = found()
        if sum(right) == 1 + at:
            raise KeyboardInterrupt
        return right

    settings, task = config(steps=4, evaluate_every=2), make_task()
    monkeypatch.setattr("t2ui.training.validation.greedy_scores", stopping)
    with pytest.raises(KeyboardInterrupt):
        list(train_svf(tiny_llama, task, settings, tmp_path, tokenizer=tiny_tokenizer))
    events = list(train_svf(tiny_llama, task, settings, tmp_path, tokenizer=tiny_tokenizer))
    assert (events[0].kind, events[0].step) == ("validation", 2 * at)
    assert Expert.load(tmp_path / "open.safetensors").training["best_step"] == 4
    # and one that was made is not made again
    events = list(train_svf(tiny_llama, task, settings, tmp_path, tokenizer=tiny_tokenizer))
    assert [e.kind for e in events] == ["end"]


def test_long_steps_are_each_followed_by_a_checkpoint(
    adapter, tiny_tokenizer, tmp_path, monkeypatch
):
    monkeypatch.setattr("t2ui.training.trainer.SAVE_AFTER", 0.0)
    run = Trainer(
        ScaleOffsets(adapter), tiny_tokenizer, make_task(), config(checkpoint_every=100), tmp_path
    )
    for event in run.run():
        if event.step == 3:
            break
    again = Trainer(
        ScaleOffsets(adapter), tiny_tokenizer, make_task(), config(checkpoint_every=100), tmp_path
    )
    assert again.step == 2


def test_a_folder_that_cannot_be_made(adapter, tiny_tokenizer, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="folder .*file cannot be made"):
        Trainer(ScaleOffsets(adapter), tiny_tokenizer, make_task(), config(), tmp_path / "file")


def test_a_half_made_step_is_not_kept(tiny_llama, tiny_tokenizer, tmp_path, monkeypatch):
    """Ctrl-C behind the update and before the step is counted: the checkpoint before it stays."""
    made = []

    def stepped(*_, **__):
        made.append(1)
        if len(made) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", stepped)
    run = train_svf(tiny_llama, make_task(), config(steps=6), tmp_path, tokenizer=tiny_tokenizer)
    with pytest.raises(KeyboardInterrupt):
        list(run)
    with adapt(tiny_llama) as adapter:
        again = Trainer(
            ScaleOffsets(adapter), tiny_tokenizer, make_task(), config(steps=6), tmp_path
        )
        assert again.step == 2
