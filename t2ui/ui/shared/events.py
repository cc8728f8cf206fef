"""Options of Gradio events, by what the event costs."""

from typing import Any

PAGE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
QUICK = {**PAGE, "queue": False}  # answered without the model, in milliseconds
LIGHT = {**PAGE, "concurrency_limit": None}  # the same, but queued: only queued events may warn
WORKER = {**PAGE, "concurrency_id": "worker", "concurrency_limit": 64}  # asks the model
