"""Options that share a row score as each would alone, by a plain forward pass."""

import copy
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from reference import log_likelihood, logits, prompt_ids
from tiny import ARCHITECTURES, WINDOW, make_tiny
from transformers import DynamicCache

from t2ui.errors import InputError
from t2ui.models.likelihood import (
    batched_log_likelihoods,
    completion_logits,
    option_log_likelihoods,
    option_logits,
    packed_log_likelihoods,
    scored_batches,
)
from t2ui.models.loading import context_limit
from t2ui.models.questions import Question, packed_tokens, question_packs
from t2ui.models.running import cached, contiguous_head


def question(prompt: int, *options: int, seed: int = 0) -> Question:
    """Random tokens of these lengths; the options begin alike, as real ones do."""
    longest = prompt_ids(max(options), seed + 50)
    tails = [[*longest[: n - 1], *prompt_ids(1, seed + i)] for i, n in enumerate(options)]
    return Question(tuple(prompt_ids(prompt, seed)), tuple(map(tuple, tails)))


SHORT = question(3, 2, 1, 3)
BATCHES = {
    "inside the window": [SHORT, question(1, 1, 1, seed=1)],
    "longer than the window": [question(WINDOW + 5, 6, 1, 4)],
    "short prompt, options beyond the window": [question(2, 9, 12, 1)],
    "different lengths": [
        question(14, 3, 5, 1, 2),
        question(1, 7, 2, seed=1),
        question(5, 1, 1, seed=2),
        question(9, 4, seed=3),
    ],
    "single tokens": [question(6, 1, 1, 1), question(4, 1, 1, seed=4)],
}


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    return request.getfixturevalue(f"tiny_{request.param}")


def by_itself(model, asked: Question) -> torch.Tensor:
    return torch.stack([log_likelihood(model, asked.prompt, o) for o in asked.options])


@pytest.mark.parametrize("kind", BATCHES)
def test_options_of_a_shared_row_score_as_each_alone(model, kind):
    batch = BATCHES[kind]
    with torch.no_grad():
        found = option_log_likelihoods(model, batch)
    assert len(found) == len(batch)
    for asked, scores in zip(batch, found, strict=True):
        assert scores.dtype == torch.float32
        torch.testing.assert_close(scores, by_itself(model, asked), atol=2e-3, rtol=1e-3)


ALIKE = tuple(prompt_ids(4, 9))  # what prompts begin with, as chat formats do
PACKS = {
    "begin alike": [
        Question((*ALIKE, *asked.prompt), asked.options)
        for asked in (SHORT, question(WINDOW + 5, 6, 1, 4), question(1, 1, 5, seed=3))
    ],
    "nothing in common": BATCHES["different lengths"],
    "one prompt is how the others begin": [
        Question(ALIKE, ((5, 6, 7), (5,))),
        Question((*ALIKE, 3), ((9, 1),)),
    ],
    "the same prompt": [SHORT, Question(SHORT.prompt, ((7, 8), (1, 2, 3)))],
    "only one": [SHORT],
}


@pytest.mark.parametrize("kind", PACKS)
def test_questions_of_one_row_score_as_each_alone(model, kind):
    with torch.no_grad():
        found = packed_log_likelihoods(model, PACKS[kind], copies=2)
    for copy_of_row in found:
        for asked, scores in zip(PACKS[kind], copy_of_row, strict=True):
            assert scores.dtype == torch.float32
            torch.testing.assert_close(scores, by_itself(model, asked), atol=2e-3, rtol=1e-3)
    assert len(found) == 2


def test_what_prompts_begin_with_is_read_once(tiny_llama, monkeypatch):
    read, forward = [], tiny_llama.forward
    monkeypatch.setattr(
        tiny_llama, "forward", lambda **given: read.append(given["input_ids"]) or forward(**given)
    )
    asked = PACKS["begin alike"]
    with torch.no_grad():
        packed_log_likelihoods(tiny_llama, asked, copies=3)
    assert packed_tokens(asked) == sum(q.tokens for q in asked) - 2 * len(ALIKE)
    assert read[0].shape == (3, packed_tokens(asked))


def test_packs_hold_every_question_once_and_keep_to_their_tokens():
    asked = [question(n % 7 + 1, n % 3 + 1, 2, seed=n) for n in range(40)]
    packs = question_packs(asked, 30)
    assert sorted(place for pack in packs for place in pack) == list(range(40))
    assert all(packed_tokens([asked[i] for i in pack]) <= 30 for pack in packs)
    assert max(map(len, packs)) > 1
    assert question_packs(asked[:2], 1) in ([[0], [1]], [[1], [0]])  # too long: alone
    together = question_packs([PACKS["begin alike"][i] for i in (0, 2)] + [SHORT], 24)
    assert [0, 1] in [sorted(pack) for pack in together]  # those that begin alike


