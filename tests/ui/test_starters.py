"""Ask's starters on the real model: what a visitor sees first is true."""

from dataclasses import replace

import pytest
from serving import one

from t2ui.backend.serving import ModelBackend
from t2ui.config import DEFAULT_MODEL, AnswerSettings, Sampling, default_experts_dir
from t2ui.inference.decoding import generate
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.plan import default_dispatch, make_plan
from t2ui.jsonl import read_jsonl
from t2ui.messages import NextToken, NextTokens
from t2ui.svf.adapter import adapted
from t2ui.svf.library import load_library
from t2ui.tasks.code import answer_of, passes
from t2ui.tasks.dispatch_rows import OWN_KINDS
from t2ui.tasks.numbers import same_number
from t2ui.ui.shared.controls import Controls
from t2ui.ui.shared.examples import samples
from t2ui.ui.shared.starters import STARTERS

FIBONACCI = "assert [fibonacci(n) for n in (1, 2, 3, 10)] == [1, 1, 2, 55]"
PRIME = "assert [n for n in range(1, 12) if is_prime(n)] == [2, 3, 5, 7, 11]"
RIGHT = {  # by chip: the label that pass one finds, and whether an answer is right
    "Marbles": ("math", lambda text: same_number(text, "9")),
    "Fibonacci in Python": ("code", lambda text: passes(text, answer_of(FIBONACCI, "fibonacci"))),
    "Tides": ("reasoning", lambda text: "moon" in text.lower()),
    "Pencils": ("math", lambda text: same_number(text, "30")),
    "Primes in Python": ("code", lambda text: passes(text, answer_of(PRIME, "is_prime"))),
    "Pages": ("math", lambda text: same_number(text, "43")),
    "Rolls": ("math", lambda text: same_number(text, "12")),
    "Passengers": ("math", lambda text: same_number(text, "22")),
}


def answers(default_model, adapt: bool) -> dict[str, tuple[str, str]]:
    """The label that pass one finds, and the answer, by chip, under the page's own settings."""
    model, tokenizer = default_model
    experts = load_library(default_experts_dir() / DEFAULT_MODEL).experts
    with adapted(model) as adapter:
        dispatchers = Dispatchers(model, tokenizer, adapter)
        plans = [
            make_plan(dispatchers, prompt, experts, Controls(prompt).request().settings)
            for _, prompt in STARTERS
        ]
        rows = [plan.row(number) for number, plan in enumerate(plans)]
        rows = rows if adapt else [replace(row, scales=None) for row in rows]
        found = generate(model, tokenizer, rows, adapter)
    return {
        chip: (plan.classification.label, one.text)
        for (chip, _), plan, one in zip(STARTERS, plans, found, strict=True)
    }


@pytest.mark.model
def test_at_every_starter_the_expert_that_is_dispatched_is_right(default_model):
    found = answers(default_model, adapt=True)
    assert set(found) == set(RIGHT)
    for chip, (label, text) in found.items():
        kind, right = RIGHT[chip]
        assert label == kind and right(text), f"{chip}: {label}, {text}"


@pytest.mark.model
@pytest.mark.slow
def test_at_every_starter_the_base_model_is_wrong(default_model):
    for chip, (_, text) in answers(default_model, adapt=False).items():
        assert not RIGHT[chip][1](text), f"{chip}: {text}"


@pytest.mark.model
def test_a_closed_starter_shows_its_options_chances(default_model):
    """Base beside adapted: surer of what is right."""
    model, tokenizer = default_model
    with adapted(model) as adapter:
        backend = ModelBackend(model, tokenizer, adapter, default_experts_dir())
        asked = NextToken(dict(STARTERS)["Tides"], {"reasoning": 1.0})
        options = one(backend, asked, NextTokens).options
    assert [text for text, _, _ in options] == ["the wind", "the Moon", "earthquakes", "clouds"]
    _, base, mixture = options[1]
    assert mixture > 0.95 > base


@pytest.mark.model
def test_seven_words_take_a_mixture(default_model):
    """Adapt's sample on which composing wins: by what its search finds, roughly."""
    model, tokenizer = default_model
    experts = load_library(default_experts_dir() / DEFAULT_MODEL).experts
    together = {"reversal": 1.0, "reasoning": 0.7, "sentences": 0.4}
    rows = samples()["seven words"]["rows"]
    right = {}
    with adapted(model) as adapter:
        dispatchers = Dispatchers(model, tokenizer, adapter)
        for weights in (together, {"reversal": 1.0}):
            settings = AnswerSettings(mixture=weights, sampling=Sampling(max_new_tokens=48))
            plans = [make_plan(dispatchers, prompt, experts, settings) for prompt, _ in rows]
            asked = [plan.row(number) for number, plan in enumerate(plans)]
            found = generate(model, tokenizer, asked, adapter)
            pairs = zip(found, rows, strict=True)
            right[len(weights)] = sum(one.text.strip() == answer for one, (_, answer) in pairs)
    assert right[3] > right[1] + 1, right


@pytest.mark.model
def test_small_tasks_as_people_type_them_find_their_expert(default_model):
    """By default, in words that neither training nor the experts' examples have."""
    model, tokenizer = default_model
    experts = load_library(default_experts_dir() / DEFAULT_MODEL).experts
    rows = read_jsonl(OWN_KINDS, ("family", "prompt", "split"))
    asked = [row for row in rows if row["split"] == "test" and row["family"] in experts]
    asked = [row for number, row in enumerate(asked) if number % 12 in (0, 6)]  # two of each
    with adapted(model) as adapter:
        dispatchers = Dispatchers(model, tokenizer, adapter)
        assert default_dispatch(dispatchers, experts) == "both"
        plans = [make_plan(dispatchers, r["prompt"], experts, AnswerSettings()) for r in asked]
    found = [row["family"] in plan.mixture.weights for row, plan in zip(asked, plans, strict=True)]
    assert len(found) == 42 and sum(found) >= 32
