"""A link to a comparison, and back. Reading is for untrusted text."""

from collections.abc import Mapping, Sequence
from typing import Any

from t2ui.checks import MAX_PROMPT_CHARS
from t2ui.ui.compare.points import SLIDERS
from t2ui.ui.shared.permalink import MAX_LINK_PROMPT, query_of, sliders_query

TAB = "compare"
# parameters of the link, in the order of the boxes
FIELDS = ("prompt", "from", "to", "given", "length", "questions", "controls")


def link_to(values: Sequence[Any], mixer: Mapping[str, Any]) -> str:
    """The query string, beginning with "?".

    Args:
        values: what the boxes say, in the order of `FIELDS`.
        mixer: the sliders, which the link carries where they are an end of the line.
    """
    said = {
        key: "1" if value is True else str(value)[:MAX_LINK_PROMPT]
        for key, value in zip(FIELDS, values, strict=True)
        if value
    }
    ends = said.get("from"), said.get("to")
    return query_of({"tab": TAB, **said}) + (sliders_query(mixer) if SLIDERS in ends else "")


def from_link(query: Mapping[str, Any]) -> dict[str, str]:
    """What a link says, only if it is one to this page."""
    if query.get("tab") != TAB:
        return {}
    return {key: str(query[key])[:MAX_PROMPT_CHARS] for key in FIELDS if query.get(key)}
