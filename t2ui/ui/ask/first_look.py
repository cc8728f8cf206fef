"""What a browser shows before the app's own scripts have run: a page of plain markup, with the
recorded example of a first visit in it.

Gradio builds its page in the browser, which takes seconds there; this is read with the page's own
markup. Its script takes it away as soon as the page behind shows the same.
"""

import base64
import html
from string import Template
from typing import Any

from t2ui.ui.ask.example import example
from t2ui.ui.ask.page import ABOUT
from t2ui.ui.shared.panel import ASSETS

MARKUP = ASSETS / "ask/first_look.html"
COLOURS = ASSETS / "shared/tokens.css"
LOGO = ASSETS / "shared/logo.svg"

EXAMPLE = Template("""<section class="example asked"><p>$prompt</p></section>
<div class="example about">$about</div>
<div class="example cards">
<section><h2>Pass one</h2>$labels</section>
<section><h2>Mixture <small>set by: $set_by</small></h2>$mixture</section>
<section class="next"><h2>Next token <small>with the mixture</small></h2>$tokens</section>
</div>
<div class="example answers">
<section class="base"><h2>Base <small>recorded example</small></h2>\
<div class="answer">$base</div></section>
<section class="adapted"><h2>Adapted <small>recorded example</small></h2>\
<div class="answer">$adapted</div></section>
</div>""")


def first_look(model: str, workshop: bool = False) -> str:
    """The markup, to stand in the body of the page; with the example where a first visit has one.

    Args:
        model: the one that is served.
        workshop: whether it is a workshop, whose first visit begins with its own questions.
    """
    said = {} if workshop else example(model)
    colours = COLOURS.read_text(encoding="utf-8").partition(".gradio-container")[0]
    logo = base64.b64encode(LOGO.read_bytes()).decode()
    shown = {"colours": colours, "logo": f"data:image/svg+xml;base64,{logo}"}
    shown |= {"colour": _colour(said), "example": _example(said) if said else ""}
    return Template(MARKUP.read_text(encoding="utf-8")).substitute(shown)


def _example(said: dict[str, Any]) -> str:
    found = said["classification"]["rows"]
    labels = [_bar(row["label"], row["p"], row["colour"]) for row in found]
    mixture = said["adapted"]["answered"]["mixture"]
    colours = {row["name"]: row["colour"] for row in said["mixer"]["experts"]}
    rows = [_bar(name, share, colours[name]) for name, share in mixture.items()]
    colour = _colour(said)
    tokens = [_bar(f"“{token}”", p, colour) for token, _, p in said["next_token"]["rows"]]
    answers = {name: html.escape("".join(said[name]["pieces"])) for name in ("base", "adapted")}
    return EXAMPLE.substitute(
        prompt=html.escape(said["prompt"]),
        labels="".join(labels),
        set_by=html.escape(said["adapted"]["answered"]["set_by"]),
        about=html.escape(ABOUT),
        mixture="".join(rows),
        tokens="".join(tokens),
        **answers,
    )


def _bar(name: str, share: float, colour: str) -> str:
    style = f"--c: {colour}; --w: {100 * share:.1f}%"
    return (
        f'<div class="bar"><span>{html.escape(name)}</span><i style="{style}"></i>'
        f"<b>{share:.2f}</b></div>"
    )


def _colour(said: dict[str, Any]) -> str:
    """That of the strongest expert of the example's mixture."""
    if not said:
        return "var(--t2-accent)"
    mixture = said["adapted"]["answered"]["mixture"]
    strongest = max(mixture, key=mixture.__getitem__)
    return next(row["colour"] for row in said["mixer"]["experts"] if row["name"] == strongest)