def test_the_window_matters_in_these_tests(tiny_mistral):
    """Without a window the longer prompts above would score otherwise."""
    open_model = copy.deepcopy(tiny_mistral)
    open_model.config.sliding_window = None
    for module in open_model.modules():
        if hasattr(module, "sliding_window"):
            module.sliding_window = None
    asked = BATCHES["longer than the window"][0]
    assert (by_itself(open_model, asked) - by_itself(tiny_mistral, asked)).abs().max() > 0.1
    with torch.no_grad():
        (found,) = option_log_likelihoods(open_model, [asked])
    torch.testing.assert_close(found, by_itself(open_model, asked), atol=2e-3, rtol=1e-3)


def test_neighbours_and_padding_change_nothing(tiny_qwen3):
    with torch.no_grad():
        (alone,) = option_log_likelihoods(tiny_qwen3, [SHORT])
        long = question(20, 9, 4, seed=6)
        together = option_log_likelihoods(tiny_qwen3, [long, SHORT, question(1, 11, seed=7)])
    torch.testing.assert_close(together[1], alone, atol=1e-4, rtol=1e-4)


def test_scores_of_one_option_do_not_depend_on_the_others(tiny_gemma3):
    asked = question(12, 5, 3, 8)
    with torch.no_grad():
        (all_three,) = option_log_likelihoods(tiny_gemma3, [asked])
        backwards = Question(asked.prompt, asked.options[::-1])
        (reverse,) = option_log_likelihoods(tiny_gemma3, [backwards])
    torch.testing.assert_close(reverse.flip(0), all_three, atol=1e-4, rtol=1e-4)


def test_bfloat16_scores_are_float32_and_near(tiny_llama):
    model = copy.deepcopy(tiny_llama).bfloat16()
    with torch.no_grad():
        (found,) = option_log_likelihoods(model, [SHORT])
    assert found.dtype == torch.float32
    wanted = by_itself(tiny_llama, SHORT)
    assert (found - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_gradients_flow_where_they_are_enabled(tiny_llama):
    model = copy.deepcopy(tiny_llama)
    weight = model.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    asked = question(5, 3, 4)
    (scores,) = option_log_likelihoods(model, [asked])
    scores[1].backward()
    found = weight.grad.clone()
    weight.grad = None
    ids = torch.tensor([[*asked.prompt, *asked.options[1]]])
    log_probs = model(input_ids=ids, use_cache=False).logits.log_softmax(-1)[0, 4:-1]
    log_probs.gather(1, torch.tensor(asked.options[1])[:, None]).sum().backward()
    torch.testing.assert_close(found, weight.grad, atol=1e-4, rtol=1e-3)


def test_a_question_costs_its_prompt_once():
    assert question(10, 3, 5).tokens == 10 + 2 + 4


# --- behind a cached prefix ----------------------------------------------------------------------


def test_a_cache_is_handed_over_under_the_name_that_the_model_knows():
    class Older(torch.nn.Module):
        def forward(self, input_ids, past_key_values=None): ...

    class Newer(torch.nn.Module):
        def forward(self, input_ids, cache=None): ...

    assert cached(Older(), 1) == {"past_key_values": 1}
    assert cached(Newer(), 1) == {"cache": 1}


def prefilled(model, ids) -> DynamicCache:
    cache = DynamicCache()
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]), **cached(model, cache), use_cache=True)
    return cache


@pytest.mark.parametrize("length", [2, 3 * WINDOW])
def test_option_logits_behind_a_prefix_equal_a_plain_forward(model, length):
    prefix, asked = prompt_ids(length, seed=9), question(6, 3, 1, 5)
    cache = prefilled(model, prefix)
    with torch.no_grad():
        found = option_logits(model, asked, cache)
    for option, rows in zip(asked.options, found, strict=True):
        assert rows.shape == (len(option), 260)
        wanted = logits(model, [*prefix, *asked.prompt, *option])[length + 5 : -1]
        torch.testing.assert_close(rows, wanted, atol=2e-3, rtol=1e-3)


def test_option_logits_leaves_prompt_and_options_in_the_cache(tiny_llama):
    """The caller crops them: that is in the contract."""
    asked = question(6, 3, 1, 5)
    cache = prefilled(tiny_llama, prompt_ids(4))
    with torch.no_grad():
        option_logits(tiny_llama, asked, cache)
    assert cache.get_seq_length() == 4 + 6 + 2 + 0 + 4


