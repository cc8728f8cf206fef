"""The app's table of contents: `build(client)` makes the page, one file a part.

    header.py    name, status                 ask.py       the Ask page
    adapt.py     the Adapt page               settings.py  Ask's Settings
    adapt_result.py  what it found            live.py      Ask's next-token card
    inspect.py   the Inspect page             theme.py     the look, launch options
    start.py     how a visit begins           panel.py     how data is drawn
    api.py       /ask and /experts by name

Pure, without gradio: controls, mixture, views, matrices, permalink, snippets, colours, examples,
search_view. `listen` follows the worker's jobs, `sources` asks it for matrices. Nothing here knows
torch, and nothing is kept between sessions but searches by their ids (`searches`).
"""

import gradio as gr

from t2ui.figures.singular_values import plotly_file
from t2ui.messages import EndSession
from t2ui.ui.adapt.page import adapt_page
from t2ui.ui.adapt.saved import follow, saved_experts
from t2ui.ui.api import publish
from t2ui.ui.ask.page import ask_page
from t2ui.ui.header import header
from t2ui.ui.inspect.page import inspect_page, wire_late
from t2ui.ui.shared.listen import Client
from t2ui.ui.shared.panel import ASSETS
from t2ui.ui.shared.visitor import of
from t2ui.ui.start import wire_start
from t2ui.ui.theme import launch_options

__all__ = ["build", "launch_options"]


def build(client: Client, public: bool = False) -> gr.Blocks:
    """The whole app on a worker's client. Launch it with `t2ui.http.launch.launch_options()`.

    In a `public` one what a visitor saves is the session's own, and ends with it.
    """
    gr.set_static_paths([ASSETS, plotly_file()])
    with gr.Blocks(title="t2ui", analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        top = header(client)
        with gr.Tabs(elem_id="pages"):
            with gr.Tab("Ask", id="ask"):
                page = ask_page(client)
            with gr.Tab("Adapt", id="adapt") as tab:
                saved = adapt_page(client, page, tab, demo)
                own, changed = saved_experts(client, page.mixer, public)
            with gr.Tab("Inspect", id="inspect") as tab:
                inspected = inspect_page(client, page.mixer, tab)
        choices = [inspected.look, inspected.compare, inspected.module, inspected.layer]
        filled = wire_start(client, page, top, choices, [saved, changed], demo)
        follow([filled, saved], page.mixer, own, public)
        wire_late(client, inspected, page.mixer, filled)
        publish(client)
        if public:
            _forget_visitors(client, demo)
    # the door in front (t2ui.http) lets in fewer than this, and says so to the others
    demo.queue(default_concurrency_limit=None, max_size=1000, api_open=False)
    return demo


def _forget_visitors(client: Client, demo: gr.Blocks) -> None:
    """What a visitor saved goes when the page is closed."""

    def forget(request: gr.Request) -> None:
        of(client, request).submit(EndSession(""))

    demo.unload(forget)
