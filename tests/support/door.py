"""The app with the door in front, on a test double, and a visitor who talks plain HTTP to it."""

import itertools
import json
import time
from contextlib import contextmanager

import httpx
from fake_client import FakeClient

from t2ui.http.limits import Limits

_NUMBERS = itertools.count()


@contextmanager
def opened(limits: Limits | None = None, client=None, service=None, **fake):
    """(client, base URL, the app's blocks), for as long as the block runs."""
    from t2ui.http.launch import launch_options
    from t2ui.http.service import Service
    from t2ui.ui import build

    client = client or FakeClient(**fake)
    service = service or Service(client, limits or Limits())
    plan = service.workshop.plan if service.workshop else None
    demo = build(service.client, public=service.limits.public, workshop=plan)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(service))
    try:
        yield client, url.rstrip("/"), demo
    finally:
        demo.close()


def new_session() -> str:
    """A session that nobody had before."""
    return f"session{next(_NUMBERS)}"


class Visitor:
    """One address and one session."""

    def __init__(self, url: str, demo, session: str | None = None, address: str | None = None):
        headers = {"x-forwarded-for": address} if address else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=20, verify=False)
        self.demo, self.session = demo, session or new_session()

    def post(self, path: str, body, **more) -> httpx.Response:
        return self.http.post(f"/gradio_api/{path}", json=body, **more)

    def call(self, name: str, *data, **more) -> httpx.Response:
        """A post to the API by name."""
        return self.post(f"call/{name}", {"data": list(data), **more})

    def join(self, handler: str, *data, nth=0) -> httpx.Response:
        """What the page posts for an event; values that are left out are null."""
        fn = self.function(handler, nth)
        values = [*data, *[None] * (len(fn.inputs) - len(data))]
        body = {"fn_index": fn._id, "data": values, "session_hash": self.session}
        return self.post("queue/join", {**body, "event_data": {}})

    def server(self, function: str, data=None, **more) -> httpx.Response:
        """A call of a panel's server function."""
        block = next(b for b in self.demo.blocks.values() if hasattr(b, function))
        body = {"component_id": block._id, "fn_name": function, "data": data}
        return self.post("component_server/", {**body, "session_hash": self.session, **more})

    def function(self, handler: str, nth=0):
        fns = self.demo.fns.values()
        return [fn for fn in fns if getattr(fn.fn, "__name__", "") == handler][nth]

    def hear(self, name: str, event: str, seconds=20.0) -> list[tuple[str, object]]:
        """All (event, data) of a call by name, to its end."""
        found, kind = [], ""
        path = f"/gradio_api/call/{name}/{event}"
        with self.http.stream("GET", path, timeout=seconds) as response:
            assert response.status_code == 200, response.read()
            for line in response.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    found.append((kind, json.loads(line.removeprefix("data: "))))
        return found


def eventually(check, seconds=60.0):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
