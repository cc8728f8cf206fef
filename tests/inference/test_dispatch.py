"""Pass one: its cached, shared forward pass against plain forward passes over the whole text."""

import copy
import itertools
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from reference import greedy, log_likelihood, matrix_names, random_scales, rewritten
from tiny import ARCHITECTURES, END_ID

import t2ui.inference.dispatch as dispatch_module
import t2ui.models.chat as chat_module
from t2ui.config import OTHERS
from t2ui.errors import InputError
from t2ui.inference.dispatch import Classification, DispatchPrompt, LabelReader, route
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert

LABELS = ("math", "code", "reasoning", OTHERS)
PROMPTS = ("What is 7 + 5?", "Write a haiku about rivers, please.", "é")


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    return request.getfixturevalue(f"tiny_{request.param}")


@pytest.fixture
def dispatcher(tiny_llama, tiny_tokenizer):
    with adapt(tiny_llama) as adapter:
        yield LabelReader(tiny_llama, tiny_tokenizer, adapter)


def expert_of(model, adapter, seed=1, name="dispatch") -> Expert:
    scales = random_scales(model, adapter.names, seed, spread=0.3)
    return Expert(name, scales, objective="dispatch", labels=LABELS)


def asked_text(prompt: str, labels=LABELS) -> str:
    """The whole of what the model reads, in the tiny tokenizer's chat format."""
    instruction = dispatch_module.INSTRUCTION.format(labels=", ".join(labels))
    return (
        f"<|im_start|>user\n{instruction}{prompt}<|im_end|>\n<|im_start|>assistant\n"
        f"{dispatch_module.ANSWER_START}"
    )


def plain_scores(model, tokenizer, prompt: str, labels=LABELS) -> torch.Tensor:
    ids = tokenizer.encode(asked_text(prompt, labels), add_special_tokens=False)
    answers = [tokenizer.encode(f"{label}}}", add_special_tokens=False) for label in labels]
    return torch.stack([log_likelihood(model, ids, answer) for answer in answers])


def assert_log_close(probabilities: dict, wanted: torch.Tensor):
    """Compared as logarithms: random models are nearly sure of something."""
    found = torch.tensor(list(probabilities.values())).double().log()
    finite = found > -80
    assert finite.sum() >= 2
    torch.testing.assert_close(
        found[finite], wanted.double().log_softmax(0)[finite], atol=5e-3, rtol=1e-3
    )


# --- probabilities -------------------------------------------------------------------------------


def test_label_log_likelihoods_equal_plain_forward_passes(model, tiny_tokenizer):
    bias = plain_scores(model, tiny_tokenizer, dispatch_module.CONTENT_FREE)
    with adapt(model) as adapter:
        dispatcher = LabelReader(model, tiny_tokenizer, adapter)
        for prompt in PROMPTS:
            wanted = plain_scores(model, tiny_tokenizer, prompt)
            found = dispatcher.classify(prompt, LABELS)
            assert list(found.raw) == list(found.probabilities) == list(LABELS)
            assert_log_close(found.raw, wanted)
            assert_log_close(found.probabilities, wanted - bias)
            assert found.probabilities[found.label] == max(found.probabilities.values())
            assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_a_classification_expert_reads_the_prompt_and_is_not_calibrated(model, tiny_tokenizer):
    with adapt(model) as adapter:
        expert = expert_of(model, adapter)
        wanted = plain_scores(rewritten(model, expert.scales), tiny_tokenizer, PROMPTS[0])
        found = LabelReader(model, tiny_tokenizer, adapter).classify(PROMPTS[0], LABELS, expert)
    assert_log_close(found.raw, wanted)
    assert found.probabilities == found.raw
    assert found.label == LABELS[int(wanted.argmax())]


@pytest.mark.parametrize(
    ("training", "temperature"),
    [
        ({"temperature": 5.0}, 5.0),  # as the shipped one's, which does not tell its objective
        ({"temperature": 5.0, "objective": "exact"}, 5.0),
        ({"temperature": 0.5, "objective": "exact"}, 0.5),
        ({"temperature": 5.0, "objective": "next_token"}, 1.0),  # this one did not use it
        ({"steps": 3}, 1.0),
    ],
)
def test_a_classification_expert_is_read_at_the_temperature_it_was_trained_at(
    dispatcher, tiny_llama, tiny_tokenizer, training, temperature
):
    expert = replace(expert_of(tiny_llama, dispatcher.adapter), training=training)
    scores = plain_scores(rewritten(tiny_llama, expert.scales), tiny_tokenizer, PROMPTS[0])
    found = dispatcher.classify(PROMPTS[0], LABELS, expert)
    assert_log_close(found.raw, scores / temperature)
    assert found.probabilities == found.raw
    base = dispatcher.classify(PROMPTS[0], LABELS).raw  # the base model is read at 1
    assert_log_close(base, plain_scores(tiny_llama, tiny_tokenizer, PROMPTS[0]))


