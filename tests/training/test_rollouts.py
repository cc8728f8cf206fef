"""Sampled training on open answers: what is sampled, what is learned, and what it refuses."""

import os
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from open_training import config, make_task, never, right
from reference import log_likelihood, logits, prompt_ids

from t2ui.config import TrainConfig
from t2ui.errors import InputError
from t2ui.models import likelihood
from t2ui.models.questions import Question
from t2ui.svf.adapter import adapt, attached
from t2ui.svf.expert import Expert
from t2ui.tasks.answering import Draws, Group, greedy_scores, sample_groups, scored
from t2ui.training import trainer
from t2ui.training.objectives.sampled import (
    less_leave_one_out,
    less_mean,
    sampled_terms,
    scores_of,
    without_baseline,
)
from t2ui.training.parameters import ScaleOffsets
from t2ui.training.svf import train_svf
from t2ui.training.trainer import Trainer


def test_a_group_holds_what_was_sampled(adapter, tiny_llama, tiny_tokenizer):
    task = make_task()
    groups = sample_groups(tiny_llama, tiny_tokenizer, task, task.train[:3], Draws(6, 1))
    assert [g.example for g in groups] == list(task.train[:3])
    for group in groups:
        assert group.question.prompt == group.example.question.prompt
        assert float(group.counts.sum()) == 6
        options = group.question.options
        assert len(set(options)) == len(options) == len(group.rewards) == len(group.counts)
        for option, reward in zip(options, group.rewards.tolist(), strict=True):
            text = tiny_tokenizer.decode(option, skip_special_tokens=True)
            assert reward == (1.0 if right(text, "a") else -1.0)
    again = sample_groups(tiny_llama, tiny_tokenizer, task, task.train[:3], Draws(6, 1))
    assert [g.question for g in again] == [g.question for g in groups]
    other = sample_groups(tiny_llama, tiny_tokenizer, task, task.train[:3], Draws(6, 2))
    assert [g.question for g in other] != [g.question for g in groups]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_rollouts_follow_the_policy(adapter, tiny_llama, tiny_tokenizer, temperature):
    """First tokens come up as often as the model's own probabilities say, and these are what is
    differentiated."""
    task = make_task(max_new_tokens=1)
    group = sample_groups(
        tiny_llama, tiny_tokenizer, task, task.train[:1], Draws(4000, 3, temperature)
    )[0]
    policy = (logits(tiny_llama, group.question.prompt)[-1] / temperature).softmax(0)
    scores = scores_of(tiny_llama, [group.question], 1000, temperature)[0]
    for option, count, score in sorted(
        zip(group.question.options, group.counts, scores, strict=True), key=lambda row: -row[1]
    )[:5]:
        p = float(policy[option[0]])
        assert float(count) / 4000 == pytest.approx(p, abs=4 * (p / 4000) ** 0.5)
        assert float(score.exp()) == pytest.approx(p, rel=1e-4)


def test_a_run_differentiates_what_it_sampled_from(adapter, tiny_tokenizer, tmp_path, monkeypatch):
    """Rollouts, the KL penalty and the gradient all belong to the policy of the set temperature.
    (Validation, left out here, asks the model as it answers: at a temperature of 1.)"""
    used, original = [], likelihood.option_log_likelihoods

    def spied(model, questions, temperature=1.0, dropout=False, reading=None):
        used.append(temperature)
        return original(model, questions, temperature, dropout, reading)

    monkeypatch.setattr(likelihood, "option_log_likelihoods", spied)
    monkeypatch.setattr(trainer, "validate", lambda setup, rows: {"accuracy": 0.0, "reward": 0.0})
    settings = config(steps=1, kl_coeff=0.1, temperature=1.3)
    run = Trainer(ScaleOffsets(adapter), tiny_tokenizer, make_task(), settings, tmp_path)
    list(run.run())
    assert len(used) >= 3 and set(used) == {1.3}


