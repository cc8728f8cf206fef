"""Weights around an adapter: what is saved inside a block, and weights that change under it."""

import copy

import pytest
import torch
from reference import logits, matrix_names, prompt_ids, random_scales, rewritten
from safetensors.torch import load_file
from tiny import ARCHITECTURES, make_tiny
from torch import nn

from t2ui.errors import InputError
from t2ui.svf.adapter import adapt, attached
from t2ui.svf.snapshot import Snapshot

IDS = [prompt_ids(11, seed) for seed in range(3)]
UP = "model.layers.0.mlp.up_proj"


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    return request.getfixturevalue(f"tiny_{request.param}")


@pytest.fixture
def llama():
    return make_tiny("llama")


@pytest.fixture
def adapter(llama):
    with adapt(llama) as made:
        yield made


@pytest.fixture
def z(llama):
    return random_scales(llama, matrix_names("llama"), seed=1)


# --- what is saved -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["merged", "factored"])
def test_what_is_saved_inside_a_block_is_what_answers_there(model, mode, tmp_path):
    base = logits(model, IDS)
    with adapt(model) as adapter:
        scales = random_scales(model, adapter.names, seed=1)
        with adapter.applied(scales, mode):
            model.save_pretrained(tmp_path / "adapted")
            wanted = logits(model, IDS)
        model.save_pretrained(tmp_path / "base")
    saved = type(model).from_pretrained(tmp_path / "adapted")
    if mode == "merged":
        assert torch.equal(logits(saved, IDS), wanted)
    torch.testing.assert_close(logits(saved, IDS), wanted, atol=2e-3, rtol=1e-3)
    assert (wanted - base).abs().max() > 0.05
    assert torch.equal(logits(type(model).from_pretrained(tmp_path / "base"), IDS), base)
    assert torch.equal(logits(model, IDS), base)


def test_the_two_ways_save_the_same_bytes_and_others_stay_the_checkpoints(adapter, z, tmp_path):
    some = {UP: z[UP]}
    for mode in ("merged", "factored"):
        with adapter.applied(some, mode):
            adapter.model.save_pretrained(tmp_path / mode)
    merged, factored = (
        load_file(tmp_path / mode / "model.safetensors") for mode in ("merged", "factored")
    )
    own = adapter.model.state_dict()
    wanted = rewritten(adapter.model, some).state_dict()
    for name in merged:
        assert torch.equal(merged[name], factored[name])
        if name == f"{UP}.weight":
            assert not torch.equal(merged[name], own[name])
            torch.testing.assert_close(merged[name], wanted[name], atol=1e-5, rtol=1e-5)
        else:
            assert torch.equal(merged[name], own[name])


def test_scales_that_need_gradients_are_saved_without(adapter, z):
    wanted = {n: s.clone().requires_grad_(True) for n, s in z.items()}
    with adapter.applied(wanted):
        state = adapter.model.state_dict()
    assert not any(tensor.requires_grad for tensor in state.values())


def test_rows_cannot_be_saved(adapter, z, tmp_path):
    with adapter.rows([z, None]), pytest.raises(InputError, match="holds one set of weights"):
        adapter.model.save_pretrained(tmp_path)
    with adapter.rows([None, None]):
        adapter.model.save_pretrained(tmp_path)


def test_a_copy_of_an_adapted_model_saves_its_own(adapter, z):
    base = {n: t.clone() for n, t in adapter.model.state_dict().items()}
    other = copy.deepcopy(adapter.model)
    with adapter.applied(z, "merged"):
        assert all(torch.equal(t, base[n]) for n, t in other.state_dict().items())


def test_a_copy_of_an_adapted_model_has_an_adapter_of_its_own(llama, adapter, z):
    base = logits(llama, IDS)
    wanted = logits(rewritten(llama, z), IDS)
    other = copy.deepcopy(llama)
    with attached(other).applied(z):
        torch.testing.assert_close(logits(other, IDS), wanted, atol=2e-3, rtol=1e-3)
        assert torch.equal(logits(llama, IDS), base)
    in_place(other, other.get_submodule(UP))
    with pytest.raises(InputError, match="weights have changed"):
        attached(other).set(z)
    adapter.set(z)


def test_no_hook_stays_behind(llama):
    before = [len(m._state_dict_hooks) for m in llama.modules()]
    adapt(llama).remove()
    assert [len(m._state_dict_hooks) for m in llama.modules()] == before


