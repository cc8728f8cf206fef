"""Training of an expert: it learns, keeps its best step, and leaves the model as it was."""

import math

import closed_training
import pytest
import torch
from closed_training import LEARNING, config, log_of, make_task, without_times
from reference import logits, prompt_ids
from scores import option_scores, right_by
from tiny import make_tiny

from t2ui.errors import InputError
from t2ui.models import likelihood
from t2ui.models.chat import answer_tail
from t2ui.models.running import BaseReading
from t2ui.svf.adapter import adapt, attached
from t2ui.svf.expert import Expert
from t2ui.tasks.batching import rows_of_step
from t2ui.training.parameters import ScaleOffsets
from t2ui.training.svf import train_svf
from t2ui.training.trainer import Trainer

one_thread = closed_training.one_thread  # a fixture for every test here


# --- training ------------------------------------------------------------------------------------


def test_training_learns_the_task(tiny_llama, tmp_path):
    task = make_task(train=24, validation=12, labels=("picking",))
    events = list(train_svf(tiny_llama, task, config(**LEARNING), tmp_path))
    validations = [e for e in events if e.kind == "validation"]
    assert [e.step for e in validations] == [0, 4, 8]
    assert validations[0].values["accuracy"] < 0.8
    assert validations[-1].values["accuracy"] > 0.9
    steps = [e for e in events if e.kind == "step"]
    assert [e.step for e in steps] == list(range(1, 9))
    assert steps[-1].values["reward"] > steps[0].values["reward"] + 0.3
    assert steps[0].values["kl"] == pytest.approx(0, abs=1e-4) and steps[-1].values["kl"] > 0.05
    best = max(e.values["accuracy"] for e in validations)
    assert (events[-1].kind, events[-1].values["validation"]) == ("end", best)
    assert without_times(log_of(tmp_path)) == without_times(
        [{"kind": e.kind, "step": e.step, "values": e.values} for e in events]
    )
    expert = Expert.load(tmp_path / "pick.safetensors")
    assert (expert.name, expert.labels, expert.task) == ("pick", ("picking",), "pick")
    with adapt(tiny_llama) as adapter:
        adapter.check(expert)  # not a transfer
        scores = option_scores(adapter, task.validation, expert.scales)
    assert sum(right_by(task.validation, scores, "sum")) / 12 == best


def test_the_kl_penalty_keeps_the_policy_near_the_base(tiny_llama, tmp_path):
    ends = []
    for kl_coeff in (0.0, 20.0):
        folder = tmp_path / str(kl_coeff)
        with adapt(tiny_llama) as adapter:
            settings = config(kl_coeff=kl_coeff)
            trainer = Trainer(ScaleOffsets(adapter), None, make_task(), settings, folder)
            ends.append([e.values["kl"] for e in trainer.run() if e.kind == "step"][-1])
    assert ends[1] < 0.2 * ends[0]


def test_the_temperature_reaches_the_policy(adapter, tmp_path):
    """The reward of the first step is that of base scores over the temperature."""
    task, rewards = make_task(train=8), []
    scores = option_scores(adapter, task.train, {})
    for temperature in (1.0, 5.0):
        settings = config(batch=8, temperature=temperature)
        trainer = Trainer(ScaleOffsets(adapter), None, task, settings, tmp_path / str(temperature))
        found = next(e for e in trainer.run() if e.kind == "step").values["reward"]
        policies = [(scores[row.id] / temperature).softmax(0)[row.correct] for row in task.train]
        assert found == pytest.approx(float(2 * torch.stack(policies).mean() - 1), abs=1e-3)
        rewards.append(found)
    assert abs(rewards[0] - rewards[1]) > 0.02


