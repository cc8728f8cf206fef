"""Directions of the residual stream in tokens: what one promotes, and which tokens lie along one.

A direction is written into the stream, or read from it, behind norms. Their weights are part of
what is computed here; their division by the size of the whole stream is not, since a direction
alone has none: it is taken at the size that a norm gives (a root mean square of 1). Everything but
the norms and the head is left out: what later blocks make of a direction is not looked at.

Knows a model's embedding, norms and head; nothing of matrices, experts or scales.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from t2ui.wrapped_models import input_embedding, name_inside, unwrapped

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Names of a block's norms: before attention, before the MLP, behind attention, behind the MLP.
_KNOWN = (
    ("input_layernorm", "post_attention_layernorm", None, None),  # Llama, Qwen, Mistral, Phi
    (
        "input_layernorm",
        "pre_feedforward_layernorm",
        "post_attention_layernorm",
        "post_feedforward_layernorm",
    ),  # Gemma 2 and 3
    ("ln_1", "ln_2", None, None),  # GPT-2
)
_LAST = ("norm", "ln_f", "final_layernorm")  # names of the norm before the head
TOKENS_AT_ONCE = 8192
RANDOM = 100  # directions that a real one is compared with
BEATEN = 0.95  # the share of them that `chance` is above


@dataclass(frozen=True)
class Norms:
    """The norms between one half of a block and the residual stream, and the last one."""

    before: nn.Module  # what the half reads has gone through it
    behind: nn.Module | None  # what the half writes goes through it, where there is one
    last: nn.Module  # before the head


def norms_around(model: "PreTrainedModel", matrix: str, kind: str) -> Norms | None:
    """Those of the block that holds the matrix of this full name; None where the block has others
    than are known here, so that what they do to a direction is not known either.

    Args:
        kind: of the half, "attention" or "mlp".
    """
    named = {name_inside(name): module for name, module in unwrapped(model).named_modules()}
    block_name = matrix.rsplit(".", 2)[0]  # without the half and the matrix
    backbone = named.get(block_name.rsplit(".", 2)[0])
    block = dict(named[block_name].named_children()) if block_name in named else {}
    norms = {name for name, module in block.items() if "norm" in type(module).__name__.lower()}
    last = next((m for m in (getattr(backbone, name, None) for name in _LAST) if m), None)
    for row in _KNOWN:
        if last is not None and norms == {name for name in row if name}:
            before, behind = (row[0], row[2]) if kind == "attention" else (row[1], row[3])
            return Norms(block[str(before)], block[behind] if behind else None, last)
    return None


def promoted(
    model: "PreTrainedModel",
    norms: Norms,
    directions: Tensor,  # (n, hidden size)
    tokens: int,
) -> Tensor:  # (n, tokens) float32, CPU
    """What a direction that is written adds to the logits of the first so many tokens, beside the
    mean over them: it goes through the norm behind its half, if there is one, the last norm and
    the head alone."""
    head = model.get_output_embeddings()
    with torch.inference_mode():
        for norm in (norms.behind, norms.last):
            if norm is not None:
                directions = _through(norm, directions)
        weight = next(head.parameters())
        inside = directions.to(weight.device, weight.dtype)
        nothing = torch.zeros_like(inside[:1])
        logits = (head(inside) - head(nothing))[:, :tokens].float()  # without the head's bias
        return (logits - logits.mean(1, keepdim=True)).cpu()


def aligned(
    model: "PreTrainedModel",
    norms: Norms,
    directions: Tensor,  # (n, hidden size)
    tokens: int,
) -> Tensor:  # (n, tokens) float32, CPU
    """The cosine between a direction that is read and each of the first so many tokens' own
    embedding, behind the norm before the half: what would be read if the stream still held nothing
    but the token. Exact in the first block; further up the stream holds more than that."""
    embedding = input_embedding(model)
    found = []
    with torch.inference_mode():
        unit = _unit(directions.float())
        for first in range(0, tokens, TOKENS_AT_ONCE):
            ids = torch.arange(first, min(first + TOKENS_AT_ONCE, tokens), device=model.device)
            seen = _unit(norms.before(embedding(ids)).float())
            found.append((unit.to(seen.device) @ seen.T).cpu())
    return torch.cat(found, dim=1)


def random_directions(like: Tensor) -> Tensor:  # (n, hidden size) -> (RANDOM, hidden size)
    """Directions without a meaning, the same ones every time: the best token of a real one has to
    lie further along it than theirs."""
    random = torch.Generator().manual_seed(0)
    return torch.randn(RANDOM, like.shape[1], generator=random).to(like)


def chance(scores: Tensor) -> float:  # (RANDOM, tokens)
    """What the best token of 95 of 100 random directions stays below."""
    return float(scores.max(dim=1).values.quantile(BEATEN))


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _through(norm: nn.Module, directions: Tensor) -> Tensor:
    """Behind a norm, taken at a root mean square of 1 and without the norm's bias; float32."""
    weight = next(norm.parameters())
    rows = _unit(directions.float()) * directions.shape[1] ** 0.5
    rows = rows.to(weight.device, weight.dtype)
    return (norm(rows) - norm(torch.zeros_like(rows[:1]))).float()
