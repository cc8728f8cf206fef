"""Methods × tasks: what is measured with which weights, what is kept, and how it is shown."""

import math
from contextlib import nullcontext
from dataclasses import replace

import pytest
import tiny_tasks
import torch
from scores import option_scores, right_by
from tiny_tasks import LABELS, SETTINGS, closed_task, open_task

from t2ui.errors import InputError
from t2ui.evaluation import methods
from t2ui.evaluation.comparison import Comparison
from t2ui.evaluation.measure import (
    measure,
    measure_routes,
    outcomes,
    right_by_row,
    routes,
    within,
)
from t2ui.evaluation.methods import Method, base, fixed, of_dispatch, of_expert, of_mixture
from t2ui.evaluation.result_log import ResultLog
from t2ui.evaluation.statistics import paired_p, wilson
from t2ui.evaluation.tables import (
    accuracy_grid,
    as_markdown,
    as_text,
    cells,
    confusion_grid,
    records,
    route_grid,
)
from t2ui.inference.dispatch import Classification, LabelReader
from t2ui.models.chat import answer_tail
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, mix

setup = tiny_tasks.setup  # a fixture


# --- methods -------------------------------------------------------------------------------------


def test_every_method_runs_with_its_own_weights_and_leaves_the_base(setup, tiny_tokenizer):
    adapter, dispatcher, experts = setup
    task = closed_task(tiny_tokenizer)
    half = Mixture({"math": 0.5, "code": -0.5})
    wanted = {
        "base": {},
        "math": experts["math"].scales,
        "mix:math=0.5+code=-0.5": mix(experts, half),
    }
    chosen = [
        base(adapter, dispatcher, LABELS),
        of_expert(adapter, dispatcher, experts["math"]),
        of_mixture(adapter, dispatcher, experts, half),
    ]
    with ResultLog(None, SETTINGS) as log:
        comparison = Comparison(adapter, tiny_tokenizer, chosen, log)
        assert list(comparison.add_set("s", task, task.test)) == [
            name for name in wanted for _ in task.test
        ]
        for method in chosen:
            scores = option_scores(adapter, task.test, wanted[method.name])
            found = right_by_row(log, "s", method, task.test, comparison.judged_by["s"])
            for protocol in ("sum", "byte"):
                right = right_by(task.test, scores, protocol)
                assert list(found[protocol].values()) == right
    assert all(linear.run == linear.base for linear in adapter.linears.values())


@pytest.mark.parametrize("mode", ["prompt", "expert"])
def test_two_passes_answer_each_prompt_with_the_expert_that_pass_one_picks(
    setup, tiny_tokenizer, mode, monkeypatch
):
    adapter, dispatcher, experts = setup
    task = closed_task(tiny_tokenizer)
    method = of_dispatch(adapter, dispatcher, experts, mode)
    chosen = {0: "math", 1: "code", 2: "others"}
    asked = []

    def classify(reader, prompt, labels, expert=None):
        asked.append((prompt, expert and expert.name))
        sure = dict.fromkeys(labels, 1.0)
        return Classification(chosen[int(prompt.split()[1]) % 3], sure, sure, "", 0.0)

    monkeypatch.setattr(LabelReader, "classify", classify)
    with ResultLog(None, SETTINGS) as log:
        list(
            measure(
                log,
                "s",
                method,
                task.test,
                lambda part, context: within(
                    context, lambda _: outcomes(adapter.model, tiny_tokenizer, task, part)
                ),
            )
        )
        found = right_by_row(log, "s", method, task.test)["sum"]
    assert asked == [(e.prompt, "router" if mode == "expert" else None) for e in task.test]
    for i, example in enumerate(task.test):
        expert = experts.get(chosen[i % 3])
        scores = option_scores(adapter, [example], expert.scales if expert else {})
        assert found[example.id] == right_by([example], scores, "sum")[0]
    # prompts with one answerer are answered together: its weights are made once
    assert sorted(len(places) for places, _ in method.parts(task.test)) == [2, 3, 3]


def test_two_passes_pass_over_experts_of_other_weights(setup):
    adapter, dispatcher, experts = setup
    digest = adapter.fingerprint.split(":")[0]
    other = f"{digest}:{','.join('9' * 8)}"
    experts["a"] = replace(
        experts["router"], name="a", labels=("x", "y"), fingerprint=other
    )  # the first classification expert by name, were it not for its base model
    assert adapter.is_transfer(experts["a"])
    assert of_dispatch(adapter, dispatcher, experts, "expert").labels == LABELS
    experts["theirs"] = replace(experts["math"], labels=("poetry",), fingerprint=other)
    assert of_dispatch(adapter, dispatcher, experts, "prompt").labels == LABELS
    with pytest.raises(InputError, match="'expert' .classification expert. needs"):
        of_dispatch(adapter, dispatcher, {"a": experts["a"]}, "expert")


