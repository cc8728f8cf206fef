"""What answers a request, given a loaded model and an experts folder. No processes, no queue.

`t2ui.worker.process` calls a `ModelBackend` from one thread and decides the order. A mixture is
computed for each request from the library as it is then, and nothing that a request sets outlives
it.
"""

import gc
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2ui.backend import inspection, token_shift
from t2ui.backend.adaptation import Adaptation
from t2ui.backend.experts_folder import ExpertsFolder
from t2ui.backend.saved_experts import SavedExperts
from t2ui.backend.session_folders import SessionFolders
from t2ui.config import WorkerConfig
from t2ui.errors import InputError
from t2ui.inference.decoding import NOT_FINITE, Decoder, Row, Step
from t2ui.inference.dispatch import Dispatcher
from t2ui.inference.two_pass import Dispatched, decide, make_receipt, transfers_in
from t2ui.messages import (
    Adapt,
    Ask,
    Classified,
    Compared,
    Component,
    DeleteExpert,
    Done,
    EndSession,
    EstimateAdapt,
    Event,
    Experts,
    Heatmap,
    Mixed,
    NextToken,
    NextTokens,
    ReadExpert,
    RenameExpert,
    Request,
    SaveExpert,
    SessionEnded,
    Tokens,
)
from t2ui.models.loading import chat_ids, load_model, model_name
from t2ui.svf.adapter import Adapter, adapt
from t2ui.svf.expert import Expert
from t2ui.svf.library import Library
from t2ui.svf.mixture import Mixture, mix

FLUSH_SECONDS = 0.1  # tokens are handed out ten times a second
NO_SESSIONS = SessionFolders(None, 0)  # not public
REMEMBERED_PROMPTS = 8  # whose next token under the base model is kept while a slider moves


def load_backend(
    config: WorkerConfig, progress: Callable[[str, float | None], None]
) -> "ModelBackend":
    """Load the model and its decomposition.

    Raises:
        InputError: what `load_model` and `adapt` raise.
    """
    model, tokenizer = load_model(
        config.model, config.device, config.dtype, config.cache_dir, progress
    )
    adapter = adapt(model, cache_dir=config.cache_dir, progress=progress)
    sessions = SessionFolders(config.sessions_dir, config.session_hours)
    return ModelBackend(model, tokenizer, adapter, config.experts_dir, sessions)


@dataclass
class _Pane:
    """One of an ask's answers under way."""

    ids: list[int] = field(default_factory=list)  # without the end token
    pieces: list[str] = field(default_factory=list)  # not handed out yet
    steps: int = 0  # the end token's included
    ended: float | None = None  # perf_counter seconds


@dataclass
class _Asking:
    """One ask under way."""

    ask: Ask
    experts: Mapping[str, Expert]  # the library when it began
    decided: Dispatched
    prompt_ids: list[int]
    scales: Mapping[str, Tensor]  # {}: the base model
    began: float  # perf_counter seconds, as all below
    pass_one: float  # seconds
    decoding: float = 0.0
    first_token: float | None = None
    flushed: float = 0.0
    panes: dict[str, _Pane] = field(default_factory=dict)


