"""What the worker answers on a tiny model: asks, and the texts of their tokens.

Requests go through the worker's own loop, without a process; test_client.py has the processes.
"""

from dataclasses import replace

import pytest
import torch
from serving import GREEDY, alone, failure_of, listing, make_expert, run, texts
from tiny import make_tiny

from t2ui.backend import answers, token_shift
from t2ui.backend.serving import ModelBackend
from t2ui.config import Sampling, WorkerConfig
from t2ui.inference import decoding
from t2ui.inference.decoding import Decoder, Row, generate
from t2ui.inference.two_pass import replay
from t2ui.messages import (
    Ask,
    Cancel,
    Classified,
    Compared,
    Done,
    Mixed,
    NextToken,
    Tokens,
)
from t2ui.models.chat import chat_ids
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.worker.scheduler import Scheduler

# --- asks ----------------------------------------------------------------------------------------


def test_an_ask_streams_both_panes_then_compares_them(backend):
    (events,) = run(backend, Ask("Hello", {"math": 1.0}, sampling=GREEDY))
    mixed = next(e for e in events if isinstance(e, Mixed))
    assert mixed.mixture == {"math": 1.0} and mixed.base_share == 0 and mixed.set_by == "you"
    assert texts(events) == {
        "base": alone(backend, "Hello", {}).text,
        "adapted": alone(backend, "Hello", {"math": 1.0}).text,
    }
    assert texts(events)["base"] != texts(events)["adapted"]
    assert [type(e) for e in events if not isinstance(e, Tokens)][-2:] == [Compared, Done]


def test_answers_of_a_shared_batch_are_those_of_each_request_alone(backend):
    asks = [
        Ask("Hello", {"math": 1.0}, sampling=GREEDY),
        Ask("Add 3 and 4", {"code": 1.5, "math": -0.5}, sampling=GREEDY),
        Ask("Hello", {"code": 1.0}, sampling=Sampling(max_new_tokens=5)),
        Ask("Hello", {}, sampling=GREEDY),
        Ask("Sampled", {"code": 1.0}, sampling=Sampling(8, temperature=1.0, seed=4)),
        Ask("Only one pane", {"math": 0.5}, sampling=GREEDY, compare=False),
    ]
    together = run(backend, *asks)
    for ask, events in zip(asks, together, strict=True):
        assert (
            texts(events)["adapted"] == alone(backend, ask.prompt, ask.mixture, ask.sampling).text
        )
        base = alone(backend, ask.prompt, {}, ask.sampling).text if ask.compare else ""
        assert texts(events)["base"] == base


def test_one_mixture_after_another_never_answers_with_the_one_before(backend):
    """Scales that were freed must not be taken for those made in their place in memory."""
    mixtures = [{name: a / 2} for a in (-1, 1, 2, 3, 4) for name in ("math", "code")]
    expected = [alone(backend, "Hello", mixture).text for mixture in mixtures]
    got = [
        texts(run(backend, Ask("Hello", mixture, sampling=GREEDY))[0])["adapted"]
        for mixture in mixtures
    ]
    assert got == expected


def test_scales_at_the_address_of_freed_ones_are_their_own(adapter, tiny_tokenizer):
    """One decoder serves everybody, so it must know scales by what they are, not by where."""

    experts = [make_expert(adapter, "x", seed) for seed in range(6)]
    model, tokenizer = adapter.model, tiny_tokenizer
    decoder = Decoder(model, tokenizer, adapter)

    def decode(expert):
        scales = {name: z for name, z in expert.scales.items()}
        decoder.add([Row(0, [5, 6, 7], scales, GREEDY)])
        tokens = []
        while len(decoder):
            tokens += [step.token for step in decoder.step()]
        return tuple(tokens)

    got = [decode(expert) for expert in experts]
    assert got == [
        generate(model, tokenizer, [Row(0, [5, 6, 7], e.scales, GREEDY)], adapter)[0].token_ids
        for e in experts
    ]


