"""Whose folder is where: a visitor's of a public app goes with the session, a tenant's stays.

The name of a visitor's session is an unguessable key that the door in front of the app makes
(`t2ui.http`); a tenant's is `@NAME`, or `@NAME/…` for one of its open pages. A visitor's folder's
time says when its session was last heard of, so that a worker that starts again knows what is old.
Knows files and times, nothing of experts.
"""

import os
import re
import shutil
import time
from pathlib import Path

from t2ui.messages import TENANT, TENANT_NAME, owner_of

KEY = re.compile(r"[0-9a-f]{32}")


class SessionFolders:
    """Folders by session below `root`, and by name below `tenants`; None: nobody has one."""

    def __init__(self, root: Path | None, hours: float, tenants: Path | None = None) -> None:
        self._root, self._seconds, self._tenants = root, 3600 * hours, tenants

    @property
    def public(self) -> bool:
        """Whether what a visitor saves is the session's own, or the tenant's."""
        return self._root is not None or self._tenants is not None

    def folder(self, session: str) -> Path | None:
        """Where this session's files are or will be; None where it cannot have any."""
        owner = owner_of(session)
        if owner.startswith(TENANT):
            name = owner.removeprefix(TENANT)
            fits = self._tenants is not None and TENANT_NAME.fullmatch(name)
            return self._tenants / name if self._tenants and fits else None
        if self._root is None or not KEY.fullmatch(session):
            return None
        return self._root / session

    def heard_of(self, session: str) -> None:
        """It is not old: somebody asks for something in its name."""
        folder = self._passing(session)
        if folder is not None and folder.is_dir():
            os.utime(folder)

    def sessions(self) -> list[str]:
        """All that have a folder."""
        visitors = [name for name in _names(self._root) if KEY.fullmatch(name)]
        tenants = [name for name in _names(self._tenants) if TENANT_NAME.fullmatch(name)]
        return sorted([*visitors, *(f"{TENANT}{name}" for name in tenants)])

    def end(self, session: str) -> None:
        """Delete what it saved; not what is a tenant's."""
        if (folder := self._passing(session)) is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def end_old(self) -> None:
        """Delete what sessions saved that were not heard of for so many hours."""
        for session in self.sessions():
            folder = self._passing(session)
            if folder is not None and time.time() - folder.stat().st_mtime > self._seconds:
                self.end(session)

    def _passing(self, session: str) -> Path | None:
        """A visitor's folder; None for a tenant's, which stays."""
        return None if session.startswith(TENANT) else self.folder(session)


def _names(root: Path | None) -> list[str]:
    """The folders in a folder, if it is there."""
    if root is None or not root.is_dir():
        return []
    return [found.name for found in root.iterdir() if found.is_dir()]
