"""A public app's visitors: a folder for each session that saved something, until it ends.

The name of a session is an unguessable key that the door in front of the app makes (`t2ui.http`).
A folder's time says when its session was last heard of, so that a worker that starts again knows
what is old. Knows files and times, nothing of experts.
"""

import os
import re
import shutil
import time
from pathlib import Path

KEY = re.compile(r"[0-9a-f]{32}")


class SessionFolders:
    """Folders by session below `root`; None: the app is not public, and no session has one."""

    def __init__(self, root: Path | None, hours: float) -> None:
        self._root, self._seconds = root, 3600 * hours

    @property
    def public(self) -> bool:
        """Whether what a visitor saves is the session's own."""
        return self._root is not None

    def folder(self, session: str) -> Path | None:
        """Where this session's files are or will be; None where it cannot have any."""
        if self._root is None or not KEY.fullmatch(session):
            return None
        return self._root / session

    def heard_of(self, session: str) -> None:
        """It is not old: somebody asks for something in its name."""
        folder = self.folder(session)
        if folder is not None and folder.is_dir():
            os.utime(folder)

    def sessions(self) -> list[str]:
        """All that have a folder."""
        if self._root is None or not self._root.is_dir():
            return []
        return sorted(found.name for found in self._root.iterdir() if KEY.fullmatch(found.name))

    def end(self, session: str) -> None:
        """Delete what it saved."""
        if (folder := self.folder(session)) is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def end_old(self) -> None:
        """Delete what sessions saved that were not heard of for so many hours."""
        for session in self.sessions():
            folder = self.folder(session)
            if folder is not None and time.time() - folder.stat().st_mtime > self._seconds:
                self.end(session)
