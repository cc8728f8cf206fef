"""`python -m t2ui components`: single components of what a mixture changes, named and tested."""

from dataclasses import asdict
from typing import Annotated

import typer

from t2ui.checks import check_prompt
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
    report_problems,
)
from t2ui.config import DEFAULT_MODEL, AnswerSettings
from t2ui.errors import InputError
from t2ui.records import ComponentChoice, ComponentsMeasured, Ends

SHOWN = 4  # tokens at each end of a direction


def components(
    mix: Annotated[str, typer.Option(help="math=0.7,code=0.3, or a mixture file.")],
    prompt: Annotated[
        str, typer.Argument(help="What they are tested on; without one they are only named.")
    ] = "",
    answer: Annotated[
        str, typer.Option(help="Its answer; by default how the mixture itself answers.")
    ] = "",
    component: Annotated[
        list[str] | None,
        typer.Option(help="MATRIX:INDEX, instead of the most changed; may be given several times."),
    ] = None,
    at: Annotated[
        float, typer.Option(help="What z of each is set to in its test; 1 switches it off.")
    ] = ComponentChoice.at,
    by: Annotated[
        str, typer.Option(help="Most changed by z (|z − 1|) or sigma (σ |z − 1|).")
    ] = ComponentChoice.by,
    count: Annotated[int, typer.Option(help="How many of the most changed.")] = 10,
    module: Annotated[
        str, typer.Option(help="all, attention, mlp, or a matrix such as up_proj.")
    ] = ComponentChoice.module,
    layer: Annotated[int | None, typer.Option(help="One layer alone.", show_default=False)] = None,
    scope: Annotated[str, typer.Option(help="all or answer.", show_default=False)] = "",
    allow_transfer: bool = AnswerSettings.allow_transfer,
    model: Model = DEFAULT_MODEL,
    experts: Folder = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Which tokens single components read and write, and what the answer loses without them."""
    given = asked_mixture(mix)
    settings = AnswerSettings(  # checked before a model is loaded
        mixture=given.weights or {},
        normalise=given.normalise,
        allow_transfer=allow_transfer,
        scope=scope or given.scope,
    )
    chosen = tuple(map(_component, component or ()))
    choice = ComponentChoice(module, layer, by, count, chosen, at)
    if prompt:
        check_prompt(prompt)
    from t2ui.inference.components import components_of

    loaded, tokenizer = load(model, device)
    library = library_of(loaded, experts)
    report_problems(library)
    found = components_of(loaded, tokenizer, library.experts, settings, choice, prompt, answer)
    if as_json:
        print_json(asdict(found))
        return
    _tell(found)


def _component(text: str) -> tuple[str, int]:
    name, _, index = text.rpartition(":")
    if not name or not index.isdecimal():
        raise InputError(
            f"--component is {text!r}; expected MATRIX:INDEX, e.g. model.layers.3.mlp.up_proj:0."
        )
    return name, int(index)


def _tell(found: ComponentsMeasured) -> None:
    if found.adapted is not None:
        note(f"answer ({found.text_tokens} tokens, scope {found.scope}): {found.text!r}")
        note(f"{found.adapted:.3f} nats; {found.base:.3f} under the base model")
    for place, one in enumerate(found.components):
        shift = ""
        if found.adapted is not None:
            shift = f"  z = {found.at:g}: {found.changed[place] - found.adapted:+.4f} nats"
        unique = "" if one.unique else "  (σ nearly equal to a neighbour's: not unique)"
        print(f"{one.name} {one.index}  σ {one.sigma:.3g}  z {one.z:.3f}{shift}{unique}")
        for verb, what, ends in (
            ("reads", one.reads_what, one.reads),
            ("writes", one.writes_what, one.writes),
        ):
            print(f"    {verb:6} {_ends(ends) if ends else what}")


def _ends(ends: Ends) -> str:
    """ " seven" 0.31, … / … (chance 0.2)."""
    sides = (
        ", ".join(f"{text!r} {score:.2f}" for text, score in side[:SHOWN])
        for side in (ends.along, ends.against)
    )
    return f"{' / '.join(sides)} (random directions stay below {ends.chance:.2f})"
