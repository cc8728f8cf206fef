"""Who runs rows: this process, or a crew of workers that each hold the same model.

Rows in, results out, in the rows' order, piece by piece. Rows of a worker that is lost are given to
the others. Knows nothing of what is computed, nor of how workers are reached.
"""

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple, Protocol

from t2ui.cluster.work import Base, Carried, Machine, Piece, Wanted, Work
from t2ui.errors import InputError


def _everything(place: int) -> bool:
    return True


class Executor(Protocol):
    """Runs work."""

    def run(
        self, work: Work, rows: Sequence[Any], wanted: Wanted = _everything
    ) -> Generator[Piece, None, None]:
        """Do all rows; a row's place is its index. To stop, close the generator.

        Args:
            wanted: asked before a row is begun; one that nobody waits for any more is left out.

        Raises:
            InputError: what a row raises, wherever it is run.
        """


class Local:
    """This process does all rows, in their order, between two pieces as the work sets the model."""

    def __init__(self, machine: Machine):
        self.machine = machine

    def run(
        self, work: Work, rows: Sequence[Any], wanted: Wanted = _everything
    ) -> Generator[Piece, None, None]:
        with work.setting(self.machine):
            yield from work.run(self.machine, rows, wanted)


class Crew(Protocol):
    """Workers somewhere, each with the same model. One gets rows when it has answered the last."""

    @property
    def size(self) -> int:
        """How many there were at the start."""

    def alive(self) -> Sequence[int]:
        """Those that are not lost."""

    def begin(self, work: Work) -> None:
        """What is sent from now on is rows of this work."""

    def send(self, worker: int, rows: Sequence[Any]) -> None:
        """Let a worker that is idle do these rows."""

    def answer(self) -> tuple[int, "list[Piece] | InputError | None"]:
        """Wait until any worker answers: which one, and all its pieces, or what a row has raised
        there; None: it is lost."""


class _Chunk(NamedTuple):
    number: int
    places: list[int]


class Spread:
    """A crew's workers do the rows."""

    def __init__(self, crew: Crew):
        self.crew = crew
        self._given: dict[int, tuple[int, _Chunk]] = {}  # the run and the chunk of who works
        self._runs = 0

    def run(
        self, work: Work, rows: Sequence[Any], wanted: Wanted = _everything
    ) -> Generator[Piece, None, None]:
        self._runs += 1
        run, first = self._runs, 0
        self.crew.begin(work)
        waiting = deque(_chunks(len(rows), work.at_once, self.crew.size))
        total, done = len(waiting), dict[int, list[Piece]]()
        while first < total:
            self._give(run, waiting, rows, wanted, done)
            while first in done:
                yield from done.pop(first)
                first += 1
            if first < total:
                self._take(run, waiting, done)

    def _give(
        self,
        run: int,
        waiting: deque[_Chunk],
        rows: Sequence[Any],
        wanted: Wanted,
        done: dict[int, list[Piece]],
    ) -> None:
        """Give every idle worker a chunk; one of which nothing is wanted is done."""
        for worker in self.crew.alive():
            while waiting and worker not in self._given:
                number, places = waiting.popleft()
                places = [place for place in places if wanted(place)]
                if not places:
                    done[number] = []
                    continue
                self.crew.send(worker, [rows[place] for place in places])
                self._given[worker] = run, _Chunk(number, places)

    def _take(self, run: int, waiting: deque[_Chunk], done: dict[int, list[Piece]]) -> None:
        """Wait for one worker: its answer, or, where it is lost, its rows again."""
        if not self._given:
            raise InputError(
                "Every worker of the cluster is lost: start the cluster again, then give the same "
                "command again."
            )
        worker, pieces = self.crew.answer()
        given, chunk = self._given.pop(worker)
        if given != run:  # of a run that was stopped
            return
        if isinstance(pieces, InputError):
            raise pieces
        if pieces is None:
            waiting.appendleft(chunk)
            return
        done[chunk.number] = [
            Piece([(chunk.places[place], found) for place, found in piece.results], piece.tokens)
            for piece in pieces
        ]


def _chunks(count: int, at_once: int, workers: int) -> Iterator[_Chunk]:
    """Places of rows: as many together as the work can do, but something for every worker."""
    size = max(1, min(at_once, math.ceil(count / workers)))
    for number, start in enumerate(range(0, count, size)):
        yield _Chunk(number, list(range(start, min(start + size, count))))


class Where(NamedTuple):
    """Who runs rows, and under which scales: one z for all of them, or the model as it is set."""

    executor: Executor
    scales: Carried | None = None
    tail: int | None = None  # in scope "answer": the base model reads prompts up to their tails


def here(
    model: Any, tokenizer: Any = None, tail: int | None = None, base: Base | None = None
) -> Where:
    """This process, with the model as it is set.

    Args:
        tail, base: for scope "answer", as of `BaseReading`.
    """
    return Where(Local(Machine(model, tokenizer, base=base)), None, tail)


def results(executor: Executor, work: Work, rows: Sequence[Any]) -> list[Any]:
    """All rows' results, in their order."""
    found: dict[int, Any] = {}
    with closing(executor.run(work, rows)) as pieces:
        for piece in pieces:
            found.update(piece.results)
    return [found[place] for place in range(len(rows))]
