"""`panel`: a gr.HTML whose value is plain data and whose drawing is a function in assets/*.js.

One kind of component serves everything Gradio has no component for: bars, sliders, answers, plots.
The value is JSON text (`pack`, `unpack`), drawn with textContent, never as markup. It is text and
not a dict because Gradio streams the difference of two dicts, and its browser side applies that in
place, to a value that the page may not have drawn yet.
"""

import html
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from t2ui.config import shipped_folder

ASSETS = shipped_folder("assets")
PANEL_CLASS = "t2-panel"
# Of all pages, in assets/shared. The first defines what the others use.
SCRIPTS = (
    "core.js",
    "lists.js",
    "hints.js",
    "answered.js",
    "present.js",
    "header.js",
    "qr.js",
    "share.js",
    "mixer.js",
    "answer.js",
    "plots.js",
)


def once_loaded(function: str) -> str:
    """A handler that calls `t2ui.<function>` with an event's values.

    For events that may come before the scripts have: it waits until the function is there.
    """
    return (
        f"async (...values) => {{ while (!window.t2ui?.{function}) "
        "await new Promise((go) => setTimeout(go, 50)); "
        f"return window.t2ui.{function}(...values); }}"
    )


def load_scripts(demo: gr.Blocks, scripts: Iterable[Path]) -> None:
    """Have every panel load the shared scripts and these before it is drawn; to be called inside
    `demo` when all panels are built. The browser loads each script once."""
    paths = [*(ASSETS / "shared" / name for name in SCRIPTS), *scripts]
    tags = "".join(f'<script src="{asset_url(path)}"></script>' for path in paths)
    for block in demo.blocks.values():
        if isinstance(block, gr.HTML) and PANEL_CLASS in block.elem_classes:
            block.head = tags


def asset_url(path: Path) -> str:
    """Where the browser finds a file that `gr.set_static_paths` made public."""
    return f"gradio_api/file={path.as_posix()}"


def pack(value: Mapping[str, Any]) -> str:
    """A panel's value as JSON text; NaN and infinities, which JSON has not, become null."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False)
    # half a character, which no answer to the browser can hold, becomes its JSON escape
    text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("<", "\\u003c")  # Gradio warns of script tags, and is right to


def unpack(text: Any) -> dict[str, Any]:
    """A panel's value as it comes back from the browser, untrusted: a dict, empty for nonsense."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def panel(
    kind: str,
    value: dict[str, Any],
    elem_id: str | None = None,
    data: dict[str, str] | None = None,
    server_functions: list[Callable] | None = None,
    render: bool = True,
) -> gr.HTML:
    """A component drawn by `t2ui.panels[kind]`; `data` becomes data attributes of its element.

    Its scripts come with `load_scripts`.
    """
    attributes = "".join(
        f' data-{key}="{html.escape(text, quote=True)}"' for key, text in (data or {}).items()
    )
    return gr.HTML(
        pack(value),
        elem_id=elem_id,
        elem_classes=[PANEL_CLASS, f"{PANEL_CLASS}-{kind}"],
        html_template=f'<div class="t2 t2-{kind}"{attributes}></div>',
        js_on_load=f't2ui.mount("{kind}", element, {{props, trigger, watch, server}});',
        apply_default_css=False,
        server_functions=server_functions,
        render=render,
    )


def page_link(page: str, hint: str) -> gr.HTML:
    """The button "permalink" of a page, by its id, with the sheet that it opens. Its `select` asks
    for the link: the answer is a value with "link" (a query string), "note" and a new "stamp"."""
    value = {"link": "", "note": "", "stamp": ""}
    return panel("page-link", value, f"{page}-link", {"page": page, "hint": hint})
