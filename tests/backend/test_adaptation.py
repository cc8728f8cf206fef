"""Few-shot adaptation in the worker: between other people's answers, stopped, estimated, saved.

The scheduler with a fake backend and a clock of its own; then real searches on a tiny model.
"""

import json

import fake_backend
import pytest
import torch
from fake_backend import FakeBackend

from t2ui.backend.serving import ModelBackend
from t2ui.config import FewShotConfig, Sampling, WorkerConfig
from t2ui.errors import InputError
from t2ui.few_shot import members
from t2ui.messages import (
    Adapt,
    Adapted,
    Ask,
    Begun,
    Cancel,
    Done,
    EstimateAdapt,
    Failed,
    Generation,
    NextToken,
    NextTokens,
    Queued,
    SearchBegan,
    SearchEstimate,
    Tokens,
)
from t2ui.models.chat import chat_ids
from t2ui.models.questions import packed_tokens
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import SavedMixture
from t2ui.worker import scheduler
from t2ui.worker.scheduler import SEARCH_SHARE, Scheduler

# --- the scheduler -------------------------------------------------------------------------------


class Clock:
    """Stands in for the time module: sleeping is what makes time pass."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(scheduler, "time", made)
    monkeypatch.setattr(fake_backend, "time", made)
    return made


def fake_scheduler(**config):
    backend = FakeBackend(step_seconds=0)
    return Scheduler(backend, WorkerConfig(model="fake", **config)), backend


def counting(number):
    return Adapt(((f"count {number}", "yes"),))


def turns(running, most=10_000):
    """Every envelope until the scheduler has nothing to do."""
    said = []
    for _ in range(most):
        if running.idle:
            return said
        said += running.turn()
    raise AssertionError("it never came to rest")


def of(envelopes, job_id, kind=object):
    return [event for name, event in envelopes if name == job_id and isinstance(event, kind)]


def test_a_search_gives_its_events_and_ends():
    running, _ = fake_scheduler()
    running.take("s", counting(2))
    said = of(turns(running), "s")
    kinds = [Begun, SearchBegan, Generation, Generation, Adapted, Done]
    assert [type(event) for event in said] == kinds
    assert not said[-1].cancelled


def test_answers_keep_flowing_and_the_search_has_its_share_of_the_time(clock):
    running, backend = fake_scheduler()
    backend.step_seconds, backend.search_seconds = 0.01, 0.5
    running.take("s", counting(1000))
    running.take("a", Ask("count 600"))
    said, searched = [], 0
    while not of(said, "a", Done):
        new = list(running.turn())
        said += new
        searched += bool(of(new, "s", Generation))
    assert len(of(said, "a", Tokens)) == 2 * 600
    spent = 0.5 * searched / clock.now
    assert 0.8 * SEARCH_SHARE < spent < 1.2 * SEARCH_SHARE
    running.take("s", Cancel())
    turns(running)


def test_without_answers_a_search_has_the_machine(clock):
    running, backend = fake_scheduler()
    backend.search_seconds = 1.0
    running.take("s", counting(20))
    turns(running)
    assert clock.now == pytest.approx(20)


def test_a_slider_is_answered_before_the_next_piece():
    running, _ = fake_scheduler()
    running.take("s", counting(50))
    list(running.turn())
    running.take("slider", NextToken("x"))
    said = list(running.turn())
    assert of(said, "slider", NextTokens) and len(of(said, "s")) <= 1


def test_one_search_at_a_time_and_the_others_are_told_their_place():
    running, _ = fake_scheduler()
    for name in "abc":
        running.take(name, counting(2))
    said = turns(running)
    assert [e.before for e in of(said, "b", Queued)] == [1]
    assert [e.before for e in of(said, "c", Queued)] == [2, 1]
    ends = [name for name, event in said if isinstance(event, Done)]
    begins = [name for name, event in said if isinstance(event, SearchBegan)]
    assert ends == begins == list("abc")
    where = [said.index((name, e)) for name, e in said if isinstance(e, (Done, SearchBegan))]
    assert where == sorted(where)


def test_the_state_counts_searches():
    running, _ = fake_scheduler()
    running.take("a", counting(5))
    running.take("b", counting(5))
    list(running.turn())
    assert (running.running, running.queued, running.idle) == (1, 1, False)


def test_cancel_keeps_the_best_so_far():
    running, _ = fake_scheduler()
    running.take("s", counting(100))
    said = [envelope for _ in range(8) for envelope in running.turn()]
    found = len(of(said, "s", Generation))
    running.take("s", Cancel())
    said += turns(running)
    *_, adapted, done = of(said, "s")
    assert isinstance(adapted, Adapted) and adapted.set_by == f"CEM, generation {found}"
    assert done.cancelled and found == len(of(said, "s", Generation)) < 100


def test_a_waiting_search_is_cancelled_at_once():
    running, _ = fake_scheduler()
    running.take("a", counting(3))
    running.take("b", counting(3))
    list(running.turn())
    running.take("b", Cancel())
    said = turns(running)
    assert of(said, "b", (Done, SearchBegan)) == [Done(cancelled=True)]
    assert of(said, "a", Adapted)


@pytest.mark.parametrize(("prompt", "words"), [("bug", "KeyError"), ("oom", "memory")])
def test_a_failed_search_leaves_answers_and_the_next_search_alone(prompt, words, capsys):
    running, backend = fake_scheduler()
    running.take("ask", Ask("count 20"))
    running.take("bad", Adapt(((prompt, "x"),)))
    running.take("good", counting(1))
    said = turns(running)
    assert words in of(said, "bad")[-1].message
    assert backend.freed == (prompt == "oom")
    assert of(said, "good", Adapted) and isinstance(of(said, "ask")[-1], Done)


# --- a tiny model --------------------------------------------------------------------------------

EXAMPLES = tuple((f"How many are {n} and {n}?", str(2 * n)) for n in range(1, 7))
SMALL = FewShotConfig("cem", population=4, generations=3)
GREEDY = Sampling(max_new_tokens=12)


@pytest.fixture(scope="module")
def adapter(tiny_llama, tmp_path_factory):
    with adapt(tiny_llama, cache_dir=tmp_path_factory.mktemp("svd")) as made:
        yield made


def make_expert(adapter, name, seed, **more):
    generator = torch.Generator().manual_seed(seed)
    scales = {
        matrix: 1 + 0.3 * torch.randn(factors.S.numel(), generator=generator)
        for matrix, factors in adapter.factors.items()
    }
    return Expert(name, scales, "tiny-llama", adapter.fingerprint, **more)


@pytest.fixture
def folder(adapter, tmp_path):
    path = tmp_path / "tiny-llama"
    for name, seed in [("math", 1), ("code", 2)]:
        make_expert(adapter, name, seed).save(path / f"{name}.safetensors")
    make_expert(adapter, "dispatch", 3, objective="dispatch").save(path / "dispatch.safetensors")
    return path


@pytest.fixture
def backend(adapter, tiny_tokenizer, folder):
    return ModelBackend(adapter.model, tiny_tokenizer, adapter, folder.parent)


def run(backend, *requests):
    """All events of each request, sent at once."""
    running = Scheduler(backend, WorkerConfig(model="tiny"))
    for number, request in enumerate(requests):
        running.take(str(number), request)
    said = turns(running)
    return [of(said, str(number)) for number in range(len(requests))]


def one(backend, request, kind):
    (events,) = run(backend, request)
    found = [event for event in events if isinstance(event, kind)]
    assert found, events
    return found[0]


def text(events):
    """Both panes' answers; how they were cut into events depends on the time."""
    said = {"base": "", "adapted": ""}
    for event in events:
        if isinstance(event, Tokens):
            said[event.pane] += "".join(event.pieces)
    return said


