"""Has the worker carry a contest out: entries scored as they come, CEM as a player, the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

from t2ui.config import FewShotConfig
from t2ui.messages import (
    Adapt,
    Adapted,
    Decision,
    Event,
    Experts,
    Failed,
    Generation,
    Request,
    ScoredSoFar,
    ScoreMixtures,
    SearchBegan,
)
from t2ui.ui.shared.listen import Client, Job, follow, listed
from t2ui.workshop.contest import ENDING, Contest
from t2ui.workshop.entry import FAILED, SEARCHING, STOPPED, Entry, gone

LOOK_SECONDS = 0.2  # how soon what was handed in is noticed
DISK_SECONDS = 5.0  # between tries to write what the disk has refused
INPUT = "input"  # the cause of a Failed that is due to what was asked for
AT_ONCE = 8  # entries that are scored together: a batch holds about so many
STOPPED_EARLY = Failed("The worker stopped before all was answered.")


class Play:
    """A contest on a worker. Everything happens on the event loop's thread."""

    def __init__(self, client: Client, contest: Contest) -> None:
        self._client, self.contest = client, contest
        self._searching: asyncio.Task | None = None
        self._search: Job | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The block in which it plays."""
        scoring, writing = map(asyncio.create_task, (self._score_all(), self._write_again()))
        try:
            yield
        finally:
            for task in filter(None, (scoring, writing, self._searching)):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def start_search(self) -> None:
        """Let CEM play along: the few-shot search, on the visible questions.

        Raises:
            InputError: what `Contest.begin_search` raises.
        """
        self.contest.begin_search()
        self._searching = asyncio.create_task(self._run_search())

    def end(self) -> None:
        """Close the contest; CEM stops with the best that it has found.

        Raises:
            InputError: what `Contest.end` raises.
        """
        self.contest.end()
        if self._search is not None:
            self._search.cancel()

    async def _score_all(self) -> None:
        """For as long as the app runs; while the experts are not known it waits."""
        while True:
            contest, found = self.contest, listed(self._client)
            ending = contest.state == ENDING and not contest.note
            if isinstance(found, Failed) and ending:
                contest.not_decided(str(found))
            if isinstance(found, Experts):
                contest.look_for_experts(_names(found))
                if entries := contest.take_waiting(AT_ONCE):
                    await self._score(entries)
                    continue
                if ending and contest.search.state != SEARCHING:
                    await self._decide()
                    continue
            await asyncio.sleep(LOOK_SECONDS)

    async def _write_again(self) -> None:
        """For as long as the app runs."""
        while True:
            await asyncio.sleep(DISK_SECONDS)
            self.contest.write_again()

    async def _score(self, entries: list[Entry]) -> None:
        """Together; where that fails by what was asked for, each by itself."""
        contest = self.contest
        mixtures = tuple(one.mixture for one in entries)
        asked = ScoreMixtures(contest.plan.visible, mixtures, (), contest.plan.tokens)
        found = await self._decision(asked)
        if isinstance(found, Decision):
            contest.scored(entries, found.entries)
        elif found.cause == INPUT and len(entries) > 1:
            for entry in entries:
                await self._score([entry])
        else:
            contest.failed(entries, str(found))

    async def _decide(self) -> None:
        """Where it fails by what was asked for, the next look decides without those who cannot be
        asked."""
        contest = self.contest
        entries, rivals = contest.players()
        own, others = (tuple(mixture for _, mixture in some) for some in (entries, rivals))
        asked = ScoreMixtures(contest.plan.hidden, own, others, contest.plan.tokens)
        contest.decided_so_far = 0, len(asked.mixtures)
        found = await self._decision(asked)
        if isinstance(found, Decision):
            contest.decided(entries, rivals, found)
        elif found.cause != INPUT or not (self._went(asked) or contest.leave_out_failed()):
            contest.not_decided(str(found))

    def _went(self, asked: ScoreMixtures) -> bool:
        """Whether an expert of these mixtures is not there any more."""
        found = listed(self._client)
        return isinstance(found, Experts) and any(
            gone(one, _names(found)) for one in asked.mixtures
        )

    async def _decision(self, asked: ScoreMixtures) -> Decision | Failed:
        """What came out, or why nothing did."""
        found: Decision | Failed = STOPPED_EARLY
        async for event in self._events(asked):
            if isinstance(event, (Decision, Failed)):
                found = event
            elif isinstance(event, ScoredSoFar) and self.contest.state == ENDING:
                self.contest.decided_so_far = event.done, event.of
        return found

    async def _run_search(self) -> None:
        """The paper's search on rewards, with the small budget; nothing is held out, since the
        hidden part is."""
        contest, search = self.contest, self.contest.search
        light = FewShotConfig.preset("light")
        config = FewShotConfig(
            "cem",
            "reward",
            population=light.population,
            elite_ratio=light.elite_ratio,
            generations=light.generations,
            held_out=0.0,
            max_new_tokens=contest.plan.tokens,
        )
        found: Adapted | None = None
        state, why = STOPPED, "It was stopped before its first generation."
        async for event in self._events(Adapt(contest.plan.visible, config)):
            if isinstance(event, SearchBegan):
                search.generations = event.generations
            elif isinstance(event, Generation):
                search.generation = event.number
            elif isinstance(event, Adapted):
                found = event
            elif isinstance(event, Failed):
                state, why = FAILED, str(event)
        self._search = None
        if found is None:
            contest.search_ended(state, why)
            return
        once = ScoreMixtures(contest.plan.visible, (found.mixture,), (), contest.plan.tokens)
        scored = await self._decision(once)
        right = scored.entries[0].count if isinstance(scored, Decision) else None
        contest.searched(found.mixture, right)

    async def _events(self, request: Request) -> AsyncIterator[Event]:
        job = self._client.submit(request)
        if isinstance(request, Adapt):
            self._search = job
        async with aclosing(follow(job)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event


def _names(found: Experts) -> set[str]:
    return {one.name for one in found.experts}
