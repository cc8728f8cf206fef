"""Few-shot adaptation: the search over mixtures, its report, and what it hands out."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_examples
import torch
from reference import log_likelihood, logits, prompt_ids
from tiny import make_tiny
from tiny_examples import closed_example, open_example, run

from t2ui.config import FewShotConfig, Sampling
from t2ui.errors import InputError
from t2ui.few_shot.adapt import few_shot_adapt, search, split
from t2ui.few_shot.examples import answers
from t2ui.few_shot.scoring import Scorer
from t2ui.few_shot.search import search_tokens
from t2ui.inference.decoding import Row, generate
from t2ui.models.questions import Question
from t2ui.records import Generation
from t2ui.svf.adapter import adapt, attached
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, fold, mix
from t2ui.tasks import Example

SMALL = FewShotConfig("cem", population=6, generations=3, elite_ratio=0.34)

adapter, experts = tiny_examples.adapter, tiny_examples.experts  # fixtures


@pytest.fixture(scope="module")
def examples():
    return [open_example(i, 5 + i % 4, 3 + i % 3, seed=i) for i in range(6)]


# --- the search ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written_by_a_mixture(tiny_llama, tiny_tokenizer, experts):
    """Examples whose answers a known mixture writes: near it their likelihood is highest."""
    known = Mixture({"math": 0.8, "code": 0.0, "poems": 0.5})
    with adapt(tiny_llama) as adapter:
        rows = [Row(i, prompt_ids(6, i), mix(experts, known), Sampling(8)) for i in range(8)]
        found = generate(tiny_llama, tiny_tokenizer, rows, adapter)
    return known, [
        Example(str(i), Question(tuple(row.prompt_ids), (done.token_ids,)))
        for i, (row, done) in enumerate(zip(rows, found, strict=True))
    ]


def score_of(adapter, mixtures, experts, rows) -> np.ndarray:
    scorer = Scorer(adapter, None, FewShotConfig(), None)
    return run(scorer.table([mix(experts, m) for m in mixtures], rows)).reported("likelihood")


@pytest.mark.parametrize("method", ["cem", "cma", "random", "gradient"])
def test_every_method_finds_more_than_any_expert_alone(
    adapter, tiny_tokenizer, written_by_a_mixture, experts, method
):
    known, rows = written_by_a_mixture
    config = FewShotConfig(method=method, population=16, generations=15, held_out=0)
    *_, result = search(adapter, tiny_tokenizer, rows, experts, config)
    alone = [Mixture(), *(Mixture({n: 1.0}) for n in experts)]
    found, at_known, *others = score_of(adapter, [result.mixture, known, *alone], experts, rows)
    assert found > max(others) + 0.05
    assert found > at_known - (0.1 if method == "random" else 0.02)
    assert result.generations[-1].best == pytest.approx(found, abs=2e-3)
    assert all(0 <= a <= 1 for a in result.mixture.weights.values())


def test_the_gradient_needs_a_fraction_of_the_tokens(
    adapter, tiny_tokenizer, written_by_a_mixture, experts
):
    _, rows = written_by_a_mixture
    tokens, best = {}, {}
    for method in ("cem", "gradient"):
        config = FewShotConfig(method=method, held_out=0)
        *_, result = search(adapter, tiny_tokenizer, rows, experts, config)
        tokens[method], best[method] = result.tokens, result.generations[-1].best
    assert best["gradient"] > best["cem"] - 0.01
    assert tokens["gradient"] < tokens["cem"] / 4


def test_an_answer_may_end_with_whatever_ends_one(
    adapter, tiny_tokenizer, examples, experts, monkeypatch
):
    """Decoding takes each of the end tokens: an expert that was trained to write another one than
    the chat format's is found as well."""
    ends = tiny_tokenizer.eos_token_id, tiny_tokenizer.bos_token_id
    monkeypatch.setattr(adapter.model.generation_config, "eos_token_id", list(ends))

    def ended(example, end):
        (answer,) = example.question.options
        return replace(example, question=Question(example.question.prompt, ((*answer, end),)))

    rows = [ended(example, ends[0]) for example in examples]
    _, held = split(rows, SMALL)
    *_, result = search(adapter, tiny_tokenizer, rows, experts, SMALL)

    def likelihood(row):
        (answer,) = row.question.options
        each = [log_likelihood(adapter.model, row.question.prompt, (*answer[:-1], e)) for e in ends]
        return float(torch.stack(each).logsumexp(0)) / len(answer)

    assert result.before == pytest.approx(np.mean([likelihood(row) for row in held]), abs=1e-4)
    monkeypatch.setattr(adapter.model.generation_config, "eos_token_id", ends[0])
    *_, strict = search(adapter, tiny_tokenizer, rows, experts, SMALL)
    assert strict.before < result.before - 1e-3


