"""What stands beside the weights in a model folder: configuration, tokenizer, a card."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from t2ui.errors import InputError

_OTHER_WEIGHTS = {
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".gguf",
    ".h5",
    ".msgpack",
    ".onnx",
    ".ot",
    ".index",
}
_LEFT_OUT = {"README.md", "t2ui.json"}  # the base's card; the cache's own list of files


def check_empty(folder: Path) -> None:
    """Refuse a place that holds something.

    Raises:
        InputError: a file, or a folder that is not empty.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: choose another --out.")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: choose another --out, or empty it first.")


def copy_rest(source: Path, folder: Path, dtype: torch.dtype) -> None:
    """Copy a base model's small files; its configuration says the dtype of the new weights.

    Raises:
        InputError: the configuration is none.
        OSError: something cannot be written.
    """
    for path in sorted(source.iterdir()):
        kept = path.suffix not in _OTHER_WEIGHTS and not path.name.endswith(".index.json")
        if kept and path.is_file() and path.name[0] != "." and path.name not in _LEFT_OUT:
            shutil.copyfile(path, folder / path.name)
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        config.pop("torch_dtype", None)
        config["dtype"] = str(dtype).removeprefix("torch.")
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{source / 'config.json'} is no configuration ({error}).") from None
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def save_rest(model: Any, tokenizer: Any, folder: Path, dtype: torch.dtype) -> None:
    """The same of a model in memory, as transformers writes it; the tokenizer where there is one.

    Raises:
        OSError: something cannot be written.
    """
    model.config.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["dtype"] = str(dtype).removeprefix("torch.")
    config["architectures"] = [type(model).__name__]
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if model.can_generate():
        model.generation_config.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
