"""Prompt to answer in two passes, on a model that somebody else holds."""

import pytest
import torch
import two_passes
from reference import logits, matrix_names, prompt_ids, random_scales
from tiny import ARCHITECTURES, END_ID, make_tiny
from two_passes import PROMPT, assert_untouched, experts_for, infer, plain

from t2ui.config import AnswerSettings, Sampling
from t2ui.errors import InputError
from t2ui.inference.dispatch import Classification, LabelReader
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.plan import make_plan
from t2ui.inference.two_pass import replay, two_pass_infer
from t2ui.svf.adapter import adapt, attached
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, mix

experts, with_dispatcher, untouched = (  # fixtures
    two_passes.experts,
    two_passes.with_dispatcher,
    two_passes.untouched,
)


# --- the answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_as_in_the_articles_snippet(architecture, request, tiny_tokenizer):
    """Whatever pass one decides, pass two answers with that mixture, and the model is as it was."""
    model = request.getfixturevalue(f"tiny_{architecture}")
    before = {n: t.clone() for n, t in model.state_dict().items()}, logits(model, prompt_ids(7))
    experts = experts_for(model, matrix_names(architecture))
    result = infer(model, tiny_tokenizer, experts)
    assert_untouched(model, before)
    assert set(result.probabilities) == {"math", "code", "others"}
    assert result.label == max(result.probabilities, key=result.probabilities.get)
    wanted = {} if result.label == "others" else {result.label: 1.0}
    assert result.mixture.weights == wanted
    assert result.token_ids == plain(model, tiny_tokenizer, mix(experts, Mixture(wanted)))
    written = tiny_tokenizer.decode(result.token_ids, skip_special_tokens=True)
    ended = result.token_ids[-1] == END_ID  # otherwise half a character at the limit is dropped
    assert result.text == (written if ended else written.rstrip("\ufffd"))
    assert str(result) == result.text
    assert set(result.timings) == {"pass_one", "pass_two"}
    assert result.classification.said.startswith("\\boxed{")


def test_a_mixture_is_taken_as_it_is(tiny_llama, tiny_tokenizer, experts, untouched):
    mixture = Mixture({"math": 0.7, "code": -0.4})
    result = infer(tiny_llama, tiny_tokenizer, experts, mixture=mixture)
    assert result.token_ids == plain(tiny_llama, tiny_tokenizer, mix(experts, mixture))
    assert result.token_ids != plain(tiny_llama, tiny_tokenizer)
    assert (result.label, result.probabilities, result.classification) == (None, {}, None)
    assert (result.mixture, result.note) == (mixture, "")
    assert result.receipt["set_by"] == "you"


@pytest.mark.parametrize("settings", [{"dispatch": "none"}, {"mixture": Mixture()}])
def test_without_a_dispatcher_the_base_model_answers(
    tiny_llama, tiny_tokenizer, with_dispatcher, untouched, settings
):
    result = infer(tiny_llama, tiny_tokenizer, with_dispatcher, **settings)
    assert result.token_ids == plain(tiny_llama, tiny_tokenizer)
    assert (result.label, result.mixture.weights) == (None, {})


def test_a_classification_expert_is_used_where_there_is_one(
    tiny_llama, tiny_tokenizer, with_dispatcher, untouched
):
    result = infer(tiny_llama, tiny_tokenizer, with_dispatcher)
    assert result.receipt["set_by"].startswith("classification expert, ")
    with adapt(tiny_llama) as adapter:
        dispatcher = LabelReader(tiny_llama, tiny_tokenizer, adapter)
        labels, known = ("math", "code", "others"), ("code", "math", "others")
        wanted = dispatcher.classify(PROMPT, known, with_dispatcher["dispatch"])
        by_prompt = dispatcher.classify(PROMPT, labels)
    assert result.probabilities == wanted.probabilities != by_prompt.probabilities
    asked = infer(tiny_llama, tiny_tokenizer, with_dispatcher, dispatch="prompt")
    assert asked.probabilities == by_prompt.probabilities
    assert asked.receipt["set_by"].startswith("prompt dispatcher, ")
    # its scales are on in pass one only
    answering = {n: e for n, e in with_dispatcher.items() if n != "dispatch"}
    scales = mix(answering, result.mixture)
    assert result.token_ids == plain(tiny_llama, tiny_tokenizer, scales)


