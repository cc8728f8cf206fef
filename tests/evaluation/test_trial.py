"""Many questions under several mixtures: each answer is that of its mixture alone, judged."""

import pytest
from reference import matrix_names, random_scales

from t2ui.config import AnswerSettings, Sampling
from t2ui.errors import InputError
from t2ui.evaluation.statistics import paired_p, wilson
from t2ui.evaluation.trial import trial, try_questions
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.two_pass import two_pass_infer
from t2ui.lineup import Lineup, held_back
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture

SETTINGS = AnswerSettings(sampling=Sampling(max_new_tokens=6))
MIXTURES = ({}, {"math": 1.0})
QUESTIONS = [(f"What is {n} + 5?", "e") for n in range(25)]  # more than are asked at once


def holds(text, right):
    return right in text


@pytest.fixture
def experts(tiny_llama):
    return {"math": Expert("math", random_scales(tiny_llama, matrix_names("llama"), 1, 0.3))}


def test_every_column_is_judged_by_what_its_mixture_answers(tiny_llama, tiny_tokenizer, experts):
    expected = [
        tuple(
            holds(
                two_pass_infer(
                    tiny_llama,
                    tiny_tokenizer,
                    prompt,
                    experts,
                    mixture=Mixture(mixture),
                    sampling=SETTINGS.sampling,
                ).text,
                right,
            )
            for prompt, right in QUESTIONS
        )
        for mixture in MIXTURES
    ]
    assert len(set(expected)) == 2 and any(map(any, expected)), "a question that tells them apart"
    with adapt(tiny_llama) as adapter:
        dispatchers = Dispatchers(tiny_llama, tiny_tokenizer, adapter)
        lineup = Lineup(MIXTURES, ["shuffled"])
        work = trial(dispatchers, QUESTIONS, experts, lineup, SETTINGS, right=holds)
        said = [standings for standings in work if standings]
    assert said[0][0].right.count(None) > 0, "told of before all have answered"
    base, math, shuffled = said[-1]
    assert [base.right, math.right] == expected and None not in shuffled.right
    assert base.p is None and math.p == paired_p(base.right, math.right)
    assert math.interval == wilson(sum(math.right), len(QUESTIONS))


def test_long_prompts_are_read_in_pieces(tiny_llama, tiny_tokenizer, experts, monkeypatch):
    found = []
    for tokens in (4096, 16):
        monkeypatch.setattr("t2ui.evaluation.trial.tokens_at_once", lambda model, most=tokens: most)
        with adapt(tiny_llama) as adapter:
            dispatchers = Dispatchers(tiny_llama, tiny_tokenizer, adapter)
            questions = [(f"{prompt} " * 8, right) for prompt, right in QUESTIONS[:4]]
            *pieces, last = trial(dispatchers, questions, experts, Lineup(MIXTURES), SETTINGS)
        found.append((len(pieces), last))
    (few, one), (many, other) = found
    assert many > few + 10 and one == other


def test_without_a_judge_an_answer_holds_the_right_words(tiny_llama, tiny_tokenizer, experts):
    how = {"mixture": Mixture({}), "sampling": SETTINGS.sampling}
    text = two_pass_infer(tiny_llama, tiny_tokenizer, "Hello", experts, **how).text
    questions = [("Hello", text), ("Hello", f"{text} and more")]
    (base,) = try_questions(tiny_llama, tiny_tokenizer, questions, experts, Lineup([{}]), SETTINGS)
    assert text.strip() and base.right == (True, False)


def test_examples_in_the_prompt_are_no_questions():
    assert held_back(QUESTIONS, True) == (QUESTIONS[:5], QUESTIONS[5:])
    assert held_back(QUESTIONS[:7], True) == (QUESTIONS[:2], QUESTIONS[2:7])
    assert held_back(QUESTIONS, False) == ([], QUESTIONS)


@pytest.mark.parametrize("count", [0, 65])
def test_no_questions_and_too_many_are_refused(tiny_llama, tiny_tokenizer, experts, count):
    with pytest.raises(InputError, match=f"There are {count} questions; expected 1 to 64"):
        try_questions(tiny_llama, tiny_tokenizer, [("a", "b")] * count, experts, Lineup([{}]))
