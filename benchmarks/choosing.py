"""Ways to choose a mixture, side by side: `python -m benchmarks.choosing --data DIR --out DIR`.

The base model, every expert alone, pass one by prompt and by the classification expert, and
few-shot adaptation with several numbers of shots and seeds, on the same test rows. The shots are
validation rows, never test rows. Stopped and run again with the same folder, it goes on.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median

from benchmarks.common import (
    adapted_default,
    add_data_option,
    answered,
    describe_machine,
    result_log,
    shipped,
)
from t2ui.config import DEFAULT_MODEL, FewShotConfig
from t2ui.evaluation.comparison import Comparison
from t2ui.evaluation.measure import sample
from t2ui.evaluation.methods import base, of_dispatch, of_expert, of_mixture
from t2ui.evaluation.statistics import paired_p, wilson
from t2ui.few_shot.adapt import search
from t2ui.few_shot.examples import shots_of
from t2ui.inference.dispatch import LabelReader
from t2ui.svf.mixture import SavedMixture
from t2ui.tasks import load_task


def searched(loaded, task, experts, arguments, shots: int, seed: int) -> SavedMixture:
    """The mixture found from so many shots; kept in the folder, for the same experts and
    settings."""
    model, tokenizer, adapter = loaded
    config = FewShotConfig(
        method=arguments.method,
        objective=arguments.objective,
        population=arguments.population,
        generations=arguments.generations,
        held_out=0,
        seed=seed,
        max_new_tokens=task.max_new_tokens or 64,
        stop=task.stop,
    )
    made_by = {"config": asdict(config), "experts": {n: e.sha256 for n, e in experts.items()}}
    made_by = json.loads(json.dumps(made_by))  # as a file gives it back
    file = arguments.out / f"{task.name}-{arguments.method}-{shots}-{seed}.json"
    if file.is_file():
        found = SavedMixture.load(file)
        if {key: found.provenance.get(key) for key in made_by} == made_by:
            return found
    rows = shots_of(task, shots, seed)
    *_, result = search(adapter, tokenizer, rows, experts, config, task.grade)
    found = SavedMixture(
        result.mixture,
        DEFAULT_MODEL,
        {
            "set_by": result.set_by,
            "seconds": result.seconds,
            "tokens": result.tokens,
            **made_by,
        },
    )
    found.save(file)
    weights = ", ".join(f"{n} {a:.2f}" for n, a in result.mixture.weights.items())
    print(f"{task.name}, {shots} shots, seed {seed}: {weights}; {result.seconds:.0f} s", flush=True)
    return found


def compare(task, loaded, library, log, arguments) -> None:
    """One set: a table with a line a method, the seeds of few-shot adaptation in one line."""
    model, tokenizer, adapter = loaded
    dispatcher = LabelReader(model, tokenizer, adapter)
    experts = library.answering
    plain = [
        base(adapter, dispatcher, ()),
        *(of_expert(adapter, dispatcher, expert) for expert in experts.values()),
        of_dispatch(adapter, dispatcher, library.experts, "prompt"),
        of_dispatch(adapter, dispatcher, library.experts, "expert"),
    ]
    found = {
        shots: [
            searched(loaded, task, experts, arguments, shots, seed)
            for seed in range(arguments.seeds)
        ]
        for shots in arguments.shots
    }
    mixed = {
        shots: [of_mixture(adapter, dispatcher, experts, saved.mixture) for saved in each]
        for shots, each in found.items()
    }
    methods = {m.name: m for m in [*plain, *(m for each in mixed.values() for m in each)]}
    comparison = Comparison(adapter, tokenizer, list(methods.values()), log)
    rows = sample(task.test, arguments.limit, seed=0)
    right = answered(comparison, task, rows)
    at_base = right(plain[0])
    print(
        f"\n{task.name}, {len(rows)} test rows; 95 % Wilson intervals; few-shot: mean of "
        f"{arguments.seeds} seeds [lowest, highest]"
    )
    for method in plain:
        answers = right(method)
        low, high = wilson(sum(answers), len(answers))
        print(
            f"{method.name:24} {mean(answers):6.1%} [{low:.1%}, {high:.1%}]  "
            f"p {paired_p(at_base, answers):.2g}"
        )
    for shots, each in mixed.items():
        shares = [mean(right(method)) for method in each]
        seconds = median(saved.provenance["seconds"] for saved in found[shots])
        print(
            f"{f'few-shot, {shots} shots':24} {mean(shares):6.1%} [{min(shares):.1%}, "
            f"{max(shares):.1%}]  search {seconds:.0f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_data_option(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for mixtures and answers")
    parser.add_argument("--tasks", nargs="+", default=["arc_challenge", "strategyqa"])
    parser.add_argument("--shots", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=200, help="test rows of each set")
    parser.add_argument("--method", default=FewShotConfig.method)
    parser.add_argument("--objective", default=FewShotConfig.objective)
    parser.add_argument("--population", type=int, default=10)
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    describe_machine()
    loaded = adapted_default(arguments.device)
    library = shipped()
    with result_log(arguments.out, loaded) as log:
        for name in arguments.tasks:
            task = load_task(name, loaded[1], arguments.data)
            compare(task, loaded, library, log, arguments)


if __name__ == "__main__":
    main()
