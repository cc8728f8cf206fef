"""t2ui as a model of lm-evaluation-harness: `t2ui lm-eval run --model t2ui --model_args …`.

The harness asks an ordinary transformers model whose matrices run W′; everything else is its own.
It looks for no plug-ins by itself (version 0.4), so its command is started from here, or a script
imports this module before it asks the harness for the model "t2ui".
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM

from t2ui.config import DEFAULT_MODEL
from t2ui.errors import InputError
from t2ui.exchange.named import named_mixture
from t2ui.models.loading import load_model, model_name
from t2ui.svf.adapter import adapt
from t2ui.svf.mixture import mix, scope_of, used

HARNESS_DEVICE = "cuda:0"  # what it says where --device is not given


@register_model("t2ui")
class MixtureLM(HFLM):
    """A base model with one mixture, as `--model_args` describe it.

    Args:
        mixture: "math=0.7+code=0.3", a mixture file, an expert's name or file; empty: the base.
        model: as `load_model` takes it.
        experts: the folder with expert files; those that ship for the model by default.
        scope: "all" measures a mixture for scope "answer" as if it acted on every token.
        device: as `load_model` takes it; the harness' own --device.
        dtype: as `load_model` takes it.
        options: what the harness' own "hf" model takes (batch_size, max_length …).

    Raises:
        InputError: no such model, expert or mixture, one that does not fit, or a mixture for
            scope "answer" (the harness has one model for prompt and answer).
    """

    def __init__(
        self,
        mixture: str = "",
        model: str = DEFAULT_MODEL,
        experts: str = "",
        scope: str = "",
        device: str | None = None,
        dtype: str = "auto",
        **options: Any,
    ) -> None:
        if device == HARNESS_DEVICE and not torch.cuda.is_available():
            device = None  # nobody has asked for it
        loaded, tokenizer = load_model(model, device=device or "auto", dtype=dtype)
        adapter = adapt(loaded)
        if mixture:
            folder = Path(experts) if experts else None
            named = named_mixture(mixture, model_name(loaded), folder, "+", "mixture")
            scales = mix(named.experts, named.mixture)
            for name, alpha in named.mixture.weights.items():
                if used(alpha):
                    adapter.check(named.experts[name])
            if scope != "all" and scope_of(named.mixture, named.experts) == "answer":
                raise InputError(
                    "The mixture is for scope answer, and the harness reads prompt and answer by "
                    "one model: give scope=all to measure it on every token, or use `evaluate`."
                )
            adapter.set(scales, "merged")
        options.pop("pretrained", None)
        super().__init__(pretrained=loaded, tokenizer=tokenizer, **options)
        self.adapter = adapter


def run(arguments: Sequence[str]) -> None:
    """The harness' own command line, in which the model "t2ui" is known."""
    from lm_eval.__main__ import cli_evaluate

    sys.argv = ["lm_eval", *arguments]
    cli_evaluate()