def test_rollouts_without_an_advantage_are_not_scored_again():
    """Two prompts: one half right, with a rollout twice; one all wrong."""
    counts, scores = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, -2.0, -4.0])
    groups = [
        Group(make_task().train[0], Question((3, 4), ((5,), (6,), (7,))), counts, rewards)
        for rewards in (torch.tensor([1.0, -1.0, -1.0]), -torch.ones(3))
    ]
    (term,) = sampled_terms(groups, None, 0.0, less_leave_one_out, -1.0, 100)
    assert term.question == groups[0].question
    assert term.loss(scores)[0].item() == pytest.approx(
        -(1 * 2 * -1 + 2 * (-1 + 1 / 3) * -2 + (-1 + 1 / 3) * -4) / 4
    )
    (only_right,) = sampled_terms(groups, None, 0.0, without_baseline, 0.0, 100)
    assert only_right.question.options == ((5,),)
    assert only_right.loss(scores[:1])[0].item() == pytest.approx(1 / 4)  # of all four


def test_many_long_rollouts_of_a_prompt_are_cut_by_the_token_budget(tiny_llama):
    """And give the same loss and the same scores as together."""
    options = tuple(tuple(prompt_ids(6, seed=i)) for i in range(5))
    group = Group(
        make_task().train[0],
        Question((3, 4), options),
        torch.ones(5),
        torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0]),
    )
    scores = torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0])
    (whole,) = sampled_terms([group], None, 0.0, less_mean, -1.0, 1000)
    parts = sampled_terms([group], None, 0.0, less_mean, -1.0, 12)
    assert [len(term.question.options) for term in parts] == [2, 2, 1]
    assert all(term.question.tokens <= 12 for term in parts)
    assert sum((t.question.options for t in parts), ()) == options
    losses = [t.loss(s)[0] for t, s in zip(parts, scores.split([2, 2, 1]), strict=True)]
    assert float(sum(losses)) == pytest.approx(float(whole.loss(scores)[0]))
    with torch.inference_mode():
        together, apart = (scores_of(tiny_llama, [group.question], n, 1.0)[0] for n in (1000, 12))
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def test_answers_are_judged_side_by_side_and_keep_their_order():
    """Code is run one process a processor: neither of two judges ends before both have begun."""
    both = threading.Barrier(min(2, os.cpu_count() or 1), timeout=20)

    def judge(text: str, answer: str) -> bool:
        both.wait()
        return text == answer

    pairs = [("a", "a"), ("a", "b"), ("b", "b"), ("b", "a")]
    assert scored(make_task(judge=judge), pairs) == [True, False, True, False]
    assert scored(make_task(judge=judge), []) == []


def test_sampled_training_learns(tiny_llama, tiny_tokenizer, tmp_path):
    task = make_task()
    settings = config(steps=40, learning_rate=0.1)
    events = list(train_svf(tiny_llama, task, settings, tmp_path, tokenizer=tiny_tokenizer))
    steps = [e.values for e in events if e.kind == "step"]
    first, last = (sum(v["accuracy"] for v in part) / 4 for part in (steps[:4], steps[-4:]))
    assert last > 2 * first  # of 192 rollouts each
    expert = Expert.load(tmp_path / "open.safetensors")
    assert expert.training["objective"] == "sampled"
    with adapt(tiny_llama) as adapter:
        base = greedy_scores(tiny_llama, tiny_tokenizer, task, task.validation)
        with adapter.applied(expert.scales):
            trained = greedy_scores(tiny_llama, tiny_tokenizer, task, task.validation)
    assert sum(trained) > sum(base)
    assert sum(trained) / len(trained) == pytest.approx(expert.training["validation_accuracy"])


def test_the_kl_penalty_holds_the_policy_near_the_base(tiny_llama, tiny_tokenizer, tmp_path):
    ends = []
    for kl_coeff in (0.001, 3.0):
        events = Trainer(
            ScaleOffsets(made := adapt(tiny_llama)),
            tiny_tokenizer,
            make_task(),
            config(steps=12, kl_coeff=kl_coeff),
            tmp_path / str(kl_coeff),
        ).run()
        ends.append([e.values["kl"] for e in events if e.kind == "step"][-1])
        made.remove()
    assert ends[1] < 0.5 * ends[0]


