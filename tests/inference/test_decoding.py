"""Decoding: greedy as transformers does it, rows that do not see each other, rows that break."""

import math
import weakref

import decoding
import pytest
import torch
from decoding import COUNT, pieces, row, scripted, tokens_of
from reference import greedy, logits, prompt_ids, random_scales, rewritten
from tiny import ARCHITECTURES
from torch.overrides import TorchFunctionMode
from torch.profiler import profile

import t2ui.inference.decoding as generate_module
from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.inference import merging
from t2ui.inference.decoding import Decoder, Row, generate
from t2ui.svf.adapter import adapt, attached
from t2ui.svf.linear import SVFLinear

LENGTHS = (3, 21, 9)  # below and beyond the sliding windows

decoder, llama = decoding.decoder, decoding.llama  # fixtures


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    return request.getfixturevalue(f"tiny_{request.param}")


def run(decoder, collected=None) -> dict:
    """Step to the end; tokens by key."""
    collected = {} if collected is None else collected
    while len(decoder):
        collect(decoder.step(), collected)
    return collected


def collect(steps, collected):
    for step in steps:
        collected.setdefault(step.key, []).append(step.token)


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


def test_the_merged_form_gives_the_tokens_of_the_factored_one(
    tiny_llama, tiny_tokenizer, llama, merged_weights, monkeypatch
):
    z = random_scales(tiny_llama, llama.names, seed=1, spread=0.3)
    rows = [row(i, prompt_ids(n), 60, z) for i, n in enumerate((5, 12))]
    monkeypatch.setattr(merging, "MERGED_A_STEP", 3)
    merged = tokens_of(tiny_llama, tiny_tokenizer, llama, *rows)
    count = len(merged_weights)
    assert count == len(llama.names)
    monkeypatch.setattr(merging, "MERGE_FROM_TOKENS", 10**9)
    factored = tokens_of(tiny_llama, tiny_tokenizer, llama, *rows)
    assert len(merged_weights) == count
    wanted = [greedy(rewritten(tiny_llama, z), r.prompt_ids, 60) for r in rows]
    assert merged == factored == wanted


def test_an_answer_that_ends_early_is_never_merged(
    decoder, tiny_llama, llama, merged_weights, monkeypatch
):
    """Writing W′ takes seconds on a CPU: the first token must not wait for it, and most answers
    end before it pays. Later it is written a few matrices a step."""
    monkeypatch.setattr(merging, "MERGE_AFTER_TOKENS", 16)
    monkeypatch.setattr(merging, "MERGED_A_STEP", 4)
    z = random_scales(tiny_llama, llama.names, seed=1, spread=0.3)
    decoder.add([row("long", prompt_ids(5), 100, z)])
    found, written = {}, []
    while len(decoder):
        collect(decoder.step(), found)
        written.append(len(merged_weights))
    assert written[15] == 0, "sixteen tokens are there, and none of them waited"
    steps = [now - before for before, now in zip(written, written[1:], strict=False)]
    assert max(steps) == 4 and written[-1] == len(llama.names)
    assert found["long"] == greedy(rewritten(tiny_llama, z), prompt_ids(5), 100)


def test_what_serves_more_rows_is_written_sooner(
    decoder, tiny_llama, llama, merged_weights, monkeypatch
):
    monkeypatch.setattr(merging, "MERGE_AFTER_TOKENS", 16)
    monkeypatch.setattr(merging, "MERGED_A_STEP", 1)
    z = random_scales(tiny_llama, llama.names, seed=1, spread=0.3)
    decoder.add([row(i, prompt_ids(5), 12, z) for i in range(8)])
    found, written = {}, []
    while len(decoder):
        collect(decoder.step(), found)
        written.append(len(merged_weights))
    assert written[:3] == [0, 0, 8], "two tokens of eight rows are sixteen"
    assert written[-1] == len(llama.names)
    assert found[3] == greedy(rewritten(tiny_llama, z), prompt_ids(5), 12)


@pytest.mark.parametrize("joins", ["base", "another mixture"])
def test_a_row_that_joins_a_merged_batch_leaves_its_answer_as_it_is(
    decoder, tiny_llama, tiny_tokenizer, llama, merged_weights, joins
):
    z, other = (random_scales(tiny_llama, llama.names, seed=s, spread=0.3) for s in (1, 2))
    scales = None if joins == "base" else other
    rows = [row("merged", prompt_ids(5), 60, z), row("base", prompt_ids(8), 20, scales)]
    wanted = [tokens_of(tiny_llama, tiny_tokenizer, llama, r)[0] for r in rows]
    decoder.add(rows[:1])
    found = {}
    before = len(merged_weights)
    for _ in range(5):
        collect(decoder.step(), found)
    assert len(merged_weights) == before + len(llama.names)
    decoder.add(rows[1:])
    run(decoder, found)
    assert [found["merged"], found["base"]] == wanted


def test_base_rows_beside_one_mixture_leave_its_merged_weights_alone(
    decoder, tiny_llama, llama, merged_weights
):
    """They are written once, whoever joins and leaves; base rows run through W."""
    z = random_scales(tiny_llama, llama.names, seed=1, spread=0.3)
    ids = [prompt_ids(n, seed=n) for n in (5, 9, 4)]
    decoder.add([row("base", ids[0], 60), row("adapted", ids[1], 100, z)])
    found = {}
    for _ in range(30):
        collect(decoder.step(), found)
    assert len(merged_weights) == len(llama.names)
    decoder.add([row("another", ids[2], 5)])
    run(decoder, found)
    assert len(merged_weights) == len(llama.names)
    assert found == {
        "base": greedy(tiny_llama, ids[0], 60),
        "adapted": greedy(rewritten(tiny_llama, z), ids[1], 100),
        "another": greedy(tiny_llama, ids[2], 5),
    }


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


