"""Trains an expert by policy gradient (paper, section 3.1 and objective (1)).

Closed answers: the gradient is exact. Open answers: rollouts are sampled and rewarded. Next-token
prediction on right completions is the paper's ablation, and a way to teach a form first.
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor, nn

from t2ui import checkpoint
from t2ui.adapter import adapt, attached
from t2ui.config import TrainConfig
from t2ui.errors import InputError
from t2ui.expert import Expert
from t2ui.likelihood import Question, option_log_likelihoods
from t2ui.models import model_name
from t2ui.objectives import (
    advantages,
    exact_policy_loss,
    next_token_loss,
    policy_loss,
    rewards_of,
)
from t2ui.rollouts import Group, greedy_right, sample_groups
from t2ui.svd import same_model
from t2ui.tasks import Example, Task
from t2ui.tasks.rows import micro_batches
from t2ui.trainable import ScaleOffsets


@dataclass(frozen=True)
class TrainEvent:
    """One line of the log. `kind` is "step", "validation" or "end"."""

    kind: str
    step: int
    values: dict[str, float]


class Term(NamedTuple):
    """One question's part of a step: its loss and what is logged, from its scores."""

    question: Question
    loss: Callable[[Tensor], tuple[Tensor, dict[str, float]]]  # (O,) log-likelihoods -> …


