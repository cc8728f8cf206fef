"""`python -m t2ui compare`: several mixtures side by side, on one prompt or on many questions."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t2ui.catalogue import CONTROLS
from t2ui.checks import check_prompt, check_text
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
from t2ui.config import DEFAULT_MODEL, AnswerSettings, Sampling
from t2ui.errors import InputError
from t2ui.lineup import Lineup, controls_with, held_back

if TYPE_CHECKING:
    from t2ui.inference.sweep import Sweep
    from t2ui.records import Standing

BASE = "base"


def compare(
    mix: Annotated[
        list[str],
        typer.Option(
            help="A column: math=0.7,code=0.3, a mixture file, or base. Give several; the last is "
            "the one that controls are of."
        ),
    ],
    prompt: Annotated[str, typer.Argument(help="What every column answers.")] = "",
    given: Annotated[
        str, typer.Option(help="A right answer: how likely does each column find it?")
    ] = "",
    questions: Annotated[
        Path | None,
        typer.Option(help="JSON Lines with prompt and answer: how many are right in each column?"),
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Further columns: shuffled z, random z and, with --questions, the base model with "
            "the file's first rows as examples in its prompt.",
        ),
    ] = False,
    max_new_tokens: int = Sampling.max_new_tokens,
    scope: Annotated[str, typer.Option(help="all or answer.", show_default=False)] = "",
    allow_transfer: bool = AnswerSettings.allow_transfer,
    model: Model = DEFAULT_MODEL,
    experts: Folder = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Several mixtures beside each other, answered in one batch."""
    settings = AnswerSettings(  # checked before a model is loaded
        allow_transfer=allow_transfer, scope=scope, sampling=Sampling(max_new_tokens)
    )
    if bool(prompt) == bool(questions):
        raise InputError("Give a prompt, or --questions FILE: one of them.")
    if prompt:
        check_prompt(prompt)
    check_text("--given", given)
    shots, rows = held_back(_rows(questions) if questions else [], controls)
    names = controls_with(shots) if controls else []
    lineup = Lineup([_column(one) for one in mix], names, shots=shots)
    from t2ui.evaluation.trial import try_questions
    from t2ui.inference.sweep import compare_mixtures

    loaded, tokenizer = load(model, device)
    library = library_of(loaded, experts)
    report_problems(library)
    words = [*mix, *(f"{CONTROLS[name].words}, {mix[-1]}" for name in names)]
    if questions:
        tried = try_questions(loaded, tokenizer, rows, library.experts, lineup, settings)
        columns = [{"mixture": name, **asdict(one)} for name, one in zip(words, tried, strict=True)]
        if as_json:
            print_json({"questions": len(rows), "columns": columns})
        else:
            _told(words, tried)
        return
    swept = compare_mixtures(loaded, tokenizer, prompt, library.experts, lineup, settings, given)
    if as_json:
        print_json(_plain(words, swept))
    else:
        _show(words, swept)


def _column(text: str) -> dict[str, Any]:
    if text == BASE:
        return {}
    asked = asked_mixture(text)
    if asked.normalise:
        raise InputError(
            f"{text} divides its coefficients by their sum, which a comparison does not: give them "
            "divided."
        )
    return dict(asked.weights or {})


def _rows(path: Path) -> list[tuple[str, str]]:
    from t2ui.jsonl import read_jsonl

    return [(row["prompt"], str(row["answer"])) for row in read_jsonl(path, ("prompt", "answer"))]


def _plain(words: list[str], swept: "Sweep") -> dict[str, Any]:
    columns = [
        {
            "mixture": name,
            "text": column.text,
            "finished": column.finished,
            "log_likelihood": column.log_likelihood,
        }
        for name, column in zip(words, swept.columns, strict=True)
    ]
    return {
        "columns": columns,
        "parts_at": swept.parts_at,
        "scope": swept.scope,
        "given_tokens": swept.given_tokens,
    }


def _show(words: list[str], swept: "Sweep") -> None:
    at = swept.parts_at
    note("all answers are the same" if at is None else f"answers part at token {at}")
    for name, column in zip(words, swept.columns, strict=True):
        said = column.log_likelihood
        likely = "" if said is None else f"  ({said:.3f} nats for the given answer)"
        print(f"[{name}]{likely}\n{column.text}\n")


def _told(words: list[str], tried: "tuple[Standing, ...]") -> None:
    for name, one in zip(words, tried, strict=True):
        low, high = one.interval
        beside = "" if one.p is None else f"  p {one.p:.3g} beside {words[0]}"
        strip = "".join("■" if right else "·" for right in one.right)
        print(
            f"{strip}  {sum(map(bool, one.right))} of {len(one.right)} right "
            f"[{100 * low:.1f}, {100 * high:.1f}] %{beside}  {name}"
        )
