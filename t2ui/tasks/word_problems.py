"""Arithmetic word problems: AllArith and Perturb (`arith`), and GSM8K.

A right completion is the calculation, one step per line, and the end token; what a model writes is
graded by the number it ends on.
"""

import ast
import operator
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from t2ui.errors import InputError
from t2ui.jsonl import read_jsonl
from t2ui.models.chat import answer_ids, chat_ids
from t2ui.models.questions import Question
from t2ui.tasks.base import Example, Task
from t2ui.tasks.batching import shuffled
from t2ui.tasks.hub import Row, Source, local_or_fetched
from t2ui.tasks.numbers import same_number
from t2ui.tasks.renumber import variants
from t2ui.tasks.splits import hold_out, kept_apart, same_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPLIT_SEED = 2501
TEST_SHARE, VALIDATION_SHARE = 0.4, 0.1
VARIANTS = 7  # of every training problem, with other numbers
ARITH_SOURCE = (
    "AllArith and Perturb (CogComp/arithmetic, MIT), split by a fixed seed, "
    f"and {VARIANTS} variants of each problem with other numbers"
)
ALIKE = 0.6  # share of common words from which two problems are variants of one another
# How the question is put: alone, as people type it, or with a hint; the base model is shown under
# the one that suits it best.
STYLES = {
    "chat": "{question}",
    "equation": "{question}\nWrite one short equation and its result, nothing else.",
    "answer": "{question}\nAnswer with the number only.",
    "steps": "{question}\nThink step by step, then end with: The answer is <number>.",
}
# Long enough for what each way of asking brings forth; more only costs time.
NEW_TOKENS = {"chat": 160, "equation": 64, "answer": 32, "steps": 200}
ARITH_FIELDS = ("id", "question", "answer", "equation")
GSM8K_FIELDS = ("question", "answer", "target")


def _hub_row(row: Row, split: str) -> Row:
    return {**row, "target": row["answer"].rsplit("####", 1)[-1].strip()}


GSM8K_FILES = {  # where the local files come from, if they have to be fetched
    f"{part}.jsonl": Source("openai/gsm8k", "main", (part,), _hub_row) for part in ("train", "test")
}
SYMBOLS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def load(
    name: str, tokenizer: "PreTrainedTokenizerBase", data: Path, *, style: str = "chat"
) -> Task:
    """`arith` (all.jsonl, split here) or `gsm8k` (train.jsonl and test.jsonl).

    Args:
        style: one of `STYLES`.
    """
    if style not in STYLES:
        raise InputError(f"style is {style!r}; expected {', '.join(STYLES)}.")
    if name == "arith":
        parts, source = _arith_parts(data / "arith_aggregate" / "all.jsonl"), ARITH_SOURCE
    else:
        folder = local_or_fetched(name, data, GSM8K_FILES) / name
        published, test = [list(_gsm8k(folder / file)) for file in ("train.jsonl", "test.jsonl")]
        published, _, tested = kept_apart(published, [], test, _asked)
        held = int(len(published) * VALIDATION_SHARE)
        held_out, learned = hold_out(shuffled(published, SPLIT_SEED), [held], _asked)
        parts = {"train": learned, "validation": held_out, "test": tested}
        source = "GSM8K train (OpenAI, MIT)"
    examples = {
        part: tuple(_example(tokenizer, name, style, *row) for row in rows)
        for part, rows in parts.items()
    }
    return Task(
        name,
        examples["train"],
        examples["validation"],
        examples["test"],
        labels=("math",),
        objective="open answers",
        data={"train": source},
        grade=same_number,
        max_new_tokens=NEW_TOKENS[style],
    )


Problem = tuple[str, str, str, str]  # id, question, answer, worked calculation


def _asked(row: Problem) -> str:
    return same_prompt(row[1])


def _example(
    tokenizer: "PreTrainedTokenizerBase",
    name: str,
    style: str,
    row_id: str,
    question: str,
    answer: str,
    worked: str,
) -> Example:
    asked = STYLES[style].format(question=question)
    return Example(
        id=f"{name} {row_id}",
        question=Question(tuple(chat_ids(tokenizer, asked)), (answer_ids(tokenizer, worked),)),
        family=name,
        answer=answer,
        prompt=asked,
    )


