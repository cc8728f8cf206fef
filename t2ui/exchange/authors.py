"""Experts of the paper's authors (SakanaAI/self-adaptive-llms), whose files hold p.

Their weights are W′ = U diag(σ ⊙ s) Vᵀ · Σσ / Σ(σ ⊙ s) with s = sigmoid(p), so the paper's z is
s · Σσ / Σ(σ ⊙ s). A factor on all s (`max_mult`) cancels out. `policy_params*.pt` numbers the
matrices, `learnable_params*.pt` names them.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2ui.errors import InputError, quoted
from t2ui.exchange.base_model import Base
from t2ui.svf.decomposition import kind_of
from t2ui.svf.expert_limits import check_file

SUFFIXES = (".pt", ".pth")
_NUMBERED = re.compile(r"(?:^|\.)learnable_params_module_list\.(\d+)$")


def read_parameters(path: Path) -> dict[str, Tensor]:
    """What such a file holds, by its own keys. Read as tensors only, so that nothing in it is run.

    Raises:
        InputError: no such file, no pickled dict of tensors, or one that holds anything else.
    """
    check_file(path)
    try:
        said = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged or a hostile file raises in the reader
        raise InputError(
            f"{path.name} is not a file of tensors that can be read safely "
            f"({type(error).__name__}): expected the authors' policy_params*.pt or "
            "learnable_params*.pt."
        ) from None
    if not isinstance(said, Mapping) or not said:
        raise InputError(
            f"{path.name} holds a {type(said).__name__}; expected tensors by name, as the "
            "authors' policy_params*.pt and learnable_params*.pt hold them."
        )
    wrong = [key for key, value in said.items() if not isinstance(value, Tensor)]
    if wrong or not all(isinstance(key, str) for key in said):
        raise InputError(f"{path.name}: {quoted((wrong or list(said))[0])} is no named tensor.")
    return {key: value.detach() for key, value in said.items()}


def scales_of(base: Base, parameters: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """z by full module name, from p.

    Args:
        what: the file, for messages.

    Raises:
        InputError: keys that mean nothing here, or shapes that are not this model's.
    """
    named = _by_name(base, parameters, what)
    scales = {}
    for name, p in named.items():
        rank = min(base.matrices[name].shape)
        if tuple(p.shape) != (rank,) or not p.dtype.is_floating_point:
            raise InputError(
                f"{what}: {name} has {p.dtype} of shape {tuple(p.shape)}; {base.name} has {rank} "
                "singular values there: choose the base model that the file was made for."
            )
        s = torch.sigmoid(p).float()  # in p's own dtype, as the authors do
        sigma = base.factors(name).S.cpu()
        scales[name] = s * (sigma.sum() / (sigma * s).sum())
    return scales


def _by_name(base: Base, parameters: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    numbered = {int(m[1]): k for k in parameters if (m := _NUMBERED.search(k))}
    if not numbered:
        named = {key.removesuffix(".weight"): p for key, p in parameters.items()}
        unknown = [name for name in named if name not in base.matrices]
        if unknown:
            raise InputError(
                f"{what}: {quoted(unknown[0])} is no attention or MLP matrix of {base.name}: "
                "choose the base model that the file was made for."
            )
        return named
    if len(numbered) < len(parameters) or sorted(numbered) != list(range(len(numbered))):
        others = [key for key in parameters if key not in numbered.values()]
        found = quoted(others[0]) if others else f"the numbers {quoted(sorted(numbered)[:20])}"
        raise InputError(
            f"{what} holds {found}; expected learnable_params_module_list.0, .1 … and no more."
        )
    ordered = [name for name in _state_order(base) if name in base.matrices]
    mlp = [name for name in ordered if kind_of(name) == "mlp"]
    chosen = next((c for c in (mlp, ordered) if len(c) == len(numbered)), None)
    if chosen is None:
        raise InputError(
            f"{what} holds {len(numbered)} vectors; {base.name} has {len(mlp)} MLP matrices (and "
            f"{len(ordered)} with attention's): choose the base model that the file was made for."
        )
    return {name: parameters[numbered[place]] for place, name in enumerate(chosen)}


def _state_order(base: Base) -> list[str]:
    """Names of modules with weights in the order of the model's state dict, by which the authors
    number them."""
    model: Any = base.empty
    return [n.removesuffix(".weight") for n, _ in model.named_parameters() if n.endswith(".weight")]
