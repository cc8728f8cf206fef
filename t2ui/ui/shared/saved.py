"""What a page may ask for an expert's file: read, rename, delete, and keep a new one. No gradio."""

from collections.abc import Mapping
from typing import Any

from t2ui.messages import (
    AddExpert,
    DeleteExpert,
    ExpertDeleted,
    ExpertFile,
    ExpertSaved,
    Failed,
    ReadExpert,
    RenameExpert,
    SaveExpert,
)
from t2ui.ui.shared.listen import Client, answer

TIMEOUT_SECONDS = 60.0
SHARED = "They stand in the experts folder, for everybody who uses this app."
OWN = "Only you see them, until you close or reload this page: download what you want to keep."
ANSWERS: Mapping[type, type[Any]] = {
    ReadExpert: ExpertFile,
    RenameExpert: ExpertSaved,
    DeleteExpert: ExpertDeleted,
    SaveExpert: ExpertSaved,
    AddExpert: ExpertSaved,
}


def change_of(asked: Mapping[str, Any]) -> ReadExpert | RenameExpert | DeleteExpert:
    """What a list's buttons ask for, untrusted: {act, name, to}.

    Raises:
        InputError: a new name that is none.
    """
    name = str(asked.get("name", ""))
    if asked.get("act") == "rename":
        return RenameExpert(name, str(asked.get("to", "")).strip())
    return DeleteExpert(name) if asked.get("act") == "delete" else ReadExpert(name)


def renamed(asked: RenameExpert) -> str:
    """What is said when it has another name, or the same."""
    if asked.name == asked.new_name:
        return f"{asked.name} has this name already."
    return f"{asked.name} is named {asked.new_name} now."


async def carried_out(
    client: Client, wanted: ReadExpert | RenameExpert | DeleteExpert | SaveExpert | AddExpert
) -> ExpertFile | ExpertSaved | ExpertDeleted | Failed:
    """The worker's answer."""
    found: ExpertFile | ExpertSaved | ExpertDeleted | Failed
    found = await answer(client, wanted, ANSWERS[type(wanted)], TIMEOUT_SECONDS)
    return found
