"""A CEM population as rows of one batch: `python -m benchmarks.cem_rows`.

Beside it, in the same run, the authors' way: recompose U diag(σ ⊙ z) Vᵀ of every matrix for one
member, write it into the model, score, next member; and rows in scope "answer", where the base
model reads the examples once for all members (other scores: another way to use experts). Then how
the time of one generation grows with members, examples and experts. Experts beyond the shipped ones
are random perturbations: they cost what others cost, and their scores mean nothing.
"""

import argparse
import time

import numpy as np
import torch

from benchmarks.common import adapted_default, describe_machine, some_experts
from benchmarks.side_by_side import side_by_side
from t2ui.config import FewShotConfig
from t2ui.few_shot.examples import examples_of
from t2ui.few_shot.scoring import ExpertBasis, Scorer
from t2ui.models.chat import answer_tail
from t2ui.svf.decomposition import reconstruct, weight_of

PROBLEMS = (
    ("A farmer has 3 cows and buys 4 more. How many cows does the farmer have?", "3 + 4 = 7"),
    ("Tom had 12 marbles and gave 5 to his sister. How many are left?", "12 - 5 = 7"),
    ("Each of 6 boxes holds 8 pencils. How many pencils are there?", "6 * 8 = 48"),
    ("36 children ride in 4 buses. How many are in each bus?", "36 / 4 = 9"),
    ("A book costs 7 dollars. What do 5 books cost?", "7 * 5 = 35"),
    ("Ann read 14 pages on Monday and 9 on Tuesday. How many in all?", "14 + 9 = 23"),
    ("There were 20 birds in a tree and 13 flew away. How many stayed?", "20 - 13 = 7"),
    ("A rope of 18 metres is cut into 3 equal parts. How long is each?", "18 / 3 = 6"),
    ("Sam walks 2 miles a day for 11 days. How far does he walk?", "2 * 11 = 22"),
    ("A shop had 50 apples and sold 32. How many were not sold?", "50 - 32 = 18"),
)