class Trainer:
    """One training run in one folder: log.jsonl, checkpoint.safetensors.

    Making it again on a folder with a checkpoint goes on from there, along the same curve: which
    examples a step sees, and what it samples, depends on the seed and the step alone. Under
    `accelerate launch` every process takes a share of each step's rows; the first one writes.

    Args:
        trainable: `ScaleOffsets`, or `LoRA` for the baseline.
        tokenizer: needed for open answers only.
    """

    def __init__(self, trainable, tokenizer, task: Task, config: TrainConfig, folder: Path):
        if not task.train or not task.validation:
            raise InputError(f"Task {task.name!r} has no training or no validation rows.")
        self.processes = PartialState(cpu=trainable.parameters[0].device.type == "cpu")
        if config.batch < self.processes.num_processes:
            raise InputError(
                f"batch is {config.batch} for {self.processes.num_processes} processes; every "
                "process needs a row: choose a larger batch."
            )
        self.trainable, self.tokenizer = trainable, tokenizer
        self.task, self.folder = task, folder
        self.config = replace(config, objective=_objective(task, config))
        self.model: nn.Module = trainable.model
        self.parameters = trainable.parameters
        self.optimizer = torch.optim.AdamW(self.parameters, config.learning_rate, weight_decay=0.0)
        self.step, self.seconds = 0, 0.0
        self.best, self.best_step = -math.inf, -1
        self.best_values = checkpoint.flat(self.parameters)
        self.rewarded = False  # whether any rollout so far was right
        self._reference: dict[str, Tensor] = {}  # base scores by row id: they never change
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(self) -> Iterator[TrainEvent]:
        """Train to the configured number of steps; yields and logs every event."""
        if self.step == 0 and self.best_step < 0:
            yield self._validate()  # where it starts: what has to be beaten
        while self.step < self.config.steps and not self._stalled():
            yield self._train_step()
            done = self.step == self.config.steps
            if self.step % self.config.evaluate_every == 0 or done:
                yield self._validate()
            if self.step % self.config.checkpoint_every == 0 or done:
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
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": self.model.device.type,
            "data": self.task.data,
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
        if self.best_step <= 0:
            raise InputError(
                f"No step of {self.step} did better on validation than the start "
                f"({max(self.best, 0):.3f}): no expert is written. Try a lower learning rate, a "
                "lower kl_coeff, or more steps."
            )

    def save_checkpoint(self) -> None:
        """Write everything that resuming needs."""
        tensors = {
            "values": checkpoint.flat(self.parameters),
            "best": self.best_values,
            **checkpoint.moments(self.optimizer, self.parameters),
        }
        if self.config.objective == "exact":
            # Computed in another batch they would round differently, and the curve part ways.
            tensors["reference"] = torch.cat([self._known_reference(r) for r in self.task.train])
        if not self.processes.is_main_process:
            return
        checkpoint.write(self.folder, tensors, {
            "step": self.step, "best": self.best, "best_step": self.best_step,
            "seconds": self.seconds, "task": self.task.name, "config": asdict(self.config),
            "fingerprint": self.trainable.fingerprint, "train_rows": len(self.task.train),
            "rewarded": self.rewarded,
        })  # fmt: skip

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
        self.rewarded = facts["rewarded"]
        checkpoint.set_moments(self.optimizer, self.parameters, tensors, self.step)
        if "reference" in tensors:
            options = [len(row.question.options) for row in self.task.train]
            parts = tensors["reference"].split(options)
            for row, known in zip(self.task.train, parts, strict=True):
                if not known.isnan().any():
                    self._reference[row.id] = known.to(device)

    def _check_same_run(self, facts: dict[str, Any]) -> None:
        where = self.folder / checkpoint.CHECKPOINT
        if not same_model(facts["fingerprint"], self.trainable.fingerprint):
            raise InputError(
                f"{where} is of another model or other modules than {model_name(self.model)} has "
                "adapted: choose another folder."
            )
        changed = [
            key for key, value in asdict(self.config).items()
            if key not in ("steps", "patience") and facts["config"].get(key) != value
        ]  # fmt: skip
        changed += ["train rows"] * (facts["train_rows"] != len(self.task.train))
        if facts["task"] != self.task.name or changed:
            raise InputError(
                f"{where} is of another run ({facts['task']}; different: "
                f"{', '.join(changed) or 'task'}): choose another folder, or the same settings."
            )

    def _train_step(self) -> TrainEvent:
        started = time.perf_counter()
        mine = slice(self.processes.process_index, None, self.processes.num_processes)
        rows = self._rows_of_step(self.step)[mine]
        rate = self.config.learning_rate * _cosine(self.step / self.config.steps)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        terms, values = self._terms(rows)
        totals: dict[str, float] = {}
        for batch in micro_batches(terms, self.config.micro_batch_tokens):
            with self.trainable.training():
                scores = option_log_likelihoods(self.model, [term.question for term in batch])
            losses = []
            for term, score in zip(batch, scores, strict=True):
                loss, seen = term.loss(score)
                losses.append(loss)
                for key, value in seen.items():
                    totals[key] = totals.get(key, 0.0) + value / len(terms)
            loss = torch.stack(losses).sum() / self.config.batch
            loss.backward(inputs=self.parameters)  # the model's own stay without .grad
        if self.processes.num_processes > 1:
            for parameter in self.parameters:
                parameter.grad = reduce(parameter.grad, "sum")
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.optimizer.step()
        self.step += 1
        took = time.perf_counter() - started
        self.seconds += took
        moved = checkpoint.flat(self.parameters).square().mean().sqrt()
        # Of several processes the first one's rows are logged; the gradient is of all.
        return self._log(
            TrainEvent("step", self.step, {
                **values, **totals, "grad_norm": float(norm), "learning_rate": rate,
                "change": float(moved),  # RMS of z − 1
                "seconds": took,
            })
        )  # fmt: skip

    def _terms(self, rows: Sequence[Example]) -> tuple[list[Term], dict[str, float]]:
        """The step's questions with their losses, and what is known before the update."""
        if self.config.objective == "exact":
            return [self._exact_term(row) for row in self._with_references(rows)], {}
        if self.config.objective == "next_token":
            return [_next_token_term(row) for row in rows], {}
        return self._sampled_terms(rows)

    def _exact_term(self, row: Example) -> Term:
        rewards = rewards_of(len(row.question.options), row.correct)

        def loss(scores: Tensor) -> tuple[Tensor, dict[str, float]]:
            # plain tensors: inference tensors may not enter autograd
            value, reward, kl = exact_policy_loss(
                scores, rewards.to(scores.device), self._reference[row.id].clone(),
                self.config.kl_coeff, self.config.temperature,
            )  # fmt: skip
            right = float(int(scores.argmax()) == row.correct)
            return value, {"reward": reward.item(), "accuracy": right, "kl": kl.item()}

        return Term(row.question, loss)

    def _sampled_terms(self, rows: Sequence[Example]) -> tuple[list[Term], dict[str, float]]:
        started = time.perf_counter()
        with torch.inference_mode(), self.trainable.inference():
            groups = sample_groups(
                self.model, self.tokenizer, self.task, rows, self.config.rollouts,
                seed=(self.config.seed * 1_000_003 + self.step) * self.processes.num_processes
                + self.processes.process_index,
            )  # fmt: skip
        generated = time.perf_counter() - started
        counts, rewards = [g.counts for g in groups], [g.rewards for g in groups]
        values = _rollout_values(groups)
        self._check_rewarded(values["accuracy"])
        ratios = None
        if self.config.kl_coeff:
            with torch.inference_mode(), self.trainable.inference():
                adapted = self._scores([g.question for g in groups])
            with torch.inference_mode(), self.trainable.base():
                base = self._scores([g.question for g in groups])
            ratios = [(a - b).clone() for a, b in zip(adapted, base, strict=True)]
            values["kl"] = _mean(counts, ratios)
        negative = self.config.negative_reward
        rewards = [torch.where(r < 0, negative, r) for r in rewards]
        found = advantages(rewards, counts, ratios, self.config.kl_coeff, self.config.baseline)
        terms = [
            Term(g.question, _policy_term(a, g.counts)) for g, a in zip(groups, found, strict=True)
        ]
        return terms, {**values, "rollout_seconds": generated}

    def _check_rewarded(self, accuracy: float) -> None:
        """All wrong for a whole epoch: there is nothing to learn from."""
        self.rewarded = self.rewarded or accuracy > 0
        if not self.rewarded and (self.step + 1) * self.config.batch >= len(self.task.train):
            raise InputError(
                f"Not one rollout of a whole epoch ({len(self.task.train)} prompts) was right: "
                "there is nothing to learn from, and no expert is written. Choose easier "
                "examples, another prompt, more --rollouts, or --start from an expert trained "
                "with --objective next_token."
            )

    def _validate(self) -> TrainEvent:
        started = time.perf_counter()
        rows = self.task.validation[: self.config.validation_rows]
        with torch.inference_mode(), self.trainable.inference():
            if self.task.right is not None:
                right = greedy_right(self.model, self.tokenizer, self.task, rows)
                reward = sum(1.0 if r else -1.0 for r in right)
            else:
                scores = self._scores([row.question for row in rows])
                right = [int(s.argmax()) == r.correct for s, r in zip(scores, rows, strict=True)]
                reward = sum(
                    float((s.softmax(0).cpu() * rewards_of(len(s), row.correct)).sum())
                    for s, row in zip(scores, rows, strict=True)
                )
        accuracy = sum(right) / len(rows)
        if accuracy > self.best:
            self.best, self.best_step = accuracy, self.step
            self.best_values = checkpoint.flat(self.parameters)
        self.seconds += time.perf_counter() - started
        values = {"accuracy": accuracy, "reward": reward / len(rows), "best": self.best}
        return self._log(TrainEvent("validation", self.step, values))

    def _scores(self, questions: Sequence[Question]) -> list[Tensor]:
        """Log-likelihoods of every question's options, the model as it is set now."""
        terms = [_Numbered(q, i) for i, q in enumerate(questions)]
        scores: dict[int, Tensor] = {}
        for batch in micro_batches(terms, self.config.micro_batch_tokens):
            found = option_log_likelihoods(self.model, [term.question for term in batch])
            scores.update((term.number, score) for term, score in zip(batch, found, strict=True))
        return [scores[i] for i in range(len(questions))]

    def _with_references(self, rows: Sequence[Example]) -> Sequence[Example]:
        """The rows, once the base model's scores of their options are known."""
        missing = [row for row in rows if row.id not in self._reference]
        if missing:
            with torch.inference_mode(), self.trainable.base():
                scores = self._scores([row.question for row in missing])
            self._reference |= {r.id: s.clone() for r, s in zip(missing, scores, strict=True)}
        return rows

    def _known_reference(self, row: Example) -> Tensor:  # (options,), NaN where not computed
        unknown = torch.full((len(row.question.options),), math.nan)
        return self._reference.get(row.id, unknown).detach().cpu()

    def _rows_of_step(self, step: int) -> list[Example]:
        """The step's rows: epoch after epoch, each shuffled by the seed and its number."""
        count = len(self.task.train)
        picked = []
        for position in range(step * self.config.batch, (step + 1) * self.config.batch):
            epoch, place = divmod(position, count)
            picked.append(self.task.train[_permutation(count, self.config.seed, epoch)[place]])
        return picked

    def _stalled(self) -> bool:
        """Whether validation has not got better for `patience` times (early stop)."""
        since = self.step - max(self.best_step, 0)
        return 0 < self.config.patience * self.config.evaluate_every <= since

    def _log(self, event: TrainEvent) -> TrainEvent:
        if self.processes.is_main_process:
            with open(self.folder / checkpoint.LOG, "a", encoding="utf-8") as log:
                log.write(json.dumps(asdict(event)) + "\n")
        return event


