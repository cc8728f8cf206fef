"""Where the router sends fresh prompts of every kind: `python -m benchmarks.router_kinds`.

For each shipped expert whose task is a generator, test prompts that no training read; for the other
experts, and for none of them, our own requests that are held out; with `--data` the public sets of
pass one too, some of which no example is from (how others than the router do on these,
`benchmarks.dispatchers` says). Prompts of generators that have no expert should go to nobody, and
so should each generator's own when its expert is left out in turn, if not to a sibling (SIBLINGS).
A family's gain is what its expert's file says of its own task; a prompt that goes elsewhere counts
as no gain.
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common import adapted_default, describe_machine, share_of, shipped
from t2ui.config import OTHERS, default_data_dir
from t2ui.evaluation.statistics import expected_calibration_error
from t2ui.inference.kinds import Examples, Kinds
from t2ui.jsonl import read_jsonl
from t2ui.models.prompt_states import prompt_states
from t2ui.svf.expert import Expert
from t2ui.tasks import load_task
from t2ui.tasks.dispatch_rows import OWN_REQUESTS

TIMES = (4, 24, 128)  # kinds whose reading is timed
# Experts of which one is a sensible choice for another's prompts.
SIBLINGS = (
    {"sums", "decimals", "equations"},
    {"math", "equations", "fractions", "primes", "sequences", "siblings"},
    {"family", "siblings"},
    {"reversal", "sentences"},
    {"matrices", "spirals"},
    {"sorting", "filters", "formats"},
    {"syllogisms", "reasoning"},
)
# Kinds that no expert is of.
UNKNOWN = (
    "letter_counting time_intervals calendar_arithmetic spell_backward base_conversion "
    "leg_counting caesar_cipher word_sorting lcm ransom_note binary_alternation simple_geometry"
).split()
ROUNDS = 50


def examples_of(experts: Mapping[str, Expert]) -> dict[str, tuple[Tensor, ...]]:
    """Example states by label, as the router takes them."""
    return {
        OTHERS if expert.is_dispatcher else expert.labels[0]: expert.grouped_examples
        for expert in experts.values()
        if expert.examples is not None
    }


def fresh_prompts(experts: Mapping[str, Expert], tokenizer, count: int) -> dict[str, list[str]]:
    """Label -> prompts that no training read."""
    found = {
        expert.labels[0]: [row.prompt for row in load_task(expert.task, tokenizer).test[:count]]
        for expert in experts.values()
        if expert.task.startswith("rg:")
    }
    held: dict[str, list[str]] = {}
    for row in read_jsonl(OWN_REQUESTS, ("label", "prompt", "split")):
        if row["split"] != "train":
            held.setdefault(row["label"], []).append(row["prompt"])
    return {**found, **{label: prompts[:count] for label, prompts in held.items()}}


def picks(kinds: Kinds, states: Tensor) -> list[tuple[str, float]]:
    """The likeliest kind of each state, and its probability."""
    found = [kinds.probabilities(state) for state in states]
    return [max(one.items(), key=lambda item: item[1]) for one in found]


def gain_of(expert: Expert) -> float | None:
    """Of accuracy over the base model, on the expert's own task."""
    own = [m for m in expert.metrics if m["set"].startswith(f"{expert.task} test") and "base" in m]
    return own[-1]["expert"] - own[-1]["base"] if own else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=40, help="prompts of each kind")
    parser.add_argument("--data", type=Path, default=default_data_dir(), help="the public sets")
    options = parser.parse_args()
    describe_machine()
    model, tokenizer, _ = adapted_default()
    experts = shipped().experts
    examples = examples_of(experts)
    prompts = fresh_prompts(experts, tokenizer, options.rows)
    states = {label: prompt_states(model, tokenizer, texts) for label, texts in prompts.items()}
    kinds = Kinds.of(examples)
    known(kinds, states, experts)
    if options.data:
        public(kinds, public_prompts(tokenizer, options.data, options.rows), model, tokenizer)
    nobodys(kinds, model, tokenizer, options.rows // 2)
    left_out(examples, states, [label for label in states if label in examples])
    timed(examples, states)


def known(kinds: Kinds, states: Mapping[str, Tensor], experts: Mapping[str, Expert]) -> None:
    """All experts there: right ones, wrong ones and none, calibration, and the oracle's gain."""
    right, wrong, none = [], [], []
    judged: dict[str, tuple[list[float], list[bool]]] = {
        "generators": ([], []),
        "requests": ([], []),
    }
    kept: dict[str, float] = {}
    for label, own in states.items():
        found = picks(kinds, own)
        kept[label] = sum(pick == label for pick, _ in found) / len(found)
        missed = [pick for pick, _ in found if pick != label]
        print(f"  {label:20} {100 * kept[label]:5.1f} % of {len(found)}; else {missed[:6]}")
        generated = label in experts and experts[label].task.startswith("rg:")
        sure, hit = judged["generators" if generated else "requests"]
        sure += [confidence for _, confidence in found]
        hit += [pick == label for pick, _ in found]
        if label != OTHERS:
            right += [pick == label for pick, _ in found]
            wrong += [pick not in (label, OTHERS) for pick, _ in found]
            none += [pick == OTHERS for pick, _ in found]
    for outcome, hits in (("the right expert", right), ("a wrong one", wrong), ("none", none)):
        print(f"{outcome}: {share_of(hits)}")
    judged["all"] = tuple(a + b for a, b in zip(*judged.values(), strict=True))
    for who, (sure, hit) in judged.items():
        error = expected_calibration_error(sure, hit)
        print(f"expected calibration error, {who}, {len(hit)}: {error:.3f}")
    gains = {e.labels[0]: gain_of(e) for e in experts.values() if e.task.startswith("rg:")}
    gains = {label: gain for label, gain in gains.items() if gain and label in kept}
    if gains:
        reached = sum(gain * kept[label] for label, gain in gains.items()) / sum(gains.values())
        print(f"share of the oracle's gain over {len(gains)} families: {100 * reached:.1f} %")


def public_prompts(tokenizer, data: Path, count: int) -> dict[tuple[str, str], list[str]]:
    """(label, family) -> test prompts of the sets that pass one's classifier is tested on."""
    task = load_task("dispatch", tokenizer, data, limit=count)
    found: dict[tuple[str, str], list[str]] = {}
    for row in task.test:
        found.setdefault((task.labels[row.correct], row.family), []).append(row.prompt)
    return {kind: prompts[:count] for kind, prompts in found.items()}


def public(kinds: Kinds, prompts: Mapping[tuple[str, str], list[str]], model, tokenizer) -> None:
    """Families that people know, some of which no example is from."""
    for (label, family), texts in prompts.items():
        found = [pick for pick, _ in picks(kinds, prompt_states(model, tokenizer, texts))]
        right, none = found.count(label), found.count(OTHERS)
        wrong = len(found) - right - none
        print(f"  {family:15} {label:10} {right} of {len(found)}, none {none}, wrong {wrong}")


def nobodys(kinds: Kinds, model, tokenizer, count: int) -> None:
    """Prompts of kinds that no expert is of: whoever takes them is a wrong one."""
    taken = []
    for name in UNKNOWN:
        texts = [row.prompt for row in load_task(f"rg:{name}", tokenizer).test[:count]]
        found = [pick for pick, _ in picks(kinds, prompt_states(model, tokenizer, texts))]
        taken += [pick != OTHERS for pick in found]
        print(f"  nobody's {name:20} {Counter(found)}")
    print(f"of kinds that no expert is of, to some expert: {share_of(taken)}")


def are_siblings(one: str, other: str) -> bool:
    return any({one, other} <= family for family in SIBLINGS)


def left_out(examples: Examples, states: Mapping[str, Tensor], labels: Sequence[str]) -> None:
    """Each family's expert away in turn: whoever takes its prompts, but a sibling, is wrong."""
    wrong, siblings = [], []
    for label in labels:
        if label == OTHERS:
            continue
        kinds = Kinds.of({other: rows for other, rows in examples.items() if other != label})
        found = [pick for pick, _ in picks(kinds, states[label])]
        taken = [pick for pick in found if pick != OTHERS]
        who = {name: taken.count(name) for name in dict.fromkeys(taken)}
        print(f"  without {label:20} {len(taken)} of {len(found)} go to {who}")
        siblings += [pick != OTHERS and are_siblings(label, pick) for pick in found]
        wrong += [pick != OTHERS and not are_siblings(label, pick) for pick in found]
    print(
        f"with their family left out, to a sibling: {share_of(siblings)}; wrong: {share_of(wrong)}"
    )


def timed(examples: Examples, states: Mapping[str, Tensor]) -> None:
    """What comparing one state costs, with more and more kinds (repeated under other names)."""
    rows, state = list(examples.values()), next(iter(states.values()))[0]
    for count in TIMES:
        began = time.perf_counter()
        kinds = Kinds.of({str(i): rows[i % len(rows)] for i in range(count)})
        fitting = time.perf_counter() - began
        seconds = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            kinds.probabilities(state)
            seconds.append(time.perf_counter() - began)
        print(
            f"{count} kinds: {1000 * statistics.median(seconds):.2f} ms a prompt "
            f"[{1000 * min(seconds):.2f}, {1000 * max(seconds):.2f}], "
            f"fitted once in {fitting:.2f} s"
        )


if __name__ == "__main__":
    with torch.inference_mode():
        main()
