"""Steering an answer that is being written, through the worker's own scheduler."""

from dataclasses import replace

import pytest
from serving import alone, make_expert

from t2ui.backend.answers import Answers
from t2ui.config import Sampling, WorkerConfig
from t2ui.inference.rows import text_of
from t2ui.inference.two_pass import replay as replayed
from t2ui.messages import AnswerSoFar, Ask, Done, Failed, Steer, Steered, Tokens
from t2ui.worker.scheduler import Scheduler

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


def before(events, event):
    """The pieces of the adapted answer that were sent before an event."""
    sent = events[: events.index(event)]
    told = [e for e in sent if isinstance(e, Tokens) and e.pane == "adapted"]
    return [piece for e in told for piece in e.pieces]


def test_what_was_written_before_is_sent_before_so_that_a_mark_stands_at_its_token(backend):
    events = steered(backend, Steer("ask", {"code": 1.5}, "mine"))["ask"]
    (changed,) = [e for e in events if isinstance(e, Steered)]
    pieces = before(events, changed)
    assert len(pieces) == changed.token, "one piece a token"
    ids = alone(backend, "Hello", {"math": 1.0}, LONG).token_ids[: changed.token]
    assert "".join(pieces) == text_of(backend.tokenizer, ids).rstrip("\ufffd"), "half a character"


def test_characters_of_several_tokens_leave_a_piece_for_each_token(backend, monkeypatch):
    """Here one token says nothing yet, the next the whole character."""
    texts = iter(["a", "", "🙂", "b"])
    plain = Answers._advance

    def half(self, pane, step, now):
        said = next(texts, "") if pane.steps < 4 and step.key[1] == "adapted" else step.text
        plain(self, pane, replace(step, text=said), now)

    monkeypatch.setattr(Answers, "_advance", half)
    events = steered(backend, Steer("ask", {"code": 1.5}, "mine"), turns=6)["ask"]
    (changed,) = [e for e in events if isinstance(e, Steered)]
    pieces = before(events, changed)
    assert pieces[:4] == ["a", "", "🙂", "b"] and len(pieces) == changed.token


def test_coefficients_are_normalised_by_the_steering_and_replayed_as_they_acted(backend):
    for given, acts in ((True, {"code": 0.75, "math": 0.25}), (False, {"code": 1.5, "math": 0.5})):
        steer = Steer("ask", {"code": 1.5, "math": 0.5}, "mine", normalise=given)
        events = steered(backend, steer)["ask"]
        (changed,) = [e for e in events if isinstance(e, Steered)]
        assert changed.mixture == acts
        receipt = events[-1].receipt
        assert receipt["timeline"] == [[changed.token, acts]]
        experts = backend._experts.library("mine").experts
        # whatever the first mixture was: only that one is divided
        receipt = {**receipt, "normalise": True, "mixture": {"math": 2.0}}
        again = replayed(backend.model, backend.tokenizer, receipt, experts)
        text = "".join(p for e in events if isinstance(e, Tokens) and e.pane == "adapted"
                       for p in e.pieces)  # fmt: skip
        assert again.text == text


def test_an_answer_that_is_a_draft_is_steered_from_its_second_token_on(backend):
    """What was to be confirmed at once would be of the old coefficients, beyond their place."""
    steered(backend, Steer("another", {}, "mine"))  # its answer is the next one's draft
    events = steered(backend, Steer("ask", {"code": 1.5}, "mine"), turns=1)["ask"]
    (changed,) = [e for e in events if isinstance(e, Steered)]
    assert changed.token == 1
    text = "".join(p for e in events if isinstance(e, Tokens) and e.pane == "adapted"
                   for p in e.pieces)  # fmt: skip
    experts = backend._experts.library("mine").experts
    again = replayed(backend.model, backend.tokenizer, events[-1].receipt, experts)
    assert again.text == text != alone(backend, "Hello", {"math": 1.0}, LONG).text


@pytest.mark.parametrize(
    ("steer", "said"),
    [
        (Steer("ask", {"poetry": 1.0}, "mine"), "no expert named 'poetry'"),
        (Steer("ask", {"code": 1.0}, "theirs"), "has ended, so it cannot be steered"),
        (Steer("another", {"code": 1.0}, "mine"), "has ended, so it cannot be steered"),
        (Steer("ask", {"code": 1.0}, "mine", scope="answer"), "has scope all, and scope answer"),
        (Steer("ask", {"code": 1.0, "math": -1.0}, "mine", normalise=True), "normalise"),
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
