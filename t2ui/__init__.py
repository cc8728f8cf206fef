"""t2ui: a studio for Transformer² experts.

Public names are imported on first use, so that `import t2ui` stays light (no torch).
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "FewShotConfig": "t2ui.config",
    "Sampling": "t2ui.config",
    "TrainConfig": "t2ui.config",
    "Expert": "t2ui.svf.expert",
    "load_svf": "t2ui.svf.expert",
    "load_library": "t2ui.svf.library",
    "Mixture": "t2ui.svf.mixture",
    "mix": "t2ui.svf.mixture",
    "load_model": "t2ui.models.loading",
    "adapt": "t2ui.svf.adapter",
    "two_pass_infer": "t2ui.inference.two_pass",
    "train_svf": "t2ui.training.svf",
    "few_shot_adapt": "t2ui.few_shot.adapt",
    "InputError": "t2ui.errors",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 't2ui' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
