"""Heatmap and component data: layout, binning, σ and captured variance, pinned by hand."""

import numpy as np
import pytest
import torch

from t2ui.backend import inspection
from t2ui.errors import InputError
from t2ui.svf.decomposition import Factors


def factors_of(rank, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rank + 2, rank, generator=generator)
    U, S, Vh = torch.linalg.svd(weight, full_matrices=False)
    return Factors(U, S, Vh)


@pytest.fixture
def factors():
    # out of order on purpose, as state dicts may be
    return {
        "model.layers.10.mlp.up_proj": factors_of(5, 1),
        "model.layers.2.self_attn.q_proj": factors_of(3, 2),
        "model.layers.2.mlp.up_proj": factors_of(5, 3),
    }


Z = {"model.layers.2.self_attn.q_proj": torch.tensor([1.5, 1.0, 0.0])}


def test_rows_are_ordered_by_layer_then_as_in_the_model(factors):
    data = inspection.heatmap(factors, Z)
    assert data.layers == (2, 2, 10)
    assert [n.rsplit(".", 1)[1] for n in data.names] == ["q_proj", "up_proj", "up_proj"]
    assert data.bin_size == 1 and data.values.dtype == np.float32
    np.testing.assert_array_equal(data.values[0], [0.5, 0, -1, np.nan, np.nan])
    np.testing.assert_array_equal(data.values[1:], np.zeros((2, 5)))
    np.testing.assert_allclose(data.mean_abs, [0.5, 0, 0])


@pytest.mark.parametrize(("module", "rows"), [("mlp", 2), ("attention", 1), ("up_proj", 2)])
def test_modules_are_chosen_by_kind_or_by_name(factors, module, rows):
    assert len(inspection.heatmap(factors, {}, module).names) == rows


def test_an_unknown_module_lists_the_known_ones(factors):
    with pytest.raises(InputError, match="attention.*q_proj"):
        inspection.heatmap(factors, {}, "head")


def test_wide_rows_are_binned_by_their_means(monkeypatch, factors):
    monkeypatch.setattr(inspection, "MAX_COLUMNS", 3)
    data = inspection.heatmap(factors, Z)
    assert data.bin_size == 2 and data.values.shape == (3, 3)
    # 0.5, 0 | -1 and nothing | nothing
    np.testing.assert_array_equal(data.values[0], [0.25, -1, np.nan])


def test_one_layer_alone_and_one_that_is_not_there(factors):
    assert inspection.heatmap(factors, Z, layer=10).names == ("model.layers.10.mlp.up_proj",)
    with pytest.raises(InputError, match="no layer 3; expected one from 2 to 10"):
        inspection.heatmap(factors, Z, layer=3)


def test_the_difference_of_two_is_taken_before_anything_is_averaged(monkeypatch, factors):
    monkeypatch.setattr(inspection, "MAX_COLUMNS", 2)
    other = {"model.layers.2.self_attn.q_proj": torch.tensor([1.0, 1.5, 1.0])}
    data = inspection.heatmap(factors, Z, "attention", other)
    np.testing.assert_array_equal(data.values, [[0, -1]])  # 0.5, −0.5 | −1
    np.testing.assert_allclose(data.mean_abs, [2 / 3], rtol=1e-6)
    assert not inspection.heatmap(factors, Z, minus=Z).mean_abs.any()


@pytest.fixture
def several(monkeypatch):
    monkeypatch.setattr(inspection, "FEW", 0)
    monkeypatch.setattr(inspection, "GROUP_COLUMNS", 2)
    ranks = {"self_attn.q_proj": 2, "mlp.up_proj": 4}
    factors = {
        f"model.layers.{layer}.{part}": Factors(None, torch.ones(rank), None)
        for layer in range(3)
        for part, rank in ranks.items()
    }
    z = {
        "model.layers.1.self_attn.q_proj": torch.tensor([1.5, 0.5]),
        "model.layers.1.mlp.up_proj": torch.tensor([1.0, 1.0, 0.0, 3.0]),
    }
    return factors, z


def test_a_row_of_a_layer_is_the_mean_size_of_the_changes_in_its_matrices(several):
    data = inspection.heatmap(*several, rows="layer")
    assert (data.rows, data.names, data.layers) == ("layer", ("0", "1", "2"), (0, 1, 2))
    assert data.bin_size == 2
    # layer 1: 0.5, 0.5 of q and 0, 0 of up | 1, 2 of up
    np.testing.assert_allclose(data.values, [[0, 0], [0.25, 1.5], [0, 0]])
    np.testing.assert_allclose(data.signed, [[0, 0], [0, 0.5], [0, 0]])
    np.testing.assert_allclose(data.mean_abs, [0, 4 / 6, 0], rtol=1e-6)
    parts = ("self_attn.q_proj", "mlp.up_proj")
    assert data.members[1] == tuple(f"model.layers.1.{part}" for part in parts)


def test_a_row_of_a_kind_is_the_same_over_the_layers(several):
    data = inspection.heatmap(*several, rows="kind")
    assert (data.rows, data.names) == ("kind", ("self_attn.q_proj", "mlp.up_proj"))
    np.testing.assert_allclose(data.values, [[1 / 6, np.nan], [0, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(data.mean_abs, [1 / 6, 0.25], rtol=1e-6)


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"rows": "layer", "module": "mlp"}, 3),  # each layer has one
        ({"rows": "kind", "layer": 1}, 2),
        ({"rows": "kind", "module": "up_proj"}, 3),  # all are of one kind
        ({"rows": "layer", "layer": 1}, 2),
    ],
)
def test_rows_that_would_take_nothing_together_are_the_matrices(several, asked, count):
    data = inspection.heatmap(*several, **asked)
    assert (data.rows, len(data.names), data.signed) == ("matrix", count, None)


def test_few_matrices_are_never_taken_together(several, monkeypatch):
    monkeypatch.setattr(inspection, "FEW", 6)
    assert inspection.heatmap(*several, rows="layer").rows == "matrix"
    monkeypatch.setattr(inspection, "FEW", 5)
    assert inspection.heatmap(*several, rows="layer").rows == "layer"


def test_unknown_rows_list_those_there_are(factors):
    with pytest.raises(InputError, match="'heap'.*matrix, layer, kind"):
        inspection.heatmap(factors, Z, rows="heap")


def test_a_component_has_sigma_z_and_captured_variance(factors):
    name = "model.layers.2.self_attn.q_proj"
    data = inspection.component(factors, Z, name)
    S = factors[name].S.numpy()
    assert data.layer == 2 and data.shape == (5, 3)
    np.testing.assert_array_equal(data.sigma, S)
    np.testing.assert_array_equal(data.z, Z[name].numpy())
    np.testing.assert_allclose(data.captured, np.cumsum(S) / S.sum(), rtol=1e-6)
    adapted = S * np.abs(data.z)
    np.testing.assert_allclose(data.captured_adapted, np.cumsum(adapted) / adapted.sum(), rtol=1e-6)
    assert data.top == (2, 0, 1)


def test_what_comes_back_is_a_copy(factors):
    name = "model.layers.2.self_attn.q_proj"
    data = inspection.component(factors, Z, name)
    data.sigma[:] = 0
    data.z[:] = 0
    assert factors[name].S.min() > 0 and Z[name][0] == 1.5


def test_an_unknown_matrix_is_named(factors):
    with pytest.raises(InputError, match="lm_head"):
        inspection.component(factors, Z, "lm_head")
