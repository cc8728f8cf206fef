"""`python -m t2ui lm-eval …`: lm-evaluation-harness with the model "t2ui"."""

import typer

from t2ui.errors import InputError


def lm_eval(context: typer.Context) -> None:
    """lm-evaluation-harness' own command (pip install lm-eval), in which the model t2ui is known:
    t2ui lm-eval run --model t2ui --model_args mixture=math=0.7+code=0.3 --tasks arc_easy"""
    try:
        from t2ui.exchange.lm_harness import run
    except ImportError as error:
        if (error.name or "").split(".")[0] != "lm_eval":
            raise
        raise InputError(
            "lm-evaluation-harness is not installed: pip install lm-eval, then give the same "
            "command."
        ) from None
    run(context.args)
