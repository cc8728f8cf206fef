"""Tensors in safetensors files, read and written one at a time.

What is written is what transformers writes, one file or shards with an index; the memory that it
takes is that of one tensor, whatever the size of the model. Knows names and tensors only.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from t2ui.errors import InputError, quoted

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_SIZE = "5GB"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class TensorInfo:
    """A tensor before it is read."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """What it takes in a file."""
        return prod(self.shape) * self.dtype.itemsize


class TensorFile:
    """The tensors in one safetensors file.

    Raises:
        InputError: no such file, a damaged one, or a dtype that is not known here.
    """

    def __init__(self, path: Path):
        self.path = path
        self.infos: dict[str, TensorInfo] = {}
        try:
            with safe_open(path, framework="pt") as file:
                self.metadata: dict[str, str] = file.metadata() or {}
                for name in file.keys():
                    part = file.get_slice(name)
                    code = part.get_dtype()
                    if code not in DTYPES:
                        raise InputError(
                            f"{path.name}: {name} is of dtype {code}, which is not known here: "
                            "use a model that is not quantised."
                        )
                    self.infos[name] = TensorInfo(name, tuple(part.get_shape()), DTYPES[code])
        except (SafetensorError, OSError) as error:
            raise _damaged(path, error) from error

    def read(self, name: str) -> Tensor:
        """One tensor, as it is stored."""
        try:
            with safe_open(self.path, framework="pt") as file:
                return file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise _damaged(self.path, error) from error


class TensorFolder:
    """The tensors in a model folder's safetensors files, in the order of the files.

    Raises:
        InputError: no such files, one that is missing or damaged, or an index that is none.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._files: dict[str, TensorFile] = {}
        self.infos: dict[str, TensorInfo] = {}
        for file in map(TensorFile, self._paths()):
            self._files |= dict.fromkeys(file.infos, file)
            self.infos |= file.infos

    def read(self, name: str) -> Tensor:
        """One tensor, as it is stored."""
        return self._files[name].read(name)

    def _paths(self) -> list[Path]:
        index = self.folder / INDEX
        if not index.is_file():
            single = self.folder / SINGLE
            if not single.is_file():
                raise InputError(f"{self.folder} has neither {SINGLE} nor {INDEX}: get it again.")
            return [single]
        try:
            names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
            paths = [self.folder / name for name in names]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{index} is no index of shards ({error}): get it again.") from None
        for path in paths:
            if path.parent != self.folder or not path.is_file():
                raise InputError(f"{INDEX} names {quoted(path.name)}, which is not there.")
        return paths


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path.name} is not a readable safetensors file ({str(error)[:200]}): it is truncated or "
        "of another kind; get it again."
    )


def size_of(text: str) -> int:
    """ "5GB" as bytes.

    Raises:
        InputError: it is no size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    unit = _UNITS.get(found[2].upper()) if found else None
    size = int(float(found[1]) * unit) if found and unit else 0
    if size < 1:
        raise InputError(f"The shard size is {quoted(text)}; expected e.g. 5GB or 500MB.")
    return size


def write_shards(
    folder: Path, infos: Sequence[TensorInfo], read: Callable[[str], Tensor], shard_size: int
) -> list[Path]:
    """Write model.safetensors, or shards of at most `shard_size` bytes with their index.

    A tensor that is larger than that has a shard of its own.

    Args:
        read: gives each tensor when its turn has come, of the shape and dtype in its info.

    Returns:
        The files, in their order.
    """
    shards = list(_shards(infos, shard_size))
    if len(shards) == 1:
        write_file(folder / SINGLE, shards[0], read)
        return [folder / SINGLE]
    paths: list[Path] = []
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        path = folder / f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_file(path, shard, read)
        paths.append(path)
        weight_map |= {info.name: path.name for info in shard}
    total = {
        "total_parameters": sum(prod(info.shape) for info in infos),
        "total_size": sum(info.bytes for info in infos),
    }
    index = {"metadata": total, "weight_map": dict(sorted(weight_map.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return paths


def _shards(infos: Sequence[TensorInfo], size: int) -> Iterator[list[TensorInfo]]:
    shard: list[TensorInfo] = []
    taken = 0
    for info in infos:
        if shard and taken + info.bytes > size:
            yield shard
            shard, taken = [], 0
        shard.append(info)
        taken += info.bytes
    yield shard


def write_file(
    path: Path,
    infos: Sequence[TensorInfo],
    read: Callable[[str], Tensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """One safetensors file, tensor by tensor: the length of the header (8 bytes, little-endian),
    the header (JSON), the bytes in the header's order.

    Raises:
        OSError: it cannot be written.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    # As safetensors itself does: wide dtypes first, so that every tensor is aligned to its own.
    ordered = sorted(infos, key=lambda info: (-info.dtype.itemsize, info.name))
    start = 0
    for info in ordered:
        offsets = [start, start + info.bytes]
        header[info.name] = {
            "dtype": _CODES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": offsets,
        }
        start += info.bytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for info in ordered:
            _write_tensor(file, info, read(info.name))


def _write_tensor(file: BinaryIO, info: TensorInfo, tensor: Tensor) -> None:
    if tuple(tensor.shape) != info.shape or tensor.dtype != info.dtype:
        raise ValueError(
            f"{info.name}: got {tensor.dtype} {tuple(tensor.shape)}, expected {info.dtype} "
            f"{info.shape}"
        )
    if prod(info.shape):
        plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        file.write(plain.numpy().data)
