"""`t2ui lm-eval`: rows of ARC-Easy's form by lm-evaluation-harness, equal to our own numbers."""

import json
import sys

import pytest
from reference import random_scales
from tiny import make_tiny, make_tokenizer

from t2ui import Expert, adapt
from t2ui.evaluation.measure import outcomes
from t2ui.models.loading import load_model
from t2ui.tasks import load_task

WORDS = ("air", "a stone", "warm water", "the sun", "green leaves", "iron", "salt", "two cats")
TASK = """
task: local_arc_easy
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{texts.index(right)}}}}"
doc_to_choice: "{{{{texts}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


def row(number):
    texts = [WORDS[(number + 3 * k) % len(WORDS)] for k in range(4)]
    choices = [{"label": label, "text": text} for label, text in zip("ABCD", texts, strict=True)]
    asked = f"What is needed for thing number {number}?"
    return {
        "id": f"r{number}",
        "question": asked,
        "choices": choices,
        "answerKey": "ABCD"[number % 4],
    }


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A model's folder, an expert, and twelve rows as we and as the harness read them."""
    folder = tmp_path_factory.mktemp("harness")
    model = make_tiny("llama")
    model.save_pretrained(folder / "tiny")
    make_tokenizer().save_pretrained(folder / "tiny")
    with adapt(model) as adapter:
        scales = random_scales(model, adapter.names, 0, 1.2)
        expert = Expert("math", scales, fingerprint=adapter.fingerprint_of(scales))
    expert.save(folder / "experts" / "math.safetensors")
    rows = [row(number) for number in range(12)]
    (folder / "data" / "arc_easy").mkdir(parents=True)
    for file, part in (("train", rows[:1]), ("dev", rows[1:2]), ("test", rows[2:])):
        text = "".join(json.dumps(one) + "\n" for one in part)
        (folder / "data" / "arc_easy" / f"{file}.jsonl").write_text(text)
    flat = [
        {
            "question": one["question"],
            "texts": [choice["text"] for choice in one["choices"]],
            "right": next(c["text"] for c in one["choices"] if c["label"] == one["answerKey"]),
        }
        for one in rows[2:]
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in flat))
    (folder / "tasks").mkdir()
    (folder / "tasks" / "local.yaml").write_text(TASK.format(rows=folder / "rows.jsonl"))
    return folder, expert


def ours(folder, expert, alpha):
    """Whether each row is right, by the sum of log-likelihoods, in the harness' layout."""
    model, tokenizer = load_model(folder / "tiny")
    task = load_task("arc_easy", tokenizer, folder / "data", style="plain")
    z = {name: 1 + alpha * (s - 1) for name, s in expert.scales.items()}
    with adapt(model) as adapter, adapter.applied(z):
        found = dict(outcomes(model, tokenizer, task, task.test))
    return [found[example.id]["right"]["sum"] for example in task.test]


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.5])
def test_the_harness_gets_the_same_rows_right(cli, work, tmp_path, alpha):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install lm-eval")
    folder, expert = work
    mixture = f",mixture=math={alpha},experts={folder / 'experts'}" if alpha else ""
    status, said, err = cli(
        "lm-eval",
        "run",
        "--model",
        "t2ui",
        "--model_args",
        f"model={folder / 'tiny'},dtype=float32{mixture}",
        "--device",
        "cpu",
        "--tasks",
        "local_arc_easy",
        "--include_path",
        folder / "tasks",
        "--output_path",
        tmp_path / "out",
        "--log_samples",
    )
    assert status == 0, err
    (results,) = (tmp_path / "out").rglob("results_*.json")
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    right = ours(folder, expert, alpha)
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    found = [bool(line["acc"]) for line in sorted(lines, key=lambda line: line["doc_id"])]
    assert found == right and len(right) == 10
    scores = json.loads(results.read_text())["results"]["local_arc_easy"]
    assert scores["acc,none"] == pytest.approx(sum(right) / len(right))
    if alpha == 1:
        assert right != ours(folder, expert, 0.0)  # or the test shows nothing


def test_without_the_harness_it_says_what_to_install(cli, monkeypatch):
    for name in ("lm_eval", "lm_eval.api.registry", "lm_eval.models.huggingface"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "t2ui.exchange.lm_harness", raising=False)
    status, said, err = cli("lm-eval", "run", "--model", "t2ui")
    assert (status, said) == (2, "") and "pip install lm-eval" in err
    assert len(err.strip().splitlines()) == 1


def test_bad_model_arguments_are_one_line(cli, work):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install lm-eval")
    folder, _ = work
    for arguments, message in (
        (f"model={folder / 'tiny'},mixture=poems=1", "no expert named 'poems'"),
        (f"model={folder / 'none'}", "is not a model folder"),
    ):
        words = ("run", "--model", "t2ui", "--model_args", arguments, "--tasks", "local_arc_easy")
        status, _, err = cli("lm-eval", *words, "--include_path", folder / "tasks")
        assert status == 2 and message in err.splitlines()[-1]
