"""What follows the sliders without a button: an answer that streams, and with "live" any other.

An answer under way is steered: from its next token on the new coefficients answer. With "live" on,
a finished answer is asked for again; the worker has it as a draft, so what stays comes at once.
When either happens is decided in assets/ask/live.js: newest wins, one at a time.
"""

import html
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from t2ui.catalogue import NO_DISPATCH
from t2ui.errors import InputError
from t2ui.messages import Done, Failed, Steer
from t2ui.ui.shared.controls import clean_controls, clean_mixture
from t2ui.ui.shared.events import ANSWERS, PAGE, sent
from t2ui.ui.shared.listen import Client, answer, follow
from t2ui.ui.shared.panel import once_loaded, pack, panel, unpack
from t2ui.ui.shared.views import AskView
from t2ui.ui.shared.visitor import of

TIMEOUT_SECONDS = 10.0


async def steer(client: Client, asked: Any) -> dict[str, Any]:
    """Steer an answer under way as {job, weights, normalise, allow_transfer, scope} say, which
    comes from the browser untrusted: {}, or the error in a line."""
    asked = asked if isinstance(asked, Mapping) else {}
    try:
        request = Steer(
            str(asked.get("job")),
            clean_mixture(asked.get("weights")),
            normalise=bool(asked.get("normalise")),
            allow_transfer=bool(asked.get("allow_transfer")),
            scope=str(asked.get("scope") or ""),
        )
    except InputError as error:
        return {"error": str(error)}
    found = await answer(client, request, Done, TIMEOUT_SECONDS)
    return {"error": str(found)} if isinstance(found, Failed) else {}


def live_switch(client: Client) -> gr.HTML:
    """The switch `#live`; its `select` asks again, its `input` lets that answer go."""

    async def steer_answer(asked: Any, request: gr.Request | None = None) -> str:
        return pack(await steer(of(client, request), asked))

    return panel("live", {}, elem_id="live", server_functions=[steer_answer])


def wire_live(
    client: Client,
    switch: gr.HTML,
    controls: Sequence[Component],
    shown: tuple[gr.HTML, gr.HTML],
    no_footer: Mapping[str, Any],
    let_go: str,
) -> Dependency:
    """Let the adapted answer be asked for again when the sliders moved.

    Args:
        controls: the inputs of `clean_controls`, in order.
        shown: the adapted answer, and the line below with its receipt.
        no_footer: that line's value without a receipt.
        let_go: the script that marks an answer as stopped.

    Returns:
        The event, for Stop.
    """
    adapted, footer = shown
    ask_again = _ask_again(client, adapted, footer, no_footer)
    asked = switch.select(ask_again, list(controls), [adapted, footer], **ANSWERS)
    asked.then(None, None, None, js=once_loaded("answerEnded"), **PAGE)  # when let go, too
    gone = switch.input(None, adapted, adapted, js=let_go, cancels=[asked], **PAGE)
    gone.then(None, None, None, js=once_loaded("liveGone"), **PAGE)
    return asked


def _ask_again(
    client: Client, adapted: gr.HTML, footer: gr.HTML, no_footer: Mapping[str, Any]
) -> Callable[..., AsyncIterator[dict]]:
    async def ask_again(
        request: gr.Request, event: gr.EventData, *values: Any
    ) -> AsyncIterator[dict]:
        _, _, mixer, *settings = values
        mixer, mine = unpack(mixer), of(client, request)
        # the prompt that was answered: somebody may be typing the next one
        controls = clean_controls(sent(event).get("prompt"), NO_DISPATCH, mixer, *settings)
        try:
            # the base model's answer stays as it is
            wanted = replace(controls.request(), compare=False, compare_with_last=True)
        except InputError as error:
            gr.Warning(html.escape(str(error)), title="Nothing was asked")
            yield gr.skip()
            return
        view = AskView(controls, mixer, client.status(), live=True)
        yield {adapted: pack(view.panes["adapted"])}
        job = mine.submit(wanted)
        view.job = job.id
        async with aclosing(follow(job)) as batches:
            async for batch in batches:
                new = not view.answer.adapted.pieces
                changed = {name for one in batch for name in view.apply(one)}
                update: dict[Component, str] = {}
                if "adapted" in changed:
                    update[adapted] = pack(view.panes["adapted"])
                if view.receipt:
                    update[footer] = pack({**no_footer, "receipt": view.receipt})
                elif new and view.answer.adapted.pieces:  # the receipt was of the text before
                    update[footer] = pack(no_footer)
                yield update or gr.skip()

    return ask_again