@pytest.mark.parametrize("tokens", [1, 3, 9, 10, 11, 100])
def test_completion_logits_predict_each_token_however_they_are_read(model, tokens):
    prompt, completion = prompt_ids(10), prompt_ids(4, seed=3)
    pieces, breaks = completion_logits(model, prompt, completion, tokens), 0
    while True:
        try:
            with torch.no_grad():
                next(pieces)
            breaks += 1
        except StopIteration as ended:
            found = ended.value
            break
    assert breaks == (13 - 1) // tokens
    wanted = logits(model, [*prompt, *completion])[9:-1]
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)


# --- the head ------------------------------------------------------------------------------------


def test_the_head_is_itself_again_after_the_block(model):
    head = model.get_output_embeddings()
    own, ids = dict(vars(head)), torch.tensor([prompt_ids(5), prompt_ids(5, 1)])
    with torch.no_grad():
        outside = model(input_ids=ids, logits_to_keep=1).logits
        with pytest.raises(KeyError), contiguous_head(model):
            inside = model(input_ids=ids, logits_to_keep=1).logits
            raise KeyError
        assert torch.equal(model(input_ids=ids, logits_to_keep=1).logits, outside)
    torch.testing.assert_close(inside, outside, atol=1e-4, rtol=1e-4)
    assert vars(head).keys() == own.keys()


def test_another_kind_of_head_gets_a_contiguous_input_inside_the_block_only(model, monkeypatch):
    seen = []
    head = model.get_output_embeddings()
    monkeypatch.setattr(head, "__class__", type("OwnHead", (type(head),), {}))
    watch = head.register_forward_pre_hook(lambda _, args: seen.append(args[0].is_contiguous()))
    ids = torch.tensor([prompt_ids(5), prompt_ids(5, 1)])
    hooks = len(head._forward_pre_hooks)
    try:
        with torch.no_grad():
            model(input_ids=ids, logits_to_keep=1)
            plain = seen.pop()
            with pytest.raises(KeyError), contiguous_head(model):
                # t2ui's hook must run before the watching one: put that at the end
                head._forward_pre_hooks.move_to_end(watch.id)
                inside = model(input_ids=ids, logits_to_keep=1).logits
                assert seen.pop()
                raise KeyError
            outside = model(input_ids=ids, logits_to_keep=1).logits
            torch.testing.assert_close(inside, outside, atol=1e-4, rtol=1e-4)
    finally:
        watch.remove()
    assert not plain, "transformers does this itself by now: the hook is no longer needed"
    assert len(head._forward_pre_hooks) == hooks - 1


def test_scores_in_batches_are_in_the_questions_order(tiny_llama):
    """Whatever they are batched with; the block is entered anew for every forward pass."""
    questions = [
        Question(tuple(prompt_ids(3 + 5 * (i % 3), seed=i)), ((20 + i,), (30 + i, 40)))
        for i in range(7)
    ]
    with torch.inference_mode():
        wanted = [option_log_likelihoods(tiny_llama, [question])[0] for question in questions]
        for tokens in (1, 40, 10_000):
            found = batched_log_likelihoods(tiny_llama, questions, tokens)
            for one, other in zip(found, wanted, strict=True):
                torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    entered = []

    @contextmanager
    def block():
        entered.append(1)
        with torch.inference_mode():
            yield

    rows = [SimpleNamespace(question=question) for question in questions]
    batches = [batch for batch, _ in scored_batches(tiny_llama, rows, 40, within=block)]
    assert len(batches) == len(entered) > 1
    assert sorted(map(id, sum(batches, []))) == sorted(map(id, rows))


def test_short_questions_that_begin_alike_share_a_row_also_in_training(model):
    """As a chat format does: what all begin with is read once; scores and gradients stay."""
    begin, head = prompt_ids(9), model.get_input_embeddings().weight.requires_grad_(True)
    rows = [
        SimpleNamespace(
            question=Question((*begin, *prompt_ids(1 + i % 3, seed=i)), ((20 + i, 5), (30 + i,)))
        )
        for i in range(6)
    ]
    read, batches = [], []
    watch = model.register_forward_pre_hook(
        lambda _, args, inputs: read.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    head.grad = None
    try:
        for batch, scores in scored_batches(model, rows, 200, temperature=2.0):
            batches += batch
            torch.stack([score[0] - score[1] for score in scores]).sum().backward(inputs=[head])
        found, head.grad = head.grad, None
        packed = sum(read)
        alone = [option_log_likelihoods(model, [row.question], 2.0)[0] for row in rows]
        torch.stack([score[0] - score[1] for score in alone]).sum().backward(inputs=[head])
        torch.testing.assert_close(found, head.grad, atol=1e-4, rtol=1e-3)
        together = batched_log_likelihoods(model, [row.question for row in rows], 200, 2.0)
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    finally:
        watch.remove()
        head.requires_grad_(False).grad = None
    assert sorted(map(id, batches)) == sorted(map(id, rows))
    assert packed <= 0.8 * sum(row.question.tokens for row in rows)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "llava"])
