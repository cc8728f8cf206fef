"""The Library page: the experts there are, and what can be done with them. Layout and wiring."""

import base64
import binascii
import uuid
from collections.abc import Mapping
from typing import Any

import gradio as gr

from t2ui.catalogue import NO_DISPATCH
from t2ui.errors import InputError
from t2ui.messages import AddExpert, ExpertFile, ExpertSaved, Failed, RenameExpert, SaveExpert
from t2ui.messages.saved import MOST_BYTES
from t2ui.ui.library.cards import cards
from t2ui.ui.library.likeness import likeness_card
from t2ui.ui.library.measuring import (
    ALL_AT_0,
    left_out,
    measured_of,
    measuring_row,
    recipe_of,
)
from t2ui.ui.shared.card import card
from t2ui.ui.shared.components import Shared, library_of
from t2ui.ui.shared.events import PAGE, QUICK, WORKER, sent
from t2ui.ui.shared.listen import Client, listed
from t2ui.ui.shared.mixture import experts_of, moved, with_experts
from t2ui.ui.shared.panel import once_loaded, pack, panel, unpack
from t2ui.ui.shared.saved import OWN, SHARED, carried_out, change_of, renamed
from t2ui.ui.shared.visitor import of


def library_page(shared: Shared, tab: gr.Tab) -> None:
    """Build the page inside its tab."""
    words = OWN if shared.public else SHARED
    with card("Experts", f"A row of scales z each. {words}", "", "library-card", 5):
        last = measuring_row(shared)
        most = {"most": str(MOST_BYTES)}
        shown = panel("library", _value(cards(None), words), "library", most)
    likeness_card(shared, tab)

    def show(request: gr.Request) -> str:
        """The cards anew; what was said of the last change stays, which may come before this."""
        return pack({**_value(cards(listed(of(shared.client, request))), words), "note": None})

    async def act(
        request: gr.Request, packed: str, measured: dict[str, Any], event: gr.EventData
    ) -> tuple[Any, Any, str]:
        client, mixer = of(shared.client, request), unpack(packed)
        asked = sent(event)
        try:
            wanted = _wanted(asked, recipe_of(mixer, client), measured)
        except InputError as error:
            return gr.skip(), gr.skip(), _said(client, words, str(error), bad=True)
        found = await carried_out(client, wanted)
        if isinstance(found, Failed):
            return gr.skip(), gr.skip(), _said(client, words, str(found), bad=True)
        if isinstance(found, ExpertFile):
            file = {"name": found.file_name, "base64": base64.b64encode(found.data).decode()}
            return (
                gr.skip(),
                gr.skip(),
                pack({**_value(cards(listed(client)), words), "file": file}),
            )
        if not isinstance(found, ExpertSaved):
            note = f"{found.name} is deleted."
        elif isinstance(wanted, RenameExpert):
            note = renamed(wanted)
        else:
            note = f"{found.name} is there: it has a slider on Ask now."
            note += left_out(measured, wanted) if isinstance(wanted, SaveExpert) else ""
        changed = with_experts(mixer, found.experts.experts, found.experts.problems)
        value = {**_value(cards(found.experts), words), "note": note}
        return pack(changed), library_of(found.experts), pack(value)

    def use(packed: str, event: gr.EventData) -> tuple[Any, Any]:
        mixer, name = unpack(packed), str(sent(event).get("name", ""))
        if name not in {one["name"] for one in experts_of(mixer)}:
            return gr.skip(), gr.skip()
        return pack(moved(mixer, {name: 1.0}, f"Library: {name}")), NO_DISPATCH

    shared.library.change(show, None, shown, **QUICK)
    tab.select(show, None, shown, **QUICK)
    changed = shown.select(
        act, [shared.mixer, last], [shared.mixer, shared.library, shown], **WORKER
    )
    changed.then(None, None, None, js=once_loaded("libraryChanged"), **PAGE)
    shown.apply(use, shared.mixer, [shared.mixer, shared.dispatch], **QUICK)


def _wanted(
    asked: Mapping[str, Any], recipe: Mapping[str, Any], measured: Mapping[str, Any]
) -> Any:
    """What the page asks for, untrusted.

    Raises:
        InputError: a name that is none, a file that is none, or sliders that are all at 0.
    """
    if asked.get("act") == "add":
        try:
            return AddExpert(base64.b64decode(str(asked.get("base64", "")), validate=True))
        except binascii.Error:
            raise InputError("The file did not arrive whole: choose it again.") from None
    if asked.get("act") != "save":
        return change_of(asked)
    if not recipe["mixture"]:
        raise InputError(ALL_AT_0)
    name, found = str(asked.get("name", "")).strip(), measured_of(measured, recipe)
    return SaveExpert(name, recipe["mixture"], recipe["normalise"], {"recipe": recipe}, found)


def _value(shown: Mapping[str, Any], words: str) -> dict[str, Any]:
    """The panel's value; the stamp makes the same list again a new one."""
    extra = {"words": words, "note": "", "bad": False, "file": None, "stamp": uuid.uuid4().hex}
    return {**shown, **extra}


def _said(client: Client, words: str, note: str, bad: bool = False) -> str:
    return pack({**_value(cards(listed(client)), words), "note": note, "bad": bad})
