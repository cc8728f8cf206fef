"""A mixture as people name it: coefficients, a mixture file, or one expert."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from t2ui.checks import coefficients
from t2ui.config import default_experts_dir
from t2ui.errors import InputError
from t2ui.svf.expert import SUFFIXES, Expert
from t2ui.svf.library import experts_folder, load_library
from t2ui.svf.mixture import Mixture, SavedMixture


@dataclass(frozen=True)
class NamedMixture:
    """A mixture with the experts that it may name."""

    experts: Mapping[str, Expert]
    mixture: Mixture
    notes: tuple[str, ...] = ()  # files that do not load, and what is not as it was


def named_mixture(
    text: str, model: str, folder: Path | None = None, separator: str = ",", what: str = "--mix"
) -> NamedMixture:
    """What a text such as "math=0.7,code=0.3", "mine.json", "math" or "math.safetensors" names.

    Args:
        model: the base model's name, whose shipped experts are meant without a folder.
        separator: between two experts.
        what: the text was typed for, as messages name it.

    Raises:
        InputError: nothing, no such expert, no mixture in the file, or a bad coefficient.
    """
    text = text.strip()
    if not text:
        raise InputError(
            f"{what} is empty; expected e.g. math=0.7{separator}code=0.3, a file or an expert."
        )
    if Path(text).suffix in SUFFIXES:
        expert = Expert.load(text)
        return NamedMixture({expert.name: expert}, Mixture({expert.name: 1.0}))
    if folder is not None and not folder.is_dir():
        raise InputError(f"There is no folder {folder}: check the path.")
    library = load_library(folder or experts_folder(default_experts_dir(), model))
    notes = [f"{file}: {reason}" for file, reason in library.problems]
    if text.endswith(".json"):
        saved = SavedMixture.load(text)
        notes += saved.misfits(model, library.experts)
        return NamedMixture(library.experts, saved.mixture, tuple(notes))
    alphas = coefficients(text, separator, what) if "=" in text else {text: 1.0}
    return NamedMixture(library.experts, Mixture(alphas), tuple(notes))
