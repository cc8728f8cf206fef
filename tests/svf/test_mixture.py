"""z′ = 1 + Σ α_k (z_k − 1), stated as algebra."""

import pytest
import torch

from t2ui.errors import InputError
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, SavedMixture, mix

UP0, UP1, Q1 = (
    "model.layers.0.mlp.up_proj",
    "model.layers.1.mlp.up_proj",
    "model.layers.1.self_attn.q_proj",
)


def make(name: str, seed: int, matrices=(UP0, UP1, Q1)) -> Expert:
    random = torch.Generator().manual_seed(seed)
    return Expert(name, {m: 1 + torch.randn(16, generator=random) for m in matrices})


@pytest.fixture
def experts() -> dict[str, Expert]:
    return {"math": make("math", 1), "code": make("code", 2), "mlp": make("mlp", 3, (UP0, UP1))}


def expected(experts, weights: dict[str, dict[str, float]]) -> dict[str, torch.Tensor]:
    """z′ by definition in float64; weights by matrix, then by expert."""
    found = {}
    for matrix, alphas in weights.items():
        z = torch.ones(16, dtype=torch.float64)
        for name, alpha in alphas.items():
            if matrix in experts[name].scales:
                z += alpha * (experts[name].scales[matrix].double() - 1)
        found[matrix] = z.float()
    return found


def assert_close(found, wanted):
    assert found.keys() == wanted.keys()
    for matrix in wanted:
        torch.testing.assert_close(found[matrix], wanted[matrix], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("weights", [{}, {"math": 0}, {"math": 0.0, "code": (0.0, 0.0)}])
def test_zero_weights_are_the_base_model(experts, weights):
    assert mix(experts, Mixture(weights)) == {}


@pytest.mark.parametrize("weights", [{"math": 1}, {"code": 0, "math": 1.0}, {"math": (1, 1)}])
def test_a_unit_weight_is_exactly_that_expert(experts, weights):
    found = mix(experts, Mixture(weights))
    assert found.keys() == experts["math"].scales.keys()
    for matrix, z in experts["math"].scales.items():
        assert torch.equal(found[matrix], z)


def test_normalising_one_expert_is_exactly_that_expert(experts):
    found = mix(experts, Mixture({"math": 0.3, "code": 0.0}, normalise=True))
    assert all(torch.equal(found[m], z) for m, z in experts["math"].scales.items())


@pytest.mark.parametrize("alpha", [0.25, -1.0, 2.0, 10.0, -10.0])
def test_one_weight_scales_the_distance_from_the_base(experts, alpha):
    found = mix(experts, Mixture({"math": alpha}))
    assert_close(found, expected(experts, dict.fromkeys((UP0, UP1, Q1), {"math": alpha})))


@pytest.mark.parametrize(
    "alphas", [{"math": 0.7, "code": 0.3}, {"math": 2.0, "code": -1.5}, {"math": 1, "code": 1}]
)
def test_weights_add_up(experts, alphas):
    found = mix(experts, Mixture(alphas))
    assert_close(found, expected(experts, dict.fromkeys((UP0, UP1, Q1), alphas)))


def test_weights_of_sum_one_are_the_papers_weighted_sum(experts):
    found = mix(experts, Mixture({"math": 0.6, "code": 0.4}))
    for matrix in (UP0, UP1, Q1):
        paper = 0.6 * experts["math"].scales[matrix] + 0.4 * experts["code"].scales[matrix]
        torch.testing.assert_close(found[matrix], paper)


def test_order_of_the_experts_does_not_matter(experts):
    one = mix(experts, Mixture({"math": 0.7, "code": 0.4, "mlp": -0.2}))
    other = mix(experts, Mixture({"mlp": -0.2, "code": 0.4, "math": 0.7}))
    assert_close(one, other)


def test_an_expert_of_some_matrices_leaves_the_others(experts):
    found = mix(experts, Mixture({"mlp": 0.5}))
    assert found.keys() == {UP0, UP1}
    both = mix(experts, Mixture({"math": 1, "mlp": 0.5}))
    assert torch.equal(both[Q1], experts["math"].scales[Q1])
    assert_close(both, expected(experts, dict.fromkeys((UP0, UP1, Q1), {"math": 1, "mlp": 0.5})))


def test_mixing_leaves_the_experts_as_they_were(experts):
    before = {m: z.clone() for m, z in experts["math"].scales.items()}
    found = mix(experts, Mixture({"math": 1}))
    found[UP0].zero_()
    mix(experts, Mixture({"math": 1, "code": 3}))
    assert all(torch.equal(experts["math"].scales[m], z) for m, z in before.items())


def test_per_layer_weights(experts):
    found = mix(experts, Mixture({"math": (0.5, -1.0), "code": 2.0}))
    first, second = {"math": 0.5, "code": 2.0}, {"math": -1.0, "code": 2.0}
    assert_close(found, expected(experts, {UP0: first, UP1: second, Q1: second}))


def test_a_layer_of_weight_zero_stays_base(experts):
    found = mix(experts, Mixture({"math": [0, 1]}))
    assert found.keys() == {UP1, Q1}
    assert torch.equal(found[UP1], experts["math"].scales[UP1])


def test_normalise_divides_by_the_sum(experts):
    found = mix(experts, Mixture({"math": 3, "code": 1}, normalise=True))
    alphas = {"math": 0.75, "code": 0.25}
    assert_close(found, expected(experts, dict.fromkeys((UP0, UP1, Q1), alphas)))


def test_normalise_is_per_layer_where_any_weight_is(experts):
    """Also for the expert whose own weight is the same in every layer."""
    for weights in ({"code": 1.0, "math": (1.0, 3.0)}, {"math": (1.0, 3.0), "code": 1.0}):
        found = mix(experts, Mixture(weights, normalise=True))
        first, second = {"math": 0.5, "code": 0.5}, {"math": 0.75, "code": 0.25}
        assert_close(found, expected(experts, {UP0: first, UP1: second, Q1: second}))


@pytest.mark.parametrize(
    "weights", [{"math": 1, "code": -1}, {"math": 0}, {}, {"math": (1, 2), "code": (1, -2)}]
)
def test_normalise_refuses_a_zero_sum(weights):
    with pytest.raises(InputError, match="The weights sum to 0, so they cannot be normalised"):
        Mixture(weights, normalise=True)


@pytest.mark.parametrize(
    "weights",
    [{"a": 1, "b": -0.99999}, {"a": -0.05, "b": 0.9, "c": -0.8}, {"a": 1, "b": (0, -0.99)}],
)
def test_normalise_does_not_get_round_the_limit_of_a_weight(weights):
    with pytest.raises(InputError, match="normalised the weight of '[ab]' is .*between -10 and 10"):
        Mixture(weights, normalise=True)
    assert Mixture(weights).weights.keys() == weights.keys()


@pytest.mark.parametrize(
    ("weights", "normalise", "share"),
    [
        ({}, False, 1.0),
        ({"math": 0.7, "code": 0.2}, False, 0.1),
        ({"math": 2.0, "code": -0.5}, False, -0.5),
        ({"math": 3.0, "code": 1.0}, True, 0.0),
        ({"math": (1.0, 0.0), "code": 0.25}, False, 0.25),
    ],
)
def test_the_base_share_is_what_is_left(weights, normalise, share):
    assert Mixture(weights, normalise).base_share == pytest.approx(share)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), 1e9, -1e9, 10.001])
