"""Results of single rows as JSON Lines, so that a comparison that was stopped goes on.

One line per row, method and set, written as soon as it is known. Knows nothing of models.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from t2ui.errors import InputError

Outcome = dict[str, Any]


class ResultLog:
    """All results so far; `add` appends to the file, if there is one.

    Args:
        path: the file; None keeps results in memory only.
        settings: what all rows have in common (model, fingerprint, dtype). A file with other
            settings is refused.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]):
        self.settings = json.loads(json.dumps(dict(settings)))
        self._known: dict[tuple[str, str, str], dict[str, Outcome]] = {}
        self._file: TextIO | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                self._read(path)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"{path} cannot be written ({error.strerror}): give another --out."
            ) from None
        if self._file.tell() == 0:
            self._write({"settings": self.settings})

    def __enter__(self) -> "ResultLog":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file:
            self._file.close()

    def of(self, name: str, method: str, digest: str) -> dict[str, Outcome]:
        """Row id -> outcome, for one set and one version of a method."""
        return self._known.setdefault((name, method, digest), {})

    def add(self, name: str, method: str, digest: str, row: str, outcome: Outcome) -> None:
        """Keep one row's outcome."""
        self.of(name, method, digest)[row] = outcome
        self._write({"set": name, "method": method, "digest": digest, "row": row, **outcome})

    def _write(self, line: dict[str, Any]) -> None:
        if self._file:
            try:
                self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
                self._file.flush()
            except OSError as error:
                raise InputError(
                    f"Results could not be written ({error.strerror}): make room, then give the "
                    "same command; it goes on where it stopped."
                ) from None

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):  # a run that was killed while it wrote
            path.write_bytes(whole)
        for number, line in enumerate(whole.decode("utf-8", "replace").split("\n")[:-1], start=1):
            try:
                found = json.loads(line)
                if number == 1:
                    self._check(found["settings"], path)
                    continue
                key = (found.pop("set"), found.pop("method"), found.pop("digest"))
                self._known.setdefault(key, {})[found.pop("row")] = found
            except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
                raise InputError(
                    f"{path.name}, line {number}: no result of an evaluation; give another --out."
                ) from None

    def _check(self, settings: Mapping[str, Any], path: Path) -> None:
        for key in {*settings, *self.settings}:
            before, now = settings.get(key), self.settings.get(key)
            if before != now:
                raise InputError(
                    f"{path.name} was made with {key} {before!r}, now it is {now!r}: give another "
                    "--out, or the same settings to go on."
                )
