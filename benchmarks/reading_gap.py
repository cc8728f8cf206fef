"""Do answers go on while somebody's long prompt is read? `python -m benchmarks.reading_gap`

One worker with the default model, as the app has it. An answer streams alone, then beside a prompt
of about 4,000 tokens that is being read; the gaps between its tokens are compared. Beside that: an
answer of 12 tokens, asked alone, beside that reading, and beside eight senders of next-token
requests with 5,000 characters each.
"""

import argparse
import itertools
import statistics
import threading
import time

from benchmarks.common import describe_machine
from t2ui.config import Sampling, WorkerConfig
from t2ui.messages import Ask, Failed, NextToken, Tokens
from t2ui.worker.client import WorkerClient

QUESTION = "Which gas do plants take in from the air, and what do they make of it?"
STORY = "Write a very long story about a lighthouse keeper and the sea, in ten chapters."
WORDS = "The farmer counted the sheep again and wrote the number into the old book. "
SENDERS, CHARACTERS = 8, 5_000
VISITORS = itertools.count()


def gaps(job, seconds: float) -> list[float]:
    """Seconds a token between two events of the adapted answer, for so long."""
    found, last = [], None
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and not job.finished:
        event = job.next(timeout=0.25)
        if isinstance(event, Failed):
            raise SystemExit(event.message)
        if isinstance(event, Tokens) and event.pane == "adapted":
            now = (time.perf_counter(), event.tokens)
            if last and now[1] > last[1]:
                found.append((now[0] - last[0]) / (now[1] - last[1]))
            last = now
    return found


def a_visitor() -> str:
    """A session that asks for the first time: the last answer of none is its draft."""
    return f"visitor {next(VISITORS)}"


def short_answer(client: WorkerClient) -> float:
    """Seconds until an answer of 12 tokens is complete."""
    began = time.perf_counter()
    how = {"sampling": Sampling(max_new_tokens=12), "session": a_visitor()}
    for event in client.submit(Ask(QUESTION, {"reasoning": 1.0}, **how)).events():
        if isinstance(event, Failed):
            raise SystemExit(event.message)
    return time.perf_counter() - began


def spread(values: list[float]) -> str:
    ordered = sorted(values)
    nine = ordered[int(0.95 * (len(ordered) - 1))]
    return f"{statistics.mean(values):.3f} s on average (95 % below {nine:.3f} s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=4000, help="of the long prompt, about")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    describe_machine()
    long = WORDS * (options.tokens // 15)
    with WorkerClient(WorkerConfig()) as client:
        print(client.wait_ready(900).state)
        short_answer(client)
        for number in range(options.rounds):
            measure(client, long, options.seconds, number)


def measure(client: WorkerClient, long: str, seconds: float, number: int) -> None:
    how = {"sampling": Sampling(2000), "session": a_visitor()}
    streaming = client.submit(Ask(STORY, {"code": 0.2}, **how))
    gaps(streaming, 3)  # it has begun
    alone = gaps(streaming, seconds)
    reading = client.submit(Ask(f"{a_visitor()}: {long}", {"code": 1.0}, sampling=Sampling(8)))
    beside = gaps(streaming, seconds)
    still = not reading.finished
    reading.cancel(), streaming.cancel()
    if not alone or not beside:
        raise SystemExit("the story ended too early to measure beside it: choose fewer --seconds")
    ratio = statistics.mean(beside) / statistics.mean(alone)
    print(
        f"round {number + 1}: gaps alone {spread(alone)}, while a prompt is read {spread(beside)}"
    )
    print(f"  mean gap {ratio:.2f} times the usual one; still read at the end: {still}")
    short_answer(client)  # what was cancelled is gone
    free = short_answer(client)
    reading = client.submit(Ask(f"{a_visitor()}: {long}", {"code": 1.0}, sampling=Sampling(8)))
    time.sleep(1.0)
    busy = short_answer(client)
    reading.cancel()
    print(f"  12-token answer: alone {free:.2f} s, beside the reading {busy:.2f} s")
    stopped = threading.Event()
    text = (WORDS * 100)[:CHARACTERS]

    def keep_sending(sender: int) -> None:
        turn = 0
        while not stopped.is_set():
            turn += 1
            request = NextToken(f"{turn} {text}", {"math": 1.0}, session=f"sender {sender}")
            list(client.submit(request).events())

    threads = [threading.Thread(target=keep_sending, args=(i,)) for i in range(SENDERS)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    crowded = short_answer(client)
    stopped.set()
    for thread in threads:
        thread.join()
    print(
        f"  beside {SENDERS} senders of next-token requests {crowded:.2f} s: "
        f"{crowded / free:.2f} times as long as alone"
    )


if __name__ == "__main__":
    main()
