"""Sixteen mixtures at once over /v1, beside other ways: `python -m benchmarks.api`

In turn, so that a noisy machine does the same to all: the requests at once over HTTP, one after the
other, straight to the worker without the door, all to the base model, and the same prompts in one
batch of a peft model with a LoRA adapter for each (`adapter_names`, rank 16, all linear layers).
Every round has prompts of its own: no answer is the draft of another.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import torch

from benchmarks.common import describe_machine
from t2ui.allocator import keep_freed_memory
from t2ui.config import Sampling, WorkerConfig
from t2ui.http.launch import launch_options
from t2ui.http.limits import Limits
from t2ui.http.service import Service
from t2ui.messages import Ask, Done
from t2ui.models.chat import chat_ids
from t2ui.models.loading import load_model
from t2ui.ui import build
from t2ui.worker.client import WorkerClient

EXPERTS = ("math", "code", "reasoning")
RANK = 16


def prompt(round_: int, client: int) -> str:
    return f"Write a long story about lighthouse {round_} and its keeper, part {client + 10}."


def mixture(client: int) -> dict[str, float]:
    """Coefficients that no other client has."""
    return {EXPERTS[client % 3]: round(0.2 + 0.05 * client, 2)}


class OverHttp:
    """The app on a worker's client; `ask` gives the number of tokens written."""

    def __init__(self, url: str, tokens: int) -> None:
        self.http = httpx.Client(base_url=url, timeout=600)
        self.tokens = tokens

    def ask(self, text: str, alphas: dict[str, float]) -> int:
        name = "+".join(f"{n}={a}" for n, a in alphas.items()) or "base"
        body = {
            "model": f"t2ui/{name}",
            "messages": [{"role": "user", "content": text}],
            "max_tokens": self.tokens,
        }
        reply = self.http.post("/v1/chat/completions", json=body).raise_for_status().json()
        return reply["usage"]["completion_tokens"]


def by_worker(worker: WorkerClient, texts: list[str], tokens: int) -> int:
    """The same requests without any door."""
    jobs = [
        worker.submit(
            Ask(text, mixture(n), sampling=Sampling(tokens), compare=False, session="bench")
        )
        for n, text in enumerate(texts)
    ]
    ends = [event for job in jobs for event in job.events() if isinstance(event, Done)]
    return sum(ending.tokens for end in ends for ending in end.endings)


def peft_batch(count: int, tokens: int) -> Callable[[list[str]], int]:
    """One batch of a peft model in which every row has its own LoRA adapter."""
    from peft import LoraConfig, get_peft_model

    model, tokenizer = load_model()
    config = LoraConfig(r=RANK, target_modules="all-linear", init_lora_weights=False)
    adapted = get_peft_model(model, config, adapter_name="lora0")
    names = [f"lora{n}" for n in range(count)]
    for name in names[1:]:
        adapted.add_adapter(name, config)
    adapted.eval()

    def run(texts: list[str]) -> int:
        rows = [chat_ids(tokenizer, text) for text in texts]
        longest = max(map(len, rows))
        ids = [[tokenizer.pad_token_id] * (longest - len(row)) + row for row in rows]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        with torch.inference_mode():
            written = adapted.generate(
                input_ids=torch.tensor(ids),
                attention_mask=torch.tensor(mask),
                adapter_names=names,
                do_sample=False,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
            )
        return (written.shape[1] - longest) * len(rows)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64, help="of every answer, at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-peft", action="store_true")
    options = parser.parse_args()
    describe_machine()
    keep_freed_memory()  # for peft's sake, as the worker has it
    count, tokens = options.clients, options.tokens
    with ExitStack() as stack:
        worker = stack.enter_context(WorkerClient(WorkerConfig(max_rows=count)))
        print(worker.wait_ready(1800))
        service = Service(worker, Limits())
        demo = build(service.client)
        _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(service))
        stack.callback(demo.close)
        pool = stack.enter_context(ThreadPoolExecutor(count))
        door = OverHttp(url, tokens)
        mixed, base = [mixture(n) for n in range(count)], [{}] * count
        ways: dict[str, Callable[[list[str]], int]] = {
            "/v1, all at once": lambda texts: sum(pool.map(door.ask, texts, mixed)),
            "worker, no door": lambda texts: by_worker(worker, texts, tokens),
            "/v1, base model": lambda texts: sum(pool.map(door.ask, texts, base)),
            "/v1, one by one": lambda texts: sum(map(door.ask, texts, mixed)),
        }
        if not options.no_peft:
            ways["peft, mixed batch"] = peft_batch(count, tokens)
        rates = defaultdict(list)
        for number in range(options.rounds + 1):
            for place, (name, way) in enumerate(ways.items()):
                texts = [prompt(number * len(ways) + place, n) for n in range(count)]
                began = time.perf_counter()
                written = way(texts)
                if number:  # the first round warms up
                    rates[name].append(written / (time.perf_counter() - began))
        first = rates["/v1, all at once"]
        print(f"{'way':20} tokens/s (median, range)     /v1 at once against it")
        for name, found in rates.items():
            ratios = [one / two for one, two in zip(first, found, strict=True)]
            print(
                f"{name:20} {statistics.median(found):7.1f} ({min(found):.1f} to "
                f"{max(found):.1f})   {statistics.median(ratios):.2f} times "
                f"({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
