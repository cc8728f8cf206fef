"""Base models: find, load and describe them.

A name is the embedded default, a hub id, a local folder, or a `.gguf` file. What comes back is a
plain transformers model and tokenizer, frozen and in eval mode. Knows nothing of experts.
Remote code is never run and weights are read from safetensors only.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.utils import logging as hub_logging
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto import modeling_auto as auto
from transformers.utils import logging as transformers_logging

from t2ui.config import DEFAULT_MODEL, default_cache_dir
from t2ui.errors import InputError, is_out_of_memory
from t2ui.models.chat import end_where_a_turn_begins
from t2ui.models.dtype_choice import BFLOAT16_FROM, bfloat16_speed
from t2ui.models.embedded import Progress, default_model_folder, gguf_folder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "LICENSE*", "NOTICE*")
WEIGHTS = "*.safetensors"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
)


def load_model(
    name: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
    fastest: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model, or a vision-language model, with its tokenizer.

    One at a time in a process: transformers changes process-wide defaults while it loads.

    Args:
        name: "smollm2-135m-instruct", a hub id, a local folder, or a `.gguf` file.
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto" is float32 on the CPU and 16 bit on an accelerator (see `_pick_dtype`).
        cache_dir: where downloaded and dequantised models are kept; default `T2UI_CACHE`.
        progress: called with a text and the share done (0 to 1, or None when it is not known).
        fastest: let "auto" on the CPU be bfloat16 where this machine reads and decodes clearly
            faster in it: for answers that somebody watches. What is trained or measured should not
            depend on the machine.

    Returns:
        The model in eval mode with `requires_grad` False everywhere, and its tokenizer, which has
        a padding token.

    Raises:
        InputError: nothing by that name, no network, damaged files, not a causal language model.
    """
    progress = progress or _silent
    target = pick_device(device)
    if target.type == "cpu" and not torch.cuda.is_available():
        # Otherwise a piece of a prompt copies the keys and values of all before it for every head
        # that shares them. The same numbers, bit for bit; transformers reads it at every call.
        os.environ.setdefault("TRANSFORMERS_SDPA_FORCE_GQA", "1")
    with _quiet_transformers():
        source, shown = _locate(name, Path(cache_dir or default_cache_dir()), progress)
        progress(f"Loading {shown}", None)
        is_local = isinstance(source, Path)
        measured = fastest and dtype == "auto" and target.type == "cpu"
        config = _read(
            AutoConfig, source, shown, local_files_only=is_local, trust_remote_code=False
        )
        model_class = _model_class(config, shown)
        model, report = _read(
            model_class,
            source,
            shown,
            config=config,
            dtype=_fastest(config, progress) if measured else _pick_dtype(dtype, target, config),
            attn_implementation="sdpa" if model_class._supports_sdpa else "eager",
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # reported below instead
            output_loading_info=True,
            local_files_only=is_local,
            **({} if target.type == "cpu" else {"device_map": {"": target}}),
        )
        tokenizer = _load_tokenizer(source, shown)
    _check_complete(report, model_class, shown)
    model.config.name_or_path = shown  # what `model_name` reports
    end_where_a_turn_begins(model.generation_config, tokenizer)
    progress(f"Loaded {shown}", 1.0)
    return model.eval().requires_grad_(False), tokenizer


