"""One prompt under several mixtures: every answer and every log-likelihood is that of its mixture
alone, by a plain forward pass of rewritten weights."""

import pytest
import torch
from reference import greedy, log_likelihood, matrix_names, random_scales, rewritten

from t2ui.config import AnswerSettings, Sampling
from t2ui.errors import InputError
from t2ui.inference.differences import parting
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.sweep import compare_mixtures, layers_off
from t2ui.inference.two_pass import two_pass_infer
from t2ui.lineup import Lineup
from t2ui.models.chat import chat_ids, text_ids
from t2ui.svf.adapter import adapt
from t2ui.svf.controls import random_like, shuffled
from t2ui.svf.decomposition import layer_of
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, mix

PROMPT, GIVEN = "What is 7 + 5?", "It is 12."
SETTINGS = AnswerSettings(sampling=Sampling(max_new_tokens=10))
MIXTURES = ({}, {"math": 0.5}, {"math": 1.0}, {"math": 0.5, "code": -0.5})


@pytest.fixture
def experts(tiny_llama):
    names = matrix_names("llama")
    return {
        name: Expert(name, random_scales(tiny_llama, names, seed))
        for seed, name in enumerate(("math", "code"), start=1)
    }


def finish(pieces):
    while True:
        try:
            next(pieces)
        except StopIteration as ended:
            return ended.value


def test_each_column_is_its_mixture_alone(tiny_llama, tiny_tokenizer, experts):
    found = compare_mixtures(tiny_llama, tiny_tokenizer, PROMPT, experts, MIXTURES, SETTINGS, GIVEN)
    prompt, given = chat_ids(tiny_tokenizer, PROMPT), text_ids(tiny_tokenizer, GIVEN)
    assert found.scope == "all" and found.given_tokens == len(given)
    for mixture, column in zip(MIXTURES, found.columns, strict=True):
        alone = rewritten(tiny_llama, mix(experts, Mixture(mixture)))
        answer = greedy(alone, prompt, 10)
        assert list(column.token_ids) == answer[: len(column.token_ids)]
        assert len(column.token_ids) in (len(answer), len(answer) - 1)  # without the end token
        assert column.log_likelihood == pytest.approx(
            float(log_likelihood(alone, prompt, given)), abs=1e-3
        )
        text = two_pass_infer(
            tiny_llama,
            tiny_tokenizer,
            PROMPT,
            experts,
            mixture=Mixture(mixture),
            sampling=SETTINGS.sampling,
        ).text
        assert column.text == text == "".join(column.pieces)
    answers = [column.token_ids for column in found.columns]
    at = found.parts_at
    assert at is not None and len({answer[:at] for answer in answers}) == 1
    assert len({answer[at : at + 1] for answer in answers}) > 1


def test_controls_keep_the_directions_and_take_the_values_away(tiny_llama, tiny_tokenizer, experts):
    shots = [("What is 1 + 1?", "It is 2."), ("What is 2 + 2?", "It is 4.")]
    lineup = Lineup(MIXTURES, ("shuffled", "random", "examples"), 2, shots)
    how = (tiny_llama, tiny_tokenizer, PROMPT, experts)
    found = compare_mixtures(*how, lineup, SETTINGS, GIVEN)
    plain = compare_mixtures(*how, MIXTURES, SETTINGS, GIVEN)
    assert [one.control for one in found.columns] == ["", "", "", "", *lineup.controls]
    for mine, alone in zip(found.columns, plain.columns, strict=False):
        assert mine.token_ids == alone.token_ids
        assert mine.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-3)
    prompt, given = chat_ids(tiny_tokenizer, PROMPT), text_ids(tiny_tokenizer, GIVEN)
    z = mix(experts, Mixture({"math": 1.0}))
    for column, scales in zip(found.columns[4:6], (shuffled(z), random_like(z)), strict=True):
        for name, own in z.items():
            assert not torch.equal(scales[name], own)
            far = (own - 1).square().mean().sqrt()
            assert (scales[name] - 1).square().mean().sqrt() == pytest.approx(float(far), rel=1e-4)
        alone = rewritten(tiny_llama, scales)
        expected = float(log_likelihood(alone, prompt, given))
        assert column.log_likelihood == pytest.approx(expected, abs=1e-3)
    for name, own in z.items():
        assert torch.equal(shuffled(z)[name].sort().values, own.sort().values)
        assert torch.equal(shuffled(z)[name], shuffled(z)[name]), "the same whoever asks"
    turns = [turn for q, a in shots for turn in (("user", q), ("assistant", a))]
    shown = chat_ids(tiny_tokenizer, PROMPT, before=turns)
    expected = float(log_likelihood(tiny_llama, shown, given))
    assert found.columns[6].log_likelihood == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"controls": ["luck"]}, "the control is 'luck'; expected shuffled, random, examples"),
        ({"controls": ["examples"]}, "got 0; expected 1 to 5 pairs"),
        ({"controlled": 4}, "Controls were asked for of mixture 4; there are 4"),
    ],
)
def test_a_line_up_that_cannot_be_is_refused(asked, words):
    with pytest.raises(InputError, match=words):
        Lineup(MIXTURES, **asked)


