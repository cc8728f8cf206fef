"""Sweeps and layers off as the worker answers them: the library's numbers, beside other work."""

import pytest
import serving
from serving import GREEDY, alone, one, run

from t2ui.config import FewShotConfig
from t2ui.errors import InputError
from t2ui.evaluation.trial import try_questions
from t2ui.inference.sweep import compare_mixtures
from t2ui.lineup import Lineup
from t2ui.messages import (
    Adapt,
    Ask,
    Done,
    Failed,
    LayersMeasured,
    LayersOff,
    NextToken,
    NextTokens,
    Queued,
    Sweep,
    SweepTexts,
    Swept,
    Trial,
    Tried,
)

MIXTURES = ({}, {"math": 0.5}, {"math": 1.0}, {"code": 1.0})
SEARCH = Adapt(
    (("count 1", "yes"), ("count 2", "no")), FewShotConfig("cem", population=4, generations=1)
)
SWEEP = Sweep("Hello", Lineup(MIXTURES), "A given answer.", sampling=GREEDY)


def test_a_sweep_is_the_library_s(backend, tiny_tokenizer):
    experts = backend._experts.library("").experts
    expected = compare_mixtures(
        backend.model,
        tiny_tokenizer,
        SWEEP.prompt,
        experts,
        MIXTURES,
        SWEEP.settings,
        SWEEP.given,
    )
    found = one(backend, SWEEP, Swept)
    assert found.parts_at == expected.parts_at and found.scope == expected.scope
    assert found.given_tokens == expected.given_tokens
    for mine, column in zip(found.columns, expected.columns, strict=True):
        assert mine.pieces == column.pieces and mine.finished == column.finished
        assert mine.log_likelihood == pytest.approx(column.log_likelihood, abs=1e-4)
        assert mine.base_share == 1 - sum(mine.mixture.values())


def test_answers_and_sliders_go_on_beside_it(backend, monkeypatch):
    from t2ui.backend import comparing

    monkeypatch.setattr(comparing, "TEXTS_SECONDS", 0.0)
    ask = Ask("Add 3 and 4", {"math": 1.0}, sampling=GREEDY, compare=False)
    swept, asked, token = run(backend, SWEEP, ask, NextToken("Hello", {"math": 1.0}))
    assert serving.texts(asked)["adapted"] == alone(backend, ask.prompt, ask.mixture).text
    assert any(isinstance(event, NextTokens) for event in token)
    kinds = [type(event) for event in swept]
    assert kinds[-2:] == [Swept, Done] and SweepTexts in kinds
    said = [event.texts for event in swept if isinstance(event, SweepTexts)]
    final = ["".join(column.pieces) for column in swept[-2].columns]
    assert all(
        text.startswith(part) for texts in said for text, part in zip(final, texts, strict=True)
    )


def test_layers_off_are_measured(backend):
    found = one(backend, LayersOff("Hello", "A given answer.", {"math": 1.0}), LayersMeasured)
    swept = one(
        backend,
        Sweep("Hello", Lineup([{}, {"math": 1.0}]), "A given answer.", sampling=GREEDY),
        Swept,
    )
    expected = [column.log_likelihood for column in swept.columns]
    assert [found.base, found.adapted] == pytest.approx(expected, abs=1e-3)
    assert found.tokens == swept.given_tokens and len(set(found.without)) == len(found.without)


def test_a_trial_is_the_library_s_and_waits_where_searches_do(backend, tiny_tokenizer):
    lineup = Lineup(MIXTURES, ("shuffled", "examples"), 2, [("Hi", "Ho")])
    questions = tuple((f"Add {n} and 4", "e") for n in range(5))
    trial = Trial(questions, lineup, sampling=GREEDY)
    asked, tried, search = run(
        backend, Ask("Add 3 and 4", {"math": 1.0}, sampling=GREEDY, compare=False), trial, SEARCH
    )
    experts = backend._experts.library("").experts
    expected = try_questions(
        backend.model, tiny_tokenizer, questions, experts, lineup, trial.settings
    )
    found = [event for event in tried if isinstance(event, Tried)]
    assert found[-1].columns == expected and isinstance(tried[-1], Done)
    assert serving.texts(asked)["adapted"] == alone(backend, "Add 3 and 4", {"math": 1.0}).text
    assert search[0] == Queued(1) and isinstance(search[-1], Done)


def test_bad_input_is_one_line(backend):
    with pytest.raises(InputError, match="expected 1 to 9"):
        Lineup(())
    failed = one(backend, Sweep("Hello", Lineup([{"poems": 1.0}])), Failed)
    assert failed.message.startswith("There is no expert named 'poems'")
