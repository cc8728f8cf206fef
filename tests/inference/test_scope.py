"""Scope "answer": the base model reads the prompt once, every mixture answers from its end on."""

import decoding
import pytest
import torch
from decoding import row, tokens_of
from reference import prompt_ids, random_scales
from tiny import ARCHITECTURES, END_ID
from transformers import DynamicCache

from t2ui.inference.decoding import Decoder
from t2ui.inference.prompt_store import LEAST_KEPT, PromptStore
from t2ui.models.likelihood import option_log_likelihoods
from t2ui.models.questions import Question
from t2ui.models.running import BaseReading, cached
from t2ui.svf.adapter import adapt

decoder, llama = decoding.decoder, decoding.llama  # fixtures

COUNT = 8
TAILS = (1, 5)


@pytest.fixture(params=TAILS, ids="tail {}".format)
def tail(request) -> int:
    return request.param


@torch.no_grad()
def by_hand(model, adapter, prompt, scales, tail, count=COUNT) -> list[int]:
    """Greedy tokens: the prompt but its tail under the base model, the rest adapted."""
    cache, tokens, fed = DynamicCache(), [], list(prompt[-tail:])
    if prompt[:-tail]:
        with adapter.disabled():
            model(input_ids=torch.tensor([prompt[:-tail]]), **cached(model, cache), use_cache=True)
    with adapter.applied(scales or {}):
        for _ in range(count):
            ids = torch.tensor([fed])
            logits = model(input_ids=ids, **cached(model, cache), use_cache=True).logits
            fed = [int(logits[0, -1].argmax())]
            tokens += fed
            if fed == [END_ID]:
                break
    return tokens


@pytest.fixture
def reads(tiny_llama, monkeypatch):
    """The shapes (rows, tokens) of every forward pass."""
    seen, forward = [], tiny_llama.forward

    def watched(**given):
        seen.append(tuple(given["input_ids"].shape))
        return forward(**given)

    monkeypatch.setattr(tiny_llama, "forward", watched)
    return seen


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("beginning", [0, 12], ids=["apart", "begun alike"])
def test_rows_answer_as_each_would_by_hand(request, tiny_tokenizer, architecture, beginning, tail):
    """Base rows, two mixtures and the paper's scope in one batch, prompts of several lengths."""
    model = request.getfixturevalue(f"tiny_{architecture}")
    common = prompt_ids(beginning, seed=5)
    with adapt(model) as adapter:
        one, two = (random_scales(model, adapter.names, seed=s, spread=0.5) for s in (1, 2))
        prompts = [[*common, *prompt_ids(n, seed=n)] for n in (1, 9, 9, 21, 21, 9)]
        plan = [*((z, tail) for z in (one, None, one, two, one)), (two, None)]
        rows = [
            row(i, ids, COUNT, z, scope)
            for i, (ids, (z, scope)) in enumerate(zip(prompts, plan, strict=True))
        ]
        wanted = [
            by_hand(model, adapter, ids, z, tail)
            for ids, (z, _) in zip(prompts[:5], plan[:5], strict=True)
        ]
        wanted += tokens_of(model, tiny_tokenizer, adapter, rows[5])
        assert tokens_of(model, tiny_tokenizer, adapter, *rows) == wanted
        for one_row, tokens in zip(rows, wanted, strict=True):
            assert tokens_of(model, tiny_tokenizer, adapter, one_row) == [tokens]


def test_the_scopes_are_two(tiny_llama, tiny_tokenizer, llama):
    """Otherwise the tests above would show nothing."""
    one = random_scales(tiny_llama, llama.names, seed=1, spread=0.5)
    rows = [row(tail, prompt_ids(9), COUNT, one, tail) for tail in (None, 1)]
    everywhere, answer = tokens_of(tiny_llama, tiny_tokenizer, llama, *rows)
    assert everywhere != answer


def test_one_reading_for_every_mixture(decoder, tiny_llama, llama, reads, tail):
    scales = [random_scales(tiny_llama, llama.names, seed=s) for s in range(4)]
    decoder.add([row(i, prompt_ids(30), 3, z, tail) for i, z in enumerate([None, *scales])])
    decoder.step()
    assert reads == [(1, 30 - tail), (5, tail)]


def test_sixteen_people_with_one_worksheet(decoder, tiny_llama, llama, reads):
    """What they all begin with is read once, each one's own question once."""
    sheet = prompt_ids(40, seed=3)
    scales = [random_scales(tiny_llama, llama.names, seed=s) for s in range(4)]
    prompts = [[*sheet, *prompt_ids(5, seed=i % 3)] for i in range(16)]
    decoder.add([row(i, ids, 3, scales[i % 4], 1) for i, ids in enumerate(prompts)])
    decoder.step()
    assert reads == [(1, 40), (3, 4), (16, 1)]


