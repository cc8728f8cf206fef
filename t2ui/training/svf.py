"""Trains an expert by policy gradient (paper, section 3.1 and objective (1)).

What is minimised is an objective of its own file: see `objectives/`.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2ui.checks import check_texts
from t2ui.cluster.executor import Executor
from t2ui.config import OTHERS, TrainConfig
from t2ui.errors import InputError
from t2ui.files import CannotWrite
from t2ui.inference.dispatchers.router import EXAMPLES, with_examples
from t2ui.inference.kinds import LEAST_EXAMPLES
from t2ui.models.loading import model_name
from t2ui.svf.adapter import Adapter, adapted
from t2ui.svf.expert import Expert
from t2ui.tasks.base import Task
from t2ui.training.parameters import ScaleOffsets
from t2ui.training.trainer import Trainer, TrainEvent

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def train_svf(
    model: "PreTrainedModel",
    task: Task,
    config: TrainConfig | None = None,
    folder: Path = Path("runs/expert"),
    *,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    start: Expert | None = None,
    name: str = "",
    executor: Callable[[Adapter], Executor] | None = None,
    **details: Any,
) -> Generator[TrainEvent, None, None]:
    """Train scales for a model; yields events. Afterwards the model is what it was before; between
    two events other threads may use it, and answer without what is trained.

    Ends by writing `<name>.safetensors` into the folder; call it again to resume. Stopped before
    its end (Ctrl-C, or the iterator closed), it keeps a checkpoint and the best expert so far.

    Args:
        folder: of this run alone: log, checkpoint, and the expert at the end.
        tokenizer: needed for open answers and for rehearsal.
        start: an expert to go on from, instead of the base model.
        name: the expert's; the task's by default.
        executor: given the adapter, who decodes open answers, see `cluster`; by default this
            process.
        details: further fields of the Expert (description, license), and `command`, which goes
            into its training record.
    """
    config = config or TrainConfig()
    name = name or task.name
    if name == "checkpoint":
        raise InputError("The name 'checkpoint' is taken by the run's own file: choose another.")
    check_texts("the expert's name or details", {"name": name, **details})
    if start is not None:
        config = replace(config, start=f"{start.name} {start.sha256[:16]}")
    with adapted(model, config.modules) as adapter:
        offsets = ScaleOffsets(adapter, start)
        elsewhere = executor(adapter) if executor else None
        trainer = Trainer(offsets, tokenizer, task, config, folder, elsewhere)
        try:
            yield from trainer.run()
        except (KeyboardInterrupt, GeneratorExit):
            trainer.save_stopped()
            if trainer.best_step > 0 and trainer.processes.is_main_process:
                _save(_expert(trainer, offsets, name, start, **details), folder)
            raise
        trainer.check_improved()
        if trainer.processes.is_main_process:
            expert = _expert(trainer, offsets, name, start, **details)
            prompts = example_prompts(task)
            if tokenizer is not None and prompts:
                expert = with_examples(expert, prompts, adapter, tokenizer)
            _save(expert, folder)


def example_prompts(task: Task) -> list[str]:
    """Training prompts as people type them, from all over the rows, by which the router knows the
    expert's kind; of pass one's task those of `others`. None where there are too few."""
    wanted: Sequence[int] = range(len(task.train))
    if task.objective == "dispatch":
        wanted = [i for i in wanted if task.labels[task.train[i].correct] == OTHERS]
    step = max(1, len(wanted) // EXAMPLES)
    texts = (task.train[i].prompt for i in wanted[::step])
    found = list(dict.fromkeys(filter(None, texts)))[:EXAMPLES]
    return found if len(found) >= LEAST_EXAMPLES else []


def _save(expert: Expert, folder: Path) -> None:
    try:
        expert.save(folder / f"{expert.name}.safetensors")
    except CannotWrite as error:
        raise error.with_remedy(
            "free some space and give the same command again; it writes the expert from the "
            "checkpoint"
        ) from None


def _expert(
    trainer: Trainer,
    offsets: ScaleOffsets,
    name: str,
    start: Expert | None,
    command: str = "",
    **details: Any,
) -> Expert:
    """The best scales by validation, with their provenance: also that of what they went on from."""
    task, scales = trainer.task, offsets.scales(trainer.best_values)
    return Expert(
        name=name,
        scales={n: z.detach().clone() for n, z in scales.items()},
        base_model=model_name(offsets.model),
        fingerprint=offsets.adapter.fingerprint_of(offsets.adapter.names),
        task=task.name,
        labels=task.labels,
        objective=task.objective,
        scope=trainer.config.scope,
        training=trainer.record(command) | ({"before": start.training} if start else {}),
        **details,
    )
