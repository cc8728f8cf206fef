"""In the worker the last answer to a prompt is the draft of the next, and prompts are kept."""

from dataclasses import replace

import pytest
from serving import run, texts

from t2ui.config import Sampling
from t2ui.messages import Ask, Compared, NextToken, Tokens
from t2ui.models.chat import answer_tail

LONG = Sampling(max_new_tokens=40)


@pytest.fixture
def reads(backend):
    """(rows, tokens) of every forward pass."""
    seen = []
    hook = backend.model.register_forward_pre_hook(
        lambda _, __, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    yield seen
    hook.remove()


def ask(alpha: float, session: str = "mine", prompt: str = "Hello", **more) -> Ask:
    return Ask(prompt, {"math": alpha}, sampling=LONG, session=session, compare=True, **more)


@pytest.mark.parametrize("scope", ["all", "answer"])
def test_a_moved_slider_answers_as_if_asked_for_the_first_time(backend, reads, scope):
    alphas = (1.0, 1.0, 0.97, 0.6, -0.4, 1.0)
    fresh = [texts(run(backend, ask(a, f"visitor {i}", scope=scope))[0])
             for i, a in enumerate(alphas)]  # fmt: skip
    assert len({said["adapted"] for said in fresh}) > 2
    assert [texts(run(backend, ask(a, scope=scope))[0]) for a in alphas] == fresh


def test_the_same_question_again_is_confirmed_in_few_forward_passes(backend, reads):
    run(backend, ask(1.0))
    first, reads[:] = len(reads), []
    run(backend, ask(1.0))
    assert first > 40 and len(reads) < first / 2, "each pane in one, then the comparison"
    (_, base), (_, adapted) = reads[:2]
    assert base == 40 < adapted, "the base model's prompt is kept, of the draft all is read"


def test_for_the_comparison_the_base_model_reads_the_answer_and_nothing_else(backend, reads):
    (events,) = run(backend, ask(1.0))
    written = len(next(e for e in events if isinstance(e, Compared)).shifts)
    assert written == 40
    assert sum(tokens for rows, tokens in reads if rows == 1 and tokens > 1) == written


def test_nobody_elses_answer_is_the_draft(backend, reads):
    run(backend, ask(1.0, "mine"))
    first, reads[:] = len(reads), []
    run(backend, ask(1.0, "theirs"))
    assert len(reads) > first - 3


def test_in_scope_answer_a_slider_reads_the_prompts_end_alone(backend, reads):
    prompt = "one two three four five six seven eight nine ten " * 6
    run(backend, NextToken(prompt, {"math": 0.5}, scope="answer"))
    reads.clear()
    for alpha in (0.6, 0.7):
        run(backend, NextToken(prompt, {"math": alpha}, scope="answer"))
    assert reads == [(1, answer_tail(backend.tokenizer))] * 2


def test_asked_again_it_is_compared_with_the_base_models_last_answer_as_it_stands(backend, reads):
    both = run(backend, ask(0.6, "another"))[0]
    (wanted,) = [e for e in both if isinstance(e, Compared)]
    alone = dict(compare=False, compare_with_last=True)
    nothing = run(backend, replace(ask(0.6), **alone))[0]
    assert not [e for e in nothing if isinstance(e, Compared)], "there is no answer of the base's"
    run(backend, ask(1.0))
    reads.clear()
    again = run(backend, replace(ask(0.6), **alone))[0]
    (found,) = [e for e in again if isinstance(e, Compared)]
    assert found.first_difference == wanted.first_difference
    assert [shift.text for shift in found.shifts] == [shift.text for shift in wanted.shifts]
    assert {e.pane for e in again if isinstance(e, Tokens)} == {"adapted"}
    assert all(rows == 1 for rows, tokens in reads if tokens == 1), "the base decodes nothing"


def test_only_the_latest_answers_are_remembered(backend, monkeypatch):
    monkeypatch.setattr("t2ui.backend.answers.REMEMBERED_ANSWERS", 2)
    for number in range(4):
        run(backend, ask(1.0, f"visitor {number}"))
    assert len(backend._answers._last) == 2
