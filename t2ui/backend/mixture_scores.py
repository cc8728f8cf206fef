"""The worker's side of a contest: mixtures answer the same questions, in pieces.

As a search, it knows nothing of queues: the scheduler runs one piece at a time, and other requests
are answered between two.
"""

from collections.abc import Callable, Generator, Iterator, Mapping

from transformers import PreTrainedTokenizerBase

from t2ui.backend.adaptation import in_pieces
from t2ui.backend.experts_folder import ExpertsFolder
from t2ui.config import FewShotConfig
from t2ui.evaluation.contest import decide
from t2ui.few_shot.adapt import tail_of
from t2ui.few_shot.examples import answers, examples_of
from t2ui.few_shot.scoring import Scorer, ScoreTable
from t2ui.messages import Event, ScoredSoFar, ScoreMixtures
from t2ui.svf.adapter import Adapter, Scales
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, mix, scope_of


class MixtureScores:
    """Scores mixtures of one experts folder on one model. Not thread-safe."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, adapter: Adapter, experts_folder: ExpertsFolder
    ):
        self.tokenizer, self.adapter, self._experts = tokenizer, adapter, experts_folder

    def score(self, request: ScoreMixtures, stopped: Callable[[], bool]) -> Iterator[Event | None]:
        """ScoredSoFar after some mixtures, a Decision at the end; None after every other piece of
        work. Once `stopped()` is true it ends without a Decision.

        Raises:
            InputError: an unknown expert, one that does not fit, or a question that is too long.
        """
        examples = examples_of(self.tokenizer, request.examples)
        experts = self._experts.library(request.session).experts
        mixtures = [Mixture(weights) for weights in request.mixtures]
        members: list[Scales] = [mix(experts, mixture) for mixture in mixtures]
        for name in {name for mixture in mixtures for name in mixture.weights}:
            self.adapter.check(experts[name], allow_transfer=True)
        scopes = [scope_of(mixture, experts) for mixture in mixtures]
        right: dict[int, tuple[bool, ...]] = {}  # by place in `mixtures`
        for scope in sorted(set(scopes)):
            scorer = self._scorer(request.max_new_tokens, scope, experts)
            scorer.check(examples)
            places = [place for place, one in enumerate(scopes) if one == scope]
            at_once = max(1, scorer.config.batch_rows // len(examples))  # that fill a batch
            for first in range(0, len(places), at_once):
                chosen = places[first : first + at_once]
                table = yield from _unless_stopped(
                    scorer.table([members[place] or None for place in chosen], examples), stopped
                )
                if table is None:
                    return
                for place, row in zip(chosen, table.right, strict=True):
                    right[place] = tuple(bool(one) for one in row)
                yield ScoredSoFar(len(right), len(mixtures))
        found, own = [right[place] for place in range(len(mixtures))], len(request.entries)
        yield decide(found[:own], found[own:])

    def _scorer(self, max_new_tokens: int, scope: str, experts: Mapping[str, Expert]) -> Scorer:
        """What generates and judges answers of mixtures that act on these tokens."""
        settings = FewShotConfig("cem", "reward", max_new_tokens=max_new_tokens, scope=scope)
        config = in_pieces(self.adapter, settings)
        tail = tail_of(self.tokenizer, experts, config)
        return Scorer(self.adapter, self.tokenizer, config, answers, tail)


def _unless_stopped(
    pieces: Generator[None, None, ScoreTable], stopped: Callable[[], bool]
) -> Generator[None, None, ScoreTable | None]:
    """The same pieces and their table; None, and the rest is left, once `stopped()` is true."""
    while not stopped():
        try:
            next(pieces)
        except StopIteration as end:
            table: ScoreTable = end.value
            return table
        yield None
    pieces.close()
    return None
