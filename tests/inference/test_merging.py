"""W′ of a mixture: written where it pays, kept and shared by rows with equal scales alone."""

import weakref

import decoding
import pytest
from decoding import collect, row, run, tokens_of
from reference import greedy, prompt_ids, random_scales, rewritten

import t2ui.inference.decoding as generate_module
from t2ui.inference import merging
from t2ui.inference.merging import copied
from t2ui.svf.linear import SVFLinear

decoder, llama = decoding.decoder, decoding.llama  # fixtures


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


@pytest.mark.parametrize("again", [lambda own: own, copied], ids=["the same object", "a new one"])
def test_scales_that_are_changed_in_place_are_not_what_is_kept(
    decoder, tiny_llama, llama, merged_weights, again
):
    one, two = (random_scales(tiny_llama, llama.names, seed=s) for s in (1, 2))
    decoder.add([row(0, prompt_ids(6), 80, one)])
    run(decoder)
    assert all(alive() for alive in merged_weights) and len(merged_weights) == len(llama.names)
    for name, z in one.items():
        z.copy_(two[name])
    decoder.add([row(1, prompt_ids(6), 60, again(one))])
    assert run(decoder)[1] == greedy(rewritten(tiny_llama, two), prompt_ids(6), 60)


def test_equal_mixtures_that_come_together_share_one(decoder, tiny_llama, llama, merged_weights):
    one = random_scales(tiny_llama, llama.names, seed=1)
    decoder.add([row(i, prompt_ids(6), 60, copied(one)) for i in range(2)])
    run(decoder)
    assert len(merged_weights) == len(llama.names)