def test_the_learning_rate_falls_along_a_cosine(adapter, tmp_path):
    events = Trainer(ScaleOffsets(adapter), None, make_task(), config(steps=4), tmp_path).run()
    rates = [e.values["learning_rate"] for e in events if e.kind == "step"]
    wanted = [0.05 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    assert rates == pytest.approx(wanted)


def test_a_step_does_not_depend_on_how_it_is_cut_into_micro_batches(adapter, tmp_path):
    first = []
    for tokens in (1, 40, 10_000):
        settings = config(batch=6, micro_batch_tokens=tokens)
        folder = tmp_path / str(tokens)
        trainer = Trainer(ScaleOffsets(adapter), None, make_task(), settings, folder)
        first.append(next(e for e in trainer.run() if e.kind == "step").values)
        del first[-1]["seconds"]
    for other in first[1:]:
        assert other == pytest.approx(first[0], rel=1e-3, abs=1e-5)


def test_the_first_step_goes_along_the_gradient_of_the_mean_loss(adapter, tmp_path):
    """AdamW's first step is lr · sign; the clipped norm is that of the mean over the batch."""
    task = make_task()
    trainer = Trainer(ScaleOffsets(adapter), None, task, config(kl_coeff=0.0, batch=3), tmp_path)
    rows = rows_of_step(task.train, 3, trainer.config.seed, 0)
    scales = {n: torch.ones(f.S.numel(), requires_grad=True) for n, f in adapter.factors.items()}
    total = 0
    for row in rows:
        scores = []
        for option in row.question.options:
            ids = torch.tensor([[*row.question.prompt, *option]])
            with adapter.applied(scales):
                found = adapter.model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
            start = len(row.question.prompt) - 1
            scores.append(sum(found[start + t, token] for t, token in enumerate(option)))
        rewards = torch.tensor([1.0 if i == row.correct else -1.0 for i in range(2)])
        total = total - (torch.stack(scores).softmax(0) * rewards).sum() / len(rows)
    total.backward()
    gradient = torch.cat([scales[n].grad for n in adapter.names])
    events = trainer.run()
    next(events)  # validation of the base
    values = next(events).values
    assert values["grad_norm"] == pytest.approx(gradient.norm().item(), rel=1e-3)
    assert values["reward"] == pytest.approx(-total.item(), abs=1e-4)
    clear = gradient.abs() > 0.01 * gradient.abs().max()
    offset = trainer.trainable.offset.detach()
    torch.testing.assert_close(offset[clear], -0.05 * gradient[clear].sign(), atol=1e-3, rtol=0)


def test_every_epoch_sees_every_row_once_in_its_own_order():
    rows = list(range(10))
    seen = [row for step in range(5) for row in rows_of_step(rows, 4, 0, step)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == rows
    assert seen[:10] != seen[10:] != rows
    assert rows_of_step(rows, 4, 0, 3) == seen[12:16]
    assert [row for step in range(5) for row in rows_of_step(rows, 4, 1, step)] != seen


def test_tasks_without_rows(adapter, tmp_path):
    for task in (make_task(train=0), make_task(validation=0)):
        with pytest.raises(InputError, match="no training or no validation rows"):
            Trainer(ScaleOffsets(adapter), None, task, config(), tmp_path)


# --- the best checkpoint -------------------------------------------------------------------------


def test_the_best_validation_is_kept_not_the_last(tiny_llama, tmp_path, monkeypatch):
    """Training that goes wrong in the end does not spoil what it had found."""
    accuracies = iter([0.25, 0.5, 0.9, 0.9, 0.1])
    offsets = []

    def scripted(self):
        accuracy = next(accuracies)
        offsets.append(self.trainable.offset.detach().clone())
        monkeypatch.setattr(likelihood, "option_log_likelihoods", scores_of(accuracy, original))
        try:
            return validate(self)
        finally:
            monkeypatch.setattr(likelihood, "option_log_likelihoods", original)

    validate, original = Trainer._validate, likelihood.option_log_likelihoods
    monkeypatch.setattr(Trainer, "_validate", scripted)
    task = make_task(train=10, validation=20)
    list(train_svf(tiny_llama, task, config(evaluate_every=2), tmp_path))
    expert = Expert.load(tmp_path / "pick.safetensors")
    assert expert.training["best_step"] == 4
    assert expert.training["validation_accuracy"] == 0.9
    with adapt(tiny_llama) as adapter:
        found = torch.cat([expert.scales[n] for n in adapter.names])
    assert torch.equal(found, 1 + offsets[2])
    assert not torch.equal(found, 1 + offsets[-1])


def scores_of(share, original):
    """Scores that get the given share of twenty rows right, whatever the model says."""
    answered = []

    def scores(model, questions, temperature, dropout, reading):
        found = original(model, questions, temperature, dropout, reading)
        for i, question in enumerate(questions):
            right = [o[0] == 100 for o in question.options].index(True)
            good = len(answered) < share * 20
            answered.append(good)
            found[i] = torch.tensor([1.0 if (o == right) == good else 0.0 for o in range(2)])
        return found

    return scores


def test_name_and_details_go_into_the_expert(tiny_llama, tmp_path):
    task, details = make_task(train=24, validation=12), {"license": "MIT", "command": "t2ui train"}
    list(train_svf(tiny_llama, task, config(**LEARNING), tmp_path, name="picker", **details))
    expert = Expert.load(tmp_path / "picker.safetensors")
    assert (expert.name, expert.license) == ("picker", "MIT")
    assert expert.training["command"] == "t2ui train"


def test_no_expert_when_nothing_got_better(tiny_llama, tmp_path):
    settings = config(steps=4, learning_rate=1e-8)
    with pytest.raises(InputError, match="No step of 4 did better on validation than the start"):
        list(train_svf(tiny_llama, make_task(), settings, tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {"log.jsonl", "checkpoint.safetensors"}
    assert attached(tiny_llama) is None


def test_validation_reads_as_many_rows_as_asked(adapter, tmp_path, monkeypatch):
    read = []
    original = likelihood.option_log_likelihoods
    monkeypatch.setattr(
        likelihood,
        "option_log_likelihoods",
        lambda model, questions, *rest: read.extend(questions) or original(model, questions, *rest),
    )
    task = make_task(validation=8)
    next(Trainer(ScaleOffsets(adapter), None, task, config(validation_rows=5), tmp_path).run())
    wanted = {row.question for row in task.validation[:5]}
    assert set(read) == wanted and len(read) == 5


def test_the_expert_says_how_it_was_trained(tiny_llama, tmp_path):
    task = make_task(train=24, validation=12, data={"train": "made up"})
    list(train_svf(tiny_llama, task, config(**LEARNING), tmp_path))
    expert = Expert.load(tmp_path / "pick.safetensors")
    assert expert.base_model == "tiny-llama"
    assert expert.objective == "closed answers"
    for key, value in {
        "steps": 8,
        "steps_done": 8,
        "learning_rate": 0.05,
        "kl_coeff": 0.1,
        "seed": 0,
        "train_rows": 24,
        "dtype": "float32",
        "data": {"train": "made up"},
    }.items():
        assert expert.training[key] == value, key
    assert 0 < expert.training["best_step"] <= 8


# --- the model afterwards ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["to the end", "closed", "failed"])
def test_training_leaves_the_model_as_it_was(tmp_path, how, monkeypatch):
    """Also one whose own parameters would take gradients, as every freshly loaded model's do."""
    model = make_tiny("llama").requires_grad_(True)
    output = logits(model, prompt_ids(7))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    events = train_svf(model, make_task(train=24, validation=12), config(**LEARNING), tmp_path)
    if how == "to the end":
        list(events)
    else:
        for _ in range(3):
            next(events)
    if how == "closed":
        events.close()
    if how == "failed":
        monkeypatch.setattr("t2ui.training.trainer.rows_of_step", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(events)
    assert attached(model) is None
    assert not any("forward" in vars(module) for module in model.modules())
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert torch.equal(logits(model, prompt_ids(7)), output)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_an_adapter_of_the_caller_stays_with_what_it_had_set(tiny_llama, adapter, tmp_path):
    z = {"model.layers.0.mlp.up_proj": torch.full((32,), 1.5)}
    adapter.set(z)
    before = adapter.current()
    task = make_task(train=24, validation=12)
    events = list(train_svf(tiny_llama, task, config(**LEARNING), tmp_path))
    # neither the reference policy nor the training policy has any of it
    assert events[1].values["kl"] == pytest.approx(0, abs=1e-4)
    assert attached(tiny_llama) is adapter
    assert adapter.current() == before


# --- scopes --------------------------------------------------------------------------------------


def test_scope_answer_trains_what_the_answer_is_read_with(tiny_llama, tiny_tokenizer, tmp_path):
    """The prompt is read by the base model: the trained expert is better where it acts from the
    prompt's end on, and the file says so."""
    task = make_task(train=24, validation=12)
    settings = config(**LEARNING, scope="answer")
    list(train_svf(tiny_llama, task, settings, tmp_path, tokenizer=tiny_tokenizer))
    expert = Expert.load(tmp_path / "pick.safetensors")
    assert expert.scope == "answer" and expert.training["scope"] == "answer"
    questions = [row.question for row in task.validation]
    with adapt(tiny_llama) as adapter, torch.no_grad(), adapter.applied(expert.scales):
        reading = BaseReading(answer_tail(tiny_tokenizer), adapter.disabled)
        found = likelihood.option_log_likelihoods(tiny_llama, questions, reading=reading)
    right = [int(s.argmax()) == row.correct for s, row in zip(found, task.validation, strict=True)]
    assert sum(right) / len(right) == pytest.approx(
        expert.training["validation_accuracy"], abs=1e-4
    )


def test_scope_answer_needs_a_tokenizer(tiny_llama, tmp_path):
    with pytest.raises(InputError, match="Scope answer needs the model's tokenizer"):
        next(train_svf(tiny_llama, make_task(), config(scope="answer"), tmp_path))


def test_a_scope_that_is_none_is_refused():
    with pytest.raises(InputError, match="scope is 'prompt'; expected all .* or answer"):
        config(scope="prompt")
