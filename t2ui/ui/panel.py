"""`panel`: a gr.HTML whose value is plain data and whose drawing is a function in assets/*.js.

One kind of component serves everything Gradio has no component for: bars, sliders, answers, plots.
The value goes to the browser as JSON and is drawn there with textContent, never as markup. In
Python a panel's events (`.select`, `.input`, `.load`) are those of gr.HTML.
"""

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

ASSETS = Path(__file__).resolve().parents[2] / "assets"
SCRIPTS = ("core.js", "header.js", "ask.js", "mixer.js", "answer.js", "plots.js")


def asset_url(path: Path) -> str:
    """Where the browser finds a file that `gr.set_static_paths` made public."""
    return f"gradio_api/file={path.as_posix()}"


def panel(
    kind: str,
    value: dict[str, Any],
    elem_id: str | None = None,
    data: dict[str, str] | None = None,
    server_functions: list[Callable] | None = None,
) -> gr.HTML:
    """A component drawn by `t2ui.panels[kind]`; `data` becomes data attributes of its element."""
    attributes = "".join(
        f' data-{key}="{html.escape(text, quote=True)}"' for key, text in (data or {}).items()
    )
    return gr.HTML(
        value,
        elem_id=elem_id,
        elem_classes=["t2-panel", f"t2-panel-{kind}"],
        html_template=f'<div class="t2 t2-{kind}"{attributes}></div>',
        js_on_load=f't2ui.mount("{kind}", element, {{props, trigger, watch, server}});',
        head="".join(f'<script src="{asset_url(ASSETS / name)}"></script>' for name in SCRIPTS),
        apply_default_css=False,
        server_functions=server_functions,
    )
