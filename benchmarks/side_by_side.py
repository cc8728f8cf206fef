"""Times several ways of doing one thing in turn, so that a noisy machine treats them alike."""

import statistics
import time
from collections.abc import Callable, Mapping


def side_by_side(
    ways: Mapping[str, Callable[[], object]], rounds: int = 7
) -> dict[str, list[float]]:
    """Seconds of every round of every way, after one warm-up each; the first is the reference.

    Prints each way's median with minimum and maximum, and the ratio to the reference, taken
    round by round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    reference = seconds[next(iter(ways))]
    print(f"{'':44} {'seconds: median [min, max]':34} ratio to the first: median [min, max]")
    for name, values in seconds.items():
        ratios = [v / r for v, r in zip(values, reference, strict=True)]
        print(f"{name:44} {_spread(values):34} {_spread(ratios)}")
    return seconds


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.4f} [{min(values):.4f}, {max(values):.4f}]"
