"""A link with prompt, mixture, dispatcher and settings: `Controls` to query string and back, and
onto the sliders.

Reading is for untrusted text: whatever does not make sense is clamped or falls back to the
default, and nothing is ever evaluated. Only what differs from the defaults is written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote, urlencode

from t2ui.catalogue import NO_DISPATCH
from t2ui.checks import MAX_PROMPT_CHARS
from t2ui.errors import quoted
from t2ui.messages import Experts, Failed
from t2ui.ui.shared.controls import SAMPLING, Controls, clean_controls, clean_mixture
from t2ui.ui.shared.mixture import weights, with_experts

MAX_LINK_PROMPT = 4000  # characters; longer links are cut by browsers and proxies


def query_of(said: Mapping[str, str]) -> str:
    """The query string, beginning with "?". Half a character, which none can carry, is a "?"."""
    return f"?{urlencode(said, safe=':', errors='replace')}"


def to_query(controls: Controls) -> tuple[str, str]:
    """The query string, beginning with "?", and a note for the person (empty when all fits)."""
    default = Controls()
    parts: dict[str, str] = {}
    if controls.prompt:
        parts["prompt"] = controls.prompt[:MAX_LINK_PROMPT]
    if controls.mixture:
        parts["mix"] = ",".join(
            f"{quote(name, safe='')}={value:.10g}" for name, value in controls.mixture.items()
        )
    if controls.dispatch != default.dispatch:
        parts["dispatch"] = controls.dispatch
    if controls.routing != default.routing:
        parts["routing"] = controls.routing
    if controls.threshold:
        parts["threshold"] = f"{controls.threshold:.10g}"
    if controls.normalise:
        parts["normalise"] = "1"
    if controls.allow_transfer:
        parts["transfer"] = "1"
    if controls.scope:
        parts["scope"] = controls.scope
    for key in SAMPLING:
        value = getattr(controls.sampling, key)
        if value != getattr(default.sampling, key):
            parts[key] = f"{value:.10g}" if isinstance(value, float) else str(value)
    note = ""
    if len(controls.prompt) > MAX_LINK_PROMPT:
        note = (
            f"The prompt has {len(controls.prompt):,} characters; the link carries the first "
            f"{MAX_LINK_PROMPT:,}."
        )
    return query_of(parts), note


def sliders_query(mixer: Mapping[str, Any]) -> str:
    """What a link of another page than Ask says of the sliders: "" where they are at their
    defaults, otherwise it begins with "&"."""
    mixture = weights(mixer)
    sliders = Controls(
        mixture=mixture,
        dispatch=NO_DISPATCH if mixture else Controls.dispatch,
        normalise=bool(mixer.get("normalise")),
        allow_transfer=bool(mixer.get("allow_transfer")),
    )
    said = to_query(sliders)[0].removeprefix("?")
    return f"&{said}" if said else ""


def from_query(query: Mapping[str, Any]) -> Controls:
    """The controls a link asks for; names of experts are checked later, against the library."""

    def text(key: str) -> str:
        value = query.get(key, "")
        return value if isinstance(value, str) else ""

    mixture = clean_mixture(
        {
            unquote(name.strip()): value
            for name, sep, value in (part.rpartition("=") for part in text("mix").split(",")[:64])
            if sep and name.strip()
        }
    )
    controls = clean_controls(
        text("prompt")[:MAX_PROMPT_CHARS],
        text("dispatch") or (NO_DISPATCH if mixture else Controls.dispatch),
        {
            "normalise": text("normalise") in ("1", "true"),
            "allow_transfer": text("transfer") in ("1", "true"),
        },
        text("routing"),
        text("threshold"),
        text("scope"),
        *(text(key) for key in SAMPLING),
    )
    return replace(controls, mixture=mixture)


def not_here(asked: Mapping[str, str], offers: Mapping[str, Iterable[str]]) -> str:
    """What a link names that is not offered, in one line; "" where all of it is.

    Args:
        offers: the values that there are, by field.
    """
    lost = [
        f"{key} {quoted(asked[key][:80])}"
        for key, values in offers.items()
        if key in asked and asked[key] not in list(values)
    ]
    return f"{', '.join(lost)}: what the boxes show is used instead." if lost else ""


def filled(
    mixer: Mapping[str, Any], found: Experts | Failed, query: Mapping[str, str]
) -> dict[str, Any]:
    """The mixer with what the worker says of its experts; the first time, the link has a say."""
    if not isinstance(found, Experts):
        return {**mixer, "experts": [], "note": f"{found.message} {found.remedy}"}
    wanted = None
    if not mixer.get("experts") and not mixer.get("alpha"):  # not after a worker that failed
        asked = from_query(query)
        for box in ("normalise", "allow_transfer"):
            if mixer.get(box) is None:  # else a hand was on it already
                mixer = {**mixer, box: getattr(asked, box)}
        wanted = asked.mixture
    mixer = {**mixer, "dispatchers": list(found.dispatchers)}
    return with_experts(mixer, found.experts, found.problems, wanted)
