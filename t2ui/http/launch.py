"""How the app is launched: the page's look, with the door in front of it."""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gradio.routes import App

from t2ui.figures.singular_values import plotly_file
from t2ui.http.addresses import Keys
from t2ui.http.door import Door
from t2ui.http.gradio_queue import GradioQueue
from t2ui.http.limits import Limits
from t2ui.ui import PAGES
from t2ui.ui import launch_options as page_options
from t2ui.ui.shared.panel import ASSETS


def launch_options(limits: Limits | None = None) -> dict[str, Any]:
    """What `Blocks.launch` needs: the page's own options, and the door."""
    return {**page_options(), "app_kwargs": {"lifespan": _lifespan(limits or Limits())}}


@contextmanager
def visitors_folder(limits: Limits) -> Iterator[Path | None]:
    """Where a public app keeps what visitors save, for as long as the block runs; else None.

    The folder goes when the app ends, by Ctrl-C or because the system asks it to (SIGTERM).
    """
    if not limits.public:
        yield None
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with TemporaryDirectory(prefix="t2ui-visitors-") as folder:
            yield Path(folder)
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(*_: object) -> None:
    raise SystemExit(0)


def _lifespan(limits: Limits) -> Callable[[App], AbstractAsyncContextManager[None]]:
    """Hangs the door in before the first request.

    Not as one of the app's middlewares: Gradio puts its own around those, and what they answer
    themselves would be sent without our headers.
    """

    @asynccontextmanager
    async def opened(app: App) -> AsyncIterator[None]:
        folders = (ASSETS, plotly_file(), *(page.folder for page in PAGES))
        shipped = tuple(folder.resolve() for folder in folders)
        keys = Keys(secrets.token_bytes(32))
        stack: Any = app.middleware_stack  # built by now
        door = Door(stack, GradioQueue(app.get_blocks()), limits, keys, shipped)
        app.middleware_stack = door
        sweeping = asyncio.create_task(door.sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping

    return opened
