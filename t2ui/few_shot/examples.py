"""Examples that a person gives: texts, or a JSON Lines file, as token ids."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from t2ui.checks import check_text
from t2ui.errors import InputError
from t2ui.jsonl import read_jsonl
from t2ui.models.chat import answer_ids, chat_ids, text_ids
from t2ui.models.questions import Question
from t2ui.tasks.base import Example, Task
from t2ui.tasks.batching import shuffled
from t2ui.tasks.numbers import is_number, same_number


def examples_of(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]
) -> list[Example]:
    """(prompt, right answer) as open examples: in chat format, the end token after the answer.

    Raises:
        InputError: an empty prompt or answer; names the row, from 1.
    """
    return [
        _example(tokenizer, f"row {number}", prompt, answer, None)
        for number, (prompt, answer) in enumerate(pairs, start=1)
    ]


def read_examples(tokenizer: PreTrainedTokenizerBase, path: Path) -> list[Example]:
    """The examples of a JSON Lines file with the fields `prompt` and `answer`.

    A row with `options`, a list of texts that contains the answer, is a closed example.

    Raises:
        InputError: what `read_jsonl` raises, or a field of another type; names the row, from 1.
    """
    return [
        _example(
            tokenizer,
            f"{path.name}, row {number}",
            row["prompt"],
            row["answer"],
            row.get("options"),
        )
        for number, row in enumerate(read_jsonl(path, ("prompt", "answer")), start=1)
    ]


def shots_of(task: Task, count: int, seed: int) -> list[Example]:
    """Examples of a task: validation rows, or training rows where there are none; never test rows.

    Raises:
        InputError: the task has fewer.
    """
    rows = task.validation or task.train
    if len(rows) < count:
        raise InputError(
            f"Task {task.name!r} has {len(rows)} rows to take examples from, {count} were asked "
            "for: ask for fewer shots."
        )
    return shuffled(list(rows), seed)[:count]


def answers(text: str, answer: str) -> bool:
    """Whether a text contains this answer, for examples that come without a way to judge them.

    If the answer is a number, the text has to give the same number; otherwise the answer's words
    have to be in the text, in their order, whatever their case.
    """
    if is_number(answer):
        return same_number(text, answer)
    wanted, given = (re.findall(r"\w+", t.casefold()) for t in (answer, text))
    if not wanted:
        return answer.strip() in text
    return f" {' '.join(wanted)} " in f" {' '.join(given)} "


def _example(
    tokenizer: PreTrainedTokenizerBase, where: str, prompt: Any, answer: Any, options: Any
) -> Example:
    """One example, its parts as a file or a page gave them; `options` is None for an open one."""
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        answer = str(answer)
    for what, text in (("prompt", prompt), ("answer", answer)):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{where}: the {what} is {text!r}; a text is expected.")
        check_text(f"the {what} of {where}", text)
    ids = chat_ids(tokenizer, prompt)
    if options is None:
        question = Question(tuple(ids), (answer_ids(tokenizer, answer),))
        return Example(where, question, family="given", answer=answer)
    if not isinstance(options, list) or not all(isinstance(o, str) and o.strip() for o in options):
        raise InputError(f"{where}: options are {options!r}; a list of texts is expected.")
    if len(set(options)) < 2 or len(set(options)) < len(options) or answer not in options:
        raise InputError(
            f"{where}: the answer {answer!r} and options {options!r}; expected two or more "
            "different options, the answer among them."
        )
    encoded = tuple(text_ids(tokenizer, option) for option in options)
    lengths = tuple(len(option.encode()) for option in options)
    return Example(
        where, Question(tuple(ids), encoded), options.index(answer), lengths, "given", answer
    )
