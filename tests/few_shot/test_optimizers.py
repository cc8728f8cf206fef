"""The searches, against arithmetic worked out by hand and functions with a known optimum."""

from dataclasses import replace

import numpy as np
import pytest

from t2ui.config import BEST_METHODS, FewShotConfig
from t2ui.errors import InputError
from t2ui.few_shot.optimizers.base import make_search
from t2ui.few_shot.optimizers.cem import CEM
from t2ui.few_shot.optimizers.cma import CMA
from t2ui.few_shot.optimizers.random import RandomSearch

METHODS = ("cem", "cma", "random")
OPTIMUM = np.array([0.7, 0.2, 0.0])


def settings(**values) -> FewShotConfig:
    return FewShotConfig(**{"smoothing": 0.0, **values})


def bowl(members: np.ndarray) -> np.ndarray:
    return -((members - OPTIMUM) ** 2).sum(1)


def run(search, score, generations: int) -> None:
    for _ in range(generations):
        search.tell(score(search.ask()))


def test_one_step_by_hand():
    """Five members at hand, elite ratio 0.4: the two best are (0.2, 0.8) and (0.4, 0.4)."""
    anchors = np.array([[0.0, 0.0], [0.2, 0.8], [0.4, 0.4], [1.0, 1.0], [0.9, 0.1]])
    config = settings(population=5, elite_ratio=0.4, floor=0.05)
    search = CEM(np.array([0.5, 0.5]), config, anchors)
    np.testing.assert_array_equal(search.ask(), anchors)
    search.tell(np.array([1.0, 5.0, 4.0, -3.0, 0.0]))
    np.testing.assert_allclose(search.mean, [0.3, 0.6])
    np.testing.assert_allclose(search.spread, [0.1, 0.2])
    np.testing.assert_array_equal(search.record.best, [0.2, 0.8])
    assert (search.record.best_score, search.record.best_generation) == (5.0, 1)
    assert not search.converged


def test_smoothing_keeps_its_share_of_the_old_distribution():
    anchors = np.array([[0.2], [0.4], [0.9]])
    config = settings(population=3, elite_ratio=0.7, smoothing=0.25, spread=0.4)
    search = CEM(np.array([0.5]), config, anchors)
    search.ask()
    search.tell(np.array([2.0, 1.0, 0.0]))
    np.testing.assert_allclose(search.mean, [0.25 * 0.5 + 0.75 * 0.3])
    np.testing.assert_allclose(search.spread, [0.25 * 0.4 + 0.75 * 0.1])


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.2])
def test_one_elite_has_the_floor_as_spread_not_nan(ratio):
    """int(0.2 · 4) = 0 elites select everybody, and one elite has no estimate of a deviation."""
    search = CEM(np.zeros(2), settings(population=4, elite_ratio=ratio, floor=0.01))
    members = search.ask()
    search.tell(np.array([0.0, 3.0, 1.0, 2.0]))
    np.testing.assert_allclose(search.mean, members[1])
    np.testing.assert_array_equal(search.spread, [0.01, 0.01])
    assert search.converged


@pytest.mark.parametrize("method", METHODS)
def test_members_stay_in_the_box_and_a_seed_gives_the_same_ones(method):
    config = settings(method=method, population=20, low=-0.5, high=0.8, spread=2.0)
    one, two = (make_search(np.full(3, 0.1), config) for _ in range(2))
    other = make_search(np.full(3, 0.1), settings(method=method, population=20, seed=1))
    for generation in range(3):
        members = one.ask()
        assert members.shape == (20, 3)
        assert members.min() >= -0.5 and members.max() <= 0.8
        np.testing.assert_array_equal(members, two.ask())
        if generation == 0:
            assert not np.array_equal(members, other.ask())
        one.tell(bowl(members))
        two.tell(bowl(members))


@pytest.mark.parametrize("method", METHODS)
def test_numpys_global_generator_is_left_alone(method):
    np.random.seed(5)
    wanted = np.random.random()
    np.random.seed(5)
    run(make_search(np.full(3, 0.5), settings(method=method, population=8)), bowl, 3)
    assert np.random.random() == wanted


@pytest.mark.parametrize(("method", "near"), [("cem", 0.03), ("cma", 0.03), ("random", 0.25)])
def test_a_known_optimum_is_found(method, near):
    """It lies on the border of the box in one dimension."""
    search = make_search(np.full(3, 0.5), FewShotConfig(method=method, population=32))
    run(search, bowl, 20)
    assert np.abs(search.record.best - OPTIMUM).max() < near
    if method != "random":
        assert np.abs(search.mean - OPTIMUM).max() < 0.05
        assert search.spread.max() < 0.1


