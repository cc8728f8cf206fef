"""Steering an answer that is being written, through the worker's own scheduler."""

from dataclasses import replace

import pytest
import serving
from serving import alone, make_expert

from t2ui.config import Sampling, WorkerConfig
from t2ui.inference.two_pass import replay as replayed
from t2ui.messages import AnswerSoFar, Ask, Done, Failed, Steer, Steered, Tokens
from t2ui.worker.scheduler import Scheduler

adapter, folder, backend = serving.adapter, serving.folder, serving.backend  # fixtures
LONG = Sampling(max_new_tokens=40)


def steered(backend, *steers, turns=6, session="mine"):
    """The ask's events and those of each steer, sent after some turns."""
    loop = Scheduler(backend, WorkerConfig(model="tiny"))
    loop.take("ask", Ask("Hello", {"math": 1.0}, sampling=LONG, session=session))
    events = {"ask": [], **{str(n): [] for n in range(len(steers))}}

    def turn():
        for job_id, event in loop.turn():
            events[job_id].append(event)

    for _ in range(turns):
        turn()
    for number, steer in enumerate(steers):
        loop.take(str(number), steer)
        turn()
    while not loop.idle:
        turn()
    return events


def test_the_answer_goes_on_with_the_new_coefficients_and_its_receipt_replays(backend):
    events = steered(backend, Steer("ask", {"code": 1.5}, "mine"))
    (changed,) = [e for e in events["ask"] if isinstance(e, Steered)]
    assert changed.mixture == {"code": 1.5} and changed.base_share == -0.5
    assert 1 <= changed.token < 12
    assert isinstance(events["0"][-1], Done)
    done = events["ask"][-1]
    assert done.receipt["timeline"] == [[changed.token, {"code": 1.5}]]
    answer = AnswerSoFar()
    for event in events["ask"]:
        answer = answer.after(event)
    assert answer.steered == (changed,) and answer.done is done
    plain = alone(backend, "Hello", {"math": 1.0}, LONG)
    experts = backend._experts.library("mine").experts
    again = replayed(backend.model, backend.tokenizer, done.receipt, experts)
    assert again.text == answer.adapted.text != plain.text
    assert again.token_ids[: changed.token] == plain.token_ids[: changed.token]
    assert answer.base.text == alone(backend, "Hello", {}, LONG).text


@pytest.mark.parametrize(
    ("steer", "said"),
    [
        (Steer("ask", {"poetry": 1.0}, "mine"), "no expert named 'poetry'"),
        (Steer("ask", {"code": 1.0}, "theirs"), "has ended, so it cannot be steered"),
        (Steer("another", {"code": 1.0}, "mine"), "has ended, so it cannot be steered"),
    ],
)
def test_what_cannot_be_is_said_and_the_answer_goes_on(backend, steer, said):
    events = steered(backend, steer)
    assert isinstance(events["0"][-1], Failed) and said in events["0"][-1].message
    assert not [e for e in events["ask"] if isinstance(e, Steered)]
    adapted = [e for e in events["ask"] if isinstance(e, Tokens) and e.pane == "adapted"]
    text = "".join(piece for event in adapted for piece in event.pieces)
    assert text == alone(backend, "Hello", {"math": 1.0}, LONG).text
    assert events["ask"][-1].receipt["timeline"] == []


def test_an_answer_that_has_ended_cannot_be_steered(backend):
    events = steered(backend, Steer("ask", {"code": 1.0}, "mine"), turns=200)
    assert isinstance(events["0"][-1], Failed) and "ask again" in events["0"][-1].message


def test_a_transfer_needs_the_asks_leave(backend, folder, adapter):
    mark = f"{adapter.fingerprint.split(':')[0]}:{','.join('9' * 8)}"
    other = replace(make_expert(adapter, "theirs", 7), fingerprint=mark)
    other.save(folder / "theirs.safetensors")
    events = steered(backend, Steer("ask", {"theirs": 1.0}, "mine"))
    assert "allow_transfer" in events["0"][-1].message
    assert isinstance(events["ask"][-1], Done)
