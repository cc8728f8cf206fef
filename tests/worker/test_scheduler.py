"""The worker's loop with a fake backend: order, batching, the queue, cancel, failure as data."""

import queue

import pytest
from fake_backend import FakeBackend

from t2ui.config import WorkerConfig
from t2ui.messages import (
    Ask,
    Begun,
    Cancel,
    Done,
    Failed,
    Mixed,
    NextToken,
    NextTokens,
    Queued,
    Status,
    Tokens,
)
from t2ui.worker import process as worker
from t2ui.worker.scheduler import SHORT_PER_TURN, SHORT_SHARE, Scheduler, failure


@pytest.fixture
def backend():
    return FakeBackend(step_seconds=0)


def loop_of(backend, **config):
    return Scheduler(backend, WorkerConfig(model="fake", **config))


def turn(loop):
    return list(loop.turn())


def of(envelopes, job_id):
    return [event for name, event in envelopes if name == job_id]


def steps_of(envelopes, job_id):
    return sum(isinstance(e, Tokens) and e.pane == "adapted" for e in of(envelopes, job_id))


def test_a_short_request_is_answered_while_an_answer_streams(backend):
    loop = loop_of(backend)
    loop.take("long", Ask("count 100"))
    turn(loop)
    loop.take("slider", NextToken("x"))
    said = turn(loop)
    assert [type(e) for e in of(said, "slider")] == [Begun, NextTokens, Done]
    assert steps_of(said, "long") == 1


class Prefilling(FakeBackend):
    """As the real one: a step reads the prompt that was added, or else decodes."""

    def __init__(self):
        super().__init__(step_seconds=0)
        self.new = []

    def start(self, job_id, ask):
        self.new.append(job_id)
        return super().start(job_id, ask)

    def step(self):
        new, self.new = self.new, []
        return iter(()) if new else super().step()


def test_asks_that_keep_arriving_do_not_hold_up_an_answer():
    loop = loop_of(Prefilling(), max_rows=100)
    loop.take("long", Ask("count 100"))
    turn(loop)
    for n in range(6):
        loop.take(f"new {n}", Ask("count 50"))
    said = [turn(loop) for _ in range(12)]
    assert [steps_of(envelopes, "long") for envelopes in said] == [0, 1] * 6
    began = [name for turned in said for name, event in turned if isinstance(event, Begun)]
    assert began == [f"new {n}" for n in range(6)]


def test_an_ask_waits_for_no_answer_that_has_ended():
    loop = loop_of(Prefilling(), max_rows=100)
    loop.take("a", Ask("count 5"))
    turn(loop)
    loop.take("b", Ask("count 5"))
    turn(loop)
    loop.take("a", Cancel()), loop.take("b", Cancel())
    loop.take("c", Ask("count 5"))
    assert Begun() in of(turn(loop), "c")


def test_many_sliders_do_not_hold_up_an_answer_and_come_in_order(backend):
    loop = loop_of(backend)
    loop.take("long", Ask("count 100000"))
    for n in range(3 * SHORT_PER_TURN):
        loop.take(f"s{n}", NextToken(f"{n}"))
    answered = []
    while len(answered) < 3 * SHORT_PER_TURN:
        said = turn(loop)
        assert steps_of(said, "long") == 1
        answered += [name for name, event in said if isinstance(event, NextTokens)]
    assert answered == [f"s{n}" for n in range(3 * SHORT_PER_TURN)]


class Slow(FakeBackend):
    """A clock that its work moves: a step takes 1, a piece of a short request 3."""

    def __init__(self):
        super().__init__(step_seconds=0)
        self.now = 0.0
        self.pieces = 0

    def step(self):
        self.now += 1
        yield from super().step()

    def answer(self, request):
        for _ in range(4):
            self.now += 3
            self.pieces += 1
            yield None
        yield from super().answer(request)


@pytest.fixture
def slow(monkeypatch):
    backend = Slow()
    monkeypatch.setattr("t2ui.worker.scheduler.time.perf_counter", lambda: backend.now)
    return backend


