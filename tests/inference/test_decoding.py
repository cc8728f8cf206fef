"""Decoding: greedy as transformers does it, rows that do not see each other, rows that break."""

import math

import decoding
import pytest
import torch
from decoding import COUNT, collect, pieces, row, run, scripted, tokens_of
from reference import greedy, logits, prompt_ids, random_scales, rewritten
from tiny import ARCHITECTURES
from torch.overrides import TorchFunctionMode
from torch.profiler import profile

from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.inference.decoding import Decoder, Row, generate
from t2ui.svf.adapter import adapt, attached

LENGTHS = (3, 21, 9)  # below and beyond the sliding windows

decoder, llama = decoding.decoder, decoding.llama  # fixtures


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    return request.getfixturevalue(f"tiny_{request.param}")


# --- greedy is transformers' greedy --------------------------------------------------------------


def test_greedy_equals_transformers(model, tiny_tokenizer):
    """Alone, and in a left-padded batch of different lengths."""
    prompts = [prompt_ids(n) for n in LENGTHS]
    wanted = [greedy(model, ids, COUNT) for ids in prompts]
    assert len({tuple(w) for w in wanted}) == 3
    with adapt(model) as adapter:
        rows = [row(i, ids) for i, ids in enumerate(prompts)]
        for one, tokens in zip(rows, wanted, strict=True):
            assert tokens_of(model, tiny_tokenizer, adapter, one) == [tokens]
        assert tokens_of(model, tiny_tokenizer, adapter, *rows) == wanted


def test_every_row_decodes_with_its_own_mixture(model, tiny_tokenizer):
    """Against transformers on rewritten weights; base rows and two mixtures in one batch."""
    prompts = [prompt_ids(n, seed=1) for n in (7, 15, 15, 4)]
    with adapt(model) as adapter:
        one, two = (random_scales(model, adapter.names, seed=s, spread=1.0) for s in (1, 2))
        scales = [one, None, two, one]
        wanted = [
            greedy(rewritten(model, z or {}), ids, COUNT)
            for z, ids in zip(scales, prompts, strict=True)
        ]
        assert wanted[1] != wanted[2]
        pairs = enumerate(zip(prompts, scales, strict=True))
        rows = [row(i, ids, scales=z) for i, (ids, z) in pairs]
        assert tokens_of(model, tiny_tokenizer, adapter, *rows) == wanted
        for one_row, tokens in zip(rows, wanted, strict=True):
            assert tokens_of(model, tiny_tokenizer, adapter, one_row) == [tokens]
    assert attached(model) is None


def test_rows_that_join_late_and_leave_early_change_no_other(model, tiny_tokenizer):
    with adapt(model) as adapter:
        z = random_scales(model, adapter.names, seed=1, spread=0.3)
        rows = {
            "first": row("first", prompt_ids(5), 30),
            "longer": row("longer", prompt_ids(26), 6, z),
            "short": row("short", prompt_ids(2), 30),
            "sampled": row("sampled", prompt_ids(9), 12, z, temperature=1.0, seed=7),
        }
        alone = {key: tokens_of(model, tiny_tokenizer, adapter, r)[0] for key, r in rows.items()}
        decoder, found = Decoder(model, tiny_tokenizer, adapter), {}
        decoder.add([rows["first"]])
        for _ in range(4):
            collect(decoder.step(), found)
        decoder.add([rows["longer"], rows["short"]])  # longer than all that is in the batch
        for _ in range(3):
            collect(decoder.step(), found)
        decoder.add([rows["sampled"]])
        collect(decoder.step(), found)
        collect(decoder.step(), found)
        decoder.drop({"short"})
        run(decoder, found)
    for key in ("first", "longer", "sampled"):
        assert found[key] == alone[key], key
    assert found["short"] == alone["short"][: len(found["short"])]
    assert 3 <= len(found["short"]) <= 4


BEGINNING = prompt_ids(12, seed=3)  # as a chat format puts it before every prompt


def test_prompts_that_begin_alike_give_the_same_tokens(model, tiny_tokenizer):
    """Two mixtures and the base model on four prompts each, then a row that joins."""
    prompts = [BEGINNING + prompt_ids(n, seed=n) for n in (5, 9, 1, 5)]
    with adapt(model) as adapter:
        one, two = (random_scales(model, adapter.names, seed=s, spread=1.0) for s in (1, 2))
        members = {"base": None, "one": one, "two": two}
        rows = [
            row((name, i), ids, 8, z)
            for i, ids in enumerate(prompts)
            for name, z in members.items()
        ]
        alone = {r.key: tokens_of(model, tiny_tokenizer, adapter, r)[0] for r in rows}
        decoder, found = Decoder(model, tiny_tokenizer, adapter), {}
        decoder.add(rows)
        collect(decoder.step(), found)
        collect(decoder.step(), found)
        decoder.add([row("late", prompts[1], 8, two)])
        run(decoder, found)
    assert found.pop("late") == alone["two", 1]
    assert found == alone


