"""How the app is launched: the page's look, with the door in front of it."""

import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gradio.blocks import Blocks
from gradio.routes import App
from starlette.middleware import Middleware

from t2ui.figures.singular_values import plotly_file
from t2ui.http.addresses import Keys
from t2ui.http.door import Door
from t2ui.http.drain import Drain
from t2ui.http.first_look import FirstLook
from t2ui.http.gradio_queue import GradioQueue
from t2ui.http.limits import Limits
from t2ui.http.logs import log_event
from t2ui.http.service import Service
from t2ui.ui import first_look, pages_of
from t2ui.ui import launch_options as page_options
from t2ui.ui.shared.panel import ASSETS


def launch_options(service: Service) -> dict[str, Any]:
    """What `Blocks.launch` needs: the page's own options, its first look, and the door."""
    workshop = service.workshop is not None
    markup = first_look(service.worker.status().model, workshop)
    within = {"lifespan": _lifespan(service), "middleware": [Middleware(FirstLook, markup)]}
    return {**page_options(workshop), "app_kwargs": within}


@contextmanager
def visitors_folder(limits: Limits) -> Iterator[Path | None]:
    """Where a public app keeps what visitors save, for as long as the block runs; else None.

    The folder goes when the app ends.
    """
    if not limits.public:
        yield None
        return
    with TemporaryDirectory(prefix="t2ui-visitors-") as folder:
        yield Path(folder)


@contextmanager
def heard_by(drain: Drain) -> Iterator[None]:
    """The block in which the system's wish to end (SIGTERM) begins the drain. It is entered before
    the app is launched, which answers a little before `launch` returns."""
    before = signal.signal(signal.SIGTERM, lambda *_: drain.begin())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_until_asked(service: Service, demo: Blocks) -> None:
    """Serve until the drain begins: then what runs is answered to its end, and nothing new is
    taken. Ctrl-C ends it at once.
    """
    try:
        while not service.drain.wait_begun(0.5):
            pass
        left = service.drain.finish(service.limits.drain_seconds)
        if left:
            log_event("stopped before all was answered", left=left)
    finally:
        demo.close()


def _lifespan(service: Service) -> Callable[[App], AbstractAsyncContextManager[None]]:
    """Hangs the door in before the first request.

    Not as one of the app's middlewares: Gradio puts its own around those, and what they answer
    themselves would be sent without our headers.
    """

    @asynccontextmanager
    async def opened(app: App) -> AsyncIterator[None]:
        pages = pages_of(service.workshop is not None)
        folders = (ASSETS, plotly_file(), *(page.folder for page in pages))
        shipped = tuple(folder.resolve() for folder in folders)
        keys = Keys(secrets.token_bytes(32))
        stack: Any = app.middleware_stack  # built by now
        door = Door(stack, GradioQueue(app.get_blocks()), service, keys, shipped)
        app.middleware_stack = door
        async with door.running():
            yield

    return opened
