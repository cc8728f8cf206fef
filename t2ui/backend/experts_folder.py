"""The experts folder as the worker sees it: read again when a file in it changes.

A newly trained expert so appears without a restart. In a public app every session sees the shared
folder and, laid over it, a folder of its own. Knows the folders and the model's shapes, not
"""

from collections.abc import Iterator
from pathlib import Path

from t2ui.backend.session_folders import SessionFolders
from t2ui.errors import InputError, quoted
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.plan import default_dispatch, usable_experts
from t2ui.messages import ExpertInfo, Experts, SessionEnded, owner_of
from t2ui.svf.adapter import Adapter
from t2ui.svf.decomposition import layer_of, leaf_of
from t2ui.svf.expert import Expert
from t2ui.svf.expert_limits import shown_name
from t2ui.svf.library import Library, expert_files, experts_folder, load_library
from t2ui.svf.mixture import Mixture

SAVED_ON = "saved_on"  # in an expert's training record: "page" where the page made the file


class ExpertsFolder:
    """The experts that there are, for everybody and for each session."""

    def __init__(
        self,
        experts_dir: Path,
        model: str,
        adapter: Adapter,
        dispatchers: Dispatchers,
        sessions: SessionFolders,
    ) -> None:
        """`model` is the model's short name: its experts lie in the sub-folder of that name."""
        self._experts_dir, self._model = experts_dir, model
        self._adapter, self._dispatchers = adapter, dispatchers
        self.sessions = sessions
        self._shared = _Read(adapter)
        self._own: dict[str, _Read] = {}
        # what `changed` has given, by session; None where only `listing` has given something
        self._told: dict[str, tuple[Library, Library] | None] = {}

    @property
    def folder(self) -> Path:
        """Where this model's experts are."""
        return experts_folder(self._experts_dir, self._model)

    def library(self, session: str = "") -> Library:
        """The experts that fit the model: the shared ones, and the session's own after them."""
        self.sessions.heard_of(session)
        return self._library(owner_of(session))

    def mixture(self, name: str, session: str = "") -> Mixture:
        """A mixture that is saved beside the experts.

        Raises:
            InputError: there is none of that name; lists those that there are.
        """
        mixtures = self.library(session).mixtures
        if name not in mixtures:
            raise InputError(
                f"There is no saved mixture named {quoted(name)}; there are: "
                f"{', '.join(sorted(mixtures)) or 'none'}."
            )
        return mixtures[name].mixture

    def saved(self, session: str) -> dict[str, Path]:
        """The files that the page saved and that this session may change, by expert."""
        if self.sessions.public:
            return self._own_library(owner_of(session)).files
        library = self._shared_library()
        return {
            name: file
            for name, file in library.files.items()
            if library.experts[name].training.get(SAVED_ON) == "page"
        }

    def listing(self, session: str = "") -> Experts:
        """The library as the app shows it to this session; where it is not public, to everybody."""
        session = owner_of(session) if self.sessions.public else ""
        if session:  # it may end before `changed` is asked: that has to be told too
            self._told.setdefault(session, None)
        library, saved = self._library(session), self.saved(session)
        names = self._adapter.names
        usable = usable_experts(self._adapter, library.experts, False)
        return Experts(
            experts=tuple(
                self._info(library.experts[name], library.files[name], name in saved)
                for name in library.experts
            ),
            problems=library.problems,
            labels=library.labels,
            modules=tuple(dict.fromkeys(map(leaf_of, names))),
            layers=1 + max(map(layer_of, names)),
            dispatchers=self._dispatchers.usable(usable),
            dispatch=default_dispatch(self._dispatchers, usable),
            session=session,
            mixtures=tuple(library.mixtures),
        )

    def changed(self) -> Iterator[Experts | SessionEnded]:
        """The lists that are others than when this was last asked; the first time all of them."""
        self.sessions.end_old()
        open_sessions = self.sessions.sessions()
        for session in [known for known in self._told if known and known not in open_sessions]:
            del self._told[session]
            self._own.pop(session, None)
            yield SessionEnded(session)
        for session in ("", *open_sessions):
            now = self._shared_library(), self._own_library(session)
            if self._told.get(session) != now:
                self._told[session] = now
                yield self.listing(session)

    def _shared_library(self) -> Library:
        return self._shared.library(self.folder)

    def _own_library(self, session: str) -> Library:
        """What this session has saved."""
        folder = self.sessions.folder(session)
        if folder is None or not folder.is_dir():
            return Library()
        return self._own.setdefault(session, _Read(self._adapter)).library(folder)

    def _library(self, session: str) -> Library:
        shared, own = self._shared_library(), self._own_library(session)
        hidden = {name for name in own.experts if name in shared.experts}
        taken = [
            (own.files[name].name, f"There is a shared expert {quoted(name)} now: rename yours.")
            for name in sorted(hidden)
        ]
        return Library(
            {**shared.experts, **{n: e for n, e in own.experts.items() if n not in hidden}},
            {**shared.files, **{n: f for n, f in own.files.items() if n not in hidden}},
            (*shared.problems, *own.problems, *taken),
            {**own.mixtures, **shared.mixtures},
        )

    def _info(self, expert: Expert, file: Path, saved: bool) -> ExpertInfo:
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
            scope=expert.scope,
            license=expert.license,
            created=expert.created,
            saved=saved,
        )


class _Read:
    """One folder's library, and what its files looked like when it was read."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._seen: tuple | None = None
        self._library = Library()

    def library(self, folder: Path) -> Library:
        """What the folder holds; where it cannot be read, that is its one problem."""
        try:
            seen = _signature(folder)
            if seen != self._seen:
                self._library = load_library(folder).fitting(self._adapter)
                self._seen = seen
        except OSError as error:
            self._seen, reason = None, error.strerror or type(error).__name__
            problem = f"The folder cannot be read ({reason}): change who may read it."
            self._library = Library(problems=((shown_name(folder), problem),))
        return self._library


def _signature(folder: Path) -> tuple:
    """Names, times and sizes of the expert files, to see whether anything changed."""
    found = []
    for path in (*expert_files(folder), *folder.glob("*.json")):
        try:
            stat = path.stat()
        except FileNotFoundError:  # removed since it was listed; the next signature lacks it
            continue
        found.append((shown_name(path), stat.st_mtime_ns, stat.st_size))
    return (folder, *found)
