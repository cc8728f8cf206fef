"""What the worker answers on a tiny model: asks, sliders, the library, inspection, bad input.

Requests go through the worker's own loop, without a process; test_client.py has the processes.
"""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import serving
import torch
from serving import GREEDY, alone, listing, make_expert, one, run, texts
from tiny import make_tiny

from t2ui.backend import answers, token_shift
from t2ui.backend.serving import ModelBackend
from t2ui.config import Sampling, WorkerConfig
from t2ui.errors import InputError
from t2ui.inference import decoding
from t2ui.inference.decoding import Decoder, Row, generate
from t2ui.inference.reading import Reading
from t2ui.inference.two_pass import replay
from t2ui.messages import (
    Ask,
    Cancel,
    Classified,
    Compared,
    Component,
    ComponentData,
    Done,
    Failed,
    Heatmap,
    HeatmapData,
    Mixed,
    NextToken,
    NextTokens,
    Tokens,
)
from t2ui.models.chat import chat_ids, text_ids
from t2ui.models.likelihood import batched_log_likelihoods
from t2ui.models.questions import Question
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, mix
from t2ui.worker.scheduler import Scheduler

adapter, folder, backend, empty = (  # fixtures
    serving.adapter,
    serving.folder,
    serving.backend,
    serving.empty,
)

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


# --- failures ------------------------------------------------------------------------------------


def failure_of(backend, request):
    return one(backend, request, Failed)


@pytest.mark.parametrize("kind", [Ask, NextToken])
def test_an_unknown_expert_fails_with_the_known_names(backend, kind):
    failed = failure_of(backend, kind("Hello", {"law": 1.0}))
    for name in ("law", "math", "code"):
        assert name in failed.message


@pytest.mark.parametrize("value", [float("nan"), 1e9, float("inf")])
def test_a_weight_that_makes_no_sense_is_refused(backend, value):
    for kind in (Ask, NextToken):
        with pytest.raises(InputError, match="math"):
            kind("Hello", {"math": value})
    name = backend.adapter.names[0]
    for request in (Heatmap({"math": value}), Component(name, {"math": value})):
        assert "math" in failure_of(backend, request).message


def test_weights_that_sum_to_zero_cannot_be_normalised(backend):
    failed = failure_of(backend, Ask("Hello", {"math": 1.0, "code": -1.0}, normalise=True))
    assert "normalise" in failed.message


def test_a_dispatcher_that_is_not_there_fails_with_a_remedy(backend, folder):
    (folder / "dispatch.safetensors").unlink()
    failed = failure_of(backend, Ask("Hello", dispatch="expert"))
    assert "classification expert" in failed.message and "prompt" in failed.message


def test_a_prompt_longer_than_the_context_fails_with_its_token_count(backend):
    prompt = "x" * 600  # 600 tokens; the context holds 512
    failed = failure_of(backend, Ask(prompt, {"math": 1.0}))
    assert "512" in failed.message and "tokens" in failed.message
    assert isinstance(run(backend, Ask("Hello", sampling=GREEDY))[0][-1], Done)


def test_out_of_memory_in_a_prefill_leaves_the_answers_that_stream(backend, monkeypatch):
    loop = Scheduler(backend, WorkerConfig(model="tiny"))
    loop.take("fine", Ask("Hello", {"math": 1.0}, sampling=GREEDY))
    said = [envelope for _ in range(3) for envelope in loop.turn()]

    def fail(reading, tokens):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Reading, "read", fail)
        loop.take("large", Ask("Large", {"code": 1.0}, sampling=GREEDY))
        said += loop.turn()
    while not loop.idle:
        said += loop.turn()
    failed = [event for job_id, event in said if job_id == "large"][-1]
    assert "memory" in failed.message and "shorter" in failed.remedy
    streamed = texts([event for job_id, event in said if job_id == "fine"])
    assert streamed["adapted"] == alone(backend, "Hello", {"math": 1.0}).text


def test_after_a_failed_step_the_next_ask_is_right(backend, monkeypatch):
    def fail():
        backend.adapter.set_rows([backend._mixed({"code": 2.0}, False)])
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backend._answers._decoder, "_forward", fail)
    (events,) = run(backend, Ask("Hello", {"math": 1.0}, sampling=GREEDY))
    assert "memory" in events[-1].message
    (events,) = run(backend, Ask("Hello", {"math": 1.0}, sampling=GREEDY))
    assert texts(events)["adapted"] == alone(backend, "Hello", {"math": 1.0}).text
    assert texts(events)["base"] == alone(backend, "Hello", {}).text


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_broken_mixture_ends_its_own_ask_only(backend, folder, adapter, temperature):
    scales = {name: torch.full_like(f.S, 1e38) for name, f in adapter.factors.items()}
    Expert("broken", scales).save(folder / "broken.safetensors")
    sampling = Sampling(12, temperature)
    asks = [Ask("Hello", {name: 1.0}, sampling=sampling) for name in ("math", "broken", "code")]
    fine, failed, other = run(backend, *asks)
    assert "not finite" in failed[-1].message and "smaller coefficients" in failed[-1].message
    assert sum(isinstance(event, (Done, Failed)) for event in failed) == 1
    for events, name in ((fine, "math"), (other, "code")):
        assert texts(events)["adapted"] == alone(backend, "Hello", {name: 1.0}, sampling).text
        assert texts(events)["base"] == alone(backend, "Hello", {}, sampling).text
    assert backend.asks == backend.rows == 0


