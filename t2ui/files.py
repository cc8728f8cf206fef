"""Whole files or none: each is written beside its place, then renamed into it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from t2ui.errors import InputError

REMEDY = "free some space, or choose another place"


class CannotWrite(OSError, InputError):
    """A file that could not be written: one line for people that says why and what to do.

    `strerror` is the reason, as in any OSError.
    """

    def __init__(self, path: Path, reason: str, remedy: str = REMEDY) -> None:
        super().__init__(f"{path} cannot be written ({reason}): {remedy}.")
        self.path, self.reason = path, reason
        self.strerror = reason

    def with_remedy(self, remedy: str) -> "CannotWrite":
        """The same with other advice, from a caller that knows what is already saved."""
        return CannotWrite(self.path, self.reason, remedy)


@contextmanager
def writing(path: Path, remedy: str = REMEDY) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder to; it becomes `path` when the block ends.

    Missing parent folders are made. If anything is raised, the old file stays as it was and
    nothing half-written is left behind.

    Args:
        remedy: what to do when the disk is full or the folder may not be written to.

    Raises:
        CannotWrite: the file could not be written or not be renamed.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        os.replace(beside, path)
    except Exception as error:
        if not _is_refusal(error):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise CannotWrite(path, reason, remedy) from error
    finally:
        _remove(beside)


def abandoned(path: Path) -> list[Path]:
    """What processes that were killed while `writing` this path have left beside it."""
    return list(path.parent.glob(f".{path.name}.*.tmp"))


def _is_refusal(error: Exception) -> bool:
    """Whether the system refused to write. An InputError raised in the block passes unchanged."""
    if isinstance(error, InputError):
        return False
    # safetensors wraps the system's error in its own; by name, so that this module needs no torch
    return isinstance(error, OSError) or type(error).__name__ == "SafetensorError"


def _remove(beside: Path) -> None:
    if beside.is_dir():
        shutil.rmtree(beside, ignore_errors=True)
    elif os.path.lexists(beside):
        beside.unlink()
