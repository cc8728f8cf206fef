"""`python -m t2ui evaluate`: what it prints and writes, how it goes on, and bad input."""

import json
import re
import sys

import pytest
from reference import random_scales
from tiny import make_tiny, make_tokenizer
from transformers import AutoModelForCausalLM

from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, SavedMixture


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_llama):
    """A tiny model, its experts and a few rows of data on disk."""
    root = tmp_path_factory.mktemp("evaluate")
    make_tiny("llama").save_pretrained(root / "tiny")
    make_tokenizer().save_pretrained(root / "tiny")
    (root / "experts").mkdir()
    with adapt(tiny_llama) as adapter:
        for seed, name in enumerate(("math", "code")):
            Expert(
                name,
                random_scales(tiny_llama, adapter.names, seed=seed),
                base_model="tiny",
                fingerprint=adapter.fingerprint,
                labels=(name,),
                metrics=[
                    {"set": "other test", "protocol": "greedy"},
                    {"set": "mine test", "protocol": "greedy", "n": 1},
                ],
            ).save(root / "experts" / f"{name}.safetensors")
    (root / "mine").mkdir()
    for part, word in (("train", "tell"), ("test", "say")):  # a prompt is in one part only
        lines = [{"prompt": f"{word} {i}", "answer": "x"} for i in range(12)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (root / "mine" / f"{part}.jsonl").write_text(text)
    return root


@pytest.fixture
def run(cli, folders):
    """Evaluate with the tiny model; (exit status, stdout, stderr)."""
    places = {"model": "tiny", "experts": "experts", "data": "mine"}

    def call(*words):
        others = {f"--{k}": folders / v for k, v in places.items() if f"--{k}" not in words}
        return cli("evaluate", *words, *(word for pair in others.items() for word in pair))

    return call


def test_evaluate_prints_and_writes_the_table_and_goes_on(run, folders, tmp_path):
    arguments = (
        "math,mix:math=0.5+code=0.5,prompt",
        "jsonl",
        "--reward",
        "contains",
        "--limit",
        3,
        "--out",
        tmp_path,
        "--batch-rows",
        4,
    )
    status, out, err = run(*arguments)
    assert status == 0, err
    assert out.split("\n")[0].split("  ")[0] == "method" and "mine test (n = 3)" in out
    methods_shown = [line.split("  ")[0] for line in out.strip().split("\n")[2:]]
    assert methods_shown == ["base", "math", "mix:math=0.5+code=0.5", "prompt"]
    lines = (tmp_path / "results.jsonl").read_text().count("\n")
    assert lines == 1 + 4 * 3
    table = json.loads((tmp_path / "table.json").read_text())
    assert {r["n"] for r in table["accuracy"]} == {3}
    assert "| base |" in (tmp_path / "table.md").read_text()
    page = (tmp_path / "table.html").read_text()
    assert page.startswith("<html>") and "mix:math=" in page
    assert not re.search(r"<(script|link)[^>]*(src|href)=", page), "it asks another host"
    # a higher limit only adds rows, and every row stays what it was
    before = (tmp_path / "results.jsonl").read_text()
    status, out, _ = run(*arguments, "--limit", 4, "--json")
    assert {r["n"] for r in json.loads(out)["accuracy"]} == {4}
    after = (tmp_path / "results.jsonl").read_text()
    assert after.startswith(before) and after.count("\n") == lines + 4


def test_rows_may_be_one_file_and_edited_rows_are_measured_anew(run, tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "out"
    rows = [{"id": i, "prompt": f"say {i}", "answer": "x"} for i in range(10)]

    def measured(reward: str, *more) -> int:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        status, _, err = run(
            "math", "jsonl", "--reward", reward, "--data", path, "--out", out, *more
        )
        assert status == 0, err
        return (out / "results.jsonl").read_text().count("\n")

    assert measured("contains") == 1 + 2  # settings; one test row, base and math
    assert measured("contains") == 3
    assert measured("exact") == 5
    rows = [{**row, "answer": "y"} for row in rows]
    assert measured("exact") == 7
    assert measured("exact", "--max-new-tokens", 5) == 9
    assert json.loads((out / "table.json").read_text())["accuracy"][0]["n"] == 1


def test_mixture_files_by_layer_and_normalised(run, tmp_path):
    """Each is a method of its own: none takes another's results."""
    by_layer = Mixture({"math": (0.5, 0.25), "code": (0.0, 1.0)})
    SavedMixture(by_layer).save(tmp_path / "layers.json")
    SavedMixture(Mixture({"math": 1.0, "code": 1.0}, True), "another").save(tmp_path / "sum.json")
    status, out, err = run(
        f"mix:{tmp_path}/layers.json,mix:{tmp_path}/sum.json,mix:math=1+code=1",
        "jsonl",
        "--reward",
        "contains",
        "--limit",
        2,
        "--json",
        "--out",
        tmp_path / "out",
    )
    assert status == 0, err
    assert "sum.json: the mixture was found for another, not tiny" in err
    assert [r["method"] for r in json.loads(out)["accuracy"]] == [
        "base",
        "mix:math=0.375 by layer+code=0.5 by layer",
        "mix:math=1+code=1 normalised",
        "mix:math=1+code=1",
    ]
    logged = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").open()][1:]
    assert len({(r["method"], r["digest"]) for r in logged}) == 4


def test_evaluate_writes_an_experts_records_into_its_file(run, folders):
    status, _, err = run("code", "jsonl", "--reward", "contains", "--limit", 2, "--write")
    assert status == 0, err
    saved = Expert.load(folders / "experts" / "code.safetensors")
    assert [m["set"] for m in saved.metrics] == ["other test", "mine test"]
    record = saved.metrics[1]
    assert (record["protocol"], record["n"], record["seed"]) == ("greedy", 2, 0)
    assert record["command"].startswith("python -m t2ui evaluate code jsonl")
    assert {"base", "base_interval", "expert", "interval", "p"} <= record.keys()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["poetry", "jsonl"], "no expert named 'poetry'"),
        (["math", "poems"], "no task 'poems'"),
        (["math", "jsonl:steps", "--reward", "exact"], "jsonl has no styles; got 'jsonl:steps'"),
        (["math", "jsonl"], "no choices"),
        (["math", "jsonl", "--limit", "0"], "limit is 0"),
        (["math", "jsonl", "--batch-rows", "0"], "batch_rows is 0"),
        (["mix:math", "jsonl"], "mix: has 'math'; expected name=coefficient"),
        (["mix:", "jsonl"], "mix: names no expert"),
        (["expert", "jsonl", "--reward", "exact"], "needs an expert that is not in"),
        (["math", " , "], "no task to measure on"),
        (["math", "jsonl", "--reward", "exact", "--max-new-tokens", "500"], "context holds 512"),
        (["math", "jsonl", "--reward", "exact", "--out", __file__], "cannot be written"),
    ],
)
def test_bad_input_is_one_line(run, arguments, said, tmp_path):
    arguments = arguments if "--out" in arguments else [*arguments, "--out", tmp_path / "out"]
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert said in err and err.count("\n") == 1