def test_soft_routing_and_threshold_reach_the_router(
    tiny_llama, tiny_tokenizer, experts, untouched
):
    soft = infer(tiny_llama, tiny_tokenizer, experts, routing="soft")
    shares = {n: p for n, p in soft.probabilities.items() if n != "others"}
    assert soft.mixture.weights == shares
    assert soft.token_ids == plain(tiny_llama, tiny_tokenizer, mix(experts, soft.mixture))
    sure = max(soft.probabilities.values())
    assert sure < 1
    unsure = infer(tiny_llama, tiny_tokenizer, experts, threshold=1.0)
    assert unsure.mixture.weights == {}
    assert "below the threshold 1.00" in unsure.note


def test_sampling_reaches_the_decoder(tiny_llama, tiny_tokenizer, experts, untouched):
    hot = Sampling(max_new_tokens=16, temperature=1.0, seed=5)
    found = [
        infer(tiny_llama, tiny_tokenizer, experts, mixture=Mixture(), sampling=s).token_ids
        for s in (hot, hot, Sampling(max_new_tokens=16, temperature=1.0, seed=6))
    ]
    assert found[0] == found[1] != found[2]
    assert len(found[0]) <= 16


def test_a_plan_needs_no_pass_one_for_none(tiny_llama, tiny_tokenizer, experts):
    """No dispatcher is even made."""
    with adapt(tiny_llama) as adapter:
        dispatchers = Dispatchers(tiny_llama, tiny_tokenizer, adapter)
        plan = make_plan(dispatchers, PROMPT, experts, AnswerSettings(dispatch="none"))
    assert list(dispatchers._made) == ["none"]
    assert (plan.mixture, plan.set_by, plan.classification, plan.seconds) == (
        Mixture(),
        "no dispatcher",
        None,
        0.0,
    )


def test_normalise_divides_whoever_made_the_mixture(tiny_llama, tiny_tokenizer, experts, untouched):
    soft = infer(tiny_llama, tiny_tokenizer, experts, routing="soft", normalise=True)
    shares = {n: p for n, p in soft.probabilities.items() if n != "others"}
    assert soft.mixture == Mixture(shares, normalise=True)
    assert soft.mixture.base_share == pytest.approx(0)
    assert soft.receipt["normalise"] is True
    assert soft.token_ids == plain(tiny_llama, tiny_tokenizer, mix(experts, soft.mixture))
    given = infer(
        tiny_llama, tiny_tokenizer, experts, mixture=Mixture({"math": 3, "code": 1}), normalise=True
    )
    assert given.mixture == Mixture({"math": 3, "code": 1}, normalise=True)
    assert replay(tiny_llama, tiny_tokenizer, given.receipt, experts).token_ids == given.token_ids
    nothing = infer(
        tiny_llama, tiny_tokenizer, experts, mixture=Mixture({"math": 0}), normalise=True
    )
    assert nothing.token_ids == plain(tiny_llama, tiny_tokenizer)


def test_others_alone_is_the_base_model_also_where_the_rest_would_be_divided(
    tiny_llama, tiny_tokenizer, experts, monkeypatch
):
    sure = {"math": 0.0, "code": 1e-9, "others": 1.0}
    found = Classification("others", sure, sure, "", 0.0)
    monkeypatch.setattr(LabelReader, "classify", lambda *_: found)
    result = infer(tiny_llama, tiny_tokenizer, experts, routing="soft", normalise=True)
    assert (result.mixture, result.note) == (Mixture(), "others: the base model answers")
    assert result.token_ids == plain(tiny_llama, tiny_tokenizer)


def test_the_end_token_is_among_the_ids_and_not_in_the_text(tiny_llama, tiny_tokenizer, experts):
    answers = [
        two_pass_infer(
            tiny_llama,
            tiny_tokenizer,
            PROMPT,
            experts,
            mixture=Mixture(),
            sampling=Sampling(max_new_tokens=200, temperature=3.0, seed=seed),
        )
        for seed in range(4)
    ]
    ended = [a for a in answers if a.token_ids[-1] == END_ID]
    assert ended
    assert all("<|im_end|>" not in a.text for a in answers)


