"""The router on a tiny model: it reads the base model, joins experts by their examples, and says
`others` to what is unlike them."""

import random
from dataclasses import replace

import pytest
import torch
from reference import matrix_names, random_scales

from t2ui.config import OTHERS, AnswerSettings
from t2ui.errors import InputError
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.dispatchers import both as both_module
from t2ui.inference.dispatchers.router import with_examples
from t2ui.inference.kinds import Kinds
from t2ui.inference.plan import make_plan
from t2ui.inference.two_pass import two_pass_infer
from t2ui.models.chat import chat_ids
from t2ui.models.prompt_states import prompt_state
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert

SUMS = [f"{a} + {b} = " for a in range(10, 26) for b in range(20, 28)]
WORDS = [
    f"say {what} {how}"
    for what in "apple bread cloud dream earth flame grass house inlet jewel".split()
    for how in "again aloud first gladly later never often slowly softly twice".split()
]
random.Random(1).shuffle(SUMS)
random.Random(2).shuffle(WORDS)


@pytest.fixture
def adapter(tiny_llama):
    with adapt(tiny_llama) as adapter:
        yield adapter


@pytest.fixture
def experts(adapter, tiny_llama, tiny_tokenizer):
    found = {}
    for seed, (name, prompts) in enumerate({"sums": SUMS, "words": WORDS}.items()):
        scales = random_scales(tiny_llama, matrix_names("llama"), seed, spread=0.5)
        mark = {"fingerprint": adapter.fingerprint, "labels": (name,)}
        expert = Expert(name, scales, **mark)
        found[name] = with_examples(expert, prompts[::2], adapter, tiny_tokenizer)
    return found


def test_a_state_is_the_text_s_own_under_the_base_model(adapter, tiny_llama, tiny_tokenizer):
    prompt = "What is 7 + 5?"
    ids = torch.tensor([chat_ids(tiny_tokenizer, prompt)])
    text = tiny_tokenizer.decode(ids[0])
    length = len(tiny_tokenizer.encode(text[: text.index(prompt) + len(prompt)]))
    first = len(tiny_tokenizer.encode(text[: text.index(prompt)]))
    with torch.inference_mode():
        states = tiny_llama(input_ids=ids[:, :length], output_hidden_states=True).hidden_states
    layer = states[round(2 / 3 * (len(states) - 1))][0, first:]
    found = prompt_state(tiny_llama, tiny_tokenizer, prompt)
    torch.testing.assert_close(found, layer.mean(0), rtol=1e-4, atol=1e-5)


def test_prompts_go_to_the_expert_whose_examples_they_are_like(
    adapter, tiny_llama, tiny_tokenizer, experts
):
    dispatchers = Dispatchers(tiny_llama, tiny_tokenizer, adapter)
    router = dispatchers["router"]
    assert router.labels(experts) == ("sums", "words", OTHERS)
    for name, prompts in {"sums": SUMS[1::2], "words": WORDS[1::2]}.items():
        found = [router.classify(prompt, experts) for prompt in prompts]
        assert sum(f.label == name for f in found) >= 0.85 * len(prompts)
        assert all(f.said == "" and f.raw == f.probabilities for f in found)
    strange = router.classify("Ω≈ç√∫ " * 12, experts)
    assert strange.label == OTHERS


def test_it_reads_the_base_model_whatever_is_set(adapter, tiny_llama, tiny_tokenizer, experts):
    router = Dispatchers(tiny_llama, tiny_tokenizer, adapter)["router"]
    wanted = router.classify("11 + 23 = ", experts).probabilities
    again = Dispatchers(tiny_llama, tiny_tokenizer, adapter)["router"]
    with adapter.applied(experts["words"].scales):
        assert again.classify("11 + 23 = ", experts).probabilities == pytest.approx(wanted)


def test_the_plan_routes_by_it(adapter, tiny_llama, tiny_tokenizer, experts):
    dispatchers = Dispatchers(tiny_llama, tiny_tokenizer, adapter)
    settings = AnswerSettings(dispatch="router")
    plan = make_plan(dispatchers, SUMS[1], experts, settings)
    assert plan.mixture.weights == {"sums": 1.0} and plan.set_by.startswith("router, ")
    plan = make_plan(dispatchers, "Ω≈ç√∫ " * 12, experts, settings)
    assert plan.mixture.weights == {} and plan.note == "others: the base model answers"