def test_anything_with_a_context_is_a_method(tiny_llama, tiny_tokenizer):
    """As a LoRA: the context puts it on, and takes it off."""
    events = []

    class OnTheModel:
        def __enter__(self):
            events.append("on")

        def __exit__(self, *error):
            events.append("off")

    method = fixed("lora", "digest", OnTheModel)
    task = open_task(tiny_tokenizer, 2)
    with ResultLog(None, SETTINGS) as log:
        for _ in measure(
            log,
            "s",
            method,
            task.test,
            lambda part, context: within(
                context, lambda _: outcomes(tiny_llama, tiny_tokenizer, task, part)
            ),
        ):
            events.append("row")
    assert events == ["on", "row", "row", "off"]


def test_in_another_scope_a_method_has_another_name_digest_and_reading(setup, tiny_tokenizer):
    """Results in one scope are never taken for those in the other."""
    adapter, dispatcher, experts = setup
    mixture = Mixture({"math": 1.0})
    pairs = [
        [of_expert(adapter, dispatcher, experts["math"], scope) for scope in ("", "answer")],
        [
            of_mixture(adapter, dispatcher, experts, Mixture({"math": 1.0}, scope=scope))
            for scope in ("all", "answer")
        ],
    ]
    assert of_mixture(adapter, dispatcher, experts, mixture).name == "mix:math=1"
    for plain, answer in pairs:
        assert answer.name == f"{plain.name} in scope answer" and answer.digest != plain.digest
        for method, tail in ((plain, None), (answer, answer_tail(tiny_tokenizer))):
            [(_, context)] = method.parts([None])
            with context() as reading:
                assert (reading and reading.tail) == tail


def test_methods_that_cannot_be(setup):
    adapter, dispatcher, experts = setup
    del experts["router"]
    with pytest.raises(InputError, match="'expert' .classification expert. needs"):
        of_dispatch(adapter, dispatcher, experts, "expert")
    with pytest.raises(InputError, match="no expert named 'poetry'"):
        of_mixture(adapter, dispatcher, experts, Mixture({"poetry": 1.0}))
    other = {next(iter(adapter.names)): torch.ones(3)}
    with pytest.raises(InputError, match="does not fit"):
        of_expert(adapter, dispatcher, Expert("wrong", other))


def test_a_digest_tells_versions_apart(setup):
    _, _, experts = setup
    before = methods.digest_of(experts)
    assert before == methods.digest_of(dict(reversed(experts.items())))
    experts["math"] = Expert("math", experts["code"].scales)
    assert methods.digest_of(experts) != before


def test_a_digest_of_pass_one_tells_versions_of_its_examples_apart(setup):
    """They are no part of an expert's hash, but routes change with them."""
    adapter, reader, experts = setup
    width = adapter.model.config.hidden_size
    told = [
        {**experts, "math": experts["math"].with_examples(torch.full((9, width), value))}
        for value in (0.0, 1.0)
    ]
    digests = [of_dispatch(adapter, reader, one, "expert").digest for one in (experts, *told)]
    assert len(set(digests)) == 3


# --- pass one ------------------------------------------------------------------------------------

PROMPTS = [
    ("math", "sums", "1 + 1"),
    ("math", "sums", "{1} + 1"),
    ("others", "chat", "hello"),
    ("code", "programs", "{}"),
]


def by_brace(name: str = "router") -> Method:
    """Says `code` to prompts with a brace, `math` to the others."""

    def classify(prompt: str) -> dict[str, float]:
        return {"code": 0.9, "math": 0.1} if "{" in prompt else {"code": 0.25, "math": 0.75}

    by = {"base": "base model by prompt", "router": "classification expert", "lora:x": "LoRA"}[name]
    return Method(name, "1", lambda examples: [], lambda: nullcontext(classify), LABELS, by)


