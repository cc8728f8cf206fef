"""A mixture as a LoRA in peft's format, for servers that know only that.

A LoRA of rank R is the best that R directions can do: the R largest singular values of the change
W′ − W of each matrix, and what they leave out is said.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2ui.checks import Alpha
from t2ui.config import hub_name
from t2ui.errors import InputError
from t2ui.exchange.base_model import Base, Progress, Source, base_of
from t2ui.exchange.merged import changing, mixture_record, scales_for
from t2ui.exchange.model_folder import card, check_empty, new_folder
from t2ui.exchange.tensor_files import TensorInfo, write_file
from t2ui.svf.decomposition import Factors, leaf_of
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # peft's names
PREFIX = "base_model.model."  # before a module's name in peft's files
ENOUGH = 0.9  # a share of the change below which people are warned


@dataclass(frozen=True)
class Captured:
    """What a LoRA keeps of the change of one matrix."""

    name: str
    share: float  # Σ of the R largest squared singular values of W′ − W / Σ of all
    change: float  # ‖W′ − W‖, Frobenius


@dataclass(frozen=True)
class SavedLora:
    """What `save_lora` wrote."""

    folder: Path
    rank: int
    share: float  # as of one matrix, over all of them
    matrices: tuple[Captured, ...]
    bytes: int
    notes: tuple[str, ...] = ()


def best_update(factors: Factors, z: Tensor, rank: int) -> tuple[Tensor, Tensor, float, float]:
    """The nearest matrix of rank R to W′ − W = U diag(S ⊙ (z − 1)) Vh, in two thin ones.

    U's columns and Vh's rows are orthonormal, so the change's singular values are |S ⊙ (z − 1)|:
    no second decomposition is needed.

    Returns:
        B (out, R) and A (R, in) in float32 with B A the nearest; ‖B A‖² and ‖W′ − W‖².
    """
    U, S, Vh = factors
    values = (S * (z.to(S.device) - 1)).double()
    kept = strongest(S, z, rank)
    root = values[kept].abs().sqrt()
    B = U[:, kept].double() * (root * values[kept].sign())
    A = Vh[kept].double() * root.unsqueeze(1)
    squares = values.square()
    return B.float(), A.float(), float(squares[kept].sum()), float(squares.sum())


def strongest(S: Tensor, z: Tensor, rank: int) -> Tensor:
    """Places of the R singular values that z changes most, by |S ⊙ (z − 1)|; (R,) whole numbers."""
    changes = (S * (z.to(S.device) - 1)).abs()
    return changes.argsort(descending=True, stable=True)[:rank]


def at_rank(S: Tensor, z: Tensor, rank: int) -> Tensor:
    """The scales that do what the best LoRA of this rank does: z in the R strongest places, 1 in
    the others; (r,) float32."""
    kept = strongest(S, z, rank).to(z.device)
    return torch.ones_like(z).index_copy(0, kept, z[kept])


def save_lora(
    model: Source,
    experts: Mapping[str, Expert],
    mixture: Mixture | Mapping[str, Alpha],
    folder: str | Path,
    rank: int,
    *,
    allow_transfer: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> SavedLora:
    """Write the best LoRA of this rank as peft writes it, float32, whole or not at all.

    Args:
        model, experts, mixture, allow_transfer, device, progress: see `save_merged`.
        folder: a new or an empty one.
        rank: R, of every matrix.

    Raises:
        InputError: what `save_merged` raises, or a rank that is below 1 or above a matrix's.
    """
    folder = Path(folder)
    check_empty(folder)
    if rank < 1:
        raise InputError(f"The rank is {rank}; expected a whole number from 1 on, e.g. 16.")
    mixture = mixture if isinstance(mixture, Mixture) else Mixture(mixture)
    with base_of(model, None, device, progress) as base:
        scales, notes = scales_for(base, experts, mixture, allow_transfer)
        changed = changing(scales)
        if not changed:
            raise InputError("The mixture changes no matrix: there is nothing to export.")
        _check_rank(rank, base, changed)
        tensors: dict[str, Tensor] = {}
        matrices, kept, whole = [], 0.0, 0.0
        for done, name in enumerate(n for n in base.matrices if n in changed):
            if progress:
                progress(f"reducing {name}", done / len(changed))
            B, A, captured, total = best_update(base.factors(name), changed[name], rank)
            tensors[f"{PREFIX}{name}.lora_A.weight"] = A.cpu().contiguous()
            tensors[f"{PREFIX}{name}.lora_B.weight"] = B.cpu().contiguous()
            matrices.append(Captured(name, captured / total if total else 1.0, total**0.5))
            kept, whole = kept + captured, whole + total
        share = kept / whole if whole else 1.0
        with new_folder(folder) as beside:
            infos = [TensorInfo(n, tuple(t.shape), t.dtype) for n, t in tensors.items()]
            write_file(beside / WEIGHTS, infos, tensors.__getitem__)
            config = json.dumps(_config(base, list(changed), rank), indent=2)
            (beside / CONFIG).write_text(config + "\n", encoding="utf-8")
            text = _card(base, experts, mixture, rank, share)
            (beside / "README.md").write_text(text, encoding="utf-8")
    if share < ENOUGH:
        notes.append(
            f"a LoRA of rank {rank} holds {share:.1%} of the change: what it answers may be far "
            "from the mixture; choose a larger --rank, or export merged"
        )
    size = (folder / WEIGHTS).stat().st_size
    return SavedLora(folder, rank, share, tuple(matrices), size, tuple(notes))


def _check_rank(rank: int, base: Base, names: Mapping[str, Any]) -> None:
    smallest = min(names, key=lambda name: min(base.matrices[name].shape))
    most = min(base.matrices[smallest].shape)
    if rank > most:
        raise InputError(
            f"The rank is {rank}, and {smallest} has rank {most}: choose at most {most}."
        )


def _config(base: Base, changed: list[str], rank: int) -> dict[str, Any]:
    transposed = {base.matrices[name].transposed for name in changed}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": hub_name(base.name),
        "r": rank,
        "lora_alpha": rank,  # so that the update is B A itself
        "lora_dropout": 0.0,
        "target_modules": _targets(base, changed),
        "fan_in_fan_out": transposed == {True},
        "bias": "none",
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "rank_pattern": {},
        "alpha_pattern": {},
    }


def _targets(base: Base, changed: list[str]) -> list[str]:
    """Matrices' own names (`q_proj`), which every server takes, where these mean just the changed
    ones; otherwise full names."""
    leaves = {leaf_of(name) for name in changed}
    meant = {n for n, _ in base.empty.named_modules() if n and leaf_of(n) in leaves}
    return sorted(leaves) if meant == set(changed) else sorted(changed)


def _card(
    base: Base, experts: Mapping[str, Expert], mixture: Mixture, rank: int, share: float
) -> str:
    head = {"library_name": "peft", "tags": "[lora, transformer-squared, svf]"}
    lines = [
        f"# {base.name}: a mixture of SVF experts as a LoRA of rank {rank}",
        "",
        "The best approximation of this rank of the change that the experts make, W′ − W, matrix "
        f"by matrix. It holds {share:.1%} of the change (of its squared Frobenius norm). Written "
        "by `t2ui export lora`.",
    ]
    return card(base.name, head, lines, mixture_record(experts, mixture))