def test_what_prompts_begin_with_is_read_once_for_each_mixture(
    decoder, tiny_llama, llama, monkeypatch
):
    read, forward = [], tiny_llama.forward
    monkeypatch.setattr(
        tiny_llama, "forward", lambda **given: read.append(given["input_ids"]) or forward(**given)
    )
    z = random_scales(tiny_llama, llama.names, seed=1)
    prompts = [BEGINNING + prompt_ids(n, seed=n) for n in (5, 9)] * 2
    decoder.add([row(i, ids, scales=z if i < 2 else None) for i, ids in enumerate(prompts)])
    decoder.step()
    assert [tuple(ids.shape) for ids in read] == [(2, 12), (4, 9)]
    assert decoder._cache.get_seq_length() == decoder._attention.shape[1] == 21


def test_a_finished_row_gives_its_padding_back(decoder):
    decoder.add([row("long", prompt_ids(60), 3), row("short", prompt_ids(4), 20)])
    for _ in range(5):
        decoder.step()
    assert decoder._attention.shape[1] == 4 + 4
    assert decoder._cache.layers[0].keys.shape[2] == 4 + 4


# --- mixtures over time --------------------------------------------------------------------------


class Waits(TorchFunctionMode):
    """How often the host reads a tensor back inside the block, and would wait for a device: the
    calls that do so, wherever they are made, until `cpu` has brought the logits over."""

    READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__")

    def __init__(self) -> None:
        super().__init__()
        self.count, self.brought = 0, False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        self.count += name in self.READS and not self.brought
        self.brought = self.brought or name == "cpu"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("temperatures", [(0, 0), (0, 1, 0.7, 0.7)])
@pytest.mark.parametrize("padded", [False, True])
def test_a_step_waits_for_the_device_at_most_twice(
    tiny_llama, tiny_tokenizer, llama, scores, temperatures, padded
):
    """Once for all tokens, however many rows; once more where transformers looks whether there is
    padding. Counted on the CPU: no GPU is needed, and none was there to count on."""
    decoder = Decoder(tiny_llama, tiny_tokenizer, llama, scores=scores)
    z = random_scales(tiny_llama, llama.names, seed=1)
    rows = [
        row(
            (i, t), prompt_ids(5 + padded * i), 20, (None, z)[i % 2], temperature=t, top_k=9, seed=i
        )
        for i, t in enumerate(temperatures * 3)
    ]
    decoder.add(rows)
    decoder.read(), decoder.decode()
    with Waits() as counted, profile() as profiled:
        steps = decoder.decode()
    assert len(steps) == len(rows)
    assert counted.count == 1 + padded
    scalars = [e.count for e in profiled.key_averages() if e.key == "aten::_local_scalar_dense"]
    assert any(temperatures) or sum(scalars) == padded  # drawing looks at the host's own tensors


@pytest.mark.parametrize("count", [12, 60])
def test_a_later_request_never_gets_an_earlier_ones_mixture(
    decoder, tiny_llama, tiny_tokenizer, llama, count
):
    """Not even when its scales come to lie where those of the earlier one lay."""
    one, two = (random_scales(tiny_llama, llama.names, seed=s, spread=0.4) for s in (1, 2))
    ids = prompt_ids(6)
    wanted = tokens_of(tiny_llama, tiny_tokenizer, llama, row(0, ids, count, two))[0]
    for _ in range(6):  # a freed dict's address is given out again at once
        decoder.add([Row(0, ids, dict(one), Sampling(max_new_tokens=count))])
        assert run(decoder)[0] != wanted
        decoder.add([Row(0, ids, dict(two), Sampling(max_new_tokens=count))])
        assert run(decoder)[0] == wanted


def test_what_the_adapter_had_set_before_is_neither_used_nor_lost(decoder, tiny_llama, llama):
    z = random_scales(tiny_llama, llama.names, seed=1)
    ids = prompt_ids(6)
    wanted = greedy(tiny_llama, ids, 10)
    llama.set(z)
    before = logits(tiny_llama, ids)
    decoder.add([row(0, ids, 10), row(1, ids, 10, random_scales(tiny_llama, llama.names, 2))])
    decoder.step()
    assert torch.equal(logits(tiny_llama, ids), before)
    collected = {0: wanted[:1]}
    assert run(decoder, collected)[0] == wanted
    assert torch.equal(logits(tiny_llama, ids), before)


