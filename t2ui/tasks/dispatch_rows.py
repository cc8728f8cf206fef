"""Prompts with the label that pass one should give them: math, code, reasoning or others.

Training prompts come from the training splits of public sets and from requests of every label that
we wrote as people type them (requests.jsonl; for `others` there is nothing else), among them many
kinds of small tasks (kinds.jsonl); test prompts come from splits and sets that no training reads.
"""

import itertools
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from t2ui.config import OTHERS
from t2ui.errors import InputError
from t2ui.inference.dispatch import DispatchPrompt
from t2ui.jsonl import read_jsonl
from t2ui.models.questions import Question
from t2ui.tasks import word_problems
from t2ui.tasks.base import Example, Task
from t2ui.tasks.batching import shuffled
from t2ui.tasks.splits import kept_apart, same_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LABELS = ("math", "code", "reasoning", OTHERS)
OWN_REQUESTS = Path(__file__).with_name("requests.jsonl")
OWN_KINDS = Path(__file__).with_name("kinds.jsonl")
OWN_FAMILY = "own requests"
KINDS_HELD = 6  # one in so many prompts of every kind is for validation
PER_LABEL = 720  # training prompts of each label; validation has a sixth of that
TEST_PER_SET = 400
SPLIT_SEED = 2501

Prompts = list[tuple[str, str]]  # (family, prompt)
Labelled = tuple[str, str, str]  # (label, family, prompt)


