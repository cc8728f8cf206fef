"""A link to the Adapt page's examples and settings, and back. Reading is for untrusted text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t2ui.catalogue import SEARCH_METHODS
from t2ui.config import OBJECTIVES, PRESETS
from t2ui.ui.shared.examples import MAX_CHARS, MAX_ROWS, Row, filled
from t2ui.ui.shared.permalink import MAX_LINK_PROMPT, query_of

TAB = "adapt"
DEFAULTS = {"method": "auto", "objective": "likelihood", "budget": "light"}  # of the boxes
OFFERED = {"method": ("auto", *SEARCH_METHODS), "objective": OBJECTIVES, "budget": PRESETS}


@dataclass(frozen=True)
class Linked:
    """What a link says; empty where it says nothing."""

    rows: tuple[Row, ...] = ()
    settings: Mapping[str, str] | None = None  # by the names of DEFAULTS


def link_to(rows: Sequence[Row], settings: Mapping[str, Any]) -> tuple[str, str]:
    """The query string, beginning with "?", and a note for the person (empty when all rows fit)."""
    written = filled(rows)[0]
    kept = list(written)
    while len(_text(kept)) > MAX_LINK_PROMPT:
        kept.pop()
    said = {"tab": TAB, **({"examples": _text(kept)} if kept else {})}
    said |= {name: str(settings[name]) for name in DEFAULTS if settings[name] != DEFAULTS[name]}
    note = ""
    if len(kept) < len(written):
        note = (
            f"The link carries the first {len(kept)} of {len(written)} examples: all are too long."
        )
    return query_of(said), note


def from_link(query: Mapping[str, Any]) -> Linked:
    """What a link says, only if it is one to this page; nonsense is left out."""
    if query.get("tab") != TAB:
        return Linked()
    try:
        found = json.loads(str(query.get("examples", "")))
    except (ValueError, RecursionError):
        found = None
    rows = [
        (row[0][:MAX_CHARS], row[1][:MAX_CHARS])
        for row in (found if isinstance(found, list) else [])[:MAX_ROWS]
        if isinstance(row, list) and len(row) == 2 and all(isinstance(one, str) for one in row)
    ]
    said = {name: str(query[name]) for name in DEFAULTS if query.get(name) in OFFERED[name]}
    return Linked(tuple(rows), said)


def _text(rows: Sequence[Row]) -> str:
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