def test_an_epoch_without_a_reward_is_an_error_that_says_what_to_change(
    tiny_llama, tiny_tokenizer, tmp_path
):
    events = train_svf(
        tiny_llama, make_task(judge=never), config(), tmp_path, tokenizer=tiny_tokenizer
    )
    with pytest.raises(InputError, match=r"whole epoch \(12 prompts\).*more --rollouts"):
        list(events)
    assert not (tmp_path / "open.safetensors").exists()
    assert attached(tiny_llama) is None


def test_a_process_whose_own_share_is_all_wrong_does_not_stop_alone(
    adapter, tiny_tokenizer, tmp_path, monkeypatch
):
    """Its neighbours would wait for its gradient for ever."""
    means = iter([0.25, 0.0])
    monkeypatch.setattr(
        "t2ui.training.objectives.sampled.reduce",
        lambda tensor, how: {"mean": lambda: torch.tensor(next(means)), "sum": lambda: 2 * tensor}[
            how
        ](),
    )
    run = Trainer(
        ScaleOffsets(adapter),
        tiny_tokenizer,
        make_task(judge=never),
        config(steps=2, batch=12),
        tmp_path,
    )
    run.processes = SimpleNamespace(num_processes=2, process_index=1, is_main_process=False)
    run.objective.setup = replace(run.setup, processes=run.processes)
    assert [e.step for e in run.run() if e.kind == "step"] == [1, 2]


def test_next_token_prediction_teaches_the_target(tiny_llama, tiny_tokenizer, tmp_path):
    task = make_task()
    settings = config(objective="next_token", steps=15, batch=12)
    events = Trainer(
        ScaleOffsets(made := adapt(tiny_llama)), tiny_tokenizer, task, settings, tmp_path
    ).run()
    losses = [e.values["cross_entropy"] for e in events if e.kind == "step"]
    made.remove()
    assert losses[-1] < 0.7 * losses[0]
    row = task.train[0]
    mean = -log_likelihood(tiny_llama, row.question.prompt, row.target) / len(row.target)
    assert losses[0] == pytest.approx(float(mean), rel=0.3)  # the batch's mean, not a sum


@pytest.mark.parametrize(
    ("objective", "closed", "message"),
    [("exact", False, "has open answers"), ("sampled", True, "has closed answers")],
)
def test_objectives_that_a_task_cannot_have(
    adapter, tiny_tokenizer, tmp_path, objective, closed, message
):
    task = make_task(judge=None if closed else right)
    with pytest.raises(InputError, match=message):
        Trainer(ScaleOffsets(adapter), tiny_tokenizer, task, config(objective=objective), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "best"}, "objective is 'best'; expected auto, exact, sampled, next_token"),
        ({"baseline": "best"}, "baseline is 'best'"),
        ({"rollouts": 1}, "needs at least 2 rollouts"),
        ({"rollouts": 0}, "rollouts is 0"),
        ({"negative_reward": 2}, "negative_reward is 2"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        TrainConfig(**settings)


@pytest.mark.parametrize("objective", ["auto", "next_token"])
def test_an_example_longer_than_the_context_is_named_before_anything_runs(
    adapter, tiny_tokenizer, tmp_path, objective
):
    task = make_task()
    long = replace(task.train[5], id="row 5", question=Question((9,) * 511, ((68, 2),)))
    task = replace(task, train=(*task.train[:5], long))
    with pytest.raises(InputError, match="Example 'row 5' has 511 tokens and an answer of up to 3"):
        Trainer(ScaleOffsets(adapter), tiny_tokenizer, task, config(objective=objective), tmp_path)
    assert list(tmp_path.iterdir()) == []
