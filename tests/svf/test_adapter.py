"""The adapter's algebra on every architecture, against models whose weights were rewritten."""

import copy
import itertools

import adapted_tiny
import pytest
import torch
from adapted_tiny import IDS, UP, differ
from reference import logits, matrix_names, new_weight, random_scales, rewritten
from tiny import make_tiny
from torch.func import functional_call

from t2ui.svf.adapter import Adapter, adapt
from t2ui.svf.decomposition import Factors
from t2ui.svf.modules import adapted_modules

architecture, model, adapter, scales, llama, z = (  # fixtures
    adapted_tiny.architecture,
    adapted_tiny.model,
    adapted_tiny.adapter,
    adapted_tiny.scales,
    adapted_tiny.llama,
    adapted_tiny.z,
)


def close(found, wanted, tolerance=2e-3):
    """Logits of tiny models reach ±10; float32 leaves them equal to about 1e-4."""
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=1e-3)


# --- the base model is exact ---------------------------------------------------------------------


def test_base_is_bit_identical_in_every_way_to_say_it(model, scales):
    ids = IDS[:3]
    untouched = logits(copy.deepcopy(model), ids)
    with adapt(model) as adapter:
        assert torch.equal(logits(model, ids), untouched)
        adapter.set(scales)
        differ(logits(model, ids), untouched)
        with adapter.disabled():
            assert torch.equal(logits(model, ids), untouched)
        ones = {name: torch.ones_like(s) for name, s in scales.items()}
        for mode in ("factored", "merged"):
            for base in ({}, ones):
                adapter.set(base, mode)
                assert torch.equal(logits(model, ids), untouched)
        for base in ([None] * 3, [{}, None, {}]):
            adapter.set(scales)
            adapter.set_rows(base)
            assert torch.equal(logits(model, ids), untouched)
        adapter.set(scales, "merged")
        adapter.reset()
        assert torch.equal(logits(model, ids), untouched)
    assert torch.equal(logits(model, ids), untouched)


def test_base_is_bit_identical_in_bfloat16(tiny_llama):
    model = copy.deepcopy(tiny_llama).bfloat16()
    untouched = logits(copy.deepcopy(model), IDS)
    with adapt(model) as adapter:
        assert torch.equal(logits(model, IDS), untouched)
        adapter.set(random_scales(model, matrix_names("llama"), seed=1))
        with adapter.disabled():
            assert torch.equal(logits(model, IDS), untouched)


# --- three ways, one result ----------------------------------------------------------------------


def test_merged_factored_and_rows_equal_rewritten_weights(model, adapter, scales):
    wanted = logits(rewritten(model, scales), IDS[:2])
    differ(wanted, logits(model, IDS[:2]))
    for mode in ("merged", "factored"):
        with adapter.applied(scales, mode):
            close(logits(model, IDS[:2]), wanted)
    with adapter.rows([scales, scales]):
        close(logits(model, IDS[:2]), wanted)


@pytest.mark.parametrize("name", ["qwen2", "gpt2"])
def test_biases_are_kept(name, request):
    """With every singular value at zero, only the bias is left."""
    model = request.getfixturevalue(f"tiny_{name}")
    with adapt(model) as adapter:
        biased = [n for n, m in adapted_modules(model).items() if m.bias is not None]
        assert len(biased) == (6 if name == "qwen2" else 8)
        for matrix in biased:
            module = model.get_submodule(matrix)
            zero = {matrix: torch.zeros_like(adapter.factors[matrix].S)}
            x = torch.randn(2, 3, adapter.factors[matrix].Vh.shape[1])
            for mode in ("merged", "factored"):
                with adapter.applied(zero, mode):
                    torch.testing.assert_close(
                        module(x), module.bias.expand(2, 3, -1), atol=1e-5, rtol=0
                    )
            with adapter.rows([zero, None]):
                torch.testing.assert_close(module(x)[0], module.bias.expand(3, -1))
                torch.testing.assert_close(module(x)[1], adapter.linears[matrix].base(x)[1])


