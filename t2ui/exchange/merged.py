"""A mixture written into the weights: a model folder as transformers writes it.

Matrix by matrix: the memory that it takes is that of one matrix and its decomposition, whatever
the size of the model and its shards.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2ui.checks import Alpha
from t2ui.errors import InputError, quoted
from t2ui.exchange.base_model import Base, Matrix, Progress, Source, base_of
from t2ui.exchange.model_folder import card, check_empty, new_folder
from t2ui.exchange.tensor_files import SHARD_SIZE, TensorInfo, size_of, write_shards
from t2ui.models.loading import DTYPES
from t2ui.svf.decomposition import changed_weight
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, mix, scope_of, used


@dataclass
class Rounding:
    """How far written weights are from their float32 sums; grows as they are written."""

    largest: float = 0.0
    lost: float = 0.0  # Σ (written − summed)²
    change: float = 0.0  # Σ (summed − base)²

    def add(self, base: Tensor, summed: Tensor, written: Tensor) -> None:
        """One matrix: W, W′ in float32, and W′ as it is written; all (out, in)."""
        apart = (written.float() - summed).abs()
        self.largest = max(self.largest, float(apart.max()))
        self.lost += float(apart.double().square().sum())
        self.change += float((summed - base.float()).double().square().sum())

    @property
    def share(self) -> float:
        """‖written − summed‖ / ‖summed − base‖, Frobenius norms over all matrices."""
        return (self.lost / self.change) ** 0.5 if self.change else 0.0


@dataclass(frozen=True)
class Merged:
    """What `save_merged` wrote."""

    folder: Path
    dtype: str
    changed: int  # matrices
    files: tuple[str, ...]  # with weights
    bytes: int  # of those
    rounding: float  # the largest distance of a weight from its float32 sum
    rounding_share: float  # of the change: ‖written − summed‖ / ‖summed − base‖
    notes: tuple[str, ...] = ()


class MergedWeights:
    """A base model's tensors with a mixture's W′ in the places of W.

    Args:
        scales: z by full module name; what it lacks, or is 1, stays as it is stored.
        dtype: of every float tensor; None keeps each as it is stored.
    """

    def __init__(self, base: Base, scales: Mapping[str, Tensor], dtype: torch.dtype | None = None):
        self.base, self.dtype = base, dtype
        changed = changing(scales)
        self._changed = {base.matrices[n].key: (base.matrices[n], z) for n, z in changed.items()}
        self.rounding = Rounding()

    @property
    def infos(self) -> list[TensorInfo]:
        """Every tensor that `read` gives, in the base's order."""
        return [
            TensorInfo(info.name, info.shape, self._dtype_of(info))
            for info in self.base.infos.values()
        ]

    @property
    def changed(self) -> int:
        """How many matrices are not the base's."""
        return len(self._changed)

    def read(self, key: str) -> Tensor:
        """One tensor, W′ summed in float32 and then rounded."""
        stored = self.base.read(key)
        dtype = self._dtype_of(self.base.infos[key])
        if key not in self._changed:
            return stored.to(dtype)
        matrix, z = self._changed[key]
        return self._merged(matrix, z, stored, dtype)

    def _merged(self, matrix: Matrix, z: Tensor, stored: Tensor, dtype: torch.dtype) -> Tensor:
        factors = self.base.factors(matrix.name)
        weight = (stored.T if matrix.transposed else stored).to(factors.U.device)
        summed = changed_weight(weight, factors, z)
        written = summed.to(dtype)
        self.rounding.add(weight, summed, written)
        return (written.T if matrix.transposed else written).cpu().contiguous()

    def _dtype_of(self, info: TensorInfo) -> torch.dtype:
        return self.dtype if self.dtype and info.dtype.is_floating_point else info.dtype


