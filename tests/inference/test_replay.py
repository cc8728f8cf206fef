"""A receipt says what answered and replays to the same tokens, or is refused and says why."""

import copy
import json

import pytest
import two_passes
from reference import logits, matrix_names, rewritten
from tiny import make_tiny
from two_passes import PROMPT, experts_for, infer

from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.inference.two_pass import replay
from t2ui.models.chat import chat_ids
from t2ui.svf.adapter import adapt, attached
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, mix

experts, untouched = two_passes.experts, two_passes.untouched  # fixtures


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mixture": Mixture({"math": 0.6, "code": -0.3})},
        {"mixture": Mixture({"math": (0.2, 1.4), "code": 1.0}, normalise=True)},
        {"routing": "soft"},
        {"dispatch": "none"},
        {
            "mixture": Mixture({"math": 1}),
            "sampling": Sampling(
                max_new_tokens=20, temperature=0.9, top_p=0.9, top_k=50, seed=11, stop=("zq", "qz")
            ),
        },
    ],
)
def test_a_receipt_replays_to_the_same_tokens(
    tiny_llama, tiny_tokenizer, experts, untouched, settings
):
    result = infer(tiny_llama, tiny_tokenizer, experts, **settings)
    receipt = json.loads(json.dumps(result.receipt))  # it is plain data
    again = replay(tiny_llama, tiny_tokenizer, receipt, experts)
    assert (again.token_ids, again.text) == (result.token_ids, result.text)
    assert (again.mixture.weights, again.scope) == (result.mixture.weights, result.scope)
    assert again.receipt["sampling"] == receipt["sampling"]
    assert again.difference is None and receipt["answer"]


@pytest.mark.parametrize("scope", ["all", "answer"])
def test_a_replay_says_the_first_token_that_differs_and_by_how_much(
    tiny_llama, tiny_tokenizer, experts, scope
):
    mixture = Mixture({"math": 0.5}, scope=scope)
    receipt = infer(tiny_llama, tiny_tokenizer, experts, mixture=mixture).receipt
    told, place = receipt["answer"], 3
    other = (told[place] + 1) % len(tiny_tokenizer)
    receipt["answer"] = [*told[:place], other, *told[place + 1 :]]
    found = replay(tiny_llama, tiny_tokenizer, receipt, experts).difference
    assert (found.place, found.replayed) == (3, tiny_tokenizer.decode([told[place]]))
    assert found.recorded == tiny_tokenizer.decode([other])
    if scope == "all":
        ids = [*chat_ids(tiny_tokenizer, PROMPT), *told[:place]]
        scored = logits(rewritten(tiny_llama, mix(experts, mixture)), [ids])[0, -1]
        assert found.gap == pytest.approx(float(scored[told[place]] - scored[other]), abs=1e-3)
    assert found.gap > 0 and f"{found.gap:.4g} apart" in str(found)


def test_a_receipt_says_what_answered(tiny_llama, tiny_tokenizer, experts):
    result = infer(tiny_llama, tiny_tokenizer, experts, mixture=Mixture({"math": 0.5}))
    receipt = result.receipt
    with adapt(tiny_llama) as adapter:
        assert receipt["fingerprint"] == adapter.fingerprint
    assert receipt["model"] == "tiny-llama"
    assert receipt["prompt"] == PROMPT
    assert receipt["mixture"] == {"math": 0.5}
    assert receipt["experts"] == {"math": experts["math"].sha256}
    assert (receipt["dtype"], receipt["device"]) == ("float32", "cpu")
    assert receipt["sampling"]["max_new_tokens"] == 12
    assert set(receipt["versions"]) == {"t2ui", "torch", "transformers"}
    assert receipt["timings"].keys() == result.timings.keys()


def test_a_receipt_with_other_experts_is_refused(tiny_llama, tiny_tokenizer, experts, untouched):
    receipt = infer(tiny_llama, tiny_tokenizer, experts, mixture=Mixture({"math": 1})).receipt
    other = {"math": Expert("math", experts["code"].scales)}
    with pytest.raises(InputError, match="The receipt used an expert 'math' .*there is one with"):
        replay(tiny_llama, tiny_tokenizer, receipt, other)
    with pytest.raises(InputError, match="there is none of that name: load"):
        replay(tiny_llama, tiny_tokenizer, receipt, {"code": experts["code"]})


@pytest.mark.parametrize("weights", [{}, {"math": 1}])
def test_a_receipt_of_another_model_is_refused(tiny_llama, tiny_tokenizer, experts, weights):
    receipt = infer(tiny_llama, tiny_tokenizer, experts, mixture=Mixture(weights)).receipt
    other = make_tiny("llama", seed=8)
    with pytest.raises(InputError, match="The receipt was made with tiny-llama; .*other weights"):
        replay(other, tiny_tokenizer, receipt, experts)
    assert attached(other) is None


def test_a_receipt_of_another_dtype_is_refused(tiny_llama, tiny_tokenizer, experts):
    receipt = infer(tiny_llama, tiny_tokenizer, experts, mixture=Mixture({"math": 1})).receipt
    half = copy.deepcopy(tiny_llama).bfloat16()
    with pytest.raises(InputError, match="made in float32 and the model is in bfloat16.*load it"):
        replay(half, tiny_tokenizer, receipt, experts)
    elsewhere = {**receipt, "device": "cuda"}
    again = replay(tiny_llama, tiny_tokenizer, elsewhere, experts)
    assert again.receipt["device"] == "cpu"


def test_a_receipt_knows_which_matrices_were_adapted(tiny_llama, tiny_tokenizer, untouched):
    experts = experts_for(tiny_llama, matrix_names("llama", "mlp"))
    with adapt(tiny_llama, "mlp"):
        result = infer(tiny_llama, tiny_tokenizer, experts, mixture=Mixture({"math": 1.0}))
    assert result.receipt["modules"] == "mlp"
    again = replay(tiny_llama, tiny_tokenizer, result.receipt, experts)
    assert again.token_ids == result.token_ids
    assert again.receipt["modules"] == "mlp"
    match = r"with mlp matrices adapted and the model's adapter has all: .*adapt\(model, 'mlp'\)"
    with adapt(tiny_llama), pytest.raises(InputError, match=match):
        replay(tiny_llama, tiny_tokenizer, result.receipt, experts)


@pytest.mark.parametrize("since", [("dispatch", "note"), ("dispatch", "note", "modules")])
def test_an_older_receipt_says_less_and_still_replays(tiny_llama, tiny_tokenizer, experts, since):
    result = infer(tiny_llama, tiny_tokenizer, experts, mixture=Mixture({"math": 1.0}))
    older = {key: value for key, value in result.receipt.items() if key not in since}
    assert replay(tiny_llama, tiny_tokenizer, older, experts).token_ids == result.token_ids
