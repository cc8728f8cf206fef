"""One training run: steps, validation, checkpoints. Knows examples and trainables, but no expert
files, and no objective by its name.

What a step minimises is in `objectives/`, what it moves in `parameters.py` or `lora.py`.
"""

import math
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import nn

from t2ui.cluster.executor import Executor
from t2ui.config import TrainConfig
from t2ui.errors import InputError
from t2ui.models.likelihood import scored_batches
from t2ui.models.loading import dtype_name, model_name
from t2ui.svf.decomposition import same_model
from t2ui.tasks.base import Task
from t2ui.tasks.batching import check_context, rows_of_step
from t2ui.training import checkpoint
from t2ui.training.memory import peak_memory
from t2ui.training.objectives import settled
from t2ui.training.objectives.base import LossTerm, Setup, Values
from t2ui.training.parameters import Trainable
from t2ui.training.rehearsal import SOURCE, Rehearsal
from t2ui.training.validation import Rank, rank, validate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WORST: Rank = (-math.inf, -math.inf, -math.inf)
SAVE_AFTER = (
    180.0  # seconds since the last checkpoint, after which the next step is followed by one
)


@dataclass(frozen=True)
class TrainEvent:
    """One line of the log. `kind` is "step", "validation" or "end"."""

    kind: str
    step: int
    values: dict[str, float]