@pytest.mark.parametrize("per_layer", [False, True])
def test_weights_out_of_all_reason(alpha, per_layer):
    with pytest.raises(InputError, match="The coefficient of 'math' is .*expected a finite number"):
        Mixture({"math": (0.5, alpha) if per_layer else alpha})


@pytest.mark.parametrize("alpha", ["much", None, {"layer": 1}])
def test_weights_that_are_no_numbers(alpha):
    with pytest.raises(InputError, match="The coefficient of 'math' is .*a number is expected"):
        Mixture({"math": alpha})


def test_per_layer_weights_of_different_lengths():
    with pytest.raises(InputError, match=r"different lengths \[2, 3\]"):
        Mixture({"math": (1, 2), "code": (1, 2, 3)})


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("weights", [{"math": (1,)}, {"code": 1, "math": (1,)}])
def test_too_few_per_layer_weights(experts, weights, normalise):
    with pytest.raises(InputError, match="1 per-layer weights were given, .* adapts layer 1"):
        mix(experts, Mixture(weights, normalise))


def test_an_unknown_expert_is_named_with_those_there_are(experts):
    with pytest.raises(InputError, match="no expert named 'meth'; there are: code, math, mlp"):
        mix(experts, Mixture({"meth": 0.5, "math": 1}))
    with pytest.raises(InputError, match="there are: none"):
        mix({}, Mixture({"math": 0}))


def test_experts_of_different_shapes(experts):
    experts["wide"] = Expert("wide", {UP0: torch.ones(17)})
    with pytest.raises(InputError, match="'wide' has 17 scales, others 16"):
        mix(experts, Mixture({"math": 1, "wide": 1}))


def test_a_mixture_does_not_follow_the_dict_it_was_made_from(experts):
    weights = {"math": 1.0}
    mixture = Mixture(weights)
    weights["math"] = 5.0
    assert mixture.weights == {"math": 1.0}


def test_half_a_character_in_a_name_or_a_file_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match=r"Half a character \(U\+DC00\) in an expert's name"):
        Mixture({"\udc00": 1.0})
    path = tmp_path / "mix.json"
    path.write_text(
        '{"format": "t2ui.mixture", "provenance": {"set_by": "\\ud800"}}', encoding="utf-8"
    )
    with pytest.raises(InputError, match=r"Half a character \(U\+D800\) in mix.json"):
        SavedMixture.load(path)


def test_as_it_acts_is_the_same_mixture_divided_already():
    plain = Mixture({"a": 1.5, "b": 0.5}, scope="answer")
    assert plain.as_it_acts is plain
    divided = Mixture(plain.weights, True, "answer").as_it_acts
    assert divided == Mixture({"a": 0.75, "b": 0.25}, scope="answer")
    layers = Mixture({"a": [1.0, 3.0], "b": 1.0}, True)
    assert layers.as_it_acts.weights == {"a": (0.5, 0.75), "b": (0.5, 0.25)}
    assert [layers.as_it_acts.at_layer(i) for i in (0, 1)] == [layers.at_layer(i) for i in (0, 1)]