@pytest.mark.parametrize("method", ["cem", "cma"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_optimum_is_found_through_noise(method, seed):
    random = np.random.default_rng(100 + seed)
    config = FewShotConfig(method=method, population=32, seed=seed)
    search = make_search(np.full(3, 0.5), config)
    run(search, lambda m: bowl(m) + 0.05 * random.standard_normal(len(m)), 40)
    assert np.abs(search.mean - OPTIMUM).max() < 0.15
    assert bowl(search.record.best[None])[0] > -0.03


@pytest.mark.parametrize("method", METHODS)
def test_a_lucky_score_is_scored_again_and_loses(method):
    """The best comes first in the next generation, and its score is the mean of all it got."""
    search = make_search(np.full(2, 0.5), settings(method=method, population=6))
    members = search.ask()
    search.tell(np.array([0.0, 0, 9, 0, 0, 0]))
    np.testing.assert_array_equal(search.record.best, members[2])
    again = search.ask()
    np.testing.assert_array_equal(again[0], members[2])
    search.tell(np.array([1.0, 0, 0, 4, 0, 0]))
    assert search.record.best_score == 5.0  # (9 + 1) / 2
    search.ask()
    search.tell(np.array([-4.0, 0, 3, 0, 0, 0]))  # (9 + 1 − 4) / 3 = 2
    assert (search.record.best_score, search.record.best_generation) == (3.0, 3)


@pytest.mark.parametrize("method", METHODS)
def test_nan_is_the_worst_and_only_nan_teaches_nothing(method):
    search = make_search(np.full(2, 0.5), settings(method=method, population=5, elite_ratio=1.0))
    mean = search.mean.copy()
    search.ask()
    search.tell(np.full(5, np.nan))
    assert search.record.best is None and search.record.best_score == -np.inf
    np.testing.assert_array_equal(search.mean, mean)
    members = search.ask()
    assert len(members) == 5
    search.tell(np.array([np.nan, -7.0, np.nan, -8.0, np.nan]))
    np.testing.assert_array_equal(search.record.best, members[1])
    assert np.isfinite(search.mean).all() and np.isfinite(search.spread).all()
    if method == "cem":  # NaN is never an elite, whatever the ratio
        np.testing.assert_allclose(search.mean, members[[1, 3]].mean(0))


@pytest.mark.parametrize("method", METHODS)
def test_more_anchors_than_members_make_a_larger_first_generation(method):
    anchors = np.eye(9)
    search = make_search(np.full(9, 1 / 9), settings(method=method, population=4), anchors)
    first = search.ask()
    np.testing.assert_array_equal(first[:9], anchors)
    search.tell(np.arange(len(first), 0.0, -1))
    np.testing.assert_array_equal(search.record.best, anchors[0])
    assert len(search.ask()) == 4


def test_anchors_are_clipped_to_the_box():
    config = settings(population=4, low=0.1, high=0.5)
    first = CEM(np.zeros(2), config, np.array([[0.0, 1.0]])).ask()
    np.testing.assert_array_equal(first[0], [0.1, 0.5])


@pytest.mark.parametrize("kind", [CEM, CMA, RandomSearch])
def test_one_dimension(kind):
    search = kind(np.array([0.5]), settings(population=8))
    run(search, lambda m: -np.abs(m[:, 0] - 0.3), 10)
    assert abs(search.record.best[0] - 0.3) < 0.1


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_cma_in_one_dimension_from_the_border(start):
    """With anchors far away its deviation grows beyond what the package can limit there."""
    search = CMA(np.array([start]), settings(population=4), np.array([[0.0], [1.0]]))
    run(search, lambda m: -np.abs(m[:, 0] - 0.3), 15)
    assert abs(search.record.best[0] - 0.3) < 0.1


def test_wrong_use_is_a_value_error():
    search = CEM(np.zeros(2), settings(population=4))
    with pytest.raises(ValueError, match=r"before ask\(\)"):
        search.tell(np.zeros(4))
    search.ask()
    with pytest.raises(ValueError, match=r"shape \(3,\) for 4 members"):
        search.tell(np.zeros(3))


def test_a_caller_cannot_change_the_members_that_were_asked():
    search = CEM(np.full(2, 0.5), settings(population=4))
    members = search.ask()
    kept = members.copy()
    members[:] = 0
    search.tell(np.array([1.0, 0, 0, 0]))
    np.testing.assert_array_equal(search.record.best, kept[0])


def test_without_the_package_cma_says_what_to_do(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(InputError, match="pip install cma"):
        CMA(np.zeros(2), settings())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"generations": 0}, "generations is 0"),
        ({"population": 1}, "population is 1"),
        ({"method": "annealing"}, "method is 'annealing'; expected auto, cem"),
        ({"objective": "taste"}, "objective is 'taste'"),
        ({"low": 1.0, "high": 1.0}, "bounds of α are 1 to 1"),
        ({"elite_ratio": 1.5}, "elite_ratio is 1.5"),
        ({"floor": 0.5, "spread": 0.3}, "floor is 0.5"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"method": "gradient", "objective": "reward"}, "a reward has no gradient"),
        ({"generations": 2.5}, "a whole number"),
    ],
)
def test_bad_settings(values, said):
    with pytest.raises(InputError, match=said):
        FewShotConfig(**values)


def test_auto_is_the_best_for_the_objective_and_never_one_that_cannot_serve_it():
    for objective, best in BEST_METHODS.items():
        config = FewShotConfig(objective=objective)
        assert (config.method, config.found_by) == ("auto", best)
        assert replace(config, method=best).found_by == best  # and can be asked for by name
    assert replace(FewShotConfig(), objective="reward").found_by == BEST_METHODS["reward"]
    assert FewShotConfig("random").found_by == "random"
    assert replace(FewShotConfig.preset("paper"), objective="likelihood").found_by == "cem"


def test_presets():
    paper = FewShotConfig.preset("paper")
    assert (paper.method, paper.objective, paper.population) == ("cem", "reward", 32)
    assert (paper.elite_ratio, paper.generations, paper.low, paper.high) == (0.2, 100, 0.0, 1.0)
    light, fast = FewShotConfig.preset("light"), FewShotConfig.preset("fast")
    assert light.shots == 3
    cost = [c.population * c.generations for c in (light, fast, FewShotConfig(), paper)]
    assert cost == sorted(cost)
    with pytest.raises(InputError, match="paper, fast, light"):
        FewShotConfig.preset("slow")
