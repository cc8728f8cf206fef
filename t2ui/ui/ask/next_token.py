"""The next-token card: follows the sliders without a button, newest wins (assets/ask/ask.js)."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from t2ui.errors import InputError
from t2ui.messages import Failed, NextToken, NextTokens
from t2ui.ui.shared.controls import clean_mixture
from t2ui.ui.shared.listen import Client, answer
from t2ui.ui.shared.panel import pack, panel
from t2ui.ui.shared.visitor import of

TIMEOUT_SECONDS = 20.0


async def next_token_view(client: Client, asked: Any) -> dict[str, Any]:
    """The card's value for {prompt, weights, normalise, allow_transfer}, which comes from the
    browser untrusted."""
    asked = asked if isinstance(asked, Mapping) else {}
    try:
        request = NextToken(
            asked.get("prompt"),
            clean_mixture(asked.get("weights")),
            bool(asked.get("normalise")),
            allow_transfer=bool(asked.get("allow_transfer")),
        )
    except InputError as error:
        return {"error": str(error), "remedy": ""}
    event = await answer(client, request, NextTokens, TIMEOUT_SECONDS)
    if isinstance(event, Failed):
        return {"error": event.message, "remedy": event.remedy}
    return {
        "rows": [[text, float(base), float(mix)] for text, base, mix in event.candidates],
        "kl": float(event.kl),
        "seconds": float(event.seconds),
        "left_out": event.left_out,
        "options": [[text, float(base), float(mix)] for text, base, mix in event.options],
    }


def next_token_card(client: Client) -> gr.HTML:
    """The card `#next-token`."""

    async def next_token(asked: Any, request: gr.Request | None = None) -> str:
        return pack(await next_token_view(of(client, request), asked))

    return panel("next-token", {}, elem_id="next-token", server_functions=[next_token])
