"""Which matrices of a model are adapted: found by their names, whatever is wrapped around them.

Knows torch modules, nothing of transformers, experts or text. What SVF would adapt in part only is
refused: half a model that is adapted answers, but as nobody meant.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from t2ui.errors import InputError
from t2ui.svf.decomposition import kind_of
from t2ui.wrapped_models import input_embedding, name_inside, unwrapped

MODULES = ("all", "attention", "mlp")
FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_IN_BLOCK = re.compile(r"(?:^|\.)(?:layers|h)\.\d+\.(\w+)")
_UPDATES = ".lora_"  # in the names of what peft adds to a matrix: no part of the model's own
LISTED = 12


def check_model(model: Any) -> nn.Module:
    """Return what is a model.

    Raises:
        InputError: a name, nothing, or anything else that is no torch module.
    """
    if isinstance(model, nn.Module):
        return model
    is_word = model is None or isinstance(model, str)
    shown = repr(model)[:60] if is_word else f"a {type(model).__name__}"
    raise InputError(
        f"The model is {shown}; expected a loaded model: model, tokenizer = load_model(name)."
    )


def adapted_modules(model: nn.Module, modules: str = "all") -> dict[str, nn.Module]:
    """The attention and MLP matrices of a model's language backbone, by full module name.

    The backbone is what holds the input embedding, so the vision tower of a vision-language model
    is left out whatever it is called (`left_out` lists it). Names are those in the causal language
    model itself, so that they match an expert's: without what `torch.compile` or peft put before
    and behind them, and with what a bare backbone (`AutoModel`) lacks. LoRA updates stay as they
    are beside the adapted matrix.

    Args:
        model: a causal language model, or a vision-language model around one.
        modules: "mlp", "attention" or "all". The other half is not looked at.

    Raises:
        InputError: no model, an unknown choice, a model without such matrices or with others
            beside them (lists what was found), with several stacks of blocks, or quantised.
    """
    if modules not in MODULES:
        raise InputError(f"modules is {modules!r}; expected one of {', '.join(MODULES)}.")
    core = unwrapped(check_model(model))
    named = _named(core)
    prefix = _backbone_prefix(core, named)
    _check_one_stack(core, _outside(named, prefix))
    inside = {n: m for n, m in named.items() if n.startswith(prefix)}
    wanted = ("attention", "mlp") if modules == "all" else (modules,)
    chosen = {n: m for n, m in inside.items() if kind_of(n) in wanted}
    missing = [kind for kind in wanted if kind not in map(kind_of, chosen)]
    strange: dict[str, str] = {}
    for half, name in _strange(inside):
        strange.setdefault(half, name)
    for half in wanted:
        if half in missing or half in strange:
            problem = f"no {' and no '.join(missing)} matrices that SVF knows how to adapt"
            if not missing:
                problem = f"a matrix that SVF does not know, {strange[half]}"
            raise InputError(_unknown(core, inside, problem, set(wanted) - {*strange, *missing}))
    for name, module in chosen.items():
        _check_weight(name, module)
    return chosen


def left_out(model: nn.Module) -> tuple[str, ...]:
    """Full names of the matrices in blocks outside the language backbone, a vision tower's say:
    they stay as they are."""
    core = unwrapped(check_model(model))
    named = _named(core)
    return tuple(_outside(named, _backbone_prefix(core, named)))


def _named(core: nn.Module) -> dict[str, nn.Module]:
    """Modules by their names in the causal language model. Of a matrix that peft wraps, its own
    module (`base_layer`), which comes behind the wrapper."""
    # A bare backbone is its own base model: in a causal model it has the name of `prefix`.
    prefix = getattr(core, "base_model_prefix", "")
    is_bare = prefix and getattr(core, "base_model", None) is core
    start = f"{prefix}." if is_bare else ""
    return {start + name_inside(name): m for name, m in core.named_modules() if name}


def _backbone_prefix(core: nn.Module, named: Mapping[str, nn.Module]) -> str:
    """Name prefix, with its dot, of the module that holds the input embedding."""
    embedding = input_embedding(core)
    for name, module in named.items():
        if module is embedding and embedding is not None:
            return name.rpartition(".")[0] + "." if "." in name else ""
    raise InputError(
        f"{type(core).__name__} has no input embedding: a causal language model is expected."
    )


def _check_one_stack(core: nn.Module, outside: Sequence[str]) -> None:
    """Refuse models in which text runs through blocks outside the backbone too."""
    name, config = type(core).__name__, getattr(core, "config", None)
    expected = "a causal language model with one stack of blocks (Llama, Mistral, Qwen, Gemma …)"
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"{name} is an encoder-decoder model, and SVF would adapt one half of it only: use "
            f"{expected}."
        )
    get = getattr(config, "get_text_config", None)
    if callable(get) and get() is not config:
        return  # text is one of several kinds of input: the other blocks are for the others
    stacks = dict.fromkeys(_IN_BLOCK.split(matrix)[0] for matrix in outside)
    if stacks:
        raise InputError(
            f"In {name} text runs through several stacks of blocks, and SVF would adapt only the "
            f"one behind the input embedding, not {', '.join([*stacks][:LISTED])}: use {expected}."
        )


def _outside(named: Mapping[str, nn.Module], prefix: str) -> list[str]:
    return [name for name in _block_matrices(named) if not name.startswith(prefix)]


def _block_matrices(named: Mapping[str, nn.Module]) -> Iterator[str]:
    """Names of modules in blocks that hold a matrix of their own."""
    for name, module in named.items():
        if _IN_BLOCK.search(name) and _UPDATES not in name and any(_matrices(module)):
            yield name


def _matrices(module: nn.Module) -> Iterator[str]:
    """Names of a module's own parameters that are matrices, or several in one (fused experts)."""
    return (n for n, p in module.named_parameters(recurse=False) if p.ndim >= 2)


