"""Singular value decompositions of a model's attention and MLP matrices, cached on disk.

Knows matrices and their names, nothing about transformers, experts or text. Every matrix is seen as
W of shape (out, in), whatever way its module stores it.
"""

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from t2ui.config import default_cache_dir
from t2ui.errors import InputError, quoted
from t2ui.files import writing

Progress = Callable[[str, float | None], None]

# Parent module name -> (kind, names of the matrices in it). c_proj is in both halves of a GPT-2
# block, so a matrix is known by its parent and its own name together.
_BLOCK_PARTS = {
    "self_attn": ("attention", {"q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"}),
    "attn": ("attention", {"c_attn", "c_proj"}),
    "mlp": ("mlp", {"gate_proj", "up_proj", "down_proj", "gate_up_proj", "c_fc", "c_proj"}),
}
_NAME = re.compile(r"(?:^|\.)(?:layers|h)\.(\d+)\.(\w+)\.(\w+)$")


class Factors(NamedTuple):
    """W = U diag(S) Vh, r = min(out, in). U and Vh in the weight's dtype, S always float32."""

    U: Tensor  # (out, r)
    S: Tensor  # (r,)
    Vh: Tensor  # (r, in)


def kind_of(name: str) -> str | None:
    """ "attention" or "mlp" for the full name of a block's matrix, None for any other module."""
    found = _NAME.search(name)
    if not found:
        return None
    kind, leaves = _BLOCK_PARTS.get(found[2], (None, ()))
    return kind if found[3] in leaves else None


def layer_of(name: str) -> int:
    """Index of the transformer block that holds the matrix of this full module name."""
    found = _NAME.search(name)
    if not found:
        raise InputError(
            f"{quoted(name)} is not the name of a block's matrix (…layers.N.part.matrix)."
        )
    return int(found[1])


def leaf_of(name: str) -> str:
    """The matrix's own name, e.g. "up_proj"."""
    return name.rsplit(".", 1)[-1]


def weight_of(module: nn.Module) -> Tensor:
    """The module's weight as W (out, in): GPT-2's Conv1D stores its transpose."""
    weight = module.get_parameter("weight").detach()
    return weight.T if is_transposed(module) else weight


def is_transposed(module: nn.Module) -> bool:
    """Whether the module stores its matrix as (in, out)."""
    return type(module).__name__ == "Conv1D"


def decompose(weight: Tensor) -> Factors:
    """Float32 SVD of W (out, in); U and Vh come back in W's dtype, S in float32."""
    U, S, Vh = torch.linalg.svd(weight.float(), full_matrices=False)
    return Factors(U.to(weight.dtype).contiguous(), S, Vh.to(weight.dtype).contiguous())


def reconstruct(factors: Factors, z: Tensor) -> Tensor:
    """W′ = U diag(S ⊙ z) Vh (paper, section 3.1), float32, shape (out, in); z has shape (r,)."""
    return (factors.U.float() * (factors.S * z.float())) @ factors.Vh.float()


def changed_weight(weight: Tensor, factors: Factors, z: Tensor) -> Tensor:
    """W′ = W + U diag(S ⊙ (z − 1)) Vh in float32, shape (out, in); z has shape (r,).

    The change is added to W instead of composing U diag(S ⊙ z) Vh: what z leaves alone stays as
    the checkpoint has it.
    """
    U, S, Vh = factors
    return weight.float() + (U.float() * (S * (z.to(S.device) - 1))) @ Vh.float()


def captured_variance(S: Tensor) -> Tensor:
    """Σ_{i≤k} S_i / Σ S_i for every k (paper, Appendix C); shape (r,), float32."""
    total = S.sum()
    return S.cumsum(0) / total if total > 0 else torch.ones_like(S)


def fingerprint(factors: Mapping[str, Factors]) -> str:
    """Identify the base model that these matrices come from; see `fingerprint_from`."""
    shapes = {name: (f.U.shape[0], f.Vh.shape[1]) for name, f in factors.items()}
    return fingerprint_from(shapes, lambda name: factors[name].S[0].item())