def test_an_expert_joins_and_leaves_by_its_examples(adapter, tiny_llama, tiny_tokenizer, experts):
    router = Dispatchers(tiny_llama, tiny_tokenizer, adapter)["router"]
    bare = {name: expert.with_examples(None) for name, expert in experts.items()}
    assert router.usable(experts) and not router.usable(bare)
    some = {**bare, "words": experts["words"]}
    assert router.labels(some) == ("words", OTHERS)
    assert set(router.classify(SUMS[1], some).probabilities) == {"words", OTHERS}
    assert router.classify(SUMS[1], experts).label == "sums", "fitted anew for these"
    head, _, rest = experts["words"].fingerprint.partition(":")
    other = replace(experts["words"], fingerprint=f"{head[::-1]}:{rest}")
    if adapter.is_transfer(other):
        assert not router.usable({"words": other}), "another model's states mean other things"


def test_examples_that_mean_nothing_to_this_model_are_passed_over(
    adapter, tiny_llama, tiny_tokenizer, experts
):
    """Too few, or of another width: one such file does not end pass one for all."""
    router = Dispatchers(tiny_llama, tiny_tokenizer, adapter)["router"]
    width = tiny_llama.config.hidden_size
    odd = [torch.randn(3, width), torch.randn(64, width + 1)]
    for examples in odd:
        strange = {"odd": replace(experts["words"], labels=("odd",), examples=examples)}
        assert not router.usable(strange)
        told = {**experts, **strange}
        assert router.labels(told) == ("sums", "words", OTHERS)
        assert router.classify(SUMS[1], told).label == "sums"


def test_examples_are_compared_among_themselves_once_for_all(
    adapter, tiny_llama, tiny_tokenizer, experts, monkeypatch
):
    """It takes a second with many experts, and `two_pass_infer` is called for each prompt."""
    fitted, of = [], Kinds.of
    monkeypatch.setattr(Kinds, "of", lambda examples: fitted.append(list(examples)) or of(examples))
    for _ in range(2):
        two_pass_infer(tiny_llama, tiny_tokenizer, SUMS[1], experts, dispatch="router")
    assert fitted == [["sums", "words"]]
    renamed = {**experts, "words": replace(experts["words"], labels=("verses",))}
    router = Dispatchers(tiny_llama, tiny_tokenizer, adapter)["router"]
    assert "verses" in router.classify(WORDS[1], renamed).probabilities
    assert "words" in router.classify(WORDS[1], experts).probabilities
    assert len(fitted) == 2


def test_the_same_kind_in_other_words_is_a_group_of_its_own(
    adapter, tiny_llama, tiny_tokenizer, experts, tmp_path
):
    other = [f"please add {a} and {b}" for a in range(10, 17) for b in range(20, 26)]
    bare = experts["sums"].with_examples(None)
    both = with_examples(bare, SUMS[::2], adapter, tiny_tokenizer, [*other, SUMS[0]])
    assert both.example_groups == (len(SUMS[::2]), len(other)), "what is in both is in the first"
    states = [experts["sums"].examples, both.grouped_examples[1]]
    torch.testing.assert_close(both.grouped_examples[0], states[0])
    saved = both.save(tmp_path / "sums.safetensors")
    loaded = Expert.load(tmp_path / "sums.safetensors")
    assert loaded.example_groups == both.example_groups
    assert loaded.sha256 == saved.sha256 == bare.save(tmp_path / "bare.safetensors").sha256
    router = Dispatchers(tiny_llama, tiny_tokenizer, adapter)["router"]
    told = {**experts, "sums": loaded}
    for prompt in ("please add 12 and 31", SUMS[1]):
        assert router.classify(prompt, told).label == "sums"


@pytest.mark.parametrize("groups", [(1, 2), (0, 64), (64, 1), ("64",)])
def test_groups_that_do_not_add_up_are_refused(experts, groups):
    with pytest.raises(InputError, match="expected numbers that add up"):
        experts["sums"].with_examples(experts["sums"].examples, groups)