class Trainer:
    """One training run in one folder: log.jsonl, checkpoint.safetensors.

    Made again on a folder that holds a checkpoint, it goes on from there along the same curve:
    which examples a step sees, and what it samples, depends on the seed and the step alone. Under
    `accelerate launch` every process takes a share of each step's rows; the first one writes.

    Args:
        trainable: `ScaleOffsets`, or `LoRA` for the baseline.
        tokenizer: needed for open answers and for rehearsal only.
        executor: who decodes answers, see `cluster`; by default this process.

    Raises:
        InputError: rows, settings or a checkpoint that do not go together.
    """

    def __init__(
        self,
        trainable: Trainable,
        tokenizer: "PreTrainedTokenizerBase | None",
        task: Task,
        config: TrainConfig,
        folder: Path,
        executor: Executor | None = None,
    ):
        if not task.train or not task.validation:
            raise InputError(f"Task {task.name!r} has no training or no validation rows.")
        self.processes = PartialState(cpu=trainable.parameters[0].device.type == "cpu")
        if config.batch < self.processes.num_processes:
            raise InputError(
                f"batch is {config.batch} for {self.processes.num_processes} processes; every "
                "process needs a row: choose a larger batch."
            )
        if executor is not None and self.processes.num_processes > 1:
            raise InputError(
                "Several processes and a Ray cluster at once: choose accelerate launch, or --ray."
            )
        check_context(trainable.model, (*task.train, *task.validation), task.max_new_tokens)
        name, objective = settled(task, config.objective)
        self.trainable, self.task, self.folder = trainable, task, folder
        self.config = replace(config, objective=name)
        self.setup = Setup(trainable, tokenizer, task, self.config, self.processes, executor)
        self.objective = objective(self.setup)
        self.setup.reading  # noqa: B018  refuses what it lacks before the first step
        self.rehearsal = Rehearsal(self.setup) if config.rehearsal else None
        if task.grade is not None and tokenizer is None:
            raise InputError("Open answers need the model's tokenizer: give it as tokenizer.")
        self.model = trainable.model
        self.same = self._same()
        self.parameters = trainable.parameters
        self.optimizer = torch.optim.AdamW(self.parameters, config.learning_rate, weight_decay=0.0)
        self.step, self.seconds = 0, 0.0
        self.best, self.best_step = -math.inf, -1
        self.best_rank: Rank = WORST
        self.best_values = checkpoint.flat(self.parameters)
        self.schedule = [[0, config.steps]]  # (from step, steps in all): a resume may change them
        self.peak = 0  # MB that the run's earlier processes have held at most
        self.updating = False  # between the parameters' update and the count of the step
        self._saved = time.perf_counter()  # the checkpoint, or the start
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The run's folder {folder} cannot be made ({error.strerror}): choose another."
            ) from None
        self._resume()
        self.validated = self._was_validated()  # whether this step's validation is in `best`
        self.processes.wait_for_everyone()  # nothing is written before all have read the folder

    def run(self) -> Generator[TrainEvent, None, None]:
        """Train to the configured number of steps; yields and logs every event."""
        if self._validation_is_due() and not self.validated:
            yield self._validate()  # the start, which is to be beaten; or one that was interrupted
        while self.step < self.config.steps and not self._stalled():
            yield self._train_step()
            if self._validation_is_due():
                yield self._validate()
            done = self.step == self.config.steps
            waited = time.perf_counter() - self._saved > SAVE_AFTER
            if self.step % self.config.checkpoint_every == 0 or done or waited:
                self.save_checkpoint()
        values = {"validation": self.best, "best_step": self.best_step, "seconds": self.seconds}
        yield self._log(TrainEvent("end", self.step, values))

    def record(self, command: str = "") -> dict[str, Any]:
        """How it was trained, for the expert file and the card."""
        return {
            **asdict(self.config),
            "steps_done": self.step,
            "best_step": self.best_step,
            "validation_accuracy": round(self.best, 4),
            "train_rows": len(self.task.train),
            "trained_parameters": sum(p.numel() for p in self.parameters),
            "seconds": round(self.seconds),
            "peak_memory_mb": self._peak(),
            **({"schedule": self.schedule} if len(self.schedule) > 1 else {}),
            "dtype": dtype_name(self.model),
            "device": self.model.device.type,
            "data": self.task.data | ({"rehearsal": SOURCE} if self.config.rehearsal else {}),
            "curve": [
                (e["step"], e["values"]["accuracy"])
                for e in checkpoint.read_log(self.folder)
                if e["kind"] == "validation"
            ],
            "command": command,
        }

    def check_improved(self) -> None:
        """Refuse to write an expert that is no better than where it started.

        Raises:
            InputError: validation never got better.
        """
        self.objective.check_learned(self.step)
        if self.best_step <= 0:
            raise InputError(
                f"No step of {self.step} did better on validation than the start "
                f"({max(self.best, 0):.3f}): no expert is written. Try a lower learning rate, a "
                "lower kl_coeff, or more steps."
            )

    def save_stopped(self) -> None:
        """Save a run that is stopped at any moment, unless a step is half made."""
        if not self.updating:
            self.save_checkpoint()

    def save_checkpoint(self) -> None:
        """Write everything that resuming needs."""
        self._saved = time.perf_counter()
        tensors = {
            "values": checkpoint.flat(self.parameters),
            "best": self.best_values,
            **checkpoint.moments(self.optimizer, self.parameters),
            **self.objective.tensors(),
        }
        if not self.processes.is_main_process:
            return
        checkpoint.write(
            self.folder,
            tensors,
            {
                **self.same,
                "step": self.step,
                "best": self.best,
                "best_step": self.best_step,
                "best_rank": self.best_rank,
                "seconds": self.seconds,
                "fingerprint": self.trainable.fingerprint,
                "schedule": self.schedule,
                "peak": self._peak(),
                **self.objective.facts(),
            },
        )

    def _same(self) -> dict[str, Any]:
        """What a checkpoint must have in common with the run that goes on from it."""
        rows = (*self.task.train, *self.task.validation)
        asked = [(e.id, e.question, e.correct, e.answer) for e in rows]
        judged = (self.task.objective, self.task.max_new_tokens, self.task.stop)
        rehearsed = self.rehearsal.prompts if self.rehearsal else ()
        return {
            "task": self.task.name,
            "config": asdict(self.config),
            "train rows": len(self.task.train),
            "dtype": str(self.model.dtype),
            "prompts, answers or reward": checkpoint.digest((asked, judged)),
            "rehearsed prompts": checkpoint.digest([e.question for e in rehearsed]),
        }

    def _resume(self) -> None:
        found = checkpoint.read(self.folder)
        if found is None:
            return
        facts, tensors = found
        self._check_same_run(facts)
        device = self.parameters[0].device
        checkpoint.fill(self.parameters, tensors["values"].to(device))
        self.best_values = tensors["best"].to(device)
        self.step, self.seconds = facts["step"], facts["seconds"]
        self.best, self.best_step = facts["best"], facts["best_step"]
        # A checkpoint of an older version knows the accuracy alone: no tie is better than that.
        accuracy, reward, loss = facts.get("best_rank") or (self.best, math.inf, math.inf)
        self.best_rank = (accuracy, reward, loss)
        self.peak = facts.get("peak") or 0
        self.schedule = facts.get("schedule") or [[0, facts["config"]["steps"]]]
        if self.schedule[-1][1] != self.config.steps:
            self.schedule = [*self.schedule, [self.step, self.config.steps]]
        checkpoint.set_moments(self.optimizer, self.parameters, tensors, self.step)
        self.objective.restore(facts, tensors)

    def _check_same_run(self, facts: dict[str, Any]) -> None:
        if not same_model(facts["fingerprint"], self.trainable.fingerprint):
            raise InputError(
                f"{self.folder / checkpoint.CHECKPOINT} is of another model or other modules than "
                f"{model_name(self.model)} has adapted: choose another folder."
            )
        checkpoint.check_same_run(self.folder, facts, self.same)

    def _train_step(self) -> TrainEvent:
        started = time.perf_counter()
        config = self.config
        rate = config.learning_rate * _cosine(self.step / config.steps)
        self.optimizer.param_groups[0]["lr"] = rate
        for parameter in self.parameters:  # zeros, not None: a step may have no terms
            parameter.grad = torch.zeros_like(parameter)
        # LoRA's dropout draws from torch's own generator: a resumed run draws the same.
        torch.manual_seed((self.config.seed * 1_000_003 + self.step) % 2**63)
        terms, values = self._terms()
        logged: dict[str, list[float]] = {}
        for batch, scores in scored_batches(
            self.model,
            terms,
            config.micro_batch_tokens,
            self.objective.token_temperature,
            within=partial(self.trainable.running, "training"),
            dropout=True,
            reading=self.setup.reading,
        ):
            losses = []
            for term, score in zip(batch, scores, strict=True):
                loss, seen = term.loss(score)
                losses.append(loss)
                for key, value in seen.items():
                    logged.setdefault(key, []).append(value)
            loss = torch.stack(losses).sum() / config.batch
            loss.backward(inputs=self.parameters)  # the model's own parameters get no .grad
        if self.processes.num_processes > 1:
            for parameter in self.parameters:
                parameter.grad = reduce(parameter.grad, "sum")
        norm = nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
        self.updating = True
        self.optimizer.step()
        self.step += 1
        self.updating = self.validated = False
        took = time.perf_counter() - started
        self.seconds += took
        moved = checkpoint.flat(self.parameters).square().mean().sqrt()
        # With several processes the first one's rows are logged; the gradient is of all rows.
        return self._log(
            TrainEvent(
                "step",
                self.step,
                {
                    **values,
                    **{key: sum(seen) / len(seen) for key, seen in logged.items()},
                    "grad_norm": float(norm),
                    "learning_rate": rate,
                    "change": float(moved),  # RMS of z − 1
                    "seconds": took,
                },
            )
        )

    def _terms(self) -> tuple[list[LossTerm], Values]:
        """The loss terms of this process's share of the step, and what is logged of them before
        the update."""
        config, processes = self.config, self.processes
        rows = rows_of_step(self.task.train, config.batch, config.seed, self.step)
        mine = rows[processes.process_index :: processes.num_processes]
        terms, values = self.objective.terms(mine, self.step)
        rehearsed = self.rehearsal.terms(self.step) if self.rehearsal else []
        return [*terms, *rehearsed], values

    def _peak(self) -> int | None:
        own = peak_memory(self.model.device)
        return own if own is None else max(own, self.peak)

    def _validate(self) -> TrainEvent:
        started = time.perf_counter()
        rows = self.task.validation[: self.config.validation_rows]
        values = validate(self.setup, rows)
        accuracy = values["accuracy"]
        # With rehearsal the last step is kept: the task's accuracy does not say what was unlearned,
        # and early steps, the one that it went on from above all, have rehearsed the least.
        better = self.step > 0 if self.config.rehearsal else rank(values) > self.best_rank
        if better:
            self.best, self.best_step = accuracy, self.step
            self.best_rank = rank(values) if self.step > 0 else self._start_rank(values)
            self.best_values = checkpoint.flat(self.parameters)
        self.validated = True
        self.seconds += time.perf_counter() - started
        values = {**values, "best": max(self.best, 0.0)}
        return self._log(TrainEvent("validation", self.step, values))

    def _start_rank(self, values: Values) -> Rank:
        """What the first step has to beat: the loss alone does not make an expert better."""
        if not self.objective.must_beat_start:
            return WORST
        accuracy, reward, _ = rank(values)
        return accuracy, reward, math.inf

    def _validation_is_due(self) -> bool:
        return self.step % self.config.evaluate_every == 0 or self.step == self.config.steps

    def _was_validated(self) -> bool:
        """Whether this step's validation is in `best`: a run may be stopped in the middle of it."""
        events = checkpoint.read_log(self.folder)
        kinds = [e["kind"] for e in events if e["step"] == self.step and e["kind"] != "end"]
        return self.best_step >= 0 and kinds[-1:] == ["validation"]

    def _stalled(self) -> bool:
        """Whether validation has not got better for `patience` times (early stop)."""
        since = self.step - max(self.best_step, 0)
        return 0 < self.config.patience * self.config.evaluate_every <= since

    def _log(self, event: TrainEvent) -> TrainEvent:
        if self.processes.is_main_process:
            checkpoint.append_log(self.folder, asdict(event))
        return event


def _cosine(fraction: float) -> float:
    """From 1 at the start to 0 at the end."""
    return 0.5 * (1 + math.cos(math.pi * fraction))
