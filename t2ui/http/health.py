"""/health, for whoever keeps the server running."""

from typing import Any

from t2ui import __version__
from t2ui.messages import Status

HEADERS = {"cache-control": "no-store"}


def health(status: Status, draining: bool) -> tuple[int, dict[str, Any]]:
    """Whether requests are answered at once (200) or not now (503), and what of.

    A worker that was killed is started again: `restarting` is not yet a reason to end the server,
    `failed` is.
    """
    state = "draining" if draining else status.state
    said = {
        "status": "ok" if state in ("ready", "busy") else state,
        "detail": status.detail,
        "model": status.model,
        "device": status.device,
        "running": status.running,
        "queued": status.queued,
        "restarts": status.restarts,
        "version": __version__,
    }
    return (200 if said["status"] == "ok" else 503), said