def test_a_search_mixes_the_answering_experts_and_reports_on_what_it_did_not_see(backend):
    (events,) = run(backend, Adapt(EXAMPLES, SMALL))
    began = next(e for e in events if isinstance(e, SearchBegan))
    assert set(began.experts) == {"math", "code"} and began.generations == 3
    assert len(began.held_out) == 2
    generations = [e for e in events if isinstance(e, Generation)]
    assert [g.number for g in generations] == [1, 2, 3]
    assert all(set(g.alpha_mean) == {"math", "code"} for g in generations)
    found = events[-2]
    assert set(found.mixture) == {"math", "code"} and found.set_by.startswith("CEM, generation")
    assert found.n == 2 and "2 of 6" in found.report
    assert all(0 <= alpha <= 1 for alpha in found.mixture.values())
    # the score after is that of this mixture, as anybody else would compute it
    again = one(backend, Adapt(EXAMPLES, SMALL), Adapted)
    assert (again.before, again.after) == (found.before, found.after)


def test_a_search_and_an_answer_side_by_side_are_what_they_are_alone(backend):
    ask = Ask("Hello", {"math": 1.0}, sampling=Sampling(max_new_tokens=40))
    (alone,), (found,) = run(backend, ask), run(backend, Adapt(EXAMPLES, SMALL))
    slider = NextToken("Hello", {"code": 0.5})
    together = run(backend, Adapt(EXAMPLES, SMALL), ask, slider)
    assert text(together[1]) == text(alone)
    mixed = next(e for e in together[0] if isinstance(e, Adapted))
    expected = next(e for e in found if isinstance(e, Adapted))
    assert (mixed.mixture, mixed.after) == (expected.mixture, expected.after)
    wanted = run(backend, slider)[0][1].candidates
    for found, one in zip(together[2][1].candidates, wanted, strict=True):
        assert found[0] == one[0]
        assert found[1:] == pytest.approx(one[1:], rel=1e-4)  # beside others, rounding differs