def save_merged(
    model: Source,
    experts: Mapping[str, Expert],
    mixture: Mixture | Mapping[str, Alpha],
    folder: str | Path,
    *,
    tokenizer: Any = None,
    dtype: str = "base",
    shard_size: str = SHARD_SIZE,
    allow_transfer: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Merged:
    """Write a model folder whose weights are those of the mixture: W′ = U diag(σ ⊙ z′) Vᵀ.

    Written beside its place and then renamed: there is a whole model or none.

    Args:
        model: by its name (a hub id, a folder, a .gguf file, the default), read from its files and
            never whole in memory; or a model in memory, whose weights and dtype are taken.
        experts: by name.
        mixture: coefficients α by expert name, or a Mixture.
        folder: a new or an empty one.
        tokenizer: of a model in memory; one by name has its own.
        dtype: "base" (as it is stored), float32, bfloat16 or float16. Sums are float32 always.
        shard_size: of a file, e.g. "5GB".
        allow_transfer: use experts made for other weights of the same shapes.
        device: where matrices of a model by name are decomposed.
        progress: called with (what is done, fraction).

    Raises:
        InputError: a folder that is not empty, experts that do not fit, no change at all, or a
            disk that is full (`files.CannotWrite`).
    """
    folder = Path(folder)
    check_empty(folder)
    size, kind = size_of(shard_size), _dtype(dtype)
    mixture = mixture if isinstance(mixture, Mixture) else Mixture(mixture)
    with base_of(model, tokenizer, device, progress) as base:
        scales, notes = scales_for(base, experts, mixture, allow_transfer)
        weights = MergedWeights(base, scales, kind)
        infos = weights.infos
        with new_folder(folder) as beside:
            base.write_rest(beside, kind or base.dtype)
            paths = write_shards(beside, infos, told(weights.read, len(infos), progress), size)
            text = _card(base, experts, mixture, weights)
            (beside / "README.md").write_text(text, encoding="utf-8")
            for path in beside.iterdir():
                path.chmod(0o644)
            total = sum(path.stat().st_size for path in paths)
    return Merged(
        folder=folder,
        dtype=str(kind or base.dtype).removeprefix("torch."),
        changed=weights.changed,
        files=tuple(path.name for path in paths),
        bytes=total,
        rounding=weights.rounding.largest,
        rounding_share=weights.rounding.share,
        notes=tuple(notes),
    )


def scales_for(
    base: Base, experts: Mapping[str, Expert], mixture: Mixture, allow_transfer: bool = False
) -> tuple[dict[str, Tensor], list[str]]:
    """z′ of a mixture on a base model, and what people should know of it.

    Raises:
        InputError: an expert that does not fit, or every coefficient is 0.
    """
    scales = mix(experts, mixture)
    in_use = [experts[name] for name, alpha in mixture.weights.items() if used(alpha)]
    if not in_use:
        raise InputError(
            "Every coefficient is 0, which is the base model: there is nothing to export."
        )
    notes = []
    for expert in in_use:
        base.fit.check(expert, allow_transfer)
        if expert.fingerprint and base.fit.is_transfer(expert):
            notes.append(f"{quoted(expert.name)} was made for other weights of the same shapes")
    if scope_of(mixture, experts) == "answer":
        notes.append(
            "the mixture is for scope answer, in which the base model reads the prompt; changed "
            "weights act on every token (scope all), so what is exported may answer otherwise"
        )
    return scales, notes


def changing(scales: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of some scales that are not all 1."""
    return {name: z for name, z in scales.items() if not bool((z == 1).all())}


def told(
    read: Callable[[str], Tensor], total: int, progress: Progress | None
) -> Callable[[str], Tensor]:
    """`read`, which says how far it is."""
    counts: Iterator[int] = iter(range(1, total + 1))

    def reading(key: str) -> Tensor:
        tensor = read(key)
        if progress:
            progress(f"writing {key}", next(counts) / total)
        return tensor

    return reading


def mixture_record(experts: Mapping[str, Expert], mixture: Mixture) -> dict[str, Any]:
    """A mixture as plain data, with the hashes of its experts."""
    return {
        "weights": {n: list(a) if isinstance(a, tuple) else a for n, a in mixture.weights.items()},
        "normalise": mixture.normalise,
        "scope": scope_of(mixture, experts),
        "experts": {n: experts[n].sha256 for n, a in mixture.weights.items() if used(a)},
    }


def _dtype(name: str) -> torch.dtype | None:
    if name == "base":
        return None
    if name not in DTYPES:
        raise InputError(f"dtype is {name!r}; expected base, {', '.join(DTYPES)}.")
    return DTYPES[name]


def _card(
    base: Base, experts: Mapping[str, Expert], mixture: Mixture, weights: MergedWeights
) -> str:
    head = {
        "library_name": "transformers",
        "tags": "[transformer-squared, svf, merged]",
    }
    lines = [
        f"# {base.name} with a mixture of SVF experts",
        "",
        f"{weights.changed} matrices are W′ = U diag(σ ⊙ z′) Vᵀ with z′ = 1 + Σ α (z − 1), summed "
        "in float32 and rounded to the dtype here; all else is the base model's. Written by "
        "`t2ui export merged`. The rounding is "
        f"{weights.rounding.share:.2%} of the change (Frobenius norms).",
    ]
    return card(base.name, head, lines, mixture_record(experts, mixture))
