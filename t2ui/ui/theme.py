"""The look: Gradio's base theme on our colours (assets/shared/tokens.css), and the files served.

Fonts are those Gradio ships and serves itself: the page asks no other host for anything.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from t2ui.ui.shared.panel import ASSETS

STYLES = (  # of all pages, in assets/shared
    "tokens.css",
    "layout.css",
    "panels.css",
    "touch.css",
    "share.css",
    "present.css",
)


def theme() -> gr.themes.Base:
    """Gradio's base theme, whose colours are the CSS variables of assets/shared/tokens.css."""
    look = gr.themes.Base(
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "monospace"],
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md,
    )
    colours = {
        "body_background_fill": "var(--t2-page)",
        "body_text_color": "var(--t2-ink)",
        "body_text_color_subdued": "var(--t2-muted)",
        "background_fill_primary": "var(--t2-card)",
        "background_fill_secondary": "var(--t2-sunken)",
        "block_background_fill": "transparent",
        "block_label_text_color": "var(--t2-muted)",
        "block_title_text_color": "var(--t2-muted)",
        "block_info_text_color": "var(--t2-muted)",
        "border_color_primary": "var(--t2-line)",
        "border_color_accent": "var(--t2-accent)",
        "color_accent_soft": "var(--t2-sunken)",
        "input_background_fill": "var(--t2-sunken)",
        "input_background_fill_focus": "var(--t2-sunken)",
        "input_border_color": "transparent",
        "input_border_color_focus": "var(--t2-accent)",
        "input_placeholder_color": "var(--t2-faint)",
        "slider_color": "var(--t2-accent)",
        "button_primary_background_fill": "var(--t2-accent)",
        "button_primary_background_fill_hover": "var(--t2-accent-strong)",
        "button_primary_text_color": "var(--t2-on-accent)",
        "button_primary_text_color_hover": "var(--t2-on-accent)",
        "button_secondary_background_fill": "var(--t2-sunken)",
        "button_secondary_background_fill_hover": "var(--t2-line)",
        "button_secondary_text_color": "var(--t2-ink)",
        "button_secondary_text_color_hover": "var(--t2-ink)",
        "checkbox_background_color": "var(--t2-card)",
        "checkbox_background_color_selected": "var(--t2-accent)",
        "checkbox_border_color": "var(--t2-faint)",
        "checkbox_border_color_selected": "var(--t2-accent)",
        "checkbox_label_background_fill": "transparent",
        "checkbox_label_background_fill_hover": "var(--t2-sunken)",
        "checkbox_label_background_fill_selected": "var(--t2-card)",
        "checkbox_label_text_color": "var(--t2-ink)",
        "checkbox_label_text_color_selected": "var(--t2-ink)",
        "checkbox_label_border_color": "transparent",
    }
    fixed = {
        "block_border_width": "0px",
        "block_padding": "0px",
        "block_shadow": "none",
        "layout_gap": "8px",
        "form_gap_width": "0px",
        "block_title_text_size": "*text_sm",
        "block_label_text_size": "*text_sm",
    }
    dark = {f"{name}_dark": value for name, value in colours.items()}
    return look.set(**colours, **dark, **fixed)


def launch_options(styles: Sequence[Path]) -> dict[str, Any]:
    """What `Blocks.launch` needs for the app to look right and to be safe to open to others.

    Args:
        styles: those of the pages, read after the shared ones.
    """
    return {
        "theme": theme(),
        "css_paths": [*(ASSETS / "shared" / name for name in STYLES), *styles],
        "favicon_path": ASSETS / "shared/logo.svg",
        "footer_links": [],
        "ssr_mode": False,
        "run_history": False,
        "enable_monitoring": False,
        "show_error": False,
        "allowed_paths": [],
        "max_file_size": "1mb",
        "max_threads": 512,  # events at once, streams too: more than the door lets in
        "state_session_capacity": 1000,  # of 0.2 MB each
    }
