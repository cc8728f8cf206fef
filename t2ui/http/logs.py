"""What the server writes down of itself: one line of JSON for each request and each mishap.

No texts, no keys, no query strings: a link to the page carries the prompt.
"""

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

LOGGER = "t2ui.http"
FIELDS = "fields"  # of a record: what stands in its line beside the message


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, timezone.utc)
        said: dict[str, Any] = {
            "at": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False, default=str)


def log_json() -> None:
    """Write JSON to stderr, the web server's own messages too. Call it once that has started."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        own = logging.getLogger(name)
        own.handlers.clear()
        own.propagate = True
    logging.getLogger(LOGGER).setLevel(logging.INFO)


def log_request(fields: dict[str, Any]) -> None:
    """One request that was answered, or refused."""
    logging.getLogger(LOGGER).info("request", extra={FIELDS: fields})


def log_event(message: str, **fields: Any) -> None:
    """Something that an operator wants to know."""
    logging.getLogger(LOGGER).warning(message, extra={FIELDS: fields})
