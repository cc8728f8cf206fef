"""Measures experts beside the base model: accuracies with intervals, paired tests, mis-routes.

All methods see the same rows. Results are plain records (dicts) for files, cards and tables.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from t2ui.adapter import Adapter, Scales
from t2ui.config import Sampling
from t2ui.dispatch import Dispatcher
from t2ui.expert import Expert
from t2ui.generate import Decoder, Row
from t2ui.likelihood import option_log_likelihoods
from t2ui.tasks import Example, Task
from t2ui.tasks.rows import micro_batches, shuffled

Z95 = 1.959964  # of the normal distribution, for 95 % intervals
Record = dict[str, Any]


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = right / n, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_p(base: Sequence[bool], adapted: Sequence[bool]) -> float:
    """Two-sided exact McNemar test: how likely so uneven a split of the rows on which the two
    differ would be if neither were better."""
    won = sum(a and not b for b, a in zip(base, adapted, strict=True))
    lost = sum(b and not a for b, a in zip(base, adapted, strict=True))
    n = won + lost
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, k) for k in range(min(won, lost) + 1)) / 2**n
    return min(1.0, 2 * tail)


def option_scores(
    adapter: Adapter,
    rows: Sequence[Example],
    scales: Scales,
    batch_tokens: int = 2000,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Log-likelihood of every option under the scales: row id -> (options,) float32 on the CPU."""
    scores: dict[str, Tensor] = {}
    with torch.inference_mode(), adapter.applied(scales, "merged"):
        for batch in micro_batches(rows, batch_tokens):
            found = option_log_likelihoods(adapter.model, [row.question for row in batch])
            scores.update((row.id, score.cpu()) for row, score in zip(batch, found, strict=True))
            if progress:
                progress(len(batch))
    return scores


def right_by(rows: Sequence[Example], scores: Mapping[str, Tensor], protocol: str) -> list[bool]:
    """Whether each row is right when options are compared by "sum" or by "byte".

    These are the two protocols of lm-evaluation-harness (acc and acc_norm).
    """
    right = []
    for row in rows:
        score = scores[row.id]
        if protocol == "byte":
            score = score / torch.tensor(row.lengths)
        right.append(int(score.argmax()) == row.correct)
    return right


def open_answers(
    adapter: Adapter,
    tokenizer,
    task: Task,
    examples: Sequence[Example],
    scales: Scales,
    batch_rows: int = 32,
) -> list[str]:
    """The greedy answer to every example under the scales, merged; in the examples' order."""
    with adapter.applied(scales, "merged"):
        found = dict(greedy_texts(adapter.model, tokenizer, task, examples, batch_rows))
    return [found[i] for i in range(len(examples))]


def open_right(task: Task, examples: Sequence[Example], texts: Sequence[str]) -> list[bool]:
    """Whether the task takes each text for a right answer to its example."""
    return [task.right(t, example.answer) for example, t in zip(examples, texts, strict=True)]


def greedy_texts(
    model, tokenizer, task: Task, examples: Sequence[Example], batch_rows: int = 32
) -> Iterator[tuple[int, str]]:
    """(place in the examples, greedy answer) as they end, the model as it is set at the moment.

    Examples of like length are decoded together; new ones join when half of a batch has ended, so
    that a few long answers do not hold up the others.
    """
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].question.prompt))
    rows = [
        Row(i, examples[i].question.prompt, None, Sampling(task.max_new_tokens, stop=task.stop))
        for i in order
    ]
    decoder = Decoder(model, tokenizer, None)
    parts: dict[int, list[str]] = {i: [] for i in order}
    while rows or len(decoder):
        if rows and len(decoder) <= batch_rows // 2:
            free = batch_rows - len(decoder)
            decoder.add(rows[:free])
            rows = rows[free:]
        for step in decoder.step():
            parts[step.key].append(step.text)
            if step.finished:
                yield step.key, "".join(parts.pop(step.key))


def compare_closed(
    adapter: Adapter,
    rows: Sequence[Example],
    expert: Expert,
    set_name: str,
    progress: Callable[[int], None] | None = None,
) -> list[Record]:
    """One record a protocol: accuracy of base and expert on the rows, intervals, paired test."""
    base = option_scores(adapter, rows, {}, progress=progress)
    adapted = option_scores(adapter, rows, expert.scales, progress=progress)
    records = []
    for protocol in ("sum", "byte"):
        before, after = right_by(rows, base, protocol), right_by(rows, adapted, protocol)
        records.append({
            "set": set_name, "protocol": protocol, "n": len(rows),
            "base": _share(before), "base_interval": _interval(before),
            "expert": _share(after), "interval": _interval(after),
            "p": float(f"{paired_p(before, after):.2g}"),
        })  # fmt: skip
    return records


def dispatch_table(
    dispatcher: Dispatcher,
    prompts: Sequence[tuple[str, str, str]],  # (label, family, prompt)
    labels: Sequence[str],
    expert: Expert | None,
    progress: Callable[[int], None] | None = None,
) -> list[Record]:
    """Mis-routes of pass one by family, with what they were taken for; "all" comes last."""
    taken: dict[str, list[tuple[str, str]]] = {}
    for label, family, prompt in prompts:
        found = dispatcher.classify(prompt, labels, expert).label
        taken.setdefault(family, []).append((label, found))
        if progress:
            progress(1)
    taken["all"] = [pair for pairs in taken.values() for pair in pairs]
    records = []
    for family, pairs in taken.items():
        wrong = [label != found for label, found in pairs]
        records.append({
            "set": family, "n": len(pairs),
            "misroutes": _share(wrong), "interval": _interval(wrong),
            "confusion": _confusion(pairs),
        })  # fmt: skip
    return records


def sample(rows: Sequence[Example], limit: int | None, seed: int) -> list[Example]:
    """The same `limit` rows for everybody who asks with this seed."""
    return shuffled(list(rows), seed)[:limit]


def _confusion(pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for label, found in pairs:
        row = table.setdefault(label, {})
        row[found] = row.get(found, 0) + 1
    return table


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 4)


def _interval(values: Sequence[bool]) -> list[float]:
    return [round(bound, 4) for bound in wilson(sum(values), len(values))]
