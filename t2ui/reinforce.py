"""Trains an expert by policy gradient (paper, section 3.1 and objective (1)).

For closed answers the expectation over the policy is a sum over the given options, so its
gradient is exact and nothing is sampled. Knows rows of token ids and rewards, no text.
"""

import json
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from t2ui.adapter import Adapter, adapt, attached
from t2ui.config import TrainConfig
from t2ui.errors import InputError
from t2ui.expert import Expert
from t2ui.likelihood import option_log_likelihoods
from t2ui.models import model_name
from t2ui.svd import same_model
from t2ui.tasks import ClosedRow, ClosedTask
from t2ui.tasks.rows import micro_batches


def exact_policy_loss(
    scores: Tensor,  # (O,) log-likelihoods of the options under the adapted model
    rewards: Tensor,  # (O,) in {−1, 1}
    reference: Tensor,  # (O,) the same scores under the base model
    kl_coeff: float,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """−J(z) of the paper's objective (1) for one question with closed answers.

    J = Σ_o π′(o) r(o) − λ KL(π′ ‖ π), with π ∝ exp(score / temperature) over the options. Its
    gradient is the REINFORCE gradient E[r ∇ log π′] without sampling noise. Note the direction:
    adapted ‖ base. A policy that is sure of a wrong option has no gradient left; a temperature
    above 1 keeps it exploring, as it does for sampled rollouts.

    Returns:
        loss, expected reward, KL in nats; all of shape ().
    """
    log_policy = (scores / temperature).log_softmax(0)
    log_reference = (reference / temperature).log_softmax(0)
    policy = log_policy.exp()
    reward = (policy * rewards).sum()
    kl = (policy * (log_policy - log_reference)).sum()
    return kl_coeff * kl - reward, reward, kl


@dataclass(frozen=True)
class TrainEvent:
    """One line of the log. `kind` is "step", "validation" or "end"."""

    kind: str
    step: int
    values: dict[str, float]


class Trainer:
    """One training run in one folder: log.jsonl, checkpoint.safetensors, best scales.

    Making it again on a folder with a checkpoint goes on from there, along the same curve: which
    rows a step sees depends on the seed and the step alone.
    """

    def __init__(self, adapter: Adapter, task: ClosedTask, config: TrainConfig, folder: Path):
        if not task.train or not task.validation:
            raise InputError(f"Task {task.name!r} has no training or no validation rows.")
        self.adapter, self.task, self.config, self.folder = adapter, task, config, folder
        self.model: nn.Module = adapter.model
        self.sizes = [adapter.factors[name].S.numel() for name in adapter.names]
        device = adapter.factors[adapter.names[0]].S.device
        # The offset δ = z − 1 is what AdamW moves, so that no decay would pull towards z = 0.
        self.offset = nn.Parameter(torch.zeros(sum(self.sizes), device=device))
        self.optimizer = torch.optim.AdamW([self.offset], config.learning_rate, weight_decay=0.0)
        self.step, self.seconds = 0, 0.0
        self.best, self.best_step = -math.inf, -1
        self.best_offset = torch.zeros_like(self.offset.detach())
        self._reference: dict[str, Tensor] = {}  # base scores by row id: they never change
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(self) -> Iterator[TrainEvent]:
        """Train to the configured number of steps; yields and logs every event."""
        if self.step == 0 and self.best_step < 0:
            yield self._validate()  # the base model: what has to be beaten
        while self.step < self.config.steps:
            yield self._train_step()
            done = self.step == self.config.steps
            if self.step % self.config.evaluate_every == 0 or done:
                yield self._validate()
            if self.step % self.config.checkpoint_every == 0 or done:
                self.save_checkpoint()
        values = {"validation": self.best, "best_step": self.best_step, "seconds": self.seconds}
        yield self._log(TrainEvent("end", self.step, values))

    def expert(self, name: str, command: str = "", **details: Any) -> Expert:
        """The best scales by validation, as an expert with its provenance.

        Raises:
            InputError: validation never got better than the base model.
        """
        if self.best_step <= 0:
            raise InputError(
                f"No step of {self.step} did better on validation than the base model "
                f"({self.best:.3f}): no expert is written. Try a lower learning rate, a lower "
                "kl_coeff, or more steps."
            )
        training = {
            **asdict(self.config),
            "steps_done": self.step,
            "best_step": self.best_step,
            "validation_accuracy": round(self.best, 4),
            "train_rows": len(self.task.train),
            "seconds": round(self.seconds),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": self.model.device.type,
            "data": self.task.data,
            "curve": self._curve(),
            "command": command,
        }
        return Expert(
            name=name,
            scales={n: z.detach().clone() for n, z in self._scales(self.best_offset).items()},
            base_model=model_name(self.model),
            fingerprint=self.adapter.fingerprint_of(self.adapter.names),
            task=self.task.name,
            labels=self.task.labels,
            objective=self.task.objective,
            training=training,
            **details,
        )

    def save_checkpoint(self) -> None:
        """Write everything that resuming needs, beside its place, then rename it."""
        state = self.optimizer.state.get(self.offset, {})
        tensors = {
            "offset": self.offset.detach(),
            "best_offset": self.best_offset,
            "exp_avg": state.get("exp_avg", torch.zeros_like(self.offset.detach())),
            "exp_avg_sq": state.get("exp_avg_sq", torch.zeros_like(self.offset.detach())),
            # Computed in another batch they would round differently, and the curve part ways.
            "reference": torch.cat([self._known_reference(row) for row in self.task.train]),
        }
        facts = {
            "step": self.step, "best": self.best, "best_step": self.best_step,
            "seconds": self.seconds, "task": self.task.name, "config": asdict(self.config),
            "fingerprint": self.adapter.fingerprint, "train_rows": len(self.task.train),
        }  # fmt: skip
        beside = self.folder / f".checkpoint.{os.getpid()}.tmp"
        save_file({k: v.cpu() for k, v in tensors.items()}, beside,
                  metadata={"state": json.dumps(facts)})  # fmt: skip
        os.replace(beside, self.folder / "checkpoint.safetensors")

    def _resume(self) -> None:
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return
        facts, tensors = _read_checkpoint(path)
        changed = [
            key for key, value in asdict(self.config).items()
            if key != "steps" and facts["config"].get(key) != value
        ]  # fmt: skip
        if not same_model(facts["fingerprint"], self.adapter.fingerprint):
            raise InputError(
                f"{path} is of another model or other modules than {model_name(self.model)} has "
                "adapted: choose another folder."
            )
        changed += ["train rows"] * (facts["train_rows"] != len(self.task.train))
        if facts["task"] != self.task.name or changed:
            raise InputError(
                f"{path} is of another run ({facts['task']}; different: "
                f"{', '.join(changed) or 'task'}): choose another folder, or the same settings."
            )
        with torch.no_grad():
            self.offset.copy_(tensors["offset"])
        self.best_offset = tensors["best_offset"].to(self.offset.device)
        self.step, self.seconds = facts["step"], facts["seconds"]
        self.best, self.best_step = facts["best"], facts["best_step"]
        options = [len(row.question.options) for row in self.task.train]
        for row, known in zip(self.task.train, tensors["reference"].split(options), strict=True):
            if not known.isnan().any():
                self._reference[row.id] = known.to(self.offset.device)
        self.optimizer.state[self.offset] = {
            "step": torch.tensor(float(self.step)),
            "exp_avg": tensors["exp_avg"].to(self.offset.device),
            "exp_avg_sq": tensors["exp_avg_sq"].to(self.offset.device),
        }

    def _train_step(self) -> TrainEvent:
        started = time.perf_counter()
        rows = self._rows_of_step(self.step)
        rate = self.config.learning_rate * _cosine(self.step / self.config.steps)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        rewards, kls, right = 0.0, 0.0, 0
        for batch in micro_batches(rows, self.config.micro_batch_tokens):
            references = self._references(batch)
            with self.adapter.applied(self._scales(self.offset)):
                scores = option_log_likelihoods(self.model, [row.question for row in batch])
            losses = []
            for row, score, reference in zip(batch, scores, references, strict=True):
                loss, reward, kl = exact_policy_loss(
                    score, _rewards(row).to(score.device), reference, self.config.kl_coeff,
                    self.config.temperature,
                )  # fmt: skip
                losses.append(loss)
                rewards, kls = rewards + reward.item(), kls + kl.item()
                right += int(score.argmax()) == row.correct
            loss = torch.stack(losses).sum() / len(rows)
            loss.backward(inputs=[self.offset])  # the model's own parameters stay without .grad
        norm = nn.utils.clip_grad_norm_([self.offset], self.config.clip_norm)
        self.optimizer.step()
        self.step += 1
        took = time.perf_counter() - started
        self.seconds += took
        return self._log(
            TrainEvent("step", self.step, {
                "reward": rewards / len(rows),
                "accuracy": right / len(rows),
                "kl": kls / len(rows),
                "grad_norm": float(norm),
                "learning_rate": rate,
                "change": float(self.offset.detach().square().mean().sqrt()),  # RMS of z − 1
                "seconds": took,
            })
        )  # fmt: skip

    def _validate(self) -> TrainEvent:
        started = time.perf_counter()
        rows = self.task.validation[: self.config.validation_rows]
        scales = {n: z.detach() for n, z in self._scales(self.offset).items()}
        right, reward = 0, 0.0
        with torch.inference_mode(), self.adapter.applied(scales, "merged"):
            for batch in micro_batches(rows, self.config.micro_batch_tokens):
                scores = option_log_likelihoods(self.model, [row.question for row in batch])
                for row, score in zip(batch, scores, strict=True):
                    right += int(score.argmax()) == row.correct
                    reward += float((score.softmax(0).cpu() * _rewards(row)).sum())
        accuracy = right / len(rows)
        if accuracy > self.best:
            self.best, self.best_step = accuracy, self.step
            self.best_offset = self.offset.detach().clone()
        self.seconds += time.perf_counter() - started
        values = {"accuracy": accuracy, "reward": reward / len(rows), "best": self.best}
        return self._log(TrainEvent("validation", self.step, values))

    def _references(self, batch: Sequence[ClosedRow]) -> list[Tensor]:
        """The base model's scores, computed once a row in the whole run."""
        missing = [row for row in batch if row.id not in self._reference]
        if missing:
            with torch.inference_mode(), self.adapter.disabled():
                scores = option_log_likelihoods(self.model, [row.question for row in missing])
            for row, score in zip(missing, scores, strict=True):
                self._reference[row.id] = score.clone()
        with torch.no_grad():  # plain tensors: inference tensors may not enter autograd
            return [self._reference[row.id].clone() for row in batch]

    def _known_reference(self, row: ClosedRow) -> Tensor:  # (options,), NaN where not computed
        unknown = self.offset.new_full((len(row.question.options),), math.nan)
        return self._reference.get(row.id, unknown).detach()

    def _rows_of_step(self, step: int) -> list[ClosedRow]:
        """The step's rows: epoch after epoch, each shuffled by the seed and its number."""
        count = len(self.task.train)
        picked = []
        for position in range(step * self.config.batch, (step + 1) * self.config.batch):
            epoch, place = divmod(position, count)
            picked.append(self.task.train[_permutation(count, self.config.seed, epoch)[place]])
        return picked

    def _scales(self, offset: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.adapter.names, (1 + offset).split(self.sizes), strict=True))

    def _curve(self) -> list[tuple[int, float]]:
        """Validation accuracy by step, from the log; a resumed step counts once."""
        curve = {}
        for line in (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if event["kind"] == "validation":
                curve[event["step"]] = event["values"]["accuracy"]
        return sorted(curve.items())

    def _log(self, event: TrainEvent) -> TrainEvent:
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(event)) + "\n")
        return event