def test_the_three_ways_agree_in_bfloat16(tiny_qwen2):
    model = copy.deepcopy(tiny_qwen2).bfloat16()
    with adapt(model) as adapter:
        scales = random_scales(model, adapter.names, seed=1, spread=0.2)
        found = []
        for mode in ("merged", "factored"):
            with adapter.applied(scales, mode):
                found.append(logits(model, IDS[:2]).float())
        with adapter.rows([scales, scales]):
            found.append(logits(model, IDS[:2]).float())
        base = logits(model, IDS[:2]).float()
    change = (found[0] - base).norm()
    for other in found[1:]:
        assert (other - found[0]).norm() < 0.15 * change


@pytest.mark.parametrize("modules", ["mlp", "attention"])
def test_a_choice_of_modules_adapts_no_others(tiny_phi3, modules):
    with adapt(tiny_phi3, modules) as adapter:
        assert set(adapter.names) == matrix_names("phi3", modules)
        scales = random_scales(tiny_phi3, adapter.names, seed=2)
        wanted = logits(rewritten(tiny_phi3, scales), IDS)
        with adapter.applied(scales):
            close(logits(tiny_phi3, IDS), wanted)


def test_scales_of_some_matrices_leave_the_others(tiny_llama, llama, z):
    some = {UP: z[UP]}
    wanted = logits(rewritten(tiny_llama, some), IDS)
    differ(wanted, logits(tiny_llama, IDS))
    for mode in ("merged", "factored"):
        with llama.applied(some, mode):
            close(logits(tiny_llama, IDS), wanted)
    with llama.rows([some] * 5):
        close(logits(tiny_llama, IDS), wanted)


def test_a_second_set_replaces_the_first(tiny_llama, llama, z):
    llama.set(z)
    llama.set({UP: z[UP]})
    close(logits(tiny_llama, IDS), logits(rewritten(tiny_llama, {UP: z[UP]}), IDS))


@pytest.mark.parametrize("mode", ["merged", "factored", "rows"])
def test_the_same_call_gives_the_same_bits(tiny_gemma3, mode):
    found = []
    for _ in range(2):
        with adapt(tiny_gemma3) as adapter:
            scales = random_scales(tiny_gemma3, adapter.names, seed=1)
            context = (
                adapter.rows([scales, None, scales, {}, scales])
                if mode == "rows"
                else adapter.applied(scales, mode)
            )
            with context:
                found += [logits(tiny_gemma3, IDS), logits(tiny_gemma3, IDS)]
    assert all(torch.equal(other, found[0]) for other in found)


# --- rows ----------------------------------------------------------------------------------------


def test_every_row_has_its_own_scales(model, adapter, scales):
    other = random_scales(model, adapter.names, seed=2)
    part = {name: other[name] for name in adapter.names[:3]}
    rows = [scales, None, other, part, scales]
    alone = {}
    for row in (scales, other, part):
        with adapter.applied(row):
            alone[id(row)] = logits(model, IDS)
    base = logits(model, IDS)
    differ(alone[id(scales)], alone[id(other)])
    with adapter.rows(rows):
        found = logits(model, IDS)
    for i, row in enumerate(rows):
        close(found[i], alone[id(row)][i] if row else base[i])


@pytest.mark.parametrize("is_base", list(itertools.product([True, False], repeat=4)))
def test_base_rows_may_stand_anywhere(tiny_llama, llama, z, is_base):
    other = random_scales(tiny_llama, llama.names, seed=2)
    rows = [None if base else (z, other)[i % 2] for i, base in enumerate(is_base)]
    with llama.rows(rows):
        found = logits(tiny_llama, IDS[:4])
    for i, row in enumerate(rows):
        with llama.applied(row or {}):
            close(found[i], logits(tiny_llama, IDS[i]))


