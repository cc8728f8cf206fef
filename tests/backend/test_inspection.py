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
