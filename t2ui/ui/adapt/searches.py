"""The searches that pages have started, by an id that cannot be guessed.

A search belongs to nobody's connection: it goes on while its page reloads, and its result is kept
for a while. Whoever has the id (the tab that started it) can look at it, stop it and use what it
found. One `Searches` a built app; its methods are called from the event loop's thread alone, and
`start` while that loop runs: each search has a task there that ends it when its pages are gone.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from t2ui.errors import InputError
from t2ui.messages import Adapt, Adapted
from t2ui.ui.adapt.search_view import SearchView, no_search
from t2ui.ui.shared.listen import Client, Job
from t2ui.ui.shared.visitor import NOBODY, Visitor, VisitorClient

MOST_KEPT = 200
DESERTED_SECONDS = 300.0  # a running search that nobody looks at is stopped after about so long
WATCH_SECONDS = 30.0  # how often that is checked
GONE = "This search is not here any more: the app was restarted, or it was long ago. Start again."


class _Kept:
    """One search: its job, its view, and when somebody last looked."""

    def __init__(self, job: Job, view: SearchView, visitor: Visitor) -> None:
        self.job, self.view, self.visitor = job, view, visitor
        self.looked_at = time.monotonic()
        self.watcher: asyncio.Task | None = None  # a loop keeps no task alive by itself

    def catch_up(self) -> SearchView:
        """The view with every event that has come meanwhile."""
        while (event := self.job.next(timeout=0)) is not None:
            self.view.apply(event)
        return self.view


class Searches:
    """Starts searches on a worker's client and keeps them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def start(
        self,
        request: Adapt,
        colours: Mapping[str, str],
        before: str = "",
        visitor: Visitor = NOBODY,
    ) -> str:
        """Start one, after stopping the one `before`, if it still runs; its id.

        Raises:
            InputError: another search of this session runs, or too many from its address.
        """
        self.stop(before)
        self._check_room(visitor)
        loading = self._client.status().state in ("loading", "restarting")
        job = VisitorClient(self._client, visitor).submit(request)
        kept = self._kept[job.id] = _Kept(job, SearchView(request, colours, loading), visitor)
        kept.watcher = asyncio.get_running_loop().create_task(self._watch(kept))
        self._tidy()
        return job.id

    def stop(self, search_id: str) -> None:
        """Let it end with the best so far; nothing where it has ended or is not here."""
        kept = self._kept.get(search_id)
        if kept is not None and kept.catch_up().running:
            kept.view.stopping = True
            kept.job.cancel()

    def view(self, search_id: str) -> SearchView | None:
        """The search as it is now; None where it is not here."""
        kept = self._kept.get(search_id)
        if kept is None:
            return None
        kept.looked_at = time.monotonic()
        return kept.catch_up()

    def value(self, search_id: str, seen: int = -1) -> dict[str, Any]:
        """What the page draws, see `SearchView.value`."""
        view = self.view(search_id)
        self._tidy()
        if view is None:
            return no_search(GONE) if search_id else no_search()
        return view.value(seen)

    def found(self, search_id: str) -> tuple[Adapt, Adapted] | None:
        """What was asked and what was found; None while there is nothing."""
        view = self.view(search_id)
        return None if view is None or view.adapted is None else (view.request, view.adapted)

    def _check_room(self, visitor: Visitor) -> None:
        running = [
            kept.visitor
            for kept in self._kept.values()
            if not kept.view.stopping and kept.catch_up().running
        ]
        if visitor.session and visitor.session in [one.session for one in running]:
            raise InputError("A search of yours is running: wait for it, or press Stop.")
        if [one.address for one in running].count(visitor.address) >= visitor.most_searches:
            raise InputError(
                f"{visitor.most_searches} searches from your address are running or waiting: "
                "wait until one of them has ended."
            )

    async def _watch(self, kept: _Kept) -> None:
        """Tidy up for as long as a search runs: no page may be open that would ask for anything."""
        while kept.catch_up().running:
            await asyncio.sleep(WATCH_SECONDS)
            self._tidy()

    def _tidy(self) -> None:
        """Stop what nobody looks at any more, and forget the oldest that ended."""
        now = time.monotonic()
        for kept in self._kept.values():
            if now - kept.looked_at > DESERTED_SECONDS and kept.catch_up().running:
                kept.job.cancel()
        ended = [key for key, kept in self._kept.items() if not kept.view.running]
        for key in ended[: max(0, len(self._kept) - MOST_KEPT)]:
            del self._kept[key]
