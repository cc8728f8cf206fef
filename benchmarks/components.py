"""What the most changed components do: `python -m benchmarks.components --data DIR`.

For each shipped expert its 20 most changed components are switched off one at a time (z back to 1),
and as many random ones of the same kind of matrix and of equal σ (within 5 %; who has no such
partner is left out, and counted). A component's effect is the mean over questions of |change of the
right answer's log-likelihood|, in nats. The AUC is the chance that one of the 20 has a larger
effect than one of the random ones: 0.5 is no separation.
"""

import argparse
import time
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch

from benchmarks.common import adapted_default, add_data_option, describe_machine, shipped
from t2ui.models.likelihood import packed_log_likelihoods
from t2ui.models.questions import Question
from t2ui.svf.components import MOST, ORDERS, matrices, most_changed, with_component
from t2ui.svf.decomposition import leaf_of
from t2ui.tasks import load_task

NEAR = 0.05  # of a random component's σ to its partner's
MOST_ANSWER = 48  # tokens of an answer that are scored
DRAWS = range(2000)
AT_ONCE = 2048  # tokens of one forward pass
WORDS = {"z": "change of z", "sigma": "σ × change of z"}  # a table has no room for bars


def pairs(factors, changed, count: int, random: np.random.Generator) -> list[tuple]:
    """The first so many components that have a partner, with it: a random component of the same
    kind of matrix and nearly the same σ, none twice and none of the changed ones."""
    taken, found = set(changed), []
    for name, index in changed:
        sigma, near = float(factors[name].S[index]), []
        for other in matrices(factors, leaf_of(name)):
            away = (factors[other].S / sigma - 1).abs()
            near += [(other, i) for i in (away <= NEAR).nonzero().flatten().tolist()]
        near = [one for one in near if one not in taken]
        if near and len(found) < count:
            taken.add(one := near[random.integers(len(near))])
            found.append(((name, index), one))
    return found


def likelihoods(adapter, question: Question, scales: Sequence) -> np.ndarray:
    """Σ log π of the answer under each of the scales, nats."""
    at_once, found = max(1, AT_ONCE // question.tokens), []
    for first in range(0, len(scales), at_once):
        part = scales[first : first + at_once]
        with torch.inference_mode(), adapter.rows(part):
            scored = packed_log_likelihoods(adapter.model, [question], len(part))
        found += [float(options[0]) for (options,) in scored]
    return np.array(found)


def auc(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The chance that one of ours is larger than one of theirs; ties count half."""
    larger = ours[:, None] > theirs[None]
    return float((larger + 0.5 * (ours[:, None] == theirs[None])).mean())


def interval(ours: np.ndarray, theirs: np.ndarray, random: np.random.Generator) -> list[float]:
    """95 %, by drawing components again 2,000 times."""
    drawn = [auc(random.choice(ours, len(ours)), random.choice(theirs, len(theirs))) for _ in DRAWS]
    return [float(x) for x in np.quantile(drawn, [0.025, 0.975])]


def measure(loaded, expert, arguments, by: str) -> None:
    """One line of the table."""
    _, tokenizer, adapter = loaded
    random = np.random.default_rng(arguments.seed)
    began, factors, z = time.perf_counter(), adapter.factors, expert.scales
    changed = most_changed(factors, z, list(factors), MOST, by)
    top, others = zip(*pairs(factors, changed, arguments.count, random), strict=True)
    skipped = 1 + changed.index(top[-1]) - len(top)
    together = []
    for part in (top, others):
        off = dict(z)
        for one in part:
            off = with_component(factors, off, one, 1.0)
        together.append(off)
    scales = [{}, z, *together, *(with_component(factors, z, one, 1.0) for one in (*top, *others))]
    task = load_task(expert.task, tokenizer, arguments.data)
    places = np.random.default_rng(arguments.seed).permutation(len(task.test))
    rows = [task.test[i] for i in places[: arguments.questions]]  # the same for both orders
    questions = [Question(row.question.prompt, (row.target[:MOST_ANSWER],)) for row in rows]
    found = np.array([likelihoods(adapter, question, scales) for question in questions])
    gain = (found[:, 1] - found[:, 0]).mean()
    shift = found[:, 2:] - found[:, 1:2]  # (questions, both together, then one at a time)
    effect = np.abs(shift[:, 2:]).mean(0)
    ours, theirs = effect[: len(top)], effect[len(top) :]
    low, high = interval(ours, theirs, random)
    print(
        f"| `{expert.name}` | {expert.task} | {WORDS[by]} | {auc(ours, theirs):.2f} "
        f"[{low:.2f}, {high:.2f}] | {median(ours):.4f} | {median(theirs):.4f} | "
        f"{shift[:, 0].mean():+.3f} | {shift[:, 1].mean():+.3f} | {gain:+.2f} |"
        f"  {len(top)} pairs, {skipped} without a partner, {time.perf_counter() - began:.0f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_data_option(parser)
    parser.add_argument("--count", type=int, default=20, help="components of each sort")
    parser.add_argument("--questions", type=int, default=4, help="test rows of each expert's task")
    parser.add_argument("--by", nargs="+", choices=ORDERS, default=list(ORDERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    describe_machine()
    loaded = adapted_default(arguments.device)
    library = shipped()
    print(
        "| expert | task | most changed by | AUC [95 %] | median effect, nats | of random ones "
        "| all off together | all random ones off | expert − base |\n" + "|---" * 9 + "|"
    )
    for expert in library.experts.values():
        for by in arguments.by:
            measure(loaded, expert, arguments, by)


if __name__ == "__main__":
    main()
