"""Each tenant's own log: who asked when with which experts. Without the texts unless asked for."""

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t2ui.http.tenants import Tenants, now
from t2ui.messages import TENANT, Ask, owner_of

FILE = "audit.jsonl"
MOST_BYTES = 20_000_000  # then it becomes FILE.1, and FILE.1 goes


class Audit:
    """Writes one line of JSON for every answer into its tenant's folder."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._lock = threading.Lock()

    def write(
        self,
        answer_id: str,
        ask: Ask,
        ended: str,
        receipt: Mapping[str, Any] | None,
        tokens: int,
    ) -> None:
        """Write down an answer that has ended: done, cancelled or failed."""
        owner = owner_of(ask.session)
        tenant = self._tenants.named(owner.removeprefix(TENANT))
        if not owner.startswith(TENANT) or tenant is None:
            return
        said = {
            "at": now(),
            "id": answer_id,
            "ended": ended,
            "experts": (receipt or {}).get("experts", {}),  # name -> sha256
            "mixture": (receipt or {}).get("mixture"),
            "dispatch": (receipt or {}).get("dispatch", ask.dispatch),
            "tokens": tokens,
        }
        if tenant.texts:
            said |= {"before": [list(turn) for turn in ask.before], "prompt": ask.prompt}
        line = json.dumps(said, ensure_ascii=False) + "\n"
        with self._lock:
            self._append(self._tenants.folders / tenant.name / FILE, line)

    @staticmethod
    def _append(path: Path, line: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > MOST_BYTES:
            os.replace(path, path.with_name(f"{FILE}.1"))
        with open(path, "a", encoding="utf-8", opener=_private) as file:
            file.write(line)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
