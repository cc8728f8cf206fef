"""Which components stand out, which directions are given, and what a matrix joins."""

import pytest
import torch

from t2ui.errors import InputError
from t2ui.svf import components
from t2ui.svf.components import STREAM, check_component, gap, joined, most_changed, with_component
from t2ui.svf.decomposition import Factors, decompose

Q, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"


@pytest.fixture
def factors():
    sigma = {Q: torch.tensor([8.0, 4.0, 1.0]), DOWN: torch.tensor([2.0, 1.0])}
    return {n: Factors(torch.eye(len(S)), S, torch.eye(len(S))) for n, S in sigma.items()}


def test_the_most_changed_stand_first_by_either_size(factors):
    z = {Q: torch.tensor([1.1, 0.7, 1.0]), DOWN: torch.tensor([1.0, 1.5])}
    names = list(factors)
    assert most_changed(factors, z, names, 10) == [(DOWN, 1), (Q, 1), (Q, 0)], "1.0 is no change"
    assert most_changed(factors, z, names, 2, "sigma") == [(Q, 1), (Q, 0)]
    assert most_changed(factors, z, [DOWN], 10) == [(DOWN, 1)]
    with pytest.raises(InputError, match="order is 'size'; expected z, sigma"):
        most_changed(factors, z, names, 2, "size")
    for count in (0, 41, "ten"):
        with pytest.raises(InputError, match="components are asked for; expected 1 to 40"):
            most_changed(factors, z, names, count)


def test_one_z_is_set_and_nothing_else(factors):
    z = {Q: torch.tensor([1.1, 0.7, 1.0])}
    off = with_component(factors, z, (Q, 1), 1.0)
    assert off[Q].tolist() == pytest.approx([1.1, 1.0, 1.0])
    assert z[Q].tolist() == pytest.approx([1.1, 0.7, 1.0]), "the mixture's own stays"
    assert with_component(factors, z, (DOWN, 0), -1.0)[DOWN].tolist() == [-1.0, 1.0]


def test_directions_are_not_given_where_singular_values_are_equal():
    assert gap(torch.tensor([8.0, 4.0, 3.0]), 1) == 0.25
    assert gap(torch.tensor([8.0]), 0) == float("inf") and gap(torch.tensor([1.0, 0.0]), 1) == 0.0
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(40, 40))[0] for _ in range(2))
    sigma = torch.linspace(9.0, 1.0, 40)
    sigma[11] = sigma[10]  # a pair that any rotation serves
    W = (left * sigma) @ right.T
    again = W + 1e-4 * torch.randn(40, 40)
    one, other = decompose(W), decompose(again)
    same = (one.Vh * other.Vh).sum(1).abs()
    gaps = torch.tensor([gap(one.S, i) for i in range(40)])
    marked = gaps < components.NEARLY_EQUAL
    assert marked.nonzero().flatten().tolist() == [10, 11]
    assert same[marked].max() < 0.99 < 0.999 < same[~marked].min()


@pytest.mark.parametrize("architecture", ["llama", "phi3", "gpt2"])
def test_every_matrix_reads_the_residual_stream_or_writes_to_it(architecture):
    from reference import matrix_names

    for name in matrix_names(architecture):
        reads, writes = joined(name)
        assert (reads == STREAM) != (writes == STREAM), name
    assert joined("transformer.h.0.attn.c_proj") == ("the heads' values", STREAM)
    assert joined("transformer.h.0.mlp.c_proj") == ("the MLP's neurons", STREAM)


@pytest.mark.parametrize("index", [3, -1, 1.0, True, "1"])
def test_what_is_no_component_is_refused_in_one_line(factors, index):
    with pytest.raises(InputError, match="expected a whole number from 0 to 2"):
        check_component(factors, Q, index)
    with pytest.raises(InputError, match="no adapted matrix 'lm_head'; expected a full name such"):
        check_component(factors, "lm_head", 0)
