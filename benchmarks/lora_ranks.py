"""What the shipped experts lose as LoRAs of rank 4, 16 and 64, for servers that know only LoRA.

A LoRA of rank R that `t2ui export lora` writes is the expert with z = 1 but for the R places of
each matrix that change it most, and is measured as such (tests show that peft's answers are the
same).
"""

import argparse
from dataclasses import replace
from pathlib import Path

from benchmarks.common import (
    adapted_default,
    add_data_option,
    answered,
    describe_machine,
    result_log,
    shipped,
)
from t2ui.evaluation.comparison import Comparison
from t2ui.evaluation.measure import sample
from t2ui.evaluation.methods import base, of_expert
from t2ui.evaluation.statistics import paired_p, wilson
from t2ui.exchange.lora import at_rank
from t2ui.inference.dispatch import LabelReader
from t2ui.tasks import load_task


def truncated(adapter, expert, rank: int):
    """The expert as its LoRA of this rank, and the part of the change that it keeps."""
    scales, kept, whole = {}, 0.0, 0.0
    for name, z in expert.scales.items():
        S = adapter.factors[name].S
        scales[name] = at_rank(S, z, rank)
        kept += float((S * (scales[name] - 1)).square().sum())
        whole += float((S * (z - 1)).square().sum())
    name = f"{expert.name}, rank {rank}"
    return replace(expert, name=name, scales=scales, sha256="", compact=False), kept / whole


def compare(expert, task, loaded, log, arguments) -> None:
    """One expert on its own task: base, each rank, and the whole expert."""
    model, tokenizer, adapter = loaded
    reader = LabelReader(model, tokenizer, adapter)
    shares = {"base": 0.0, expert.name: 1.0}
    methods = [base(adapter, reader, ())]
    for rank in arguments.ranks:
        small, share = truncated(adapter, expert, rank)
        shares[small.name] = share
        methods.append(of_expert(adapter, reader, small))
    methods.append(of_expert(adapter, reader, expert))
    comparison = Comparison(adapter, tokenizer, methods, log)
    rows = sample(task.test, arguments.limit, arguments.seed)
    right = answered(comparison, task, rows)
    whole = right(methods[-1])
    print(f"\n{expert.name} on {task.name}, n {len(rows)}, seed {arguments.seed}; p: against full")
    for method in methods:
        answers = right(method)
        low, high = wilson(sum(answers), len(answers))
        name = "full" if method.name == expert.name else method.name
        print(
            f"{name:22} holds {shares[method.name]:6.1%} of the change  right "
            f"{sum(answers) / len(answers):6.1%} [{low:.1%}, {high:.1%}]  "
            f"p {paired_p(whole, answers):.2g}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_data_option(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for answers; goes on there")
    parser.add_argument("--experts", nargs="+", help="all that answer where none is named")
    parser.add_argument("--ranks", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--limit", type=int, default=200, help="test rows of each set")
    parser.add_argument("--seed", type=int, default=0, help="which rows")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    describe_machine()
    loaded = adapted_default(arguments.device)
    experts = shipped().answering
    with result_log(arguments.out, loaded) as log:
        for name in arguments.experts or experts:
            task = load_task(experts[name].task, loaded[1], arguments.data)
            compare(experts[name], task, loaded, log, arguments)


if __name__ == "__main__":
    main()
