"""Which matrices of a model are adapted, what is refused, and what is wrapped around a model."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from reference import logits, matrix_names, new_weight, prompt_ids, random_scales, rewritten
from tiny import ARCHITECTURES, VOCABULARY, make_tiny
from torch import nn
from transformers import AutoModelForCausalLM, GPTNeoXConfig, OPTConfig

from t2ui.errors import InputError
from t2ui.few_shot.adapt import few_shot_adapt
from t2ui.inference.decoding import generate
from t2ui.inference.two_pass import two_pass_infer
from t2ui.svf.adapter import adapt, adapted, attached
from t2ui.svf.expert import Expert
from t2ui.svf.modules import MODULES, adapted_modules, left_out
from t2ui.training.svf import train_svf

NAME = "model.layers.0.mlp.up_proj"
IDS = [prompt_ids(11, seed) for seed in range(3)]


@pytest.fixture(params=ARCHITECTURES)
def tiny(request):
    return request.param, request.getfixturevalue(f"tiny_{request.param}")


@pytest.mark.parametrize("modules", MODULES)
def test_every_block_matrix_is_found_and_nothing_else(tiny, modules):
    architecture, model = tiny
    found = adapted_modules(model, modules)
    assert set(found) == matrix_names(architecture, modules)
    assert all(model.get_submodule(name) is module for name, module in found.items())


def test_unknown_choice_of_modules(tiny_llama):
    with pytest.raises(InputError, match="'ffn'; expected one of all, attention, mlp"):
        adapted_modules(tiny_llama, "ffn")


@pytest.mark.parametrize("modules", MODULES)
def test_unknown_architecture_lists_what_was_found(modules):
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(InputError) as caught:
        adapted_modules(model, modules)
    message = str(caught.value)
    assert "GPTNeoXForCausalLM" in message
    assert "2× mlp.dense_h_to_4h Linear(48, 32)" in message
    assert "2× attention.query_key_value Linear(96, 32)" in message


def test_an_architecture_that_is_known_in_part_is_not_adapted_in_part():
    """OPT calls its q, k and v as Llama does, but not the projection behind them."""
    config = OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        ffn_dim=48,
        word_embed_proj_dim=32,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(InputError, match="self_attn.out_proj"):
        adapted_modules(model, "attention")


def test_a_module_that_is_no_language_model():
    with pytest.raises(InputError, match="Linear has no input embedding"):
        adapted_modules(torch.nn.Linear(3, 3))


def test_a_quantised_weight_is_refused(tiny_llama):
    model = copy.deepcopy(tiny_llama)
    module = model.get_submodule(NAME)
    module.weight = torch.nn.Parameter(module.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(InputError, match="up_proj has a weight of dtype torch.int8"):
        adapted_modules(model)


# --- half a model --------------------------------------------------------------------------------


@pytest.mark.parametrize("modules", MODULES)
def test_an_encoder_decoder_model_is_refused(modules):
    with pytest.raises(InputError, match="T5GemmaForConditionalGeneration is an encoder-decoder"):
        adapted_modules(make_tiny("t5gemma"), modules)


@pytest.mark.parametrize("modules", MODULES)
def test_a_model_with_several_stacks_of_blocks_is_refused(modules):
    with pytest.raises(InputError) as caught:
        adapted_modules(make_tiny("blt"), modules)
    message = str(caught.value)
    assert "In BltForCausalLM text runs through several stacks of blocks" in message
    for stack in ("global_transformer", "local_decoder", "patcher"):
        assert f"model.{stack}" in message
    assert "\n" not in message


def test_what_is_left_out_of_a_vision_language_model_is_said(tiny_llava, tiny_llama):
    said = []
    with adapt(tiny_llava, progress=lambda text, share: said.append(text)) as adapter:
        assert len(adapter.left_out) == 2 * 6  # q, k, v, out, fc1 and fc2 of two layers
        assert all(name.startswith("model.vision_tower.") for name in adapter.left_out)
    assert said[0].startswith("left as they are: 12 matrices such as model.vision_tower.")
    assert left_out(tiny_llama) == ()


def test_a_mixture_of_experts_is_adapted_in_its_attention_alone():
    model = make_tiny("mixtral")
    names = matrix_names("llama", "attention")
    assert set(adapted_modules(model, "attention")) == names
    with adapt(model, "attention") as adapter:
        assert adapter.modules == "attention"
        scales = random_scales(model, names, seed=1)
        wanted = logits(rewritten(model, scales), IDS)
        with adapter.applied(scales):
            found = logits(model, IDS)
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=1e-3)
    for modules in ("all", "mlp"):
        with pytest.raises(
            InputError, match=r"no mlp matrices .*MixtralExperts\(2, 96, 32\)"
        ) as no:
            adapted_modules(model, modules)
        assert ("Choose modules 'attention'" in str(no.value)) == (modules == "all")


def test_experts_that_are_fused_beside_known_matrices_are_not_left_as_they_are():
    """All names are known, and a parameter beside them holds several matrices."""
    model = make_tiny("llama")
    model.model.layers[1].mlp.experts = nn.Module()
    model.model.layers[1].mlp.experts.down_proj = nn.Parameter(torch.ones(2, 3, 4))
    with pytest.raises(InputError, match="does not know, model.layers.1.mlp.experts.down_proj"):
        adapted_modules(model)
    assert len(adapted_modules(model, "attention")) == 8


def test_the_other_half_may_be_of_any_kind(tiny_llama):
    for half, other in (("attention", "mlp"), ("mlp", "self_attn")):
        model = make_tiny("llama")
        block = model.model.layers[0]
        setattr(block, other, nn.Sequential(nn.Linear(32, 32)))
        assert set(adapted_modules(model, half)) == matrix_names("llama", half)
        with pytest.raises(InputError):
            adapted_modules(model)


# --- what is no float matrix ---------------------------------------------------------------------


class Packed(nn.Module):
    """As GPTQ, AWQ and HQQ layers: no weight, the numbers are in buffers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("qweight", torch.zeros(4, 32, dtype=torch.int32))