def test_a_zero_mixture_gives_the_base_answer_twice(backend):
    (events,) = run(backend, Ask("Hello", {"math": 0.0}, sampling=GREEDY, normalise=True))
    streamed = texts(events)
    assert streamed["base"] == streamed["adapted"] != ""
    compared = next(e for e in events if isinstance(e, Compared))
    assert compared.first_difference is None
    assert all(s.logprob == s.base_logprob and s.kl == 0 for s in compared.shifts)


def test_compared_says_what_both_models_thought_of_each_token(backend):
    (events,) = run(backend, Ask("Hello", {"math": 1.0}, sampling=GREEDY))
    compared = next(e for e in events if isinstance(e, Compared))
    ids = chat_ids(backend.tokenizer, "Hello")
    own, other = alone(backend, "Hello", {"math": 1.0}), alone(backend, "Hello", {})
    assert "".join(s.text for s in compared.shifts) == own.text
    assert compared.first_difference == token_shift.first_difference(other.token_ids, own.token_ids)
    for place in (0, 3):
        read = torch.tensor([[*ids, *own.token_ids[:place]]])
        with torch.no_grad():
            base = backend.model(read).logits[0, -1].log_softmax(-1)
            with backend.adapter.applied(backend._mixed({"math": 1.0}, False)):
                adapted = backend.model(read).logits[0, -1].log_softmax(-1)
        token = own.token_ids[place]
        shift = compared.shifts[place]
        assert shift.base_logprob == pytest.approx(float(base[token]), abs=1e-4)
        assert shift.logprob == pytest.approx(float(adapted[token]), abs=1e-4)
        best = backend.tokenizer.decode([int(base.argmax())])
        assert shift.base_candidates[0] == (best, pytest.approx(float(base.max().exp()), abs=1e-4))
        assert shift.candidates[0][1] == pytest.approx(float(adapted[token].exp()), abs=1e-4)
        kl = torch.nn.functional.kl_div(base, adapted, reduction="sum", log_target=True)
        assert float(kl) > 1e-4 and shift.kl == pytest.approx(float(kl), abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("drafted", [False, True])
@pytest.mark.parametrize("scope", ["all", "answer"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_what_decoding_computed_is_compared_as_if_it_were_read(
    tiny_tokenizer, tmp_path, monkeypatch, architecture, scope, drafted, dtype
):
    model = make_tiny(architecture).to(getattr(torch, dtype))
    with adapt(model) as adapter:
        make_expert(adapter, "math", 1).save(tmp_path / "math.safetensors")
        backend = ModelBackend(model, tiny_tokenizer, adapter, tmp_path)
        ask = Ask("Hello", {"math": 1.0}, sampling=GREEDY, scope=scope, session="mine")

        def compared():
            for _ in range(1 + drafted):
                (events,) = run(backend, ask)
            return next(e for e in events if isinstance(e, Compared)).shifts

        found = compared()
        monkeypatch.setattr(decoding, "makes", lambda *_: False)
        again = ModelBackend(model, tiny_tokenizer, adapter, tmp_path)
        backend = again
        read = compared()
    near = 1e-4 if dtype == "float32" else 0.2
    assert len(found) == len(read) > 3
    for shift, other in zip(found, read, strict=True):
        assert shift.text == other.text
        for name in ("logprob", "base_logprob", "kl"):
            assert getattr(shift, name) == pytest.approx(getattr(other, name), abs=near)


def test_panes_move_in_step_about_ten_times_a_second(backend, monkeypatch):
    monkeypatch.setattr(answers, "FLUSH_SECONDS", 1e9)
    (events,) = run(backend, Ask("Hello", {"math": 1.0}, sampling=GREEDY))
    panes = [e.pane for e in events if isinstance(e, Tokens)]
    # the first token at once, the rest together when both have ended
    assert panes in (["base", "adapted"], ["base", "adapted"] * 2)
    monkeypatch.setattr(answers, "FLUSH_SECONDS", 0)
    (events,) = run(backend, Ask("Hello", {"math": 1.0}, sampling=GREEDY, session="another"))
    assert sum(isinstance(e, Tokens) for e in events) > 4


def test_an_answer_that_is_wanted_whole_comes_whole(backend, monkeypatch):
    monkeypatch.setattr(answers, "FLUSH_SECONDS", 0)
    parts = Ask("Hello", {"math": 1.0}, sampling=GREEDY, compare=False, session="one")
    several, once = (
        [e for e in run(backend, ask)[0] if isinstance(e, Tokens)]
        for ask in (parts, replace(parts, whole=True, session="another"))
    )
    assert len(several) > 4 and len(once) == 1
    assert list(once[0].pieces) == [piece for e in several for piece in e.pieces]


def test_done_has_timings_and_a_receipt_that_replays(backend):
    (events,) = run(backend, Ask("Hello", {"math": 1.0, "code": 0.5}, sampling=GREEDY))
    done = events[-1]
    assert {"pass_one", "first_token", "decode", "total", "pass_one_share"} <= done.timings.keys()
    assert done.timings["pass_one"] == 0 and done.timings["total"] >= done.timings["decode"] > 0
    assert done.timings["adapted_tokens_per_second"] > 0
    experts = backend._experts.library().experts
    again = replay(backend.model, backend.tokenizer, done.receipt, experts)
    assert again.text == texts(events)["adapted"]


@pytest.mark.parametrize("dispatch", ["prompt", "expert"])
@pytest.mark.parametrize("routing", ["hard", "soft"])
def test_pass_one_makes_the_mixture(backend, dispatch, routing):
    (events,) = run(backend, Ask("2 + 2?", dispatch=dispatch, routing=routing, sampling=GREEDY))
    found, mixed = events[1:3]
    assert isinstance(found, Classified) and isinstance(mixed, Mixed)
    assert found.method == dispatch
    assert set(found.probabilities) == {"math", "code", "others"}
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)
    best = found.probabilities[found.label]
    assert f"{best:.2f}" in mixed.set_by
    if routing == "soft":
        assert mixed.mixture == pytest.approx({n: found.probabilities[n] for n in ("math", "code")})
        assert mixed.base_share == pytest.approx(found.probabilities["others"], abs=1e-5)
    else:
        assert mixed.mixture == ({} if found.label == "others" else {found.label: 1.0})
    assert texts(events)["adapted"] == alone(backend, "2 + 2?", mixed.mixture).text
    assert events[-1].timings["pass_one"] > 0


def test_below_the_threshold_the_base_model_answers(backend):
    (events,) = run(backend, Ask("2 + 2?", dispatch="prompt", threshold=1.0, sampling=GREEDY))
    mixed = next(e for e in events if isinstance(e, Mixed))
    assert mixed.mixture == {} and "threshold" in mixed.note


def test_a_cross_model_transfer_is_said(backend, folder):
    own = Expert.load(folder / "math.safetensors")
    digest, values = own.fingerprint.split(":")
    other = f"{digest}:{','.join(str(2 * float(v)) for v in values.split(','))}"
    Expert("foreign", own.scales, base_model="elsewhere", fingerprint=other).save(
        folder / "foreign.safetensors"
    )
    for request in (Ask("Hello", {"foreign": 1.0}), NextToken("Hello", {"foreign": 1.0})):
        assert "ask for a cross-model transfer" in failure_of(backend, request).message
        (events,) = run(backend, replace(request, allow_transfer=True))
        assert isinstance(events[-1], Done)
    allowed = Ask("Hello", {"foreign": 1.0}, sampling=GREEDY, allow_transfer=True)
    (events,) = run(backend, allowed)
    assert "transfer from elsewhere" in next(e for e in events if isinstance(e, Mixed)).note
    info = {e.name: e.transfer for e in listing(backend).experts}
    assert info == {"math": False, "code": False, "dispatch": False, "foreign": True}


def foreign(expert):
    """The same expert, made for other weights of the same shapes."""
    digest, values = expert.fingerprint.split(":")
    other = ",".join(str(2 * float(value)) for value in values.split(","))
    return replace(expert, fingerprint=f"{digest}:{other}")


@pytest.mark.parametrize("dispatch", ["prompt", "expert"])
@pytest.mark.parametrize("routing", ["hard", "soft"])
def test_pass_one_uses_no_transfer_that_nobody_asked_for(backend, folder, dispatch, routing):
    path = folder / "math.safetensors"
    foreign(Expert.load(path)).save(path)
    ask = Ask("2 + 2?", dispatch=dispatch, routing=routing, sampling=GREEDY)
    (events,) = run(backend, ask)
    mixed = next(e for e in events if isinstance(e, Mixed))
    assert "math" not in mixed.mixture
    assert "passed over, as made for other weights: math" in mixed.note
    assert "transfer" not in mixed.note
    (events,) = run(backend, replace(ask, allow_transfer=True))
    mixed = next(e for e in events if isinstance(e, Mixed))
    assert "passed over" not in mixed.note
    assert ("math: a cross-model transfer" in mixed.note) is ("math" in mixed.mixture)


def test_a_foreign_classification_expert_is_not_used(backend, folder):
    path = folder / "dispatch.safetensors"
    foreign(Expert.load(path)).save(path)
    failed = failure_of(backend, Ask("2 + 2?", dispatch="expert", sampling=GREEDY))
    assert "as made for other weights: dispatch" in failed.message
    assert "choose dispatch prompt" in failed.message


def test_cancel_hands_out_what_was_decoded(backend, monkeypatch):
    monkeypatch.setattr(answers, "FLUSH_SECONDS", 1e9)
    loop = Scheduler(backend, WorkerConfig(model="tiny"))
    loop.take("a", Ask("Hello", {"math": 1.0}, sampling=Sampling(200)))
    loop.take("b", Ask("Other", {"code": 1.0}, sampling=Sampling(12)))
    said = [envelope for _ in range(6) for envelope in loop.turn()]
    loop.take("a", Cancel())
    said += loop.turn()
    mine = [event for job_id, event in said if job_id == "a"]
    assert mine[-1].cancelled and mine[-1].receipt["prompt"] == "Hello"
    assert isinstance(mine[-2], Tokens) and mine[-2].tokens >= 4
    while not loop.idle:
        said += loop.turn()
    streamed = texts([event for job_id, event in said if job_id == "b"])
    assert streamed["adapted"] == alone(backend, "Other", {"code": 1.0}).text


def test_nothing_that_a_request_sets_outlives_it(backend):
    ids = torch.tensor([chat_ids(backend.tokenizer, "Hello")])
    with torch.no_grad():
        before = backend.model(ids).logits
    run(
        backend,
        Ask("Hello", {"math": 1.0}, sampling=GREEDY),
        Ask("Hello", dispatch="expert", sampling=GREEDY),
        NextToken("Hello", {"code": 2.0}),
    )
    with torch.no_grad():
        assert torch.equal(backend.model(ids).logits, before)


# --- texts of tokens -----------------------------------------------------------------------------


def test_token_texts_join_to_the_text_and_characters_come_whole(tiny_tokenizer):
    for text in ("plain", "größer — 日本語 🙂!", "🙂"):
        ids = tiny_tokenizer(text)["input_ids"]
        pieces = token_shift.token_texts(tiny_tokenizer, ids)
        assert len(pieces) == len(ids) and "".join(pieces) == text
        assert all("\ufffd" not in piece for piece in pieces)
    half = tiny_tokenizer("🙂")["input_ids"][:2]
    assert token_shift.token_texts(tiny_tokenizer, half)[0] == ""


def test_first_difference_counts_a_longer_answer():
    assert token_shift.first_difference([1, 2], [1, 2]) is None
    assert token_shift.first_difference([1, 2], [1, 3, 4]) == 1
    assert token_shift.first_difference([1, 2], [1, 2, 3]) == 2
    assert token_shift.first_difference([], [5]) == 0
