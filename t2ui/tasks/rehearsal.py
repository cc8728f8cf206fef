"""Prompts of other kinds than a task's own, for a training that must not unlearn them.

A model that only sees word problems answers everything with a sum in the end. What keeps it from
that is to rehearse, beside the task, prompts of other kinds with the answers that the base model
itself gives (pseudo-rehearsal; Robins 1995, "Catastrophic forgetting, rehearsal and
pseudorehearsal"). The prompts are our own requests and exercises: no public set is needed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from t2ui.errors import InputError
from t2ui.jsonl import read_jsonl
from t2ui.models.chat import chat_ids
from t2ui.models.questions import Question
from t2ui.tasks import code
from t2ui.tasks.base import Example
from t2ui.tasks.batching import shuffled
from t2ui.tasks.dispatch_rows import LABELS, OWN_REQUESTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PER_LABEL = 120  # every other kind of prompt is rehearsed as often as the next


def rehearsal_prompts(
    tokenizer: "PreTrainedTokenizerBase", labels: Sequence[str], seed: int = 0
) -> tuple[Example, ...]:
    """Prompts of every kind but these, without answers: their questions have no options.

    Args:
        labels: the kinds that the task itself trains.

    Raises:
        InputError: the task trains every kind.
    """
    rows = read_jsonl(OWN_REQUESTS, ("id", "prompt", "label", "split"))
    found: list[Example] = []
    for label in (kind for kind in LABELS if kind not in labels):
        own = [r for r in rows if (r["label"], r["split"]) == (label, "train")]
        asked = shuffled([(r["id"], r["prompt"]) for r in own], seed)
        if label == "code":  # half as people type it, half as functions with a test
            exercises = [(e.id, e.prompt) for e in code.exercises(tokenizer, "chat")]
            asked = asked[: PER_LABEL // 2] + shuffled(exercises, seed)[: PER_LABEL // 2]
        found += [_unanswered(tokenizer, label, *one) for one in asked[:PER_LABEL]]
    if not found:
        raise InputError(
            f"The task trains every kind of prompt ({', '.join(labels)}): there is nothing to "
            "rehearse; leave --rehearsal out."
        )
    return tuple(found)


def _unanswered(tokenizer: "PreTrainedTokenizerBase", label: str, key: str, prompt: str) -> Example:
    question = Question(tuple(chat_ids(tokenizer, prompt)), ())
    return Example(key, question, family=label, prompt=prompt)