def test_routes_count_misroutes_by_family():
    with ResultLog(None, SETTINGS) as log:
        assert routes(log, "d", by_brace(), PROMPTS) == []
        assert len(list(measure_routes(log, "d", by_brace(), PROMPTS))) == 4
        assert list(measure_routes(log, "d", by_brace(), PROMPTS)) == []
        found = routes(log, "d", by_brace(), PROMPTS)
    assert [(r["set"], r["n"], r["misroutes"]) for r in found] == [
        ("sums", 2, 0.5),
        ("chat", 1, 1.0),
        ("programs", 1, 0.0),
        ("all", 4, 0.5),
    ]
    assert found[0]["confusion"] == {"math": {"math": 1, "code": 1}}
    assert found[-1]["interval"] == [round(b, 4) for b in wilson(2, 4)]
    # sums: 0.75 for math right; 0.9 for code where math (0.1) was right
    assert found[0]["ece"] == pytest.approx((0.25 + 0.9) / 2)
    assert found[0]["nll"] == pytest.approx(-(math.log(0.75) + math.log(0.1)) / 2, abs=1e-4)
    assert found[1]["nll"] is None  # it does not know `others`
    assert {record["ece_bins"] for record in found} == {15}
    shown = [{"method": "router", **record} for record in found]
    assert confusion_grid(shown[-1]) == [
        ["router: label \\ taken for", "math", "others", "code"],
        ["math", "1", "0", "1"],
        ["others", "1", "0", "0"],
        ["code", "0", "0", "1"],
    ]
    assert route_grid(shown)[-1][:3] == ["router", "all", "4"]
    assert route_grid(shown)[-1][3].startswith("50.0 % [")
    assert route_grid(shown)[0][4:] == ["ECE", "NLL"]
    assert [row[4:] for row in route_grid(shown)[1:3]] == [["0.575", "1.295"], ["0.750", ""]]


def test_a_classification_expert_is_shown_and_kept_beside_the_base(setup, tiny_tokenizer):
    adapter, _, _ = setup
    chosen = [by_brace("base"), by_brace("router"), fixed("math", "1", adapter.disabled)]
    with ResultLog(None, SETTINGS) as log:
        comparison = Comparison(adapter, tiny_tokenizer, chosen, log)
        assert list(comparison.add_dispatch(PROMPTS)) == ["base"] * 4 + ["router"] * 4
        kept = comparison.records_of(chosen[1])
        assert [(r["set"], r["classifier"]) for r in kept] == [
            (family, who)
            for who in ("base model by prompt", "classification expert")
            for family in ("sums", "chat", "programs", "all")
        ]
        assert comparison.records_of(chosen[2]) == []
        alike = {"data": {"train": "requests"}, "batch": 24}
        trained = [replace(chosen[1], training=alike)]
        trained += [replace(by_brace("lora:x"), training=alike, is_lora=True)]
        beside = Comparison(adapter, tiny_tokenizer, [chosen[0], *trained], log)
        assert list(beside.add_dispatch(PROMPTS)) == ["lora:x"] * 4
        found = {r["classifier"] for r in beside.records_of(trained[0])}
        assert found == {"base model by prompt", "classification expert", "LoRA"}
        assert "router: label \\ taken for" in comparison.text()
        assert comparison.markdown().count("| router | all | 4 | 50.0 %") == 1
        for shown in (comparison.text(), comparison.markdown()):
            assert "expected calibration error, Σ_b n_b / n" in shown and "over 15 bins" in shown
        assert {"ece", "ece_bins", "nll"} <= comparison.records()["dispatch"][0].keys()


def test_classifications_with_other_labels_are_not_taken_over():
    with ResultLog(None, SETTINGS) as log:
        list(measure_routes(log, "d", by_brace(), PROMPTS))
        always = nullcontext(lambda prompt: {"math": 1.0})
        fewer = Method("router", "1", lambda e: [], lambda: always, ("math", "others"))
        assert len(list(measure_routes(log, "d", fewer, PROMPTS))) == 4


# --- tables --------------------------------------------------------------------------------------

RIGHT = {
    "sums, chat": {
        "base": {str(i): i < 4 for i in range(20)},
        "math": {str(i): i < 16 for i in range(20)},
        "code | <x>": {str(i): i < 5 for i in range(10)},
    },
    "facts": {"base": {"a": True}, "math": {"a": False, "b": True}},
}


def test_cells_compare_a_method_with_the_base_on_their_common_rows():
    found = {(c.name, c.method): c for c in cells(RIGHT)}
    math = found["sums, chat", "math"]
    assert (math.right, math.n, math.base) == (16, 20, 0.2)
    assert math.interval == wilson(16, 20)
    before, after = ([i < k for i in range(20)] for k in (4, 16))
    assert math.p == paired_p(before, after)
    assert found["sums, chat", "base"].p is None
    assert found["sums, chat", "code | <x>"].base == 0.4  # of its own ten rows
    assert (found["facts", "math"].right, found["facts", "math"].n) == (0, 1)
    assert cells({"s": {"math": {"a": True}}})[0].p is None  # no base, no test


def test_records_hold_the_table_as_numbers():
    record = next(r for r in records(cells(RIGHT)) if r["method"] == "math")
    assert record == {
        "set": "sums, chat",
        "method": "math",
        "n": 20,
        "accuracy": 0.8,
        "interval": [round(b, 4) for b in wilson(16, 20)],
        "base": 0.2,
        "p": pytest.approx(2 / 2**12, rel=0.05),
    }