class Tagged(nn.Parameter):
    """As bitsandbytes and torchao: a parameter of another class that says it is of floats."""


def quantised(kind: str) -> nn.Module:
    if kind == "dynamic":
        return torch.ao.nn.quantized.dynamic.Linear(32, 48)
    module = nn.Linear(32, 48, bias=False)
    if kind == "packed":
        return Packed()
    if kind == "4 bit":
        module.weight = nn.Parameter(torch.zeros(768, 1, dtype=torch.uint8), requires_grad=False)
    if kind == "float8":
        weight = module.weight.detach().to(torch.float8_e4m3fn)
        module.weight = nn.Parameter(weight, requires_grad=False)
    if kind == "tagged":
        module.weight = Tagged(module.weight.detach())
    return module


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("packed", "is a Packed without a weight matrix"),
        ("4 bit", "dtype torch.uint8"),
        ("float8", "dtype torch.float8_e4m3fn"),
        ("tagged", "weight of the form Tagged"),
        ("dynamic", "is a Linear without a weight matrix"),
    ],
)
def test_quantised_matrices_are_one_clear_line(kind, what):
    model = make_tiny("llama")
    model.model.layers[0].mlp.up_proj = quantised(kind)
    with pytest.raises(InputError, match=f"^{NAME} .*{what}.*without quantisation") as caught:
        adapt(model)
    assert "\n" not in str(caught.value)
    assert attached(model) is None


def test_offloaded_weights_are_one_clear_line():
    model = make_tiny("llama")
    model.model.layers[1].self_attn.q_proj.to("meta")
    with pytest.raises(InputError, match=r"layers.1.self_attn.q_proj is not in memory .*offloaded"):
        adapt(model)
    assert attached(model) is None


def test_weights_that_accelerate_offloads_are_one_clear_line(tmp_path):
    from accelerate import cpu_offload

    model = make_tiny("qwen2")
    cpu_offload(model, torch.device("cpu"))
    with pytest.raises(InputError, match="is not in memory"):
        adapt(model)


@pytest.mark.parametrize("what", ["smollm2-135m-instruct", None, 7, ("model", "tokenizer")])
def test_what_is_no_model_is_one_clear_line(what, tiny_tokenizer, tmp_path):
    shown = repr(what) if what is None or isinstance(what, str) else f"a {type(what).__name__}"
    for call in (
        lambda: adapt(what),
        lambda: attached(what),
        lambda: adapted_modules(what),
        lambda: adapted(what).__enter__(),
        lambda: two_pass_infer(what, tiny_tokenizer, "Hi", {}),
        lambda: generate(what, tiny_tokenizer, [], None),
        lambda: few_shot_adapt(what, tiny_tokenizer, [], {}),
        lambda: next(train_svf(what, None, folder=tmp_path, name="x")),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value).startswith(f"The model is {shown}; expected a loaded model")


# --- what is wrapped around a model --------------------------------------------------------------


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


