"""Components named and tested: every number is that of a plain transformers model."""

import pytest
import torch
from reference import greedy, log_likelihood, logits, matrix_names, random_scales, rewritten
from tiny import ARCHITECTURES, make_tiny, make_tokenizer

from t2ui.config import AnswerSettings
from t2ui.errors import InputError
from t2ui.inference.components import ANSWER_TOKENS, components_of, measure_components
from t2ui.inference.dispatchers import Dispatchers
from t2ui.models.chat import chat_ids, text_ids
from t2ui.records import ComponentChoice
from t2ui.svf.adapter import adapt
from t2ui.svf.decomposition import leaf_of
from t2ui.svf.expert import Expert

PROMPT, GIVEN = "What is 7 + 5?", "It is 12."
MATH = AnswerSettings({"math": 1.0})
WRITERS = ("o_proj", "down_proj", "c_proj")


def experts_for(model, architecture="llama"):
    return {"math": Expert("math", random_scales(model, matrix_names(architecture), 1))}


def by_hand(norm, rows):
    """A norm's linear part at a root mean square of 1, whatever way it keeps its weight."""
    kind, width = type(norm).__name__, rows.shape[1]
    if "LayerNorm" in kind and "RMS" not in kind:
        rows = rows - rows.mean(1, keepdim=True)
    scaled = rows / (rows.square().mean(1, keepdim=True) + 1e-9).sqrt()  # the padding token is 0
    assert width == norm.weight.numel()
    return scaled * (1 + norm.weight if "Gemma" in kind else norm.weight)


def read_by(model, name, ids):
    """What a matrix reads of these tokens, (T, in), by a plain forward pass."""
    seen = []
    module = model.get_submodule(name)
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    logits(model, ids)
    handle.remove()
    return seen[0]


def unit(rows):
    return rows / (rows.norm(dim=1, keepdim=True) + 1e-9)


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if a != "llava"])
def test_names_are_the_tokens_that_the_weights_say(architecture):
    model, tokenizer = make_tiny(architecture), make_tokenizer()
    with adapt(model) as adapter:
        chosen = tuple((name, 3) for name in adapter.names if ".1." in name)
        found = components_of(
            model, tokenizer, experts_for(model, architecture), MATH, ComponentChoice(chosen=chosen)
        )
        factors = adapter.factors
    block = model.get_submodule(chosen[0][0].rsplit(".", 2)[0])
    backbone = model.get_submodule(chosen[0][0].split(".")[0])
    last = getattr(backbone, "norm", None) or backbone.ln_f
    gemma, gpt2 = architecture.startswith("gemma"), architecture == "gpt2"
    embedded = model.get_input_embeddings()(torch.arange(len(tokenizer)))
    for one in found.components:
        attention, writes = "attn" in one.name, leaf_of(one.name) in WRITERS
        ends = one.writes if writes else one.reads
        assert (one.reads if writes else one.writes) is None
        U, S, Vh = factors[one.name]
        assert one.sigma == pytest.approx(float(S[3]))
        if writes:
            direction = U[:, 3][None]
            if gemma:
                behind = "post_attention_layernorm" if attention else "post_feedforward_layernorm"
                direction = by_hand(getattr(block, behind), direction)
            scores = by_hand(last, direction) @ model.get_output_embeddings().weight.T
            scores = (scores - scores.mean())[0]
        else:
            names = ("ln_1", "ln_2") if gpt2 else ("input_layernorm", "post_attention_layernorm")
            if gemma:
                names = ("input_layernorm", "pre_feedforward_layernorm")
            norm = getattr(block, names[0] if attention else names[1])
            seen = by_hand(norm, embedded) + (norm.bias if gpt2 else 0)
            scores = (unit(seen) @ unit(Vh[3][None]).T)[:, 0]
        for side, sign in ((ends.along, 1), (ends.against, -1)):
            best = (sign * scores).topk(len(side))
            assert [score for _, score in side] == pytest.approx(best.values.tolist(), abs=2e-3)
            text = tokenizer.decode([int(best.indices[0])])
            assert side[0][0] == text
        assert ends.chance > 0


def test_a_block_with_other_norms_is_not_named(tiny_tokenizer):
    model = make_tiny("llama")
    model.model.layers[1].extra_norm = torch.nn.LayerNorm(32)
    found = components_of(
        model, tiny_tokenizer, experts_for(model), MATH, ComponentChoice(layer=1, count=20)
    )
    assert all(one.reads is None and one.writes is None for one in found.components)
    assert any("norms that are not known here" in one.reads_what for one in found.components)


