"""Mixtures that answer the same questions in the worker: right, in pieces, ahead of a search."""

import pytest
from fake_backend import FakeBackend
from serving import alone, run

from t2ui.backend import adaptation
from t2ui.config import FewShotConfig, Sampling, WorkerConfig
from t2ui.errors import InputError
from t2ui.few_shot.examples import answers
from t2ui.messages import (
    Adapt,
    Adapted,
    Ask,
    Cancel,
    Decision,
    Done,
    Failed,
    Generation,
    Queued,
    ScoredSoFar,
    ScoreMixtures,
    Tokens,
)
from t2ui.worker.scheduler import Scheduler

QUESTIONS = ("Hello", "What is 7 + 5?", "Sort a list.", "Tom had 5 marbles.")
MIXTURES = ({"math": 1.0}, {"code": 0.5, "math": -0.25}, {"code": 1.0})
TOKENS = 6


@pytest.fixture
def asked(backend):
    """A right answer for half of the questions: what the first mixture writes, or the base."""
    pairs = []
    for place, question in enumerate(QUESTIONS):
        weights = MIXTURES[0] if place % 2 else {}
        text = alone(backend, question, weights, Sampling(TOKENS)).text
        pairs.append((question, text.strip() or "nothing"))
    return ScoreMixtures(tuple(pairs), MIXTURES, ({},), TOKENS)


def decision(events):
    return next(event for event in events if isinstance(event, Decision))


def test_each_mixture_is_judged_by_what_it_writes_alone(backend, asked):
    (events,) = run(backend, asked)
    found = decision(events)
    for mixture, one in zip(asked.mixtures, (*found.entries, *found.rivals), strict=True):
        texts = [alone(backend, q, mixture, Sampling(TOKENS)).text for q in QUESTIONS]
        wanted = [answers(t, a) for t, (_, a) in zip(texts, asked.examples, strict=True)]
        assert list(one.right) == wanted, mixture
    assert found.entries[0].count >= 2, "two of the right answers are its own"
    assert isinstance(events[-1], Done) and len(found.tests) == 1


def test_it_says_how_far_it_is_and_leaves_the_base_model(backend, asked, monkeypatch):
    monkeypatch.setattr(adaptation, "CPU_BATCH_ROWS", 8)  # two mixtures of four questions
    before = alone(backend, "Hello", {}).text
    (events,) = run(backend, asked)
    assert [e.done for e in events if isinstance(e, ScoredSoFar)] == [2, 4]
    assert alone(backend, "Hello", {}).text == before


def test_answers_go_on_beside_it(backend, asked):
    ask = Ask("Hello", {"math": 1.0}, sampling=Sampling(12), compare=False)
    mine, scores = run(backend, ask, asked)
    text = "".join(p for e in mine if isinstance(e, Tokens) for p in e.pieces)
    assert text == alone(backend, "Hello", {"math": 1.0}, Sampling(12)).text
    assert decision(scores) == decision(run(backend, asked)[0])


@pytest.mark.parametrize(
    ("mixture", "says"),
    [({"poems": 1.0}, "There is no expert named 'poems'"), ({"math": (1.0,)}, "layer")],
)
def test_a_mixture_that_cannot_be_is_one_line(backend, asked, mixture, says):
    (events,) = run(backend, ScoreMixtures(asked.examples, (mixture,)))
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert says in failed.message and failed.cause == "input"


@pytest.mark.parametrize(
    ("examples", "entries", "says"),
    [
        ((), ({},), "There are no examples"),
        ((("q", " "),), ({},), "Example 1 has no right answer"),
        ((("q", "a"),), (), "There are 0 mixtures"),
        ((("q", "a"),), ({"math": "x"},), "a number is expected"),
    ],
)
def test_what_cannot_be_scored_is_refused_where_it_is_asked(examples, entries, says):
    with pytest.raises(InputError, match=says):
        ScoreMixtures(examples, entries)


def test_a_cancel_ends_it_without_a_decision(backend, asked):
    loop = Scheduler(backend, WorkerConfig(model="tiny"))
    loop.take("scores", asked)
    events = [event for _ in range(3) for _, event in loop.turn()]
    loop.take("scores", Cancel())
    while not loop.idle:
        events += [event for _, event in loop.turn()]
    assert not any(isinstance(event, Decision) for event in events)
    assert isinstance(events[-1], Done) and events[-1].cancelled
    assert decision(run(backend, asked)[0]), "and the next one is answered"


class Scoring(FakeBackend):
    """Scores in three pieces; its searches are FakeBackend's."""

    def search(self, request, stopped):
        if isinstance(request, ScoreMixtures):
            yield from (None, None, ScoredSoFar(1, 1))
        else:
            yield from super().search(request, stopped)


def test_scores_take_the_turns_of_a_search_which_then_goes_on():
    loop = Scheduler(Scoring(), WorkerConfig(model="fake"))
    loop.take("search", Adapt((("count 4", "a"),), FewShotConfig(generations=9)))
    told = []
    for turn in range(30):
        if turn == 4:
            for name in ("first", "second"):
                loop.take(name, ScoreMixtures((("q", "a"),), ({},)))
        told += [(job_id, type(event)) for job_id, event in loop.turn()]
    kinds = [one for one in told if one[1] in (Generation, ScoredSoFar, Adapted, Done)]
    first = kinds.index(("first", ScoredSoFar))
    assert ("search", Generation) in kinds[:first], "it had begun"
    assert kinds[first : first + 4] == [
        ("first", ScoredSoFar),
        ("first", Done),
        ("second", ScoredSoFar),
        ("second", Done),
    ]
    assert kinds[-2:] == [("search", Adapted), ("search", Done)]
    assert ("second", Queued) in told and loop.idle