@pytest.mark.parametrize("method", ["cem", "gradient"])
@pytest.mark.parametrize("normalise", [False, True])
def test_one_weight_a_layer(adapter, tiny_tokenizer, examples, experts, method, normalise):
    config = FewShotConfig(
        method=method, population=6, generations=4, per_layer=True, normalise=normalise
    )
    *_, result = search(adapter, tiny_tokenizer, examples, experts, config)
    assert {len(a) for a in result.mixture.weights.values()} == {2}
    assert result.mixture.normalise is normalise
    first = result.generations[0]
    assert first.alpha_mean.keys() == experts.keys()
    assert len(first.population[0]) == 3  # means over layers
    # what is handed out is what was scored
    seen, _ = split(examples, config)
    (score,) = score_of(adapter, [result.mixture], experts, seen)
    assert score == pytest.approx(result.generations[-1].best, abs=2e-3)


def test_the_first_generation_holds_base_experts_and_even_mixture(
    adapter, tiny_tokenizer, examples, experts
):
    *_, result = search(adapter, tiny_tokenizer, examples, experts, SMALL)
    first = np.array(result.generations[0].population)
    third = 1 / 3
    wanted = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [third, third, third]]
    np.testing.assert_allclose(first[:5], wanted)
    *_, without = search(adapter, tiny_tokenizer, examples, experts, replace(SMALL, anchors=False))
    assert not (np.array(without.generations[0].population) == 0).all(1).any()


def test_generations_are_plain_data_that_add_up(adapter, tiny_tokenizer, examples, experts):
    steps = list(search(adapter, tiny_tokenizer, examples, experts, SMALL))
    *_, result = steps
    found = tuple(s for s in steps if isinstance(s, Generation))
    assert found == result.generations
    assert [g.number for g in found] == [1, 2, 3]
    assert result.mixture.weights.keys() == experts.keys()
    seen, held = split(examples, SMALL)
    a_generation = 6 * sum(e.question.tokens for e in seen)
    assert [g.tokens for g in found] == [a_generation * n for n in (1, 2, 3)]
    assert a_generation * 3 == search_tokens(seen, SMALL, len(experts))
    assert result.tokens == a_generation * 3 + 2 * sum(e.question.tokens for e in held)
    assert steps.count(None) == result.forward_passes
    best = [g.best for g in found]
    assert best == sorted(best) and best[0] == pytest.approx(max(found[0].scores))
    for generation in found:
        assert len(generation.population) == len(generation.scores) == 6
        assert generation.mean == pytest.approx(np.mean(generation.scores))
        assert generation.alpha_spread.keys() == generation.alpha_mean.keys() == experts.keys()
        assert isinstance(generation.population[0][0], float)
    assert result.set_by.startswith("CEM, generation ")


def test_a_seed_gives_the_same_search(adapter, tiny_tokenizer, examples, experts):
    results = [
        list(search(adapter, tiny_tokenizer, examples, experts, replace(SMALL, seed=seed)))[-1]
        for seed in (3, 3, 4)
    ]
    populations = [[g.population for g in r.generations] for r in results]
    assert populations[0] == populations[1] != populations[2]
    assert results[0].after == results[1].after