@pytest.mark.parametrize("at", [1.0, -0.5])
def test_a_component_set_to_a_value_is_the_model_with_that_z(tiny_llama, tiny_tokenizer, at):
    experts = experts_for(tiny_llama)
    choice = ComponentChoice(count=6, at=at)
    found = components_of(tiny_llama, tiny_tokenizer, experts, MATH, choice, PROMPT, GIVEN)
    prompt, given = chat_ids(tiny_tokenizer, PROMPT), text_ids(tiny_tokenizer, GIVEN)
    assert found.text_tokens == len(given) and found.text == GIVEN and found.at == at
    scales = experts["math"].scales
    plain = (
        log_likelihood(tiny_llama, prompt, given),
        log_likelihood(rewritten(tiny_llama, scales), prompt, given),
    )
    assert [found.base, found.adapted] == pytest.approx([float(p) for p in plain], abs=1e-3)
    for one, changed in zip(found.components, found.changed, strict=True):
        z = scales[one.name].clone()
        assert one.z == pytest.approx(float(z[one.index]))
        z[one.index] = at
        alone = rewritten(tiny_llama, {**scales, one.name: z})
        assert changed == pytest.approx(float(log_likelihood(alone, prompt, given)), abs=1e-3)
    assert len({round(changed, 4) for changed in found.changed}) > 1


@pytest.mark.parametrize("scope", ["all", "answer"])
def test_activity_is_what_the_matrix_reads(tiny_llama, tiny_tokenizer, scope):
    experts = experts_for(tiny_llama)
    settings = AnswerSettings({"math": 1.0}, scope=scope)
    with adapt(tiny_llama) as adapter:
        factors = adapter.factors
        dispatchers = Dispatchers(tiny_llama, tiny_tokenizer, adapter)
        pieces = measure_components(
            dispatchers, experts, settings, ComponentChoice(count=5), PROMPT, GIVEN
        )
        while True:
            try:
                next(pieces)
                logits(tiny_llama, [5, 6, 7])  # other people's work between two pieces
            except StopIteration as ended:
                found = ended.value
                break
    prompt, given = chat_ids(tiny_tokenizer, PROMPT), text_ids(tiny_tokenizer, GIVEN)
    own = len(PROMPT)  # one token a byte
    first = next(
        i for i in range(len(prompt)) if tiny_tokenizer.decode(prompt[i : i + own]) == PROMPT
    )
    assert "".join(found.tokens) == PROMPT + GIVEN[:-1] and found.prompt_tokens == own
    assert found.scope == scope
    ids = [*prompt, *given[:-1]]
    shown = [*range(first, first + own), *range(len(prompt), len(ids))]
    adapted = rewritten(tiny_llama, experts["math"].scales)
    for one, activity in zip(found.components, found.activity, strict=True):
        v = factors[one.name].Vh[one.index]
        x = read_by(adapted, one.name, ids)
        if scope == "answer":  # the person's text is read by the base model
            x = read_by(tiny_llama, one.name, ids)
            shown = list(range(first, first + own))
        assert list(activity[: len(shown)]) == pytest.approx((x[shown] @ v).tolist(), abs=1e-3)
    hooks = [m._forward_pre_hooks for m in tiny_llama.modules() if m._forward_pre_hooks]
    assert not hooks, "nothing is left on the model"


def test_without_an_answer_the_mixture_gives_its_own(tiny_llama, tiny_tokenizer):
    experts = experts_for(tiny_llama)
    found = components_of(tiny_llama, tiny_tokenizer, experts, MATH, None, PROMPT)
    alone = rewritten(tiny_llama, experts["math"].scales)
    answer = greedy(alone, chat_ids(tiny_tokenizer, PROMPT), ANSWER_TOKENS)
    assert found.text and tiny_tokenizer.decode(answer, skip_special_tokens=True).startswith(
        found.text
    )
    named = components_of(tiny_llama, tiny_tokenizer, experts, MATH)
    assert [one.name for one in named.components] == [one.name for one in found.components]
    assert named.adapted is None and named.changed == () and named.tokens == ()


@pytest.mark.parametrize(
    ("mixture", "choice", "words"),
    [
        ({"poems": 1.0}, {}, "no expert named 'poems'"),
        ({"math": 0.0}, {}, "changes none of these matrices"),
        ({"math": 1.0}, {"module": "head"}, "no module 'head'"),
        ({"math": 1.0}, {"layer": 7}, "no layer 7; expected one from 0 to 1"),
        ({"math": 1.0}, {"by": "size"}, "order is 'size'"),
        ({"math": 1.0}, {"count": 100}, "expected 1 to 40"),
        ({"math": 1.0}, {"chosen": (("lm_head", 0),)}, "no adapted matrix 'lm_head'"),
        ({"math": 1.0}, {"chosen": (("model.layers.0.mlp.up_proj", 32),)}, "no component 32"),
        ({"math": 1.0}, {"at": 9.0}, "z of the component is 9"),
    ],
)
def test_bad_input_is_one_line(tiny_llama, tiny_tokenizer, mixture, choice, words):
    with pytest.raises(InputError, match=words):
        components_of(
            tiny_llama,
            tiny_tokenizer,
            experts_for(tiny_llama),
            AnswerSettings(mixture),
            ComponentChoice(**choice),
            PROMPT,
        )
