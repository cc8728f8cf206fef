"""Record the example that a first visit of the app shows: one question, asked as the page asks it.

    .venv/bin/python .ci/record_example.py

Writes assets/ask/example.json: the shipped experts, the events of one answer of the default model
in float32 under the page's default settings, and its receipt. To be run again, and the answer read,
whenever an expert is trained anew; `tests/ui/test_example.py` fails until then.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from t2ui.config import WorkerConfig  # noqa: E402
from t2ui.files import writing  # noqa: E402
from t2ui.messages import (  # noqa: E402
    PANES,
    AnswerSoFar,
    Done,
    Event,
    Experts,
    Failed,
    NextToken,
    NextTokens,
    Request,
    Tokens,
)
from t2ui.ui.ask.example import EXAMPLE  # noqa: E402
from t2ui.ui.shared.controls import Controls  # noqa: E402
from t2ui.worker.client import WorkerClient  # noqa: E402

PROMPT = "Mia has 5 boxes with 6 pencils each. How many pencils does she have?"
DIGITS = 4  # of probabilities, log-likelihoods and seconds
LOAD_SECONDS = 600
SHOWN = ("name", "description", "labels", "kind", "file_name", "size_bytes")  # of an expert


def events_of(client: WorkerClient, request: Request) -> list[Event]:
    """All events of a request."""
    job, events = client.submit(request), []
    while not job.finished:
        event = job.next()
        if isinstance(event, Failed):
            sys.exit(f"record_example: {event}")
        if event is not None:
            events.append(event)
    return events


def rounded(value: Any) -> Any:
    """Short numbers for a short file; but a receipt stays as it was written."""
    if isinstance(value, dict):
        return {key: one if key == "receipt" else rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def written(events: list[Event]) -> list[Event]:
    """The answer's events, the text of each pane in one."""
    answer = AnswerSoFar()
    for event in events:
        answer = answer.after(event)
    texts = [
        Tokens(pane, one.pieces, one.tokens, one.seconds)
        for pane in PANES
        for one in [answer.written(pane)]
    ]
    done = replace(answer.done or Done(), endings=())
    found = [answer.classified, answer.mixed, *texts, answer.compared, done]
    return [event for event in found if event is not None]


def main() -> None:
    with WorkerClient(WorkerConfig(dtype="float32", device="cpu")) as client:
        status = client.wait_ready(LOAD_SECONDS)
        listing = client.experts()
        if not isinstance(listing, Experts):
            sys.exit(f"record_example: {status.detail}")
        asked = written(events_of(client, Controls(prompt=PROMPT).request()))
        mixture = next(event.mixture for event in asked if hasattr(event, "mixture"))
        following = events_of(client, NextToken(PROMPT, mixture))
    asked += [event for event in following if isinstance(event, NextTokens)]
    experts = [{name: getattr(one, name) for name in SHOWN} for one in listing.experts]
    said = {
        "prompt": PROMPT,
        "experts": experts,
        "events": [[type(event).__name__, rounded(asdict(event))] for event in asked],
    }
    with writing(EXAMPLE) as path:
        path.write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for event in asked:
        if isinstance(event, Tokens):
            print(f"{event.pane}: {''.join(event.pieces)}")
    print(f"written to {EXAMPLE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
