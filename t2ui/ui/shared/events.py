"""Options of Gradio events, by what the event costs."""

from typing import Any

PAGE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
QUICK = {**PAGE, "queue": False}  # answered without the model, in milliseconds
LIGHT = {**PAGE, "concurrency_limit": None}  # the same, but queued: only queued events may warn
# The door in front (t2ui.http) knows the two lanes by these names and lets only so many in.
ANSWERS_LANE: dict[str, Any] = {"concurrency_id": "answers", "concurrency_limit": None}
WORKER_LANE: dict[str, Any] = {"concurrency_id": "worker", "concurrency_limit": None}
ANSWERS = {**PAGE, **ANSWERS_LANE}  # an answer of the model
WORKER = {**PAGE, **WORKER_LANE}  # other things that the worker does
