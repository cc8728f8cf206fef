"""The methods that `evaluate` was asked for, checked before a model is loaded for them."""

from pathlib import Path

from t2ui.catalogue import DISPATCHERS, NO_DISPATCH
from t2ui.checks import coefficients
from t2ui.cli.options import existing, one
from t2ui.config import default_experts_dir
from t2ui.errors import InputError


def two_passes() -> list[str]:
    """The dispatchers that can be measured as methods."""
    return [name for name in DISPATCHERS if name != NO_DISPATCH]


def asked_methods(names: str) -> list[str]:
    """Methods as people type them, "math,mix:math=0.7+code=0.3", each once."""
    return list(dict.fromkeys(filter(None, (name.strip() for name in names.split(",")))))


def check_methods(names: str, folder: Path | None, model: str) -> None:
    """Refuse a method that there is none of: an expert, a mixture or its file, a LoRA's folder.

    Whether they fit the model is known once that is loaded.

    Args:
        folder: with the experts; None for those that ship for the model.
        model: as it was typed.

    Raises:
        InputError: says which.
    """
    from t2ui.svf.library import experts_folder, load_library
    from t2ui.svf.mixture import SavedMixture
    from t2ui.training.lora import check_lora

    own = experts_folder(default_experts_dir(), model.removesuffix(".gguf"))
    library = load_library(existing(folder) if folder else own)
    for name in asked_methods(names):
        if name in ("base", "all", *two_passes(), *library.experts):
            continue
        kind, _, rest = name.partition(":")
        if kind == "lora":
            check_lora(Path(rest))
        elif kind == "mix":
            mixed = (
                SavedMixture.load(rest).mixture.weights
                if rest.endswith(".json")
                else coefficients(rest, "+", "mix:")
            )
            if not mixed:
                raise InputError("mix: names no expert; expected e.g. mix:math=0.7+code=0.3.")
            for expert in mixed:
                if expert not in library.experts:
                    one(expert, folder)
        else:
            one(name, folder)