def run(steps):
    """What a generator of the library returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


class Trial:
    """One generation: members with random weights, scored on examples in one way or the other."""

    def __init__(self, model, tokenizer, adapter, experts, settings):
        self.model, self.tokenizer, self.adapter = model, tokenizer, adapter
        self.basis, self.settings = ExpertBasis(adapter, experts), settings
        random = np.random.default_rng(0)
        self.alpha = random.uniform(0, 1, (settings["members"], len(experts)))
        self.alpha /= len(experts)  # many experts at once would be no model any more
        self.examples = examples_of(tokenizer, PROBLEMS[: settings["examples"]])
        self.original = {n: weight_of(m.module).clone() for n, m in adapter.linears.items()}

    def written(self, name: str) -> torch.Tensor:
        """A matrix to write to, past torch's count of writes: it gets its own values back, and the
        adapter is not to take that for a change."""
        return weight_of(self.adapter.linears[name].module).data

    def config(self, objective: str) -> FewShotConfig:
        batch = {k: self.settings[k] for k in ("batch_tokens", "batch_rows", "max_new_tokens")}
        return FewShotConfig(objective=objective, **batch)

    def rows(self, objective: str, tail: int | None = None) -> np.ndarray:  # (members,)
        """Ours: members × examples in batches, from the weights α on."""
        mixed = self.basis.mixed(
            torch.tensor(self.alpha, dtype=torch.float32, device=self.basis.offsets.device)
        )
        config = self.config(objective)
        scorer = Scorer(self.adapter, self.tokenizer, config, is_longer_than, tail)
        table = run(scorer.table([self.basis.scales(z) for z in mixed], self.examples))
        return table.searched(objective)

    def one_reading(self, objective: str) -> np.ndarray:  # (members,)
        """Ours in scope "answer", the reading of the examples included."""
        return self.rows(objective, answer_tail(self.tokenizer))

    def one_by_one(self, objective: str) -> np.ndarray:  # (members,)
        """The authors': every member's weights written in turn, all examples as one batch."""
        scorer = Scorer(self.adapter, self.tokenizer, self.config(objective), is_longer_than)
        scores = []
        for alpha in self.alpha:
            z = self.basis.mixed(
                torch.tensor(alpha[None], dtype=torch.float32, device=self.basis.offsets.device)
            )[0]
            for name, scale in self.basis.scales(z).items():
                weight = reconstruct(self.adapter.factors[name], scale)
                self.written(name).copy_(weight)
            scores.append(run(scorer.table([None], self.examples)).searched(objective)[0])
        for name, weight in self.original.items():
            self.written(name).copy_(weight)
        return np.array(scores)


def is_longer_than(text: str, answer: str) -> bool:
    """A reward that some answers get: how good they are does not matter here."""
    return len(text) > 60


def compare(trial: Trial, objective: str, rounds: int) -> None:
    settings = trial.settings
    print(
        f"\n{objective}: {settings['members']} members × {len(trial.examples)} examples"
        + (f", {settings['max_new_tokens']} new tokens" if objective == "reward" else "")
    )
    scores: dict[str, np.ndarray] = {}

    def keeping(way):
        def run_once() -> None:
            scores[way.__name__] = way(objective)

        return run_once

    seconds = side_by_side(
        {
            "rows of one batch (ours)": keeping(trial.rows),
            "recompose, score, next (the authors' way)": keeping(trial.one_by_one),
            "rows, scope answer: one reading (ours)": keeping(trial.one_reading),
        },
        rounds=rounds,
    )
    ours, theirs, once = (np.median(s) for s in seconds.values())
    difference = np.abs(scores["rows"] - scores["one_by_one"])
    said = f"scores differ by at most {difference.max():.2e} nats"
    if objective == "reward":  # where rounding turns one token, an answer may go another way
        said = f"{(difference < 1e-3).sum()} of {len(difference)} members score the same"
    print(f"scope all {theirs / ours:.2f} times as fast; {said}")
    print(f"scope answer {theirs / once:.2f} times as fast as the authors' way")


def growth(arguments, loaded) -> None:
    """Seconds of one generation by likelihood as one of the three numbers grows."""
    print("\nmembers  examples  experts     seconds  of these: mixing")
    start = arguments.experts[0]
    base = {"members": arguments.members, "examples": arguments.examples, "experts": start}
    cases = [
        {**base, "members": max(1, arguments.members // 2)},
        base,
        {**base, "members": arguments.members * 2},
        {**base, "examples": max(1, arguments.examples // 2)},
        *({**base, "experts": count} for count in arguments.experts[1:]),
    ]
    for case in cases:
        experts = some_experts(loaded[2], case["experts"])
        trial = Trial(*loaded, experts, {**vars(arguments), **case})
        started = time.perf_counter()
        trial.rows("likelihood")
        whole = time.perf_counter() - started
        started = time.perf_counter()
        trial.basis.mixed(
            torch.tensor(trial.alpha, dtype=torch.float32, device=trial.basis.offsets.device)
        )
        mixing = time.perf_counter() - started
        print(
            f"{case['members']:7}  {case['examples']:8}  {case['experts']:7}  {whole:10.2f}  "
            f"{mixing:.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--members", type=int, default=32)
    parser.add_argument("--examples", type=int, default=10, help="at most 10")
    parser.add_argument("--experts", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--max-new-tokens", type=int, default=24)
    parser.add_argument("--batch-tokens", type=int, default=FewShotConfig.batch_tokens)
    parser.add_argument("--batch-rows", type=int, default=FewShotConfig.batch_rows)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", choices=["likelihood", "reward", "growth"])
    arguments = parser.parse_args()
    describe_machine()
    loaded = adapted_default(arguments.device)
    experts = some_experts(loaded[2], arguments.experts[0])
    print(f"experts: {', '.join(experts)}")
    for objective in ("likelihood", "reward"):
        if arguments.only in (None, objective):
            compare(Trial(*loaded, experts, vars(arguments)), objective, arguments.rounds)
    if arguments.only in (None, "growth"):
        growth(arguments, loaded)


if __name__ == "__main__":
    with torch.no_grad():
        main()