class ModelBackend:
    """The backend of the worker; see `loop.Backend`. Not thread-safe."""

    def __init__(
        self,
        model,
        tokenizer,
        adapter: Adapter,
        experts_dir: Path,
        sessions: SessionFolders = NO_SESSIONS,
    ):
        self.model, self.tokenizer, self.adapter = model, tokenizer, adapter
        self.name = model_name(model)
        self.device = str(model.device)
        self._experts = ExpertsFolder(experts_dir, self.name, adapter, sessions)
        self._saved = SavedExperts(adapter, self._experts)
        self._adaptation = Adaptation(tokenizer, adapter, self._experts)
        self._dispatcher = Dispatcher(model, tokenizer, adapter)
        self._decoder = Decoder(model, tokenizer, adapter)
        self._asking: dict[str, _Asking] = {}
        self._joining: list[str] = []  # added to the decoder since its last step
        # prompt -> its ids and the next token's log-probabilities (V,) under the base model
        self._base: OrderedDict[str, tuple[list[int], Tensor]] = OrderedDict()

    @property
    def asks(self) -> int:
        return len(self._asking)

    @property
    def rows(self) -> int:
        return len(self._decoder)

    # --- short requests --------------------------------------------------------------------------

    def answer(self, request: Request) -> Iterator[Event | None]:
        """The events that answer it; None after a piece of a long text."""
        found = self._answer(request)
        yield from found if isinstance(found, Iterator) else (found,)

    @singledispatchmethod
    def _answer(self, request: Request) -> Event | Iterator[Event | None]:
        raise TypeError(f"no short request: {type(request).__name__}")

    @_answer.register
    def _(self, request: NextToken) -> Iterator[Event | None]:
        began = time.perf_counter()
        scales = self._mixed(request.mixture, request.normalise, request.session)
        prompt_ids, base = yield from self._base_next(request.prompt)
        mixed = base
        if scales:
            mixed = yield from token_shift.next_token_log_probs(
                self.model, self.adapter, prompt_ids, scales
            )
        chosen, kl = token_shift.candidates(self.tokenizer, base, mixed, request.k)
        yield NextTokens(chosen, kl, time.perf_counter() - began)

    @_answer.register
    def _(self, request: Heatmap) -> Event:
        scales = self._mixed(request.mixture, request.normalise, request.session)
        return inspection.heatmap(self.adapter.factors, scales, request.module)

    @_answer.register
    def _(self, request: Component) -> Event:
        scales = self._mixed(request.mixture, request.normalise, request.session)
        return inspection.component(self.adapter.factors, scales, request.name)

    @_answer.register
    def _(self, request: EstimateAdapt) -> Event:
        return self._adaptation.estimate(request)

    @_answer.register
    def _(self, request: SaveExpert) -> Event:
        return self._saved.save(request)

    @_answer.register
    def _(self, request: RenameExpert) -> Event:
        return self._saved.rename(request)

    @_answer.register
    def _(self, request: DeleteExpert) -> Event:
        return self._saved.delete(request)

    @_answer.register
    def _(self, request: ReadExpert) -> Event:
        return self._saved.read(request)

    @_answer.register
    def _(self, request: EndSession) -> Iterator[Event]:
        self._saved.end_session(request)
        return iter(())

    def listings(self) -> Iterator[Experts | SessionEnded]:
        """The lists of experts that have changed, see `ExpertsFolder.changed`."""
        return self._experts.changed()

    def search(self, adapt: Adapt, stopped: Callable[[], bool]) -> Iterator[Event | None]:
        """A search in pieces; see `adapt_job`."""
        return self._adaptation.search(adapt, stopped)

    def _mixed(
        self, weights: Mapping[str, float], normalise: bool, session: str = ""
    ) -> dict[str, Tensor]:
        library = self._experts.library(session)
        return mix(library.experts, _mixture(weights, normalise))

    def _base_next(self, prompt: str) -> Generator[None, None, tuple[list[int], Tensor]]:
        if prompt in self._base:
            self._base.move_to_end(prompt)
            return self._base[prompt]
        prompt_ids = chat_ids(self.tokenizer, prompt)
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and len(prompt_ids) > limit:
            raise InputError(
                f"The prompt has {len(prompt_ids)} tokens; the model's context holds {limit}: "
                "shorten it."
            )
        base = yield from token_shift.next_token_log_probs(self.model, self.adapter, prompt_ids, {})
        self._base[prompt] = prompt_ids, base
        if len(self._base) > REMEMBERED_PROMPTS:
            self._base.popitem(last=False)
        return prompt_ids, base

    # --- asks ------------------------------------------------------------------------------------

    def start(self, job_id: str, ask: Ask) -> Iterator[Event]:
        """Pass one, then the rows into the batch; they are decoded by `step`."""
        began = time.perf_counter()
        library = self._experts.library(ask.session)
        decided = self._decide(ask, library)
        pass_one = time.perf_counter() - began if decided.classification else 0.0
        if found := decided.classification:
            yield Classified(
                found.label, found.probabilities, found.raw, found.said, ask.dispatch, pass_one
            )
        mixture = decided.mixture
        yield Mixed(mixture.at_layer(0), mixture.base_share, decided.set_by, decided.note)
        asking = _Asking(
            ask=ask,
            experts=library.experts,
            decided=decided,
            prompt_ids=chat_ids(self.tokenizer, ask.prompt),
            scales=mix(library.experts, mixture),
            began=began,
            pass_one=pass_one,
            decoding=time.perf_counter(),
        )
        scales = {"base": None, "adapted": asking.scales}
        for pane in ("base", "adapted") if ask.compare else ("adapted",):
            asking.panes[pane] = _Pane()
        self._decoder.add(
            Row((job_id, pane), asking.prompt_ids, scales[pane], ask.sampling)
            for pane in asking.panes
        )
        self._asking[job_id] = asking
        self._joining.append(job_id)

    def step(self) -> Iterator[tuple[str, Event | Exception]]:
        """One step of the decoder; an exception that comes with an id ends that ask alone."""
        joining, self._joining = self._joining, []
        try:
            steps = self._decoder.step()
        except Exception as error:
            if not joining or len(joining) == len(self._asking):
                raise
            # prefill failed: the rows that were decoding before have not been touched
            for job_id in joining:
                self._remove(job_id)
                yield job_id, error
            return
        yield from self._end_failed(steps)
        steps = [step for step in steps if step.key[0] in self._asking]
        now = time.perf_counter()
        for step in steps:
            job_id, pane = step.key
            self._asking[job_id].first_token = self._asking[job_id].first_token or now
            self._advance(self._asking[job_id].panes[pane], step, now)
        for job_id in dict.fromkeys(step.key[0] for step in steps):
            asking = self._asking[job_id]
            ended = all(pane.ended for pane in asking.panes.values())
            if ended or now - asking.flushed >= FLUSH_SECONDS:
                asking.flushed = now
                for event in self._flush(asking):
                    yield job_id, event
            if ended:
                yield from self._finish(job_id, asking)

    def _end_failed(self, steps: list[Step]) -> Iterator[tuple[str, Event | Exception]]:
        """What was decoded of the asks of which a row has failed, then the reason."""
        for job_id in {step.key[0]: None for step in steps if step.finished == "failed"}:
            asking = self._asking[job_id]
            self._remove(job_id)
            for event in self._flush(asking):
                yield job_id, event
            yield job_id, InputError(NOT_FINITE)

    def stop(self, job_id: str) -> list[Event]:
        """Take an ask out of the batch: what was decoded since the last tokens, then Done."""
        asking = self._asking.get(job_id)
        if asking is None:
            return []
        self._remove(job_id)
        return [*self._flush(asking), self._done(asking, cancelled=True)]

    def clear(self) -> list[str]:
        """Empty the batch; the job ids that were in it."""
        ids = list(self._asking)
        self._asking.clear()
        self._joining.clear()
        self._decoder = Decoder(self.model, self.tokenizer, self.adapter)
        self.adapter.reset()
        return ids

    def free_memory(self) -> None:
        """Forget what can be computed again, and hand the device's unused memory back."""
        self._base.clear()
        gc.collect()
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.model.device.type == "mps":
            torch.mps.empty_cache()

    def _decide(self, ask: Ask, library: Library) -> Dispatched:
        if ask.dispatch == "none":
            decided = Dispatched(_mixture(ask.mixture, ask.normalise), "you", "", None)
        else:
            decided = decide(
                self._dispatcher,
                ask.prompt,
                library.experts,
                ask.dispatch,
                ask.routing,
                ask.threshold,
            )
            weights = decided.mixture.weights
            decided = replace(decided, mixture=_mixture(weights, ask.normalise))
        transfers = [
            f"{expert.name}: a cross-model transfer from {expert.base_model or 'other weights'}"
            for expert in transfers_in(self.adapter, library.experts, decided.mixture)
        ]
        return replace(decided, note="; ".join(filter(None, [decided.note, *transfers])))

    def _advance(self, pane: _Pane, step: Step, now: float) -> None:
        pane.steps += 1
        if step.finished != "end":
            pane.ids.append(step.token)
        if step.text:
            pane.pieces.append(step.text)
        if step.finished:
            pane.ended = now

    def _flush(self, asking: _Asking) -> Iterator[Tokens]:
        """The new text of all panes together, so that they move in step."""
        now = time.perf_counter()
        for name, pane in asking.panes.items():
            if pane.pieces:
                pieces, pane.pieces = tuple(pane.pieces), []
                yield Tokens(name, pieces, len(pane.ids), (pane.ended or now) - asking.decoding)

    def _finish(self, job_id: str, asking: _Asking) -> Iterator[tuple[str, Event | Exception]]:
        self._remove(job_id)
        try:
            began = time.perf_counter()
            if asking.ask.compare:
                pieces = token_shift.compare(
                    self.model,
                    self.tokenizer,
                    self.adapter,
                    asking.prompt_ids,
                    asking.scales,
                    (asking.panes["base"].ids, asking.panes["adapted"].ids),
                )
                yield job_id, _whole(pieces)
            yield job_id, self._done(asking, compare=time.perf_counter() - began)
        except Exception as error:  # its answers are out; nobody else's are concerned
            yield job_id, error

    def _done(self, asking: _Asking, cancelled: bool = False, compare: float = 0.0) -> Done:
        """Timings in seconds from the ask's start, and its receipt."""
        now = time.perf_counter()
        ends = {name: pane.ended or now for name, pane in asking.panes.items()}
        decode = max(ends.values()) - asking.decoding
        timings = {
            "pass_one": asking.pass_one,
            "first_token": (asking.first_token or now) - asking.began,
            "decode": decode,
            "compare": compare,
            "total": now - asking.began,
            "pass_one_share": asking.pass_one / max(asking.pass_one + decode, 1e-9),
        }
        for name, pane in asking.panes.items():
            seconds = max(ends[name] - asking.decoding, 1e-9)
            timings[f"{name}_tokens_per_second"] = pane.steps / seconds
        ask = asking.ask
        receipt = make_receipt(
            self.adapter, ask.prompt, asking.experts, asking.decided, ask.sampling, timings
        )
        return Done(cancelled, timings, receipt)

    def _remove(self, job_id: str) -> None:
        asking = self._asking.pop(job_id)
        self._joining = [joining for joining in self._joining if joining != job_id]
        self._decoder.drop([(job_id, pane) for pane in asking.panes])


def _whole(pieces: Generator[None, None, Compared]) -> Compared:
    """What is read in pieces, read at once."""
    while True:
        try:
            next(pieces)
        except StopIteration as ended:
            return ended.value


def _mixture(weights: Mapping[str, Any], normalise: bool) -> Mixture:
    """The mixture; with every α at 0 there is nothing to normalise, and the base model answers."""
    return Mixture(weights, normalise and any(weights.values()))
