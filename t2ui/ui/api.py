"""The API by name, for scripts: `/ask` and `/experts`. The page's own events stay private."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import gradio as gr

from t2ui.config import DISPATCH_MODES, Sampling, check_alpha
from t2ui.errors import InputError, quoted
from t2ui.messages import Classified, Done, Failed, Mixed, Tokens
from t2ui.ui.ask.page import ANSWERS
from t2ui.ui.shared.controls import MAX_NEW_TOKENS, Controls
from t2ui.ui.shared.listen import Client, listed, listen
from t2ui.ui.shared.visitor import of


def publish(client: Client) -> None:
    """Add the endpoints to the page under construction."""

    async def ask(
        prompt: str,
        mixture: dict[str, float] | None = None,
        dispatch: str = "",
        max_new_tokens: int = 128,
        seed: int = 0,
        temperature: float = 0.0,
        request: gr.Request | None = None,  # Gradio gives it; it is no parameter of the API
    ) -> AsyncIterator[dict[str, Any]]:
        """Answer a prompt with the base model and adapted, side by side.

        With a mixture ({"math": 0.7}) that answers; without one, pass one chooses: dispatch is
        "prompt" (default), "expert" or "none". Yields what is there so far; the last is complete.
        """
        try:
            controls = _controls(prompt, mixture, dispatch)
            sampling = _sampling(max_new_tokens, temperature, seed)
            question = Controls(*controls, sampling=sampling).request()
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        result: dict[str, Any] = {"classification": None, "base": "", "adapted": ""}
        async with aclosing(listen(of(client, request), question)) as batches:
            async for batch in batches:
                for event in batch:
                    result = _fold(result, event)
                yield result  # also unchanged: only a yield notices that the caller went

    async def experts(request: gr.Request | None = None) -> dict[str, Any]:
        """The experts found, the files that could not be used, and the labels of pass one."""
        found = listed(of(client, request))
        if found is None:
            found = Failed("The model is loading.", "Ask for the experts again in a few seconds.")
        if isinstance(found, Failed):
            raise gr.Error(f"{found.message} {found.remedy}", print_exception=False)
        return asdict(found)

    gr.api(ask, api_name="ask", **ANSWERS)
    gr.api(experts, api_name="experts", concurrency_limit=None)


def _controls(prompt: str, mixture: Any, dispatch: str) -> tuple[str, dict[str, float], str]:
    """Prompt, mixture and dispatch mode; a given mixture means no pass one.

    Raises:
        InputError: a mixture and a dispatcher, an unknown mode, or a weight that is no weight.
    """
    if dispatch and dispatch not in DISPATCH_MODES:
        raise InputError(f"dispatch is {quoted(dispatch)}; expected {', '.join(DISPATCH_MODES)}.")
    if mixture is not None and not isinstance(mixture, dict):
        raise InputError(f"mixture is {quoted(mixture)}; expected an object like {{'math': 0.7}}.")
    if mixture and dispatch not in ("", "none"):
        raise InputError("A mixture and a dispatcher were both given: choose one of them.")
    weights = {str(name): check_alpha(str(name), value) for name, value in (mixture or {}).items()}
    return prompt, weights, "none" if weights else dispatch or "prompt"


def _sampling(max_new_tokens: Any, temperature: Any, seed: Any) -> Sampling:
    """Decoding settings. A script is told of a wrong one; only the page's own are clamped.

    Raises:
        InputError: a setting that is no number or out of range.
    """
    sampling = Sampling(max_new_tokens, temperature, seed=seed)
    if sampling.max_new_tokens > MAX_NEW_TOKENS:
        raise InputError(
            f"max_new_tokens is {max_new_tokens}; the app writes at most {MAX_NEW_TOKENS}."
        )
    return sampling


def _fold(result: dict[str, Any], event: Any) -> dict[str, Any]:
    """The result so far with one more event.

    Raises:
        gr.Error: the request failed.
    """
    if isinstance(event, Classified):
        return {**result, "classification": asdict(event)}
    if isinstance(event, Mixed):
        return {
            **result,
            "mixture": event.mixture,
            "base_share": event.base_share,
            "set_by": event.set_by,
            "note": event.note,
        }
    if isinstance(event, Tokens):
        return {**result, event.pane: result[event.pane] + "".join(event.pieces)}
    if isinstance(event, Failed):
        raise gr.Error(f"{event.message} {event.remedy}".strip(), print_exception=False)
    if isinstance(event, Done):
        return {**result, "timings": event.timings, "receipt": event.receipt}
    return result