@pytest.mark.parametrize("bad", ["5", 0, -1.0, float("nan"), True, None])
def test_a_record_without_a_usable_temperature_is_one_clear_line(dispatcher, tiny_llama, bad):
    expert = replace(expert_of(tiny_llama, dispatcher.adapter), training={"temperature": bad})
    with pytest.raises(InputError, match="record gives the temperature .* above 0"):
        dispatcher.classify(PROMPTS[0], LABELS, expert)


def test_calibration_takes_the_label_bias_out(dispatcher):
    found = dispatcher.classify(dispatch_module.CONTENT_FREE, LABELS)
    assert list(found.probabilities.values()) == pytest.approx([0.25] * 4, abs=1e-3)
    assert max(found.raw.values()) > 0.5
    others = [dispatcher.classify(prompt, LABELS) for prompt in PROMPTS]
    assert any(c.label != max(c.raw, key=c.raw.get) for c in others), "it decides nothing here"


def test_the_order_of_calls_changes_no_result(dispatcher, tiny_llama):
    """Neither other prompts in between, nor an expert, nor other labels: bit for bit."""
    experts = [None, expert_of(tiny_llama, dispatcher.adapter)]
    calls = list(itertools.product(PROMPTS, experts, (LABELS, LABELS[:2])))
    first = [dispatcher.classify(p, labels, e) for p, e, labels in calls]
    again = [dispatcher.classify(p, labels, e) for p, e, labels in reversed(calls)][::-1]
    for one, two in zip(first, again, strict=True):
        assert (one.probabilities, one.raw, one.said) == (two.probabilities, two.raw, two.said)
    assert len({tuple(c.raw.values()) for c in first}) == len(calls)


def test_two_experts_of_one_name_are_not_confused(dispatcher, tiny_llama, tiny_tokenizer):
    """The prefilled instruction of one must not serve the other, saved to a file or not."""
    for seed in (1, 2):
        expert = expert_of(tiny_llama, dispatcher.adapter, seed, name="dispatch")
        wanted = plain_scores(rewritten(tiny_llama, expert.scales), tiny_tokenizer, PROMPTS[0])
        assert_log_close(dispatcher.classify(PROMPTS[0], LABELS, expert).raw, wanted)


def test_the_adapter_is_left_as_it_was(dispatcher, tiny_llama, tiny_tokenizer):
    z = random_scales(tiny_llama, matrix_names("llama"), seed=4)
    dispatcher.adapter.set(z)
    before = dispatcher.adapter.current()
    found = dispatcher.classify(PROMPTS[0], LABELS)
    assert dispatcher.adapter.current() == before
    assert_log_close(found.raw, plain_scores_of_base(tiny_llama, tiny_tokenizer, dispatcher))


def plain_scores_of_base(model, tokenizer, dispatcher):
    with dispatcher.adapter.disabled():
        return plain_scores(model, tokenizer, PROMPTS[0])


@pytest.mark.parametrize("layer", [0, 1])
def test_a_call_that_fails_half_way_does_not_spoil_the_next(
    dispatcher, tiny_llama, monkeypatch, layer
):
    wanted = dispatcher.classify(PROMPTS[0], LABELS)

    def fail(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tiny_llama.model.layers[layer].mlp.act_fn, "forward", fail)
        with pytest.raises(KeyboardInterrupt):
            dispatcher.classify(PROMPTS[1], LABELS)
    found = dispatcher.classify(PROMPTS[0], LABELS)
    assert (found.raw, found.probabilities) == (wanted.raw, wanted.probabilities)


def test_the_instruction_is_read_once(dispatcher, tiny_llama):
    """After the first prompt a call reads the prompt and the labels, not the instruction."""
    read = []
    hook = tiny_llama.model.embed_tokens.register_forward_hook(
        lambda module, args, output: read.append(args[0].numel())
    )
    try:
        dispatcher.classify(PROMPTS[0], LABELS)
        before = sum(read)
        read.clear()
        dispatcher.classify(PROMPTS[0], LABELS)
    finally:
        hook.remove()
    assert before > 200
    assert read[0] < 100


