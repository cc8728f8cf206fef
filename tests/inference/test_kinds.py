"""Kinds of prompt against plain formulas, and the promises about what is none of them."""

import math

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


def test_distances_are_to_the_nearest_examples_by_the_shrunken_covariance():
    kinds = Kinds.of(three())
    within = torch.cat([s.double() - s.double().mean(0) for s in three().values()])
    covariance = within.T @ within / (len(within) - 3)
    share = kinds_module.SHRUNK
    size = covariance.diagonal().mean() * torch.eye(D)
    precision = torch.linalg.inv((1 - share) * covariance + share * size)
    state, low = cloud(1.0, 1, 9)[0].double(), three()["low"].double()
    squared = torch.stack([(state - one) @ precision @ (state - one) for one in low])
    wanted = squared.sort().values[: kinds_module.NEAREST].mean()
    white = (state @ kinds.whitening).float()[None]
    found = kinds_module._nearest(white, kinds.examples, kinds.sizes)
    assert float(found[0, 0]) == pytest.approx(float(wanted), rel=1e-5)


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
    # the examples were measured against three quarters of the others, so they lay further off
    assert refused / 5 < share < refused + 0.02


def test_examples_are_measured_as_if_their_fold_had_never_been_there():
    states = [rows.double() for rows in three(12).values()]
    found = kinds_module._as_new(states)
    for fold in range(kinds_module.FOLDS):
        rest = [
            torch.stack([one for i, one in enumerate(rows) if i % kinds_module.FOLDS != fold])
            for rows in states
        ]
        whitening = kinds_module._whitening(rest)
        for kind, rows in enumerate(states):
            for i in range(fold, len(rows), kinds_module.FOLDS):
                for j, others in enumerate(rest):
                    squared = ((rows[i] - others) @ whitening).square().sum(1)
                    wanted = squared.sort().values[: kinds_module.NEAREST].mean()
                    assert float(found[kind][i, j]) == pytest.approx(float(wanted), rel=1e-6)


def test_a_wide_kind_does_not_take_what_lies_in_its_gaps():
    """Two heaps under one name, and a strange prompt between them, at the mean."""
    wide = torch.cat([cloud(-20, 32, 1), cloud(20, 32, 2)])
    kinds = Kinds.of({"wide": wide, "far": cloud(200, 64, 3)})
    between = kinds.probabilities(cloud(0, 1, 4)[0])
    assert max(between, key=between.get) == OTHERS
    inside = kinds.probabilities(cloud(20, 1, 5)[0])
    assert max(inside, key=inside.get) == "wide"


def test_a_kind_of_two_groups_has_a_limit_for_each():
    """A narrow group and a wide one under one name: what lies as far from the narrow one as the
    wide one allows is none, and both are the kind."""
    narrow, wide = cloud(-30, 40, 1) * 0.2, cloud(30, 40, 2)
    other = cloud(300, 64, 3)
    kinds = Kinds.of({"two": [narrow, wide], "far": other})
    assert kinds.labels == ("two", "two", "far") and len(kinds.limits) == 3
    assert kinds.limits[0] < kinds.limits[1] / 4
    inside = [cloud(-30, 1, 5)[0] * 0.2, *cloud(30, 20, 6)]
    found = [kinds.probabilities(state) for state in inside]
    assert all(set(f) == {"two", "far", OTHERS} for f in found)
    assert sum(max(f, key=f.get) == "two" for f in found) >= 18
    strange = cloud(-30, 1, 7)[0] * 0.2
    strange[5] += 3.0
    apart, together = kinds, Kinds.of({"two": torch.cat([narrow, wide]), "far": other})
    assert apart.probabilities(strange)[OTHERS] > 0.5 > together.probabilities(strange)[OTHERS]


def test_a_group_too_small_for_a_limit_joins_the_others():
    rows = cloud(0, 60, 1)
    small, whole = ([rows[:50], rows[50:]], rows)
    examples = {"far": cloud(90, 40, 2)}
    one, other = Kinds.of({"a": small, **examples}), Kinds.of({"a": whole, **examples})
    assert one.labels == other.labels == ("a", "far")
    torch.testing.assert_close(one.limits, other.limits)
    few = Kinds.of({"a": [rows[:55], rows[55:]], **examples})
    torch.testing.assert_close(few.limits, other.limits)


