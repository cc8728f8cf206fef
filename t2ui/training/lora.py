"""LoRA by peft, trained by the same trainer: the baseline that every expert is measured beside.

Rank 16, α 32, dropout 0.05 on the query and value projections is the paper's setting (Table 6).
"""

import json
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from t2ui.config import TrainConfig
from t2ui.errors import InputError
from t2ui.model_lock import locked
from t2ui.svf.adapter import Scales
from t2ui.tasks.base import Task
from t2ui.training import checkpoint
from t2ui.training.parameters import How
from t2ui.training.trainer import Trainer, TrainEvent

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RECORD = "training.json"  # beside peft's files
PAPER_MODULES = ("q", "v")
WEIGHTS = "adapter_model.safetensors"  # peft's name
OTHER_FORMS = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "bias")


class PeftUpdates:
    """What peft adds to a model, as the trainer has it: see `Trainable`. `remove` gives the model
    back. Its maker sets the fingerprint.

    Args:
        config: of any of peft's methods; its updates stay float32 whatever the model's dtype.
    """

    fingerprint: str

    def __init__(self, model: "PreTrainedModel", config: Any):
        from peft import get_peft_model

        self.model = model
        self.peft: Any = get_peft_model(model, config)
        self.parameters = [p for p in self.peft.parameters() if p.requires_grad]

    @contextmanager
    def running(self, how: How) -> Iterator[None]:
        """See `Trainable`: the updates are off for the base model, dropout is on in training."""
        self.peft.train(how == "training")
        try:
            with self.peft.disable_adapter() if how == "base" else nullcontext():
                yield
        finally:
            self.peft.eval()

    def policy(self) -> Scales:
        raise InputError("A LoRA's answers are decoded in this process alone: leave --ray out.")

    def remove(self) -> None:
        """Take the updates out of the model; its parameters can be trained again as before."""
        self.peft.unload()