def train_svf(
    model: nn.Module,
    task: Task,
    config: TrainConfig | None = None,
    folder: Path = Path("runs/expert"),
    *,
    tokenizer=None,
    start: Expert | None = None,
    name: str = "",
    **details: Any,
) -> Iterator[TrainEvent]:
    """Train scales for a model; yields events. The model is as it was afterwards.

    Ends by writing `<name>.safetensors` into the folder; call it again to resume. Stopped before
    its end (Ctrl-C, or the iterator closed), it keeps a checkpoint and the best expert so far.

    Args:
        folder: of this run alone: log, checkpoint, and the expert at the end.
        tokenizer: needed for open answers.
        start: an expert to go on from, instead of the base model.
        name: the expert's; the task's by default.
        details: further fields of the Expert (description, license), and `command`, which goes
            into its training record.
    """
    config = config or TrainConfig()
    name = name or task.name
    if name == "checkpoint":
        raise InputError("The name 'checkpoint' is taken by the run's own file: choose another.")
    if start is not None:
        config = replace(config, start=f"{start.name} {start.sha256[:16]}")
    held = attached(model)
    adapter = held or adapt(model, config.modules)
    try:
        with adapter.kept():
            offsets = ScaleOffsets(adapter, start)
            trainer = Trainer(offsets, tokenizer, task, config, folder)
            try:
                yield from trainer.run()
            except (KeyboardInterrupt, GeneratorExit):
                trainer.save_checkpoint()
                if trainer.best_step > 0:
                    _expert(trainer, name, **details).save(folder / f"{name}.safetensors")
                raise
            trainer.check_improved()
            if trainer.processes.is_main_process:
                _expert(trainer, name, **details).save(folder / f"{name}.safetensors")
    finally:
        if held is None:
            adapter.remove()


