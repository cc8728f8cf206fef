"""What a training minimises: one file per objective, chosen by its name in the catalogue."""

from t2ui.catalogue import TRAIN_OBJECTIVES, chosen
from t2ui.errors import InputError
from t2ui.tasks.base import Task
from t2ui.training.objectives.base import Objective


def settled(task: Task, wanted: str) -> tuple[str, type[Objective]]:
    """The objective for a task: the one that is asked for, or for "auto" the first of the
    catalogue that the task can be trained by.

    Returns:
        its name and its class.

    Raises:
        InputError: there is none of that name, or the task cannot be trained by it.
    """
    names = list(TRAIN_OBJECTIVES) if wanted == "auto" else [wanted]
    refused = ""
    for name in names:
        objective: type[Objective] = chosen("objective", name, TRAIN_OBJECTIVES).load()
        refused = objective.refusal(task)
        if not refused:
            return name, objective
    fitting = [n for n, entry in TRAIN_OBJECTIVES.items() if not entry.load().refusal(task)]
    raise InputError(f"Task {task.name!r} {refused}: choose {' or '.join(fitting)}.")