def test_a_long_prompt_is_read_from_its_two_ends(dispatcher, tiny_tokenizer):
    head, tail = chat_module.HEAD_TOKENS, chat_module.TAIL_TOKENS
    long = "".join(chr(97 + i % 26) for i in range(head + tail + 500))
    short = long[:head] + long[-tail:]
    assert dispatcher.classify(long, LABELS).raw == dispatcher.classify(short, LABELS).raw
    form = DispatchPrompt.of(tiny_tokenizer, LABELS)
    question = form.question(tiny_tokenizer, long)
    assert tiny_tokenizer.decode(question.prompt).startswith(f"{short}<|im_end|>")
    just = form.question(tiny_tokenizer, long[: head + tail])
    assert tiny_tokenizer.decode(just.prompt).startswith(long[: head + tail])


def test_the_parts_of_the_prompt_are_the_whole_text(tiny_tokenizer):
    form = DispatchPrompt.of(tiny_tokenizer, LABELS)
    question = form.question(tiny_tokenizer, PROMPTS[0])
    assert tiny_tokenizer.decode([*form.before, *question.prompt]) == asked_text(PROMPTS[0])
    answers = [tiny_tokenizer.decode(answer) for answer in question.options]
    assert answers == ["math}", "code}", "reasoning}", "others}"]


@pytest.mark.parametrize("labels", [(), ("others",)])
def test_fewer_than_two_labels(dispatcher, labels):
    with pytest.raises(InputError, match=rf"Pass one has {len(labels)} label\(s\).*at least two"):
        dispatcher.classify(PROMPTS[0], labels)


@pytest.mark.parametrize(("prompt", "message"), [("  ", "is empty"), ("a" * 100_000, "100,000")])
def test_prompts_that_cannot_be_read(dispatcher, prompt, message):
    with pytest.raises(InputError, match=message):
        dispatcher.classify(prompt, LABELS)


# --- the model's own words -----------------------------------------------------------------------


def plain_words(model, tokenizer, prompt: str) -> str:
    """Greedy decoding of the same text by transformers, up to the box's end."""
    ids = tokenizer.encode(asked_text(prompt), add_special_tokens=False)
    own = greedy(model, ids, dispatch_module.MAX_OWN_TOKENS)
    brace = tokenizer.encode("}", add_special_tokens=False)[0]
    own = own[: own.index(brace) + 1] if brace in own else own
    said = dispatch_module.ANSWER_START + tokenizer.decode(own, skip_special_tokens=True)
    return said if "}" in said else f"{said}…"


def test_own_words_equal_plain_greedy_decoding(model, tiny_tokenizer):
    with adapt(model) as adapter:
        dispatcher = LabelReader(model, tiny_tokenizer, adapter)
        found = [dispatcher.classify(prompt, LABELS).said for prompt in PROMPTS]
    assert found == [plain_words(model, tiny_tokenizer, prompt) for prompt in PROMPTS]


@contextmanager
def bigrams(model, tokenizer, text: str, end: bool = False):
    """After each character of the text the model says the next one; it reads its last token."""
    follows = dict(itertools.pairwise(tokenizer.encode(text, add_special_tokens=False)))
    if end:
        follows[tokenizer.encode(text[-1], add_special_tokens=False)[0]] = END_ID
    read = []

    def watch(module, args, output):
        read.append(args[0])

    def say(module, args, output):
        kept = read[-1][:, -output.shape[1] :]
        found = torch.full_like(output, -20.0)
        for row, column in itertools.product(*map(range, kept.shape)):
            found[row, column, follows.get(int(kept[row, column]), 5)] = 20.0
        return found

    hooks = [
        model.get_input_embeddings().register_forward_hook(watch),
        model.get_output_embeddings().register_forward_hook(say),
    ]
    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize(
    ("says", "end", "said"),
    [
        ("{code}", False, "\\boxed{code}"),  # a label
        ("{cod}", False, "\\boxed{cod}"),  # leaves the labels' path at its end
        ("{cot}", False, "\\boxed{cot}"),  # and inside a label
        ("{xyz}", False, "\\boxed{xyz}"),  # and at once
        ("{}", False, "\\boxed{}"),
        ("{math", True, "\\boxed{math…"),  # ends without closing the box
        ("{", True, "\\boxed{…"),
        ("{abcdefghijklmnop}", False, "\\boxed{abcdefghijkl…"),
    ],
)
def test_own_words_on_and_off_the_labels_path(
    dispatcher, tiny_llama, tiny_tokenizer, monkeypatch, says, end, said
):
    monkeypatch.setattr(dispatch_module, "MAX_OWN_TOKENS", 12)
    with bigrams(tiny_llama, tiny_tokenizer, says, end):
        assert dispatcher.classify(PROMPTS[0], LABELS).said == said
        assert plain_words(tiny_llama, tiny_tokenizer, PROMPTS[0]) == said


