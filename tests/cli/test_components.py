"""`t2ui components`, `compare` and `experts likeness`: the library on the command line."""

import json

import pytest
from reference import random_scales
from tiny import make_tiny, make_tokenizer, saved

from t2ui.config import AnswerSettings, Sampling
from t2ui.evaluation.trial import try_questions
from t2ui.inference.components import components_of
from t2ui.inference.sweep import compare_mixtures
from t2ui.lineup import Lineup
from t2ui.records import ComponentChoice
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.library import load_library
from t2ui.svf.likeness import likeness


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A model's folder and its experts'."""
    model, folder = make_tiny("llama"), tmp_path_factory.mktemp("experts")
    with adapt(model) as adapter:
        for seed, name in enumerate(("math", "code")):
            scales = random_scales(model, adapter.names, seed, 0.2)
            print_of = adapter.fingerprint_of(scales)
            Expert(name, scales, base_model="tiny", fingerprint=print_of).save(
                folder / f"{name}.safetensors"
            )
    return saved(model, tmp_path_factory.mktemp("models") / "tiny"), folder


def test_mixtures_are_compared(cli, places, tmp_path):
    model, folder = places
    where = ("--model", model, "--experts", folder, "--device", "cpu", "--max-new-tokens", "6")
    what = ("compare", "--mix", "base", "--mix", "math=1", "--controls")
    status, said, _ = cli(*what, "Hello", "--given", "Seven.", *where, "--json")
    found = json.loads(said)
    lineup, settings = (
        Lineup([{}, {"math": 1.0}], ["shuffled", "random"]),
        AnswerSettings(sampling=Sampling(6)),
    )
    loaded = make_tiny("llama"), make_tokenizer()
    experts = load_library(folder).experts
    expected = compare_mixtures(*loaded, "Hello", experts, lineup, settings, "Seven.")
    assert status == 0 and found["parts_at"] == expected.parts_at
    assert [one["text"] for one in found["columns"]] == [one.text for one in expected.columns]
    assert found["columns"][3]["mixture"] == "random z, math=1"
    file = tmp_path / "questions.jsonl"
    rows = [{"prompt": f"Add {n} and 4", "answer": "e"} for n in range(6)]
    file.write_text("\n".join(map(json.dumps, rows)))
    status, said, _ = cli(*what, "--questions", file, *where, "--json")
    found = json.loads(said)
    pairs = [(row["prompt"], row["answer"]) for row in rows]
    lineup = Lineup(lineup.mixtures, ["shuffled", "random", "examples"], shots=pairs[:2])
    tried = try_questions(*loaded, pairs[2:], experts, lineup, settings)
    assert [tuple(one["right"]) for one in found["columns"]] == [one.right for one in tried]
    status, said, _ = cli(*what, "--questions", file, *where)
    assert status == 0 and said.count(" of 4 right [") == 5
    for bad, words in (
        (("Hello", "--questions", str(file)), "Give a prompt, or --questions FILE"),
        ((), "Give a prompt, or --questions FILE"),
        (("Hello", "--mix", "poems=1"), "no expert named 'poems'"),
        (("--questions", str(tmp_path / "gone.jsonl")), "gone.jsonl"),
    ):
        status, _, notes = cli(*what, *bad, *where)
        assert status == 2 and words in notes and "Traceback" not in notes


def test_components_are_named_and_tested(cli, places):
    model, folder = places
    what = ("components", "Hello", "--mix", "math=1", "--answer", "Seven.", "--count", "3")
    where = ("--model", model, "--experts", folder, "--device", "cpu")
    status, said, _ = cli(*what, *where, "--json")
    found = json.loads(said)
    experts = load_library(folder).experts
    expected = components_of(
        make_tiny("llama"),
        make_tokenizer(),
        experts,
        AnswerSettings({"math": 1.0}),
        ComponentChoice(count=3),
        "Hello",
        "Seven.",
    )
    assert status == 0 and found["changed"] == pytest.approx(expected.changed, abs=1e-3)
    assert [one["name"] for one in found["components"]] == [c.name for c in expected.components]
    first = f"{expected.components[0].name}:{expected.components[0].index}"
    status, said, notes = cli(*what, "--component", first, "--at", "0.5", *where)
    assert status == 0 and "z = 0.5:" in said and "reads" in said and "nats" in notes
    for bad, words in (
        (("--component", "model.layers.0.mlp.up_proj"), "expected MATRIX:INDEX"),
        (("--component", "lm_head:0"), "no adapted matrix 'lm_head'"),
        (("--component", "model.layers.0.mlp.up_proj:99"), "no component 99"),
        (("--mix", "poems=1"), "no expert named 'poems'"),
    ):
        status, _, notes = cli(*what, *bad, *where)
        assert status == 2 and words in notes and "Traceback" not in notes


def test_likeness_reads_the_files_alone(cli, places):
    status, said, _ = cli("experts", "likeness", places[1], "--json")
    found, expected = json.loads(said), likeness(load_library(places[1]).experts)
    assert status == 0 and found["names"] == ["code", "math"]
    assert found["cosine"][0] == pytest.approx(expected.cosine[0].tolist())
    status, said, _ = cli("experts", "likeness", places[1])
    assert status == 0 and f"{expected.cosine[0, 1]:.3f}" in said
    status, _, notes = cli("experts", "likeness", places[1], "--name", "poems")
    assert status == 2 and "no expert named 'poems'" in notes
