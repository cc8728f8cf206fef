"""Our trainer beside TRL's GRPOTrainer: `python -m benchmarks.train_speed --data DIR`.

Tokens a second of sampling and of updating, for an expert (SVF) and a LoRA by our trainer and for
the same LoRA by TRL: the default model, the same arithmetic problems under the same chat template,
as many rollouts of each at temperature 1, one update a step, the same device and dtype. Needs
`pip install -r benchmarks/requirements.txt`.

How they are made comparable:

- They take turns: before each step of TRL's loop ours take one each. The first of each is warm-up.
- Sampling is what each trainer spends on completions (TRL: the call that generates; ours: up to
  their rewards). Its tokens are those of the completions up to and with their end token; what a
  trainer computes beyond that, such as padding, brings it no tokens.
- Updating is the rest of the step: rewards (TRL), advantages, forward, backward, optimiser. Its
  tokens are those of every rollout with its prompt. A trainer that reads a prompt once for all its
  rollouts, or equal rollouts once, gets the same tokens done in less time.
- All steps see the same problems, and a learning rate near 0 leaves the model as it is, so that
  every step has completions of like length. Rewards are a stand-in that about half of them get:
  what is rewarded does not matter for speed, and a base model that gets nothing right would
  rightly stop our trainer.
- TRL gets a step's rollouts as one batch, without gradient checkpointing (its default, which saves
  memory for time), float32 on the CPU as ours. No logging, no saving. Without a GPU with Triton its
  head scores prompt positions too; vLLM, which it can sample with, is left out as it needs a GPU.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import peft
import torch
import transformers
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.common import describe_machine
from t2ui.config import TrainConfig
from t2ui.models.loading import load_model
from t2ui.svf.adapter import adapt
from t2ui.tasks import Task, load_task
from t2ui.tasks.batching import shuffled
from t2ui.training.lora import LoRA
from t2ui.training.parameters import ScaleOffsets
from t2ui.training.trainer import Trainer

NEVER, LEARNING_RATE = 1_000_000, 1e-7


@dataclass(frozen=True)
class Step:
    """What one training step did, and how long it took."""

    sampled: int  # tokens of completions
    trained: int  # tokens of prompts and completions
    sampling: float  # seconds
    updating: float  # seconds

    @property
    def rates(self) -> tuple[float, float, float]:
        """Sampled tokens a second, updated tokens a second, seconds."""
        whole = self.sampling + self.updating
        return self.sampled / self.sampling, self.trained / self.updating, whole


class Ours:
    """Our trainer, a step at a time."""

    def __init__(self, trainable, tokenizer, task: Task, config: TrainConfig, folder: Path):
        trainer = Trainer(trainable, tokenizer, task, config, folder)
        self.events = (event for event in trainer.run() if event.kind == "step")
        self.prompts = config.rollouts * sum(len(e.question.prompt) for e in task.train)
        self.steps: list[Step] = []

    def step(self) -> None:
        started = now()
        values = next(self.events).values
        sampled, sampling = int(values["rollout_tokens"]), values["rollout_seconds"]
        self.steps.append(
            Step(sampled, sampled + self.prompts, sampling, now() - started - sampling)
        )


class InTurn(TrainerCallback):
    """Lets ours take their step before each of TRL's, and times TRL's."""

    def __init__(self, ours: Sequence[Ours]):
        self.ours, self.steps = ours, []
        self.sampled = self.prompts = 0
        self.sampling = 0.0

    def on_step_begin(self, args, state, control, **_) -> None:
        for one in self.ours:
            one.step()
        self.sampled, self.prompts, self.sampling = 0, 0, 0.0
        self.started = now()

    def on_step_end(self, args, state, control, **_) -> None:
        updating = now() - self.started - self.sampling
        trained = self.sampled + self.prompts
        self.steps.append(Step(self.sampled, trained, self.sampling, updating))


class TimedGRPO(GRPOTrainer):
    """GRPOTrainer that tells how long it samples, and how much."""

    turns: InTurn

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        started = now()
        completions, log_probs = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        self.turns.sampling += now() - started
        self.turns.sampled += sum(map(len, completions))
        self.turns.prompts += sum(map(len, prompt_ids))
        return completions, log_probs


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def rewarded(text: str, answer: str) -> bool:
    """The stand-in: about half of all completions."""
    return len(text) % 2 == 0


def problems(tokenizer, arguments) -> Task:
    """A step's problems, which are all that there are; one more for a validation in warm-up."""
    task = load_task("arith", tokenizer, arguments.data, style=arguments.style)
    rows = shuffled(list(task.train), 0)[: arguments.prompts]
    return replace(
        task,
        train=tuple(rows),
        validation=task.validation[:1],
        grade=rewarded,
        max_new_tokens=arguments.max_new_tokens,
    )


