"""A card: the box with a title that every page is laid out in."""

import html

import gradio as gr


def card(title: str, hint: str, side_id: str = "", elem_id: str | None = None) -> gr.Column:
    """A card with a title; `side_id` names an element at the right end of the title line."""
    column = gr.Column(elem_classes="t2-card", elem_id=elem_id, min_width=0)
    side = f'<span class="side" id="{side_id}"></span>' if side_id else ""
    with column:
        gr.HTML(
            f'<div class="card-head"><h3 title="{html.escape(hint)}">{html.escape(title)}</h3>'
            f"{side}</div>",
            apply_default_css=False,
        )
    return column