@pytest.mark.parametrize("method", ["cem", "gradient"])
def test_between_two_steps_the_model_is_the_base_model(
    tiny_llama, tiny_tokenizer, examples, experts, method
):
    """Other people's answers are decoded between them."""
    ids = prompt_ids(9)
    base = logits(tiny_llama, ids)
    config = FewShotConfig(method=method, population=4, generations=3, batch_tokens=40)
    with adapt(tiny_llama) as adapter:
        for _ in search(adapter, tiny_tokenizer, examples, experts, config):
            assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
            assert torch.equal(logits(tiny_llama, ids), base)


def test_between_two_decoding_steps_too(tiny_llama, tiny_tokenizer, examples, experts):
    ids = prompt_ids(9)
    base = logits(tiny_llama, ids)
    config = FewShotConfig(objective="both", population=3, generations=1, max_new_tokens=4)
    with adapt(tiny_llama) as adapter:
        for _ in search(
            adapter, tiny_tokenizer, examples, experts, config, lambda text, answer: True
        ):
            assert not torch.is_inference_mode_enabled()
            assert torch.equal(logits(tiny_llama, ids), base)


def test_a_model_without_adapter_has_none_afterwards(tiny_llama, tiny_tokenizer, experts):
    few_shot_adapt(tiny_llama, tiny_tokenizer, [open_example(0)], experts, SMALL)
    assert attached(tiny_llama) is None
    with pytest.raises(InputError):
        few_shot_adapt(tiny_llama, tiny_tokenizer, [], experts, SMALL)
    assert attached(tiny_llama) is None


def test_a_held_adapter_stays_as_it_was_set(adapter, tiny_llama, tiny_tokenizer, experts):
    adapter.set(experts["math"].scales)
    before = logits(tiny_llama, prompt_ids(8))
    few_shot_adapt(tiny_llama, tiny_tokenizer, [open_example(0)], experts, SMALL)
    assert attached(tiny_llama) is adapter
    assert torch.equal(logits(tiny_llama, prompt_ids(8)), before)


# --- the report ----------------------------------------------------------------------------------


def test_held_out_examples_change_the_report_and_never_the_mixture(
    adapter, tiny_tokenizer, experts, examples
):
    _, held = split(examples, SMALL)
    assert len(held) == 2
    ids = {e.id for e in held}
    others = [open_example(e.id, 8, 4, seed=77) if e.id in ids else e for e in examples]
    one, two = (
        list(search(adapter, tiny_tokenizer, rows, experts, SMALL))[-1]
        for rows in (examples, others)
    )
    assert one.mixture == two.mixture
    assert (one.before, one.after) != (two.before, two.after)
    assert one.report == "held-out 2 of 6 examples" and one.n == 2
    before, after = score_of(adapter, [Mixture(), one.mixture], experts, held)
    assert (one.before, one.after) == (pytest.approx(before), pytest.approx(after))
    assert one.right_before is None  # nothing was generated


def test_fewer_than_four_are_left_out_one_by_one(adapter, tiny_tokenizer, experts, examples):
    *_, result = search(adapter, tiny_tokenizer, examples[:3], experts, SMALL)
    assert (result.report, result.n) == ("leave-one-out over 3 examples", 3)
    assert len(result.generations) == 3  # those of the search over all of them
    after = []
    for i in range(3):
        rest = examples[:i] + examples[i + 1 : 3]
        config = replace(SMALL, held_out=0)
        *_, inner = search(adapter, tiny_tokenizer, rest, experts, config)
        after += list(score_of(adapter, [inner.mixture], experts, [examples[i]]))
    assert result.after == pytest.approx(np.mean(after), abs=1e-4)


@pytest.mark.parametrize(
    ("count", "held_out", "report"),
    [
        (1, 0.3, "nothing held out: there is only one example"),
        (3, 0.0, "nothing held out"),
        (6, 0.0, "nothing held out"),
        (4, 0.3, "held-out 1 of 4 examples"),
        (4, 0.9, "held-out 3 of 4 examples"),
        (6, 0.01, "held-out 1 of 6 examples"),
    ],
)
def test_the_report_says_what_it_is_from(
    adapter, tiny_tokenizer, experts, examples, count, held_out, report
):
    config = replace(SMALL, held_out=held_out, generations=1)
    *_, result = search(adapter, tiny_tokenizer, examples[:count], experts, config)
    assert result.report == report
    assert (result.before is None) == report.startswith("nothing")


