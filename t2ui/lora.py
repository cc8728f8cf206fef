"""LoRA by peft, as a trainable: the baseline that every expert is measured beside.

Rank 16, α 32, dropout 0.05 on the query and value projections is the paper's setting (Table 6).
"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from t2ui import checkpoint
from t2ui.config import TrainConfig
from t2ui.errors import InputError
from t2ui.reinforce import Trainer, TrainEvent
from t2ui.tasks import Task


class LoRA:
    """Low-rank updates on some projections of a model. `remove` gives the model back."""

    def __init__(self, model: nn.Module, rank: int = 16, modules: tuple[str, ...] = ("q", "v")):
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError:
            raise InputError(
                "LoRA needs the package peft, which is not installed: pip install peft."
            ) from None
        self.model = model
        self.config = LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            lora_dropout=0.05,
            target_modules=[f"{m}_proj" for m in modules],
            task_type="CAUSAL_LM",
        )
        # Its updates stay float32 whatever the model's dtype, as an expert's scales do.
        self.peft = get_peft_model(model, self.config)
        self.parameters = [p for p in self.peft.parameters() if p.requires_grad]
        # Of the same form as an adapter's: what is trained, and of which weights.
        norm = float(model.get_input_embeddings().weight.detach().float().norm())
        self.fingerprint = f"lora {rank} {' '.join(modules)}:{norm:.4g}"

    @contextmanager
    def training(self) -> Iterator[None]:
        """The model with its updates; dropout on."""
        self.peft.train()
        try:
            yield
        finally:
            self.peft.eval()

    @contextmanager
    def inference(self) -> Iterator[None]:
        """The model with its updates; dropout off."""
        self.peft.eval()
        yield

    def base(self) -> AbstractContextManager:
        """The reference policy."""
        self.peft.eval()
        return self.peft.disable_adapter()

    def save(self, folder: Path) -> None:
        """As peft writes it: adapter_model.safetensors and adapter_config.json."""
        self.peft.save_pretrained(folder)

    def remove(self) -> None:
        """Take the updates out of the model; its parameters can be trained again as before."""
        self.peft.unload()


def train_lora(
    model: nn.Module,
    task: Task,
    config: TrainConfig,
    folder: Path,
    *,
    tokenizer=None,
    rank: int = 16,
    command: str = "",
) -> Iterator[TrainEvent]:
    """The same training with a LoRA in the place of the scales; yields events.

    Ends with `lora/` in the folder, as peft writes it, and `lora/training.json`; call it again to
    resume. The model is as it was afterwards.
    """
    lora = LoRA(model, rank)
    try:
        trainer = Trainer(lora, tokenizer, task, config, folder)
        try:
            yield from trainer.run()
        except (KeyboardInterrupt, GeneratorExit):
            trainer.save_checkpoint()
            raise
        trainer.check_improved()
        checkpoint.fill(lora.parameters, trainer.best_values)
        lora.save(folder / "lora")
        record: dict[str, Any] = trainer.record(command)
        (folder / "lora" / "training.json").write_text(json.dumps(record, indent=2))
    finally:
        lora.remove()
