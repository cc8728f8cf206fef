"""What a race saves a search: `python -m benchmarks.racing --data data`

CEM by right answers, with and without asking on those that cannot be
among the best any more. Both go the same way; the answers that were generated up to 95 % of the
best score are compared.
"""

import argparse
from collections.abc import Sequence

from benchmarks.common import adapted_default, add_data_option, describe_machine, shipped
from t2ui.config import FewShotConfig
from t2ui.few_shot.adapt import search
from t2ui.records import Generation
from t2ui.tasks import load_task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--task", default="arith")
    parser.add_argument("--experts", nargs="+", default=["math", "code", "reasoning"])
    parser.add_argument("--shots", type=int, default=10)
    parser.add_argument("--population", type=int, default=32)
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    describe_machine()
    model, tokenizer, adapter = adapted_default()
    there = shipped().answering
    experts = {name: there[name] for name in options.experts}
    task = load_task(options.task, tokenizer, options.data)
    examples = task.validation[: options.shots]
    spent = {}
    for racing in (False, True):
        answers: list[str] = []

        def right(text: str, answer: str, answers: list[str] = answers) -> bool:
            answers.append(text)
            return task.grade(text, answer)

        config = FewShotConfig(
            "cem",
            "reward",
            population=options.population,
            generations=options.generations,
            max_new_tokens=options.max_new_tokens,
            held_out=0,
            racing=racing,
            seed=options.seed,
        )
        counts: list[tuple[Generation, int]] = []
        for event in search(adapter, tokenizer, examples, experts, config, right):
            if isinstance(event, Generation):
                counts.append((event, len(answers)))
        spent[racing] = until_95(counts)
        best, last = counts[-1][0], counts[-1][1]
        print(
            f"racing {racing}: best {best.best:.3f} after {last} answers, {best.tokens} tokens and "
            f"{best.seconds:.0f} s; 95 % of it after {spent[racing]}",
            flush=True,
        )
    print(f"racing needs {spent[True] / spent[False]:.2f} of the answers to 95 % of the best")


def until_95(counts: Sequence[tuple[Generation, int]]) -> int:
    """Answers generated when the best score first was 95 % of the last one."""
    enough = 0.95 * counts[-1][0].best
    return next(answers for generation, answers in counts if generation.best >= enough)


if __name__ == "__main__":
    main()
