"""An experts folder as checked Experts: one bad file is reported and the others still load."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from t2ui.config import OTHERS
from t2ui.errors import InputError, quoted
from t2ui.svf.expert import SUFFIXES, Expert
from t2ui.svf.expert_limits import shown_name
from t2ui.svf.mixture import FORMAT, SavedMixture

if TYPE_CHECKING:
    from t2ui.svf.adapter import Adapter


@dataclass(frozen=True)
class Library:
    """What a folder holds: experts by name, their files, and (file name, reason) for the rest.

    A mixture file beside the experts has its file's name, without the ending.
    """

    experts: dict[str, Expert] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    problems: tuple[tuple[str, str], ...] = ()
    mixtures: dict[str, SavedMixture] = field(default_factory=dict)

    @property
    def answering(self) -> dict[str, Expert]:
        """The experts that answer prompts: all but the dispatchers."""
        return {n: e for n, e in self.experts.items() if not e.is_dispatcher}

    @property
    def dispatcher(self) -> Expert | None:
        """The classification expert of pass one, the first by name, if there is one."""
        return dispatcher_in(self.experts)

    @property
    def labels(self) -> tuple[str, ...]:
        """What pass one may answer: every expert's labels, `others` last."""
        return labels_of(self.experts)

    def fitting(self, adapter: "Adapter", allow_transfer: bool = True) -> "Library":
        """The experts that this model can use. Those of other shapes become problems, and without
        `allow_transfer` those of other weights too."""
        experts, problems = {}, list(self.problems)
        for name, expert in self.experts.items():
            try:
                adapter.check(expert, allow_transfer)
                experts[name] = expert
            except InputError as error:
                problems.append((self.files[name].name, str(error)))
        files = {name: path for name, path in self.files.items() if name in experts}
        return Library(experts, files, tuple(problems), self.mixtures)


def dispatcher_in(experts: Mapping[str, Expert]) -> Expert | None:
    """The classification expert among them, the first by name."""
    return next((e for _, e in sorted(experts.items()) if e.is_dispatcher), None)


def labels_of(experts: Mapping[str, Expert]) -> tuple[str, ...]:
    """Labels of pass one: each expert's own (its name where it gives none), `others` last.

    A folded mixture was trained for no kind of prompt: its name would be a label that nobody meant.
    """
    found: dict[str, None] = {}
    for name, expert in experts.items():
        unnamed = expert.is_dispatcher or "folded_from" in expert.training
        found.update(dict.fromkeys(expert.labels or (() if unnamed else (name,))))
    found.pop(OTHERS, None)
    return (*found, OTHERS)


def expert_files(folder: str | Path) -> list[Path]:
    """The .safetensors and .svf files of a folder, by name; none where there is no folder."""
    if not Path(folder).is_dir():
        return []
    found = (p for p in Path(folder).iterdir() if p.suffix in SUFFIXES and p.name[0] != ".")
    return sorted(found)


def mixture_files(folder: str | Path) -> list[Path]:
    """The mixture files of a folder, by name. Other JSON files may stand there."""
    found = []
    for path in sorted(Path(folder).glob("[!.]*.json")):
        with path.open("rb") as file:
            if f'"{FORMAT}"'.encode() in file.read(2000):
                found.append(path)
    return found


def experts_folder(root: Path, model: str) -> Path:
    """Where a model's experts are: the sub-folder of its name, or the folder itself."""
    own = root / Path(model).name
    return own if own.is_dir() else root


def load_library(folder: str | Path) -> Library:
    """Read every .safetensors and .svf file of a folder, and its mixtures (not of its subfolders).

    A folder that does not exist is an empty library. Two files with the same expert name: the
    first by file name is kept, the other is reported.
    """
    experts: dict[str, Expert] = {}
    files: dict[str, Path] = {}
    problems = []
    for path in expert_files(folder):
        try:
            expert = Expert.load(path)
            if expert.name in experts:
                raise InputError(
                    f"{path.name} holds an expert named {quoted(expert.name)}, as "
                    f"{files[expert.name].name} does: rename one of them."
                )
        except InputError as error:
            problems.append((shown_name(path), str(error)))
            continue
        experts[expert.name], files[expert.name] = expert, path
    mixtures = {}
    for path in mixture_files(folder):
        try:
            mixtures[path.stem] = SavedMixture.load(path)
        except InputError as error:
            problems.append((shown_name(path), str(error)))
    return Library(experts, files, tuple(problems), mixtures)
