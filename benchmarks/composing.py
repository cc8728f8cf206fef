"""Does composing help on tasks that lie between experts? `python -m benchmarks.composing --out DIR`

Ten sets that no expert was trained on: generators at another difficulty than an expert's, and two
generators' questions joined in one prompt. Side by side, in bfloat16, on the same test rows: the
base model, also with five solved examples before the question; the expert that is best on
validation rows; the two best in equal parts; soft routing by the router (α = its probabilities, to
the nearest tenth); and mixtures searched from a few examples, by CEM and by the gradient, with
every shipped expert to choose from.

A search is run with five seeds, each with examples of its own; the mixture of a seed answers its
fifth of the test rows, so that all rows are answered once for each number of examples.
The folder keeps mixtures and answers; the same command goes on from there.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from benchmarks.choosing import searched
from benchmarks.common import answered, describe_machine, result_log, share_of, shipped
from t2ui.config import AnswerSettings, FewShotConfig
from t2ui.evaluation.comparison import Comparison
from t2ui.evaluation.measure import sample
from t2ui.evaluation.methods import Method, base, digest_of, of_expert, of_mixture
from t2ui.evaluation.result_log import ResultLog
from t2ui.evaluation.statistics import paired_p
from t2ui.inference.dispatch import LabelReader
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.plan import make_plan
from t2ui.models.loading import load_model
from t2ui.svf.adapter import Adapter, adapt
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture
from t2ui.tasks import load_task
from t2ui.tasks.base import Example, Task

SUMS = "rg:chain_sum:min_terms=2:max_terms=3:min_digits=1:max_digits=2"
FRACTIONS = "rg:fraction_simplification:max_value=20:max_factor=10"
REVERSAL = "rg:word_sequence_reversal:max_words=5"
JOINED = {"sums and fractions": (SUMS, FRACTIONS), "reversal and sums": (REVERSAL, SUMS)}
HARDER = {
    "four terms": "rg:chain_sum:min_terms=4:max_terms=4:min_digits=1:max_digits=1",
    "five to filter": "rg:number_filtering:min_numbers=5:max_numbers=5:max_decimals=0",
    "longer sentences": "rg:sentence_reordering:min_words_in_sentence=6:max_words_in_sentence=7",
    "equations of three": "rg:simple_equations:min_terms=3:max_terms=3:max_value=9",
    "seven numbers": "rg:number_sequence:min_terms=7:max_terms=7:max_complexity=1",
    "larger fractions": "rg:fraction_simplification:min_value=20:max_value=40:max_factor=10",
    "seven words": "rg:word_sequence_reversal:min_words=6:max_words=7",
    "three decimals": "rg:decimal_chain_sum:min_terms=3:max_terms=3:max_digits=1"
    ":max_decimal_places=1",
}
SETS = (*HARDER, *JOINED)
SEEDS = 5  # each answers its fifth of the test rows
SHOWN = 5  # examples in the prompt
TRIED = (40, 100)  # validation rows on which the experts are compared; the more if none is right
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Loaded:
    """What every set is measured with."""

    tokenizer: PreTrainedTokenizerBase
    adapter: Adapter
    reader: LabelReader
    log: ResultLog
    arguments: argparse.Namespace


def joined(
    name: str, tokenizer: PreTrainedTokenizerBase, out: Path, limit: int
) -> tuple[Task, Task]:
    """Two generators' questions in one prompt, right where both answers are: a file of one's own.
    Also the same with solved examples before the question."""
    first, second = (
        load_task(one, tokenizer, train_rows=20, validation_rows=100, limit=limit)
        for one in JOINED[name]
    )

    def right(row: Example) -> str:
        return tokenizer.decode(row.question.options[0], skip_special_tokens=True).strip()

    def rows(part: str) -> list[tuple[str, str]]:
        pairs = zip(getattr(first, part), getattr(second, part), strict=False)
        return [
            (
                f"Answer both questions, one line each.\n\n1. {a.prompt}\n\n2. {b.prompt}",
                f"{right(a)}\n{right(b)}",
            )
            for a, b in pairs
        ]

    parts = {part: rows(part) for part in PARTS}
    shown = "".join(f"{prompt}\n{answer}\n\n" for prompt, answer in parts["train"][:SHOWN])
    answers = [answer for pairs in parts.values() for _, answer in pairs]
    longest = max(len(tokenizer(answer).input_ids) for answer in answers)
    tasks = []
    for folder, before in ((out / "joined" / name, ""), (out / "joined" / f"{name}, shown", shown)):
        folder.mkdir(parents=True, exist_ok=True)
        for part, pairs in parts.items():
            lines = [json.dumps({"prompt": before + p, "answer": a}) for p, a in pairs]
            (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        tasks.append(
            load_task("jsonl", tokenizer, folder, reward="exact", max_new_tokens=longest + 2)
        )
    return tasks[0], tasks[1]


def tasks_of(
    name: str, tokenizer: PreTrainedTokenizerBase, out: Path, limit: int
) -> tuple[Task, Task]:
    """A set, and the same with solved examples before the question."""
    if name in JOINED:
        return joined(name, tokenizer, out, limit)
    plain, shown = (
        load_task(HARDER[name], tokenizer, validation_rows=100, limit=limit, shots=shots)
        for shots in (0, SHOWN)
    )
    return plain, shown


def softly_routed(loaded: Loaded, experts: Mapping[str, Expert]) -> Method:
    """The router's probabilities as coefficients, to the nearest tenth: alike ones go together."""
    dispatchers = Dispatchers(loaded.adapter.model, loaded.tokenizer, loaded.adapter)
    settings = AnswerSettings(dispatch="router", routing="soft")

    def parts(examples: Sequence[Example]):
        places: dict[tuple, list[int]] = {}
        for place, example in enumerate(examples):
            weights = make_plan(dispatchers, example.prompt, experts, settings).mixture.weights
            tenths = {name: round(alpha, 1) for name, alpha in weights.items()}
            key = tuple(sorted((name, alpha) for name, alpha in tenths.items() if alpha))
            places.setdefault(key, []).append(place)
        for key, found in places.items():
            mixture = of_mixture(loaded.adapter, loaded.reader, experts, Mixture(dict(key)))
            ((_, context),) = mixture.parts([examples[place] for place in found])
            yield found, context

    return Method("soft routing", digest_of(experts), parts)