def load(
    name: str,
    tokenizer: "PreTrainedTokenizerBase",
    data: Path,
    *,
    leave_out: Sequence[str] = (),
    hard: Path | None = None,
    family: str = "",
    limit: int = TEST_PER_SET,
) -> Task:
    """Rows for the classification expert.

    All our own training requests are taken where a label has at most half of `PER_LABEL` of them;
    public prompts, if there are any, fill up the rest. Our validation requests are validation rows.

    Args:
        leave_out: families that training must not see, to measure how it does on unseen ones;
            "own requests" are all that we wrote.
        hard: a JSON Lines file of further test prompts with `prompt`, `label` and `note`. A note
            of `others` that ends in "not trained on" makes the row an unseen kind.
        family: the only one that test prompts are taken from; "" for all.
        limit: test prompts of each public family.

    Raises:
        InputError: there is no such family, `leave_out` leaves a label without training prompts,
            or a file is unreadable.
    """
    form = DispatchPrompt.of(tokenizer, LABELS)
    train: list[Labelled] = []
    validation: list[Labelled] = []
    for label, families in _public_training(data).items():
        public = _interleaved([f for f in families if f[0][0] not in leave_out])
        own, own_held = [], []
        if OWN_FAMILY not in leave_out:
            own, own_held = _own(label, "train"), _own(label, "validation")
        held = max(min(len(public) // 7, PER_LABEL // 6 - len(own_held)), 0)
        prompts = _interleaved([f for f in (own, public[held:]) if f])[:PER_LABEL]
        if not prompts:
            raise InputError(f"leave_out {list(leave_out)} leaves no training prompts for {label}.")
        kinds = [k for k in _kinds(label, "train") if not {k[0], OWN_FAMILY} & {*leave_out}]
        held_kinds = kinds[::KINDS_HELD]  # they lie by family
        del kinds[::KINDS_HELD]
        train += [(label, *prompt) for prompt in prompts + kinds]
        validation += [(label, *prompt) for prompt in public[:held] + own_held + held_kinds]
    test = [row for row in test_prompts(data, hard, limit) if family in ("", row[1])]
    if not test:
        raise InputError(f"There is no family {family!r} of {name} prompts.")
    parts = kept_apart(train, validation, test, lambda labelled: same_prompt(labelled[2]))
    train_rows, validation_rows, test_rows = (
        [_row(tokenizer, form, *labelled) for labelled in part] for part in parts
    )
    return Task(
        name,
        tuple(shuffled(train_rows, SPLIT_SEED)),
        tuple(shuffled(validation_rows, SPLIT_SEED)),  # validation may take a part of them
        tuple(test_rows),
        labels=LABELS,
        objective="dispatch",
        data={
            "math": "GSM8K train, arith train (AllArith and Perturb), all MIT, own requests",
            "code": "MBPP train (CC BY 4.0), own requests",
            "reasoning": "ARC train (CC BY-SA 4.0), StrategyQA train (MIT), own requests",
            "others": "own requests",
            "own requests": "written for this project (Apache-2.0)",
            "left out": ", ".join(leave_out) or "nothing",
        },
    )


def test_prompts(data: Path, hard: Path | None = None, limit: int = TEST_PER_SET) -> list[Labelled]:
    """(label, family, prompt) from splits and sets that no training reads, at most `limit` of each
    public family.

    A few questions of public test splits stand in a training split or among our own requests too;
    those are left out.

    Args:
        hard: a file of further prompts, see `load`; all of it is taken.
    """
    families = [
        ("math", _gsm8k(data, "test")),
        ("math", _arith(data, "test")),
        ("code", _mbpp(data, ("test",))),
        ("code", _humaneval(data)),
        ("reasoning", _arc(data, "easy", "test")),
        ("reasoning", _arc(data, "challenge", "test")),
        ("reasoning", _strategyqa(data, "dev")),
    ]
    for label in LABELS:
        kinds = itertools.groupby(_kinds(label, "test"), key=lambda prompt: prompt[0])
        families += [(label, list(prompts)) for _, prompts in kinds]
    pools = _public_training(data).values()
    trained = {_opening(prompt) for pool in pools for family in pool for _, prompt in family}
    trained |= {_words(row["prompt"]) for row in read_jsonl(OWN_REQUESTS, ("prompt",))}
    found: list[Labelled] = []
    for label, prompts in families:
        unseen = [(label, *p) for p in prompts if _opening(p[1]) not in trained]
        found += unseen[:limit]
    if hard is not None:
        for row in read_jsonl(hard, ("prompt", "label", "note"), ("prompt", "label", "note")):
            if row["label"] not in LABELS:
                raise InputError(
                    f"{hard.name}: the label {row['label']!r} is none of {', '.join(LABELS)}."
                )
            found.append((row["label"], _hard_family(row), row["prompt"]))
    return found


def _public_training(data: Path) -> dict[str, list[Prompts]]:
    """The public families that training prompts are taken from, by label."""
    return {
        "math": [_gsm8k(data, "train"), _arith(data, "train")],
        "code": [_mbpp(data, ("train",))],
        "reasoning": [
            _arc(data, "easy", "train"),
            _arc(data, "challenge", "train"),
            _strategyqa(data, "train"),
        ],
        OTHERS: [],
    }


def _opening(prompt: str) -> str:
    """The words of a question without the choices or tests on the lines behind it."""
    return _words(prompt.split("\n", 1)[0])


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _row(
    tokenizer: "PreTrainedTokenizerBase",
    form: DispatchPrompt,
    label: str,
    family: str,
    prompt: str,
) -> Example:
    question = form.question(tokenizer, prompt)
    return Example(
        id=f"{family}: {prompt}",
        question=Question((*form.before, *question.prompt), question.options),
        correct=LABELS.index(label),
        lengths=tuple(map(len, LABELS)),
        family=family,
        prompt=prompt,
    )


def _interleaved(families: Sequence[Prompts]) -> Prompts:
    """One prompt of each family in turn, so that small families are not drowned."""
    longest = max(map(len, families), default=0)
    return [f[i] for i in range(longest) for f in families if i < len(f)]


def _gsm8k(data: Path, part: str) -> Prompts:
    path = data / "gsm8k" / f"{part}.jsonl"
    return _questions(path, "gsm8k", ("question",), lambda row: row["question"])


def _strategyqa(data: Path, part: str) -> Prompts:
    path = data / "strategyqa" / f"{part}.jsonl"
    return _questions(path, "strategyqa", ("question",), lambda row: row["question"])


def _arith(data: Path, part: str) -> Prompts:
    """By the arith task's own split, so that two passes can be measured on its test problems."""
    return [("arith", question) for question in word_problems.arith_questions(data)[part]]


def _mbpp(data: Path, splits: Sequence[str]) -> Prompts:
    chooser = random.Random(SPLIT_SEED)

    def prompt(row: dict) -> str:
        tests = "\n".join(row["test_list"])
        return f"{row['prompt']}\n{tests}" if chooser.random() < 0.3 else row["prompt"]

    path = data / "mbpp" / "full.jsonl"
    fields = ("prompt", "test_list", "split")
    return _questions(path, "mbpp", fields, prompt, lambda row: row["split"] in splits)


def _humaneval(data: Path) -> Prompts:
    path = data / "humaneval" / "test.jsonl"
    return _questions(path, "humaneval", ("prompt",), lambda row: row["prompt"])


def _arc(data: Path, level: str, part: str) -> Prompts:
    chooser = random.Random(SPLIT_SEED)

    def prompt(row: dict) -> str:
        listed = "\n".join(f"{c['label']}. {c['text']}" for c in row["choices"])
        return f"{row['question']}\n{listed}" if chooser.random() < 0.5 else row["question"]

    path = data / f"arc_{level}" / f"{part}.jsonl"
    return _questions(path, f"arc_{level}", ("question", "choices"), prompt)


def _own(label: str, split: str) -> Prompts:
    rows = read_jsonl(OWN_REQUESTS, ("prompt", "label", "split"))
    wanted = [r["prompt"] for r in rows if (r["label"], r["split"]) == (label, split)]
    return shuffled([(OWN_FAMILY, prompt) for prompt in wanted], 0)


def _kinds(label: str, split: str) -> Prompts:
    """Small tasks as people type them, by kind."""
    rows = read_jsonl(OWN_KINDS, ("prompt", "label", "split", "family"))
    return [(r["family"], r["prompt"]) for r in rows if (r["label"], r["split"]) == (label, split)]


def _hard_family(row: dict) -> str:
    """What a hard row is reported under; for `others`, whether its kind of request is trained."""
    if row["label"] != OTHERS:
        return f"hard {row['label']}"
    unseen = row["note"].endswith("not trained on")
    return f"hard others, {'unseen' if unseen else 'trained'} kinds"


def _questions(
    path: Path,
    family: str,
    fields: tuple[str, ...],
    prompt: Callable[[dict], str],
    wanted: Callable[[dict], bool] = lambda row: True,
) -> Prompts:
    rows = [row for row in read_jsonl(path, fields, fields[:1]) if wanted(row)]
    return shuffled([(family, prompt(row)) for row in rows], SPLIT_SEED)