def test_closed_answers_are_counted_without_decoding(adapter, experts):
    rows = [closed_example(i, seed=i) for i in range(8)]
    for objective in ("likelihood", "reward", "both"):
        config = replace(SMALL, objective=objective)
        *_, result = search(adapter, None, rows, experts, config)
        assert result.n == 2 and 0 <= result.right_after <= 2
        if objective == "reward":
            assert result.after == result.right_after / 2


# --- stopping, and what goes wrong ---------------------------------------------------------------


def test_stopped_at_once_is_the_base_model(adapter, tiny_tokenizer, experts, examples):
    *_, result = search(adapter, tiny_tokenizer, examples, experts, SMALL, stopped=lambda: True)
    assert result.mixture == Mixture() and result.generations == ()
    assert result.set_by == "CEM, stopped before its first generation"
    assert result.before == pytest.approx(result.after, abs=1e-5)  # two rows of one batch


@pytest.mark.parametrize("method", ["cem", "gradient"])
def test_stopping_keeps_the_best_so_far_and_reports_it(
    adapter, tiny_tokenizer, experts, examples, method
):
    done = []
    config = FewShotConfig(method=method, population=6, generations=50, floor=0.0)
    steps = search(
        adapter, tiny_tokenizer, examples, experts, config, stopped=lambda: len(done) >= 2
    )
    for step in steps:
        done += [step] if isinstance(step, Generation) else []
    assert step.generations == tuple(done) and len(done) == 2
    assert step.n == 2 and step.after is not None
    seen, _ = split(examples, config)
    (score,) = score_of(adapter, [step.mixture], experts, seen)
    assert score == pytest.approx(done[-1].best, abs=2e-3)


def test_stopping_skips_leave_one_out(adapter, tiny_tokenizer, experts, examples):
    done = []
    steps = search(
        adapter, tiny_tokenizer, examples[:3], experts, SMALL, stopped=lambda: bool(done)
    )
    for step in steps:
        done += [step] if isinstance(step, Generation) else []
    assert step.mixture.weights and step.after is None
    assert step.report == "nothing held out: stopped before leave-one-out was done"


def test_a_member_that_breaks_the_model_is_the_worst(
    adapter, tiny_tokenizer, tiny_llama, experts, examples
):
    """Scales of 1e30 overflow: some members' scores are NaN."""
    wild = Expert("wild", {n: z * 1e30 for n, z in experts["code"].scales.items()})
    mixed = {"math": experts["math"], "wild": wild}
    *_, result = search(adapter, tiny_tokenizer, examples, mixed, SMALL)
    assert np.isnan(result.generations[0].scores).any()
    assert result.mixture.weights["wild"] == 0
    assert all(np.isfinite(g.best) and np.isfinite(g.mean) for g in result.generations)
    config = replace(SMALL, low=0.5)
    with pytest.raises(InputError, match="None of 6 mixtures got a finite score"):
        list(search(adapter, tiny_tokenizer, examples, mixed, config))


def test_weights_that_cancel_are_not_normalised(adapter, tiny_tokenizer, experts, examples):
    config = replace(SMALL, normalise=True, low=-1.0, population=12)
    *_, result = search(adapter, tiny_tokenizer, examples, experts, config)
    assert abs(sum(result.mixture.weights.values())) > 0.01
    assert sum(result.mixture.at_layer(0).values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("rows", "config", "said"),
    [
        ([], SMALL, "There are no examples"),
        ([open_example("long", 600)], SMALL, "'long' has 600 tokens .* holds 512"),
        ([open_example("a", 500)], replace(SMALL, objective="reward"), "nothing says whether"),
        ([Example("e", Question((), ((5,),)))], SMALL, "'e' has an empty prompt or answer"),
        ([Example("e", Question((5,), ((),)))], SMALL, "'e' has an empty prompt or answer"),
    ],
)
def test_bad_examples(adapter, tiny_tokenizer, experts, rows, config, said):
    with pytest.raises(InputError, match=said):
        list(search(adapter, tiny_tokenizer, rows, experts, config))