def test_a_step_that_fails_leaves_the_adapter_as_it_was(decoder, tiny_llama, llama, monkeypatch):
    before = logits(tiny_llama, prompt_ids(6))
    z = random_scales(tiny_llama, llama.names, seed=1)
    decoder.add([row(0, prompt_ids(6), 60, z)])
    decoder.step()

    def fail(*args, **kwargs):
        raise MemoryError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(tiny_llama.model.layers[1].mlp.act_fn, "forward", fail)
        with pytest.raises(MemoryError):
            decoder.step()
    assert torch.equal(logits(tiny_llama, prompt_ids(6)), before)
    decoder.clear()
    assert len(decoder) == 0 and decoder.step() == []
    decoder.add([row(1, prompt_ids(6), 5)])
    assert run(decoder)[1] == greedy(tiny_llama, prompt_ids(6), 5)


# --- sampling ------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_tokens_whoever_else_is_in_the_batch(
    tiny_llama, tiny_tokenizer, llama
):
    def sampled(seed, ids):
        return row(0, ids, 16, temperature=1.0, seed=seed)

    ids, others = prompt_ids(6), [sampled(s, prompt_ids(11, s)) for s in range(3)]
    state = torch.random.get_rng_state()
    (alone,) = tokens_of(tiny_llama, tiny_tokenizer, llama, sampled(5, ids))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)  # what the process does with its own generator is no matter
    mixed = tokens_of(tiny_llama, tiny_tokenizer, llama, *others, sampled(5, ids), sampled(5, ids))
    assert mixed[3] == mixed[4] == alone
    assert tokens_of(tiny_llama, tiny_tokenizer, llama, sampled(6, ids)) != [alone]


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-3}])
def test_the_narrowest_sampling_is_greedy(tiny_llama, tiny_tokenizer, llama, settings):
    sampled = row(0, prompt_ids(6), **{"temperature": 1.0, "seed": 3, **settings})
    wanted = greedy(tiny_llama, prompt_ids(6), COUNT)
    assert tokens_of(tiny_llama, tiny_tokenizer, llama, sampled) == [wanted]


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"temperature": 0.5}, None),
        ({"temperature": 2.0}, None),
        ({"temperature": 1.0, "top_k": 3}, 3),
        ({"temperature": 2.0, "top_p": 0.6}, "p"),
    ],
)
def test_tokens_are_drawn_from_the_policy(tiny_llama, tiny_tokenizer, llama, settings, allowed):
    """The first token of 3000 seeds against the probabilities it should have."""
    ids = prompt_ids(6)
    policy = (logits(tiny_llama, ids)[-1].double() / settings["temperature"]).softmax(-1)
    order = policy.argsort(descending=True)
    if allowed == "p":
        allowed = int((policy[order].cumsum(0) < 0.6).sum()) + 1
        assert 2 < allowed < 150
    if allowed:
        policy[order[allowed:]] = 0
    policy /= policy.sum()
    rows = [row(i, ids, 1, seed=i, **settings) for i in range(3000)]
    tokens = torch.tensor(tokens_of(tiny_llama, tiny_tokenizer, llama, *rows)).flatten()
    shares = torch.bincount(tokens, minlength=260) / len(rows)
    assert (shares[policy == 0] == 0).all()
    likely = order[:8]
    deviation = (policy * (1 - policy) / len(rows)).sqrt()
    assert ((shares - policy)[likely].abs() < 4 * deviation[likely] + 1e-3).all()


@pytest.mark.parametrize("temperature", [1e-38, 1e-4, 9.99e-4])
def test_temperatures_near_zero_are_refused(temperature):
    with pytest.raises(InputError, match=r"expected 0 \(greedy\) or at least 0.001"):
        Sampling(temperature=temperature)


# --- rows that break -----------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("scores", [False, True])
def test_a_broken_mixture_ends_its_own_row_only(
    tiny_llama, tiny_tokenizer, llama, temperature, place, scores
):
    """Scales this large pass every check of finiteness, and their products are infinite."""
    broken = {name: torch.full_like(f.S, 1e38) for name, f in llama.factors.items()}
    z = random_scales(tiny_llama, llama.names, seed=1, spread=0.3)
    fine = [
        row(key, prompt_ids(6), 9, scales, temperature=temperature)
        for key, scales in (("base", None), ("adapted", z))
    ]
    wanted = dict(
        zip(("base", "adapted"), tokens_of(tiny_llama, tiny_tokenizer, llama, *fine), strict=True)
    )
    decoder = Decoder(tiny_llama, tiny_tokenizer, llama, scores)
    decoder.add(
        [
            *fine[:place],
            row("broken", prompt_ids(6), 9, broken, temperature=temperature),
            *fine[place:],
        ]
    )
    steps = decoder.step()
    (failed,) = [step for step in steps if step.finished == "failed"]
    assert (failed.key, failed.token, failed.text) == ("broken", -1, "")
    assert failed.log_likelihood == -math.inf
    assert len(decoder) == 2
    collected = {}
    collect((step for step in steps if step is not failed), collected)
    assert run(decoder, collected) == wanted


