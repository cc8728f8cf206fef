"""The last answer is the draft: checked in one forward pass, kept up to the first difference."""

import decoding
import pytest
import torch
from decoding import row, tokens_of
from reference import prompt_ids, random_scales
from tiny import ARCHITECTURES

from t2ui.inference.decoding import Decoder
from t2ui.inference.prompt_store import PromptStore
from t2ui.svf.adapter import adapt

decoder, llama = decoding.decoder, decoding.llama  # fixtures
COUNT = 12


def mixed(one, two, share):
    return {n: 1 + share * (one[n] - 1) + (1 - share) * (two[n] - 1) for n in one}


def answered(decoder: Decoder, *rows) -> dict:
    """Tokens by row, however many a step gives."""
    decoder.add(rows)
    found: dict = {}
    while len(decoder):
        for step in decoder.step():
            found.setdefault(step.key, []).append(step.token)
    return found


@pytest.mark.parametrize("tail", [None, pytest.param(4, marks=pytest.mark.slow)])
def test_two_hundred_mixtures_answer_as_plain_decoding_does(
    decoder, tiny_llama, tiny_tokenizer, llama, tail
):
    """Each with the answer of the mixture before as its draft; some change, some do not."""
    one, two = (random_scales(tiny_llama, llama.names, seed=s, spread=0.3) for s in (1, 2))
    shares = torch.rand(200, generator=torch.Generator().manual_seed(0)).tolist()
    prompt, draft, kept, changed = prompt_ids(17), [], 0, 0
    for place, share in enumerate(shares):
        z = mixed(one, two, share)
        (plain,) = tokens_of(tiny_llama, tiny_tokenizer, llama, row(0, prompt, COUNT, z, tail))
        found = answered(decoder, row(place, prompt, COUNT, z, tail, draft))[place]
        assert found == plain, place
        kept += plain == draft
        changed += bool(draft) and plain != draft
        draft = plain
    assert kept > 5 and changed > 5, "otherwise the test shows nothing"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tail", [None, 3])
def test_every_place_of_the_first_difference(request, tiny_tokenizer, architecture, tail):
    model = request.getfixturevalue(f"tiny_{architecture}")
    with adapt(model) as adapter:
        z = random_scales(model, adapter.names, seed=3, spread=0.4)
        prompt = prompt_ids(9)
        (plain,) = tokens_of(model, tiny_tokenizer, adapter, row(0, prompt, COUNT, z, tail))
        for place in range(len(plain) + 1):
            draft = [*plain[:place], *((t + 1) % 90 + 4 for t in plain[place:])]
            found = answered(
                Decoder(model, tiny_tokenizer, adapter), row(0, prompt, COUNT, z, tail, draft)
            )
            assert found[0] == plain, place


def test_an_answer_that_stays_costs_one_forward_pass(
    tiny_llama, tiny_tokenizer, llama, monkeypatch
):
    z, prompt = random_scales(tiny_llama, llama.names, seed=3, spread=0.4), prompt_ids(30)
    store = PromptStore()
    first = Decoder(tiny_llama, tiny_tokenizer, llama, store=store)
    plain = answered(first, row(0, prompt, COUNT, z, 4))[0]
    seen, forward = [], tiny_llama.forward

    def watched(**given):
        seen.append(tuple(given["input_ids"].shape))
        return forward(**given)

    monkeypatch.setattr(tiny_llama, "forward", watched)
    again = Decoder(tiny_llama, tiny_tokenizer, llama, store=store)
    assert answered(again, row(0, prompt, COUNT, z, 4, plain))[0] == plain
    assert seen == [(1, 4 + COUNT - 1)]


def test_drafts_beside_rows_without_and_in_small_pieces(tiny_llama, tiny_tokenizer, llama):
    one, two = (random_scales(tiny_llama, llama.names, seed=s, spread=0.4) for s in (1, 2))
    plan = [(one, 3), (None, 3), (two, None), (None, None), (two, 3)]
    rows = [row(i, prompt_ids(11, seed=i), COUNT, z, t) for i, (z, t) in enumerate(plan)]
    plain = tokens_of(tiny_llama, tiny_tokenizer, llama, *rows)
    drafts = [plain[0], plain[1][:5], [*plain[2][:2], 7, 8], (), plain[3]]
    decoder = Decoder(tiny_llama, tiny_tokenizer, llama)
    decoder.add(
        row(i, prompt_ids(11, seed=i), COUNT, z, t, d)
        for i, ((z, t), d) in enumerate(zip(plan, drafts, strict=True))
    )
    found: dict = {}
    while len(decoder):
        for step in [*decoder.decode(), *decoder.read(2)]:
            found.setdefault(step.key, []).append(step.token)
    assert [found[i] for i in range(5)] == plain


def test_a_sampled_answer_is_checked_with_its_own_random_numbers(tiny_llama, tiny_tokenizer, llama):
    z = random_scales(tiny_llama, llama.names, seed=1, spread=0.3)
    how = {"temperature": 1.2, "seed": 5}
    plain = tokens_of(tiny_llama, tiny_tokenizer, llama, row(0, prompt_ids(8), COUNT, z, 2, **how))[
        0
    ]
    for draft in (plain, plain[:4], [*plain[:6], 9, 9, 9]):
        decoder = Decoder(tiny_llama, tiny_tokenizer, llama)
        found = answered(decoder, row(0, prompt_ids(8), COUNT, z, 2, draft, **how))
        assert found[0] == plain


def test_a_draft_longer_than_the_answer_may_get(decoder, tiny_llama, llama):
    z = random_scales(tiny_llama, llama.names, seed=1, spread=0.3)
    plain = answered(decoder, row(0, prompt_ids(8), COUNT, z))[0]
    assert answered(decoder, row(1, prompt_ids(8), 3, z, None, plain))[1] == plain[:3]
    assert answered(decoder, row(2, prompt_ids(8), 1, z, None, plain))[2] == plain[:1]


@pytest.mark.parametrize("tail", [None, 3])
def test_drafts_of_the_base_model_with_a_store(tiny_llama, tiny_tokenizer, llama, tail):
    """What is kept is prompts, never a draft: the next one may differ in its middle."""
    store, prompt = PromptStore(), prompt_ids(20)
    first = Decoder(tiny_llama, tiny_tokenizer, llama, store=store)
    plain = answered(first, row(0, prompt, COUNT, None, tail))[0]
    for draft in (plain, plain, [*plain[:3], 7, *plain[4:]], plain[:6], plain):
        decoder = Decoder(tiny_llama, tiny_tokenizer, llama, store=store)
        assert answered(decoder, row(0, prompt, COUNT, None, tail, draft))[0] == plain