# --- weights that change -------------------------------------------------------------------------


def in_place(model, module):
    with torch.no_grad():
        module.weight.add_(0.1)


def past_the_count(model, module):
    module.weight.data.add_(0.1)


def replaced(model, module):
    module.weight = nn.Parameter(module.weight.detach() + 0.1, requires_grad=False)


def other_data(model, module):
    module.weight.data = module.weight.data + 0.1


def loaded(model, module):
    model.load_state_dict({n: t + 0.1 for n, t in model.state_dict().items()})


def loaded_anew(model, module):
    model.load_state_dict({n: t + 0.1 for n, t in model.state_dict().items()}, assign=True)


def other_dtype(model, module):
    model.bfloat16()


def trained(model, module):
    module.weight.requires_grad_(True)
    optimizer = torch.optim.SGD([module.weight], lr=0.1)
    module.weight.square().sum().backward()
    optimizer.step()
    module.weight.requires_grad_(False)


CHANGES = (
    in_place,
    past_the_count,
    replaced,
    other_data,
    loaded,
    loaded_anew,
    other_dtype,
    trained,
)


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_changed_are_noticed_before_scales_are_used(llama, adapter, z, change):
    change(llama, llama.get_submodule(UP))
    base = logits(llama, IDS)
    for use in (
        lambda: adapter.set(z),
        lambda: adapter.set(z, "merged"),
        lambda: adapter.set_rows([z, None, z]),
        lambda: adapter.applied(z).__enter__(),
    ):
        with pytest.raises(InputError, match=r"weights have changed since .*remove\(\)") as caught:
            use()
        assert "\n" not in str(caught.value) and "model.layers." in str(caught.value)
    # the base model is whatever the weights are now
    with adapter.disabled(), adapter.rows([None] * 3):
        assert torch.equal(logits(llama, IDS), base)
    adapter.remove()
    with adapt(llama) as again:
        scales = random_scales(llama, again.names, seed=1)
        wanted = logits(rewritten(llama, scales), IDS)
        with again.applied(scales, "merged"):
            found = logits(llama, IDS)
    rough = 2.0 if change is other_dtype else 5e-3
    torch.testing.assert_close(found, wanted, atol=rough, rtol=1e-2)


def test_what_does_not_change_weights_is_no_change(llama, adapter, z):
    with torch.no_grad():
        llama.lm_head.weight.mul_(1.0)  # no adapted matrix
    llama.train().eval().requires_grad_(True).requires_grad_(False).to("cpu").float()
    with torch.inference_mode(), adapter.applied(z):
        logits(llama, IDS)
    adapter.set(z)


def test_models_made_in_inference_mode_count_no_writes():
    with torch.inference_mode():
        model = make_tiny("llama")
        with adapt(model) as adapter:
            scales = random_scales(model, adapter.names, seed=1)
            adapter.set(scales)
            model.get_submodule(UP).weight.add_(0.1)
            with pytest.raises(InputError, match="weights have changed"):
                adapter.set(scales)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3), (300, 40), (17, 2000)])
def test_a_snapshot_looks_at_all_corners(shape):
    modules = {str(i): nn.Linear(*reversed(shape), bias=False) for i in range(3)}
    modules["double"] = nn.Linear(4, 4, bias=False).double()
    snapshot = Snapshot(modules)
    assert snapshot.changed() == []
    modules["1"].weight.data[0, 0] += 1
    assert snapshot.changed() == ["1"]
    modules["double"].weight.data[0, 0] += 1
    assert snapshot.changed() == ["1", "double"]
    modules["1"].weight.data[0, 0] -= 1
    modules["2"].weight.data.mul_(2)
    assert set(snapshot.changed()) >= {"2", "double"}


def test_a_removed_adapter_says_so(llama, z):
    adapter = adapt(llama)
    adapter.remove()
    for use in (
        lambda: adapter.set(z),
        lambda: adapter.set_rows([z]),
        adapter.reset,
        lambda: adapter.applied(z).__enter__(),
    ):
        with pytest.raises(InputError, match="adapter was removed from its model"):
            use()
    with adapt(llama) as again, again.applied(z):
        again.remove()  # inside its own block
    assert torch.equal(logits(llama, IDS), logits(make_tiny("llama"), IDS))
