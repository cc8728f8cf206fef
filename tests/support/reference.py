"""What the library is compared with: plain transformers models with W′ written into them.

Nothing here uses t2ui, so an error in the library cannot hide in what it is compared with.
"""

import copy

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

LLAMA_PARTS = {
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
}
PHI3_PARTS = {
    "self_attn.qkv_proj",
    "self_attn.o_proj",
    "mlp.gate_up_proj",
    "mlp.down_proj",
}
GPT2_PARTS = {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"}
PARTS = {"phi3": ("model.layers", PHI3_PARTS), "gpt2": ("transformer.h", GPT2_PARTS)}
PARTS["llava"] = ("model.language_model.layers", LLAMA_PARTS)


def matrix_names(architecture: str, modules: str = "all") -> set[str]:
    """Full names of the matrices of a tiny model (2 layers), written out by hand."""
    prefix, parts = PARTS.get(architecture, ("model.layers", LLAMA_PARTS))
    wanted = {p for p in parts if modules == "all" or p.startswith("mlp.") == (modules == "mlp")}
    return {f"{prefix}.{layer}.{part}" for layer in (0, 1) for part in wanted}


def matrix(module: nn.Module) -> Tensor:
    """W (out, in) of a Linear or a Conv1D, a view."""
    return module.weight.data.T if isinstance(module, Conv1D) else module.weight.data


def random_scales(model: nn.Module, names, seed: int, spread: float = 0.5) -> dict[str, Tensor]:
    """z = 1 ± spread for each named matrix, float32 (r,)."""
    random = torch.Generator().manual_seed(seed)
    ranks = {n: min(model.get_submodule(n).weight.shape) for n in sorted(names)}
    return {n: 1 + spread * torch.randn(r, generator=random) for n, r in ranks.items()}


def rewritten(model: nn.Module, scales: dict[str, Tensor]) -> nn.Module:
    """A deep copy whose weights are U diag(S ⊙ z) Vh, computed in float64. Biases stay."""
    other = copy.deepcopy(model)
    for module in other.modules():
        vars(module).pop("forward", None)  # where the model is adapted, the copy is not
    for name, z in scales.items():
        module = other.get_submodule(name)
        module.weight.data.copy_(new_weight(module, z.detach()))
    return other


def new_weight(module: nn.Module, z: Tensor) -> Tensor:
    """U diag(S ⊙ z) Vh as the module stores it, computed in float64; differentiable in z."""
    U, S, Vh = torch.linalg.svd(matrix(module).double(), full_matrices=False)
    weight = ((U * (S * z.double())) @ Vh).to(module.weight.dtype)
    return weight.T if isinstance(module, Conv1D) else weight


def prompt_ids(length: int, seed: int = 0) -> list[int]:
    """Random tokens of the tiny tokenizer, none of them special."""
    random = torch.Generator().manual_seed(1000 * seed + length)
    return torch.randint(4, 260, (length,), generator=random).tolist()


@torch.no_grad()
def logits(model: nn.Module, ids) -> Tensor:
    """(T, V) of one prompt, or (B, T, V) of several of one length, by a plain forward pass."""
    rows = torch.tensor(ids)
    found = model(input_ids=rows if rows.ndim == 2 else rows[None], use_cache=False).logits
    return found if rows.ndim == 2 else found[0]


def log_likelihood(model: nn.Module, prompt, option) -> Tensor:
    """Σ_t log π(o_t | prompt, o_<t) by a plain forward pass over prompt and option; ()."""
    found = logits(model, [*prompt, *option]).log_softmax(-1)
    start = len(prompt) - 1
    return sum(found[start + t, token] for t, token in enumerate(option))


@torch.no_grad()
def greedy(model: nn.Module, ids, count: int, **settings) -> list[int]:
    """What transformers.generate decodes greedily after a prompt."""
    found = model.generate(
        input_ids=torch.tensor([list(ids)]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
        **settings,
    )
    return found[0, len(ids) :].tolist()