def fingerprint_from(shapes: Mapping[str, tuple[int, int]], leading: Callable[[str], float]) -> str:
    """Identify a base model by its matrices, whatever its dtype.

    A hash of names and shapes, then the leading singular values of eight matrices spread over the
    model. Compare with `same_model` and `same_shapes`, never as strings: a change of dtype moves
    singular values in their fourth digit.

    Args:
        shapes: (out, in) by full module name.
        leading: the largest singular value of a matrix; asked for once for each of the eight.
    """
    names = sorted(shapes)
    digest = hashlib.sha256(repr([(n, *shapes[n]) for n in names]).encode()).hexdigest()[:12]
    picked = [names[i * (len(names) - 1) // 7] for i in range(8)]
    values = {name: leading(name) for name in dict.fromkeys(picked)}
    return digest + ":" + ",".join(f"{values[name]:.5g}" for name in picked)


def same_shapes(a: str, b: str) -> bool:
    """Whether two fingerprints are of models with the same matrices' names and shapes."""
    return a.split(":")[0] == b.split(":")[0]


def same_model(a: str, b: str) -> bool:
    """Whether two fingerprints are of the same weights, within 0.2 % (a change of dtype)."""
    left, right = leading_values(a), leading_values(b)
    if not same_shapes(a, b) or not left or len(left) != len(right):
        return False
    return all(abs(p - q) <= 2e-3 * max(abs(p), abs(q)) for p, q in zip(left, right, strict=True))


def leading_values(fingerprint: str) -> list[float]:
    """The singular values in a fingerprint; none where the text has another form."""
    try:
        return [float(value) for value in fingerprint.partition(":")[2].split(",")]
    except ValueError:
        return []


def load_or_decompose(
    weights: Mapping[str, Tensor],  # name -> (out, in)
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Factors]:
    """Decompose every matrix, or read the decomposition back from the disk cache.

    The cache file is named by a hash of the weights' bytes. It is written under a lock, so two
    processes may start at once; what is read is checked against a checksum and rebuilt when it is
    damaged. Where nothing can be written the decomposition is not kept, which `progress` is told.

    Returns:
        name -> Factors, on the weights' devices.
    """
    folder = (cache_dir or default_cache_dir()) / "svd"
    path = folder / f"{_content_key(weights)}.safetensors"
    factors = _read_cache(path, weights)  # before the lock: a cache may be a read-only folder
    if factors is not None:
        return factors
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            factors = _read_cache(path, weights)
            if factors is None:
                factors = _decomposed(weights, progress)
                _write_cache(path, factors)
    # NotImplementedError: a file system without locks
    except (OSError, NotImplementedError) as error:
        factors = factors or _decomposed(weights, progress)
        if progress:
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())
            progress(f"the decomposition is not kept, {folder} cannot be written: {reason}", 1.0)
    return factors


def _decomposed(weights: Mapping[str, Tensor], progress: Progress | None) -> dict[str, Factors]:
    factors = {}
    for i, (name, weight) in enumerate(weights.items()):
        if progress:
            progress(f"decomposing {name}", i / len(weights))
        factors[name] = decompose(weight)
    return factors


def _content_key(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(b"t2ui svd 1")
    for name, weight in weights.items():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(_bytes(weight))
    return digest.hexdigest()[:32]


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.cpu().contiguous().view(torch.uint8).numpy().data


def _read_cache(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Factors] | None:
    """What the cache file holds, or None when there is none, or a damaged one."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            flat = {key: file.get_tensor(key) for key in file.keys()}
        if metadata.get("crc32") != _checksum(flat):
            return None
        factors = {}
        for name, weight in weights.items():
            parts = (flat[f"{name}.{part}"].to(weight.device) for part in Factors._fields)
            factors[name] = Factors(*parts)
    except (SafetensorError, KeyError, OSError):
        return None  # not there, truncated or not ours: decomposed and (over)written
    return factors


def _checksum(flat: Mapping[str, Tensor]) -> str:
    """CRC-32 of names and bytes: against damage, not malice, at a few GB/s."""
    total = 0
    for key in sorted(flat):
        total = zlib.crc32(key.encode(), total)
        total = zlib.crc32(_bytes(flat[key]), total)
    return f"{total:08x}"


def _write_cache(path: Path, factors: Mapping[str, Factors]) -> None:
    flat = {
        f"{name}.{part}": tensor.cpu().contiguous()
        for name, parts in factors.items()
        for part, tensor in parts._asdict().items()
    }
    metadata = {"format": "t2ui.svd", "version": "2", "crc32": _checksum(flat)}
    with writing(path) as beside:
        save_file(flat, beside, metadata=metadata)
