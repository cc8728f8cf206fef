"""What stands beside the weights in a model folder: configuration, tokenizer, a card."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from t2ui.config import hub_name
from t2ui.errors import InputError
from t2ui.files import writing

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


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, whole or not at all: beside its place, where an empty one may be.

    Raises:
        CannotWrite: the disk is full, say; see `files.writing`.
    """
    with writing(folder) as beside:
        beside.mkdir()
        yield beside
        if folder.is_dir():
            folder.rmdir()  # empty, or this refuses


def card(base: str, head: Mapping[str, str], lines: Sequence[str], record: Mapping) -> str:
    """The README of a model folder: what the hub reads, sentences, and a record of the mixture.

    Args:
        base: the base model's name.
        head: further entries of what the hub reads.
    """
    name = hub_name(base)
    entries = {**({"base_model": name} if "/" in name else {}), **head}
    shown = ["---", *(f"{key}: {value}" for key, value in entries.items()), "---", ""]
    said = json.dumps(record, indent=2, ensure_ascii=False)
    return "\n".join([*shown, *lines, "", "```json", said, "```"]) + "\n"


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
