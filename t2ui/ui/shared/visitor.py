"""Who asks: what the door in front of the app (`t2ui.http`) has found out about a request.

The door puts a `Visitor` into the request's scope; a page that runs without it (in tests) has
nobody. `of` gives handlers the worker's client as this visitor may use it. Knows no gradio: its
requests are read for the one attribute that they wrap.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from t2ui.messages import Event, Experts, Failed, Request, Status
from t2ui.ui.shared.listen import Client, Job

SCOPE_KEY = "t2ui.visitor"


@dataclass(frozen=True)
class Visitor:
    """One browser session, or whoever posts to the API from one address."""

    session: str = ""  # an unguessable key; "" for nobody in particular
    address: str = ""
    most_searches: int = 1000  # under way at once from this address
    # kinds of requests that are not for this visitor, with what they are told
    closed: Mapping[type[Request], Failed] = field(default_factory=dict, hash=False)


NOBODY = Visitor()


def visitor_of(request: Any) -> Visitor:
    """Whose request this is: gr.Request, or the starlette one that it wraps."""
    scope = getattr(getattr(request, "request", None) or request, "scope", None)
    found = scope.get(SCOPE_KEY, NOBODY) if isinstance(scope, Mapping) else NOBODY
    return found if isinstance(found, Visitor) else NOBODY


class ClosedJob:
    """What a request becomes that is not for whoever sends it."""

    def __init__(self, why: Failed) -> None:
        self.id = uuid.uuid4().hex
        self._why, self.finished = why, False

    def next(self, timeout: float = 0.25) -> Event | None:
        """Failed, with the reason; then nothing."""
        if self.finished:
            return None
        self.finished = True
        return self._why

    def cancel(self) -> None:
        """Nothing runs."""


class VisitorClient:
    """A worker's client whose requests say whose they are."""

    def __init__(self, client: Client, visitor: Visitor) -> None:
        self._client, self._visitor = client, visitor

    def submit(self, request: Request) -> Job:
        """Send a request in the visitor's name; one that is closed to them fails at once."""
        if (why := self._visitor.closed.get(type(request))) is not None:
            return ClosedJob(why)
        return self._client.submit(replace(request, session=self._visitor.session))

    def status(self) -> Status:
        """The worker's state."""
        return self._client.status()

    def experts(self, session: str = "") -> Experts | None:
        """The experts that the visitor sees."""
        return self._client.experts(session or self._visitor.session)


def of(client: Client, request: Any) -> VisitorClient:
    """The client for the handler of this request."""
    return VisitorClient(client, visitor_of(request))