def test_a_kept_prompt_is_not_read_again(tiny_llama, tiny_tokenizer, llama, reads, tail):
    store = PromptStore()
    one, two = (random_scales(tiny_llama, llama.names, seed=s) for s in (1, 2))
    prompt = prompt_ids(30)
    for scales in (None, one, two):
        wanted = by_hand(tiny_llama, llama, prompt, scales, tail)
        decoder = Decoder(tiny_llama, tiny_tokenizer, llama, store=store)
        decoder.add([row("x", prompt, COUNT, scales, tail)])
        reads.clear()
        found = [step.token for _ in range(COUNT) for step in decoder.step()]
        assert found == wanted
        assert reads[0] == (1, 30 - tail if scales is None else tail)
    longer = [*prompt, *prompt_ids(6, seed=8)]
    decoder = Decoder(tiny_llama, tiny_tokenizer, llama, store=store)
    decoder.add([row("x", longer, COUNT, two, tail)])
    reads.clear()
    found = [step.token for _ in range(COUNT) for step in decoder.step()]
    assert found == by_hand(tiny_llama, llama, longer, two, tail)
    # from the kept beginning on, but for the tail
    assert reads[0] == (1, 6)


def test_with_scope_all_nothing_is_taken_from_the_base_models_reading(
    tiny_llama, tiny_tokenizer, llama
):
    store, prompt = PromptStore(), prompt_ids(30)
    one = random_scales(tiny_llama, llama.names, seed=1, spread=0.5)
    (wanted,) = tokens_of(tiny_llama, tiny_tokenizer, llama, row("x", prompt, COUNT, one))
    for scales in (None, one):
        decoder = Decoder(tiny_llama, tiny_tokenizer, llama, store=store)
        decoder.add([row("x", prompt, COUNT, scales)])
        found = [step.token for _ in range(COUNT) for step in decoder.step()]
    assert found == wanted


def test_the_store_keeps_to_its_limit_and_forgets_the_oldest(tiny_llama, tiny_tokenizer, llama):
    def read(store, *prompts):
        for ids in prompts:
            decoder = Decoder(tiny_llama, tiny_tokenizer, llama, store=store)
            decoder.add([row("x", ids, 1)])
            decoder.step()

    prompts = [prompt_ids(20, seed=s) for s in range(3)]
    roomy = PromptStore()
    read(roomy, *prompts)
    assert len(roomy) == 3
    tight = PromptStore(limit=roomy.bytes * 2 // 3)
    read(tight, *prompts)
    assert len(tight) == 2 and tight.bytes <= roomy.bytes * 2 // 3
    assert tight.beginning(prompts[0]) == (0, None)
    assert tight.beginning(prompts[2])[0] == 20
    read(tight, prompt_ids(LEAST_KEPT - 1, seed=9))
    assert len(tight) == 2, "not worth keeping"
    nothing = PromptStore(limit=0)
    read(nothing, *prompts)
    assert len(nothing) == 0
    tight.clear()
    assert len(tight) == tight.bytes == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_options_are_scored_as_token_by_token(request, architecture, tail):
    """The likelihood of what a row would write: the prompt read by the base model, by hand."""
    model = request.getfixturevalue(f"tiny_{architecture}")
    questions = [
        Question(tuple(prompt_ids(n, seed=n)), tuple(tuple(prompt_ids(k, seed=k)) for k in lengths))
        for n, lengths in ((1, (2, 3)), (20, (1, 4, 11)), (9, (5,)))
    ]
    with adapt(model) as adapter:
        scales = random_scales(model, adapter.names, seed=1, spread=0.5)
        with torch.no_grad(), adapter.applied(scales):
            found = option_log_likelihoods(
                model, questions, reading=BaseReading(tail, adapter.disabled)
            )
            plain = option_log_likelihoods(model, questions)
        for question, scores in zip(questions, found, strict=True):
            wanted = [option_by_hand(model, adapter, question.prompt, o, scales, tail)
                      for o in question.options]  # fmt: skip
            torch.testing.assert_close(scores, torch.tensor(wanted), atol=2e-3, rtol=1e-3)
        assert not torch.allclose(found[1], plain[1], atol=1e-2), "the scopes differ here"


@torch.no_grad()
def option_by_hand(model, adapter, prompt, option, scales, tail) -> float:
    cache, total = DynamicCache(), 0.0
    if prompt[:-tail]:
        with adapter.disabled():
            ids = torch.tensor([prompt[:-tail]])
            model(input_ids=ids, **cached(model, cache), use_cache=True)
    fed = prompt[-tail:]
    with adapter.applied(scales):
        for token in option:
            logits = model(
                input_ids=torch.tensor([fed]), **cached(model, cache), use_cache=True
            ).logits
            total += float(logits[0, -1].float().log_softmax(-1)[token])
            fed = [token]
    return total


def test_gradients_flow_through_the_answer_alone(tiny_llama, llama, tail):
    """The same gradient as with the reading inside the graph, which does not depend on z."""
    question = Question(tuple(prompt_ids(12)), (tuple(prompt_ids(4, seed=3)),))
    z = {n: torch.ones_like(llama.factors[n].S).requires_grad_() for n in llama.names}
    with llama.applied(z):
        (score,) = option_log_likelihoods(
            tiny_llama, [question], reading=BaseReading(tail, llama.disabled)
        )
        score.sum().backward()
    name = next(n for n in llama.names if "down_proj" in n)
    direction = torch.randn(z[name].shape, generator=torch.Generator().manual_seed(0))
    slope = float((z[name].grad * direction).sum())
    ends = []
    for sign in (1, -1):
        moved = {n: v.detach() + (sign * 1e-2 * direction if n == name else 0)
                 for n, v in z.items()}  # fmt: skip
        ends.append(
            option_by_hand(tiny_llama, llama, question.prompt, question.options[0], moved, tail)
        )
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=0.02, abs=1e-3)
