"""Measures methods side by side: which rows each gets right, and where pass one sends prompts.

All methods see the same rows under the same prompts. Each row's outcome goes into a log, so that a
comparison that was stopped can go on.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.cluster.executor import Where, here
from t2ui.cluster.work import OptionScores
from t2ui.evaluation.methods import Context, Method
from t2ui.evaluation.result_log import Outcome, ResultLog
from t2ui.evaluation.statistics import (
    ECE_BINS,
    expected_calibration_error,
    interval_of,
    mean_negative_log_likelihood,
)
from t2ui.models.likelihood import planned_batches
from t2ui.models.running import BaseReading
from t2ui.tasks.answering import greedy_texts
from t2ui.tasks.base import Example, Task
from t2ui.tasks.batching import shuffled

PROTOCOLS = ("sum", "byte")  # of closed answers, see `is_right`
Record = dict[str, Any]
Labelled = tuple[str, str, str]  # label, family, prompt


def closed_scores(
    model: PreTrainedModel,
    rows: Sequence[Example],
    batch_tokens: int = 2000,
    reading: BaseReading | None = None,
    where: Where | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """(row id, log-likelihood of every option), with the scales that are set at the moment.

    Args:
        reading, where: as of `outcomes`.
    """
    where = where or here(model, None, *(reading or ()))
    batches, packed = planned_batches(rows, batch_tokens, alone=where.tail is not None)
    work = OptionScores(packed, where.scales, where.tail)
    questions = [[row.question for row in batch] for batch in batches]
    with closing(where.executor.run(work, questions)) as pieces:
        for piece in pieces:
            for number, found in piece.results:
                pairs = zip(batches[number], found, strict=True)
                yield from ((row.id, score) for row, score in pairs)


def is_right(row: Example, scores: Tensor, protocol: str) -> bool:
    """Whether a closed answer is right when options are compared by "sum" or by "byte".

    These are the two protocols of lm-evaluation-harness (acc and acc_norm).

    Args:
        scores: (options,) log-likelihoods.
    """
    if protocol == "byte":
        scores = scores / torch.tensor(row.lengths)
    return int(scores.argmax()) == row.correct


def outcomes(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    examples: Sequence[Example],
    batch_rows: int = 32,
    reading: BaseReading | None = None,
    where: Where | None = None,
) -> Iterator[tuple[str, Outcome]]:
    """(row id, outcome) for every example, with the scales that are set at the moment.

    Closed answers: whether right by "sum" and by "byte". Open answers: whether right by "greedy",
    and the text.

    Args:
        reading: for scope "answer": the base model reads the prompts but for their tails.
        where: instead of here and with the scales that are set.
    """
    if task.grade is None:
        rows = {row.id: row for row in examples}
        for key, score in closed_scores(model, examples, reading=reading, where=where):
            yield key, {"right": {p: is_right(rows[key], score, p) for p in PROTOCOLS}}
        return
    for i, text in greedy_texts(model, tokenizer, task, examples, batch_rows, reading, where):
        right = task.grade(text, examples[i].answer)
        yield examples[i].id, {"right": {"greedy": right}, "text": text}


def measure(
    log: ResultLog,
    name: str,
    method: Method,
    examples: Sequence[Example],
    found: Callable[[list[Example], Context], Iterator[tuple[str, Outcome]]],
    judged_by: str = "",
) -> Iterator[str]:
    """Answer the rows of a set, called `name` in the log, that the log lacks for this method.

    Between two rows the method's weights stay on the model, which other threads wait for until the
    rows that are answered with them are through; advance and close it in one thread.

    Args:
        found: answers examples in a method's block, see `within`.
        judged_by: whatever else an outcome depends on; rows logged with another are run again.

    Yields:
        Row ids as they are done.
    """
    asked = {example.id: _asked(example, judged_by) for example in examples}
    known = _known(log, name, method, asked)
    missing = [example for example in examples if example.id not in known]
    for places, context in method.parts(missing) if missing else ():
        for key, outcome in found([missing[i] for i in places], context):
            outcome = {**outcome, "asked": asked[key]}
            log.add(name, method.name, method.digest, key, outcome)
            yield key


def within(
    context: Context, answered: Callable[[BaseReading | None], Iterator[tuple[str, Outcome]]]
) -> Iterator[tuple[str, Outcome]]:
    """What is answered, as `outcomes` does, inside a method's block."""
    with context() as given:
        # any block can be a method's: not all give how prompts are read
        yield from answered(given if isinstance(given, BaseReading) else None)