def ranked(task: Task, name: str, loaded: Loaded, experts: Mapping[str, Expert]) -> list[str]:
    """The experts, the best on validation rows first."""
    methods = [of_expert(loaded.adapter, loaded.reader, expert) for expert in experts.values()]
    comparison = Comparison(loaded.adapter, loaded.tokenizer, methods, loaded.log, 64)
    for count in TRIED:
        rows = sample(task.validation, count, seed=0)
        right = answered(comparison, task, rows, f"{name}, validation")
        shares = {method.name: sum(right(method)) for method in methods}
        if any(shares.values()):
            break
    best = sorted(shares, key=lambda one: (-shares[one], one))
    said = ", ".join(f"{one} {shares[one]}" for one in best[:4])
    print(f"\n{name}: {task.name}\n  right of {count} validation rows: {said}", flush=True)
    return best


def compare(name: str, loaded: Loaded) -> None:
    """One set: a line a method; p is against the expert that is best on validation rows."""
    adapter, reader, arguments = loaded.adapter, loaded.reader, loaded.arguments
    task, shown = tasks_of(name, loaded.tokenizer, arguments.out, arguments.limit)
    library = shipped()
    experts = library.answering
    order = ranked(task, name, loaded, experts)
    if arguments.single:
        order = [arguments.single, *(one for one in order if one != arguments.single)]
    best, second, *_ = order
    plain = base(adapter, reader, ())
    single = of_expert(adapter, reader, experts[best])
    even = of_mixture(adapter, reader, experts, Mixture({best: 0.5, second: 0.5}))
    soft = softly_routed(loaded, library.experts)
    rows = sample(task.test, arguments.limit, seed=0)

    def right(methods: Sequence[Method], rows, task=task, column=name) -> list[list[bool]]:
        comparison = Comparison(adapter, loaded.tokenizer, methods, loaded.log, 64)
        found = answered(comparison, task, rows, column)
        return [found(method) for method in methods]

    at_base, at_single, at_even, at_soft = right([plain, single, even, soft], rows)
    lines = {
        "base model": at_base,
        f"best single expert ({best})": at_single,
        f"even mix ({best}, {second})": at_even,
        "soft routing": at_soft,
    }
    by_id = {row.id: row for row in shown.test}
    several = [by_id[row.id] for row in rows]
    column = f"{name}, {SHOWN} examples"
    (lines[f"base model, {SHOWN} examples in the prompt"],) = right([plain], several, shown, column)
    for title, answers in lines.items():
        show(title, answers, at_single)
    for method in arguments.methods:
        arguments.method = method
        for shots in arguments.shots:
            answers: dict[str, bool] = {}
            for seed in range(SEEDS):
                model = adapter.model, loaded.tokenizer, adapter
                found = searched(model, task, experts, arguments, shots, seed).mixture
                mixed = of_mixture(adapter, reader, experts, found)
                fifth = rows[seed::SEEDS]
                answers |= zip((row.id for row in fifth), right([mixed], fifth)[0], strict=True)
            show(f"{method}, {shots} examples", [answers[row.id] for row in rows], at_single)


def show(title: str, answers: list[bool], against: list[bool]) -> None:
    p = "" if answers is against else f"p {paired_p(against, answers):.2g}"
    print(f"  {title} | {share_of(answers)} | {p}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder; goes on there")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--single", default="", help="this one, not the best on validation rows")
    parser.add_argument("--methods", nargs="+", default=["cem", "gradient"])
    parser.add_argument("--shots", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--limit", type=int, default=500, help="test rows of each set")
    parser.add_argument("--objective", default=FewShotConfig.objective)
    light = FewShotConfig.preset("light")
    parser.add_argument("--population", type=int, default=light.population)
    parser.add_argument("--generations", type=int, default=light.generations)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    describe_machine()
    model, tokenizer = load_model(device=arguments.device, dtype="bfloat16")
    adapter = adapt(model)
    reader = LabelReader(model, tokenizer, adapter)
    with result_log(arguments.out, (model, tokenizer, adapter)) as log:
        loaded = Loaded(tokenizer, adapter, reader, log, arguments)
        for name in arguments.sets:
            compare(name, loaded)


if __name__ == "__main__":
    main()
