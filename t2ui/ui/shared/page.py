"""What a page is: one tab of the app, a folder of Python and one of scripts and styles.

To add a page, write its `build` function in a folder of `t2ui/ui`, its scripts and styles in
`assets/<id>/`, and its line in `PAGES` of `t2ui/ui/__init__.py`; nothing else names it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.panel import ASSETS


@dataclass(frozen=True)
class Page:
    """One tab."""

    id: str  # of the tab; a link opens the page with `?tab=<id>`
    title: str  # on the tab
    build: Callable[[Shared, gr.Tab], None]  # called inside the tab
    assets: Path | None = None  # the folder of its scripts and styles; `assets/<id>` by default

    @property
    def folder(self) -> Path:
        """Where its scripts and styles are; a page may have none."""
        return self.assets or ASSETS / self.id

    @property
    def scripts(self) -> list[Path]:
        """Loaded after the shared scripts, in the order of their names."""
        return sorted(self.folder.glob("*.js"))

    @property
    def styles(self) -> list[Path]:
        """Read after the shared styles, in the order of their names."""
        return sorted(self.folder.glob("*.css"))