@pytest.mark.parametrize("mode", ["prompt", "expert"])
def test_a_model_in_train_mode_answers_as_in_eval_mode(tiny_tokenizer, mode):
    model = make_tiny("gpt2")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    with adapt(model) as adapter:
        experts = {
            name: Expert(
                name,
                random_scales(model, adapter.names, seed),
                labels=labels,
                objective="dispatch" if name == "router" else "",
            )
            for seed, (name, labels) in enumerate(
                {"a": ("a",), "b": ("b",), "router": ("a", "b", "others")}.items()
            )
        }

        def answer():
            sampling = Sampling(max_new_tokens=12)
            found = two_pass_infer(
                model, tiny_tokenizer, PROMPT, experts, dispatch=mode, sampling=sampling
            )
            return found.probabilities, found.token_ids

        wanted = answer()
        model.train()
        assert answer() == wanted
        assert all(module.training for module in model.modules())


# --- errors leave the model as it was ------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixture": Mixture({"meth": 1})}, "no expert named 'meth'; there are: code, math"),
        ({"dispatch": "expert"}, "needs is not loaded: train one"),
        (
            {"dispatch": "random"},
            "dispatch is 'random'; expected prompt, expert, router, both, none",
        ),
        ({"mixture": Mixture(), "dispatch": "prompt"}, "both given: choose one"),
        ({"routing": "best"}, "routing is 'best'"),
        ({"threshold": 1.5}, "threshold is 1.5; expected between 0 and 1"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"mixture": Mixture(), "sampling": Sampling(max_new_tokens=600)}, "context holds 512"),
    ],
)
def test_bad_settings(tiny_llama, tiny_tokenizer, experts, untouched, settings, message):
    with pytest.raises(InputError, match=message):
        infer(tiny_llama, tiny_tokenizer, experts, **settings)


@pytest.mark.parametrize("prompt", ["", " \n", "a" * 100_000])
def test_bad_prompts(tiny_llama, tiny_tokenizer, experts, untouched, prompt):
    for mixture in (None, Mixture({"math": 1})):
        with pytest.raises(InputError, match="The prompt (is empty|has 100,000 characters)"):
            two_pass_infer(tiny_llama, tiny_tokenizer, prompt, experts, mixture=mixture)


@pytest.mark.parametrize("after", [0, 1, 3, 9])
def test_a_failure_in_any_forward_pass(
    tiny_llama, tiny_tokenizer, experts, untouched, monkeypatch, after
):
    calls = []
    activation = tiny_llama.model.layers[1].mlp.act_fn
    original = activation.forward

    def fail(x):
        calls.append(x.shape)
        if len(calls) > after:
            raise MemoryError("out of memory")
        return original(x)

    with monkeypatch.context() as patch:
        patch.setattr(activation, "forward", fail)
        with pytest.raises(MemoryError):
            infer(tiny_llama, tiny_tokenizer, experts)
        assert len(calls) == after + 1
    vars(activation).pop("forward", None)  # what monkeypatch put back as an instance attribute


def test_an_expert_of_other_shapes(tiny_llama, tiny_tokenizer, experts, untouched):
    wrong = {"model.layers.0.mlp.up_proj": torch.ones(7)}
    with pytest.raises(InputError, match="'wrong' .*does not fit: .* 7 scales, the model has 32"):
        infer(tiny_llama, tiny_tokenizer, {**experts, "wrong": Expert("wrong", wrong)})


def test_a_bare_backbone_is_one_clear_line(tiny_llama, tiny_tokenizer):
    with pytest.raises(InputError, match="LlamaModel has no output head"):
        two_pass_infer(tiny_llama.base_model, tiny_tokenizer, PROMPT, {}, dispatch="none")


# --- a model that has an adapter already ---------------------------------------------------------


def test_the_callers_adapter_is_used_and_stays(tiny_llama, tiny_tokenizer, experts):
    mixture = Mixture({"math": 1.0})
    wanted = infer(tiny_llama, tiny_tokenizer, experts, mixture=mixture).token_ids
    by_prompt = infer(tiny_llama, tiny_tokenizer, experts).probabilities
    with adapt(tiny_llama) as adapter:
        adapter.set(experts["code"].scales)  # what it has set is no part of the answer
        before, setting = logits(tiny_llama, prompt_ids(7)), adapter.current()
        assert infer(tiny_llama, tiny_tokenizer, experts, mixture=mixture).token_ids == wanted
        assert infer(tiny_llama, tiny_tokenizer, experts).probabilities == by_prompt
        with pytest.raises(InputError):
            infer(tiny_llama, tiny_tokenizer, experts, mixture=Mixture({"meth": 1}))
        assert attached(tiny_llama) is adapter
        assert adapter.current() == setting
        assert torch.equal(logits(tiny_llama, prompt_ids(7)), before)
    assert attached(tiny_llama) is None
