"""People's own data: JSON Lines with `prompt` and `answer`, and a reward by name.

`choices` makes a row a closed question, in which the options are compared by their likelihoods,
unless the reward is `choice`: then the options are listed with letters and the model writes.
"""

import ast
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from t2ui.checks import check_text
from t2ui.errors import InputError
from t2ui.jsonl import read_jsonl
from t2ui.models.chat import answer_ids, chat_ids, text_ids
from t2ui.models.questions import Question
from t2ui.tasks import rewards
from t2ui.tasks.base import Example, Task
from t2ui.tasks.batching import shuffled
from t2ui.tasks.code import answer_of, are_texts, passes
from t2ui.tasks.numbers import answered_number, same_number
from t2ui.tasks.splits import hold_out, kept_apart, same_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
    name: str,
    tokenizer: "PreTrainedTokenizerBase",
    data: Path,
    *,
    reward: str = "",
    max_new_tokens: int = 128,
    label: str = "",
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
    fields = ("prompt", "tests" if reward == "python" else "answer")
    read = {
        part: [
            _example(tokenizer, row, f"{path.name}, row {number}", reward)
            for number, row in enumerate(read_jsonl(path, fields), start=1)
        ]
        for part, path in _files(data).items()
    }
    parts = _parts(read, _files(data)["train"].name)
    ids = [example.id for rows in parts.values() for _, example in rows]
    missing = sum(map(len, read.values())) - len(ids)
    left_out = {"left out": f"{missing} rows, whose prompts are in two parts"} if missing else {}
    twice = next((key for key, count in Counter(ids).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{data.name}: two rows have the id {twice!r}; give each its own or none.")
    examples = {part: tuple(example for _, example in rows) for part, rows in parts.items()}
    return Task(
        data.stem,
        examples["train"],
        examples["validation"],
        examples.get("test", ()),
        labels=(label or data.stem,),
        objective=f"open answers, {reward}" if reward else "closed answers",
        data={"train": data.name, **left_out},
        grade=REWARDS[reward] if reward else None,
        max_new_tokens=max_new_tokens if reward else 0,
    )


Asked = tuple[str, Example]  # with the prompt that a row is the same as another by


def _files(data: Path) -> dict[str, Path]:
    if not data.is_dir():
        return {"train": data}
    held_out = {part: data / f"{part}.jsonl" for part in ("validation", "test")}
    given = {part: path for part, path in held_out.items() if path.is_file()}
    return {"train": data / "train.jsonl", **given}


def _parts(read: dict[str, list[Asked]], name: str) -> dict[str, list[Asked]]:
    """Train, validation and test, with the parts that no file gives held out of train's rows. A
    prompt is in one part only: given test rows stay before validation rows, and these before
    training rows; rows of one file go together."""

    def prompt(row: Asked) -> str:
        return row[0]

    rows, *given = kept_apart(
        read["train"], read.get("validation", []), read.get("test", []), prompt
    )
    parts = dict(zip(("validation", "test"), given, strict=True))
    missing = [part for part in parts if part not in read]
    for part in read:
        if part != "train" and not parts[part]:
            raise InputError(f"{part}.jsonl asks only what test.jsonl asks: give it other prompts.")
    held = max(1, round(HELD_OUT * len(rows)))
    if len(read["train"]) <= held * len(missing):
        raise InputError(
            f"{name} has {len(read['train'])} rows: too few to hold any out; add some."
        )
    different = len({prompt(row) for row in rows})
    if different <= len(missing):
        raise InputError(
            f"{name} has {different} prompts that no held-out row asks; more than {len(missing)} "
            "are needed, since a prompt trains or tests, never both: add some."
        )
    if missing:
        *held_out, rows = hold_out(shuffled(rows, SPLIT_SEED), [held] * len(missing), prompt)
        parts |= dict(zip(missing, held_out, strict=True))
    return {"train": rows, **parts}


def _example(tokenizer: "PreTrainedTokenizerBase", row: dict, where: str, reward: str) -> Asked:
    if not isinstance(row["prompt"], str) or not row["prompt"].strip():
        raise InputError(f"{where}: prompt is {row['prompt']!r}; expected a text.")
    if not isinstance(row.get("answer", ""), (str, int, float)):  # null, a list, an object
        raise InputError(f"{where}: answer is {row['answer']!r}; expected a text or a number.")
    prompt, answer, target = row["prompt"], str(row.get("answer", "")), str(row.get("answer", ""))
    asked = same_prompt(prompt)
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
        return asked, Example(
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
        target = f"```python\n{target}\n```" if target else ""
    else:
        check_answer(answer, where, reward)
    known = (answer_ids(tokenizer, target),) if target else ()  # tests alone tell what is right
    return asked, Example(
        str(row.get("id", where)),
        Question(tuple(chat_ids(tokenizer, prompt)), known),
        family=str(row.get("family", "")),
        answer=answer,
        prompt=prompt,
    )


def check_answer(answer: str, where: str, reward: str) -> None:
    """Whether a reward can compare texts with this answer.

    Raises:
        InputError: it is empty, holds no number, or is no pattern; names the row.
    """
    if not answer.strip():
        raise InputError(f"{where}: the answer is empty; there is nothing to reward.")
    if reward == "number" and answered_number(answer) is None:
        raise InputError(f"{where}: answer {answer!r} holds no number; reward is number.")
    if reward == "regex":
        try:
            rewards.check_regex(answer)
        except ValueError as error:
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
