"""Prompts with the label that pass one should give them: math, code, reasoning or others.

Training prompts come from the training splits of public sets and, for `others`, from requests
that we wrote (others.jsonl); test prompts from splits and sets that no training reads.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from t2ui.config import OTHERS
from t2ui.dispatch import DispatchPrompt
from t2ui.errors import InputError
from t2ui.likelihood import Question
from t2ui.tasks import ClosedRow, ClosedTask
from t2ui.tasks.rows import read_jsonl, shuffled

LABELS = ("math", "code", "reasoning", OTHERS)
OWN_REQUESTS = Path(__file__).with_name("others.jsonl")
PER_LABEL = 480  # training prompts of each label; validation has a sixth of that
TEST_PER_SET = 400
SPLIT_SEED = 2501  # splits arith_aggregate, which comes in one piece; half is never trained on

Prompts = list[tuple[str, str]]  # (family, prompt)


def load(
    tokenizer,
    data: Path,
    leave_out: Sequence[str] = (),
    hard: Path | None = None,
) -> ClosedTask:
    """Rows for the classification expert.

    Args:
        leave_out: families that training must not see, to measure how it does on unseen ones.
        hard: a JSON Lines file of further test prompts with `prompt` and `label`.
    """
    form = DispatchPrompt.of(tokenizer, LABELS)
    pools = {
        "math": [_gsm8k(data, "train"), _arith(data, 0)],
        "code": [_mbpp(data, ("train",))],
        "reasoning": [_arc(data, "easy", "train"), _arc(data, "challenge", "train"),
                      _strategyqa(data, "train")],
        OTHERS: [_own("train")],
    }  # fmt: skip
    train: list[ClosedRow] = []
    validation: list[ClosedRow] = []
    for label, families in pools.items():
        kept = [f for f in families if f[0][0] not in leave_out]
        if not kept:
            raise InputError(f"leave_out {list(leave_out)} leaves no training prompts for {label}.")
        prompts = _interleaved(kept)
        rows = [_row(tokenizer, form, label, *prompt) for prompt in prompts]
        held = max(len(rows) // 7, 1) if label != OTHERS else 0
        held = min(held, PER_LABEL // 6)
        validation += rows[:held]
        train += rows[held : held + PER_LABEL]
    validation += [_row(tokenizer, form, OTHERS, *p) for p in _own("validation")]
    test = [
        _row(tokenizer, form, label, *prompt)
        for label, prompts in [
            ("math", _gsm8k(data, "test")),
            ("math", _arith(data, 1)),
            ("code", _mbpp(data, ("test",))),
            ("code", _humaneval(data)),
            ("reasoning", _arc(data, "easy", "test")),
            ("reasoning", _arc(data, "challenge", "test")),
            ("reasoning", _strategyqa(data, "dev")),
        ]
        for prompt in prompts[:TEST_PER_SET]
    ]
    if hard is not None:
        for row in read_jsonl(hard, ("prompt", "label")):
            test.append(_row(tokenizer, form, row["label"], f"hard {row['label']}", row["prompt"]))
    return ClosedTask(
        "dispatch",
        tuple(shuffled(train, SPLIT_SEED)),
        tuple(validation),
        tuple(test),
        labels=LABELS,
        objective="dispatch",
        data={
            "math": "GSM8K train (MIT), half of AllArith and Perturb (MIT)",
            "code": "MBPP train (CC BY 4.0)",
            "reasoning": "ARC train (CC BY-SA 4.0), StrategyQA train (MIT)",
            "others": "everyday requests of our own (Apache-2.0)",
            "left out": ", ".join(leave_out) or "nothing",
        },
    )


def _row(tokenizer, form: DispatchPrompt, label: str, family: str, prompt: str) -> ClosedRow:
    question = form.question(tokenizer, prompt)
    return ClosedRow(
        id=f"{family}: {prompt}",
        question=Question((*form.before, *question.prompt), question.options),
        correct=LABELS.index(label),
        lengths=tuple(map(len, LABELS)),
        family=family,
    )


def _interleaved(families: Sequence[Prompts]) -> Prompts:
    """One prompt of each family in turn, so that small families are not drowned."""
    longest = max(map(len, families))
    return [f[i] for i in range(longest) for f in families if i < len(f)]


def _gsm8k(data: Path, part: str) -> Prompts:
    return _questions(data / "gsm8k" / f"{part}.jsonl", "gsm8k", lambda row: row["question"])


def _strategyqa(data: Path, part: str) -> Prompts:
    path = data / "strategyqa" / f"{part}.jsonl"
    return _questions(path, "strategyqa", lambda row: row["question"])


def _arith(data: Path, half: int) -> Prompts:
    path = data / "arith_aggregate" / "all.jsonl"
    return _questions(path, "arith", lambda row: row["question"])[half::2]


def _mbpp(data: Path, splits: Sequence[str]) -> Prompts:
    chooser = random.Random(SPLIT_SEED)

    def prompt(row: dict) -> str:
        tests = "\n".join(row["test_list"])
        return f"{row['prompt']}\n{tests}" if chooser.random() < 0.3 else row["prompt"]

    path = data / "mbpp" / "full.jsonl"
    return _questions(path, "mbpp", prompt, lambda row: row["split"] in splits)


def _humaneval(data: Path) -> Prompts:
    path = data / "humaneval" / "test.jsonl"
    return _questions(path, "humaneval", lambda row: row["prompt"])


def _arc(data: Path, level: str, part: str) -> Prompts:
    chooser = random.Random(SPLIT_SEED)

    def prompt(row: dict) -> str:
        listed = "\n".join(f"{c['label']}. {c['text']}" for c in row["choices"])
        return f"{row['question']}\n{listed}" if chooser.random() < 0.5 else row["question"]

    return _questions(data / f"arc_{level}" / f"{part}.jsonl", f"arc_{level}", prompt)


def _own(split: str) -> Prompts:
    rows = read_jsonl(OWN_REQUESTS, ("prompt", "split"))
    return shuffled([("own requests", r["prompt"]) for r in rows if r["split"] == split], 0)


def _questions(
    path: Path,
    family: str,
    prompt: Callable[[dict], str],
    wanted: Callable[[dict], bool] = lambda row: True,
) -> Prompts:
    rows = [row for row in read_jsonl(path, ()) if wanted(row)]
    return shuffled([(family, prompt(row)) for row in rows], SPLIT_SEED)
