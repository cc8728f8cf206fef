"""What the worker's double compares: mixtures side by side, on many questions, layer by layer."""

import math

from fake_answers import ADAPTED_TEXT, BASE_TEXT, words
from fake_scales import LAYERS

from t2ui.messages import (
    Done,
    LayersMeasured,
    Queued,
    Standing,
    SweepTexts,
    Swept,
    SweptColumn,
    Tried,
)


class Comparisons:
    """Stronger is better."""

    @staticmethod
    def swept(sweep):
        """Answers that part after their third piece; the stronger a mixture, the longer its own."""
        begin, columns = words(BASE_TEXT)[:3], []
        mixtures = [*sweep.lineup.mixtures, *[{}] * len(sweep.lineup.controls)]
        for number, mixture in enumerate(mixtures):
            rest = words(BASE_TEXT)[3:9] if not mixture else words(ADAPTED_TEXT)[: 4 + number]
            total = sum(mixture.values())
            per_token = -2.0 + 0.4 * total - 0.15 * total**2
            likelihood = len(sweep.given.split()) * per_token if sweep.given else None
            pieces = (*begin, *rest)
            control = sweep.lineup.columns[number]
            columns.append(SweptColumn(mixture, 1 - total, control, pieces, "length", likelihood))
        parts_at = 3 if len({column.pieces for column in columns}) > 1 else None
        return Swept(tuple(columns), parts_at, "all", len(sweep.given.split()), 1.2)

    def _sweep(self, sweep):
        if self.failure:
            failure, self.failure = self.failure, None
            return [(0.1, failure)]
        found = self.swept(sweep)
        most = max(len(column.pieces) for column in found.columns)
        so_far = [
            (0.1 + 0.1 * n, SweepTexts(tuple("".join(c.pieces[:n]) for c in found.columns)))
            for n in range(1, most)
        ]
        end = so_far[-1][0] + 0.1
        return [*so_far, (end, found), (end, Done())]

    @staticmethod
    def tried(trial):
        """The stronger a mixture, the more questions are right; one in each step of the trial."""
        strengths = [sum(one.values()) for one in trial.lineup.mixtures]
        strengths += [0.1] * len(trial.lineup.controls)
        count = len(trial.questions)
        return [
            Tried(
                tuple(
                    Standing(
                        tuple(
                            (7 * n) % 10 < 4 * strength if n < asked else None for n in range(count)
                        ),
                        (0.1, 0.4),
                        0.012 if place else None,
                    )
                    for place, strength in enumerate(strengths)
                ),
                0.1 * asked,
            )
            for asked in range(1, count + 1)
        ]

    def _trial(self, trial):
        events = [(0.0, Queued(self.queued))] if self.queued else []
        if self.failure:
            failure, self.failure = self.failure, None
            return [*events, (0.1, failure)]
        steps = enumerate(self.tried(trial), start=1)
        events += [(0.1 + 0.03 * number, step) for number, step in steps]
        return [*events, (events[-1][0] + 0.1, Done())]

    @staticmethod
    def _layers_off(request):
        without = tuple(-9.0 + 0.3 * math.sin(layer) for layer in range(LAYERS))
        return [(0.1, LayersMeasured(-14.0, -9.0, without, 8, 0.9)), (0.1, Done())]
