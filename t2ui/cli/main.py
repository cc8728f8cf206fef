"""The command line: `python -m t2ui …`. Results on stdout, progress on stderr.

Every command has `--json` for machines. Bad input is one line on stderr and exit status 2.
"""

import sys
from typing import Annotated

import typer

from t2ui import __version__
from t2ui.allocator import keep_freed_memory
from t2ui.catalogue import DISPATCHERS
from t2ui.checks import check_prompt
from t2ui.cli.adapt import adapt_command
from t2ui.cli.compare import compare
from t2ui.cli.components import components
from t2ui.cli.evaluate import evaluate
from t2ui.cli.experts import experts_app
from t2ui.cli.export import export_app
from t2ui.cli.keys import keys_app
from t2ui.cli.likeness import experts_likeness
from t2ui.cli.lm_eval import lm_eval
from t2ui.cli.options import (
    AsJson,
    Device,
    Folder,
    Model,
    asked_mixture,
    library_of,
    load,
    note,
    print_json,
    progress,
    report_problems,
)
from t2ui.cli.replay import replay
from t2ui.cli.serve import serve
from t2ui.cli.train import train
from t2ui.config import DEFAULT_MODEL, AnswerSettings, Sampling
from t2ui.errors import InputError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(experts_app, name="experts")
app.add_typer(keys_app, name="keys")
app.add_typer(export_app, name="export")
app.command("adapt")(adapt_command)
app.command()(compare)
app.command()(components)
experts_app.command("likeness")(experts_likeness)
app.command()(train)
app.command()(evaluate)
app.command()(replay)
app.command()(serve)
app.command(
    "lm-eval",
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],  # its own --help is the harness'
    },
)(lm_eval)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"t2ui {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """A studio for Transformer² experts."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input is one line on stderr and exit status 2."""
    keep_freed_memory()
    try:
        app(arguments)
    except InputError as error:
        print(f"t2ui: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that may not be written to
        print(f"t2ui: {error}: free some space, or choose another place.", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("t2ui: stopped.", file=sys.stderr)
        sys.exit(130)


@app.command()
def ask(
    prompt: Annotated[str, typer.Argument(help="The question; - reads it from stdin.")],
    mix: Annotated[str, typer.Option(help="math=0.7,code=0.3, or a mixture file.")] = "",
    dispatch: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(DISPATCHERS)}; else both where there are a classification expert and "
            "experts with examples, expert where there is only the former, otherwise prompt."
        ),
    ] = AnswerSettings.dispatch,
    model: Model = DEFAULT_MODEL,
    experts: Folder = None,
    device: Device = "auto",
    routing: Annotated[
        str, typer.Option(help="hard: one expert; soft: by probability.")
    ] = AnswerSettings.routing,
    threshold: Annotated[
        float, typer.Option(help="Below it the base model answers.")
    ] = AnswerSettings.threshold,
    normalise: Annotated[
        bool, typer.Option(help="Divide the coefficients by their sum, given or routed.")
    ] = AnswerSettings.normalise,
    max_new_tokens: int = Sampling.max_new_tokens,
    temperature: float = Sampling.temperature,
    top_p: float = Sampling.top_p,
    top_k: Annotated[int, typer.Option(help="0: all tokens.")] = Sampling.top_k,
    seed: int = Sampling.seed,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="Text that ends the answer; may be given several times."),
    ] = None,
    allow_transfer: Annotated[
        bool, typer.Option(help="Use experts made for other weights of the same shapes.")
    ] = AnswerSettings.allow_transfer,
    scope: Annotated[
        str,
        typer.Option(
            help="Which tokens the mixture acts on: all (paper), or answer (from the end of the "
            "prompt on); by default what its experts were trained for.",
            show_default=False,
        ),
    ] = AnswerSettings.scope,
    as_json: AsJson = False,
) -> None:
    """Answer a prompt in two passes."""
    given = asked_mixture(mix)
    settings = AnswerSettings(  # checked before a model is loaded
        mixture=given.weights,
        dispatch=dispatch,
        routing=routing,
        threshold=threshold,
        normalise=normalise or given.normalise,
        allow_transfer=allow_transfer,
        scope=scope or given.scope,
        sampling=Sampling(max_new_tokens, temperature, top_p, top_k, seed, tuple(stop or ())),
    )
    text = check_prompt(sys.stdin.read() if prompt == "-" else prompt)
    from t2ui.inference.two_pass import answer
    from t2ui.models.loading import model_name
    from t2ui.svf.adapter import adapt

    loaded, tokenizer = load(model, device)
    library = library_of(loaded, experts)
    for misfit in given.saved.misfits(model_name(loaded), library.experts) if given.saved else ():
        note(misfit)
    with adapt(loaded, progress=progress) as adapter:
        library = library.fitting(adapter)
        report_problems(library)
        result = answer(loaded, tokenizer, text, library.experts, settings)
    if as_json:
        found = result.classification
        print_json(
            {
                "text": result.text,
                "label": result.label,
                "probabilities": result.probabilities,
                "said": found.said if found else None,
                "mixture": dict(result.mixture.weights),
                "base_share": result.mixture.base_share,
                "scope": result.scope,
                "note": result.note,
                "timings": result.timings,
                "receipt": result.receipt,
            }
        )
        return
    if result.label:
        shares = ", ".join(f"{n} {p:.2f}" for n, p in result.probabilities.items())
        note(f"pass one: {shares}")
    answering = ", ".join(f"{n} {a:g}" for n, a in result.mixture.weights.items()) or "base model"
    note(f"mixture: {answering}{'; ' + result.note if result.note else ''}")
    print(result.text)
