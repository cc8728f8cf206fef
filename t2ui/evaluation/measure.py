"""Measures methods side by side: accuracies with intervals, paired tests, mis-routes.

All methods see the same rows under the same prompts. What a row came out as goes into a log, from
which a stopped comparison goes on and `table` makes its tables.
"""

import hashlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from t2ui.evaluation.methods import Method
from t2ui.evaluation.result_log import Outcome, ResultLog
from t2ui.models.likelihood import option_log_likelihoods
from t2ui.svf.adapter import Adapter, Scales
from t2ui.tasks.base import Example, Task
from t2ui.tasks.jsonl import micro_batches, shuffled
from t2ui.training.rollouts import greedy_texts

Z95 = 1.959964  # of the normal distribution, for 95 % intervals
ECE_BINS = 15
PROTOCOLS = ("sum", "byte")  # of closed answers, see `right_by`
Record = dict[str, Any]
Labelled = tuple[str, str, str]  # label, family, prompt


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


def expected_calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """How far probabilities are from the share of right answers (ECE).

    Predictions are put into ECE_BINS equal bins by their confidence, the probability of what was
    predicted; ECE = Σ_b n_b / n · |share right in b − mean confidence in b| (Naeini et al. 2015;
    Guo et al. 2017, "On calibration of modern neural networks"). 0 is best; 0 without predictions.
    """
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, correct in zip(confidences, right, strict=True):
        place = max(math.ceil(confidence * ECE_BINS), 1)  # of bins (0, 1/15], (1/15, 2/15], …
        bins.setdefault(place, []).append((confidence, correct))
    gaps = [abs(sum(correct - c for c, correct in members)) for members in bins.values()]
    return sum(gaps) / max(len(confidences), 1)


def mean_negative_log_likelihood(probabilities: Sequence[float]) -> float:
    """−mean log p of what was right, in nats; a p of 0 counts as the least float above it."""
    return -sum(math.log(max(p, sys.float_info.min)) for p in probabilities) / len(probabilities)


def option_scores(
    adapter: Adapter,
    rows: Sequence[Example],
    scales: Scales,
    batch_tokens: int = 2000,
) -> dict[str, Tensor]:
    """Log-likelihood of every option under the scales: row id -> (options,) float32 on the CPU."""
    with adapter.applied(scales, "merged"):
        return dict(closed_scores(adapter.model, rows, batch_tokens))


def closed_scores(
    model, rows: Sequence[Example], batch_tokens: int = 2000
) -> Iterator[tuple[str, Tensor]]:
    """(row id, log-likelihood of every option), the model as it is set at the moment."""
    for batch in micro_batches(rows, batch_tokens):
        with torch.inference_mode():
            found = option_log_likelihoods(model, [row.question for row in batch])
        yield from ((row.id, score.cpu()) for row, score in zip(batch, found, strict=True))


def right_by(rows: Sequence[Example], scores: Mapping[str, Tensor], protocol: str) -> list[bool]:
    """Whether each row is right when options are compared by "sum" or by "byte".

    These are the two protocols of lm-evaluation-harness (acc and acc_norm).
    """
    return [_right(row, scores[row.id], protocol) for row in rows]


def _right(row: Example, score: Tensor, protocol: str) -> bool:
    if protocol == "byte":
        score = score / torch.tensor(row.lengths)
    return int(score.argmax()) == row.correct


def outcomes(
    model, tokenizer, task: Task, examples: Sequence[Example], batch_rows: int = 32
) -> Iterator[tuple[str, Outcome]]:
    """(row id, what came out) for every example, the model as it is set at the moment.

    Closed answers: right by "sum" and by "byte". Open answers: right by "greedy", and the text.
    """
    if task.grade is None:
        rows = {row.id: row for row in examples}
        for key, score in closed_scores(model, examples):
            yield key, {"right": {p: _right(rows[key], score, p) for p in PROTOCOLS}}
        return
    for i, text in greedy_texts(model, tokenizer, task, examples, batch_rows):
        right = task.grade(text, examples[i].answer)
        yield examples[i].id, {"right": {"greedy": right}, "text": text}


def measure(
    log: ResultLog,
    name: str,
    method: Method,
    examples: Sequence[Example],
    found: Callable[[list[Example]], Iterator[tuple[str, Outcome]]],
    judged_by: str = "",
) -> Iterator[str]:
    """Run what the log does not hold yet of a method on a set, called `name` there.

    Between two rows the method's weights stay on the model, which other threads wait for until the
    rows that are answered with them are through; advance and close it in one thread.

    Args:
        found: outcomes of examples, the model as it is set at the moment.
        judged_by: whatever else an outcome depends on; with another, rows are run again.

    Yields:
        Row ids as they are done.
    """
    asked = {example.id: _asked(example, judged_by) for example in examples}
    known = _known(log, name, method, asked)
    missing = [example for example in examples if example.id not in known]
    for places, context in method.parts(missing) if missing else ():
        with context():
            for key, outcome in found([missing[i] for i in places]):
                outcome = {**outcome, "asked": asked[key]}
                log.add(name, method.name, method.digest, key, outcome)
                yield key


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
    """A short digest of what was asked: rows that are edited keep their ids."""
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
    """The same for pass one: the probabilities that the method gives every prompt's labels."""
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
    """The same `limit` rows for everybody who asks with this seed."""
    return shuffled(list(rows), seed)[:limit]


def _confusion(pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for label, found in pairs:
        row = table.setdefault(label, {})
        row[found] = row.get(found, 0) + 1
    return table


def interval_of(right: int, n: int) -> list[float]:
    """`wilson`, rounded for records."""
    return [round(bound, 4) for bound in wilson(right, n)]
