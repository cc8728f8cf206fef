"""Experts beside other small ways to change the same model, on the experts' own tasks.

Trained here, by the trainer that the experts are trained with, on the same rows in the same order
for the same number of steps: LoRA of rank 16 on q and v (the paper's baseline), LoRA of rank 1 on
all projections, VeRA, TinyLoRA (all by peft), one scale a matrix ("tied"), and SVF once more. The
learning rate of each is the best of three by validation loss after a short training on the first
task. Controls of the expert itself need no training: z shuffled within each matrix, random z of the
same size, and z = 1 but for its most changed components. The base model also answers with five
solved examples before the question.

The folder keeps every training's checkpoint and every answer; the same command goes on from there.
"""

import argparse
import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import peft
import torch
from torch import nn

from benchmarks.common import answered, describe_machine, result_log, share_of, shipped
from t2ui.config import TrainConfig
from t2ui.evaluation.comparison import Comparison
from t2ui.evaluation.measure import sample
from t2ui.evaluation.methods import Method, base, fixed, of_expert
from t2ui.evaluation.statistics import paired_p
from t2ui.inference.dispatch import LabelReader
from t2ui.models.loading import load_model
from t2ui.svf.adapter import Adapter, adapt
from t2ui.svf.controls import random_like, shuffled
from t2ui.svf.expert import Expert
from t2ui.tasks import load_task
from t2ui.tasks.base import Task
from t2ui.training import checkpoint
from t2ui.training.lora import PeftUpdates
from t2ui.training.parameters import ScaleOffsets, Trainable
from t2ui.training.trainer import Trainer

EXPERTS = ("decimals", "sums", "equations", "fractions", "sequences", "sentences")
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MOST_CHANGED = (4096, 512)  # components of all 97,920 that keep their z
SHOTS = 5
TRIAL_STEPS = 40


class OwnScales(ScaleOffsets):
    """An expert, trained once more, with the learning rate that suits it best."""

    def remove(self) -> None:
        pass  # nothing stays on the model


class TiedScales(OwnScales):
    """One scale a matrix: every singular value of it is multiplied by the same number."""

    def __init__(self, adapter: Adapter):
        super().__init__(adapter)
        self.offset = nn.Parameter(torch.zeros(len(self.sizes)))
        self.parameters = [self.offset]
        self.fingerprint = f"tied {self.fingerprint}"

    def scales(self, values):
        return super().scales(values.repeat_interleave(torch.tensor(self.sizes)))


def _peft(config: Callable[..., peft.PeftConfig], **settings: Any):
    def made(adapter: Adapter) -> PeftUpdates:
        torch.manual_seed(0)  # of what it starts from
        wanted = config(task_type="CAUSAL_LM", **settings)
        updates = PeftUpdates(adapter.model, wanted)
        updates.fingerprint = f"{wanted.peft_type} {adapter.fingerprint}"
        return updates

    return made


@dataclass(frozen=True)
class Trained:
    """A method that is trained here. `rates` are tried, `bytes_each` is what a number takes."""

    title: str
    make: Callable[[Adapter], Any]
    rates: tuple[float, float, float]
    bytes_each: int = 2


LORA = {"lora_dropout": 0.05}
TRAINED = {
    "lora16": Trained(
        "LoRA, rank 16 on q and v",
        _peft(peft.LoraConfig, r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], **LORA),
        (1e-3, 3e-3, 1e-2),
    ),
    "svf": Trained("SVF, trained again", OwnScales, (5e-3, 1e-2, 2e-2), 1),
    "tinylora": Trained(
        "TinyLoRA, 8 numbers a matrix",
        _peft(peft.TinyLoraConfig, r=2, u=8, target_modules=ALL),
        (3e-3, 1e-2, 3e-2),
    ),
    "tied": Trained("one scale a matrix", TiedScales, (1e-2, 3e-2, 1e-1)),
    "lora1": Trained(
        "LoRA, rank 1 on all",
        _peft(peft.LoraConfig, r=1, lora_alpha=2, target_modules=ALL, **LORA),
        (3e-3, 1e-2, 3e-2),
    ),
    "vera": Trained(
        "VeRA, rank 256 on q and v",
        _peft(peft.VeraConfig, r=256, target_modules=["q_proj", "v_proj"]),
        (3e-2, 1e-1, 3e-1),
    ),
}


def train(
    made: Trainable, task: Task, tokenizer, folder: Path, rate: float, steps: int
) -> tuple[float, int]:
    """Train, or go on; the best values stand in `made`. Returns the last validation's loss (nats
    an answer) and how many numbers were trained."""
    config = TrainConfig(
        objective="next_token",
        steps=steps,
        batch=24,
        learning_rate=rate,
        evaluate_every=37 if steps > TRIAL_STEPS else steps,
        validation_rows=100,
        micro_batch_tokens=8000,
    )
    trainer = Trainer(made, tokenizer, task, config, folder)
    for event in trainer.run():
        if event.kind == "validation":
            print(f"  {folder.name} step {event.step} {event.values}", flush=True)
    checkpoint.fill(made.parameters, trainer.best_values)
    log = [e for e in checkpoint.read_log(folder) if e["kind"] == "validation"]
    return log[-1]["values"]["cross_entropy"], sum(p.numel() for p in made.parameters)


