"""The experts folder as the worker sees it: read again when a file in it changes.

A newly trained expert so appears without a restart. Knows the folder and the model's shapes, not
requests.
"""

from pathlib import Path

from t2ui.messages import ExpertInfo, Experts
from t2ui.svf.adapter import Adapter
from t2ui.svf.decomposition import layer_of, leaf_of
from t2ui.svf.expert import Expert
from t2ui.svf.library import Library, expert_files, experts_folder, load_library


class ExpertsFolder:
    """The experts folder, read again when a file in it changes."""

    def __init__(self, experts_dir: Path, model: str, adapter: Adapter) -> None:
        """`model` is the model's short name: its experts lie in the sub-folder of that name."""
        self._experts_dir, self._model = experts_dir, model
        self._adapter = adapter
        self._seen: tuple | None = None
        self._library = Library()

    @property
    def folder(self) -> Path:
        """Where this model's experts are."""
        return experts_folder(self._experts_dir, self._model)

    def library(self) -> Library:
        """The experts that fit the model."""
        folder = self.folder
        seen = _signature(folder)
        if seen != self._seen:
            self._library = load_library(folder).fitting(self._adapter)
            self._seen = seen
        return self._library

    def listing(self) -> Experts:
        """The library as the app shows it, read from disk in any case."""
        self._seen = None
        library = self.library()
        names = self._adapter.names
        return Experts(
            experts=tuple(self._info(e, library.files[n]) for n, e in library.experts.items()),
            problems=library.problems,
            labels=library.labels,
            modules=tuple(dict.fromkeys(map(leaf_of, names))),
            layers=1 + max(map(layer_of, names)),
        )

    def _info(self, expert: Expert, file: Path) -> ExpertInfo:
        return ExpertInfo(
            name=expert.name,
            description=expert.description,
            labels=expert.labels,
            kind="dispatcher" if expert.is_dispatcher else "expert",
            parameters=expert.parameters,
            matrices=len(expert.scales),
            base_model=expert.base_model,
            transfer=self._adapter.is_transfer(expert),
            metrics=expert.metrics,
            training=expert.training,
            sha256=expert.sha256,
            file_name=file.name,
            size_bytes=file.stat().st_size if file.exists() else 0,
        )


def _signature(folder: Path) -> tuple:
    """Names, times and sizes of the expert files, to see whether anything changed."""
    found = []
    for path in expert_files(folder):
        try:
            stat = path.stat()
        except FileNotFoundError:  # removed since it was listed; the next signature lacks it
            continue
        found.append((path.name, stat.st_mtime_ns, stat.st_size))
    return (folder, *found)