def _arith_parts(path: Path) -> dict[str, list[Problem]]:
    """Train, validation and test; training problems also with other numbers."""
    parts = _split(list(_arith(path)))
    equations = {row["id"]: row["equation"] for row in read_jsonl(path, ("id", "equation"))}
    varied = [
        (f"{row_id} variant {i}", question, _written(result), "\n".join(lines))
        for row_id, original, _, _ in parts["train"]
        for i, (question, lines, result) in enumerate(
            variants(original, equations[row_id], steps, VARIANTS, seed=row_id), 1
        )
    ]
    return {**parts, "train": shuffled(parts["train"] + varied, SPLIT_SEED)}


def arith_questions(data: Path) -> dict[str, list[str]]:
    """The questions of AllArith and Perturb as published, by train, validation and test: for others
    that have to keep to this task's split."""
    parts = _split(list(_arith(data / "arith_aggregate" / "all.jsonl")))
    return {part: [question for _, question, _, _ in rows] for part, rows in parts.items()}


def _arith(path: Path) -> Iterator[Problem]:
    for number, row in enumerate(read_jsonl(path, ARITH_FIELDS, ARITH_FIELDS), 1):
        lines, value = steps(row["equation"], f"{path.name}, row {number}")
        worked = "\n".join(lines)
        if same_number(str(float(value)), row["answer"]):  # a few equations give another answer
            yield row["id"], row["question"], row["answer"], worked


def _gsm8k(path: Path) -> Iterator[Problem]:
    for number, row in enumerate(read_jsonl(path, GSM8K_FIELDS, GSM8K_FIELDS), 1):
        worked = re.sub(r"<<.*?>>", "", row["answer"])
        yield str(number), row["question"], row["target"], worked


def steps(equation: str, where: str) -> tuple[list[str], Fraction]:
    """ "X=(36.0 - (19.0 + 14.0))" -> (["19 + 14 = 33", "36 - 33 = 3"], 3): innermost first.

    Raises:
        InputError: anything but numbers, + - * / and brackets.
    """
    lines: list[str] = []

    def value(node: ast.AST) -> Fraction:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            return Fraction(str(node.value))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in SYMBOLS:
            left, right = value(node.left), value(node.right)
            symbol = SYMBOLS[type(node.op)]
            result = APPLY[symbol](left, right)
            lines.append(f"{_written(left)} {symbol} {_written(right)} = {_written(result)}")
            return result
        raise SyntaxError(f"unexpected {ast.dump(node)[:40]}")

    try:
        found = value(ast.parse(equation.split("=", 1)[-1].strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError) as error:
        raise InputError(f"{where}: equation {equation!r} cannot be read ({error}).") from None
    return lines or [_written(found)], found


def _written(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.4f}".rstrip("0").rstrip(".")


def _split(rows: list[Problem]) -> dict[str, list[Problem]]:
    """By groups of problems that are variants of one another (Perturb re-words AllArith), so that
    no test problem has a variant in training."""
    groups = shuffled(_groups(rows), SPLIT_SEED)
    parts: dict[str, list[Problem]] = {"test": [], "validation": [], "train": []}
    wanted = {"test": TEST_SHARE, "validation": VALIDATION_SHARE, "train": 1.0}
    for group in groups:
        part = next(p for p in parts if len(parts[p]) < wanted[p] * len(rows))
        parts[part] += group
    return {part: shuffled(found, SPLIT_SEED) for part, found in parts.items()}


def _groups(rows: list[Problem]) -> list[list[Problem]]:
    words = [frozenset(re.findall(r"[a-z]+", row[1].casefold())) for row in rows]
    group = list(range(len(rows)))

    def root(i: int) -> int:
        while group[i] != i:
            i = group[i]
        return i

    for i, one in enumerate(words):
        for j in range(i):
            common = len(one & words[j])
            if common >= ALIKE * (len(one) + len(words[j]) - common):
                group[root(i)] = root(j)
    found: dict[int, list[Problem]] = {}
    for i, row in enumerate(rows):
        found.setdefault(root(i), []).append(row)
    return list(found.values())