def test_the_context_limit_of_a_model(architecture):
    model = make_tiny(architecture)
    assert context_limit(model) == 512
    silent = SimpleNamespace(get_text_config=lambda: SimpleNamespace())
    assert context_limit(SimpleNamespace(config=silent)) is None


# --- a model in train mode -----------------------------------------------------------------------


@pytest.fixture
def in_train_mode():
    """A GPT-2 with dropout everywhere, one of its modules left in eval mode."""
    model = make_tiny("gpt2")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    model.train()
    model.transformer.h[0].eval()
    return model


def drained(pieces):
    """What a generator returns in the end."""
    while True:
        try:
            next(pieces)
        except StopIteration as ended:
            return ended.value


def modes(model) -> list[bool]:
    return [module.training for module in model.modules()]


def test_a_model_in_train_mode_scores_as_in_eval_mode(in_train_mode):
    questions = [Question(tuple(prompt_ids(6, i)), ((5, 6), (7, 8, 9))) for i in range(3)]
    before = modes(in_train_mode)
    assert any(before) and not all(before)

    def found():
        options = option_log_likelihoods(in_train_mode, questions)
        packed = packed_log_likelihoods(in_train_mode, questions, 2)[1]
        completion = drained(completion_logits(in_train_mode, prompt_ids(6), [5, 6], 100))
        cache = DynamicCache()
        (one, _) = option_logits(in_train_mode, questions[0], cache)
        return [*options, *packed, completion, one]

    answers = found()
    assert modes(in_train_mode) == before
    in_train_mode.eval()
    assert all(map(torch.equal, answers, found()))


def test_a_training_step_keeps_its_dropout(in_train_mode):
    questions = [Question(tuple(prompt_ids(6)), ((5, 6),))]
    plain = option_log_likelihoods(in_train_mode, questions)
    dropped = [option_log_likelihoods(in_train_mode, questions, dropout=True) for _ in range(2)]
    assert not torch.equal(plain[0], dropped[0][0])
    assert not torch.equal(dropped[0][0], dropped[1][0])


def test_the_mode_comes_back_after_an_error(in_train_mode):
    before = modes(in_train_mode)
    with pytest.raises(IndexError):
        option_log_likelihoods(in_train_mode, [Question((10_000,), ((5,),))])
    assert modes(in_train_mode) == before


def test_a_bare_backbone_cannot_answer_and_says_so(tiny_llama):
    with pytest.raises(InputError, match="LlamaModel has no output head, .* AutoModelForCausalLM"):
        option_log_likelihoods(tiny_llama.base_model, [Question((5,), ((6,),))])


def test_ends_that_are_alike_count_together(model):
    """The last token is as likely as all ends together, in every layout, and with a gradient."""
    plain = question(6, 3, 4)
    last = plain.options[0][-1]
    others = tuple(token for token in range(5, 9) if token != last)[:2]
    alike = replace(plain, ends=(last, *others))
    here, elsewhere = plain.options
    assert elsewhere[-1] not in alike.ends
    variants = [log_likelihood(model, plain.prompt, (*here[:-1], end)) for end in alike.ends]
    right = torch.stack(variants).logsumexp(0), log_likelihood(model, plain.prompt, elsewhere)
    (shared,) = option_log_likelihoods(model, [alike])
    ((packed,),) = packed_log_likelihoods(model, [alike], 1)
    for found in (shared, packed):
        torch.testing.assert_close(found, torch.stack(right), atol=1e-4, rtol=0)
    assert shared[0] > by_itself(model, plain)[0] + 1e-3


def test_an_option_of_one_token_may_be_an_end(model):
    end, other = prompt_ids(2, 3)
    asked = Question(tuple(prompt_ids(5, 1)), ((end,),), (end, other))
    ((found,),) = option_log_likelihoods(model, [asked])
    both = [log_likelihood(model, asked.prompt, (token,)) for token in (end, other)]
    torch.testing.assert_close(found, torch.stack(both).logsumexp(0), atol=1e-4, rtol=0)
