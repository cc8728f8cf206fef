"""A LoRA that peft wrote, read without peft: the update of each matrix as two thin ones."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from t2ui.errors import InputError, quoted
from t2ui.exchange.lora import CONFIG, PREFIX, WEIGHTS
from t2ui.exchange.tensor_files import TensorFile

_OTHER_FORMS = ("use_dora", "modules_to_save", "lora_bias", "alora_invocation_tokens")
_PART = re.compile(r"^(.+)\.lora_([AB])\.(?:default\.)?weight$")
_COPY = ".base_layer.weight"  # of a head or an embedding that is changed, as the base has it


@dataclass(frozen=True)
class Update:
    """B A, what a LoRA adds to the weight of one module."""

    name: str  # full module name
    B: Tensor  # (out, k) float32, with the LoRA's scaling in it
    A: Tensor  # (k, in) float32


class LoraFiles:
    """A folder that peft wrote.

    Raises:
        InputError: it holds no LoRA, one of another form, or files that cannot be read.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.settings = _settings(folder)
        if not (folder / WEIGHTS).is_file():
            pickled = (folder / "adapter_model.bin").is_file()
            raise InputError(
                f"{folder} holds no {WEIGHTS}"
                + (": pickled weights are not read; save it with safetensors." if pickled else ".")
            )
        self._file = TensorFile(folder / WEIGHTS)
        self._pairs = self._named_pairs()

    @property
    def base_model(self) -> str:
        """The base model that it names; empty where it names none."""
        return str(self.settings.get("base_model_name_or_path") or "")

    @property
    def names(self) -> list[str]:
        """Full names of the modules that it changes."""
        return list(self._pairs)

    def update(self, name: str) -> Update:
        """What it adds to one module's weight."""
        pair = self._pairs[name]
        A, B = (self._file.read(pair[part]).float() for part in "AB")
        if A.ndim != 2 or B.ndim != 2 or A.shape[0] != B.shape[1]:
            raise InputError(
                f"{self.folder.name}: the matrices of {name} have shapes {tuple(A.shape)} and "
                f"{tuple(B.shape)}; expected (rank, in) and (out, rank)."
            )
        return Update(name, B * self._scaling(name, A.shape[0]), A)

    def updates(self) -> Iterator[Update]:
        """All of them, one at a time."""
        return map(self.update, self._pairs)

    def _named_pairs(self) -> dict[str, dict[str, str]]:
        pairs: dict[str, dict[str, str]] = {}
        for key in self._file.infos:
            if key.endswith(_COPY):
                continue
            found = _PART.match(key.removeprefix(PREFIX))
            if not found:
                raise InputError(
                    f"{self.folder.name} holds {quoted(key)}; expected lora_A and lora_B of "
                    "modules only: this is a LoRA of another form."
                )
            pairs.setdefault(found[1], {})[found[2]] = key
        for name, pair in pairs.items():
            if len(pair) != 2:
                raise InputError(f"{self.folder.name}: {name} has no lora_A or no lora_B.")
        return pairs

    def _scaling(self, name: str, rank: int) -> float:
        alpha = self.settings.get("lora_alpha", 1)
        for pattern, own in (self.settings.get("alpha_pattern") or {}).items():
            if re.search(rf"(?:^|\.){pattern}$", name):
                alpha = own
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
            raise InputError(f"{CONFIG}: lora_alpha is {quoted(alpha)}; expected a number.")
        return float(alpha) / (rank**0.5 if self.settings.get("use_rslora") else rank)


def _settings(folder: Path) -> dict[str, Any]:
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder} holds no {CONFIG} that can be read ({error}).") from None
    kind = settings.get("peft_type") if isinstance(settings, dict) else None
    if kind != "LORA":
        raise InputError(f"{CONFIG} says peft_type {quoted(kind)}; expected 'LORA'.")
    others = [key for key in _OTHER_FORMS if settings.get(key)]
    if settings.get("bias", "none") != "none":
        others.append("bias")
    if others:
        raise InputError(
            f"{folder} is a LoRA of another form ({', '.join(others)}); expected one that adds "
            "B A to matrices and changes nothing else."
        )
    return settings
