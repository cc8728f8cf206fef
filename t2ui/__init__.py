"""t2ui: a studio for Transformer² experts.

Public names are imported on first use, so that `import t2ui` stays light (no torch).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as below, for type checkers
    from t2ui.config import FewShotConfig as FewShotConfig
    from t2ui.config import Sampling as Sampling
    from t2ui.config import TrainConfig as TrainConfig
    from t2ui.errors import InputError as InputError
    from t2ui.evaluation.trial import try_questions as try_questions
    from t2ui.exchange.merged import save_merged as save_merged
    from t2ui.few_shot.adapt import few_shot_adapt as few_shot_adapt
    from t2ui.inference.components import components_of as components_of
    from t2ui.inference.sweep import compare_mixtures as compare_mixtures
    from t2ui.inference.two_pass import two_pass_infer as two_pass_infer
    from t2ui.lineup import Lineup as Lineup
    from t2ui.models.loading import load_model as load_model
    from t2ui.svf.adapter import adapt as adapt
    from t2ui.svf.expert import Expert as Expert
    from t2ui.svf.expert import load_svf as load_svf
    from t2ui.svf.library import load_library as load_library
    from t2ui.svf.likeness import likeness as likeness
    from t2ui.svf.mixture import Mixture as Mixture
    from t2ui.svf.mixture import mix as mix
    from t2ui.training.svf import train_svf as train_svf

__version__ = "0.1.0"

_HOME = {
    "FewShotConfig": "t2ui.config",
    "Sampling": "t2ui.config",
    "TrainConfig": "t2ui.config",
    "Expert": "t2ui.svf.expert",
    "load_svf": "t2ui.svf.expert",
    "load_library": "t2ui.svf.library",
    "likeness": "t2ui.svf.likeness",
    "Mixture": "t2ui.svf.mixture",
    "mix": "t2ui.svf.mixture",
    "load_model": "t2ui.models.loading",
    "adapt": "t2ui.svf.adapter",
    "components_of": "t2ui.inference.components",
    "compare_mixtures": "t2ui.inference.sweep",
    "Lineup": "t2ui.lineup",
    "try_questions": "t2ui.evaluation.trial",
    "two_pass_infer": "t2ui.inference.two_pass",
    "train_svf": "t2ui.training.svf",
    "save_merged": "t2ui.exchange.merged",
    "few_shot_adapt": "t2ui.few_shot.adapt",
    "InputError": "t2ui.errors",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 't2ui' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
