"""Closed questions (ARC, StrategyQA): the policy chooses among the options' own texts.

The question is asked alone, without the list of options, as a person would ask it; what the model
knows then shows in the options' likelihoods (small models cannot name a letter).
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from t2ui.errors import InputError
from t2ui.jsonl import read_jsonl
from t2ui.models.chat import answer_ids, chat_ids, plain_ids, text_ids
from t2ui.models.questions import Question
from t2ui.tasks.base import Example, Task
from t2ui.tasks.batching import shuffled
from t2ui.tasks.hub import Row, Source, local_or_fetched, same_row
from t2ui.tasks.splits import hold_out, kept_apart, same_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPLIT_SEED, VALIDATION_SHARE = 2501, 0.1
FIELDS = ("id", "question", "choices", "answerKey")
YES_NO_FIELDS = ("qid", "question", "answer")
STYLES = ("chat", "plain")  # plain: the layout of lm-evaluation-harness, "Question: …\nAnswer:"


def _arc_row(row: Row, split: str) -> Row:
    pairs = zip(row["choices"]["label"], row["choices"]["text"], strict=True)
    return {**row, "choices": [{"label": label, "text": text} for label, text in pairs]}


# Where the local files come from, if they have to be fetched.
ARC_FILES = {
    name: {
        file: Source("allenai/ai2_arc", configuration, (split,), _arc_row)
        for file, split in (
            ("train.jsonl", "train"),
            ("dev.jsonl", "validation"),
            ("test.jsonl", "test"),
        )
    }
    for name, configuration in (("arc_easy", "ARC-Easy"), ("arc_challenge", "ARC-Challenge"))
}
YES_NO_FILES = {
    "train.jsonl": Source("ChilleD/StrategyQA", None, ("train",), same_row),
    "dev.jsonl": Source("ChilleD/StrategyQA", None, ("test",), same_row),
}


def load(
    name: str,
    tokenizer: "PreTrainedTokenizerBase",
    data: Path,
    *,
    style: str = "chat",
    end: bool = False,
) -> Task:
    """ARC-Easy or ARC-Challenge: train.jsonl, dev.jsonl (validation), test.jsonl.

    Args:
        style: how the question is put to the model.
        end: whether the end-of-turn token counts as part of each option.
    """
    folder = local_or_fetched(name, data, ARC_FILES[name]) / name
    train, validation, test = (
        [
            choice_row(tokenizer, row, f"{file}, row {number}", style, end)
            for number, row in enumerate(read_jsonl(folder / file, FIELDS, ("question",)), start=1)
        ]
        for file in ("train.jsonl", "dev.jsonl", "test.jsonl")
    )
    # A few questions are published in two parts.
    train, validation, test = kept_apart(train, validation, test, _asked)
    return Task(
        name,
        tuple(train),
        tuple(validation),
        tuple(test),
        labels=("reasoning",),
        data={"train": f"{name} train, CC BY-SA 4.0, AI2"},
    )


def load_yes_no(
    name: str,
    tokenizer: "PreTrainedTokenizerBase",
    data: Path,
    *,
    style: str = "chat",
    end: bool = False,
) -> Task:
    """StrategyQA: train.jsonl (a tenth of it is validation) and dev.jsonl (test: the official test
    answers are not public). Arguments as for `load`."""
    folder = local_or_fetched(name, data, YES_NO_FILES) / name
    train, test = (
        [
            _yes_no_row(tokenizer, row, f"{file}, row {number}", style, end)
            for number, row in enumerate(read_jsonl(folder / file, YES_NO_FIELDS, ("question",)), 1)
        ]
        for file in ("train.jsonl", "dev.jsonl")
    )
    train, _, test = kept_apart(train, [], test, _asked)
    train = shuffled(train, SPLIT_SEED)
    validation, train = hold_out(train, [int(len(train) * VALIDATION_SHARE)], _asked)
    return Task(
        name,
        tuple(train),
        tuple(validation),
        tuple(test),
        labels=("reasoning",),
        data={"train": "StrategyQA train (Geva et al. 2021, MIT)"},
    )


def _asked(example: Example) -> str:
    return same_prompt(example.prompt)


def _yes_no_row(
    tokenizer: "PreTrainedTokenizerBase", row: dict, where: str, style: str, end: bool
) -> Example:
    if not isinstance(row["answer"], bool):
        raise InputError(f"{where}: answer is {row['answer']!r}; expected true or false.")
    asked = {
        "id": row["qid"],
        "question": f"{row['question']}\nYes or no?" if style == "chat" else row["question"],
        "choices": [{"label": "yes", "text": "Yes"}, {"label": "no", "text": "No"}],
        "answerKey": "yes" if row["answer"] else "no",
    }
    return replace(choice_row(tokenizer, asked, where, style, end), family="strategyqa")


def choice_row(
    tokenizer: "PreTrainedTokenizerBase", row: dict, where: str, style: str, end: bool
) -> Example:
    """One ARC row as token ids.

    Raises:
        InputError: fewer than two choices, an empty one, or a key that no choice carries.
    """
    try:
        texts = [choice["text"].strip() for choice in row["choices"]]
        labels = [str(choice["label"]) for choice in row["choices"]]
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"{where}: choices are {row['choices']!r}; expected a list of objects with label and "
            "text."
        ) from None
    if not all(texts):
        raise InputError(f"{where}: choice {labels[texts.index('')]} is empty; expected a text.")
    if len(texts) < 2 or str(row["answerKey"]) not in labels:
        raise InputError(
            f"{where}: answerKey {row['answerKey']!r} among choices {labels}; expected at least "
            "two choices, one of them with that label."
        )
    if style == "chat":
        prompt = chat_ids(tokenizer, row["question"])
        options = texts
    elif style == "plain":
        prompt = plain_ids(tokenizer, f"Question: {row['question']}\nAnswer:")
        options = [f" {text}" for text in texts]
    else:
        raise InputError(f"style is {style!r}; expected {' or '.join(STYLES)}.")
    encode = answer_ids if end else text_ids
    ids = tuple(encode(tokenizer, option) for option in options)
    return Example(
        id=str(row["id"]),
        question=Question(tuple(prompt), ids),
        correct=labels.index(str(row["answerKey"])),
        lengths=tuple(len(option.encode()) for option in options),
        family=where.split(",")[0],
        prompt=row["question"],
    )