def test_short_requests_have_a_part_of_the_time_beside_answers(slow):
    loop = loop_of(slow)
    loop.take("long", Ask("count 100000"))
    for n in range(20):
        loop.take(f"s{n}", NextToken(f"{n}"))
    for _ in range(200):
        turn(loop)
    part = 3 * slow.pieces / slow.now
    assert SHORT_SHARE - 0.02 < part < SHORT_SHARE + 0.02


def test_alone_short_requests_have_all_the_time_and_can_be_cancelled_between_pieces(slow):
    loop = loop_of(slow)
    loop.take("a", NextToken("a"))
    loop.take("b", NextToken("b"))
    said = turn(loop)
    assert slow.pieces == SHORT_PER_TURN
    loop.take("a", Cancel())
    while not loop.idle:
        said += turn(loop)
    assert of(said, "a") == [Begun(), Done(cancelled=True)]
    assert [type(e) for e in of(said, "b")] == [Begun, NextTokens, Done]
    assert slow.pieces == 2 * SHORT_PER_TURN


def test_the_newest_next_token_request_of_a_sender_replaces_its_older_ones(slow):
    loop = loop_of(slow)
    loop.take("begun", NextToken("1", session="me"))
    loop.take("other", NextToken("2", session="you"))
    said = turn(loop)
    loop.take("old", NextToken("3", session="me"))
    loop.take("new", NextToken("4", session="me"))
    while not loop.idle:
        said += turn(loop)
    assert of(said, "begun") == [Begun(), Done(cancelled=True)]
    assert of(said, "old") == [Done(cancelled=True)]
    for name in ("other", "new"):
        assert [type(e) for e in of(said, name)] == [Begun, NextTokens, Done]


def test_who_has_an_answer_under_way_comes_after_those_who_have_none(backend):
    loop = loop_of(backend, max_rows=4)
    for name in ("a1", "a2", "a3", "a4"):
        loop.take(name, Ask("count 3", session="a"))
    loop.take("b1", Ask("count 3", session="b"))
    loop.take("b2", Ask("count 3", session="b"))
    said = turn(loop)
    assert [(n, e.before) for n, e in said if isinstance(e, Queued)] == [
        *(("b1", 0), ("a2", 1), ("b2", 2), ("a3", 3), ("a4", 4))
    ]
    while not loop.idle:
        said += turn(loop)
    started = [name for name, event in said if isinstance(event, Mixed)]
    assert started == ["a1", "b1", "a2", "b2", "a3", "a4"]


def test_a_waiting_ask_is_told_for_how_long(slow):
    loop = loop_of(slow, max_rows=2)
    for name in ("a", "b", "c"):
        loop.take(name, Ask("count 10"))
    said = turn(loop)
    assert of(said, "b") == [Queued(0)] and of(said, "c") == [Queued(1)]  # nobody knows yet
    while not of(said, "b")[-1] == Done(timings={"total": 1.0}):
        said += turn(loop)
    told = [e for e in of(said, "c") if isinstance(e, Queued)]
    assert [e.before for e in told] == [1, 0] and told[-1].seconds == pytest.approx(10)


def test_asks_share_a_batch_up_to_max_rows_then_wait_in_order(backend):
    loop = loop_of(backend, max_rows=5)
    for name, prompt in [("a", "count 3"), ("b", "count 9"), ("c", "count 2"), ("d", "count 2")]:
        loop.take(name, Ask(prompt))
    said, most = [], 0
    while not loop.idle:
        said += turn(loop)
        most = max(most, backend.rows)
    assert most == 4
    started = [name for name, event in said if isinstance(event, Mixed)]
    assert started == ["a", "b", "c", "d"]
    assert [e.before for e in of(said, "d") if isinstance(e, Queued)] == [2, 1, 0]
    assert all(of(said, name)[-1] == Done(timings={"total": 1.0}) for name in "abcd")


def test_asks_without_a_pass_one_start_together_and_those_with_one_in_turn(backend):
    """Prompts that are there together are read together; a pass one holds up a decode step."""
    loop = loop_of(backend)
    for number in range(3):
        loop.take(f"given {number}", Ask("hi", {}, compare=False))
    for number in range(2):
        loop.take(f"asked {number}", Ask("hi", compare=False))
    began = [job_id for job_id, event in turn(loop) if isinstance(event, Begun)]
    assert began == ["given 0", "given 1", "given 2", "asked 0"]