def test_a_row_that_breaks_later_shows_what_it_had(decoder, tiny_tokenizer, tiny_llama):
    (a, b) = tiny_tokenizer.encode("ab", add_special_tokens=False)
    decoder.add([row(0, prompt_ids(4), 20, stop=("XYZ",))])
    with scripted(tiny_llama, [a, b]):
        steps = decoder.step() + decoder.step()
    hook = tiny_llama.get_output_embeddings().register_forward_hook(
        lambda module, args, output: output * math.inf
    )
    steps += decoder.step()
    hook.remove()
    assert (steps[-1].finished, pieces(steps)) == ("failed", "ab")
    assert len(decoder) == 0


def test_generate_says_that_a_mixture_is_broken(tiny_llama, tiny_tokenizer, llama):
    broken = {name: torch.full_like(f.S, 1e38) for name, f in llama.factors.items()}
    rows = [row(0, prompt_ids(6)), row(1, prompt_ids(6), scales=broken)]
    with pytest.raises(InputError, match="not finite any more with these scales: use smaller"):
        generate(tiny_llama, tiny_tokenizer, rows, llama)


def test_a_row_that_is_not_finite_takes_no_states_from_others(decoder, tiny_llama, llama):
    z = random_scales(tiny_llama, llama.names, seed=1)
    broken = {name: scale * float("nan") for name, scale in z.items()}
    for key, scales in enumerate((broken, z)):
        decoder.add([Row(key, prompt_ids(6), scales, Sampling(3), states=True)])
        steps = decoder.step()
        run(decoder)
    assert [step.state is not None for step in steps] == [True]


# --- leaving and refusing ------------------------------------------------------------------------


def test_drop_takes_effect_at_the_next_step(decoder):
    decoder.add([row(key, prompt_ids(5, i)) for i, key in enumerate("abc")])
    assert {s.key for s in decoder.step()} == {"a", "b", "c"}
    decoder.drop({"b", "never seen"})
    assert len(decoder) == 2
    assert {s.key for s in decoder.step()} == {"a", "c"}
    decoder.drop({"a", "c"})
    assert len(decoder) == 0
    assert decoder.step() == []


def test_drop_reaches_rows_that_still_wait(decoder):
    decoder.add([row("a", prompt_ids(5)), row("b", prompt_ids(5))])
    decoder.drop({"a"})
    assert {s.key for s in decoder.step()} == {"b"}


@pytest.mark.parametrize("dropped", range(3))
def test_dropping_any_row_changes_no_other(decoder, tiny_llama, dropped):
    prompts = [prompt_ids(n) for n in LENGTHS]
    decoder.add([row(i, ids, 12) for i, ids in enumerate(prompts)])
    found = {}
    collect(decoder.step(), found)
    collect(decoder.step(), found)
    decoder.drop({dropped})
    run(decoder, found)
    for i, ids in enumerate(prompts):
        assert found[i] == greedy(tiny_llama, ids, 12)[: len(found[i])]
        assert len(found[i]) == 2 or i != dropped


def test_a_prompt_that_does_not_fit_is_refused_before_anything_runs(decoder):
    decoder.add([row("good", prompt_ids(5), 3)])
    with pytest.raises(InputError, match="has 500 tokens and up to 13 .*context holds 512"):
        decoder.add([row("fits", prompt_ids(5)), row("long", prompt_ids(500), 13)])
    assert len(decoder) == 1
    assert list(run(decoder)) == ["good"]
    decoder.add([row("exact", prompt_ids(500), 12)])
    assert len(run(decoder)["exact"]) == 12


def test_a_prompt_without_tokens(decoder):
    with pytest.raises(InputError, match="The prompt has no tokens"):
        decoder.add([row("empty", [])])


def test_nothing_to_do(decoder, tiny_llama, tiny_tokenizer, llama):
    assert decoder.step() == []
    assert generate(tiny_llama, tiny_tokenizer, [], llama) == []
