"""The card of experts beside each other on the Library page. Wiring."""

import html
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from t2ui.errors import InputError
from t2ui.figures.singular_values import plotly_file
from t2ui.messages import CompareExperts, Failed, Likeness
from t2ui.ui.library.alike import likeness_view, no_likeness, pair_view
from t2ui.ui.shared.card import card
from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.events import NEWEST, sent
from t2ui.ui.shared.listen import Client, answer, patiently
from t2ui.ui.shared.panel import asset_url, pack, panel, unpack
from t2ui.ui.shared.visitor import of

TIMEOUT_SECONDS = 60.0
WAITING = "The model is loading or busy: the comparison appears when it is its turn."
ABOUT = (
    "How alike two experts' changes z − 1 are: cosine 1 is the same direction, 0 unrelated, −1 "
    "opposite. Below, what each does to the sets that any of them was measured on."
)


def likeness_card(shared: Shared, tab: gr.Tab) -> None:
    """Build the card inside the page, and wire it."""
    with card("Expert against expert", ABOUT, "likeness-side", "likeness-card", 5):
        data = {"plotly": asset_url(plotly_file())}
        alike = panel("likeness", no_likeness("waiting", WAITING), "likeness", data)

    async def show(request: gr.Request, shown: str) -> AsyncIterator[Any]:
        before = unpack(shown)
        client = of(shared.client, request)
        async for news in patiently(_compared(client), None):
            if news is None:
                yield gr.skip()
            elif before.get("state") == "done" and news.get("state") == "failed":
                yield gr.skip()  # what was compared stays
            else:
                yield pack(news)

    async def open_pair(request: gr.Request, shown: str, event: gr.EventData) -> AsyncIterator[Any]:
        value, asked = unpack(shown), sent(event)
        try:
            wanted = CompareExperts((str(asked.get("one")), str(asked.get("other"))))
        except InputError:
            yield gr.skip()
            return
        work = answer(of(shared.client, request), wanted, Likeness, TIMEOUT_SECONDS)
        async for news in patiently(work):
            if news is None:
                yield gr.skip()
            elif isinstance(news, Failed):
                gr.Warning(html.escape(str(news)), title="Not compared")
                yield gr.skip()
            elif len(news.names) == 2:
                yield pack({**value, "pair": pair_view(news)})
            else:
                yield gr.skip()

    async def again(request: gr.Request, shown: str) -> AsyncIterator[Any]:
        """After the experts changed, for whoever has seen the comparison, or that it failed."""
        if unpack(shown).get("state") == "waiting":
            yield gr.skip()
            return
        async for news in show(request, shown):
            yield news

    tab.select(show, alike, alike, **NEWEST)
    shared.library.change(again, alike, alike, **NEWEST)
    alike.select(open_pair, alike, alike, **NEWEST)


async def _compared(client: Client) -> dict[str, Any]:
    found = await answer(client, CompareExperts(), Likeness, TIMEOUT_SECONDS)
    if isinstance(found, Failed):
        return no_likeness("failed", found.message, found.remedy)
    return likeness_view(found)
