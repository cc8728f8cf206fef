"""A link to what the Inspect page shows, and back. Reading is for untrusted text."""

from collections.abc import Mapping, Sequence
from typing import Any

from t2ui.ui.shared.permalink import query_of, sliders_query

CHOICES = ("look", "compare", "show", "rows", "module", "layer")  # parameters of the link, in order
TAB = "inspect"


def link_to(chosen: Sequence[Any], mixer: Mapping[str, Any]) -> str:
    """The query string, beginning with "?", of the page's choices and of the sliders."""
    said = {key: value for key, value in zip(CHOICES, chosen, strict=True) if value}
    return query_of({"tab": TAB, **said}) + sliders_query(mixer)


def from_link(query: Mapping[str, Any]) -> dict[str, str]:
    """What a link says of the page's choices; whether they are offered is checked later."""
    return {key: str(query[key]) for key in CHOICES if query.get(key)}
