"""Other people's work as an expert: the authors' files, a LoRA, a merged checkpoint.

What has the form of scales is taken whole. Any other change of weights becomes the nearest expert,
and the part that a diagonal cannot hold, often most of it, is said.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2ui.errors import InputError, quoted
from t2ui.exchange.authors import SUFFIXES, read_parameters, scales_of
from t2ui.exchange.base_model import Base, BaseFiles, Progress, Source, base_of
from t2ui.exchange.lora import CONFIG
from t2ui.exchange.nearest import Held, nearest
from t2ui.exchange.peft_files import LoraFiles
from t2ui.models.loading import model_files
from t2ui.svf.expert import Expert

MOSTLY = 0.9  # a share of the change below which people are told that an expert is something else


@dataclass(frozen=True)
class Imported:
    """An expert, and how much of what it was made from it holds."""

    expert: Expert
    kind: str  # "authors", "lora" or "merged"
    share: float  # Σ d_i² / ‖ΔW‖² over all matrices; 1 for the authors' files
    matrices: tuple[Held, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """Scales with what they hold, before they are an expert."""

    scales: dict[str, Tensor]
    held: list[Held]
    notes: list[str]


def import_expert(
    source: str | Path,
    model: Source,
    name: str = "",
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    **details: Any,
) -> Imported:
    """Read an expert from a file or folder of another tool.

    Args:
        source: the authors' policy_params*.pt or learnable_params*.pt; a folder that peft wrote
            (LoRA); or a model folder, which is compared with the base model.
        model: the base model, as `save_merged` takes it.
        name: of the expert; by default the file's or the folder's.
        device: where the matrices of a model by name are decomposed.
        progress: called with (what is done, fraction).
        details: further fields of the Expert, e.g. `description` or `labels`.

    Raises:
        InputError: none of these, another base model's, or no change at all.
    """
    source = Path(source)
    kind = _kind(source)
    read: Mapping[str, Callable[[Path, Base, Progress | None], _Found]] = {
        "authors": _from_authors,
        "lora": _from_lora,
        "merged": _from_merged,
    }
    with base_of(model, None, device, progress) as base:
        found = read[kind](source, base, progress)
        whole = sum(held.change for held in found.held)
        share = sum(held.held for held in found.held) / whole if whole else 1.0
        if all(bool((z == 1).all()) for z in found.scales.values()):
            raise InputError(
                f"{source.name} changes nothing in {base.name} that an expert can hold."
            )
        expert = Expert(
            name=name or source.resolve().stem,
            scales=found.scales,
            base_model=base.name,
            fingerprint=base.fit.fingerprint_of(found.scales),
            training={"imported_from": kind, "file": source.name, "held": round(share, 6)},
            **details,
        )
    if share < MOSTLY:
        found.notes.append(
            f"scales hold {share:.1%} of the change; the rest turns directions into others, which "
            "an expert cannot: it will not answer as what it was made from"
        )
    return Imported(expert, kind, share, tuple(found.held), tuple(found.notes))


def _kind(source: Path) -> str:
    if source.suffix in SUFFIXES:
        return "authors"
    if not source.exists():
        raise InputError(f"There is nothing at {source}: check the path.")
    if (source / CONFIG).is_file():
        return "lora"
    if (source / "config.json").is_file():
        return "merged"
    raise InputError(
        f"{source} is nothing that can be imported: expected the authors' .pt file, a LoRA's "
        f"folder (with {CONFIG}) or a model's folder (with config.json)."
    )


def _from_authors(source: Path, base: Base, progress: Progress | None) -> _Found:
    parameters = read_parameters(source)
    return _Found(scales_of(base, parameters, source.name), [], [])


def _from_lora(source: Path, base: Base, progress: Progress | None) -> _Found:
    lora = LoraFiles(source)
    scales, held, others = {}, [], []
    for done, update in enumerate(lora.updates()):
        if progress:
            progress(f"projecting {update.name}", done / len(lora.names))
        matrix = base.matrices.get(update.name)
        if matrix is None:
            change = (update.B.T.double() @ update.B.double()) * (
                update.A.double() @ update.A.T.double()
            )
            others.append(update.name)
            held.append(Held(update.name, 0.0, float(change.sum())))
            continue
        shape = (update.B.shape[0], update.A.shape[1])
        if shape != matrix.shape:
            raise InputError(
                f"{source.name}: {update.name} is {shape[0]} × {shape[1]} there and "
                f"{matrix.shape[0]} × {matrix.shape[1]} in {base.name}: choose the base model "
                "that the LoRA was made for."
            )
        z, part = nearest(update.name, base.factors(update.name), (update.B, update.A))
        scales[update.name] = z
        held.append(part)
    if not scales:
        raise InputError(
            f"{source.name} changes no attention or MLP matrix of {base.name} "
            f"({quoted(others[0]) if others else 'nothing at all'}): choose the base model that "
            "the LoRA was made for."
        )
    return _Found(scales, held, _told(others, "is no attention or MLP matrix and"))


def _from_merged(source: Path, base: Base, progress: Progress | None) -> _Found:
    other = BaseFiles(model_files(source))
    if other.matrices.keys() != base.matrices.keys():
        raise InputError(
            f"{source.name} has other matrices than {base.name}: choose the base model that it "
            "was made from."
        )
    scales, held = {}, []
    for done, (name, matrix) in enumerate(base.matrices.items()):
        if progress:
            progress(f"comparing {name}", done / len(base.matrices))
        if other.matrices[name].shape != matrix.shape:
            raise InputError(
                f"{source.name}: {name} is {other.matrices[name].shape} there and {matrix.shape} "
                f"in {base.name}: choose the base model that it was made from."
            )
        change = other.weight(name).float() - base.weight(name).cpu().float()
        if bool(change.any()):
            scales[name], part = nearest(name, base.factors(name), change)
            held.append(part)
    if not scales:
        raise InputError(f"{source.name} and {base.name} have the same matrices.")
    return _Found(scales, held, _told(_other_changes(other, base), "differs, too, and"))


def _other_changes(other: BaseFiles, base: Base) -> list[str]:
    """Stored tensors beside the adapted matrices that are not the base's."""
    ours = {matrix.key for matrix in base.matrices.values()}
    theirs = {matrix.key for matrix in other.matrices.values()}
    changed = []
    for key in other.infos:
        if key in theirs or key not in base.infos or key in ours:
            continue
        same = other.infos[key].shape == base.infos[key].shape and torch.equal(
            other.read(key).float(), base.read(key).cpu().float()
        )
        if not same:
            changed.append(key)
    return changed


def _told(names: list[str], why: str) -> list[str]:
    if not names:
        return []
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return [f"{names[0]}{more} {why} is left out: an expert cannot hold it"]
