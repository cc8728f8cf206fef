"""A card: the box with a title that every page is laid out in."""

import html

import gradio as gr


def card(
    title: str, hint: str, side_id: str = "", elem_id: str | None = None, learn: int = 0
) -> gr.Column:
    """A card with a title; `side_id` names an element at the right end of the title line.

    The hint opens by pointing at the title, and by its small button (assets/shared/hints.js).

    Args:
        learn: the step of the Learn page that explains the card; the hint links to it. 0: none.
    """
    column = gr.Column(elem_classes="t2-card", elem_id=elem_id, min_width=0)
    name, words = html.escape(title), html.escape(hint)
    step = f' data-learn="{learn}"' if learn else ""
    side = f'<span class="side" id="{side_id}"></span>' if side_id else ""
    with column:
        gr.HTML(
            f'<div class="card-head"><h2 title="{words}"{step}>{name}</h2><button type="button" '
            f'class="hint" title="{words}"{step} aria-label="About {name}"></button>{side}</div>',
            apply_default_css=False,
        )
    return column