def test_the_base_model_has_no_controls(tiny_llama, tiny_tokenizer, experts):
    with pytest.raises(InputError, match="a mixture that is the base model"):
        compare_mixtures(
            tiny_llama, tiny_tokenizer, PROMPT, experts, Lineup(MIXTURES, ["random"], 0), SETTINGS
        )


def test_in_scope_answer_the_base_model_reads_the_prompt(tiny_llama, tiny_tokenizer, experts):
    settings = AnswerSettings(scope="answer", sampling=SETTINGS.sampling)
    found = compare_mixtures(tiny_llama, tiny_tokenizer, PROMPT, experts, MIXTURES, settings, GIVEN)
    assert found.scope == "answer"
    whole = compare_mixtures(tiny_llama, tiny_tokenizer, PROMPT, experts, MIXTURES, SETTINGS, GIVEN)
    assert found.columns[0].log_likelihood == pytest.approx(
        whole.columns[0].log_likelihood, abs=1e-3
    )
    assert abs(found.columns[2].log_likelihood - whole.columns[2].log_likelihood) > 1e-3
    for mixture, column in zip(MIXTURES, found.columns, strict=True):
        alone = two_pass_infer(
            tiny_llama,
            tiny_tokenizer,
            PROMPT,
            experts,
            mixture=Mixture(mixture),
            scope="answer",
            sampling=SETTINGS.sampling,
        )
        assert column.text == alone.text


def test_the_experts_of_all_columns_decide_on_one_scope(tiny_llama, tiny_tokenizer, experts):
    one = {
        name: Expert(name, e.scales, scope="answer" if name == "math" else "all")
        for name, e in experts.items()
    }

    def pick(mixtures):
        return compare_mixtures(tiny_llama, tiny_tokenizer, PROMPT, one, mixtures, SETTINGS).scope

    assert pick([{}, {"math": 1.0}, {"code": 0.0}]) == "answer"
    assert pick([{}, {"math": 1.0}, {"code": 1.0}]) == "all"


@pytest.mark.parametrize("scope", ["all", "answer"])
def test_a_layer_off_is_the_mixture_without_it(tiny_llama, tiny_tokenizer, experts, scope):
    with adapt(tiny_llama) as adapter:
        dispatchers = Dispatchers(tiny_llama, tiny_tokenizer, adapter)
        mixture = {"math": 0.8, "code": 0.3}
        settings = AnswerSettings(mixture, scope=scope)
        found = finish(layers_off(dispatchers, PROMPT, experts, GIVEN, settings))
        layers = 1 + max(map(layer_of, adapter.names))
    assert len(found.without) == layers and found.tokens == len(text_ids(tiny_tokenizer, GIVEN))
    per_layer = [
        {n: tuple(a * (at != off) for at in range(layers)) for n, a in mixture.items()}
        for off in range(layers)
    ]
    settings = AnswerSettings(scope=scope, sampling=Sampling(max_new_tokens=1))
    swept = compare_mixtures(
        tiny_llama, tiny_tokenizer, PROMPT, experts, [{}, mixture, *per_layer], settings, GIVEN
    )
    expected = [column.log_likelihood for column in swept.columns]
    assert [found.base, found.adapted, *found.without] == pytest.approx(expected, abs=1e-3)
    assert len({round(value, 4) for value in expected}) == len(expected), "they do differ"


def test_the_model_is_left_as_it_was(tiny_llama, tiny_tokenizer, experts):
    before = {name: p.clone() for name, p in tiny_llama.named_parameters()}
    compare_mixtures(tiny_llama, tiny_tokenizer, PROMPT, experts, MIXTURES, SETTINGS, GIVEN)
    assert all(p.equal(before[name]) for name, p in tiny_llama.named_parameters())


@pytest.mark.parametrize(
    ("mixtures", "words"),
    [
        ([], "There are 0 mixtures to compare; expected 1 to 9"),
        ([{}] * 10, "There are 10 mixtures"),
        ([{}, {"poems": 1.0}], "no expert named 'poems'"),
        ([{"math": 11.0}], "math"),
    ],
)
def test_bad_mixtures_are_one_line(tiny_llama, tiny_tokenizer, experts, mixtures, words):
    with pytest.raises(InputError, match=words):
        compare_mixtures(tiny_llama, tiny_tokenizer, PROMPT, experts, mixtures, SETTINGS)


def test_layers_need_a_text_and_a_mixture(tiny_llama, tiny_tokenizer, experts):
    with adapt(tiny_llama) as adapter:
        dispatchers = Dispatchers(tiny_llama, tiny_tokenizer, adapter)
        with pytest.raises(InputError, match="no text to score"):
            finish(layers_off(dispatchers, PROMPT, experts, "", AnswerSettings({"math": 1.0})))
        with pytest.raises(InputError, match="nothing to switch off"):
            finish(layers_off(dispatchers, PROMPT, experts, GIVEN, AnswerSettings({"math": 0.0})))


@pytest.mark.parametrize(
    ("answers", "place"),
    [
        ([[1, 2, 3]], None),
        ([[1, 2], [1, 2]], None),
        ([[1, 2, 3], [1, 2], [1, 2, 3]], 2),
        ([[1, 2, 3], [1, 4, 3], [1, 2, 5]], 1),
        ([[], [7]], 0),
    ],
)
def test_where_answers_part(answers, place):
    assert parting(answers) == place
