"""A base model that is read matrix by matrix, from its files or from memory.

Exports and imports need a weight matrix at a time, never a model that answers. Singular value
decompositions are made in float32 from the stored weights, as `adapt` makes them of a model that
runs in float32.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from t2ui.errors import InputError
from t2ui.exchange.tensor_files import TensorFolder, TensorInfo
from t2ui.models.loading import (
    ModelFiles,
    empty_model,
    load_tokenizer,
    model_files,
    model_name,
    pick_device,
)
from t2ui.svf.adapter import Adapter, adapted
from t2ui.svf.decomposition import Factors, decompose, is_transposed
from t2ui.svf.fit import Fit
from t2ui.svf.modules import FLOATS, adapted_modules

Progress = Callable[[str, float | None], None]
Source = PreTrainedModel | ModelFiles | str | Path  # of a base model: in memory, or by its name


@dataclass(frozen=True)
class Matrix:
    """One matrix that SVF adapts, and where it is stored."""

    name: str  # full module name
    key: str  # of its weight among the stored tensors
    shape: tuple[int, int]  # (out, in)
    transposed: bool  # stored as (in, out): GPT-2


class Base(ABC):
    """A base model's tensors as they are stored, and its adapted matrices among them."""

    name: str  # as expert files write it
    config: PreTrainedConfig
    infos: Mapping[str, TensorInfo]  # of every stored tensor, in order
    matrices: dict[str, Matrix]  # by full module name, in the model's order
    empty: nn.Module  # the model, perhaps without weights: its modules

    @abstractmethod
    def read(self, key: str) -> Tensor:
        """One stored tensor."""

    @abstractmethod
    def factors(self, name: str) -> Factors:
        """The decomposition of one matrix."""

    @abstractmethod
    def leading(self, name: str) -> float:
        """The largest singular value of one matrix."""

    @abstractmethod
    def write_rest(self, folder: Path, dtype: torch.dtype) -> None:
        """Write everything of a model folder but weights: configuration and tokenizer."""

    @abstractmethod
    def tokenizer(self) -> Any:
        """The model's tokenizer, or None where a model in memory came without one."""

    def weight(self, name: str) -> Tensor:
        """W (out, in) as stored, without a copy."""
        matrix = self.matrices[name]
        stored = self.read(matrix.key)
        return stored.T if matrix.transposed else stored

    @cached_property
    def fit(self) -> Fit:
        """Which experts it can use."""
        shapes = {name: matrix.shape for name, matrix in self.matrices.items()}
        return Fit(self.name, shapes, cache(self.leading))

    @property
    def dtype(self) -> torch.dtype:
        """Of the adapted matrices; the widest where they differ."""
        found = {self.infos[matrix.key].dtype for matrix in self.matrices.values()}
        return max(found, key=lambda dtype: (dtype.itemsize, dtype == torch.bfloat16))


class BaseFiles(Base):
    """A base model in its files; nothing of it stays in memory.

    Args:
        device: where matrices are decomposed.

    Raises:
        InputError: no such model, or weights that are not what its configuration says.
    """

    def __init__(self, files: ModelFiles, device: torch.device | None = None):
        self.name, self.folder = files.name, files.folder
        self._device = device or torch.device("cpu")
        self._tensors = TensorFolder(files.folder)
        self.infos = self._tensors.infos
        self.empty = empty_model(files)
        self.config = self.empty.config
        self.matrices = _matrices(self.empty, self.infos, files.name)

    def read(self, key: str) -> Tensor:
        return self._tensors.read(key)

    def factors(self, name: str) -> Factors:
        return decompose(self.weight(name).to(self._device).float())

    def leading(self, name: str) -> float:
        return float(torch.linalg.matrix_norm(self.weight(name).to(self._device).float(), 2))

    def write_rest(self, folder: Path, dtype: torch.dtype) -> None:
        from t2ui.exchange.model_folder import copy_rest

        copy_rest(self.folder, folder, dtype)

    def tokenizer(self) -> Any:
        return load_tokenizer(self.folder)


