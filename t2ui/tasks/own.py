"""People's own data: JSON Lines with `prompt` and `answer`, and a reward by name.

`choices` makes a row a closed question, in which the options are compared by their likelihoods,
unless the reward is `choice`: then the options are listed with letters and the model writes.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from t2ui.config import check_text
from t2ui.errors import InputError
from t2ui.models.chat import answer_ids, chat_ids, text_ids
from t2ui.models.likelihood import Question
from t2ui.tasks import rewards
from t2ui.tasks.base import Example, Task
from t2ui.tasks.code import answer_of, are_texts, passes
from t2ui.tasks.jsonl import read_jsonl, shuffled
from t2ui.tasks.numbers import answered_number, same_number

SPLIT_SEED = 2501
HELD_OUT = 0.1  # share of the rows for validation, and for test, where no files give them
REWARDS: dict[str, Callable[[str, str], bool]] = {
    "exact": rewards.exact,
    "number": same_number,
    "choice": rewards.choice,
    "contains": rewards.contains,
    "regex": rewards.regex,
    "python": passes,
}
KEYS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def load(
    tokenizer, data: Path, reward: str = "", max_new_tokens: int = 128, label: str = ""
) -> Task:
    """One file, or a folder with train.jsonl and perhaps validation.jsonl and test.jsonl.

    Args:
        reward: one of `REWARDS`; none for rows that all have `choices`. With `python` a row has
            `tests` (asserts), and its answer, if it has one, is a solution.
        label: what the expert answers to in pass one; the file's or folder's name by default.

    Raises:
        InputError: an unknown or missing reward, or a row that it cannot judge (with its number).
    """
    if reward and reward not in REWARDS:
        raise InputError(f"reward is {reward!r}; expected {', '.join(REWARDS)}.")
    check_text("the label", label)
    parts = {
        part: [
            _example(tokenizer, row, f"{path.name}, row {number}", reward) for number, row in rows
        ]
        for part, (path, rows) in _parts(data, reward).items()
    }
    ids = [example.id for rows in parts.values() for example in rows]
    twice = next((key for key, count in Counter(ids).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{data.name}: two rows have the id {twice!r}; give each its own or none.")
    return Task(
        data.stem,
        **parts,
        labels=(label or data.stem,),
        objective=f"open answers, {reward}" if reward else "closed answers",
        data={"train": data.name},
        grade=REWARDS[reward] if reward else None,
        max_new_tokens=max_new_tokens if reward else 0,
    )


Rows = list[tuple[int, dict]]


def _parts(data: Path, reward: str) -> dict[str, tuple[Path, Rows]]:
    fields = ("prompt", "tests" if reward == "python" else "answer")
    train = data / "train.jsonl" if data.is_dir() else data
    rows = list(enumerate(read_jsonl(train, fields), start=1))
    parts = {}
    for part in ("validation", "test"):
        path = data / f"{part}.jsonl"
        if data.is_dir() and path.is_file():
            parts[part] = (path, list(enumerate(read_jsonl(path, fields), start=1)))
    missing = [part for part in ("validation", "test") if part not in parts]
    held = max(1, round(HELD_OUT * len(rows)))
    if len(rows) <= held * len(missing):
        raise InputError(f"{train.name} has {len(rows)} rows: too few to hold any out; add some.")
    rows = shuffled(rows, SPLIT_SEED) if missing else rows
    for part in missing:
        parts[part], rows = (train, rows[:held]), rows[held:]
    return {"train": (train, rows), **parts}


def _example(tokenizer, row: dict, where: str, reward: str) -> Example:
    if not isinstance(row["prompt"], str) or not row["prompt"].strip():
        raise InputError(f"{where}: prompt is {row['prompt']!r}; expected a text.")
    if not isinstance(row.get("answer", ""), (str, int, float)):  # null, a list, an object
        raise InputError(f"{where}: answer is {row['answer']!r}; expected a text or a number.")
    prompt, answer, target = row["prompt"], str(row.get("answer", "")), str(row.get("answer", ""))
    options = _options(row, where) if "choices" in row else {}
    if reward in ("", "choice"):
        if not options:
            raise InputError(
                f"{where}: no choices. Add them, or say how an answer is judged: reward "
                f"{', '.join(REWARDS)}."
            )
        key = _key(row["answer"], options, where)
    if reward == "":
        texts = list(options.values())
        question = Question(
            tuple(chat_ids(tokenizer, prompt)),
            tuple(text_ids(tokenizer, text) for text in texts),
        )
        return Example(
            str(row.get("id", where)),
            question,
            list(options).index(key),
            tuple(len(text.encode()) for text in texts),
            str(row.get("family", "")),
            prompt=prompt,
        )
    if reward == "choice":
        prompt += "".join(f"\n{key}. {text}" for key, text in options.items())
        answer, target = json.dumps({"key": key, "options": options}), key
    elif reward == "python":
        tests = "\n".join(row["tests"]) if are_texts(row["tests"]) else row["tests"]
        if not isinstance(tests, str) or not tests.strip():
            raise InputError(f"{where}: tests are {row['tests']!r}; expected asserts.")
        try:
            ast.parse(tests)
        except (SyntaxError, ValueError, RecursionError) as error:
            raise InputError(f"{where}: the tests are no Python ({error}).") from None
        answer = answer_of(tests, str(row.get("entry", "")))
        target = f"```python\n{target}\n```" if target else "pass"
    else:
        _check(answer, where, reward)
    return Example(
        str(row.get("id", where)),
        Question(tuple(chat_ids(tokenizer, prompt)), (answer_ids(tokenizer, target),)),
        family=str(row.get("family", "")),
        answer=answer,
        prompt=prompt,
    )


def _check(answer: str, where: str, reward: str) -> None:
    if not answer.strip():
        raise InputError(f"{where}: the answer is empty; there is nothing to reward.")
    if reward == "number" and answered_number(answer) is None:
        raise InputError(f"{where}: answer {answer!r} holds no number; reward is number.")
    if reward == "regex":
        try:
            re.compile(answer)
        except re.error as error:
            raise InputError(f"{where}: answer {answer!r} is no pattern ({error}).") from None


def _options(row: dict, where: str) -> dict[str, str]:
    """key -> text: choices are texts (then the keys are A, B, …) or objects as in ARC."""
    given = row["choices"]
    try:
        if all(isinstance(choice, dict) for choice in given):
            options = {str(c["label"]): str(c["text"]).strip() for c in given}
        else:
            options = dict(zip(KEYS, (str(c).strip() for c in given), strict=False))
    except (TypeError, KeyError):
        options = {}
    if len(options) < 2 or len(options) != len(given) or not all(options.values()):
        raise InputError(
            f"{where}: choices are {given!r}; expected a list of at least two texts, or of objects "
            "with label and text."
        )
    return options


def _key(answer: object, options: dict[str, str], where: str) -> str:
    """The right option's key; the answer is the key, or the option's text."""
    said = str(answer).strip()
    if said in options:
        return said
    found = [key for key, text in options.items() if text == said]
    if len(found) != 1:
        raise InputError(
            f"{where}: answer {answer!r} is none of {', '.join(options)} and no choice's text."
        )
    return found[0]
