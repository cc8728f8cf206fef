"""Options of Gradio events, by what the event costs; and what a script sends along with one."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradio import EventData

PAGE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
QUICK = {**PAGE, "queue": False}  # answered without the model, in milliseconds
LIGHT = {**PAGE, "concurrency_limit": None}  # the same, but queued: only queued events may warn
# The door in front (t2ui.http) knows the two lanes by these names and lets only so many in.
ANSWERS_LANE: dict[str, Any] = {"concurrency_id": "answers", "concurrency_limit": None}
WORKER_LANE: dict[str, Any] = {"concurrency_id": "worker", "concurrency_limit": None}
ANSWERS = {**PAGE, **ANSWERS_LANE}  # an answer of the model
WORKER = {**PAGE, **WORKER_LANE}  # other things that the worker does
# The same for what is chosen again and again: what comes while one runs is answered after it.
# Gradio forgets it without this mode, also where the event follows another one by `then`.
NEWEST = {**WORKER, "trigger_mode": "always_last"}


def sent(event: "EventData") -> dict[str, Any]:
    """What the page's script sends with an event, untrusted; {} where that is no object."""
    return event._data if isinstance(event._data, dict) else {}