class LoadedBase(Base):
    """A base model in memory, through its adapter."""

    def __init__(self, adapter: Adapter, tokenizer: Any = None):
        self._adapter, self._tokenizer = adapter, tokenizer
        self.model = adapter.model
        self.name = model_name(self.model)
        self.config = self.model.config
        self.empty = self.model
        with adapter.disabled():
            self._tensors = _stored_names(self.model)
        self.infos = {
            key: TensorInfo(key, tuple(tensor.shape), tensor.dtype)
            for key, tensor in self._tensors.items()
        }
        self.matrices = _matrices(self.model, self.infos, self.name)

    def read(self, key: str) -> Tensor:
        return self._tensors[key]

    def factors(self, name: str) -> Factors:
        return self._adapter.factors[name]

    def leading(self, name: str) -> float:
        return float(self._adapter.factors[name].S[0])

    def write_rest(self, folder: Path, dtype: torch.dtype) -> None:
        from t2ui.exchange.model_folder import save_rest

        save_rest(self.model, self._tokenizer, folder, dtype)

    def tokenizer(self) -> Any:
        return self._tokenizer


@contextmanager
def base_of(
    model: Source, tokenizer: Any = None, device: str = "cpu", progress: Progress | None = None
) -> Iterator[Base]:
    """A model in memory; or one by its name, as `load_model` takes it, read from its files.

    Raises:
        InputError: no such model, or one that SVF does not know how to adapt.
    """
    if isinstance(model, nn.Module):
        with adapted(model) as adapter:
            yield LoadedBase(adapter, tokenizer)
        return
    files = model if isinstance(model, ModelFiles) else model_files(model, progress=progress)
    yield BaseFiles(files, pick_device(device))


def _stored_names(model: PreTrainedModel) -> dict[str, Tensor]:
    """The model's own tensors under the names that transformers stores them by."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    return dict(revert_weight_conversion(model, state))


def _matrices(model: Any, infos: Mapping[str, TensorInfo], shown: str) -> dict[str, Matrix]:
    """Where each adapted matrix is stored.

    Files name matrices as the model does, as transformers writes them (which may be an older
    layout), or without the first part of their names (files of a bare backbone).
    """
    chosen = _chosen(model)
    written = _written_names(model)
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    found = {}
    for name, module in chosen.items():
        transposed = is_transposed(module)
        stored = tuple(module.get_parameter("weight").shape)
        key = f"{name}.weight"
        keys = (key, written.get(key, key), key.removeprefix(prefix))
        fitting = [k for k in keys if k in infos and infos[k].shape == stored]
        if not fitting:
            raise InputError(
                f"{shown}: its files hold no weight of {name} with the shape {stored}: use the "
                "model's own safetensors files, not quantised."
            )
        if infos[fitting[0]].dtype not in FLOATS:
            raise InputError(
                f"{shown}: {name} is stored as {infos[fitting[0]].dtype}; SVF needs a float "
                "matrix: use the model without quantisation."
            )
        shape = (stored[1], stored[0]) if transposed else (stored[0], stored[1])
        found[name] = Matrix(name, fitting[0], shape, transposed)
    return found


def _chosen(model: Any) -> dict[str, nn.Module]:
    """All that SVF adapts; attention alone where the MLP is of a kind that it does not know."""
    try:
        return adapted_modules(model)
    except InputError:
        for half in ("attention", "mlp"):
            try:
                return adapted_modules(model, half)
            except InputError:
                continue
        raise


def _written_names(model: Any) -> dict[str, str]:
    """Names of parameters -> the names that transformers stores them by, where it stores them
    whole."""
    state = {name: torch.empty(0, device="meta") for name, _ in model.named_parameters()}
    places = {id(tensor): name for name, tensor in state.items()}
    try:
        written = revert_weight_conversion(model, dict(state))
    # Parts that are stored otherwise than they are in the model cannot be found with empty tensors;
    # those matrices are looked for under their own names.
    except (RuntimeError, ValueError, IndexError, KeyError, TypeError):
        return {}
    return {places[id(tensor)]: key for key, tensor in written.items() if id(tensor) in places}
