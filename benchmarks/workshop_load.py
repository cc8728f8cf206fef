"""A class of forty on one instance, as browsers do it: `python -m benchmarks.workshop_load`

Starts `t2ui serve --workshop` as a process of its own. Every client opens the page with all it
loads, takes a seat, and then asks one question after the other under a mixture of its own, base
beside adapted; before each it clicks: the list of experts, the state of the workshop. At the end
some of the questions are asked again, one after the other, by nobody else: their answers must be
the same, and their time is what the class is measured against.
"""

import argparse
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.common import describe_machine, wait_for
from benchmarks.page_under_load import open_page
from t2ui.messages import PANES

EXPERTS = ("math", "code", "reasoning")
PLAN = 'title = "Load"\nseats = {seats}\n'


@dataclass
class Answer:
    """One answer, and whose it is."""

    client: int
    prompt: str
    mixture: dict[str, float]
    result: dict[str, Any]
    seconds: float


@dataclass
class Found:
    """What the clients saw."""

    answers: list[Answer] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    clicks: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class Client:
    """One browser: its cookie, its mixture, its questions."""

    def __init__(self, url: str, number: int, tokens: int) -> None:
        self.http = httpx.Client(base_url=url, timeout=600)
        self.number, self.tokens = number, tokens
        self.tab = f"tab{number}"  # a browser's page names itself
        self.listing = 0  # the number of the function that lists the experts
        self.mixture = {EXPERTS[number % 3]: round(0.2 + 0.02 * number, 2)}

    def sit(self) -> None:
        self.http.post("/workshop/seats", json={"seat": str(self.number)}).raise_for_status()

    def call(self, name: str, *data: Any) -> Any:
        """The last state of one of the page's routes."""
        path = f"/gradio_api/call/{name}"
        event = self.http.post(path, json={"data": data}).raise_for_status().json()["event_id"]
        last, kind = None, ""
        with self.http.stream("GET", f"{path}/{event}") as stream:
            for line in stream.raise_for_status().iter_lines():
                what, _, rest = line.partition(": ")
                kind = rest if what == "event" else kind
                if what == "data" and kind in ("generating", "complete"):
                    (last,) = json.loads(rest)
                if what == "data" and kind == "error":
                    raise RuntimeError(rest)
        return last

    def opened(self) -> float:
        """Seconds that the page takes to open."""
        seconds = open_page(self.http)
        functions = self.http.get("/config").raise_for_status().json()["dependencies"]
        self.listing = next(one["id"] for one in functions if one["api_name"] == "experts")
        self.list_experts()
        return seconds

    def list_experts(self) -> None:
        """As the page asks: under its own name, through the queue."""
        said = {"fn_index": self.listing, "data": [], "session_hash": self.tab}
        self.http.post("/gradio_api/queue/join", json=said).raise_for_status()
        path = f"/gradio_api/queue/data?session_hash={self.tab}"
        with self.http.stream("GET", path) as stream:
            for line in stream.raise_for_status().iter_lines():
                if line.startswith("data: ") and '"process_completed"' in line:
                    assert '"math"' in line, line[:300]
                    return
        raise RuntimeError("the list of experts never came")

    def ask(self, prompt: str, mixture: dict[str, float]) -> Answer:
        began = time.perf_counter()
        result = self.call("ask", prompt, mixture, "none", self.tokens)
        return Answer(self.number, prompt, mixture, result, time.perf_counter() - began)

    def clicks(self) -> dict[str, float]:
        """Seconds that trivial clicks take."""
        began = time.perf_counter()
        self.list_experts()
        listed = time.perf_counter()
        self.http.get("/workshop/state").raise_for_status()
        return {"list of experts": listed - began, "state": time.perf_counter() - listed}


def work(client: Client, found: Found, end: float) -> None:
    """Ask until the time is over; whatever goes wrong is written down, and the class goes on."""
    number = 0
    while time.perf_counter() < end:
        number += 1
        prompt = f"Tell a long story about lighthouse {client.number + 100 * number}."
        try:
            for name, seconds in client.clicks().items():
                found.clicks[name].append(seconds)
            found.answers.append(client.ask(prompt, client.mixture))
        except Exception as error:
            found.failed.append(f"client {client.number}: {error!r}")


def wrong(answer: Answer) -> str:
    """What is wrong with an answer; "" for nothing."""
    receipt = (answer.result or {}).get("receipt")
    if not receipt:
        return "lost"
    own = receipt["prompt"] == answer.prompt and receipt["mixture"] == answer.mixture
    return "" if own else "crossed"


def served(folder: Path, seats: int) -> tuple[subprocess.Popen, str]:
    """The server, once its model is ready, and its address."""
    plan = folder / "load.toml"
    plan.write_text(PLAN.format(seats=seats))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "t2ui", "serve", "--workshop", str(plan), "--port", str(port)]
    environment = {**os.environ, "T2UI_SEATS_PER_ADDRESS": "100"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    while True:
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return server, url
        except httpx.TransportError:
            pass
        if server.poll() is not None:
            raise SystemExit((folder / "log").read_text())
        time.sleep(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--tokens", type=int, default=64, help="of every answer")
    parser.add_argument("--again", type=int, default=12, help="answers asked for again alone")
    options = parser.parse_args()
    describe_machine()
    with tempfile.TemporaryDirectory() as place:
        server, url = served(Path(place), options.clients + 1)
        try:
            measure(url, options)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def measure(url: str, options: argparse.Namespace) -> None:
    clients = [Client(url, number + 1, options.tokens) for number in range(options.clients)]
    found, began = Found(), time.perf_counter()
    for client in clients:
        client.sit()
        found.clicks["page"].append(client.opened())
    print(f"{len(clients)} pages opened in {time.perf_counter() - began:.1f} s", flush=True)
    began = time.perf_counter()
    end = began + 60 * options.minutes
    threads = [threading.Thread(target=work, args=(one, found, end)) for one in clients]
    for thread in threads:
        thread.start()
    took = wait_for(threads, lambda: f"{len(found.answers)} answers")
    verdicts = [wrong(answer) for answer in found.answers]
    print(
        f"{len(verdicts)} answers in {took:.0f} s: {verdicts.count('lost')} lost, "
        f"{verdicts.count('crossed')} crossed; {len(found.failed)} failed {found.failed[:3]}"
    )
    for name, seconds in sorted(found.clicks.items()):
        late = statistics.quantiles(seconds, n=20)[-1]
        print(
            f"{name}: median {statistics.median(seconds):.2f} s, 95 % below {late:.2f} s, "
            f"longest {max(seconds):.2f} s"
        )
    counts = [sum(a.client == one.number for a in found.answers) for one in clients]
    print(f"answers a client: {min(counts)} to {max(counts)}")
    alone(url, found, took, options)


def alone(url: str, found: Found, took: float, options: argparse.Namespace) -> None:
    """Some of the questions again, by one more browser and one after the other."""
    one = Client(url, options.clients + 1, options.tokens)
    one.sit()
    chosen = random.Random(0).sample(found.answers, min(options.again, len(found.answers)))
    again = [one.ask(answer.prompt, answer.mixture) for answer in chosen]
    same = sum(
        all(first.result[pane] == second.result[pane] for pane in PANES)
        for first, second in zip(chosen, again, strict=True)
    )
    seconds = statistics.mean(answer.seconds for answer in again)
    print(
        f"{same} of {len(chosen)} answers are the same alone, at {seconds:.1f} s each: the class "
        f"was {seconds * len(found.answers) / took:.1f} times as fast as one after the other"
    )


if __name__ == "__main__":
    main()