def load_tokenizer(
    name: str | Path = DEFAULT_MODEL,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model alone, as `load_model` gives it.

    Raises:
        InputError: nothing by that name, no network, or no tokenizer.
    """
    with _quiet_transformers():
        source, shown = _locate(name, Path(cache_dir or default_cache_dir()), progress or _silent)
        return _load_tokenizer(source, shown)


@dataclass(frozen=True)
class ModelFiles:
    """Where a base model's files are on this machine."""

    folder: Path  # config.json, safetensors, tokenizer
    name: str  # as expert files and receipts write it


def model_files(
    name: str | Path = DEFAULT_MODEL,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> ModelFiles:
    """Find a model's files without loading it; what is on the hub is downloaded.

    Args:
        name: as `load_model` takes it.

    Raises:
        InputError: nothing by that name, no network, or no safetensors.
    """
    with _quiet_transformers():
        source, shown = _locate(name, Path(cache_dir or default_cache_dir()), progress or _silent)
        if isinstance(source, str):
            try:
                source = Path(snapshot_download(source, allow_patterns=[*SMALL_FILES, WEIGHTS]))
            except Exception as error:  # whatever the hub and the network raise
                raise InputError(_read_failure(source, shown, error)) from error
            _check_folder(source)
    return ModelFiles(source, shown)


def empty_model(files: ModelFiles) -> PreTrainedModel:
    """The model of these files without its weights, on torch's meta device: its modules' names,
    shapes and configuration.

    Raises:
        InputError: no causal language model.
    """
    with _quiet_transformers():
        config = _read(
            AutoConfig, files.folder, files.name, local_files_only=True, trust_remote_code=False
        )
        model_class = _model_class(config, files.name)
        with torch.device("meta"):
            model = model_class(config)
    model.config.name_or_path = files.name
    return model.eval().requires_grad_(False)


def dtype_name(model: PreTrainedModel) -> str:
    """As settings, receipts and records write it: "float32", "bfloat16"."""
    return str(model.dtype).removeprefix("torch.")


def model_name(model: PreTrainedModel) -> str:
    """Short name for expert files and receipts: "smollm2-135m-instruct", a hub id, a folder's name.

    For a model that was not loaded with `load_model` it comes from `config._name_or_path`, or is
    the model's type where that is empty (a model made in code).
    """
    source = str(model.config.name_or_path or "")
    if not source:
        return model.config.model_type
    parts = Path(source).parts
    for part in parts:
        if part.startswith("models--"):  # a snapshot in the hub's cache
            return part.removeprefix("models--").replace("--", "/")
    return _folder_name(Path(source)) if _is_path(source) or Path(source).is_dir() else source


def context_limit(model: nn.Module) -> int | None:
    """How many tokens the model's context holds, prompt and answer together; None where its
    configuration does not say."""
    config: Any = model.config
    return getattr(config.get_text_config(), "max_position_embeddings", None)


# --- where a model is ----------------------------------------------------------------------------


def _locate(name: str | Path, cache_dir: Path, progress: Progress) -> tuple[Path | str, str]:
    """The folder to load (a Path), or the hub id (a str), and the name to show for it."""
    text = str(name)
    if text == DEFAULT_MODEL:
        return default_model_folder(cache_dir, progress), DEFAULT_MODEL
    path = Path(text).expanduser()
    if text.lower().endswith(".gguf"):
        if not path.is_file():
            raise InputError(f"There is no file {text}: expected a .gguf model; check the path.")
        return gguf_folder(path, cache_dir, progress), path.stem
    if text.strip() and path.is_dir():
        _check_folder(path)
        return path, _folder_name(path)
    if _is_path(text) or path.exists():
        raise InputError(
            f"{text!r} is not a model folder: expected {DEFAULT_MODEL}, a hub id (owner/name), a "
            "folder with config.json, or a .gguf file; check the path."
        )
    progress(f"Looking for {text} on the hub", None)
    return text, text


def _is_path(text: str) -> bool:
    """Whether a name can only be a path: a hub id is `name` or `owner/name`."""
    return (
        text.strip() == ""
        or text[0] in "./~\\"
        or "\\" in text
        or text.count("/") > 1
        or (os.path.isabs(text))
    )


def _folder_name(folder: Path) -> str:
    return folder.expanduser().resolve().name


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise InputError(
            f"The folder {folder} has no config.json: expected a transformers model folder."
        )
    weights = [p.name for p in folder.iterdir() if p.suffix in (".safetensors", ".bin", ".pt")]
    if not any(name.endswith(".safetensors") for name in weights):
        found = f"only {', '.join(sorted(weights)[:3])}" if weights else "no weights"
        raise InputError(
            f"The folder {folder} has {found}: expected .safetensors files (pickled weights are "
            "not loaded)."
        )


# --- reading it ----------------------------------------------------------------------------------


def _read(loader: Any, source: Path | str, shown: str, **options: Any) -> Any:
    """`loader.from_pretrained`, with what a wrong or damaged source raises turned into one line.

    That can be any exception: parsers and layers meet what the source says before anyone checks it.
    """
    try:
        return loader.from_pretrained(source, **options)
    except Exception as error:
        if is_out_of_memory(error):  # not the source's fault
            raise
        raise InputError(_read_failure(source, shown, error)) from error


def _read_failure(source: Path | str, shown: str, error: BaseException) -> str:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if isinstance(source, Path):
        return f"{shown} is no language model that can be loaded ({reason}): check {source}."
    causes: set[str] = set()
    cause: BaseException | None = error
    while cause is not None:
        causes.update(kind.__name__ for kind in type(cause).__mro__)
        cause = cause.__cause__ or cause.__context__
    if "GatedRepoError" in causes:
        return f"{shown} is gated on the hub: ask for access there and log in with `hf auth login`."
    if causes & {"RepositoryNotFoundError", "HFValidationError"}:
        return (
            f"There is no model {shown!r} on the hub, and no folder of that name here: expected "
            f"{DEFAULT_MODEL}, a hub id (owner/name), a folder or a .gguf file; check the spelling."
        )
    if causes & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError"}:
        return (
            f"{shown!r} is no folder here, and the hub cannot be reached to look for it: check the "
            f"network (and HF_HUB_OFFLINE), or use {DEFAULT_MODEL} or a local folder."
        )
    return f"{shown} from the hub cannot be loaded as a language model ({reason})."


def _model_class(config: PreTrainedConfig, shown: str) -> type[PreTrainedModel]:
    """The class to load: a vision-language one where the config is, else a causal one.

    Raises:
        InputError: an encoder, an encoder-decoder, or no language model at all.
    """
    kind = type(config)
    # Encoders such as BERT have a causal head too, but their checkpoints are not trained for it.
    is_encoder = kind in auto.MODEL_FOR_MASKED_LM_MAPPING and not getattr(
        config, "is_decoder", False
    )
    if not is_encoder and not getattr(config, "is_encoder_decoder", False):
        for mapping in (
            auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
            auto.MODEL_FOR_CAUSAL_LM_MAPPING,
        ):
            if kind in mapping:
                found: type[PreTrainedModel] = mapping[kind]  # type: ignore[assignment]
                return found
    raise InputError(
        f"{shown} is a {config.model_type} model: expected a causal language model (decoder only), "
        "such as Llama, Mistral, Qwen or Gemma."
    )


def _check_complete(report: dict, model_class: type[PreTrainedModel], shown: str) -> None:
    """Refuse a checkpoint whose gaps transformers has filled with random numbers."""
    wrong = sorted(report["missing_keys"]) + sorted(key for key, *_ in report["mismatched_keys"])
    if wrong:
        raise InputError(
            f"{shown} lacks {len(wrong)} of the weights of a {model_class.__name__}, or has them "
            f"in another shape ({wrong[0]}): expected a complete causal language model."
        )


def _load_tokenizer(source: Path | str, shown: str) -> PreTrainedTokenizerBase:
    missing = f"{shown} comes without a tokenizer: put its tokenizer.json beside config.json."
    if isinstance(source, Path) and not any(
        (source / file).is_file() for file in TOKENIZER_FILES
    ):  # asked here, because transformers would make an empty tokenizer from the config alone
        raise InputError(missing)
    is_local = isinstance(source, Path)
    tokenizer = _read(
        AutoTokenizer, source, shown, local_files_only=is_local, trust_remote_code=False
    )
    if len(tokenizer) == 0:
        raise InputError(missing)
    if tokenizer.pad_token_id is None:  # batches are padded; the attention mask hides what it is
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def pick_device(device: str) -> torch.device:
    """The device of this name; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        InputError: this machine has none of that name.
    """
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        kind = next(kind for kind in has if has[kind])
        # `accelerate launch` starts one process a GPU and tells each its number.
        own = os.environ.get("LOCAL_RANK") if kind == "cuda" else None
        return torch.device(kind, int(own)) if own else torch.device(kind)
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f"device is {device!r}; expected auto, cpu, cuda or mps.") from None
    beyond = chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()
    if not has.get(chosen.type, False) or beyond:
        usable = ", ".join(kind for kind in has if has[kind])
        raise InputError(f"device is {device!r}, which this machine lacks; usable: auto, {usable}.")
    return chosen


def _pick_dtype(
    dtype: str | torch.dtype, device: torch.device, config: PreTrainedConfig
) -> torch.dtype:
    """The dtype to run in.

    "auto" is float32 on the CPU, where single rows decode twice as fast in it as in bfloat16. On an
    accelerator it is the checkpoint's own 16-bit dtype, and bfloat16 for a float32 checkpoint;
    float16 stands in for bfloat16 on CUDA devices that only emulate it.
    """
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    if dtype in DTYPES:
        return DTYPES[dtype]
    if dtype != "auto":
        raise InputError(f"dtype is {dtype!r}; expected auto, {', '.join(DTYPES)}.")
    if device.type == "cpu":
        return torch.float32
    own = getattr(config, "dtype", None)
    chosen = own if own in (torch.bfloat16, torch.float16) else torch.bfloat16
    emulated = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.float16 if emulated else chosen


def _fastest(config: PreTrainedConfig, progress: Progress) -> torch.dtype:
    """The dtype in which a model of these shapes answers on the CPU, measured now."""
    text = config.get_text_config()
    hidden = getattr(text, "hidden_size", None)
    if hidden is None:
        return torch.float32
    inner = getattr(text, "intermediate_size", None) or 4 * hidden
    gain = bfloat16_speed([(hidden, hidden), (inner, hidden), (hidden, inner)])
    chosen = torch.bfloat16 if gain >= BFLOAT16_FROM else torch.float32
    at = "at least" if chosen == torch.bfloat16 else "for some work only"
    progress(
        f"Measured: bfloat16 is {at} {gain:.1f} times as fast as float32 here, taking "
        f"{str(chosen).removeprefix('torch.')}",
        None,
    )
    return chosen


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and no advice on stderr: `progress` and InputError say what matters."""
    verbosity, hub_verbosity = transformers_logging.get_verbosity(), hub_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _silent(text: str, fraction: float | None) -> None:
    """The progress callback of a caller who gave none."""