def with_compiled_part(model: nn.Module) -> nn.Module:
    inner = model.base_model_prefix
    setattr(model, inner, torch.compile(getattr(model, inner), backend="eager"))
    return model


def with_lora(model: nn.Module) -> nn.Module:
    linear = {"gpt2": ["c_attn", "c_proj"], "phi3": ["qkv_proj", "down_proj"]}
    targets = linear.get(model.config.model_type, ["q_proj", "v_proj", "down_proj"])
    fans = {"fan_in_fan_out": True} if model.config.model_type == "gpt2" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM", **fans)
        config.init_lora_weights = False  # so that the update is not zero
        return get_peft_model(model, config).eval()


def nested(model: nn.Module) -> nn.Module:
    return compiled(with_lora(model))


WRAPPERS = (compiled, with_compiled_part, with_lora, nested, nn.DataParallel)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi3", "llava"])
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_names_are_the_models_own_whatever_is_around_it(architecture, wrap):
    model = make_tiny(architecture)
    own = {name: module.weight for name, module in adapted_modules(model).items()}
    found = adapted_modules(wrap(model))
    assert set(found) == set(own)
    assert all(found[name].weight is own[name] for name in own)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_bare_backbone_has_the_names_of_the_whole_model(architecture, request):
    model = request.getfixturevalue(f"tiny_{architecture}")
    for modules in MODULES:
        found = adapted_modules(model.base_model, modules)
        assert set(found) == matrix_names(architecture, modules)


def hidden_states(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor(IDS), use_cache=False).last_hidden_state


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3"])
def test_an_expert_of_the_whole_model_fits_its_bare_backbone(architecture):
    model = make_tiny(architecture)
    with adapt(model) as adapter:
        scales = random_scales(model, adapter.names, seed=1)
        expert = Expert("e", scales, fingerprint=adapter.fingerprint)
    wanted = hidden_states(rewritten(model, scales).base_model)
    with adapt(model.base_model) as adapter:
        adapter.check(expert)
        assert not adapter.is_transfer(expert)
        with adapter.applied(expert.scales):
            found = hidden_states(model.base_model)
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=1e-3)


def merged_by_peft(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).merge_and_unload()


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "phi3"])
@pytest.mark.parametrize("mode", ["factored", "merged", "rows"])
def test_a_lora_stays_beside_the_adapted_matrices(architecture, mode):
    """W′ + BA, which is what the rewritten base with the same LoRA computes."""
    model = with_lora(make_tiny(architecture))
    base = logits(model, IDS)
    assert (logits(merged_by_peft(model), IDS) - base).abs().max() < 1e-3
    with adapt(model) as adapter:
        random = torch.Generator().manual_seed(1)
        scales = {
            name: 1 + 0.5 * torch.randn(factors.S.shape, generator=random)
            for name, factors in adapter.factors.items()
        }
        other = copy.deepcopy(model)
        for module in other.modules():
            vars(module).pop("forward", None)
        for name, module in adapted_modules(other).items():
            module.weight.data.copy_(new_weight(module, scales[name]))
        wanted = logits(merged_by_peft(other), IDS)
        assert (wanted - base).abs().max() > 0.05
        inside = adapter.rows([scales] * 3) if mode == "rows" else adapter.applied(scales, mode)
        with inside:
            torch.testing.assert_close(logits(model, IDS), wanted, atol=5e-3, rtol=1e-3)
        assert torch.equal(logits(model, IDS), base)
    assert torch.equal(logits(model, IDS), base)


@pytest.mark.parametrize(
    "wrap", [pytest.param(compiled, marks=pytest.mark.slow), with_compiled_part]
)
def test_a_compiled_model_answers_as_the_plain_one(wrap):
    model = make_tiny("llama")
    with adapt(copy.deepcopy(model)) as adapter:
        experts = [random_scales(adapter.model, adapter.names, seed) for seed in (1, 2)]
    rewrites = [logits(rewritten(model, scales), IDS) for scales in experts]
    base = logits(model, IDS)
    around = wrap(model)
    with adapt(around) as adapter:
        for _ in range(2):
            for scales, wanted in zip(experts, rewrites, strict=True):
                for mode in ("merged", "factored"):
                    with adapter.applied(scales, mode):
                        found = logits(around, IDS)
                    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=1e-3)
                    torch.testing.assert_close(logits(around, IDS), base)
        with adapter.rows([experts[0], None, experts[1]]):
            found = logits(around, IDS)
    for row, wanted in enumerate((rewrites[0], base, rewrites[1])):
        torch.testing.assert_close(found[row], wanted[row], atol=2e-3, rtol=1e-3)
