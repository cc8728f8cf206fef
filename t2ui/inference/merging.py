"""W′ of a mixture, written while its answers are decoded: it pays where they are long enough.

Knows scales and running rows, nothing of prompts or text.
"""

from collections.abc import Sequence

import torch

from t2ui.inference.rows import RunningRow
from t2ui.svf.adapter import Adapter, Scales
from t2ui.svf.linear import Factored

# Computing W′ once costs about what it saves over the factored form in this many tokens of all rows
# that it serves; an answer may end long before the most that it may have, so it is begun once some
# are written, and done a few matrices a step, more for more rows: all at once the answers would
# stand still for seconds on a CPU.
MERGE_FROM_TOKENS = 48
MERGE_AFTER_TOKENS = 16
MERGED_A_STEP, MOST_MERGED = 8, 32
KEPT_BYTES = 2**30  # a W′ up to this size is kept for the next answer; it is as large as the model


class Merging:
    """Some scales, and the setting in which more and more matrices run with their W′."""

    def __init__(self, scales: Scales, adapter: Adapter) -> None:
        adapter.set(scales)
        self.scales, self._adapter = scales, adapter
        self.bytes = 0  # what the W′ that are written take; asked for at every step
        self.setting = dict(adapter.current())
        self._left = [name for name, run in self.setting.items() if isinstance(run, Factored)]

    @staticmethod
    def pays(rows: Sequence[RunningRow]) -> bool:
        """Whether it pays to begin, for the rows of a mixture as they are now."""
        left = sum(r.row.sampling.max_new_tokens - len(r.tokens) for r in rows)
        begun = sum(len(r.tokens) for r in rows) >= MERGE_AFTER_TOKENS
        return begun and left >= MERGE_FROM_TOKENS and not any(r.steered for r in rows)

    @property
    def complete(self) -> bool:
        """Whether all of them are written."""
        return not self._left

    def go_on(self, rows: int) -> bool:
        """Write the next ones, for so many rows; whether there were any left."""
        count = min(MERGED_A_STEP * rows, MOST_MERGED)
        now, self._left = self._left[:count], self._left[count:]
        for name in now:
            run = self._adapter.linears[name].merged(self.scales[name])
            self.setting[name] = run
            self.bytes += run.weight.nbytes
        return bool(now)


def copied(scales: Scales) -> Scales:
    """The same scales, of which nobody else has a hold."""
    return {name: z.detach().clone() for name, z in scales.items()}


def equal(one: Scales, other: Scales) -> bool:
    """Whether two mixtures scale everything alike, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
