"""`python -m t2ui export …`: a mixture in the files that other tools read."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t2ui.cli.options import (
    AsJson,
    Folder,
    Model,
    note,
    print_json,
    progress,
)
from t2ui.config import DEFAULT_MODEL

if TYPE_CHECKING:
    from t2ui.exchange.named import NamedMixture
    from t2ui.models.loading import ModelFiles

export_app = typer.Typer(no_args_is_help=True, help="Write a mixture as files of other tools.")

Mix = Annotated[
    str, typer.Option(help="math=0.7,code=0.3, a mixture file, or an expert's name or file.")
]
AllowTransfer = Annotated[
    bool, typer.Option(help="Use experts made for other weights of the same shapes.")
]
SvdDevice = Annotated[str, typer.Option(help="Where matrices are decomposed: cpu, cuda or mps.")]


@export_app.command("merged")
def export_merged(
    mix: Mix,
    out: Annotated[Path, typer.Option(help="A new or an empty folder.")],
    model: Model = DEFAULT_MODEL,
    experts: Folder = None,
    dtype: Annotated[
        str, typer.Option(help="base (as it is stored), float32, bfloat16 or float16.")
    ] = "base",
    shard_size: Annotated[str, typer.Option(help="The largest file with weights.")] = "5GB",
    allow_transfer: AllowTransfer = False,
    device: SvdDevice = "cpu",
    as_json: AsJson = False,
) -> None:
    """A model folder for transformers, vLLM, TGI, mergekit: the mixture is in its weights."""
    from t2ui.exchange.merged import save_merged
    from t2ui.exchange.model_folder import check_empty

    check_empty(out)
    files, named = _asked(mix, model, experts)
    written = save_merged(
        files,
        named.experts,
        named.mixture,
        out,
        dtype=dtype,
        shard_size=shard_size,
        allow_transfer=allow_transfer,
        device=device,
        progress=progress,
    )
    if _told(named, written, as_json, folder=str(out)):
        return
    print(
        f"{out}: {written.changed} changed matrices, {written.dtype}, {len(written.files)} "
        f"{'file' if len(written.files) == 1 else 'files'}, {written.bytes / 1e6:,.1f} MB"
    )
    print(
        f"rounding to {written.dtype}: at most {written.rounding:.2g} in a weight, "
        f"{written.rounding_share:.2%} of the change"
    )


@export_app.command("lora")
def export_lora(
    mix: Mix,
    out: Annotated[Path, typer.Option(help="A new or an empty folder.")],
    rank: Annotated[int, typer.Option(help="Of the update of every matrix.")],
    model: Model = DEFAULT_MODEL,
    experts: Folder = None,
    allow_transfer: AllowTransfer = False,
    device: SvdDevice = "cpu",
    as_json: AsJson = False,
) -> None:
    """The best LoRA of a rank, in peft's format, and the part of the change that it holds."""
    from t2ui.exchange.lora import save_lora
    from t2ui.exchange.model_folder import check_empty

    check_empty(out)
    files, named = _asked(mix, model, experts)
    written = save_lora(
        files,
        named.experts,
        named.mixture,
        out,
        rank,
        allow_transfer=allow_transfer,
        device=device,
        progress=progress,
    )
    if _told(named, written, as_json, folder=str(out)):
        return
    for matrix in written.matrices:
        print(f"{matrix.share:7.1%}  {matrix.name}")
    print(
        f"{out}: rank {rank}, {len(written.matrices)} matrices, {written.bytes / 1e6:,.1f} MB; "
        f"holds {written.share:.1%} of the change in all (of its squared Frobenius norm)"
    )


@export_app.command("gguf")
def export_gguf(
    mix: Mix,
    out: Annotated[Path, typer.Option(help="A new file that ends in .gguf.")],
    model: Model = DEFAULT_MODEL,
    experts: Folder = None,
    type: Annotated[
        str, typer.Option(help="Of the matrices: base (as stored), f32, f16, bf16 or q8_0.")
    ] = "base",
    allow_transfer: AllowTransfer = False,
    device: SvdDevice = "cpu",
    as_json: AsJson = False,
) -> None:
    """One .gguf file for llama.cpp and what is built on it: the mixture is in its weights."""
    from t2ui.exchange.gguf_file import save_gguf

    files, named = _asked(mix, model, experts)
    written = save_gguf(
        files,
        named.experts,
        named.mixture,
        out,
        type=type,
        allow_transfer=allow_transfer,
        device=device,
        progress=progress,
    )
    if _told(named, written, as_json, file=str(out)):
        return
    print(
        f"{out}: {written.changed} changed matrices, {written.architecture}, {written.type}, "
        f"{written.bytes / 1e6:,.1f} MB"
    )


def _asked(mix: str, model: str, experts: Path | None) -> "tuple[ModelFiles, NamedMixture]":
    """The base model's files, and the mixture."""
    from t2ui.exchange.named import named_mixture
    from t2ui.models.loading import model_files

    files = model_files(model, progress=progress)
    return files, named_mixture(mix, files.name, experts)


def _told(named: "NamedMixture", written: Any, as_json: bool, **place: str) -> bool:
    """Say what is to be known of an export, and with --json all of it; whether that was all.

    Args:
        written: what the function that wrote it returned.
        place: where it is, under the name that it has in `written`.
    """
    for sentence in (*named.notes, *written.notes):
        note(sentence)
    if as_json:
        print_json({**asdict(written), **place})
    return as_json
