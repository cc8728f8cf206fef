"""Prompts to begin with: what a chip says, and the prompt.

At each of them the base model is wrong, and the expert that pass one picks is right, under the
page's default settings. `tests/ui/test_starters.py` asks the real model all of them.
In a workshop the teacher's tasks stand in their place.
"""

import json
from collections.abc import Sequence

from t2ui.workshop.file import Plan

STARTERS = (  # one of each kind first: Learn shows these three
    ("Marbles", "Tom had 15 marbles and lost 6 of them. How many marbles does he have left?"),
    ("Fibonacci in Python", "Write a Python function that returns the n-th Fibonacci number."),
    ("Tides", "What causes the tides on Earth: the wind, the Moon, earthquakes or clouds?"),
    ("Pencils", "Mia has 5 boxes with 6 pencils each. How many pencils does she have?"),
    ("Primes in Python", "Write a Python function that checks whether a number is prime."),
    (
        "Pages",
        "Lena read 18 pages on Monday and 25 pages on Tuesday. How many pages did she read in all?",
    ),
    ("Rolls", "A baker made 40 rolls and sold 28. How many rolls are left?"),
    (
        "Passengers",
        "A train had 36 passengers. At the station 14 got off. How many passengers are on the "
        "train now?",
    ),
)
EVERY_KIND = STARTERS[:3]  # mathematics, code, reasoning


def starters(workshop: Plan | None) -> list[tuple[str, tuple[str, ...]]]:
    """(what a chip says, its prompts): a workshop's tasks, or those above."""
    if workshop is None or not workshop.tasks:
        return [(label, (text,)) for label, text in STARTERS]
    return [
        (f"{task.name} ({len(task.rows)})", tuple(question for question, _ in task.rows))
        for task in workshop.tasks
    ]


def next_of(label: str, texts: Sequence[str]) -> str:
    """A script that gives one of the texts at each press of its chip, from the first on."""
    if len(texts) == 1:
        return f"() => {json.dumps(texts[0])}"
    return (
        f"() => {{ const key = {json.dumps(label)}, texts = {json.dumps(texts)}; "
        "const turns = (t2ui.page.turns ??= {}); turns[key] = (turns[key] ?? -1) + 1; "
        "return texts[turns[key] % texts.length]; }"
    )
