"""Experts of other weights: used and said where asked for, otherwise refused or passed over."""

from dataclasses import replace

import pytest
import two_passes
from reference import matrix_names
from tiny import make_tiny
from two_passes import experts_for, infer, plain

from t2ui.errors import InputError
from t2ui.inference.two_pass import replay
from t2ui.svf.adapter import adapt
from t2ui.svf.mixture import Mixture, mix

experts, with_dispatcher, untouched = (  # fixtures
    two_passes.experts,
    two_passes.with_dispatcher,
    two_passes.untouched,
)


@pytest.fixture
def foreign():
    """Experts of another model of the same shapes."""
    other = make_tiny("llama", seed=8)
    with adapt(other) as adapter:
        fingerprint = adapter.fingerprint
    return experts_for(other, matrix_names("llama"), fingerprint=fingerprint, base_model="other")


@pytest.mark.parametrize("alpha", [1, (0, 1)])
def test_a_transfer_has_to_be_asked_for(tiny_llama, tiny_tokenizer, foreign, untouched, alpha):
    with pytest.raises(InputError, match="'code' was made for other .*allow_transfer"):
        infer(tiny_llama, tiny_tokenizer, foreign, mixture=Mixture({"math": 0, "code": alpha}))


@pytest.mark.parametrize("mixture", [{"code": 1}, {"code": 1, "math": 0}, {"math": (0, 0)}, {}])
def test_a_transfer_that_is_not_used_is_in_nobodys_way(
    tiny_llama, tiny_tokenizer, experts, foreign, untouched, mixture
):
    mixed = {"math": foreign["math"], "code": experts["code"]}
    result = infer(tiny_llama, tiny_tokenizer, mixed, mixture=Mixture(mixture))
    assert result.note == ""
    assert result.token_ids == plain(tiny_llama, tiny_tokenizer, mix(mixed, result.mixture))


@pytest.mark.parametrize("routing", ["hard", "soft"])
def test_pass_one_passes_over_what_was_made_for_other_weights(
    tiny_llama, tiny_tokenizer, experts, foreign, untouched, routing
):
    mixed = {"math": foreign["math"], "code": experts["code"]}
    result = infer(tiny_llama, tiny_tokenizer, mixed, routing=routing)
    assert result.probabilities.keys() == {"code", "others"}
    assert "math" not in result.mixture.weights
    assert "passed over, as made for other weights: math" in result.note
    asked = infer(tiny_llama, tiny_tokenizer, mixed, routing=routing, allow_transfer=True)
    assert asked.probabilities.keys() == {"math", "code", "others"}
    assert "passed over" not in asked.note


def test_a_classification_expert_of_other_weights_is_not_used_unasked(
    tiny_llama, tiny_tokenizer, experts, with_dispatcher, foreign, untouched
):
    theirs = replace(with_dispatcher["dispatch"], fingerprint=foreign["math"].fingerprint)
    mixed = {**experts, "dispatch": theirs}
    unasked = infer(tiny_llama, tiny_tokenizer, mixed)
    assert unasked.receipt["set_by"].startswith("prompt dispatcher, ")
    assert "other weights: dispatch" in unasked.note
    with pytest.raises(InputError, match="needs is not loaded .*weights: dispatch"):
        infer(tiny_llama, tiny_tokenizer, mixed, dispatch="expert")
    asked = infer(tiny_llama, tiny_tokenizer, mixed, allow_transfer=True)
    assert asked.receipt["set_by"].startswith("classification expert (a cross-model transfer), ")


def test_nothing_but_transfers_says_what_to_do(tiny_llama, tiny_tokenizer, foreign, untouched):
    with pytest.raises(InputError, match="no expert of this model .*math, code.*allow_transfer"):
        infer(tiny_llama, tiny_tokenizer, foreign)


def test_a_transfer_is_said_in_the_result(tiny_llama, tiny_tokenizer, foreign, untouched):
    mixture = Mixture({"code": 1, "math": 0})
    result = infer(tiny_llama, tiny_tokenizer, foreign, mixture=mixture, allow_transfer=True)
    assert result.note == "code: a cross-model transfer from other"
    assert result.receipt["note"] == result.note
    assert result.token_ids == plain(tiny_llama, tiny_tokenizer, mix(foreign, mixture))
    base = infer(tiny_llama, tiny_tokenizer, foreign, dispatch="none", allow_transfer=True)
    assert base.note == ""
    assert replay(tiny_llama, tiny_tokenizer, result.receipt, foreign).token_ids == result.token_ids
