"""What one HTTP route is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from t2ui.errors import InputError, quoted
from t2ui.ui.shared.listen import Client


@dataclass(frozen=True)
class Route:
    """One function that scripts call by name.

    `make` gives it for a worker's client: an async function or generator whose arguments all have
    types and whose docstring is what callers read; one of the type `gr.Request` is given by Gradio
    and tells whose request it is (`shared.visitor.of`). On bad input it raises `gr.Error` with one
    clear line. `answers`: it writes an answer, and takes its place in the queue of the page's.
    """

    make: Callable[[Client], Callable[..., Any]]
    answers: bool = False


def mixture_of(given: Any) -> dict[str, float] | None:
    """The coefficients that a caller gave; an empty object is no mixture.

    Raises:
        InputError: no object.
    """
    if given is not None and not isinstance(given, dict):
        raise InputError(f"mixture is {quoted(given)}; expected an object like {{'math': 0.7}}.")
    return given or None
