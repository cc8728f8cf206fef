"""`panel`: a gr.HTML whose value is plain data and whose drawing is a function in assets/*.js.

One kind of component serves everything Gradio has no component for: bars, sliders, answers, plots.
The value is JSON text (`pack`, `unpack`), drawn with textContent, never as markup. Text and not a
dict, because Gradio streams the difference of two dicts and its browser side applies that in
place, to a value that the page may not have drawn yet.
"""

import html
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

ASSETS = Path(__file__).resolve().parents[3] / "assets"
SCRIPTS = (
    "shared/core.js",
    "shared/header.js",
    "ask/ask.js",
    "shared/mixer.js",
    "ask/answer.js",
    "shared/plots.js",
    "adapt/saved.js",
    "adapt/adapt.js",
)


def once_loaded(js: str) -> str:
    """A handler for an event that may come before the page's scripts have: it waits for them."""
    return (
        "async (...values) => { while (!window.t2ui?.remembered) "  # what the last of them adds
        f"await new Promise((go) => setTimeout(go, 50)); return ({js})(...values); }}"
    )


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
) -> gr.HTML:
    """A component drawn by `t2ui.panels[kind]`; `data` becomes data attributes of its element."""
    attributes = "".join(
        f' data-{key}="{html.escape(text, quote=True)}"' for key, text in (data or {}).items()
    )
    return gr.HTML(
        pack(value),
        elem_id=elem_id,
        elem_classes=["t2-panel", f"t2-panel-{kind}"],
        html_template=f'<div class="t2 t2-{kind}"{attributes}></div>',
        js_on_load=f't2ui.mount("{kind}", element, {{props, trigger, watch, server}});',
        head="".join(f'<script src="{asset_url(ASSETS / name)}"></script>' for name in SCRIPTS),
        apply_default_css=False,
        server_functions=server_functions,
    )
