"""Sweeps, trials and layers switched off, as the worker's events: pieces of work between other
people's.

What they compute is in `t2ui.inference.sweep` and `t2ui.evaluation.trial`.
"""

import time
from collections.abc import Callable, Iterator, Mapping

from t2ui.evaluation.trial import trial
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.sweep import layers_off, sweep
from t2ui.messages import (
    Event,
    LayersMeasured,
    LayersOff,
    Sweep,
    SweepTexts,
    Swept,
    SweptColumn,
    Trial,
    Tried,
)
from t2ui.svf.expert import Expert

TEXTS_SECONDS = 0.25  # between two reports of the answers so far


def swept(
    dispatchers: Dispatchers, experts: Mapping[str, Expert], request: Sweep
) -> Iterator[Event | None]:
    """The answers as they grow, now and then; None after every other piece of work."""
    began = told = time.perf_counter()
    work = sweep(
        dispatchers, request.prompt, experts, request.lineup, request.settings, request.given
    )
    while True:
        try:
            texts = next(work)
        except StopIteration as ended:
            found = ended.value
            break
        now = time.perf_counter()
        if now - told >= TEXTS_SECONDS:
            told = now
            yield SweepTexts(texts)
        yield None
    columns = tuple(
        SweptColumn(
            column.mixture.weights,
            column.control,
            column.mixture.base_share,
            column.pieces,
            column.finished,
            column.log_likelihood,
        )
        for column in found.columns
    )
    seconds = time.perf_counter() - began
    yield Swept(columns, found.parts_at, found.scope, found.given_tokens, seconds)


def tried(
    dispatchers: Dispatchers,
    experts: Mapping[str, Expert],
    request: Trial,
    stopped: Callable[[], bool],
) -> Iterator[Event | None]:
    """How the columns do, whenever answers have ended; None after every other piece of work."""
    began = time.perf_counter()
    work = trial(dispatchers, request.questions, experts, request.lineup, request.settings)
    for columns in work:
        if stopped():
            return
        if columns:
            yield Tried(columns, time.perf_counter() - began)
        yield None


def without_layers(
    dispatchers: Dispatchers, experts: Mapping[str, Expert], request: LayersOff
) -> Iterator[Event | None]:
    """What each layer does for the text; None after every piece of work before."""
    began = time.perf_counter()
    found = yield from layers_off(
        dispatchers, request.prompt, experts, request.text, request.settings
    )
    seconds = time.perf_counter() - began
    yield LayersMeasured(found.base, found.adapted, found.without, found.tokens, seconds)