def test_generated_answers_need_a_tokenizer(adapter, experts):
    config = replace(SMALL, objective="reward")
    with pytest.raises(InputError, match="there is no tokenizer: give one"):
        list(search(adapter, None, [open_example("a", 5)], experts, config, answers))


def test_the_context_has_to_hold_a_generated_answer_too(adapter, tiny_tokenizer, experts):
    config = replace(SMALL, objective="reward", max_new_tokens=64)
    with pytest.raises(InputError, match="an answer of up to 64"):
        list(search(adapter, tiny_tokenizer, [open_example(0, 480)], experts, config, answers))


def test_bad_experts(adapter, tiny_tokenizer, tiny_llama, experts, examples):
    with pytest.raises(InputError, match="no expert to mix"):
        list(search(adapter, tiny_tokenizer, examples, {}, SMALL))
    other = {"x": Expert("x", {"model.layers.0.mlp.up_proj": torch.ones(5)})}
    with pytest.raises(InputError, match="does not fit"):
        list(search(adapter, tiny_tokenizer, examples, other, SMALL))
    with adapt(make_tiny("llama", seed=1)) as foreign:
        moved = replace(experts["math"], fingerprint=foreign.fingerprint)
    with pytest.raises(InputError, match="cross-model"):
        list(search(adapter, tiny_tokenizer, examples, {"math": moved}, SMALL))
    config = replace(SMALL, allow_transfer=True, generations=1)
    assert list(search(adapter, tiny_tokenizer, examples, {"math": moved}, config))


@pytest.mark.parametrize("method", ["cem", "cma", "random", "gradient"])
def test_bounds_that_leave_the_base_model_and_the_even_mixture_out(
    adapter, tiny_tokenizer, experts, examples, method
):
    config = replace(SMALL, method=method, low=0.5, high=1.5)
    *_, result = search(adapter, tiny_tokenizer, examples, experts, config)
    for generation in result.generations:
        assert np.min(generation.population) >= 0.5 and np.max(generation.population) <= 1.5
    assert all(0.5 <= a <= 1.5 for a in result.mixture.weights.values())


def test_one_expert(adapter, tiny_tokenizer, experts, examples):
    for method in ("cem", "cma", "gradient"):
        config = FewShotConfig(method=method, population=4, generations=2)
        *_, result = search(adapter, tiny_tokenizer, examples, {"e": experts["math"]}, config)
        assert 0 <= result.mixture.weights["e"] <= 1


# --- a mixture as an expert ----------------------------------------------------------------------


def test_a_folded_mixture_is_the_mixture(adapter, tmp_path, experts):
    mixture = Mixture({"math": (0.5, -0.2), "code": 0.3, "poems": 0.0})
    folded = fold(adapter, experts, mixture, "mine", {"set_by": "CEM"}, license="MIT")
    wanted = mix(experts, mixture)
    alone = mix({"mine": folded}, Mixture({"mine": 1.0}))
    assert all(torch.equal(alone[n], wanted[n]) for n in wanted)
    folded.save(tmp_path / "mine.safetensors")
    read = Expert.load(tmp_path / "mine.safetensors")
    adapter.check(read)  # its fingerprint is this model's
    assert read.license == "MIT"
    assert read.training["set_by"] == "CEM"
    assert read.training["folded_from"] == {
        "math": {"alpha": [0.5, -0.2], "sha256": experts["math"].sha256},
        "code": {"alpha": 0.3, "sha256": experts["code"].sha256},
    }
    with pytest.raises(InputError, match="nothing to fold"):
        fold(adapter, experts, Mixture({"math": 0.0}), "none")
