"""`/ask`: a prompt answered by the base model and adapted, with every setting of an answer."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import gradio as gr

from t2ui.config import AnswerSettings, Sampling
from t2ui.errors import InputError, quoted
from t2ui.messages import PANES, AnswerSoFar, Ask
from t2ui.ui.api.route import Route, mixture_of
from t2ui.ui.shared.controls import MAX_NEW_TOKENS
from t2ui.ui.shared.listen import Client, listen
from t2ui.ui.shared.visitor import of


def ask_of(client: Client) -> Callable[..., Any]:
    """The function behind the route."""

    async def ask(
        prompt: str,
        mixture: dict[str, float] | None = None,
        dispatch: str = AnswerSettings.dispatch,
        max_new_tokens: int = Sampling.max_new_tokens,
        seed: int = Sampling.seed,
        temperature: float = Sampling.temperature,
        top_p: float = Sampling.top_p,
        routing: str = AnswerSettings.routing,
        threshold: float = AnswerSettings.threshold,
        normalise: bool = AnswerSettings.normalise,
        allow_transfer: bool = AnswerSettings.allow_transfer,
        top_k: int = Sampling.top_k,
        stop: list[str] | None = None,
        scope: str = AnswerSettings.scope,
        http: gr.Request | None = None,  # Gradio gives it; it is no argument of the route
    ) -> AsyncIterator[dict[str, Any]]:
        """Answer a prompt with the base model and adapted, side by side.

        With a mixture ({"math": 0.7}) that answers; without one, pass one makes it: `dispatch`
        names the dispatcher, "" takes the best one that these experts suffice for. `routing` is
        "hard" or "soft"; below `threshold` the base model answers; `normalise` divides the
        coefficients by their sum; `allow_transfer` lets experts that were made for another model
        take part; `scope` is "all" or "answer", "" takes what the experts were trained for. One
        mixture answers from beginning to end: an answer is steered on the page, and its receipt
        (with a `timeline`) is replayed by the library. Yields what is there so far; the last is
        complete.
        """
        try:
            sampling = _sampling(max_new_tokens, temperature, top_p, top_k, seed, stop)
            request = Ask(
                prompt,
                mixture_of(mixture),
                dispatch or "",
                routing,
                threshold,
                normalise,
                sampling,
                allow_transfer=allow_transfer,
                scope=scope or "",
            )
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        answer = AnswerSoFar()
        async with aclosing(listen(of(client, http), request)) as batches:
            async for batch in batches:
                for event in batch:
                    answer = answer.after(event)
                if failed := answer.failed:
                    raise gr.Error(str(failed), print_exception=False)
                yield result_of(answer)  # also unchanged: only a yield notices that the caller went

    return ask


ROUTE = Route(ask_of, answers=True)


def result_of(answer: AnswerSoFar) -> dict[str, Any]:
    """The answer so far as a script reads it; what is not there yet is left out."""
    found, mixed, done = answer.classified, answer.mixed, answer.done
    result: dict[str, Any] = {"classification": asdict(found) if found else None}
    result |= {pane: answer.written(pane).text for pane in PANES}
    result |= asdict(mixed) if mixed else {}
    return result | ({"timings": done.timings, "receipt": done.receipt} if done else {})


def _sampling(
    max_new_tokens: Any, temperature: Any, top_p: Any, top_k: Any, seed: Any, stop: Any
) -> Sampling:
    """Decoding settings. A script is told of a wrong one; only the page's own are clamped.

    Raises:
        InputError: a setting that is no number or out of range.
    """
    if stop is not None and not isinstance(stop, list):
        raise InputError(f"stop is {quoted(stop)}; expected a list of texts like ['\\n\\n'].")
    sampling = Sampling(max_new_tokens, temperature, top_p, top_k, seed, tuple(stop or ()))
    if sampling.max_new_tokens > MAX_NEW_TOKENS:
        raise InputError(
            f"max_new_tokens is {max_new_tokens}; the app writes at most {MAX_NEW_TOKENS}."
        )
    return sampling
