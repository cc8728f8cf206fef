"""Coefficients that change in mid-answer: in force from the next token on, replayed exactly."""

import decoding
import pytest
import torch
from decoding import row
from reference import prompt_ids, random_scales
from tiny import ARCHITECTURES, END_ID
from transformers import DynamicCache

from t2ui.config import AnswerSettings, Sampling
from t2ui.errors import InputError
from t2ui.inference import merging
from t2ui.inference.decoding import Decoder, Row, generate
from t2ui.inference.two_pass import replay, two_pass_infer
from t2ui.models.running import cached
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.linear import SVFLinear
from t2ui.svf.mixture import Mixture

decoder, llama = decoding.decoder, decoding.llama  # fixtures
COUNT = 10


@torch.no_grad()
def by_hand(model, adapter, prompt, plan) -> list[int]:
    """Greedy tokens, each computed under the scales of its place: plan is (place, scales)."""
    cache, fed, tokens = DynamicCache(), list(prompt), []
    while len(tokens) < COUNT:
        z = [scales for place, scales in plan if place <= len(tokens)][-1]
        with adapter.applied(z or {}):
            found = model(input_ids=torch.tensor([fed]), **cached(model, cache), use_cache=True)
        fed = [int(found.logits[0, -1].argmax())]
        tokens += fed
        if fed == [END_ID]:
            break
    return tokens


def told(key, steps) -> list[int]:
    return [step.token for step in steps if step.key == key]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_timeline_answers_as_by_hand(request, tiny_tokenizer, architecture):
    model = request.getfixturevalue(f"tiny_{architecture}")
    with adapt(model) as adapter:
        one, two = (random_scales(model, adapter.names, seed=s, spread=0.5) for s in (1, 2))
        prompt, sampling = prompt_ids(9), Sampling(COUNT)
        plan = [(0, one), (1, two), (4, None), (6, one)]
        wanted = by_hand(model, adapter, prompt, plan)
        beside = by_hand(model, adapter, prompt, [(0, two)])
        rows = [Row(0, prompt, one, sampling, timeline=plan[1:]), Row(1, prompt, two, sampling)]
        found = [list(c.token_ids) for c in generate(model, tiny_tokenizer, rows, adapter)]
        assert found == [wanted, beside]
        if architecture == "llama":  # some tiny models say one thing whatever the scales
            assert wanted != by_hand(model, adapter, prompt, [(0, one)])


@pytest.mark.parametrize("after", [1, 3])
def test_new_scales_are_in_force_at_the_next_step(decoder, tiny_llama, llama, after):
    one, two = (random_scales(tiny_llama, llama.names, seed=s, spread=0.5) for s in (1, 2))
    prompt = prompt_ids(9)
    decoder.add([row("mine", prompt, COUNT, one), row("theirs", prompt, COUNT, one)])
    found = [step for _ in range(after) for step in decoder.step()]
    assert decoder.steer("mine", two) == after
    while len(decoder):
        found += decoder.step()
    assert told("mine", found) == by_hand(tiny_llama, llama, prompt, [(0, one), (after, two)])
    assert told("theirs", found) == by_hand(tiny_llama, llama, prompt, [(0, one)])


def test_before_its_first_token_an_answer_is_steered_from_the_second_on(decoder, tiny_llama, llama):
    one, two = (random_scales(tiny_llama, llama.names, seed=s, spread=0.5) for s in (1, 2))
    prompt = prompt_ids(9)
    decoder.add([row("mine", prompt, COUNT, one)])
    assert decoder.steer("mine", None) == 1
    decoder.read(2)
    assert decoder.steer("mine", two) == 1, "the last one counts"
    found = []
    while len(decoder):
        found += decoder.step()
    assert told("mine", found) == by_hand(tiny_llama, llama, prompt, [(0, one), (1, two)])
    assert decoder.steer("mine", one) is None, "it has ended"


def test_long_answers_are_not_merged_anew_at_every_move(
    tiny_llama, tiny_tokenizer, llama, monkeypatch
):
    """W′ would be written at each: a steered row runs factored."""
    one, two = (random_scales(tiny_llama, llama.names, seed=s, spread=0.5) for s in (1, 2))
    monkeypatch.setattr(merging, "MERGE_AFTER_TOKENS", 0)
    written, merged = [], SVFLinear.merged
    monkeypatch.setattr(
        SVFLinear, "merged", lambda linear, z: written.append(z) or merged(linear, z)
    )
    decoder = Decoder(tiny_llama, tiny_tokenizer, llama)
    decoder.add([row(0, prompt_ids(9), 120, one)])
    for _ in range(5):
        decoder.step()
    assert len(written) == len(llama.names)
    for scales in (two, one, two):
        decoder.steer(0, scales)
        decoder.step()
    assert len(written) == len(llama.names)


# --- receipts ------------------------------------------------------------------------------------


@pytest.fixture
def experts(tiny_llama, llama):
    return {
        name: Expert(
            name,
            random_scales(tiny_llama, llama.names, seed=seed, spread=0.5),
            fingerprint=llama.fingerprint,
        )
        for seed, name in enumerate(("math", "code", "verse"), start=1)
    }


@pytest.mark.parametrize("scope", ["all", "answer"])
def test_a_receipt_holds_the_timeline_and_replays_it(
    tiny_llama, tiny_tokenizer, llama, experts, scope
):
    def asked(**more):
        return two_pass_infer(
            tiny_llama,
            tiny_tokenizer,
            "Hello",
            experts,
            mixture=Mixture({"math": 1.0}),
            sampling=Sampling(16),
            scope=scope,
            **more,
        )

    plain = asked()
    steered = asked(timeline=[(3, {"code": 0.8}), (7, {"math": 0.5, "verse": 1.0})])
    assert steered.token_ids[:3] == plain.token_ids[:3] and steered.token_ids != plain.token_ids
    receipt = steered.receipt
    assert receipt["timeline"] == [[3, {"code": 0.8}], [7, {"math": 0.5, "verse": 1.0}]]
    assert set(receipt["experts"]) == {"math", "code", "verse"}
    again = replay(tiny_llama, tiny_tokenizer, receipt, experts)
    assert again.token_ids == steered.token_ids
    older = {k: v for k, v in plain.receipt.items() if k not in ("timeline", "scope")}
    if scope == "all":
        assert replay(tiny_llama, tiny_tokenizer, older, experts).token_ids == plain.token_ids


@pytest.mark.parametrize(
    "timeline",
    [
        [[3]],
        [["3", {}]],
        [[5, {}], [3, {}]],
        [[0, {}]],
        "[[3, {",
        [[3, {}], [3, {}]],
        7,
        [[True, {}]],
    ],
)
def test_a_timeline_that_was_cut_is_one_clear_line(timeline):
    with pytest.raises(InputError, match="The timeline is .*expected pairs of a token's place"):
        AnswerSettings(timeline=timeline)


def test_an_unknown_expert_in_a_timeline(tiny_llama, tiny_tokenizer, experts, llama):
    with pytest.raises(InputError, match="no expert named 'poetry'"):
        two_pass_infer(
            tiny_llama,
            tiny_tokenizer,
            "Hello",
            experts,
            mixture=Mixture({"math": 1.0}),
            timeline=[(3, {"poetry": 1.0})],
        )
