"""Many tenants with an expert each on one server: `python -m benchmarks.tenants`

For 4 tenants and for 200: the worker's memory, and over /v1 the time to the first token and the
tokens a second of sixteen streams, each of another tenant with its own expert.
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import torch

from benchmarks.common import adapted_default, describe_machine
from t2ui.config import DEFAULT_MODEL, WorkerConfig
from t2ui.http.launch import launch_options
from t2ui.http.limits import Limits
from t2ui.http.service import Service
from t2ui.http.tenants import Tenants, new_tenant, write_keys
from t2ui.svf.expert import Expert
from t2ui.ui import build
from t2ui.worker.client import WorkerClient

STREAMS = 16


def make_tenants(root: Path, count: int) -> list[str]:
    """Keys of so many tenants, each with one expert in its folder."""
    _, _, adapter = adapted_default("cpu")
    made = [new_tenant(f"tenant{n}") for n in range(count)]
    write_keys(root / "keys.json", [tenant for tenant, _ in made])
    generator = torch.Generator().manual_seed(0)
    first = Expert("own", {n: torch.ones_like(f.S) for n, f in adapter.factors.items()})
    for tenant, _ in made:
        scales = {
            name: 1 + 0.02 * torch.randn(z.shape, generator=generator)
            for name, z in first.scales.items()
        }
        expert = replace(
            first, scales=scales, base_model=DEFAULT_MODEL, fingerprint=adapter.fingerprint
        )
        expert.save(root / "tenants" / tenant.name / "own.safetensors")
    return [key for _, key in made]


def stream(url: str, key: str, text: str, tokens: int) -> tuple[float, int]:
    """Seconds to the first token, and tokens written."""
    body = {
        "model": "t2ui/own",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {"authorization": f"Bearer {key}"}
    began, first, written = time.perf_counter(), 0.0, 0
    with httpx.stream(
        "POST", f"{url}/v1/chat/completions", json=body, headers=headers, timeout=600
    ) as reply:
        if reply.is_error:
            raise SystemExit(f"{reply.status_code}: {reply.read().decode()}")
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            said = any(choice["delta"].get("content") for choice in chunk["choices"])
            first = first or (time.perf_counter() - began if said else 0.0)
            written = (chunk.get("usage") or {}).get("completion_tokens", written)
    return first, written


def measure(count: int, tokens: int, rounds: int) -> None:
    with ExitStack() as stack:
        root = Path(stack.enter_context(TemporaryDirectory()))
        keys = make_tenants(root, count)
        tenants = Tenants(root / "keys.json")
        config = WorkerConfig(tenants_dir=tenants.folders)
        worker = stack.enter_context(WorkerClient(config))
        print(f"{count} tenants: {worker.wait_ready(1800).state}")
        service = Service(worker, Limits(), tenants)
        demo = build(service.client)
        _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(service))
        stack.callback(demo.close)
        while worker.experts(f"@tenant{count - 1}") is worker.experts():  # every folder is read
            time.sleep(0.5)
        pool = stack.enter_context(ThreadPoolExecutor(STREAMS))
        firsts, rates = [], []
        for number in range(rounds + 1):
            chosen = [keys[(number * STREAMS + n) % count] for n in range(STREAMS)]
            texts = [f"Write a story about ship {number} in port {n}." for n in range(STREAMS)]
            began = time.perf_counter()
            found = list(
                pool.map(stream, [url.rstrip("/")] * STREAMS, chosen, texts, [tokens] * STREAMS)
            )
            if number:  # the first round warms up
                firsts += [first for first, _ in found]
                rates.append(sum(n for _, n in found) / (time.perf_counter() - began))
        time.sleep(1.5)  # a heartbeat that says the memory
        print(
            f"  memory {worker.status().memory / 1e9:.2f} GB, first token "
            f"{statistics.median(firsts):.2f} s (at most {max(firsts):.2f}), "
            f"{statistics.median(rates):.1f} tokens/s ({min(rates):.1f} to {max(rates):.1f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tenants", type=int, nargs="+", default=[4, 200])
    parser.add_argument("--tokens", type=int, default=32, help="of every answer, at most")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    describe_machine()
    for count in options.tenants:
        measure(count, options.tokens, options.rounds)


if __name__ == "__main__":
    main()