class LoRA(PeftUpdates):
    """Low-rank updates on some projections of a model.

    Args:
        start: a folder that peft wrote, to go on from; otherwise the base model.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        rank: int = 16,
        modules: tuple[str, ...] = PAPER_MODULES,
        start: Path | None = None,
    ):
        try:
            from peft import LoraConfig, set_peft_model_state_dict
        except ImportError:
            raise InputError(
                "LoRA needs the package peft, which is not installed: pip install peft."
            ) from None
        projections = [f"{m}_proj" for m in modules]
        has = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
        unknown = [name for name in projections if name not in has]
        if unknown or not projections:
            raise InputError(
                f"The LoRA's modules are {', '.join(modules) or 'none'}; expected some of "
                f"{', '.join(sorted(n.removesuffix('_proj') for n in has if n.endswith('_proj')))}."
            )
        config = LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            lora_dropout=0.05,
            target_modules=projections,
            task_type="CAUSAL_LM",
        )
        super().__init__(model, config)
        if start is not None:
            try:
                weights = _weights(start, rank, projections)
                found: Any = set_peft_model_state_dict(self.peft, weights)
                if found.unexpected_keys:
                    raise InputError(
                        f"{start} is a LoRA of another model: {found.unexpected_keys[0]} is not "
                        "in this one."
                    )
            except RuntimeError as error:  # torch: other shapes
                self.remove()
                raise InputError(
                    f"{start} is a LoRA of another model: {str(error).splitlines()[-1].strip()}"
                ) from None
            except InputError:
                self.remove()
                raise
        # Of the same form as an adapter's fingerprint: what is trained, and of which model.
        embedding = cast(nn.Embedding, model.get_input_embeddings())
        norm = float(embedding.weight.detach().float().norm())
        self.fingerprint = f"lora {rank} {' '.join(modules)}:{norm:.4g}"

    def save(self, folder: Path) -> None:
        """As peft writes it: adapter_model.safetensors and adapter_config.json."""
        self.peft.save_pretrained(str(folder))


@contextmanager
def lora_on(model: "PreTrainedModel", folder: Path) -> Iterator[None]:
    """Inside the block the model runs with a LoRA that peft wrote, without dropout. Other threads
    wait until its end."""
    rank, projections = _settings(folder)
    modules = tuple(name.removesuffix("_proj") for name in projections)
    with locked(model):
        lora = LoRA(model, rank, modules, start=folder)
        try:
            with lora.running("inference"):
                yield
        finally:
            lora.remove()


def train_lora(
    model: "PreTrainedModel",
    task: Task,
    config: TrainConfig,
    folder: Path,
    *,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    rank: int = 16,
    modules: tuple[str, ...] = PAPER_MODULES,
    start: Path | None = None,
    command: str = "",
) -> Generator[TrainEvent, None, None]:
    """The same training as `train_svf`, of a LoRA instead of scales; yields events.

    Ends by writing `lora/` into the folder, as peft does, and `lora/training.json`; call it again
    to resume. Afterwards the model is what it was before; until then the updates are on it, so
    other threads are refused.

    Args:
        modules: the projections it is on, "q" for q_proj; the paper's by default.

    Raises:
        InputError: the model has no such projection.
    """
    if start is not None:
        config = replace(config, start=start.as_posix())
    with locked(model, refusal="a LoRA is being trained on it"):
        torch.manual_seed(config.seed)  # of what it starts from
        lora = LoRA(model, rank, modules, start)
        try:
            trainer = Trainer(lora, tokenizer, task, config, folder)
            try:
                yield from trainer.run()
            except (KeyboardInterrupt, GeneratorExit):
                trainer.save_stopped()
                if trainer.best_step > 0:
                    _save(lora, trainer, folder / "lora", command)
                raise
            trainer.check_improved()
            _save(lora, trainer, folder / "lora", command)
        finally:
            lora.remove()


def _save(lora: LoRA, trainer: Trainer, folder: Path, command: str) -> None:
    """Write the best updates by validation, and the record of how they were trained."""
    if not trainer.processes.is_main_process:
        return
    checkpoint.fill(lora.parameters, trainer.best_values)
    task = {"task": trainer.task.name, "labels": trainer.task.labels}
    record = json.dumps({**task, **trainer.record(command)}, indent=2)
    try:
        lora.save(folder)
        (folder / RECORD).write_text(record, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{folder} cannot be written ({error}): free some space and give the same command "
            "again; it writes the LoRA from the checkpoint."
        ) from None


def check_lora(folder: Path) -> None:
    """Whether a folder holds a LoRA that `LoRA` can go on from.

    Raises:
        InputError: it holds none, or one of another form.
    """
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder} holds no {WEIGHTS}: give a LoRA's folder.")
    _settings(folder)


def training_record(folder: Path) -> dict[str, Any]:
    """How a LoRA in this folder was trained; empty where it was not by `train_lora`."""
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / RECORD} cannot be read ({error}): remove it.") from None


def _settings(folder: Path) -> tuple[int, list[str]]:
    """Rank and projections of a LoRA that peft wrote.

    Raises:
        InputError: the folder holds none, or one of a form that `LoRA` does not make.
    """
    try:
        settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        rank, projections = int(settings["r"]), sorted(settings["target_modules"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{folder} holds no LoRA as peft writes it ({error}): give the folder with "
            "adapter_model.safetensors."
        ) from None
    others = [key for key in OTHER_FORMS if settings.get(key) not in (None, False, {}, [], "none")]
    if settings.get("lora_alpha") != 2 * rank:
        others.append(f"lora_alpha {settings.get('lora_alpha')} for rank {rank}")
    others += [name for name in projections if not name.endswith("_proj")]
    if others:
        raise InputError(
            f"{folder} is a LoRA of another form ({', '.join(others)}); expected plain LoRA on "
            "projections such as q_proj, with lora_alpha twice the rank."
        )
    return rank, projections


def _weights(folder: Path, rank: int, projections: Collection[str]) -> dict[str, Tensor]:
    """The weights in a folder that peft wrote.

    Raises:
        InputError: there are none, or they are of another rank or other projections.
    """
    found, targets = _settings(folder)
    if found != rank:
        raise InputError(f"{folder} is a LoRA of rank {found}; asked for rank {rank}.")
    if set(targets) != set(projections):
        raise InputError(
            f"{folder} is a LoRA on {', '.join(targets)}; expected one on "
            f"{', '.join(sorted(projections))}."
        )
    try:
        return load_file(folder / "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder} holds no LoRA that can be read ({error}).") from None
