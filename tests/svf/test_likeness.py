"""Experts beside each other: the numbers of plain numpy, and a map that keeps its distances."""

import numpy as np
import pytest
import torch

from t2ui.errors import InputError
from t2ui.svf.expert import Expert
from t2ui.svf.likeness import in_two_dimensions, likeness

Q, UP, LAST = (
    f"model.layers.{p}" for p in ("0.self_attn.q_proj", "0.mlp.up_proj", "1.mlp.up_proj")
)


def expert(name, scales, **more):
    return Expert(name, {n: torch.tensor(z) for n, z in scales.items()}, **more)


@pytest.fixture
def experts():
    draw = np.random.default_rng(0)
    z = {n: 1 + draw.normal(0, 0.2, 50).astype("f4") for n in (Q, UP, LAST)}
    record = {"set": "arith test, chat", "protocol": "greedy", "n": 300, "base": 0.05}
    mine = {**record, "expert": 0.33, "interval": [0.3, 0.36], "p": 1e-9}
    return {
        "math": expert("math", z, metrics=[mine, {"set": "gsm8k", "misroutes": 0.1}, "nonsense"]),
        "twice": expert("twice", {n: 1 + 2 * (one - 1) for n, one in z.items()}),
        "against": expert("against", {Q: 2 - z[Q]}),  # the opposite, of one matrix alone
        "none": expert("none", {Q: np.ones(50, "f4")}),
    }


def flat(one):
    zero = torch.ones(50)
    return np.concatenate([one.scales.get(n, zero).numpy() - 1 for n in (Q, UP, LAST)])


def test_cosines_and_overlaps_are_those_of_z_minus_1(experts):
    found = likeness(experts)
    assert found.names == ("math", "twice", "against", "none") and found.layers == (0, 1)
    a, c = flat(experts["math"]), flat(experts["against"])
    cosine = a @ c / np.linalg.norm(a) / np.linalg.norm(c)
    assert found.cosine[0, 1] == pytest.approx(1.0) and found.cosine[2, 0] == pytest.approx(cosine)
    assert cosine < 0 and np.isnan(found.cosine[3]).all(), "who changes nothing has no direction"
    first = a[:100] @ c[:100] / np.linalg.norm(a[:100]) / np.linalg.norm(c[:100])
    assert found.by_layer[0, 0, 2] == pytest.approx(first)
    assert np.isnan(found.by_layer[1, 0, 2]) and found.by_layer[1, 0, 1] == pytest.approx(1.0)
    assert found.size[0] == pytest.approx(np.sqrt((a**2).mean()))
    assert found.most == 2 and found.chance == pytest.approx(2 / 150)
    top = [set(np.argsort(-np.abs(one))[:2].tolist()) for one in (a, c)]
    assert found.overlap[0, 2] == len(top[0] & top[1]) / 2 and found.overlap[0, 1] == 1.0
    assert np.isnan(found.overlap[0, 3])
    two = likeness(experts, ["against", "math"])
    assert two.names == ("against", "math") and two.cosine[0, 1] == pytest.approx(cosine)


def test_the_map_keeps_distances_where_two_dimensions_can():
    angles = np.array([0.0, 0.7, 2.0, 4.0])
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points, kept = in_two_dimensions(directions @ directions.T)
    assert kept == pytest.approx(1.0)
    between = np.linalg.norm(points[:, None] - points[None], axis=2)
    wanted = np.linalg.norm(directions[:, None] - directions[None], axis=2)
    assert between == pytest.approx(wanted, abs=1e-6)
    points, kept = in_two_dimensions(np.eye(5))  # five at right angles: four dimensions
    assert kept == pytest.approx(0.5) and np.isfinite(points).all()
    nan = np.full((2, 2), np.nan)
    nan[0, 0] = 1.0
    points, kept = in_two_dimensions(nan)
    assert points[0].tolist() == [0.0, 0.0] and np.isnan(points[1]).all() and kept == 1.0


def test_what_the_files_say_is_kept_and_what_they_do_not_is_not_there(experts):
    (row,) = likeness(experts).measured
    assert (row.expert, row.set, row.protocol, row.n) == ("math", "arith test, chat", "greedy", 300)
    assert (row.base, row.right, row.interval, row.p) == (0.05, 0.33, (0.3, 0.36), 1e-9)


def test_bad_input_is_one_line(experts):
    with pytest.raises(InputError, match="no expert named 'poems'; there are: against, math, none"):
        likeness(experts, ["math", "poems"])
    with pytest.raises(InputError, match="There are no experts to compare"):
        likeness({})
    other = expert("other", {Q: np.ones(7, "f4")})
    with pytest.raises(InputError, match="'other' has 7 scales, others 50; experts of one base"):
        likeness({**experts, "other": other})


def test_of_more_than_fit_the_others_are_counted():
    many = {str(i): expert(str(i), {Q: np.full(50, 1.1, "f4")}) for i in range(70)}
    found = likeness(many)
    assert len(found.names) == 60 and found.left_out == 10
    with pytest.raises(InputError, match="70 experts are chosen; at most 60"):
        likeness(many, list(many))