def test_words_that_spell_a_label_cost_no_further_pass(dispatcher, tiny_llama, tiny_tokenizer):
    dispatcher.classify(PROMPTS[0], LABELS)
    with bigrams(tiny_llama, tiny_tokenizer, "{code}") as read:
        found = dispatcher.classify(PROMPTS[0], LABELS)
    assert len(read) == 1
    assert found.label == max(found.raw, key=found.raw.get) == "code"


def test_rambling_is_cut_short(dispatcher, tiny_llama, tiny_tokenizer):
    dispatcher.classify(PROMPTS[0], LABELS)
    with bigrams(tiny_llama, tiny_tokenizer, "{aa") as read:
        said = dispatcher.classify(PROMPTS[0], LABELS).said
    assert said == "\\boxed{" + "a" * dispatch_module.MAX_OWN_TOKENS + "…"
    assert len(read) == dispatch_module.MAX_OWN_TOKENS


# --- routing -------------------------------------------------------------------------------------


def found(**probabilities) -> Classification:
    label = max(probabilities, key=probabilities.get)
    return Classification(label, probabilities, probabilities, "", 0.0)


def answering(**labels) -> dict[str, Expert]:
    scales = {"model.layers.0.mlp.up_proj": torch.ones(4)}
    return {name: Expert(name, copy.copy(scales), labels=given) for name, given in labels.items()}


EXPERTS = answering(math=(), coder=("code", "sql"))


def test_hard_routing_takes_the_most_likely_labels_expert():
    mixture, note = route(found(math=0.3, code=0.6, others=0.1), EXPERTS)
    assert (mixture.weights, note) == ({"coder": 1.0}, "")
    assert route(found(math=0.8, code=0.2), EXPERTS)[0].weights == {"math": 1.0}


def test_hard_routing_of_others_is_the_base_model():
    mixture, note = route(found(math=0.3, others=0.7), EXPERTS)
    assert (mixture.weights, note) == ({}, "others: the base model answers")


def test_hard_routing_to_a_label_without_an_expert_is_the_base_model():
    mixture, note = route(found(math=0.3, reasoning=0.7), EXPERTS)
    assert (mixture.weights, note) == ({}, "no expert for 'reasoning' yet: the base model answers")


def test_soft_routing_takes_probabilities_as_weights():
    probabilities = {"math": 0.5, "code": 0.2, "sql": 0.1, "reasoning": 0.15, "others": 0.05}
    mixture, note = route(found(**probabilities), EXPERTS, "soft")
    assert mixture.weights == {"math": 0.5, "coder": pytest.approx(0.3)}
    assert mixture.base_share == pytest.approx(0.2)
    assert note == ""


@pytest.mark.parametrize("routing", ["hard", "soft"])
@pytest.mark.parametrize("experts", [answering(others=()), answering(rest=("others",))])
def test_others_are_the_base_models_whatever_an_expert_is_called(routing, experts):
    mixture, _ = route(found(math=0.2, code=0.2, others=0.6), {**EXPERTS, **experts}, routing)
    assert mixture.weights == ({"math": 0.2, "coder": 0.2} if routing == "soft" else {})


@pytest.mark.parametrize("routing", ["hard", "soft"])
def test_below_the_threshold_the_base_model_answers(routing):
    classification = found(math=0.6, code=0.4)
    mixture, note = route(classification, EXPERTS, routing, threshold=0.61)
    assert mixture.weights == {}
    assert note == "0.60 is below the threshold 0.61: the base model answers"
    assert route(classification, EXPERTS, routing, threshold=0.6)[0].weights != {}


def test_unknown_routing():
    with pytest.raises(InputError, match="routing is 'best'; expected hard, soft"):
        route(found(math=1.0), EXPERTS, "best")
