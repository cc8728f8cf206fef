"""Experts that the page saves: a mixture folded into a file, renamed, read, deleted.

Where they go is the experts folder's to say: the shared folder, or in a public app the session's
own. What came with the app, or from the command line, is never touched.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import SafetensorError

from t2ui.backend.experts_folder import SAVED_ON, ExpertsFolder
from t2ui.errors import InputError, quoted
from t2ui.evaluation.statistics import interval_of
from t2ui.messages import (
    EXPERT_NAME,
    TENANT,
    AddExpert,
    DeleteExpert,
    EndSession,
    ExpertDeleted,
    ExpertFile,
    ExpertSaved,
    Measured,
    ReadExpert,
    RenameExpert,
    SaveExpert,
    check_not_reserved,
)
from t2ui.models.loading import model_name
from t2ui.svf.adapter import Adapter
from t2ui.svf.expert import Expert
from t2ui.svf.library import expert_files
from t2ui.svf.mixture import Mixture, fold

ADDED = "The file that was added"  # how messages call it: they begin with its name
MOST_EXPERTS = 100  # in the shared folder, for what the app saves: it could be filled up
MOST_OWN = 8  # experts of one session
MOST_SESSIONS = 200  # with experts of their own, at once


class SavedExperts:
    """What the page may do with expert files. Not thread-safe."""

    def __init__(self, adapter: Adapter, experts_folder: ExpertsFolder) -> None:
        self._adapter, self._experts = adapter, experts_folder

    def save(self, request: SaveExpert) -> ExpertSaved:
        """Fold a mixture and write it, never over another.

        Raises:
            InputError: the name is taken, there is no room, or the mixture is the base model.
        """
        library, folder = self._experts.library(request.session), self._room(request.session)
        self._check_free(request.name, request.session)
        weights = ", ".join(f"{name} {alpha:g}" for name, alpha in request.mixture.items())
        expert = fold(
            self._adapter,
            library.experts,
            Mixture(request.mixture, request.normalise),
            request.name,
            {**request.training, SAVED_ON: "page"},
            base_model=model_name(self._adapter.model),
            description=f"Mixture of {weights}.",
        )
        if request.measured and request.measured.n:
            expert = replace(expert, metrics=[_record(request.measured)])
        path = folder / f"{request.name}.safetensors"
        _write(expert, path)
        return ExpertSaved(request.name, path.name, self._experts.listing(request.session))

    def add(self, request: AddExpert) -> ExpertSaved:
        """Check a file that somebody has, and write it, never over another.

        Raises:
            InputError: it is no expert's file or no expert for this model, its name is taken or
                cannot be a file's, or there is no room.
        """
        folder = self._room(request.session)
        with TemporaryDirectory(prefix="t2ui-added-") as place:
            file = Path(place) / ADDED
            file.write_bytes(request.data)
            expert = Expert.load(file)
        self._adapter.check(expert, allow_transfer=True)
        check_not_reserved(expert.name)
        if not EXPERT_NAME.fullmatch(expert.name):
            raise InputError(
                f"The expert in the file is named {quoted(expert.name)}; expected 1 to 40 letters, "
                "digits, - and _: give it such a name where it was made."
            )
        self._check_free(expert.name, request.session)
        path = folder / f"{expert.name}.safetensors"
        _write(replace(expert, training={**expert.training, SAVED_ON: "page"}), path)
        return ExpertSaved(expert.name, path.name, self._experts.listing(request.session))

    def rename(self, request: RenameExpert) -> ExpertSaved:
        """Write it under the new name, then delete the old file.

        Raises:
            InputError: the page did not save such an expert, or the new name is taken.
        """
        old = self._file(request.name, request.session)
        self._check_free(request.new_name, request.session, but=old)
        path = old.with_name(f"{request.new_name}.safetensors")
        _write(replace(Expert.load(old), name=request.new_name), path)
        if not path.samefile(old):  # they are one where only the case changed, on some systems
            old.unlink()
        return ExpertSaved(request.new_name, path.name, self._experts.listing(request.session))

    def delete(self, request: DeleteExpert) -> ExpertDeleted:
        """Delete its file.

        Raises:
            InputError: the page did not save such an expert.
        """
        self._file(request.name, request.session).unlink(missing_ok=True)
        return ExpertDeleted(request.name, self._experts.listing(request.session))

    def read(self, request: ReadExpert) -> ExpertFile:
        """Its file.

        Raises:
            InputError: the page did not save such an expert.
        """
        path = self._file(request.name, request.session)
        return ExpertFile(path.name, path.read_bytes())

    def end_session(self, request: EndSession) -> None:
        """Delete all that a session of a public app saved."""
        self._experts.sessions.end(request.session)

    def _file(self, name: str, session: str) -> Path:
        saved = self._experts.saved(session)
        if name in saved:
            return saved[name]
        if name in self._experts.library(session).experts:
            raise InputError(
                f"{quoted(name)} was not saved on this page: only experts that were can be "
                "renamed, downloaded or deleted here."
            )
        raise InputError(f"There is no expert {quoted(name)} any more: reload the page.")

    def _check_free(self, name: str, session: str, but: Path | None = None) -> None:
        """A new expert's name, compared without case: some systems' files are."""
        library = self._experts.library(session)
        taken = {n.casefold() for n, file in library.files.items() if file != but}
        taken |= {f.stem.casefold() for f in expert_files(self._experts.folder) if f != but}
        if name.casefold() in taken:
            raise InputError(f"There is an expert {quoted(name)} already: choose another name.")

    def _room(self, session: str) -> Path:
        """The folder to write to, if one more file may stand there."""
        sessions, shared = self._experts.sessions, self._experts.folder
        if not sessions.public:
            count = len(expert_files(shared))
            if count >= MOST_EXPERTS:
                raise InputError(
                    f"The experts folder holds {count} files, and the app adds none beyond "
                    f"{MOST_EXPERTS}: remove some, or download the mixture instead."
                )
            return shared
        folder = sessions.folder(session)
        if folder is None:
            raise InputError(
                "This app is public and nobody writes into its experts folder: download the "
                "mixture instead."
            )
        count, tenant = len(expert_files(folder)), session.startswith(TENANT)
        most = MOST_EXPERTS if tenant else MOST_OWN
        if count >= most:
            raise InputError(
                f"You have saved {count} experts; at most {most} are kept for you: download one "
                "and delete it here."
            )
        if not tenant and not count and len(sessions.sessions()) >= MOST_SESSIONS:
            raise InputError(
                "There is no room for more visitors' experts now: download the mixture instead, "
                "or try again later."
            )
        return folder


def _record(found: Measured) -> dict[str, Any]:
    """What the file keeps, as `t2ui evaluate --keep` writes it."""
    record = {
        "set": found.set,
        "protocol": found.protocol,
        "n": found.n,
        "base": round(found.base / found.n, 4),
        "base_interval": interval_of(found.base, found.n),
        "expert": round(found.mixture / found.n, 4),
        "interval": interval_of(found.mixture, found.n),
    }
    return record if found.p is None else {**record, "p": float(f"{found.p:.2g}")}


def _write(expert: Expert, path: Path) -> None:
    """Save it, or say in one line why that was not possible."""
    try:
        expert.save(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise InputError(
            f"{path.name} could not be saved ({reason}): free some space on the disk of the "
            "server, or download the mixture instead."
        ) from None
