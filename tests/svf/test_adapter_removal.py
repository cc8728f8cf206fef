"""What the adapter leaves as it was: earlier scales, the model once it is off, other weights."""

import copy

import adapted_tiny
import pytest
import torch
from adapted_tiny import IDS, UP, differ
from reference import logits, random_scales

from t2ui.errors import InputError
from t2ui.svf.adapter import adapt, adapted, attached

architecture, model, adapter, scales, llama, z = (  # fixtures
    adapted_tiny.architecture,
    adapted_tiny.model,
    adapted_tiny.adapter,
    adapted_tiny.scales,
    adapted_tiny.llama,
    adapted_tiny.z,
)


# --- contexts and removal ------------------------------------------------------------------------


class Raised(Exception):
    pass


def test_contexts_give_back_what_was_set_before(tiny_llama, llama, z):
    other = random_scales(tiny_llama, llama.names, seed=2)
    base = logits(tiny_llama, IDS)
    with llama.applied(z):
        outer = logits(tiny_llama, IDS)
        for context in (
            llama.disabled(),
            llama.applied(other, "merged"),
            llama.rows([other] * 5),
            llama.kept(),
        ):
            with context:
                llama.set(other)
                differ(logits(tiny_llama, IDS), outer)
            assert torch.equal(logits(tiny_llama, IDS), outer)
    assert torch.equal(logits(tiny_llama, IDS), base)


@pytest.mark.parametrize("kind", ["disabled", "applied", "rows", "kept"])
def test_contexts_give_back_when_something_is_raised(tiny_llama, llama, z, kind):
    llama.set(z)
    before = logits(tiny_llama, IDS)
    arguments = {"applied": ({UP: z[UP] * 2},), "rows": ([None, z],)}.get(kind, ())
    with pytest.raises(Raised), getattr(llama, kind)(*arguments):
        llama.reset()
        raise Raised
    assert torch.equal(logits(tiny_llama, IDS), before)


def test_a_forward_that_fails_inside_leaves_the_model_unchanged(tiny_llama, z):
    before = logits(tiny_llama, IDS)
    with pytest.raises(RuntimeError), adapt(tiny_llama) as adapter, adapter.rows([z, z]):
        logits(tiny_llama, IDS)  # five rows
    assert attached(tiny_llama) is None
    assert torch.equal(logits(tiny_llama, IDS), before)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({UP: torch.ones(31)}, r"up_proj: got a scale vector of shape \(31,\), expected \(32,\)"),
        ({"lm_head": torch.ones(32)}, "lm_head is not an adapted matrix"),
        ({UP: torch.ones(1, 32)}, r"shape \(1, 32\), expected \(32,\)"),
    ],
)
def test_bad_scales_change_nothing(tiny_llama, llama, z, bad, message):
    llama.set(z)
    before = logits(tiny_llama, IDS)
    bad = {**z, **bad}
    for call in (
        lambda: llama.set(bad),
        lambda: llama.set(bad, "merged"),
        lambda: llama.set_rows([z, bad, None]),
        lambda: llama.applied(bad).__enter__(),
        lambda: llama.rows([bad]).__enter__(),
    ):
        with pytest.raises(InputError, match=message):
            call()
        assert torch.equal(logits(tiny_llama, IDS), before)


def test_unknown_mode(llama, z):
    with pytest.raises(InputError, match="mode is 'fast'; expected factored or merged"):
        llama.set(z, "fast")


def snapshot(model):
    return {name: dict(vars(module)) for name, module in model.named_modules()}


def test_remove_leaves_every_module_as_it_was(model, scales):
    before = snapshot(model)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapter = adapt(model)
    adapter.set(scales, "merged")
    assert attached(model) is adapter
    adapter.remove()
    assert attached(model) is None
    after = snapshot(model)
    assert after.keys() == before.keys()
    for name in before:
        assert after[name].keys() == before[name].keys(), name
        assert "forward" not in after[name]
    assert all(torch.equal(tensor, state[n]) for n, tensor in model.state_dict().items())


def test_remove_gives_back_a_forward_of_the_modules_own(tiny_llama):
    """accelerate's device hooks are such forwards."""
    model = copy.deepcopy(tiny_llama)
    module = model.get_submodule(UP)
    calls = []
    original = module.forward

    def hooked(x):
        calls.append(x.shape)
        return original(x)

    module.forward = hooked
    base = logits(model, IDS)
    with adapt(model) as adapter:
        assert torch.equal(logits(model, IDS), base)
        assert len(calls) == 2
        adapter.set({UP: torch.zeros(32)})
        logits(model, IDS)
    assert module.forward is hooked


def test_adapt_removes_at_the_end_of_the_block_whatever_happens(tiny_gpt2):
    with pytest.raises(Raised), adapt(tiny_gpt2) as adapter:
        adapter.set(random_scales(tiny_gpt2, adapter.names, seed=1))
        raise Raised
    assert attached(tiny_gpt2) is None
    with adapt(tiny_gpt2):
        pass


def test_a_model_is_adapted_once(tiny_llama):
    with adapt(tiny_llama) as adapter:
        with pytest.raises(InputError, match="has an adapter already"):
            adapt(tiny_llama)
        assert attached(tiny_llama) is adapter
    assert attached(tiny_llama) is None


def test_a_block_uses_the_adapter_that_is_there_or_one_of_its_own(tiny_llama):
    with adapted(tiny_llama, "mlp") as own:
        assert attached(tiny_llama) is own and own.modules == "mlp"
        with adapted(tiny_llama) as held:
            assert held is own
        assert attached(tiny_llama) is own  # whoever made it takes it off
    assert attached(tiny_llama) is None
    with pytest.raises(RuntimeError, match="a bug"), adapted(tiny_llama):
        raise RuntimeError("a bug")
    assert attached(tiny_llama) is None


# --- what is not adapted -------------------------------------------------------------------------


def test_weights_embeddings_and_head_are_never_written(model, adapter, scales):
    state = {name: tensor.clone() for name, tensor in model.named_parameters()}
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    for mode in ("merged", "factored"):
        with adapter.applied(scales, mode):
            logits(model, IDS)
            assert all(torch.equal(t, state[n]) for n, t in model.named_parameters())
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    assert (head.weight is embedding.weight) == tied
    assert "forward" not in vars(head) and "forward" not in vars(embedding)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3", "gpt2"])
def test_the_tiny_models_that_stand_for_tied_heads_are_tied(name, request):
    model = request.getfixturevalue(f"tiny_{name}")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_the_vision_tower_is_left_alone(tiny_llava):
    vision = tiny_llava.model.vision_tower
    with adapt(tiny_llava) as adapter:
        assert not any("forward" in vars(module) for module in vision.modules())
        assert all(name.startswith("model.language_model.layers.") for name in adapter.names)
        pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        before = vision(pixels).last_hidden_state
        with adapter.applied(random_scales(tiny_llava, adapter.names, seed=1)):
            assert torch.equal(vision(pixels).last_hidden_state, before)