def best_rate(name: str, adapter: Adapter, task: Task, tokenizer, out: Path) -> float:
    """The learning rate that a short training likes best, by validation loss."""
    losses = {}
    for rate in TRAINED[name].rates:
        made = TRAINED[name].make(adapter)
        try:
            folder = out / "rates" / f"{name}_{rate:g}"
            loss, _ = train(made, task, tokenizer, folder, rate, TRIAL_STEPS)
        finally:
            made.remove()
        losses[rate] = loss if math.isfinite(loss) else math.inf
    print(f"{name}: validation loss after {TRIAL_STEPS} steps {losses}", flush=True)
    return min(losses, key=losses.__getitem__)


def trained_method(name: str, adapter: Adapter, made: Any) -> Method:
    """What is trained and still on the model, as a column of the comparison."""
    digest = hashlib.sha256(checkpoint.flat(made.parameters).numpy().tobytes()).hexdigest()

    @contextmanager
    def context() -> Iterator[None]:
        with torch.no_grad(), made.running("inference"):
            yield

    return fixed(TRAINED[name].title, digest, context)


def most_changed(adapter: Adapter, expert: Expert, count: int) -> dict[str, torch.Tensor]:
    """z where |S ⊙ (z − 1)| is among the `count` largest of all matrices, 1 elsewhere."""
    changes = {n: (adapter.factors[n].S * (z - 1)).abs() for n, z in expert.scales.items()}
    least = torch.cat(list(changes.values())).topk(count).values[-1]
    return {n: torch.where(changes[n] >= least, z, 1.0) for n, z in expert.scales.items()}


def controls(
    adapter: Adapter, reader: LabelReader, expert: Expert
) -> dict[str, tuple[Method, int]]:
    """The expert and its controls: title -> method and bytes."""
    count = expert.parameters
    named = {"expert": (expert.scales, count)}
    for kept in MOST_CHANGED:  # a place takes three bytes
        named[f"its {kept:,} most changed"] = (most_changed(adapter, expert, kept), 4 * kept)
    named["z shuffled"] = (shuffled(expert.scales), count)
    named["random z"] = (random_like(expert.scales), count)
    found = {}
    for title, (scales, size) in named.items():
        mark = f"{expert.sha256}, {title}"  # an expert that was trained anew is another one
        made = replace(expert, name=title, scales=scales, sha256=mark)
        found[title] = (of_expert(adapter, reader, made), size)
    return found


class Table:
    """Measures methods on a task's rows and prints what was measured."""

    def __init__(self, loaded, log, arguments):
        self.model, self.tokenizer, self.adapter = loaded
        self.log, self.arguments = log, arguments

    def right(self, task: Task, method: Method, column: str) -> list[bool]:
        rows = sample(task.test, self.arguments.limit, self.arguments.seed)
        comparison = Comparison(self.adapter, self.tokenizer, [method], self.log, 64)
        return answered(comparison, task, rows, column)(method)

    def line(self, expert: str, title: str, size: int, answers: list[bool], of_expert) -> None:
        against = f"p {paired_p(of_expert, answers):.2g}" if of_expert is not answers else ""
        print(f"{expert} | {title} | {size:,} bytes | {share_of(answers)} | {against}", flush=True)


def compare(name: str, expert: Expert, table: Table, rates: dict[str, float]) -> None:
    """All that was asked for, on one expert's task; p is against the expert."""
    adapter, tokenizer, out = table.adapter, table.tokenizer, table.arguments.out
    task = load_task(expert.task, tokenizer)
    reader = LabelReader(table.model, tokenizer, adapter)
    found = controls(adapter, reader, expert)
    whole = table.right(task, found["expert"][0], name)
    for title, (method, size) in found.items():
        answers = whole if title == "expert" else table.right(task, method, name)
        table.line(name, title, size, answers, whole)
    plain = base(adapter, reader, ())
    table.line(name, "base model", 0, table.right(task, plain, name), whole)
    shown = load_task(expert.task, tokenizer, shots=SHOTS)
    column = f"{name}, {SHOTS} examples"
    table.line(name, f"base, {SHOTS} examples", 0, table.right(shown, plain, column), whole)
    for method, rate in rates.items():
        made = TRAINED[method].make(adapter)
        try:
            folder = out / f"{name}_{method}"
            _, count = train(made, task, tokenizer, folder, rate, table.arguments.steps)
            answers = table.right(task, trained_method(method, adapter, made), name)
        finally:
            made.remove()
        title = f"{TRAINED[method].title} ({count:,}, rate {rate:g})"
        table.line(name, title, TRAINED[method].bytes_each * count, answers, whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder; goes on there")
    parser.add_argument("--experts", nargs="+", default=list(EXPERTS))
    parser.add_argument("--methods", nargs="*", choices=TRAINED, default=list(TRAINED))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--limit", type=int, default=250, help="test rows of each task")
    parser.add_argument("--seed", type=int, default=0, help="which rows")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    describe_machine()
    model, tokenizer = load_model(device=arguments.device, dtype=arguments.dtype)
    adapter = adapt(model)
    experts = shipped().answering
    with result_log(arguments.out, (model, tokenizer, adapter)) as log:
        table = Table((model, tokenizer, adapter), log, arguments)
        first = load_task(experts[EXPERTS[0]].task, tokenizer)
        rates = {
            name: best_rate(name, adapter, first, tokenizer, arguments.out)
            for name in arguments.methods
        }
        for name in arguments.experts:
            compare(name, experts[name], table, rates)


if __name__ == "__main__":
    main()