def test_no_piece_of_a_search_and_no_trial_holds_answers_up_for_long(backend, monkeypatch):
    read = []
    score = members.packed_log_likelihoods

    def counted(model, questions, copies, *others):
        read.append(copies * packed_tokens(questions))
        return score(model, questions, copies, *others)

    monkeypatch.setattr(members, "packed_log_likelihoods", counted)
    many = tuple((f"How many are {n} and {n + 1}, and {n + 2} more?", "9") for n in range(20))
    run(backend, EstimateAdapt(Adapt(many, SMALL)))
    assert sum(read) <= 2 * 400  # a short request: the scheduler answers nobody else meanwhile
    run(backend, Adapt(many, SMALL))
    assert len(read) > 10 and max(read) <= 400


def test_a_search_leaves_the_model_as_it_was(backend):
    ids = torch.tensor([chat_ids(backend.tokenizer, "Hello")])
    with torch.no_grad():
        before = backend.model(ids).logits
    for method in ("cem", "gradient"):
        run(backend, Adapt(EXAMPLES, FewShotConfig(method, population=4, generations=2)))
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
    with torch.no_grad():
        assert torch.equal(backend.model(ids).logits, before)


def test_stop_ends_a_real_search_with_the_best_so_far(backend):
    running = Scheduler(backend, WorkerConfig(model="tiny"))
    running.take("s", Adapt(EXAMPLES, FewShotConfig("cem", population=4, generations=1000)))
    said = []
    while len(of(said, "s", Generation)) < 2:
        said += running.turn()
    running.take("s", Cancel())
    said += turns(running)
    *_, found, done = of(said, "s")
    assert done.cancelled and found.mixture and found.after is not None


def test_stopped_before_anything_was_scored_there_is_nothing_found(backend):
    running = Scheduler(backend, WorkerConfig(model="tiny"))
    running.take("s", Adapt(EXAMPLES, SMALL))
    said = list(running.turn())
    running.take("s", Cancel())
    said += turns(running)
    assert not of(said, "s", Adapted) and of(said, "s")[-1].cancelled


def test_generated_answers_are_judged(backend):
    config = FewShotConfig(
        objective="reward", population=3, generations=1, max_new_tokens=4, anchors=False
    )
    found = one(backend, Adapt(EXAMPLES, config), Adapted)
    assert 0 <= found.right_before <= found.n == 2 and found.after == found.right_after / 2


