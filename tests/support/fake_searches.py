"""What the worker's double finds by few-shot search, and how it scores a contest."""

import json
import math

import numpy as np

from t2ui.evaluation.contest import decide
from t2ui.messages import (
    Adapted,
    Done,
    Failed,
    Generation,
    Queued,
    ScoredSoFar,
    SearchBegan,
    SearchEstimate,
)


class Searches:
    """Searches find math at 0.8."""

    @staticmethod
    def _held_out(adapt):
        count = len(adapt.examples)
        return tuple(range(2, count, 3)) if count >= 4 and adapt.config.held_out else ()

    def _score(self, request):
        """Each mixture has the share of its α of math right, from the first question on."""
        if self.failure:
            failure, self.failure = self.failure, None
            return [(0.1, failure)]
        there = {one.name for one in self._listing(request.session).experts}
        strange = sorted({name for mixture in request.mixtures for name in mixture} - there)
        if strange:
            return [(0.1, Failed(f"There is no expert {strange[0]!r}.", cause="input"))]

        def right(mixture):
            count = round(min(1.0, abs(mixture.get("math", 0.0))) * len(request.examples))
            return [place < count for place in range(len(request.examples))]

        found = decide(
            *([right(one) for one in some] for some in (request.entries, request.rivals))
        )
        of = len(request.mixtures)
        return [(0.1, ScoredSoFar(of, of)), (0.2, found), (0.2, Done())]

    def _estimate(self, request):
        adapt = request.adapt
        held = self._held_out(adapt)
        rows = len(adapt.examples) - len(held)
        tokens = 40 * rows * adapt.config.population * adapt.config.generations
        report = f"{len(held)} of {len(adapt.examples)} held out"
        return [(0.1, SearchEstimate(tokens, tokens / 900, held, report)), (0.1, Done())]

    def _adapt(self, adapt):
        """A search that finds math at 0.8: its curves rise and its spread shrinks."""
        events = [(0.0, Queued(self.queued))] if self.queued else []
        held, most = self._held_out(adapt), adapt.config.generations
        events.append((0.1, SearchBegan(self.names, held, most)))
        if self.failure:
            failure, self.failure = self.failure, None
            return [*events, (0.2, failure)]
        draw = np.random.default_rng(adapt.config.seed)
        goal = np.array([0.8, 0.05, 0.35, *[0.1] * len(self.names)][: len(self.names)])
        best = -9.0
        for number in range(1, most + 1):
            share = 1 - math.exp(-number / 3)
            centre = (1 - share) / len(goal) + share * goal
            spread = 0.03 + 0.3 * (1 - share)
            shape = (adapt.config.population, len(goal))
            members = (centre + spread * draw.normal(size=shape)).clip(0, 1)
            scores = -1.8 - 1.6 * ((members - goal) ** 2).sum(1)
            best = max(best, float(scores.max()))
            events.append(
                (
                    0.1 + 0.5 * number,
                    Generation(
                        number,
                        best,
                        float(scores.mean()),
                        float(scores.std()),
                        dict(zip(self.names, centre.tolist(), strict=True)),
                        dict.fromkeys(self.names, spread),
                        tuple(map(tuple, members.tolist())),
                        tuple(scores.tolist()),
                        3200 * number,
                        9 * number,
                        3.5 * number,
                    ),
                )
            )
        end = events[-1][0] + 0.3
        last = [event for _, event in events]
        return [*events, *((end, e) for e in self._best_so_far(last, held)), (end, Done())]

    def _best_so_far(self, said, held=(0,)):
        generations = [event for event in said if isinstance(event, Generation)]
        if not generations:
            return []
        last = generations[-1]
        place = int(np.argmax(last.scores))
        weights = zip(self.names, last.population[place], strict=True)
        mixture = {name: round(alpha, 4) for name, alpha in weights}
        text = json.dumps({"format": "t2ui.mixture", "weights": mixture, "normalise": False})
        n = max(1, len(held))
        return [
            Adapted(
                mixture,
                False,
                f"CEM, generation {last.number}",
                f"held-out {n} of {3 * n} examples",
                -2.31,
                last.best,
                None,
                None,
                n,
                last.tokens,
                last.forward_passes,
                last.seconds,
                text,
            )
        ]
