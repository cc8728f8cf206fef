"""The ways of few-shot adaptation at equal numbers of processed tokens:
`python -m benchmarks.adapt_methods --data DIR`.

Every method sees the same shots with the same budget of tokens (a backward pass counts as two
forward passes). Printed are its best score on the shots along the way, and base and mixtures on
rows that no search saw. The defaults are small; see --help for real comparisons.
"""

import argparse

import numpy as np

from benchmarks.cem_rows import run
from benchmarks.common import (
    adapted_default,
    add_data_option,
    describe_machine,
    shipped,
    some_experts,
)
from t2ui.catalogue import SEARCH_METHODS
from t2ui.config import FewShotConfig
from t2ui.few_shot.adapt import search
from t2ui.few_shot.examples import shots_of
from t2ui.few_shot.scoring import Scorer
from t2ui.few_shot.search import generation_tokens
from t2ui.records import Generation
from t2ui.svf.mixture import Mixture, mix
from t2ui.tasks import load_task
from t2ui.tasks.batching import shuffled

SHARES = (0.1, 0.25, 0.5, 1.0)  # of the budget, at which the best score is printed


def searched(loaded, rows, experts, config, right, budget):
    """The result of a search that ends before its tokens exceed the budget."""
    spent = [0]
    a_generation = generation_tokens(rows, config)

    def over() -> bool:
        return spent[-1] + a_generation > budget

    for step in search(loaded[2], loaded[1], rows, experts, config, right, over):
        if isinstance(step, Generation):
            spent.append(step.tokens)
    return step


def best_at(result, tokens: float) -> float:
    """The best score that was known after so many tokens; NaN before the first generation."""
    known = [g.best for g in result.generations if g.tokens <= tokens]
    return known[-1] if known else np.nan


def compare(task, loaded, experts, arguments) -> None:
    """One task: a table with one line per method, medians over seeds."""
    methods = [
        name
        for name in arguments.methods
        if arguments.objective == "likelihood" or not SEARCH_METHODS[name].needs_gradient
    ]
    held = shuffled(list(task.test), 0)[: arguments.test]
    found, configs = {}, {}
    for method in methods:
        for seed in range(arguments.seeds):
            configs[method] = FewShotConfig(
                method=method,
                objective=arguments.objective,
                population=arguments.population,
                generations=arguments.steps if SEARCH_METHODS[method].needs_gradient else 10_000,
                held_out=0,
                per_layer=arguments.per_layer,
                seed=seed,
                floor=0.0,
                max_new_tokens=task.max_new_tokens or 64,
                stop=task.stop,
                batch_tokens=arguments.batch_tokens,
            )
            rows = shots_of(task, arguments.shots, seed)
            found[method, seed] = searched(
                loaded, rows, experts, configs[method], task.grade, arguments.budget
            )
    members = [Mixture(), *(Mixture({n: 1.0}) for n in experts)]
    members += [result.mixture for result in found.values()]
    scorer = Scorer(loaded[2], loaded[1], configs[methods[0]], task.grade)
    table = run(scorer.table([mix(experts, m) for m in members], held))
    scores = table.reported(arguments.objective)
    right = table.right.mean(1)  # NaN where open answers were not generated
    print(
        f"\n{task.name}: {arguments.shots} shots, {arguments.seeds} seeds, objective "
        f"{arguments.objective}, {arguments.budget:,} tokens; {len(held)} test rows"
    )
    print(
        "method     best on the shots after "
        + "  ".join(f"{s:>6.0%}" for s in SHARES)
        + "   test score   right   tokens  seconds"
    )
    for name, score, share in zip(["base", *experts], scores, right, strict=False):
        print(f"{name:53} {score:20.4f}  {share:6.1%}")
    rest = dict(
        zip(
            found,
            zip(scores[1 + len(experts) :], right[1 + len(experts) :], strict=True),
            strict=True,
        )
    )
    for method in methods:
        results = [found[method, seed] for seed in range(arguments.seeds)]
        curve = [np.median([best_at(r, s * arguments.budget) for r in results]) for s in SHARES]
        test = [rest[method, seed] for seed in range(arguments.seeds)]
        print(
            f"{method:34} "
            + "  ".join(f"{c:6.3f}" for c in curve)
            + f"   {np.median([t[0] for t in test]):10.4f}  {np.mean([t[1] for t in test]):6.1%}"
            f"  {np.median([r.tokens for r in results]):7,.0f}"
            f"  {np.median([r.seconds for r in results]):7.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_data_option(parser)
    parser.add_argument("--tasks", nargs="+", default=["arc_challenge", "arith", "gsm8k"])
    parser.add_argument("--methods", nargs="+", default=list(SEARCH_METHODS))
    parser.add_argument("--objective", default="likelihood")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--budget", type=int, default=20_000, help="tokens per search")
    parser.add_argument("--population", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="of gradient, within the budget")
    parser.add_argument("--test", type=int, default=20, help="test rows")
    parser.add_argument("--random", type=int, default=0, help="random experts beside the shipped")
    parser.add_argument("--per-layer", action="store_true")
    parser.add_argument("--batch-tokens", type=int, default=FewShotConfig.batch_tokens)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    describe_machine()
    loaded = adapted_default(arguments.device)
    count = len(shipped().answering)
    experts = some_experts(loaded[2], count + arguments.random)
    print(f"experts: {', '.join(experts)}")
    for name in arguments.tasks:
        compare(load_task(name, loaded[1], arguments.data), loaded, experts, arguments)


if __name__ == "__main__":
    main()