# --- the next token ------------------------------------------------------------------------------


def test_next_tokens_are_those_of_both_models(backend):
    event = one(backend, NextToken("Hello", {"math": 1.0}, k=5), NextTokens)
    ids = torch.tensor([chat_ids(backend.tokenizer, "Hello")])
    with torch.no_grad():
        base = backend.model(ids).logits[0, -1].log_softmax(-1).double()
        with backend.adapter.applied(backend._mixed({"math": 1.0}, False)):
            mixed = backend.model(ids).logits[0, -1].log_softmax(-1).double()
    kl = float((mixed.exp() * (mixed - base)).sum())
    assert event.kl == pytest.approx(kl, rel=1e-3) and kl > 0
    assert len(event.candidates) == 5
    larger = [max(b, m) for _, b, m in event.candidates]
    assert larger == sorted(larger, reverse=True)
    top = int(torch.maximum(base, mixed).argmax())
    assert event.candidates[0] == (
        backend.tokenizer.decode([top]),
        pytest.approx(float(base[top].exp()), abs=1e-5),
        pytest.approx(float(mixed[top].exp()), abs=1e-5),
    )


def test_at_alpha_zero_the_next_token_is_the_base_models(backend):
    event = one(backend, NextToken("Hello", {"math": 0.0}), NextTokens)
    assert event.kl == 0 and all(base == mixed for _, base, mixed in event.candidates)


@pytest.mark.parametrize("alpha", [1.0, 0.0])
def test_listed_options_are_scored_as_answers_to_the_question_alone(backend, alpha):
    """As closed tasks are: the library gives the same chances."""
    prompt = "Which one?\nA) ice\nB) a stone\nC) 7"
    event = one(backend, NextToken(prompt, {"math": alpha}), NextTokens)
    tokenizer, adapter = backend.tokenizer, backend.adapter
    ids = tuple(tuple(text_ids(tokenizer, text)) for text in ("ice", "a stone", "7"))
    question = Question(tuple(chat_ids(tokenizer, "Which one?")), ids)
    chances, sums = [], []
    for scales in ({}, mix(backend._experts.library().experts, Mixture({"math": alpha}))):
        with adapter.applied(scales):
            (scores,) = batched_log_likelihoods(backend.model, [question], 512)
        chances.append(scores.softmax(0).tolist())
        sums.append(scores.tolist())
    assert [text for text, _, _ in event.options] == ["ice", "a stone", "7"]
    assert [base for _, base, _ in event.options] == pytest.approx(chances[0], abs=1e-5)
    assert [mixed for _, _, mixed in event.options] == pytest.approx(chances[1], abs=1e-5)
    assert (sums[0] == sums[1]) == (alpha == 0)
    assert one(backend, NextToken("Which one?", {"math": alpha}), NextTokens).options == ()


def test_a_slider_drag_costs_one_forward_a_move(backend):
    run(backend, NextToken("Hello", {"math": 0.5}))
    calls = []
    hook = backend.model.register_forward_hook(lambda *_: calls.append(1))
    for alpha in (0.6, 0.7, 0.8):
        run(backend, NextToken("Hello", {"math": alpha}))
    hook.remove()
    assert len(calls) == 3


def test_a_slider_moves_while_an_answer_streams(backend):
    expected = alone(backend, "Hello", {"code": 1.0}, Sampling(40)).text
    long = Ask("Hello", {"code": 1.0}, sampling=Sampling(40))
    together = run(backend, long, *[NextToken("Other", {"math": a / 10}) for a in range(10)])
    assert texts(together[0])["adapted"] == expected
    for alpha, events in enumerate(together[1:]):
        (single,) = run(backend, NextToken("Other", {"math": alpha / 10}))
        for found, wanted in zip(events[1].candidates, single[1].candidates, strict=True):
            assert found[0] == wanted[0] and found[1:] == pytest.approx(wanted[1:], rel=1e-5)


# --- the library ---------------------------------------------------------------------------------