def test_both_ask_the_classification_expert_where_the_router_is_not_sure(
    adapter, tiny_llama, tiny_tokenizer, experts, monkeypatch
):
    dispatchers = Dispatchers(tiny_llama, tiny_tokenizer, adapter)
    router, expert, both = (dispatchers[name] for name in ("router", "expert", "both"))
    sorter = replace(
        experts["words"].with_examples(None),
        name="sorter",
        objective="dispatch",
        labels=("sums", "verse", OTHERS),
    )
    told = {**experts, "sorter": sorter}
    assert not both.usable(experts) and not both.usable({"sorter": sorter}) and both.usable(told)
    assert both.labels(told) == ("sums", "words", "verse", OTHERS)
    alone = router.classify(SUMS[1], told)
    monkeypatch.setattr(both_module, "SURE", alone.probabilities["sums"] - 1e-6)
    known = both.classify(SUMS[1], told)
    assert known.probabilities == {"verse": 0.0, **alone.probabilities} and known.said == ""
    monkeypatch.setattr(both_module, "SURE", alone.probabilities["sums"] + 1e-6)
    for prompt in (SUMS[1], "Ω≈ç√∫ " * 12):  # not sure of its kind; of none
        asked, found = expert.classify(prompt, told), both.classify(prompt, told)
        assert found.probabilities == {"words": 0.0, **asked.probabilities}
        assert (found.label, found.said) == (asked.label, asked.said) and found.said
        assert tuple(found.probabilities) == both.labels(told)


def test_a_classification_expert_brings_examples_of_others(
    adapter, tiny_llama, tiny_tokenizer, experts
):
    """What looks like them is left to the base model, though it is near an expert's kind too."""
    router = Dispatchers(tiny_llama, tiny_tokenizer, adapter)["router"]
    sorter = replace(experts["words"], name="sorter", objective="dispatch", labels=("a", OTHERS))
    told = {"sums": experts["sums"], "sorter": sorter}
    assert router.labels(told) == ("sums", OTHERS) and not router.usable({"sorter": sorter})
    found = [router.classify(prompt, told) for prompt in WORDS[1::2]]
    assert all(set(f.probabilities) == {"sums", OTHERS} for f in found)
    assert sum(f.label == OTHERS for f in found) >= 0.9 * len(found)


def test_examples_are_in_the_file_and_no_part_of_the_hash(tmp_path, experts):
    file = tmp_path / "sums.safetensors"
    bare = experts["sums"].with_examples(None)
    for compact in (False, True):
        saved = experts["sums"].save(file, compact)
        loaded = Expert.load(file)
        assert loaded.sha256 == saved.sha256 == bare.save(tmp_path / "b.svf", compact).sha256
        assert loaded.scales.keys() == bare.scales.keys()
        given = experts["sums"].examples
        step = (given.amax(0) - given.amin(0)) / 254
        assert bool(((loaded.examples - given).abs() <= step * 0.51 + 1e-6).all())


def test_examples_of_a_narrow_kind_are_read_back_as_they_were(tmp_path, adapter, experts):
    """One number of every state is huge: a step for all of a row would be as wide as the kind."""
    torch.manual_seed(0)
    states = torch.randn(64, 32) * 0.2 + torch.randn(32)
    states[:, 5] += 1000
    experts["sums"].with_examples(states).save(tmp_path / "narrow.safetensors")
    loaded = Expert.load(tmp_path / "narrow.safetensors")
    assert float((loaded.examples - states).abs().max()) < 0.2 / 20


def test_examples_change_in_a_file_whose_scales_stay_to_the_byte(tmp_path, experts):
    """Also in a compact one, that packed anew would have other last bits."""
    for seed in range(30):
        torch.manual_seed(seed)
        scales = {name: 1 + 0.1 * torch.randn(len(z)) for name, z in experts["sums"].scales.items()}
        file = tmp_path / f"{seed}.safetensors"
        before = replace(experts["words"], scales=scales, sha256="").save(file, compact=True)
        after = Expert.load(file).with_examples(experts["sums"].examples).save_examples(file)
        assert after.sha256 == before.sha256 and after.compact
        torch.testing.assert_close(after.examples, experts["sums"].examples, atol=0.1, rtol=0.02)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda e, a, t: with_examples(e, ["one"] * 20, a, t), "given 1 different example prompts"),
        (
            lambda e, a, t: with_examples(
                e, [f"{' a' * 300} {n} {' b' * 300}" for n in "12345678"], a, t
            ),
            "example prompts 1 read differently",
        ),
        (lambda e, a, t: e.with_examples(torch.zeros(3)), r"router examples of shape \(3,\)"),
        (lambda e, a, t: e.with_examples(torch.full((9, 2), torch.nan)), "finite numbers"),
    ],
)
def test_bad_examples_are_one_clear_line(change, said, adapter, tiny_tokenizer, experts):
    with pytest.raises(InputError, match=said):
        change(experts["sums"], adapter, tiny_tokenizer)