def train_svf(
    model: nn.Module,
    task: ClosedTask,
    config: TrainConfig | None = None,
    folder: Path = Path("runs/expert"),
    name: str = "",
    **details: Any,
) -> Iterator[TrainEvent]:
    """Train scales for a model; yields events. The model is as it was afterwards.

    Ends by writing `<name>.safetensors` into the folder; call it again to resume.

    Args:
        folder: of this run alone: log, checkpoint, and the expert at the end.
        name: the expert's; the task's by default.
        details: further fields of the Expert (description, license), and `command`, which goes
            into its training record.
    """
    config = config or TrainConfig()
    if name == "checkpoint":
        raise InputError("The name 'checkpoint' is taken by the run's own file: choose another.")
    held = attached(model)
    adapter = held or adapt(model, config.modules)
    try:
        with adapter.kept():
            trainer = Trainer(adapter, task, config, folder)
            yield from trainer.run()
            expert = trainer.expert(name or task.name, **details)
            expert.save(folder / f"{expert.name}.safetensors")
    finally:
        if held is None:
            adapter.remove()


def _read_checkpoint(path: Path) -> tuple[dict, dict[str, Tensor]]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["state"])
        tensors = load_file(path)
        if "reference" not in tensors:
            raise KeyError("written by an older t2ui")
        return facts, tensors
    except (SafetensorError, KeyError, OSError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): remove it to start the training again."
        ) from None


def _rewards(row: ClosedRow) -> Tensor:  # (options,) in {−1, 1}
    rewards = torch.full((len(row.question.options),), -1.0)
    rewards[row.correct] = 1.0
    return rewards


def _permutation(count: int, seed: int, epoch: int) -> list[int]:
    order = list(range(count))
    random.Random(seed * 1_000_003 + epoch).shuffle(order)
    return order


def _cosine(fraction: float) -> float:
    """From 1 at the start to 0 at the end."""
    return 0.5 * (1 + math.cos(math.pi * fraction))