@pytest.fixture
def merged_weights(monkeypatch):
    """Calls that tell whether the merged weights made so far still live. They are made at once."""
    monkeypatch.setattr(merging, "MERGE_AFTER_TOKENS", 0)
    monkeypatch.setattr(merging, "MERGED_A_STEP", 1000)
    made, merged = [], SVFLinear.merged

    def watched(linear, z):
        run = merged(linear, z)
        made.append(weakref.ref(run))
        return run

    monkeypatch.setattr(SVFLinear, "merged", watched)
    return made


@pytest.mark.parametrize("end", ["length", "drop", "clear"])
def test_merged_weights_go_with_their_last_row(
    decoder, tiny_llama, llama, merged_weights, monkeypatch, end
):
    monkeypatch.setattr(generate_module, "KEPT_BYTES", 0)  # as if they were large
    z = random_scales(tiny_llama, llama.names, seed=1, spread=0.3)
    decoder.add([row(0, prompt_ids(5), 50, z)])
    for _ in range(4):
        decoder.step()
    assert merged_weights and all(alive() for alive in merged_weights)
    if end == "length":
        run(decoder)
    elif end == "drop":
        decoder.drop({0})
    else:
        decoder.clear()
    assert not any(alive() for alive in merged_weights)


def test_merged_weights_go_before_others_are_made(
    decoder, tiny_llama, llama, merged_weights, monkeypatch
):
    monkeypatch.setattr(generate_module, "KEPT_BYTES", 0)  # as if they were large
    z = random_scales(tiny_llama, llama.names, seed=1, spread=0.3)
    decoder.add([row(0, prompt_ids(5), 60, z)])
    decoder.step(), decoder.step()
    held, set_rows = [], llama.set_rows

    def watched(rows, merged=None):
        held.append(any(alive() for alive in merged_weights))
        set_rows(rows, merged)

    other = random_scales(tiny_llama, llama.names, seed=2, spread=0.3)
    decoder.add([row(1, prompt_ids(5), 60, other)])
    decoder.step()
    monkeypatch.setattr(llama, "set_rows", watched)
    decoder.step()
    assert merged_weights and held == [False]


def test_small_merged_weights_serve_the_next_answer_with_an_equal_mixture(
    decoder, tiny_llama, llama, merged_weights
):
    z, other = (random_scales(tiny_llama, llama.names, seed=s, spread=0.3) for s in (1, 2))
    found, count = {}, len(llama.names)
    for key, scales in enumerate((z, dict(z), other, {n: s.clone() for n, s in z.items()})):
        decoder.add([row(key, prompt_ids(5), 60, scales)])
        run(decoder, found)
        if key == 1:
            assert len(merged_weights) == count, "the second answer's are the first one's"
    assert len(merged_weights) == 3 * count, "one mixture's at a time"
    alive = [one() is not None for one in merged_weights]
    assert alive == [False] * 2 * count + [True] * count
    first = greedy(rewritten(tiny_llama, z), prompt_ids(5), 60)
    assert found[0] == found[1] == found[3] == first
    assert found[2] == greedy(rewritten(tiny_llama, other), prompt_ids(5), 60)


def test_a_prompt_is_read_through_merged_weights_where_they_are_written(
    decoder, tiny_llama, llama, merged_weights, monkeypatch
):
    z, other = (random_scales(tiny_llama, llama.names, seed=s, spread=0.3) for s in (1, 2))
    decoder.add([row(0, prompt_ids(5), 60, z)])
    run(decoder)
    through, set_rows = [], llama.set_rows

    def watched(rows, merged=None):
        through.append(merged is not None)
        set_rows(rows, merged)

    monkeypatch.setattr(llama, "set_rows", watched)
    found = {}
    decoder.add([row("base", prompt_ids(9), 5), row("adapted", prompt_ids(9), 5, z)])
    run(decoder, found)
    assert through and all(through), "the base model's row is beside it"
    assert found["base"] == greedy(tiny_llama, prompt_ids(9), 5)
    assert found["adapted"] == greedy(rewritten(tiny_llama, z), prompt_ids(9), 5)
    through.clear()
    decoder.add([row("one", prompt_ids(9), 5, z), row("another", prompt_ids(9), 5, other)])
    run(decoder, found)
    assert through and not any(through), "W′ is of one mixture"
    assert found["another"] == greedy(rewritten(tiny_llama, other), prompt_ids(9), 5)


def test_rows_with_equal_mixtures_share_one(decoder, tiny_llama, llama, merged_weights):
    """Two people with the same expert: one reading of what their prompts share, one W′."""
    z = random_scales(tiny_llama, llama.names, seed=1, spread=0.3)
    found = {}
    decoder.add([row(0, prompt_ids(5), 60, z)])
    for _ in range(3):
        collect(decoder.step(), found)
    decoder.add([row(1, prompt_ids(5), 60, {name: scale.clone() for name, scale in z.items()})])
    run(decoder, found)
    assert len(merged_weights) == len(llama.names)
    assert found[0] == found[1] == greedy(rewritten(tiny_llama, z), prompt_ids(5), 60)


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
