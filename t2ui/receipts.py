"""Receipts of answers in an SQLite file, by the answer's id: what `t2ui replay ID` reads.

Prompts are kept only where the operator wants them; without, a hash of what was asked stays, by
which `asked_hash` knows it again. Old receipts go, and the oldest where the file grows too large.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from t2ui.config import default_cache_dir
from t2ui.errors import InputError, quoted

TEXTS = ("prompt", "before", "answer")  # of a receipt: what was written, by whom ever
PRUNE_EVERY = 50  # receipts that are put between two looks at age and size
DAY_SECONDS = 86_400


def receipts_file() -> Path:
    """Where they are: in the cache folder."""
    return default_cache_dir() / "receipts.sqlite3"


class Receipts:
    """The receipts of one file. May be used by several threads and processes."""

    def __init__(
        self, path: Path, days: float = 30, megabytes: float = 200, texts: bool = False
    ) -> None:
        """
        Args:
            days, megabytes: how long and how much is kept.
            texts: whether prompts are kept.

        Raises:
            InputError: the file cannot be opened, or is no such file.
        """
        self.path, self._texts = path, texts
        self._seconds, self._bytes = days * DAY_SECONDS, round(megabytes * 1_000_000)
        self._lock = threading.Lock()
        self._put = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=10, check_same_thread=False)
            path.chmod(0o600)
            with self._file:
                self._file.execute("PRAGMA journal_mode=WAL")
                self._file.execute("PRAGMA synchronous=NORMAL")
                self._file.execute(
                    "CREATE TABLE IF NOT EXISTS receipts ("
                    "id TEXT PRIMARY KEY, at REAL NOT NULL, bytes INTEGER NOT NULL, said TEXT)"
                )
                self._file.execute("CREATE INDEX IF NOT EXISTS by_age ON receipts (at)")
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"The receipts' file {path} cannot be used ({error}): remove it, or set T2UI_CACHE "
                "to another folder."
            ) from None

    def put(
        self,
        answer_id: str,
        receipt: Mapping[str, Any],
        tokens: Sequence[str],
        now: float | None = None,
    ) -> None:
        """Keep a receipt.

        Args:
            tokens: a hash of each answer's token ids, by sample; see `messages.Ending`.
        """
        said = {**receipt, "asked": asked_hash(receipt), "tokens": list(tokens)}
        if not self._texts:
            for name in TEXTS:
                said.pop(name, None)
        text = json.dumps(said, ensure_ascii=False)
        row = answer_id, time.time() if now is None else now, len(text.encode()), text
        with self._lock, self._file:
            self._file.execute("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?)", row)
            self._put += 1
            if self._put % PRUNE_EVERY == 1:
                self._prune(row[1])

    def get(self, answer_id: str) -> dict[str, Any]:
        """The receipt of an answer; the API's prefix of its id does not matter.

        Raises:
            InputError: there is none.
        """
        key = answer_id.rpartition("-")[2]
        with self._lock, closing(self._file.cursor()) as cursor:
            row = cursor.execute("SELECT said FROM receipts WHERE id = ?", (key,)).fetchone()
        if row is None:
            raise InputError(
                f"There is no receipt of {quoted(answer_id)} in {self.path}: it is too old, or "
                "another T2UI_CACHE is set than where it was answered."
            )
        return json.loads(row[0])

    def __len__(self) -> int:
        with self._lock, closing(self._file.cursor()) as cursor:
            return int(cursor.execute("SELECT COUNT(*) FROM receipts").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def _prune(self, now: float) -> None:
        """Delete what is too old, then the oldest until the rest is small enough."""
        self._file.execute("DELETE FROM receipts WHERE at < ?", (now - self._seconds,))
        self._file.execute(
            "DELETE FROM receipts WHERE id IN (SELECT id FROM (SELECT id, SUM(bytes) OVER "
            "(ORDER BY at DESC, id) AS so_far FROM receipts) WHERE so_far > ?)",
            (self._bytes,),
        )


def asked_hash(receipt: Mapping[str, Any]) -> str:
    """A hash of what was asked: the prompt, what came before it, and in which form."""
    before = [list(turn) for turn in receipt.get("before", ())]
    asked = [receipt.get("prompt"), before, receipt.get("plain", False)]
    return sha256(json.dumps(asked, ensure_ascii=True).encode()).hexdigest()
