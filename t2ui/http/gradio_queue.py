"""The part of Gradio's queue that the door reads and tidies up.

Gradio has no public way to ask whose events are under way, nor does it end an event that nobody
listens to; what is touched here is its `Queue`'s plain attributes, in this file alone.
"""

from dataclasses import dataclass
from typing import Any

from gradio.blocks import Blocks
from gradio.queueing import Event
from gradio.utils import cancel_tasks

MOST_SESSIONS = 50_000  # with messages that wait; the oldest of Gradio's 2,000 would be dropped
ENTRY_KEY = "t2ui.entry"  # in a request's scope: what the door let in


class GradioQueue:
    """Events under way, and messages that wait to be read."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._queue = blocks._queue
        # first in, first out: sessions that others pushed out would lose what is on its way
        self._queue.pending_messages_per_session.max_size = MOST_SESSIONS
        # statistics of all events, made anew after each one: 20 ms of everybody's time
        self._queue.ANAYLTICS_CACHE_FREQUENCY = 2**62
        self._queue.ANALYTICS_MAX_EVENTS = 1

    @property
    def blocks(self) -> Blocks:
        return self._blocks

    def events(self) -> list[Event]:
        """What waits or runs."""
        return list(self._queue.event_ids_to_events.values())

    def entries(self) -> list[Any]:
        """What the door has put into the scopes of the requests that wait or run.

        Gradio knows an event for a moment longer than its listener hears that it is complete:
        whoever asks again at once must not be told that it is still under way.
        """
        waiting = [
            one
            for lane in self._queue.event_queue_per_concurrency_id.values()
            for one in lane.queue
        ]
        running = [one for job in self._queue.active_jobs if job for one in job]
        found = (event.request.scope.get(ENTRY_KEY) for event in (*waiting, *running))
        return [entry for entry in found if entry is not None]

    def told_of_their_end(self) -> list[Any]:
        """The entries of events that still run, but whose listener has heard that they ended."""
        running = [one for job in self._queue.active_jobs if job for one in job]
        pending = self._queue.pending_event_ids_session
        over = [one for one in running if one._id not in pending.get(one.session_hash, ())]
        found = (event.request.scope.get(ENTRY_KEY) for event in over)
        return [entry for entry in found if entry is not None]

    def entry_of(self, event_id: str) -> Any:
        """What the door let in as this event; None where there is no such event."""
        event = self._queue.event_ids_to_events.get(event_id)
        return None if event is None else event.request.scope.get(ENTRY_KEY)

    def event_of(self, session: str, function: int) -> str | None:
        """The newest event of a session that asks for this function; None where there is none."""
        found = [
            event._id
            for event in self.events()
            if event.session_hash == session and event.fn._id == function
        ]
        return found[-1] if found else None

    def session_of(self, event_id: str) -> str | None:
        """The session that an event's messages are in; None where they are not here any more."""
        event = self._queue.event_ids_to_events.get(event_id)
        if event is not None:
            return event.session_hash
        for session, events in self._queue.pending_event_ids_session.items():
            if event_id in events:
                return session
        return None

    def has_messages(self, session: str) -> bool:
        """Whether somebody may listen to this session."""
        return session in self._queue.pending_messages_per_session

    def sessions(self) -> set[str]:
        """All with messages, or with events that once were under way."""
        return {*self._queue.pending_messages_per_session, *self._queue.pending_event_ids_session}

    def is_new(self, session: str | None) -> bool:
        """Whether Gradio has yet to make a state for this session; None: for the event's own."""
        return session is None or session not in self._blocks.state_holder

    async def end(self, event: Event) -> None:
        """Stop an event, waiting or running."""
        await cancel_tasks({f"{event.session_hash}_{event.fn._id}"})
        await self._queue.clean_events(event_id=event._id)
        self._queue.event_ids_to_events.pop(event._id, None)

    def forget(self, session: str) -> None:
        """Drop the messages that nobody has read."""
        self._queue.pending_messages_per_session.pop(session, None)
        self._queue.pending_event_ids_session.pop(session, None)


@dataclass(frozen=True)
class ApiParameter:
    """One value of a call by name."""

    name: str
    has_default: bool
    default: Any


def api_parameters(blocks: Blocks) -> dict[str, list[ApiParameter]]:
    """What each function of the API takes, in order, by its name."""
    endpoints = blocks.get_api_info()["named_endpoints"]
    return {
        name.removeprefix("/"): [
            ApiParameter(
                one["parameter_name"],
                bool(one["parameter_has_default"]),
                one.get("parameter_default"),
            )
            for one in endpoint["parameters"]
        ]
        for name, endpoint in endpoints.items()
    }