@pytest.mark.parametrize("method", ["cem", "gradient"])
def test_the_estimate_splits_as_the_search_does_and_counts_its_tokens(backend, method):
    # so few tokens at once that the way back needs more packs than the way there
    small = FewShotConfig(method, population=8, generations=3, floor=0, batch_tokens=110)
    request = Adapt(EXAMPLES, small)
    estimate = one(backend, EstimateAdapt(request), SearchEstimate)
    (events,) = run(backend, request)
    assert estimate.held_out == next(e for e in events if isinstance(e, SearchBegan)).held_out
    assert estimate.tokens == pytest.approx(events[-2].tokens, rel=0.01)
    assert estimate.seconds > 0 and "2 of 6" in estimate.report


def test_few_examples_are_left_out_one_by_one_and_cost_more(backend):
    few = one(backend, EstimateAdapt(Adapt(EXAMPLES[:3], SMALL)), SearchEstimate)
    assert few.held_out == () and "leave-one-out" in few.report
    (events,) = run(backend, Adapt(EXAMPLES[:3], SMALL))
    assert "leave-one-out" in events[-2].report
    assert few.tokens == pytest.approx(events[-2].tokens, rel=0.35)


def test_an_estimate_follows_the_speed_of_the_last_search(backend):
    request = Adapt(EXAMPLES, SMALL)
    before = one(backend, EstimateAdapt(request), SearchEstimate).seconds
    rates = backend._adaptation._rates
    rates.update({kind: rate / 1000 for kind, rate in rates.items()})  # no stall is as long
    slow = one(backend, EstimateAdapt(request), SearchEstimate).seconds
    assert slow == pytest.approx(1000 * before)
    run(backend, request)
    assert one(backend, EstimateAdapt(request), SearchEstimate).seconds < slow


def test_the_file_holds_the_mixture_and_where_it_came_from(backend, tmp_path):
    found = one(backend, Adapt(EXAMPLES, SMALL), Adapted)
    path = tmp_path / "mixture.json"
    path.write_text(found.file, encoding="utf-8")
    saved = SavedMixture.load(path)
    assert dict(saved.mixture.weights) == found.mixture and saved.base_model == "tiny-llama"
    provenance = json.loads(found.file)["provenance"]
    assert provenance["examples"] == 6 and set(provenance["experts"]) == {"math", "code"}
    assert "How many" not in found.file, "the examples themselves are not in it"


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ((), "no examples"),
        ((("", "x"),), "Example 1 has no prompt"),
        ((("a", "b"), ("c", "  ")), "Example 2 has no right answer"),
        ((("x" * 30_000, "y"),), "shorten"),
    ],
)
def test_examples_that_cannot_be_used_are_refused_with_their_number(examples, words):
    with pytest.raises(InputError, match=words):
        Adapt(examples)


def test_a_search_per_layer_is_refused():
    with pytest.raises(InputError, match="one coefficient per expert.*--per-layer"):
        Adapt(EXAMPLES, FewShotConfig(per_layer=True))


def test_an_example_longer_than_the_context_fails_with_one_line(backend):
    long = (*EXAMPLES, ("x" * 600, "y"))
    for request in (Adapt(long, SMALL), EstimateAdapt(Adapt(long, SMALL))):
        failed = one(backend, request, Failed)
        assert "512" in failed.message and "\n" not in failed.message
    assert one(backend, Adapt(EXAMPLES, SMALL), Adapted)


def test_without_experts_there_is_nothing_to_search(adapter, tiny_tokenizer, tmp_path):
    empty = ModelBackend(adapter.model, tiny_tokenizer, adapter, tmp_path / "nothing here")
    for request in (Adapt(EXAMPLES, SMALL), EstimateAdapt(Adapt(EXAMPLES, SMALL))):
        assert "experts folder" in one(empty, request, Failed).message


def test_an_answer_runs_on_when_a_search_runs_out_of_memory(backend, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    ask = Ask("Hello", {"math": 1.0}, sampling=GREEDY)
    (alone,) = run(backend, ask)
    monkeypatch.setattr("t2ui.few_shot.members.packed_log_likelihoods", fail)
    failed, answered = run(backend, Adapt(EXAMPLES, SMALL), ask)
    assert "memory" in failed[-1].message and text(answered) == text(alone)
