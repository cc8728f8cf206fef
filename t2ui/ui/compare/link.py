"""A link to a comparison, and back. Reading is for untrusted text."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from t2ui.checks import MAX_PROMPT_CHARS
from t2ui.ui.shared.permalink import MAX_LINK_PROMPT

TAB = "compare"
FIELDS = ("prompt", "from", "to", "given")  # parameters of the link, in the order of the boxes


def link_to(prompt: str, start: str, end: str, given: str) -> str:
    """The query string, beginning with "?"."""
    values = (prompt[:MAX_LINK_PROMPT], start, end, given[:MAX_LINK_PROMPT])
    said = {key: value for key, value in zip(FIELDS, values, strict=True) if value}
    return f"?{urlencode({'tab': TAB, **said}, safe=':')}"


def from_link(query: Mapping[str, Any]) -> dict[str, str]:
    """What a link says, only if it is one to this page."""
    if query.get("tab") != TAB:
        return {}
    return {key: str(query[key])[:MAX_PROMPT_CHARS] for key in FIELDS if query.get(key)}