def test_an_ask_without_comparison_needs_one_row(backend):
    loop = loop_of(backend, max_rows=3)
    loop.take("two", Ask("count 50"))
    loop.take("one", Ask("count 50", compare=False))
    turn(loop), turn(loop)
    assert backend.rows == 3 and loop.queued == 0
    loop.take("more", Ask("count 50", compare=False))
    turn(loop)
    assert loop.queued == 1


def test_too_many_waiting_is_said_at_once(backend):
    loop = loop_of(backend, max_rows=2, max_queue=2)
    loop.take("first", Ask("count 50"))
    turn(loop)
    for name in ("a", "b", "c"):
        loop.take(name, Ask("count 1"))
    said = turn(loop)
    assert isinstance(of(said, "c")[-1], Failed) and "busy" in of(said, "c")[-1].message
    assert of(said, "a") == [Queued(0)] and of(said, "b") == [Queued(1)]


def test_cancel_takes_effect_before_the_next_step(backend):
    loop = loop_of(backend)
    loop.take("a", Ask("count 100"))
    loop.take("b", Ask("count 100"))
    turn(loop), turn(loop)
    loop.take("a", Cancel())
    said = turn(loop)
    assert of(said, "a") == [Done(cancelled=True)]
    assert steps_of(said, "b") == 1
    assert backend.rows == 2


def test_cancel_of_what_waits_moves_the_queue(backend):
    loop = loop_of(backend, max_rows=2)
    for name in ("running", "a", "b"):
        loop.take(name, Ask("count 100"))
    turn(loop)
    loop.take("a", Cancel())
    loop.take("nobody", Cancel())
    said = turn(loop)
    assert of(said, "a") == [Done(cancelled=True)]
    assert of(said, "b") == [Queued(0)]
    assert of(said, "nobody") == []


def test_a_failed_start_leaves_the_batch_alone(backend):
    loop = loop_of(backend)
    loop.take("fine", Ask("count 100"))
    turn(loop)
    loop.take("bad", Ask("oom"))
    said = turn(loop)
    assert "out of memory" in of(said, "bad")[-1].message
    assert backend.freed == 1
    assert steps_of(said, "fine") == 1 and backend.rows == 2


def test_a_failed_step_ends_the_asks_of_the_batch_but_not_those_that_wait(backend):
    loop = loop_of(backend, max_rows=4)
    loop.take("a", Ask("count 100"))
    loop.take("b", Ask("oom later"))
    loop.take("waiting", Ask("count 2"))
    said = turn(loop) + turn(loop)
    for name in ("a", "b"):
        assert isinstance(of(said, name)[-1], Failed) and of(said, name)[-1].remedy
    assert backend.rows == 0 and backend.freed == 1
    while not loop.idle:
        said += turn(loop)
    assert isinstance(of(said, "waiting")[-1], Done)


def test_a_failed_step_empties_the_batch_before_memory_is_given_back(backend, monkeypatch):
    loop, rows = loop_of(backend), []
    monkeypatch.setattr(backend, "free_memory", lambda: rows.append(backend.rows))
    loop.take("a", Ask("oom later"))
    said = turn(loop)
    assert isinstance(of(said, "a")[-1], Failed)
    assert rows == [0]


def test_out_of_memory_is_known_in_every_form():
    for error in (
        MemoryError(),
        RuntimeError("MPS backend out of memory (…)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …"),
    ):
        assert "out of memory" in failure(error).message
    assert "out of memory" not in failure(RuntimeError("shape mismatch")).message


def test_an_unexpected_exception_is_printed_with_its_traceback(capsys):
    try:
        raise KeyError("deep inside")
    except KeyError as error:
        failed = failure(error)
    assert "deep inside" in failed.message
    assert "Traceback" in capsys.readouterr().err


def test_states_follow_the_work():
    inbox, said = queue.SimpleQueue(), []

    def send(job_id, event):
        said.append(event)
        if isinstance(event, Done):
            inbox.put(None)

    inbox.put(("job", Ask("count 3")))
    worker.serve(WorkerConfig(model="fake"), "fake_backend:load", inbox, send)
    states = [event.state for event in said if isinstance(event, Status)]
    assert list(dict.fromkeys(states)) == ["loading", "ready", "busy"] and states[-1] == "ready"
