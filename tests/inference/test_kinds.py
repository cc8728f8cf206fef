"""Kinds of prompt against plain formulas, and the promises about what is none of them."""

import pytest
import torch

from t2ui.config import OTHERS
from t2ui.errors import InputError
from t2ui.inference import kinds as kinds_module
from t2ui.inference.kinds import Kinds

D = 12


def cloud(centre: float, n: int, seed: int, d: int = D) -> torch.Tensor:
    """n states around (centre, 0, …), longer in some directions than in others."""
    draws = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    draws = draws * torch.linspace(0.2, 2.0, d)
    draws[:, 0] += centre
    return draws


def three(n: int = 40) -> dict[str, torch.Tensor]:
    return {name: cloud(4.0 * i, n, i) for i, name in enumerate(("low", "middle", "high"))}


def test_distances_are_those_of_the_shrunken_covariance():
    kinds = Kinds.of(three())
    within = torch.cat([s.double() - s.double().mean(0) for s in three().values()])
    covariance = within.T @ within / (len(within) - 3)
    precision = kinds.whitening @ kinds.whitening.T
    size = covariance.diagonal().mean() * torch.eye(D)
    # the shrunken covariance lies on the line from the covariance to its mean diagonal
    found = torch.linalg.inv(precision) - covariance
    share = float((found * (size - covariance)).sum() / (size - covariance).square().sum())
    assert 0 < share < 1
    torch.testing.assert_close(found, share * (size - covariance), rtol=1e-6, atol=1e-8)
    state = cloud(1.0, 1, 9)[0]
    mean = three()["low"].double().mean(0)
    wanted = (state.double() - mean) @ precision @ (state.double() - mean)
    white = (state.double() - kinds.centre) @ kinds.whitening
    assert float((white - kinds.means[0]).square().sum()) == pytest.approx(float(wanted))


def test_fresh_states_go_to_their_own_kind_and_strange_ones_to_none():
    kinds = Kinds.of(three())
    right = 0
    for i, name in enumerate(kinds.labels):
        for state in cloud(4.0 * i, 100, 50 + i):
            found = kinds.probabilities(state)
            assert set(found) == {"low", "middle", "high", OTHERS}
            assert sum(found.values()) == pytest.approx(1)
            right += max(found, key=found.get) == name
    assert right > 260
    strange = torch.zeros(D)
    strange[0] = 40.0
    found = kinds.probabilities(strange)
    assert max(found, key=found.get) == OTHERS and found[OTHERS] > 0.9


@pytest.mark.parametrize("refused", [0.05, 0.2])
def test_no_more_of_a_kind_are_refused_than_was_promised(refused):
    """Over many draws of examples: conformal limits hold on average, whatever the numbers are."""
    share, draws = 0.0, 60
    for seed in range(draws):
        kinds = Kinds.of({"one": cloud(0, 64, seed), "far": cloud(60, 64, 1000 + seed)}, refused)
        fresh = cloud(0, 50, 5000 + seed)
        called = [max(p, key=p.get) for p in map(kinds.probabilities, fresh)]
        share += called.count(OTHERS) / len(called) / draws
    assert share == pytest.approx(refused, abs=0.02)


def test_an_example_left_out_is_measured_as_if_it_had_never_been_there():
    """Against fitting anew without it, the shrinking kept."""
    examples = three(12)
    states = {name: s.double() for name, s in examples.items()}
    within = torch.cat([s - s.mean(0) for s in states.values()])
    freedom = len(within) - 3
    whitening, kept = kinds_module._whitening(within, freedom)
    size = (within.T @ within / freedom).diagonal().mean() * torch.eye(D)
    centre = torch.cat([*states.values()]).mean(0)
    white = {name: (s - centre) @ whitening for name, s in states.items()}
    means = torch.stack([w.mean(0) for w in white.values()])
    found = kinds_module._left_out(white["middle"], means, 1, kept / freedom)
    for i, state in enumerate(states["middle"]):
        rest = {**states, "middle": torch.cat([states["middle"][:i], states["middle"][i + 1 :]])}
        scatter = sum((s - s.mean(0)).T @ (s - s.mean(0)) for s in rest.values())
        precision = torch.linalg.inv(kept * scatter / freedom + (1 - kept) * size)
        for j, s in enumerate(rest.values()):
            v = state - s.mean(0)
            assert float(found[i, j]) == pytest.approx(float(v @ precision @ v), rel=1e-6)


def test_just_at_the_limit_none_is_as_likely_as_the_kind():
    kinds = Kinds.of({"one": cloud(0, 64, 1), "far": cloud(80, 64, 2)})
    direction = torch.zeros(D, dtype=torch.float64)
    direction[3] = float(kinds.limits[0].sqrt())
    state = (kinds.means[0] + direction) @ torch.linalg.inv(kinds.whitening) + kinds.centre
    found = kinds.probabilities(state)
    assert found["one"] == pytest.approx(found[OTHERS])


def test_examples_that_overlap_are_read_with_less_certainty():
    apart, close = Kinds.of(three()), Kinds.of({n: cloud(0, 40, i) for i, n in enumerate("abc")})
    assert close.temperature > apart.temperature


def test_more_numbers_than_examples_are_no_obstacle():
    examples = {
        name: cloud(c, 10, i, d=200) for i, (name, c) in enumerate({"a": 0, "b": 9}.items())
    }
    kinds = Kinds.of(examples)
    assert torch.isfinite(kinds.whitening).all()
    found = kinds.probabilities(cloud(9, 1, 77, d=200)[0])
    assert found["b"] > found["a"]


@pytest.mark.parametrize(
    "examples, said",
    [
        ({}, "no example prompts of any kind"),
        (
            {"math": torch.zeros(3, 4)},
            r"shape \(3, 4\); expected \(n, width\) with n of at least 8",
        ),
        ({"a": torch.randn(9, 4), "b": torch.randn(9, 5)}, "different widths"),
    ],
)
def test_what_cannot_be_compared_is_said(examples, said):
    with pytest.raises(InputError, match=said):
        Kinds.of(examples)
