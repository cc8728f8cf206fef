"""`python -m t2ui experts likeness`: how alike experts are, from their files alone."""

from pathlib import Path
from typing import Annotated

import typer

from t2ui.cli.options import AsJson, existing, print_json, report_problems, shipped


def experts_likeness(
    folder: Annotated[Path | None, typer.Argument(show_default=False)] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="One of those to compare; may be given several times; by default all."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Cosine of z − 1 and overlap of the most changed components, for every two experts."""
    from t2ui.svf.library import load_library
    from t2ui.svf.likeness import likeness

    library = load_library(existing(folder or shipped()))
    report_problems(library)
    found = likeness(library.experts, tuple(name or ()))
    if as_json:
        print_json(found.plain())
        return
    wide = max(map(len, found.names))
    for title, matrix in (
        ("cosine of z − 1", found.cosine),
        (f"shared of the {found.most} most changed ({found.chance:.1%} by chance)", found.overlap),
    ):
        print(title)
        print(" " * wide, *(f"{other:>{max(wide, 7)}}" for other in found.names))
        for one, row in zip(found.names, matrix, strict=True):
            print(f"{one:{wide}}", *(f"{value:>{max(wide, 7)}.3f}" for value in row))
