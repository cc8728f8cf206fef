"""The Workshop page, and the seat's place in the header. Layout and wiring only.

What changes is fetched by assets/workshop/workshop.js from the routes below /workshop
(`t2ui.http.workshop`), which know who asks; what everybody may see of the file is here.
"""

from typing import Any

import gradio as gr

from t2ui.ui.shared.components import Shared
from t2ui.ui.shared.events import QUICK, sent
from t2ui.ui.shared.panel import panel
from t2ui.workshop.file import Plan


def seat(plan: Plan) -> None:
    """Who sits here, and the button that hands in; it asks for the workshop's state by itself."""
    panel("seat", {"contest": plan.contest is not None}, "seat")


def workshop_page(shared: Shared, tab: gr.Tab) -> None:
    """Build the page inside its tab."""
    plan = shared.workshop
    assert plan is not None, "only an app with a workshop has this page"
    shown = panel("workshop", seen_by_all(plan), "workshop")
    rows = plan.contest.visible if plan.contest else ()

    def use(event: gr.EventData) -> Any:
        """The question whose button was pressed goes to Ask."""
        place = sent(event).get("row")
        if type(place) is not int or not 0 <= place < len(rows):
            return gr.skip()
        return rows[place][0]

    shown.select(use, None, shared.prompt, **QUICK)


def seen_by_all(plan: Plan) -> dict[str, Any]:
    """What the file says to everybody: nothing of the contest's hidden part."""
    contest = plan.contest
    return {
        "title": plan.title,
        "contest": None
        if contest is None
        else {
            "name": contest.name,
            "rows": [list(row) for row in contest.visible],
            "hidden": len(contest.hidden),
        },
    }
