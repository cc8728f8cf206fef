"""The app: `build(client)` makes it of a header and of the pages in `PAGES`, one folder each.

Every page is a folder here and one in `assets/`, with one line in `PAGES`; `shared/` has what
pages have in common, and no page imports another. `start` is how a visit begins, `theme` the
look, `api` what scripts may call. Nothing here knows torch, and nothing is kept between sessions
but the searches that pages have started, by their ids (`adapt/searches`).
"""

from typing import Any

import gradio as gr

from t2ui.figures.singular_values import plotly_file
from t2ui.messages import EndSession
from t2ui.ui import theme
from t2ui.ui.adapt.page import adapt_page
from t2ui.ui.api import Blocks, publish
from t2ui.ui.ask.first_look import first_look
from t2ui.ui.ask.page import ask_page
from t2ui.ui.compare.page import compare_page
from t2ui.ui.header import header
from t2ui.ui.inspect.page import inspect_page
from t2ui.ui.learn.page import learn_page
from t2ui.ui.library.page import library_page
from t2ui.ui.shared.components import make_shared
from t2ui.ui.shared.listen import Client
from t2ui.ui.shared.page import Page
from t2ui.ui.shared.panel import ASSETS, load_scripts
from t2ui.ui.shared.visitor import of
from t2ui.ui.start import list_experts_when_ready
from t2ui.ui.workshop.page import seat, workshop_page
from t2ui.workshop.file import Plan

__all__ = ["PAGES", "build", "first_look", "launch_options"]

PAGES = (  # in the order of their tabs; see `shared.page`
    Page("learn", "Learn", learn_page),
    Page("ask", "Ask", ask_page),
    Page("adapt", "Adapt", adapt_page),
    Page("inspect", "Inspect", inspect_page),
    Page("compare", "Compare", compare_page),
    Page("library", "Library", library_page),
)
WORKSHOP = Page("workshop", "Workshop", workshop_page)  # with a teacher's file only
FIRST = "ask"  # the page that is open where the link names none


def pages_of(workshop: bool) -> tuple[Page, ...]:
    """The pages of an app, with a workshop or without."""
    return (*PAGES, WORKSHOP) if workshop else PAGES


def build(client: Client, public: bool = False, workshop: Plan | None = None) -> gr.Blocks:
    """The whole app on a worker's client. Launch it with `t2ui.http.launch.launch_options()`.

    In a `public` one what a visitor saves is the session's own, and ends with it.
    """
    pages = pages_of(workshop is not None)
    gr.set_static_paths([ASSETS, plotly_file(), *(page.folder for page in pages)])
    with Blocks(title="t2ui", analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        shared = make_shared(client, demo, public, workshop)
        top = header(shared, pages)
        if workshop is not None:
            seat(workshop)
        with gr.Tabs(selected=FIRST, elem_id="pages"):
            for page in pages:
                with gr.Tab(page.title, id=page.id) as tab:
                    page.build(shared, tab)
        list_experts_when_ready(shared, top)
        publish(client)
        load_scripts(demo, [script for page in pages for script in page.scripts])
        if public:
            _forget_visitors(client, demo)
    # the door in front (t2ui.http) lets in fewer than this, and says so to the others
    demo.queue(default_concurrency_limit=None, max_size=1000, api_open=False)
    return demo


def launch_options(workshop: bool = False) -> dict[str, Any]:
    """What `Blocks.launch` needs for the app to look right and to be safe to open to others."""
    return theme.launch_options([style for page in pages_of(workshop) for style in page.styles])


def _forget_visitors(client: Client, demo: gr.Blocks) -> None:
    """What a visitor saved goes when the page is closed."""

    def forget(request: gr.Request) -> None:
        of(client, request).submit(EndSession(""))

    demo.unload(forget)
