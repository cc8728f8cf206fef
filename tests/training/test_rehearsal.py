"""Rehearsal: prompts of other kinds, the base model's own answers, and what they keep."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from open_training import config, make_task
from reference import greedy, log_likelihood, prompt_ids

from t2ui.errors import InputError
from t2ui.models.chat import chat_ids
from t2ui.models.questions import Question
from t2ui.svf.adapter import adapt
from t2ui.tasks import Example
from t2ui.tasks.batching import rows_of_step
from t2ui.tasks.rehearsal import PER_LABEL, rehearsal_prompts
from t2ui.training import rehearsal
from t2ui.training.checkpoint import read_log
from t2ui.training.parameters import ScaleOffsets
from t2ui.training.rehearsal import MAX_TOKENS, Rehearsal, with_own_answers
from t2ui.training.trainer import Trainer

OTHERS = tuple(
    Example(f"other {i}", Question(tuple(prompt_ids(4 + i % 3, seed=300 + i)), ()))
    for i in range(6)
)


@pytest.fixture
def rehearsed(monkeypatch):
    monkeypatch.setattr("t2ui.training.rehearsal.rehearsal_prompts", lambda *_: OTHERS)


def test_prompts_of_every_other_kind_in_equal_shares(tiny_tokenizer):
    found = rehearsal_prompts(tiny_tokenizer, ("math",))
    assert Counter(e.family for e in found) == dict.fromkeys(("code", "reasoning", "others"), 120)
    assert len({e.id for e in found}) == len({e.prompt for e in found}) == 3 * PER_LABEL
    assert sum(e.prompt.count("Your code should pass this test:\nassert") for e in found) == 60
    for example in found[::40]:
        assert example.question == Question(tuple(chat_ids(tiny_tokenizer, example.prompt)), ())
    assert {e.family for e in rehearsal_prompts(tiny_tokenizer, ())} == {
        "math",
        "code",
        "reasoning",
        "others",
    }


def test_a_task_of_every_kind_has_nothing_to_rehearse(tiny_tokenizer):
    with pytest.raises(InputError, match="nothing to rehearse; leave --rehearsal out"):
        rehearsal_prompts(tiny_tokenizer, ("math", "code", "reasoning", "others"))


def test_rehearsal_asks_for_the_tokenizer(adapter, tmp_path):
    with pytest.raises(InputError, match="rehearsal needs the model's tokenizer"):
        Trainer(ScaleOffsets(adapter), None, make_task(), config(rehearsal=2), tmp_path)


def test_own_answers_are_the_greedy_ones(adapter, tiny_llama, tiny_tokenizer):
    found = with_own_answers(tiny_llama, tiny_tokenizer, OTHERS, 5)
    for before, after in zip(OTHERS, found, strict=True):
        prompt = before.question.prompt
        assert after.question.prompt == prompt and after.id == before.id
        assert list(after.target) == greedy(tiny_llama, prompt, 5)[: len(after.target)]


def test_what_is_rehearsed_is_kept(rehearsed, tiny_llama, tiny_tokenizer, tmp_path):
    """After the same training the base model's answers are far likelier with it than without."""
    with adapt(tiny_llama):
        answered = with_own_answers(tiny_llama, tiny_tokenizer, OTHERS, MAX_TOKENS)
    likelihoods = []
    for count in (0, 6):
        with adapt(tiny_llama) as adapter:
            settings = config(objective="next_token", steps=25, rehearsal=count)
            folder = tmp_path / str(count)
            run = Trainer(ScaleOffsets(adapter), tiny_tokenizer, make_task(), settings, folder)
            steps = [e.values for e in run.run() if e.kind == "step"]
            assert all(("rehearsal" in values) == bool(count) for values in steps)
            assert steps[-1]["cross_entropy"] < steps[0]["cross_entropy"]
            with run.trainable.running("inference"):
                likelihoods.append(
                    sum(
                        float(
                            log_likelihood(tiny_llama, e.question.prompt, e.target) / len(e.target)
                        )
                        for e in answered
                    )
                    / len(answered)
                )
    without, with_it = likelihoods
    assert with_it > without + 0.5
    assert steps[-1]["rehearsal"] == pytest.approx(-with_it, abs=0.3)


