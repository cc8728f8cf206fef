"""Products with few rows, beside torch's own."""

import pytest
import torch
import torch.nn.functional as F

from t2ui.products import FEW_ROWS, linear


@pytest.mark.parametrize("shape", [(1, 12), (2, 12), (3, 1, 12), (2, 4, 12), (FEW_ROWS + 1, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("with_bias", [False, True])
def test_it_is_the_linear_function(shape, dtype, with_bias):
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=draws).to(dtype)
    weight = torch.randn(7, 12, generator=draws).to(dtype)
    bias = torch.randn(7, generator=draws).to(dtype) if with_bias else None
    found, wanted = linear(x, weight, bias), F.linear(x, weight, bias)
    assert found.shape == wanted.shape and found.dtype == dtype and found.is_contiguous()
    torch.testing.assert_close(found, wanted)


def test_rows_of_any_layout_and_their_gradients():
    x = torch.randn(12, 5).T.requires_grad_()
    weight, bias = torch.randn(7, 12, requires_grad=True), torch.randn(7, requires_grad=True)
    found = torch.autograd.grad(linear(x, weight, bias).square().sum(), (x, weight, bias))
    wanted = torch.autograd.grad(F.linear(x, weight, bias).square().sum(), (x, weight, bias))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