def test_base_rows_of_a_mixed_batch_do_not_run_through_the_factors(tiny_llama, z):
    """The factors here are noise: only W gives the base rows right."""
    base = logits(tiny_llama, IDS)
    modules = adapted_modules(tiny_llama)
    noise = {
        n: Factors(torch.randn(m.weight.shape[0], r), torch.ones(r), torch.randn(r, m.in_features))
        for n, m in modules.items()
        for r in [min(m.weight.shape)]
    }
    with Adapter(tiny_llama, modules, noise) as adapter, adapter.rows([None, z, None, z, None]):
        found = logits(tiny_llama, IDS)
    for i in (0, 2, 4):
        close(found[i], base[i])
    differ(found[1], base[1])


def test_rows_refuse_a_batch_of_another_size(tiny_llama, llama, z):
    with llama.rows([z, None, z]):
        for count in (2, 4):
            with pytest.raises(RuntimeError, match="set for a batch of 3, got an input of shape"):
                logits(tiny_llama, IDS[:count])


# --- gradients -----------------------------------------------------------------------------------


def loss_of(found: torch.Tensor, ids) -> torch.Tensor:
    log_probs = found[:, :-1].double().log_softmax(-1)
    return -log_probs.gather(2, torch.tensor(ids)[:, 1:, None]).mean()


def adapted_loss(model) -> torch.Tensor:
    return loss_of(model(input_ids=torch.tensor(IDS), use_cache=False).logits, IDS)


def test_gradients_equal_those_through_rewritten_weights(architecture, model, scales):
    leaves = [{n: z.clone().requires_grad_(True) for n, z in scales.items()} for _ in range(2)]
    weights = {f"{n}.weight": new_weight(model.get_submodule(n), z) for n, z in leaves[0].items()}
    inputs = {"input_ids": torch.tensor(IDS), "use_cache": False}
    loss_of(functional_call(model, weights, kwargs=inputs).logits, IDS).backward()
    with adapt(model) as adapter, adapter.applied(leaves[1]):
        adapted_loss(model).backward()
    for name in scales:
        wanted, found = leaves[0][name].grad, leaves[1][name].grad
        assert wanted.norm() > 0
        assert (found - wanted).norm() < 1e-3 * wanted.norm(), name
    assert all(p.grad is None for p in model.parameters())


def test_gradients_equal_finite_differences():
    """On GPT-2, which can run in float64 from end to end."""
    model = make_tiny("gpt2").double()
    with adapt(model) as adapter:
        scales = {n: s.double() for n, s in random_scales(model, adapter.names, seed=1).items()}
        for z in scales.values():
            z.requires_grad_(True)
        with adapter.applied(scales):
            adapted_loss(model).backward()
        step = 1e-4
        for matrix in adapter.names:
            values = []
            for sign in (1, -1):
                moved = {n: z.detach().clone() for n, z in scales.items()}
                moved[matrix][3] += sign * step
                with torch.no_grad(), adapter.applied(moved):
                    values.append(adapted_loss(model))
            slope = (values[0] - values[1]) / (2 * step)
            torch.testing.assert_close(scales[matrix].grad[3], slope, atol=1e-8, rtol=1e-5)


def test_gradients_reach_every_scale_and_are_the_same_in_rows(tiny_llama, llama, z):
    gradients = []
    for mode in ("factored", "rows"):
        scales = {n: s.clone().requires_grad_(True) for n, s in z.items()}
        context = llama.rows([scales] * 5) if mode == "rows" else llama.applied(scales)
        with context:
            adapted_loss(tiny_llama).backward()
        gradients.append({n: s.grad for n, s in scales.items()})
    for name in z:
        assert (gradients[0][name] != 0).all()
        torch.testing.assert_close(gradients[0][name], gradients[1][name], atol=1e-5, rtol=1e-3)


def test_scales_of_one_that_need_gradients_get_them(tiny_llama, llama):
    """Training starts at z = 1, where a scale without gradients would run the base forward."""
    scales = {n: torch.ones(f.S.numel(), requires_grad=True) for n, f in llama.factors.items()}
    with llama.applied(scales):
        adapted_loss(tiny_llama).backward()
    assert all(s.grad is not None and s.grad.abs().max() > 0 for s in scales.values())