ROWS = ("--reward", "exact")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["math,poetry", "jsonl", *ROWS], "no expert named 'poetry'"),
        (["math,mix:math=1+poetry=1", "jsonl", *ROWS], "no expert named 'poetry'"),
        (["math,mix:math=one", "jsonl", *ROWS], "coefficient of 'math' is 'one'"),
        (["math,mix:nowhere.json", "jsonl", *ROWS], "There is no mixture file at nowhere.json"),
        (["math,nowhere.safetensors", "jsonl", *ROWS], "nowhere.safetensors"),
        (["math,lora:nowhere", "jsonl", *ROWS], "nowhere holds no adapter_model.safetensors"),
        (["math", "jsonl,poems", *ROWS], "no task 'poems'"),
        (["math", "jsonl,arith:loud", *ROWS], "style is 'loud'"),
        (["math", "jsonl,arith", *ROWS], "There is no data file at"),
        (["math", "jsonl,gsm8k", *ROWS], "There is no data file at"),
        (["math", "jsonl,rg:lcms", *ROWS], "no generator 'lcms'"),
        (["math", "jsonl", "--reward", "loud"], "reward is 'loud'"),
        (["math", "jsonl", *ROWS, "--option", "rows=3"], "--option has 'rows=3'"),
        (["math", "jsonl", *ROWS, "--experts", "nowhere"], "There is no folder nowhere"),
        (["math", "jsonl", *ROWS, "--data", "nowhere"], "There is no folder nowhere"),
        (["math", "jsonl", *ROWS, "--out", __file__], "cannot be written: it is no folder"),
    ],
)
def test_what_is_wrong_shows_before_the_model_is_loaded(run, arguments, said, monkeypatch):
    def loaded(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("t2ui.models.loading.load_model", loaded)
    monkeypatch.setitem(sys.modules, "datasets", None)  # nothing is fetched
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert said in err and err.count("\n") == 1


@pytest.mark.parametrize("wrong", ["lora", "expert", "rows"])
def test_what_does_not_fit_the_model_shows_before_any_row_is_answered(
    wrong, run, tmp_path, monkeypatch
):
    """Two sets and two methods: the second ones are wrong."""
    from t2ui.training.lora import LoRA

    wider = make_tiny("llama").config
    wider.hidden_size, wider.name_or_path = 48, "wider"
    other = AutoModelForCausalLM.from_config(wider)
    lora = LoRA(other, rank=2)
    lora.save(tmp_path / "lora")
    lora.remove()
    with adapt(other) as adapter:
        scales = random_scales(other, adapter.names, seed=1)
        Expert("wide", scales, fingerprint=adapter.fingerprint).save(tmp_path / "w.safetensors")
    method = {"lora": f"lora:{tmp_path}/lora", "expert": f"{tmp_path}/w.safetensors"}
    monkeypatch.setattr(
        "t2ui.evaluation.measure.greedy_texts", lambda *_: pytest.fail("a row was answered")
    )
    rows = ["jsonl,rg:rectangle_count"] if wrong == "rows" else ["jsonl"]
    arguments = [f"math,{method.get(wrong, 'code')}", *rows, *ROWS, "--limit", 2]
    status, out, err = run(*arguments)
    said = {
        "lora": "is a LoRA of another model",
        "expert": "does not fit",
        "rows": "context holds 512",
    }
    assert (status, out) == (2, "")
    assert said[wrong] in err and err.count("\n") == 1