def test_the_library_is_listed_with_its_problems(backend, folder):
    good = (folder / "math.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(good[: len(good) // 2])
    (folder / "notes.safetensors").write_text("not an expert")
    listed = listing(backend)
    assert [e.name for e in listed.experts] == ["code", "dispatch", "math"]
    assert [e.kind for e in listed.experts] == ["expert", "dispatcher", "expert"]
    assert {name for name, _ in listed.problems} == {"truncated.safetensors", "notes.safetensors"}
    assert listed.labels[-1] == "others" and set(listed.labels) == {"math", "code", "others"}
    assert listed.layers == 2 and "up_proj" in listed.modules
    assert (listed.dispatchers, listed.dispatch) == (("prompt", "expert", "none"), "expert")
    math = next(e for e in listed.experts if e.name == "math")
    assert math.matrices == 14 and math.size_bytes == len(good)
    assert math.parameters == sum(f.S.numel() for f in backend.adapter.factors.values())


def test_an_expert_of_another_model_is_a_problem_not_a_crash(backend, folder):
    matrix = backend.adapter.names[0]
    Expert("large", {matrix: torch.ones(4096)}).save(folder / "large.safetensors")
    listed = listing(backend)
    assert "large" not in [e.name for e in listed.experts]
    assert any(name == "large.safetensors" and "4096" in why for name, why in listed.problems)


def test_a_new_expert_is_found_without_a_restart(backend, folder, adapter):
    assert "law" in failure_of(backend, NextToken("Hello", {"law": 1.0})).message
    make_expert(adapter, "law", 9).save(folder / "law.safetensors")
    assert one(backend, NextToken("Hello", {"law": 1.0}), NextTokens).kl > 0
    (folder / "law.safetensors").unlink()
    assert "law" in failure_of(backend, NextToken("Hello", {"law": 1.0})).message


def test_a_replaced_expert_is_the_new_one(backend, folder, adapter):
    before = one(backend, NextToken("Hello", {"math": 1.0}), NextTokens).kl
    make_expert(adapter, "math", 77).save(folder / "math.safetensors")
    assert one(backend, NextToken("Hello", {"math": 1.0}), NextTokens).kl != before


def test_an_experts_folder_without_one_for_the_model_is_read_itself(backend, folder, tmp_path):
    elsewhere = tmp_path / "flat"
    shutil.copytree(folder, elsewhere)
    flat = ModelBackend(backend.model, backend.tokenizer, backend.adapter, elsewhere)
    assert len(listing(flat).experts) == 3


def test_an_empty_library_still_answers_with_the_base_model(empty):
    listed = listing(empty)
    assert listed.experts == () and listed.problems == () and listed.labels == ("others",)
    assert (listed.dispatchers, listed.dispatch) == (("prompt", "none"), "prompt")
    (events,) = run(empty, Ask("Hello", dispatch="none", sampling=GREEDY))
    assert texts(events)["base"] == texts(events)["adapted"]
    assert one(empty, NextToken("Hello"), NextTokens).kl == 0
    assert not np.nan_to_num(one(empty, Heatmap({}), HeatmapData).values).any()
    assert "at least two" in failure_of(empty, Ask("Hello", dispatch="prompt")).message
    assert "there are: none" in failure_of(empty, Ask("Hello", {"math": 1.0})).message


# --- inspection ----------------------------------------------------------------------------------


def test_heatmap_and_component_show_the_mixture(backend):
    weights = {"math": 0.5, "code": 1.0}
    data = one(backend, Heatmap(weights, "up_proj"), HeatmapData)
    experts = backend._experts.library().experts
    assert len(data.names) == 2 and data.layers == (0, 1)
    for row, name in enumerate(data.names):
        z = 1 + 0.5 * (experts["math"].scales[name] - 1) + (experts["code"].scales[name] - 1)
        np.testing.assert_allclose(data.values[row][: len(z)], z - 1, atol=1e-6)
        part = one(backend, Component(name, weights), ComponentData)
        np.testing.assert_allclose(part.z, z, atol=1e-6)
        np.testing.assert_array_equal(part.sigma, backend.adapter.factors[name].S)


def test_a_heatmap_of_two_is_their_difference(backend):
    math = one(backend, Heatmap({"math": 1.0}), HeatmapData).values
    both = {"math": 2.0, "code": 2.0}
    half = one(backend, Heatmap(both, normalise=True), HeatmapData).values
    data = one(
        backend, Heatmap({"math": 1.0}, minus=both, minus_normalise=True, layer=1), HeatmapData
    )
    assert set(data.layers) == {1}
    np.testing.assert_allclose(data.values, (math - half)[len(math) // 2 :], atol=1e-6)
    assert "layer 9" in failure_of(backend, Heatmap({}, layer=9)).message


def test_an_unknown_module_or_matrix_fails_with_one_line(backend):
    assert "up_proj" in failure_of(backend, Heatmap({}, "heads")).message
    assert "lm_head" in failure_of(backend, Component("lm_head", {})).message


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
