"""Forty clients with mixtures of their own on one worker: `python -m benchmarks.many_clients`

Every client asks the same question again and again under its own mixture, whose greedy answer is
known from asking alone. Counts answers that are lost (no Done), crossed (another's text) or late
(the last of a round against its fair share), and how much faster the whole is than one after the
other.
"""

import argparse
import itertools
import statistics
import threading
import time
from collections import Counter

from benchmarks.common import describe_machine, wait_for
from t2ui.config import Sampling, WorkerConfig
from t2ui.messages import Ask, Done, Failed, Tokens
from t2ui.worker.client import WorkerClient

QUESTIONS = (
    "Which gas do plants take in from the air?",
    "A farmer has 3 cows and buys 4 more. How many has he now?",
    "Write a Python function that adds two numbers.",
    "What is the capital of France?",
)
EXPERTS = ("math", "code", "reasoning")
TIMES = itertools.count()


def plan(client: int) -> tuple[str, dict[str, float]]:
    """A client's question and mixture: coefficients that no other client has."""
    name = EXPERTS[client % len(EXPERTS)]
    return QUESTIONS[client % len(QUESTIONS)], {name: round(0.3 + 0.05 * client, 2)}


def answer(worker: WorkerClient, client: int, tokens: int) -> str:
    """The adapted answer's text; "" where it failed. Each time as if asked for the first time: the
    last answer is not its draft."""
    question, mixture = plan(client)
    session = f"client {client}, {next(TIMES)}"
    request = Ask(question, mixture, sampling=Sampling(tokens), compare=False, session=session)
    text, ended = [], False
    for event in worker.submit(request).events():
        if isinstance(event, Tokens):
            text += event.pieces
        ended = ended or isinstance(event, Done)
        if isinstance(event, Failed):
            print(f"client {client}: {event.message}")
    return "".join(text) if ended else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--requests", type=int, default=2000, help="in all")
    parser.add_argument("--tokens", type=int, default=8, help="of every answer")
    options = parser.parse_args()
    describe_machine()
    with WorkerClient(WorkerConfig()) as worker:
        print(worker.wait_ready(900).state)
        began = time.perf_counter()
        alone = {c: answer(worker, c, options.tokens) for c in range(options.clients)}
        one_by_one = (time.perf_counter() - began) / options.clients
        print(f"{len(set(alone.values()))} different answers of {options.clients} clients")
        run(worker, options, alone, one_by_one)


def run(worker: WorkerClient, options, alone: dict[int, str], one_by_one: float) -> None:
    each = options.requests // options.clients
    found: dict[int, list[str]] = {c: [] for c in alone}
    ends: dict[int, float] = {}

    def keep_asking(client: int) -> None:
        for _ in range(each):
            found[client].append(answer(worker, client, options.tokens))
        ends[client] = time.perf_counter()

    threads = [threading.Thread(target=keep_asking, args=(c,)) for c in alone]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    took = wait_for(threads, lambda: str(dict(judge(found, alone))))
    verdicts = judge(found, alone)
    shares = [end - began for end in ends.values()]
    print(
        f"{sum(verdicts.values())} requests: {dict(verdicts)} (other: near ties that fell the "
        "other way in another batch)"
    )
    print(
        f"last client done after {max(shares):.1f} s, {max(shares) / statistics.mean(shares):.2f}"
        " times the mean"
    )
    print(
        f"{took / sum(verdicts.values()):.3f} s a request, one after the other {one_by_one:.3f} "
        f"s: {one_by_one * sum(verdicts.values()) / took:.1f} times as fast"
    )


def judge(found: dict[int, list[str]], alone: dict[int, str]) -> Counter[str]:
    """How many answers so far are right, another's, something else or none at all."""
    verdicts: Counter[str] = Counter()
    for client, texts in found.items():
        others = {t for c, t in alone.items() if c != client} - {alone[client]}
        for text in list(texts):
            kind = "right" if text == alone[client] else "crossed" if text in others else "other"
            verdicts[kind if text else "lost"] += 1
    return verdicts


if __name__ == "__main__":
    main()