def test_the_limit_parts_a_kind_from_none_and_either_side_is_as_sure_as_it_was_right():
    kinds = Kinds.of({"one": cloud(0, 64, 1), "far": cloud(800, 64, 2)})
    away = torch.zeros(D, dtype=torch.float64)
    away[3] = 1.0

    def distance(steps: float) -> float:
        white = (steps * away)[None].float()
        return float(kinds_module._nearest(white, kinds.examples, kinds.sizes)[0, 0])

    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if distance(middle) < float(kinds.limits[0]) else (low, middle)
    back = torch.linalg.inv(kinds.whitening)
    within, beyond = (
        kinds.probabilities(steps * away @ back)[OTHERS] for steps in (low * 0.9999, low * 1.0001)
    )
    assert within < 0.5 < beyond
    jumps = [math.log(beyond / (1 - beyond)), math.log((1 - within) / within)]
    wanted = [kinds.beyond.jump, kinds.within[0].jump]
    assert jumps == pytest.approx(wanted, abs=0.05 + 1e-3 * kinds.within[0].steepness)


def test_certainty_is_what_makes_the_examples_likeliest():
    """Of a thousand on this side 900 are what it says, wherever they lie: sure by nine to one."""
    true, false = torch.linspace(0, 2, 900), torch.linspace(0, 2, 100)
    found = kinds_module._likeliest(true, false, 0.5)
    assert float(found.odds(true).mean()) == pytest.approx(math.log(9), abs=0.1)
    assert found.steepness <= min(s for s in kinds_module.STEEPNESS if s)
    assert kinds_module._likeliest(true, false + 3, 0.5).steepness == 0.0, "no surer far away"
    true, false = torch.tensor([0.0, 0.1, 2.0, 2.1]), torch.tensor([0.0, 0.1])
    assert kinds_module._likeliest(true, false, 0.5).steepness > 1, "at the limit half and half"


def test_a_kind_that_nothing_else_comes_near_is_sure_up_to_its_limit():
    """Beside a kind into which examples of another reach, and which is therefore less sure."""
    kinds = Kinds.of(
        {"alone": cloud(90, 64, 1), "wide": cloud(0, 64, 2) * 3, "in it": three()["low"]}
    )
    alone, wide = kinds.within[0], kinds.within[1]
    near = torch.tensor(0.01)
    assert alone.odds(near) > 5 > 2 > wide.odds(near)
    sure = [kinds.probabilities(state)["alone"] for state in cloud(90, 100, 7)]
    assert sum(p > 0.95 for p in sure) > 80, "and what lies beyond is refused all the same"
    assert kinds.probabilities(cloud(45, 1, 8)[0])[OTHERS] > 0.6


def test_examples_that_overlap_are_read_with_less_certainty():
    apart, close = Kinds.of(three()), Kinds.of({n: cloud(0, 40, i) for i, n in enumerate("abc")})
    assert close.power < apart.power


@pytest.mark.parametrize("count", [8, 20, 32, 64])
def test_what_is_far_from_few_examples_is_none_too(count):
    """Also of a kind that is alone, and of one whose examples are all the same."""
    strange = cloud(0, 1, 9)[0] + 300.0
    one, same = cloud(0, count, 1), torch.ones(count, D)
    for examples in ({"one": one}, {"one": one, "two": cloud(90, 40, 2)}, {"same": same}):
        kinds = Kinds.of(examples)
        found = kinds.probabilities(strange)
        assert max(found, key=found.get) == OTHERS and found[OTHERS] > 0.8
        assert sum(found.values()) == pytest.approx(1)
        own = kinds.probabilities(next(iter(examples.values()))[0])
        assert max(own, key=own.get) == next(iter(examples))


def test_kinds_that_are_hard_to_tell_apart_are_kinds_all_the_same():
    """Within a limit none is no likelier than the likeliest kind, however many share the rest."""
    kinds = Kinds.of({name: cloud(0, 64, i) for i, name in enumerate("abcdef")})
    found = [kinds.probabilities(state) for state in cloud(0, 200, 77)]
    assert max(max(f[n] for n in "abcdef") for f in found) < 0.6
    refused = sum(max(f, key=f.get) == OTHERS for f in found)
    assert refused < 20
    assert all(sum(f.values()) == pytest.approx(1) for f in found)


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