def ours(arguments, folder: Path) -> dict[str, Ours]:
    """The two trainings by our trainer, each on its own copy of the model."""
    config = TrainConfig(
        steps=NEVER,
        batch=arguments.prompts,
        learning_rate=LEARNING_RATE,
        kl_coeff=arguments.kl_coeff,
        rollouts=arguments.rollouts,
        evaluate_every=NEVER,
        checkpoint_every=NEVER,
        validation_rows=1,
    )
    found = {}
    for name, trainable in (
        ("SVF, our trainer", lambda m: ScaleOffsets(adapt(m))),
        ("LoRA, our trainer", LoRA),
    ):
        model, tokenizer = load_model(device=arguments.device)
        task = problems(tokenizer, arguments)
        found[name] = Ours(trainable(model), tokenizer, task, config, folder / name)
    return found


def grpo(arguments, turns: InTurn, folder: Path) -> TimedGRPO:
    """TRL's training, ready to run."""
    model, tokenizer = load_model(device=arguments.device)
    prompts = [row.prompt for row in problems(tokenizer, arguments).train]
    trainer = TimedGRPO(
        model=model,
        reward_funcs=lambda completions, **_: [
            1.0 if rewarded(c[0]["content"], "") else -1.0 for c in completions
        ],
        args=GRPOConfig(
            output_dir=str(folder),
            max_steps=arguments.steps + 1,
            learning_rate=LEARNING_RATE,
            per_device_train_batch_size=arguments.prompts * arguments.rollouts,
            num_generations=arguments.rollouts,
            max_completion_length=arguments.max_new_tokens,
            temperature=1.0,
            beta=arguments.kl_coeff,
            shuffle_dataset=False,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=model.device.type == "cpu",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict(
            {"prompt": [[{"role": "user", "content": p}] for p in prompts]}
        ),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=16,
            lora_alpha=32,
            lora_dropout=0.05,
            target_modules=["q_proj", "v_proj"],
            task_type="CAUSAL_LM",
        ),
        callbacks=[turns],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.turns = turns
    return trainer


def report(steps: dict[str, list[Step]]) -> None:
    """Medians with least and greatest, and the ratios to the last, taken round by round."""
    reference = steps[list(steps)[-1]]
    for i, what in enumerate(
        ("sampled tokens a second", "updated tokens a second", "seconds a step")
    ):
        print(f"\n{what:24} {'median [min, max]':28} ratio to the last: median [min, max]")
        for name, taken in steps.items():
            values = [step.rates[i] for step in taken]
            ratios = [v / step.rates[i] for v, step in zip(values, reference, strict=True)]
            print(f"{name:24} {_spread(values, 1):28} {_spread(ratios, 2)}")
    print(
        "\ntokens sampled a step, mean: "
        + "; ".join(
            f"{name} {statistics.mean(s.sampled for s in taken):.0f}"
            for name, taken in steps.items()
        )
    )


def _spread(values: Sequence[float], digits: int) -> str:
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} [{least:.{digits}f}, {most:.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the tasks' data")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after one of warm-up")
    parser.add_argument("--prompts", type=int, default=4, help="problems a step")
    parser.add_argument("--rollouts", type=int, default=4, help="completions of each")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--kl-coeff", type=float, default=0.0, help="of the KL penalty")
    parser.add_argument("--style", default="equation", help="how the problems are put")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    describe_machine()
    versions = ", ".join(f"{p.__name__} {p.__version__}" for p in (trl, transformers, peft))
    print(
        f"{versions}; {arguments.prompts} problems × {arguments.rollouts} rollouts of up to "
        f"{arguments.max_new_tokens} tokens, {arguments.steps} steps"
    )
    with tempfile.TemporaryDirectory() as folder:
        mine = ours(arguments, Path(folder))
        turns = InTurn(list(mine.values()))
        grpo(arguments, turns, Path(folder) / "trl").train()
    assert all(
        one.steps[0].trained - one.steps[0].sampled == turns.prompts for one in mine.values()
    ), "the trainers did not see the same prompts"
    steps = {name: one.steps for name, one in mine.items()} | {"LoRA, TRL GRPO": turns.steps}
    report({name: taken[1:] for name, taken in steps.items()})


if __name__ == "__main__":
    main()