def test_a_run_with_rehearsal_resumes_along_its_curve(
    rehearsed, tiny_llama, tiny_tokenizer, tmp_path, monkeypatch
):
    ends = []
    for folder, stop in (("whole", None), ("parts", 3)):
        settings = config(steps=5, objective="next_token", rehearsal=2)
        for limit in filter(None, (stop, 99)):
            with adapt(tiny_llama) as adapter:
                offsets = ScaleOffsets(adapter)
                run = Trainer(offsets, tiny_tokenizer, make_task(), settings, tmp_path / folder)
                next(e for e in run.run() if e.kind == "end" or e.step == limit)
        ends.append(offsets.offset.detach().clone())
    assert torch.equal(*ends)
    monkeypatch.setattr("t2ui.training.rehearsal.rehearsal_prompts", lambda *_: OTHERS[:4])
    with adapt(tiny_llama) as adapter, pytest.raises(InputError, match="rehearsed prompts"):
        Trainer(ScaleOffsets(adapter), tiny_tokenizer, make_task(), settings, tmp_path / "parts")


def test_a_blocks_answers_are_made_together_and_are_those_of_each_alone(
    rehearsed, adapter, tiny_tokenizer, tmp_path, monkeypatch
):
    run = Trainer(ScaleOffsets(adapter), tiny_tokenizer, make_task(), config(rehearsal=3), tmp_path)
    calls, answer = [], rehearsal.with_own_answers

    def counted(model, tokenizer, rows, most):
        calls.append(len(rows))
        return answer(model, tokenizer, rows, most)

    monkeypatch.setattr(rehearsal, "with_own_answers", counted)
    block = [run.rehearsal.terms(step) for step in range(rehearsal.BLOCK_STEPS)]
    assert len(calls) == 1
    resumed = Rehearsal(run.setup)  # in the middle of the block
    later = resumed.terms(rehearsal.BLOCK_STEPS - 1)
    assert [t.question for t in later] == [t.question for t in block[-1]]
    run.rehearsal.terms(rehearsal.BLOCK_STEPS)
    assert len(calls) == 3
    rows = rows_of_step(run.rehearsal.prompts, 3, run.config.seed, 0)
    alone = [answer(run.model, tiny_tokenizer, [row], rehearsal.MAX_TOKENS)[0] for row in rows]
    assert [t.question for t in block[0]] == [row.question for row in alone]


def test_processes_share_a_steps_rehearsal(rehearsed, adapter, tiny_tokenizer, tmp_path):
    run = Trainer(ScaleOffsets(adapter), tiny_tokenizer, make_task(), config(rehearsal=5), tmp_path)
    whole = [term.question.prompt for term in run.rehearsal.terms(0)]
    shares = []
    for index in (0, 1):
        processes = SimpleNamespace(num_processes=2, process_index=index)
        share = Rehearsal(replace(run.setup, processes=processes))
        shares.append([term.question.prompt for term in share.terms(0)])
    assert (whole[::2], whole[1::2]) == tuple(shares)


@pytest.mark.parametrize(("count", "kept"), [(0, 5), (2, 15)])
def test_with_rehearsal_the_last_step_is_kept(
    rehearsed, adapter, tiny_llama, tiny_tokenizer, tmp_path, monkeypatch, count, kept
):
    """The task's accuracy alone would keep a step that has rehearsed little, or nothing."""
    right = iter([4, 6, 2, 3])  # of eight rows: at the start, then every five steps
    monkeypatch.setattr(
        "t2ui.training.validation.greedy_scores",
        lambda *_, **__: [i < n for n in [next(right)] for i in range(8)],
    )
    settings = config(rehearsal=count, steps=15)
    run = Trainer(ScaleOffsets(adapter), tiny_tokenizer, make_task(), settings, tmp_path)
    events = list(run.run())
    assert run.best_step == kept
    assert events[-1].values["validation"] == (0.375 if count else 0.75)
    last = torch.equal(run.best_values, run.trainable.offset.detach())
    assert last == bool(count)
    assert read_log(tmp_path)[0]["values"]["best"] == (0 if count else 0.5)
