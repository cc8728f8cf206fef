"""What the commands share: options, loading, notes for people, results for machines."""

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from t2ui.checks import Alpha, coefficients
from t2ui.config import DEFAULT_MODEL, default_experts_dir
from t2ui.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from t2ui.cluster.ray_crew import RayCluster
    from t2ui.svf.expert import Expert
    from t2ui.svf.library import Library
    from t2ui.svf.mixture import SavedMixture
    from t2ui.tasks.base import Task

Model = Annotated[str, typer.Option(help="Default name, hub id, local folder or .gguf file.")]
Folder = Annotated[
    Path | None, typer.Option("--experts", help="Folder with expert files.", show_default=False)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
RayAddress = Annotated[
    str,
    typer.Option(
        "--ray",
        help="HOST:PORT of a Ray cluster, or auto: its machines share the work.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]


def load(model: str, device: str) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model and its tokenizer, with progress on stderr."""
    from t2ui.models.loading import load_model

    return load_model(model, device=device, progress=progress)


def ray_cluster(address: str) -> "RayCluster | None":
    """The cluster at this address, None where none is asked for; what is on it ends with this
    process."""
    if not address:
        return None
    from t2ui.cluster.ray_crew import RayCluster

    return RayCluster(address, note)


def one(expert: str, folder: Path | None) -> "tuple[Expert, Path]":
    """An expert by its name in the folder, or by its file's path; and that path."""
    from t2ui.svf.expert import SUFFIXES, Expert
    from t2ui.svf.library import load_library

    if Path(expert).suffix in SUFFIXES:
        return Expert.load(expert), Path(expert)
    library = load_library(existing(folder or shipped()))
    if expert not in library.experts:
        report_problems(library)
        raise InputError(
            f"There is no expert named {expert!r}; there are: "
            f"{', '.join(sorted(library.experts)) or 'none'}. A file's path works too."
        )
    return library.experts[expert], library.files[expert]


def library_of(model: "PreTrainedModel", folder: Path | None) -> "Library":
    """The experts of a folder; by default those that ship for the model."""
    from t2ui.models.loading import model_name
    from t2ui.svf.library import experts_folder, load_library

    if folder is not None:
        return load_library(existing(folder))
    return load_library(experts_folder(default_experts_dir(), model_name(model)))


class AskedMixture(NamedTuple):
    """What `--mix` asks for."""

    weights: Mapping[str, Alpha] | None  # None: nothing was given
    normalise: bool = False
    scope: str = ""
    saved: "SavedMixture | None" = None  # where it names a file


def asked_mixture(mix: str) -> AskedMixture:
    """The mixture in the file that `--mix` names, or of the coefficients that it lists."""
    if not mix.endswith(".json"):
        return AskedMixture(coefficients(mix, ",", "--mix") or None)
    from t2ui.svf.mixture import SavedMixture

    saved = SavedMixture.load(mix)
    mixture = saved.mixture
    return AskedMixture(mixture.weights, mixture.normalise, mixture.scope, saved)


def command_line() -> str:
    """The command as typed, for records that others read: absolute paths lose their folders."""
    words = (Path(w).name if Path(w).is_absolute() else w for w in sys.argv[1:])
    return f"python -m t2ui {shlex.join(words)}"


def facts(expert: "Expert", path: Path) -> dict[str, Any]:
    """All that an expert's file says; of the scales and of the examples' states how many."""
    numbers = ("scales", "examples")
    said = {f.name: getattr(expert, f.name) for f in fields(expert) if f.name not in numbers}
    size = path.stat().st_size
    return {
        **said,
        "labels": list(expert.labels),
        "parameters": expert.parameters,
        "matrices": len(expert.scales),
        "examples": 0 if expert.examples is None else len(expert.examples),
        "file": str(path),
        "bytes": size,
    }


def shipped() -> Path:
    """The default model's own experts."""
    return default_experts_dir() / DEFAULT_MODEL


def existing(folder: Path) -> Path:
    """The folder, if it is there."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: check the path.")
    return folder


def report_problems(library: "Library") -> None:
    """One line on stderr for every file that did not load."""
    for file, reason in library.problems:
        note(f"{file}: {reason}")


def tell_of_sandbox(task: "Task") -> None:
    """If the task runs Python that a model wrote, say how this machine confines it."""
    from t2ui.tasks.code import passes

    if task.grade is passes:
        _told_of_sandbox()


@cache  # said once, however many tasks run such code
def _told_of_sandbox() -> None:
    from t2ui.tasks.sandbox.run import isolation

    note(isolation().told())


def note(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr)


def progress(text: str, fraction: float | None) -> None:
    """A progress line on stderr, if stderr is a terminal; `fraction` is in [0, 1], None unknown."""
    if sys.stderr.isatty():
        share = "" if fraction is None else f" {fraction:4.0%}"
        print(f"\r\033[K{text}{share}", end="" if (fraction or 0) < 1 else "\n", file=sys.stderr)


def print_json(value: Any) -> None:
    """The result for machines, on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