def right_by_row(
    log: ResultLog, name: str, method: Method, examples: Sequence[Example], judged_by: str = ""
) -> dict[str, dict[str, bool]]:
    """protocol -> row id -> right, for those of the examples that have been measured."""
    known = _known(log, name, method, {e.id: _asked(e, judged_by) for e in examples})
    found: dict[str, dict[str, bool]] = {}
    for example in examples:
        for protocol, right in known.get(example.id, {"right": {}})["right"].items():
            found.setdefault(protocol, {})[example.id] = right
    return found


def _asked(example: Example, judged_by: str) -> str:
    """A short digest of the question: a row that was edited keeps its id, not its digest."""
    what = repr((example.question, example.correct, example.answer, judged_by))
    return hashlib.sha256(what.encode()).hexdigest()[:12]


def _known(
    log: ResultLog, name: str, method: Method, asked: Mapping[str, str]
) -> dict[str, Outcome]:
    """Outcomes in the log of the same questions."""
    found = log.of(name, method.name, method.digest)
    return {
        key: found[key]
        for key, digest in asked.items()
        if key in found and found[key].get("asked", digest) == digest
    }


def measure_routes(
    log: ResultLog, name: str, method: Method, prompts: Sequence[Labelled]
) -> Iterator[str]:
    """`measure` for pass one: log the probabilities that the method gives every prompt's labels.

    Yields:
        Prompts as they are done; none for a method without a classifier.
    """
    if method.classifier is None:
        return
    digest = _route_digest(method)
    known = log.of(name, method.name, digest)
    missing = [labelled for labelled in prompts if labelled[2] not in known]
    if not missing:
        return
    with method.classifier() as classify:
        for label, family, prompt in missing:
            outcome = {"label": label, "family": family, "probabilities": dict(classify(prompt))}
            log.add(name, method.name, digest, prompt, outcome)
            yield prompt


def routes(log: ResultLog, name: str, method: Method, prompts: Sequence[Labelled]) -> list[Record]:
    """Mis-routes by family, with what they were taken for, and how good the probabilities are:
    expected calibration error, and mean negative log-likelihood of the right label in nats (None
    where the method does not know a right label). "all" comes last."""
    known = log.of(name, method.name, _route_digest(method))
    taken: dict[str, list[tuple[str, Mapping[str, float]]]] = {}
    for label, family, prompt in prompts:
        if prompt in known:
            taken.setdefault(family, []).append((label, known[prompt]["probabilities"]))
    if not taken:
        return []
    taken["all"] = [pair for pairs in taken.values() for pair in pairs]
    return [_route_record(family, pairs) for family, pairs in taken.items()]


def _route_record(family: str, pairs: Sequence[tuple[str, Mapping[str, float]]]) -> Record:
    found = [(label, max(p, key=p.__getitem__)) for label, p in pairs]
    right = [label == best for label, best in found]
    confidences = [max(p.values()) for _, p in pairs]
    likelihood = None
    if all(label in p for label, p in pairs):
        likelihood = round(mean_negative_log_likelihood([p[label] for label, p in pairs]), 4)
    wrong = right.count(False)
    return {
        "set": family,
        "n": len(pairs),
        "misroutes": round(wrong / len(pairs), 4),
        "interval": interval_of(wrong, len(pairs)),
        "ece": round(expected_calibration_error(confidences, right), 4),
        "ece_bins": ECE_BINS,
        "nll": likelihood,
        "confusion": _confusion(found),
    }


def _route_digest(method: Method) -> str:
    return f"{method.digest} {','.join(method.labels)} probabilities"


def sample(rows: Sequence[Example], limit: int | None, seed: int) -> list[Example]:
    """`limit` rows, the same for the same seed."""
    return shuffled(list(rows), seed)[:limit]


def _confusion(pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for label, found in pairs:
        row = table.setdefault(label, {})
        row[found] = row.get(found, 0) + 1
    return table


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 4)