def test_the_table_as_text_and_as_markdown():
    grid = accuracy_grid(cells(RIGHT))
    assert grid[0] == ["method", "sums, chat (n = 20)", "facts (n = 1)"]
    assert grid[1][1] == "20.0 % [8.1, 41.6]"
    assert grid[2][1].startswith("80.0 % [58.4, 91.9], p = 0.00049")
    assert grid[3][1].endswith(", n = 10") and grid[3][2] == ""
    text = as_text(grid).split("\n")
    assert len(text) == 5 and text[1].startswith("----------  ---")
    assert text[0].index("sums, chat") == text[2].index("20.0 %")
    markdown = as_markdown(grid).split("\n")
    assert markdown[1] == "| --- | --- | --- |" and "code \\| <x>" in markdown[4]


def test_what_training_took_stands_beside_the_accuracies(setup, tiny_tokenizer):
    adapter, dispatcher, experts = setup
    record = {"seconds": 3600, "peak_memory_mb": 2500, "before": {"seconds": 600}}
    trained = replace(experts["math"], training=record)
    chosen = [
        base(adapter, dispatcher, LABELS),
        of_expert(adapter, dispatcher, trained),
        of_expert(adapter, dispatcher, experts["code"]),
    ]
    with ResultLog(None, SETTINGS) as log:
        comparison = Comparison(adapter, tiny_tokenizer, chosen, log)
        assert comparison.records()["training"] == [
            {
                "method": "math",
                "trained_parameters": trained.parameters,
                "seconds": 4200,
                "peak_memory_mb": 2500,
            }
        ]
        assert f"math    {trained.parameters:<18}  4,200                2,500" in comparison.text()


def test_an_expert_keeps_the_lora_of_the_same_data_beside_it(setup, tiny_tokenizer):
    adapter, dispatcher, experts = setup
    record = {
        "data": {"train": "sums"},
        "steps_done": 3,
        "best_step": 2,
        "learning_rate": 0.001,
        "seconds": 7,
    }
    cost = {"trained_parameters": 40}
    expert = of_expert(adapter, dispatcher, replace(experts["math"], training=record))
    plain = fixed("lora:other", "1", adapter.disabled)
    others = [
        replace(plain, is_lora=True, training=record | cost | {"data": {"train": "poems"}}),
        replace(plain, name="lora:sums", is_lora=True, training=record | cost),
    ]
    task = closed_task(tiny_tokenizer)
    with ResultLog(None, SETTINGS) as log:
        chosen = [base(adapter, dispatcher, LABELS), expert, *others]
        comparison = Comparison(adapter, tiny_tokenizer, chosen, log)
        list(comparison.add_set("sums", task, task.test))
        (kept, *_) = comparison.records_of(expert)
        assert (kept["lora"], kept["lora_interval"]) == (kept["base"], kept["base_interval"])
        del record["data"]
        assert kept["lora_training"] == record | cost
        alone = Comparison(adapter, tiny_tokenizer, chosen[:3], log)
        list(alone.add_set("sums", task, task.test))
        assert "lora" not in alone.records_of(expert)[0]


def test_results_in_the_form_of_lm_evaluation_harness():
    from t2ui.evaluation.harness_format import file_name, harness_results
    from t2ui.evaluation.tables import Cell

    found = [
        Cell("arc_easy test, plain, by sum", "math", 3, 4, 0.5, 1.0),
        Cell("arc_easy test, plain, by byte", "math", 1, 4, 0.5, 1.0),
        Cell("arith test, steps", "math", 1, 1, 0.5, 1.0),
        Cell("arith test, steps", "base", 0, 1, None, None),
    ]
    said = harness_results(found, "math", {"model": "tiny", "dtype": "float32"})
    easy, arith = said["results"]["arc_easy_test_plain"], said["results"]["arith_test_steps"]
    assert easy["acc,none"] == 0.75 and easy["acc_bytes,none"] == 0.25
    assert easy["acc_stderr,none"] == pytest.approx((0.75 * 0.25 / 3) ** 0.5)
    assert arith == {
        "alias": "arith test, steps",
        "exact_match,none": 1.0,
        "exact_match_stderr,none": "N/A",
    }
    assert said["n-samples"]["arc_easy_test_plain"] == {"original": 4, "effective": 4}
    assert said["higher_is_better"]["arith_test_steps"] == {"exact_match": True}
    assert said["config"]["model_args"] == {"method": "math", "model": "tiny", "dtype": "float32"}
    assert file_name("mix:math=0.7+code=0.3") == "results_mix_math_0.7_code_0.3.json"
