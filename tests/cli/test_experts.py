"""`python -m t2ui experts compact`, and its files under the other commands."""

import json

import pytest
from reference import random_scales
from safetensors import safe_open
from tiny import make_tiny, make_tokenizer

from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny("llama").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def experts_folder(tmp_path_factory, tiny_llama):
    folder = tmp_path_factory.mktemp("experts")
    with adapt(tiny_llama) as adapter:
        scales = random_scales(tiny_llama, adapter.names, 0, 0.2)
        Expert(
            "math",
            scales,
            base_model="tiny",
            fingerprint=adapter.fingerprint_of(scales),
            labels=("math",),
            training={"steps": 3},
            description="Counts — ∑",
            license="MIT",
        ).save(folder / "math.safetensors")
    return folder


@pytest.fixture
def compact(cli, experts_folder, tmp_path):
    """What the command says and the file it writes."""
    out = tmp_path / "small.svf"
    status, said, _ = cli(
        "experts",
        "compact",
        "math",
        "--experts",
        experts_folder,
        "--out",
        out,
        "--name",
        "small",
        "--json",
    )
    assert status == 0
    return json.loads(said), out


def test_compact_writes_a_byte_a_scale_and_says_what_it_cost(compact, experts_folder):
    said, out = compact
    large, small = Expert.load(experts_folder / "math.safetensors"), Expert.load(out)
    with safe_open(out, framework="pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in large.scales}
    assert kinds == {"I8"}
    apart = [(small.scales[name] - z).abs().max() for name, z in large.scales.items()]
    assert said["largest_difference"] == pytest.approx(float(max(apart)))
    assert 0 < said["largest_difference"] < 0.005
    assert said["bytes"] == out.stat().st_size < said["bytes_before"]
    assert said["bytes_before"] == (experts_folder / "math.safetensors").stat().st_size


def test_the_small_expert_says_what_the_large_one_says_and_where_it_is_from(
    compact, experts_folder
):
    said, out = compact
    large, small = Expert.load(experts_folder / "math.safetensors"), Expert.load(out)
    assert small.training == {"steps": 3, "compact_of": large.sha256}
    assert (small.name, small.sha256) == ("small", said["sha256"]) != (large.name, large.sha256)
    for field in ("base_model", "fingerprint", "labels", "description", "license", "created"):
        assert getattr(small, field) == getattr(large, field)


def test_a_file_is_taken_too_and_keeps_its_name(cli, experts_folder, tmp_path):
    out = tmp_path / "new" / "math.safetensors"
    status, said, _ = cli("experts", "compact", experts_folder / "math.safetensors", "--out", out)
    assert status == 0 and str(out) in said and "kB before" in said
    assert Expert.load(out).name == "math"


def test_compacting_a_compact_one_changes_no_scale(cli, compact, tmp_path):
    _, out = compact
    status, said, _ = cli("experts", "compact", out, "--out", tmp_path / "again.svf", "--json")
    assert status == 0 and json.loads(said)["largest_difference"] < 1e-6


@pytest.mark.parametrize(
    ("expert", "out", "message"),
    [
        ("math", "there.svf", "there.svf exists already: choose another --out"),
        ("math", "", "exists already"),
        ("math", "small.pt", "small.pt must end in .safetensors or .svf"),
        ("math", "there.svf/small.svf", "cannot be written"),
        ("poems", "small.svf", "no expert named 'poems'; there are: math"),
        ("poems.svf", "small.svf", "There is no expert file at poems.svf"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(
    cli, experts_folder, tmp_path, expert, out, message
):
    (tmp_path / "there.svf").write_text("mine")
    status, said, err = cli(
        "experts", "compact", expert, "--experts", experts_folder, "--out", tmp_path / out
    )
    assert status == 2 and said == ""
    assert message in err and err.count("\n") == 1 and "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["there.svf"]
    assert (tmp_path / "there.svf").read_text() == "mine"


def test_the_other_commands_take_a_compact_file(cli, compact, model_folder):
    said, out = compact
    status, shown, _ = cli("experts", "show", out, "--json")
    assert status == 0 and json.loads(shown)["bytes"] == said["bytes"]
    status, shown, _ = cli("experts", "list", out.parent, "--json")
    assert [e["name"] for e in json.loads(shown)["experts"]] == ["small"]
    status, shown, _ = cli("experts", "verify", out, "--model", model_folder, "--json")
    assert status == 0 and json.loads(shown)[0]["ok"]
    status, _, _ = cli("experts", "card", out.parent)
    card = (out.parent / "README.md").read_text()
    assert status == 0 and said["compact_of"] in card and said["sha256"] in card


def test_evaluate_compares_the_two_in_one_table(
    cli, compact, experts_folder, model_folder, tmp_path
):
    """Rounding moves the options of a question too little to make another one the best."""
    _, out = compact
    options = [("yes", "no"), ("red", "blue"), ("one", "two")]
    data = tmp_path / "own"
    data.mkdir()
    words = {"train": "learn", "validation": "check", "test": "question"}
    for part, word in words.items():  # a prompt is in one part only
        rows = [
            {"prompt": f"{word} {i}?", "answer": options[i % 3][i % 2], "choices": options[i % 3]}
            for i in range(30)
        ]
        (data / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    status, said, err = cli(
        "evaluate",
        f"math,{out}",
        "jsonl",
        "--data",
        data,
        "--model",
        model_folder,
        "--experts",
        experts_folder,
        "--json",
    )
    assert status == 0, err
    found = {"base": [], "math": [], "small": []}
    for record in json.loads(said)["accuracy"]:
        found[record.pop("method")].append(record)
    assert found["small"] == found["math"] != []
    assert [r["accuracy"] for r in found["math"]] != [r["accuracy"] for r in found["base"]]


def test_a_compact_file_stays_compact_when_records_are_added(tmp_path):
    from dataclasses import replace

    import torch

    from t2ui.svf.expert import Expert

    z = {"model.layers.0.mlp.up_proj": torch.linspace(0.9, 1.1, 32)}
    Expert("small", z, "tiny", "").save(tmp_path / "small.safetensors", compact=True)
    loaded = Expert.load(tmp_path / "small.safetensors")
    again = replace(loaded, metrics=[{"set": "x"}]).save(tmp_path / "small.safetensors")
    assert loaded.compact and again.compact
    assert again.sha256 == loaded.sha256
    assert Expert.load(tmp_path / "small.safetensors").metrics == [{"set": "x"}]


def test_examples_of_a_task_and_of_a_file_are_two_groups(
    cli, experts_folder, model_folder, tmp_path
):
    """The file's are the same kind in other words; the scales, and so the hash, stay."""
    file = tmp_path / "mine.safetensors"
    before = Expert.load(experts_folder / "math.safetensors").save(file)
    typed = tmp_path / "typed.jsonl"
    rows = [{"prompt": f"please add {a} and {b}"} for a in range(5, 11) for b in range(7)]
    typed.write_text("\n".join(map(json.dumps, [*rows, rows[0]])), encoding="utf-8")
    for source, groups in (
        (("--prompts", typed), ()),
        (("--task", "rg:chain_sum:max_terms=3", "--prompts", typed), (64, 42)),
    ):
        status, said, notes = cli(
            "experts", "examples", file, *source, "--model", model_folder, "--json"
        )
        assert status == 0, notes
        found = Expert.load(file)
        assert found.example_groups == groups and found.sha256 == before.sha256
        assert json.loads(said)["examples"] == len(found.examples) == sum(groups or (42,))
    own = ("--task", "jsonl")
    for words, says in (((), "Say where the prompts come"), (own, "--prompts FILE")):
        status, _, notes = cli("experts", "examples", file, "--model", model_folder, *words)
        assert status == 2 and says in notes
