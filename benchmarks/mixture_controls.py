"""Is a mixture's gain one of composing? `python -m benchmarks.mixture_controls TASK a=1,b=0.7 DIR`

Side by side on the same test rows, in bfloat16: the mixture; its first expert alone, also turned up
and down; the others without it; and the mixture with the others' z replaced by controls that know
nothing of their tasks: shuffled within each matrix, and random z as far from 1, several of each.
Where these do as well, it was a push that helped, and not what the others have learned.
The folder keeps all answers; the same command goes on from there.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.common import answered, describe_machine, result_log, share_of, shipped
from t2ui.checks import coefficients
from t2ui.evaluation.comparison import Comparison
from t2ui.evaluation.measure import sample
from t2ui.evaluation.methods import of_mixture
from t2ui.evaluation.statistics import paired_p
from t2ui.inference.dispatch import LabelReader
from t2ui.models.loading import load_model
from t2ui.svf.adapter import adapt
from t2ui.svf.controls import random_like, shuffled
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture
from t2ui.tasks import load_task

CONTROLS = {"shuffled": shuffled, "random": random_like}
STRENGTHS = (0.75, 1.0, 1.25, 1.5, 1.75)  # of the first expert alone


def mixtures(weights: Mapping[str, float], draws: int) -> Iterator[tuple[str, Mapping[str, float]]]:
    """What is compared, with its name; a control of an expert is named as in `controls_of`."""
    first, *others = weights
    yield "the mixture", weights
    for alpha in STRENGTHS:
        yield f"{first} alone, α {alpha:g}", {first: alpha}
    yield "the others alone", {name: weights[name] for name in others}
    for control in CONTROLS:
        for draw in range(draws):
            replaced = {f"{name} {control} {draw}": weights[name] for name in others}
            yield f"the others {control}, draw {draw}", {first: weights[first], **replaced}


def controls_of(experts: Mapping[str, Expert], others: list[str], draws: int) -> dict[str, Expert]:
    """Every control of every expert, each from a seed of its own."""
    found = {}
    for place, name in enumerate(others):
        for control, made in CONTROLS.items():
            for draw in range(draws):
                scales = made(experts[name].scales, seed=10 * place + draw)
                title = f"{name} {control} {draw}"
                found[title] = replace(experts[name], name=title, scales=scales)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", help="rg:NAME, with settings")
    parser.add_argument("mixture", help="the expert of the task first: a=1,b=0.7")
    parser.add_argument("out", type=Path, help="folder; goes on there")
    parser.add_argument("--limit", type=int, default=500, help="test rows")
    parser.add_argument("--draws", type=int, default=5, help="of each control, 1 to 10")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    weights = coefficients(arguments.mixture, ",", "the mixture")
    describe_machine()
    model, tokenizer = load_model(device=arguments.device, dtype="bfloat16")
    adapter = adapt(model)
    reader = LabelReader(model, tokenizer, adapter)
    task = load_task(arguments.task, tokenizer, limit=arguments.limit)
    rows = sample(task.test, arguments.limit, seed=0)
    experts = dict(shipped().answering)
    experts |= controls_of(experts, list(weights)[1:], arguments.draws)
    first: list[bool] = []
    with result_log(arguments.out, (model, tokenizer, adapter)) as log:
        for title, parts in mixtures(weights, arguments.draws):
            method = replace(of_mixture(adapter, reader, experts, Mixture(dict(parts))), name=title)
            comparison = Comparison(adapter, tokenizer, [method], log, 64)
            right = answered(comparison, task, rows)(method)
            first = first or right
            p = "" if right is first else f"p {paired_p(right, first):.2g}"
            print(f"{title} | {share_of(right)} | {p}", flush=True)


if __name__ == "__main__":
    main()
