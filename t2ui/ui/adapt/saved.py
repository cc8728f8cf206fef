"""The experts that the page saved: downloaded, renamed, deleted. A list behind a small button.

What came with the app or from the command line is not among them. In a public app each visitor has
their own, and they go with the page; elsewhere they are files of the shared folder.
"""

import base64
import uuid
from collections.abc import Mapping
from typing import Any

import gradio as gr

from t2ui.errors import InputError
from t2ui.messages import ExpertFile, Failed, RenameExpert
from t2ui.ui.shared.components import Shared, library_of
from t2ui.ui.shared.events import PAGE, QUICK, WORKER, sent
from t2ui.ui.shared.mixture import experts_of, with_experts
from t2ui.ui.shared.panel import once_loaded, pack, panel, unpack
from t2ui.ui.shared.saved import OWN, SHARED, carried_out, change_of, renamed
from t2ui.ui.shared.visitor import of


def saved_experts(shared: Shared) -> None:
    """Build and wire the list, beside the button that opens it."""
    words = OWN if shared.public else SHARED
    shown = panel("saved", _value({}, words), "adapt-saved")

    async def act(request: gr.Request, packed: str, event: gr.EventData) -> tuple[Any, Any, str]:
        mine = of(shared.client, request)
        asked = sent(event)
        kept = gr.skip(), gr.skip()
        try:
            wanted = change_of(asked)
        except InputError as error:
            return *kept, _value_text(unpack(packed), words, str(error), bad=True)
        found = await carried_out(mine, wanted)
        if isinstance(found, Failed):
            return *kept, _value_text(unpack(packed), words, str(found), bad=True)
        if isinstance(found, ExpertFile):
            file = {"name": found.file_name, "base64": base64.b64encode(found.data).decode()}
            return *kept, pack({**_value(unpack(packed), words), "file": file})
        changed = with_experts(unpack(packed), found.experts.experts, found.experts.problems)
        note = f"{wanted.name} is deleted."
        if isinstance(wanted, RenameExpert):
            note = renamed(wanted)
        return pack(changed), library_of(found.experts), _value_text(changed, words, note)

    def show(packed: str) -> str:
        """The rows anew; what was said of the last change stays, which may come before this."""
        return pack({**_value(unpack(packed), words), "note": None})

    changed = shown.select(act, shared.mixer, [shared.mixer, shared.library, shown], **WORKER)
    changed.then(None, None, None, js=once_loaded("savedChanged"), **PAGE)
    shared.library.change(show, shared.mixer, shown, **QUICK)


def _value(mixer: Mapping[str, Any], words: str) -> dict[str, Any]:
    """What the list draws: the experts that the mixture card knows as saved here."""
    rows = [
        {"name": one["name"], "colour": one["colour"], "bytes": one.get("bytes", 0)}
        for one in experts_of(mixer)
        if one.get("saved")
    ]
    # the stamp makes the same list again a new value
    return {
        "rows": rows,
        "words": words,
        "note": "",
        "bad": False,
        "file": None,
        "stamp": uuid.uuid4().hex,
    }


def _value_text(mixer: Mapping[str, Any], words: str, note: str, bad: bool = False) -> str:
    return pack({**_value(mixer, words), "note": note, "bad": bad})
