"""Which experts fit an adapted model: its own, transfers if asked for, none of other shapes."""

import copy

import adapted_tiny
import pytest
import torch
from adapted_tiny import UP
from tiny import ARCHITECTURES, make_tiny

from t2ui.errors import InputError
from t2ui.svf.adapter import adapt
from t2ui.svf.decomposition import fingerprint
from t2ui.svf.expert import Expert

llama, z = adapted_tiny.llama, adapted_tiny.z  # fixtures


def test_an_expert_of_these_weights_fits(llama, z):
    part = {n: s for n, s in z.items() if ".mlp." in n}
    for scales in (z, part):
        expert = Expert("own", scales, fingerprint=llama.fingerprint_of(scales))
        llama.check(expert)
        assert not llama.is_transfer(expert)
    llama.check(Expert("unsigned", z))


def test_an_expert_survives_a_change_of_the_models_dtype(tiny_llama, llama, z):
    expert = Expert("own", z, fingerprint=llama.fingerprint_of(z))
    with adapt(copy.deepcopy(make_tiny("llama")).bfloat16()) as other:
        other.check(expert)


def test_an_expert_of_other_weights_is_a_transfer_that_has_to_be_asked_for(llama, z):
    with adapt(make_tiny("llama", seed=5)) as other:
        expert = Expert("theirs", z, "other-llama", fingerprint=other.fingerprint_of(z))
    assert llama.is_transfer(expert)
    with pytest.raises(InputError, match="'theirs' was made for other-llama .*allow_transfer"):
        llama.check(expert)
    llama.check(expert, allow_transfer=True)


@pytest.mark.parametrize("allow", [False, True])
def test_an_expert_of_other_shapes_is_refused_with_its_mismatches(llama, z, allow):
    wrong = {
        **z,
        UP: torch.ones(7),
        "model.layers.9.mlp.up_proj": torch.ones(32),
        "model.layers.9.mlp.down_proj": torch.ones(32),
        "model.layers.8.mlp.down_proj": torch.ones(32),
    }
    with pytest.raises(InputError) as caught:
        llama.check(Expert("wrong", wrong, "big-llama"), allow_transfer=allow)
    message = str(caught.value)
    assert "Expert 'wrong' is for big-llama and does not fit" in message
    assert "model.layers.0.mlp.up_proj: 7 scales, the model has 32" in message
    assert "model.layers.8.mlp.down_proj: not in the model" in message
    assert "… (4 in all)" in message


@pytest.mark.parametrize("allow", [False, True])
def test_as_many_scales_for_other_shapes_are_no_transfer(llama, z, allow):
    """An MLP may be wider with the same number of singular values."""
    wider = {n: f._replace(U=torch.ones(99, f.S.numel())) for n, f in llama.factors.items()}
    expert = Expert("wide", z, "wide-llama", fingerprint=fingerprint(wider))
    with pytest.raises(InputError, match="'wide' is for wide-llama, .*those of tiny-llama, and"):
        llama.check(expert, allow_transfer=allow)


@pytest.mark.parametrize("modules", ["all", "attention", "mlp"])
def test_an_adapter_knows_which_matrices_were_chosen(modules):
    with adapt(make_tiny("llama"), modules) as adapter:
        assert adapter.modules == modules


@pytest.mark.parametrize("name", [a for a in ARCHITECTURES if a != "llama"])
def test_a_llama_expert_fits_no_other_architecture_silently(name, z, llama):
    expert = Expert("llama's", z, fingerprint=llama.fingerprint_of(z))
    model = make_tiny(name, seed=1)  # of seed 0, some have the very same matrices
    with adapt(model) as adapter, pytest.raises(InputError, match="does not fit|was made for"):
        adapter.check(expert)
