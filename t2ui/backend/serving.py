"""Answers requests with a loaded model and an experts folder. Knows no processes and no queue.

`t2ui.worker.process` calls a `ModelBackend` from one thread and decides the order. A mixture is
computed for each request from the library as it is then, and nothing that a request sets outlives
it.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import singledispatchmethod
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.backend import comparing, inspection
from t2ui.backend.adaptation import Adaptation
from t2ui.backend.answers import Answers, Envelope
from t2ui.backend.experts_folder import ExpertsFolder
from t2ui.backend.mixture_scores import MixtureScores
from t2ui.backend.next_token import NextTokenReader
from t2ui.backend.pace import Pace
from t2ui.backend.saved_experts import SavedExperts
from t2ui.backend.session_folders import SessionFolders
from t2ui.catalogue import NO_DISPATCH
from t2ui.config import WorkerConfig
from t2ui.errors import InputError
from t2ui.inference.components import measure_components
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.plan import Change, Plan, changed, make_plan
from t2ui.inference.prompt_store import PromptStore
from t2ui.messages import (
    Adapt,
    AddExpert,
    Ask,
    Classified,
    CompareExperts,
    Component,
    Components,
    DeleteExpert,
    EndSession,
    EstimateAdapt,
    Event,
    Experts,
    Heatmap,
    LayersOff,
    Mixed,
    NextToken,
    ReadExpert,
    RenameExpert,
    Request,
    SaveExpert,
    ScoreMixtures,
    SessionEnded,
    Steer,
    Sweep,
    Trial,
)
from t2ui.models.loading import dtype_name, load_model, model_name
from t2ui.svf.adapter import Adapter, adapt
from t2ui.svf.likeness import likeness
from t2ui.svf.mixture import mix, mixture_of

NO_SESSIONS = SessionFolders(None, 0)  # not public


def load_backend(
    config: WorkerConfig, progress: Callable[[str, float | None], None]
) -> "ModelBackend":
    """Load the model and its decomposition.

    Raises:
        InputError: what `load_model` and `adapt` raise.
    """
    model, tokenizer = load_model(
        config.model, config.device, config.dtype, config.cache_dir, progress, fastest=True
    )
    adapter = adapt(model, cache_dir=config.cache_dir, progress=progress)
    sessions = SessionFolders(config.sessions_dir, config.session_hours, config.tenants_dir)
    return ModelBackend(model, tokenizer, adapter, config.experts_dir, sessions)


class ModelBackend:
    """What answers the worker's requests: a `t2ui.worker.scheduler.Backend`. Not thread-safe."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        adapter: Adapter,
        experts_dir: Path,
        sessions: SessionFolders = NO_SESSIONS,
    ):
        self.model, self.tokenizer, self.adapter = model, tokenizer, adapter
        self.name = model_name(model)
        self.device = f"{model.device}, {dtype_name(model)}"
        self._dispatchers = Dispatchers(model, tokenizer, adapter)
        self._experts = ExpertsFolder(experts_dir, self.name, adapter, self._dispatchers, sessions)
        self._saved = SavedExperts(adapter, self._experts)
        self._adaptation = Adaptation(tokenizer, adapter, self._experts)
        self._scores = MixtureScores(tokenizer, adapter, self._experts)
        self._pace = Pace()
        self._store = PromptStore()  # of prompts that the base model has read
        self._answers = Answers(tokenizer, adapter, self._pace, self._store)
        self._next_token = NextTokenReader(tokenizer, adapter, self._pace, self._store)

    @property
    def asks(self) -> int:
        """Asks under way, those that are only compared any more included."""
        return len(self._answers)

    @property
    def rows(self) -> int:
        """Rows that decode, or whose prompt is being read."""
        return self._answers.rows

    # --- short requests --------------------------------------------------------------------------

    def answer(self, request: Request) -> Iterator[Event | None]:
        """The events that answer it; before them, None after every piece of a prompt."""
        found = self._answer(request)
        yield from found if isinstance(found, Iterator) else (found,)

    @singledispatchmethod
    def _answer(self, request: Request) -> Event | Iterator[Event | None]:
        raise TypeError(f"{type(request).__name__} is not a short request")

    @_answer.register
    def _(self, request: NextToken) -> Iterator[Event | None]:
        experts = self._experts.library(request.session).experts
        return self._next_token.answer(request, experts, beside=len(self._answers) > 0)

    @_answer.register
    def _(self, request: Heatmap) -> Event:
        scales = self._mixed(request.mixture, request.normalise, request.session)
        minus = self._mixed(request.minus, request.minus_normalise, request.session)
        what = request.module, minus, request.layer, request.rows
        return inspection.heatmap(self.adapter.factors, scales, *what)

    @_answer.register
    def _(self, request: Component) -> Event:
        scales = self._mixed(request.mixture, request.normalise, request.session)
        return inspection.component(self.adapter.factors, scales, request.name)

    @_answer.register
    def _(self, request: Components) -> Iterator[Event | None]:
        experts = self._experts.library(request.session).experts
        what = request.settings, request.choice, request.prompt, request.text
        yield (yield from measure_components(self._dispatchers, experts, *what))

    @_answer.register
    def _(self, request: CompareExperts) -> Event:
        return likeness(self._experts.library(request.session).experts, request.names)

    @_answer.register
    def _(self, request: Sweep) -> Iterator[Event | None]:
        experts = self._experts.library(request.session).experts
        return comparing.swept(self._dispatchers, experts, request)

    @_answer.register
    def _(self, request: LayersOff) -> Iterator[Event | None]:
        experts = self._experts.library(request.session).experts
        return comparing.without_layers(self._dispatchers, experts, request)

    @_answer.register
    def _(self, request: EstimateAdapt) -> Event:
        return self._adaptation.estimate(request)

    @_answer.register
    def _(self, request: SaveExpert) -> Event:
        return self._saved.save(request)

    @_answer.register
    def _(self, request: AddExpert) -> Event:
        return self._saved.add(request)

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

    def search(
        self, request: Adapt | Trial | ScoreMixtures, stopped: Callable[[], bool]
    ) -> Iterator[Event | None]:
        """A search, a trial, or the scores of mixtures, in pieces; see what makes them."""
        if isinstance(request, ScoreMixtures):
            return self._scores.score(request, stopped)
        if isinstance(request, Adapt):
            return self._adaptation.search(request, stopped)
        experts = self._experts.library(request.session).experts
        return comparing.tried(self._dispatchers, experts, request, stopped)

    def _mixed(
        self, alphas: Mapping[str, float], normalise: bool, session: str = ""
    ) -> dict[str, Tensor]:
        """z′ by matrix, of the mixture with these coefficients."""
        return mix(self._experts.library(session).experts, mixture_of(alphas, normalise))

    # --- asks ------------------------------------------------------------------------------------

    def start(self, job_id: str, ask: Ask) -> Iterator[Event]:
        """Pass one, then the rows into the batch; they are decoded by `step`."""
        began = time.perf_counter()
        experts = self._experts.library(ask.session).experts
        settings = ask.settings
        if ask.saved:
            saved = self._experts.mixture(ask.saved, ask.session)
            settings = replace(
                settings,
                mixture=saved.weights,
                dispatch=NO_DISPATCH,
                normalise=settings.normalise or saved.normalise,
                scope=settings.scope or saved.scope,
            )
        plan = make_plan(self._dispatchers, ask.prompt, experts, settings)
        if found := plan.classification:
            yield Classified(
                found.label, found.probabilities, found.raw, found.said, plan.dispatch, plan.seconds
            )
        mixture = plan.mixture
        shares = mixture.at_layer(0), mixture.base_share
        yield Mixed(*shares, plan.set_by, plan.note, plan.scope)
        self._answers.start(job_id, plan, ask, began)

    def steer(self, request: Steer) -> list[Event]:
        """Another mixture for the rest of an answer; what the answer's own job is told.

        Raises:
            InputError: the answer has ended or has another scope, or the mixture cannot be used.
        """
        experts = self._experts.library(request.session).experts

        def change(plan: Plan) -> Change:
            if request.scope not in ("", plan.scope):
                raise InputError(
                    f"The answer under way has scope {plan.scope}, and scope {request.scope} was "
                    "asked for: ask again, or set the scope back."
                )
            mixture = mixture_of(request.mixture, request.normalise)
            allowed = request.allow_transfer or plan.settings.allow_transfer
            return changed(self.adapter, experts, mixture, allowed)

        return self._answers.steer(request.job_id, request.session, change)

    def step(self) -> Iterator[Envelope]:
        """A token of every answer under way; an exception that comes with an id ends that ask
        alone, one that is raised ends them all."""
        return self._answers.step()

    def stop(self, job_id: str) -> list[Event]:
        """Take an ask out of the batch: what was decoded since the last tokens, then Done."""
        return self._answers.stop(job_id)

    def clear(self) -> list[str]:
        """Empty the batch; returns the job ids that were in it."""
        return self._answers.clear()

    def free_memory(self) -> None:
        """Forget what can be computed again, and hand the device's unused memory back."""
        self._next_token.clear()
        self._store.clear()
        gc.collect()
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.model.device.type == "mps":
            torch.mps.empty_cache()