def _strange(inside: Mapping[str, nn.Module]) -> Iterator[tuple[str, str]]:
    """(half, name) of every matrix in a block that SVF does not know: a part of an attention or
    MLP that would stay as it is."""
    for name in _block_matrices(inside):
        for parameter in _matrices(inside[name]):
            if kind_of(name) is None or parameter != "weight":
                yield _half(name), name if parameter == "weight" else f"{name}.{parameter}"


def _half(name: str) -> str:
    """The half of its block that a matrix is in; whatever is no attention counts as MLP."""
    found = _IN_BLOCK.search(name)
    part = found[1] if found else ""
    return "attention" if "attn" in part or "attention" in part else "mlp"


def _unknown(
    core: nn.Module, inside: Mapping[str, nn.Module], problem: str, known: set[str]
) -> str:
    shapes = (
        (n, type(m).__name__, tuple(m.get_parameter(p).shape))
        for n, m in inside.items()
        for p in _matrices(m)
    )
    seen = Counter(f"{'.'.join(n.split('.')[-2:])} {kind}{shape}" for n, kind, shape in shapes)
    listing = "; ".join(f"{count}× {what}" for what, count in seen.most_common(LISTED))
    remedy = f" Choose modules {known.pop()!r} to adapt that half alone." if known else ""
    return (
        f"{type(core).__name__} has {problem}. Found: {listing or 'no matrices at all'}. "
        "Expected blocks named layers.N or h.N with self_attn or attn, and mlp, and nothing "
        f"else in them.{remedy}"
    )


def _check_weight(name: str, module: nn.Module) -> None:
    """Refuse weights that are no plain matrix of floats."""
    weight = getattr(module, "weight", None)
    plain = "load the model without quantisation, whole on one device."
    if not isinstance(weight, Tensor):
        raise InputError(
            f"{name} is a {type(module).__name__} without a weight matrix; SVF needs a float "
            f"matrix: {plain}"
        )
    if weight.ndim != 2 or weight.dtype not in FLOATS:
        raise InputError(
            f"{name} has a weight of dtype {weight.dtype} and shape {tuple(weight.shape)}; SVF "
            f"needs a float matrix: {plain}"
        )
    if type(weight) not in (Tensor, nn.Parameter):
        raise InputError(
            f"{name} has a weight of the form {type(weight).__name__}, quantised or spread over "
            f"devices; SVF needs a float matrix: {plain}"
        )


def check_in_memory(name: str, weight: Tensor) -> None:
    """Refuse a weight that is elsewhere until it is used.

    Raises:
        InputError: it is on torch's meta device.
    """
    if weight.is_meta:
        raise InputError(
            f"{name} is not in memory (device meta): it is offloaded, or the model has no weights. "
            "Load the whole model on one device, without device_map or offloading."
        )