def _expert(trainer: Trainer, name: str, command: str = "", **details: Any) -> Expert:
    """The best scales by validation, with their provenance."""
    offsets, task = trainer.trainable, trainer.task
    scales = offsets.scales(trainer.best_values)
    return Expert(
        name=name,
        scales={n: z.detach().clone() for n, z in scales.items()},
        base_model=model_name(offsets.model),
        fingerprint=offsets.adapter.fingerprint_of(offsets.adapter.names),
        task=task.name,
        labels=task.labels,
        objective=task.objective,
        training=trainer.record(command),
        **details,
    )


class _Numbered(NamedTuple):
    question: Question
    number: int


def _objective(task: Task, config: TrainConfig) -> str:
    """The objective that "auto" stands for; refuses one that the task cannot have."""
    wanted = config.objective
    if wanted == "auto":
        return "exact" if task.right is None else "sampled"
    if wanted == "exact" and any(len(row.question.options) < 2 for row in task.train):
        raise InputError(f"Task {task.name!r} has open answers: choose sampled or next_token.")
    if wanted == "sampled" and task.right is None:
        raise InputError(f"Task {task.name!r} has closed answers: choose exact or next_token.")
    return wanted


def _next_token_term(row: Example) -> Term:
    def loss(scores: Tensor) -> tuple[Tensor, dict[str, float]]:
        value = next_token_loss(scores[0], len(row.target))
        return value, {"cross_entropy": value.item()}

    return Term(Question(row.question.prompt, (row.target,)), loss)


def _policy_term(advantage: Tensor, counts: Tensor) -> Callable:
    def loss(scores: Tensor) -> tuple[Tensor, dict[str, float]]:
        return policy_loss(scores, advantage.to(scores.device), counts.to(scores.device)), {}

    return loss


def _rollout_values(groups: Sequence[Group]) -> dict[str, float]:
    reward = _mean([g.counts for g in groups], [g.rewards for g in groups])
    tokens = sum(
        float(n) * len(o) for g in groups for o, n in zip(g.question.options, g.counts, strict=True)
    )
    return {"reward": reward, "accuracy": (reward + 1) / 2, "rollout_tokens": tokens}


def _mean(counts: Sequence[Tensor], values: Sequence[Tensor]) -> float:
    """Mean over all rollouts of a step."""
    total = sum(float((n * v.to(n.device)).sum()) for n, v in zip(counts, values, strict=True))
    return total / sum(float(n.sum()) for n in counts)


def _permutation(count: int, seed: int, epoch: int) -> list[int]:
    order = list(range(count))
    random.Random(seed * 1_000_003 + epoch).shuffle(order)
    return order


def _cosine(fraction: float) -> float:
    """From 1 at the start to 0 at the end."""
    return 0.5 * (1 + math.cos(math.pi * fraction))
