"""The worker's side of few-shot adaptation: a search in pieces, and its estimate.

Composes `few_shot` with the experts folder and speaks in messages. Knows nothing of queues: the
scheduler runs one piece of a search at a time, and other requests are answered between two pieces.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from t2ui.backend.experts_folder import ExpertsFolder
from t2ui.config import FewShotConfig
from t2ui.errors import InputError
from t2ui.few_shot import adapt as few_shot
from t2ui.few_shot.examples import answers, examples_of
from t2ui.few_shot.scoring import Scorer, member_tokens
from t2ui.few_shot.search import search_tokens
from t2ui.messages import (
    Adapt,
    Adapted,
    EstimateAdapt,
    Event,
    SearchBegan,
    SearchEstimate,
)
from t2ui.models.loading import model_name
from t2ui.models.running import tokens_at_once
from t2ui.svf.adapter import Adapter
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import SavedMixture
from t2ui.tasks.base import Example

CPU_BATCH_ROWS = 32
# The search that measures the rate: short, because nothing interrupts it. Fields of FewShotConfig.
TRIAL: dict[str, Any] = {
    "population": 2,
    "generations": 2,
    "held_out": 0.0,
    "max_new_tokens": 8,
}
TRIAL_EXAMPLES = 2


def in_pieces(adapter: Adapter, config: FewShotConfig) -> FewShotConfig:
    """As asked for, in batches that suit the device, transfers allowed: the page shows which
    experts are transfers. The sizes are fixed: the same search in other batches rounds
    differently."""
    if adapter.model.device.type != "cpu":
        return replace(config, allow_transfer=True)
    return replace(
        config,
        allow_transfer=True,
        batch_tokens=min(config.batch_tokens, tokens_at_once(adapter.model)),
        batch_rows=min(config.batch_rows, CPU_BATCH_ROWS),
    )


class Adaptation:
    """Searches on one model and one experts folder. Not thread-safe."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, adapter: Adapter, experts_folder: ExpertsFolder
    ):
        self.tokenizer, self.adapter, self._experts = tokenizer, adapter, experts_folder
        self._rates: dict[tuple[bool, str], float] = {}  # tokens per second, by `_kind`

    def search(self, request: Adapt, stopped: Callable[[], bool]) -> Iterator[Event | None]:
        """SearchBegan, each Generation, Adapted; None after every piece of work between them.

        A search that was stopped before its first generation was scored yields no Adapted.

        Raises:
            InputError: what `few_shot.search` raises.
        """
        config = in_pieces(self.adapter, request.config)
        examples = examples_of(self.tokenizer, request.examples)
        experts = self._searchable(request.session)
        held_out = few_shot.split(range(len(examples)), config)[1]
        yield SearchBegan(tuple(experts), tuple(sorted(held_out)), config.generations)
        pieces = few_shot.search(
            self.adapter, self.tokenizer, examples, experts, config, answers, stopped
        )
        busy, began = 0.0, time.perf_counter()  # seconds of work, not of waiting for a turn
        for piece in pieces:
            busy += time.perf_counter() - began
            if isinstance(piece, few_shot.FewShotResult):
                if piece.generations:
                    yield self._adapted(request, piece, experts)
                return
            if piece is None:
                yield None
            else:
                self._rates[_kind(config)] = piece.tokens / max(busy, 1e-9)
                yield piece
            began = time.perf_counter()

    def estimate(self, request: EstimateAdapt) -> SearchEstimate:
        """What a search costs: tokens by counting, seconds at the rate of the last search of that
        kind, or of a small trial where there was none.

        Raises:
            InputError: what `few_shot.search` raises.
        """
        config = in_pieces(self.adapter, request.adapt.config)
        examples = examples_of(self.tokenizer, request.adapt.examples)
        experts = self._searchable(request.session)
        Scorer(self.adapter, self.tokenizer, config, answers).check(examples)
        tail = few_shot.tail_of(self.tokenizer, experts, config)
        searched, held_out = few_shot.split(range(len(examples)), config)
        seen = [examples[place] for place in searched]
        tokens = search_tokens(seen, config, len(experts), tail)
        # the report: two members on what is held out, or leave-one-out, one more search for each
        tokens += 2 * member_tokens([examples[place] for place in held_out], config, tail)
        held = tuple(sorted(held_out))
        report = f"{len(held)} of {len(examples)} held out"
        if not held_out:
            report = "nothing held out"
            if config.held_out and len(examples) > 1:
                tokens += (len(examples) - 1) * tokens
                report = f"leave-one-out over {len(examples)}"
        if _kind(config) not in self._rates:
            self._rates[_kind(config)] = self._measured(config, examples, experts)
        return SearchEstimate(tokens, tokens / self._rates[_kind(config)], held, report)

    def _searchable(self, session: str) -> dict[str, Expert]:
        experts = self._experts.library(session).answering
        if not experts:
            raise InputError(
                "There is no expert to mix: put expert files into the experts folder, or train one."
            )
        return experts

    def _measured(
        self, config: FewShotConfig, examples: list[Example], experts: dict[str, Expert]
    ) -> float:
        """Tokens per second of a search cut to two small generations."""
        trial = replace(config, **TRIAL)
        shortest = sorted(examples, key=lambda e: e.question.tokens)[:TRIAL_EXAMPLES]
        *_, done = few_shot.search(self.adapter, self.tokenizer, shortest, experts, trial, answers)
        assert isinstance(done, few_shot.FewShotResult)  # the last that `few_shot.search` yields
        return done.tokens / max(done.seconds, 1e-9)

    def _adapted(
        self, request: Adapt, found: few_shot.FewShotResult, experts: dict[str, Expert]
    ) -> Adapted:
        mixture = SavedMixture(
            found.mixture,
            model_name(self.adapter.model),
            {
                "set_by": found.set_by,
                "examples": len(request.examples),
                "report": found.report,
                "before": found.before,
                "after": found.after,
                "config": asdict(request.config),
                "experts": {name: experts[name].sha256 for name in found.mixture.weights},
            },
        )
        alphas: dict[str, float] = {}
        for name, alpha in found.mixture.weights.items():
            assert isinstance(alpha, float)  # `Adapt` refuses a search per layer
            alphas[name] = alpha
        return Adapted(
            mixture=alphas,
            normalise=found.mixture.normalise,
            set_by=found.set_by,
            report=found.report,
            before=found.before,
            after=found.after,
            right_before=found.right_before,
            right_after=found.right_after,
            n=found.n,
            tokens=found.tokens,
            forward_passes=found.forward_passes,
            seconds=found.seconds,
            file=mixture.text,
        )


def _kind(config: FewShotConfig) -> tuple[bool, str]:
    """What the rate depends on: backward passes, and whether answers are generated."""
    return config.needs_gradient, config.objective
