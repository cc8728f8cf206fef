"""`python -m t2ui adapt`, mixture files, and `ask --mix FILE`."""

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace

import pytest
import torch
from reference import random_scales
from tiny import make_tiny, make_tokenizer

from t2ui.errors import InputError
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, SavedMixture, mix
from t2ui.tasks.own import REWARDS

QUICK = ("--population", 4, "--generations", 2)


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
        for seed, name in enumerate(("math", "code", "dispatch")):
            scales = random_scales(tiny_llama, adapter.names, seed, 0.2)
            Expert(
                name,
                scales,
                base_model="tiny",
                fingerprint=adapter.fingerprint_of(scales),
                labels=("a", "b") if name == "dispatch" else (name,),
                objective="dispatch" if name == "dispatch" else "",
            ).save(folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def examples(tmp_path):
    path = tmp_path / "few.jsonl"
    rows = [{"prompt": f"what is {i} + 1?", "answer": str(i + 1)} for i in range(5)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def run(cli, model_folder, experts_folder):
    """Run a command on the tiny model; (exit status, stdout, stderr)."""
    return lambda command, *words: cli(
        command, "--model", model_folder, "--experts", experts_folder, *words
    )


def test_adapt_writes_a_mixture_that_ask_reads(run, examples, tmp_path, experts_folder):
    out, folded = tmp_path / "mine.json", tmp_path / "mine.safetensors"
    status, said, _ = run(
        "adapt", "--examples", examples, *QUICK, "--out", out, "--fold", folded, "--json"
    )
    assert status == 0
    result = json.loads(said)
    assert result["mixture"].keys() == {"math", "code"}  # no dispatcher is mixed
    assert result["report"] == "held-out 2 of 5 examples" and result["n"] == 2
    assert [g["number"] for g in result["generations"]] == [1, 2]
    told = {"best", "mean", "spread", "seconds", "forward_passes"}
    assert told <= result["generations"][0].keys()

    written = json.loads(out.read_text())
    assert (written["format"], written["weights"]) == ("t2ui.mixture", result["mixture"])
    provenance = written["provenance"]
    assert provenance["set_by"] == result["set_by"] and provenance["examples"] == "few.jsonl"
    assert provenance["command"].startswith("python -m t2ui adapt ")
    assert " --examples few.jsonl " in provenance["command"]  # no folder of this machine
    assert provenance["config"]["population"] == 4

    library = {n: Expert.load(experts_folder / f"{n}.safetensors") for n in ("math", "code")}
    assert provenance["experts"] == {n: e.sha256 for n, e in library.items()}
    wanted = mix(library, Mixture(result["mixture"]))
    expert = Expert.load(folded)
    assert (expert.name, expert.base_model) == ("mine", "tiny")
    assert all(torch.equal(expert.scales[n], wanted[n]) for n in wanted)

    status, said, err = run("ask", "hello", "--mix", out, "--max-new-tokens", 3, "--json")
    assert status == 0 and json.loads(said)["mixture"] == result["mixture"]
    assert err == ""


def test_people_see_generations_report_and_weights(run, examples):
    status, out, err = run(
        "adapt",
        "--examples",
        examples,
        *QUICK,
        "--preset",
        "light",
        "--objective",
        "both",
        "--max-new-tokens",
        3,
    )
    assert status == 0
    assert "generation 1 of 2: best " in err and "generation 2 of 2: best " in err
    assert "held-out 2 of 5 examples: both " in err and "right 0 → 0 of 2" in err
    assert [line.split()[0] for line in out.splitlines()] == ["code", "math"]


def test_a_preset_gives_way_to_what_is_said(run, examples, tmp_path):
    out = tmp_path / "m.json"
    run(
        "adapt",
        "--examples",
        examples,
        "--preset",
        "light",
        "--generations",
        1,
        "--out",
        out,
        "--per-layer",
        "--normalise",
        "--held-out",
        0,
        "--seed",
        7,
    )
    written = json.loads(out.read_text())
    config = written["provenance"]["config"]
    assert (config["population"], config["generations"], config["seed"]) == (12, 1, 7)
    assert written["normalise"] is True
    assert all(len(alpha) == 2 for alpha in written["weights"].values())
    assert SavedMixture.load(out).mixture.normalise
    assert written["provenance"]["report"] == "nothing held out"


@pytest.mark.parametrize(
    ("how", "name"), [(("--task", "arith"), "number"), (("--reward", "contains"), "contains")]
)
def test_a_files_answers_are_judged_as_was_said(run, examples, monkeypatch, how, name):
    judged = []
    monkeypatch.setitem(REWARDS, name, lambda *given: bool(judged.append(given)) or True)
    status, out, err = run(
        "adapt", "--examples", examples, *QUICK, "--objective", "reward", "--json", *how
    )
    assert status == 0, err
    assert judged and json.loads(out)["right_after"] == json.loads(out)["n"]


def test_examples_of_a_task(run, tmp_path):
    folder = tmp_path / "data" / "arc_easy"
    folder.mkdir(parents=True)
    for part, count in (("train", 9), ("dev", 6), ("test", 2)):
        rows = [
            {
                "id": f"{part} {i}",
                "question": f"{part} {i}?",
                "answerKey": "A",
                "choices": [{"label": "A", "text": "yes"}, {"label": "B", "text": "no"}],
            }
            for i in range(count)
        ]
        (folder / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    where = ("--task", "arc_easy", "--data", tmp_path / "data")
    status, out, _ = run("adapt", *where, "--shots", 5, *QUICK, "--json")
    result = json.loads(out)
    assert status == 0 and result["report"] == "held-out 2 of 5 examples"
    assert result["right_after"] in (0, 1, 2)
    status, _, err = run("adapt", *where, "--shots", 7, *QUICK)
    assert status == 2 and "has 6 rows to take examples from" in err


def test_examples_that_run_code_say_how_it_is_kept_in(run, tmp_path):
    rows = [
        {
            "task_id": i,
            "prompt": f"Write a function that adds {i}.",
            "code": "def f(): pass",
            "test_list": ["assert f() is None"],
            "test_setup_code": "",
            "split": part,
        }
        for i, part in enumerate(("train", "train", "validation", "validation", "test"))
    ]
    folder = tmp_path / "data" / "mbpp"
    folder.mkdir(parents=True)
    (folder / "full.jsonl").write_text("\n".join(map(json.dumps, rows)))
    where = (
        "adapt",
        "--task",
        "mbpp",
        "--data",
        tmp_path / "data",
        "--shots",
        2,
        *QUICK,
        "--max-new-tokens",
        2,
    )
    status, _, err = run(*where)
    assert status == 0 and "sandbox" not in err, err  # a likelihood runs nothing
    status, _, err = run(*where, "--objective", "reward")
    assert status == 0 and "answers run in a sandbox: " in err


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_keeps_the_best_so_far(run, examples, tmp_path, as_json):
    """A search that would take hours ends within seconds of the interrupt, with its file."""
    out = tmp_path / "best.json"
    pressed = []

    def press():
        time.sleep(2)
        pressed.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=press)
    thread.start()
    words = ["--json"] if as_json else []
    status, said, err = run(
        "adapt",
        "--examples",
        examples,
        "--method",
        "random",
        "--generations",
        10_000,
        "--out",
        out,
        *words,
    )
    thread.join()
    assert time.perf_counter() - pressed[0] < 20
    assert status == 0 and "stopping with the best so far" in err
    assert SavedMixture.load(out).mixture.weights.keys() == {"math", "code"}
    assert signal.getsignal(signal.SIGINT) is before
    if as_json:
        assert len(json.loads(said)["generations"]) < 10_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either --examples FILE.jsonl or --task"),
        (["--examples", "few.jsonl", "--task", "mbpp"], "cannot be graded as 'mbpp'"),
        (["--examples", "few.jsonl", "--task", "arith", "--reward", "exact"], "--reward goes with"),
        (["--examples", "few.jsonl", "--reward", "luck"], "reward is 'luck'; expected exact"),
        (["--task", "arith"], "arith needs --data"),
        (["--examples", "few.jsonl", "--shots", "3"], "--shots and --data go with --task"),
        (["--examples", "no-such.jsonl"], "no data file at no-such.jsonl"),
        (["--examples", "x.jsonl", "--generations", "0"], "generations is 0"),
        (["--examples", "x.jsonl", "--method", "luck"], "method is 'luck'"),
        (["--examples", "x.jsonl", "--preset", "slow"], "no preset 'slow'"),
        (["--examples", "x.jsonl", "--out", "mix.txt"], "mix.txt must end in .json"),
        (["--examples", "x.jsonl", "--fold", "mix.json"], "must end in .safetensors"),
        (
            ["--examples", "x.jsonl", "--method", "gradient", "--objective", "reward"],
            "a reward has no gradient",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(run, arguments, said):
    status, out, err = run("adapt", *arguments)
    assert status == 2 and out == ""
    assert said in err and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize("option", [("--out", "mine.json"), ("--fold", "mine.safetensors")])
def test_what_cannot_be_written_does_not_cost_the_search(run, examples, tmp_path, option):
    (tmp_path / "file").touch()
    status, out, err = run(
        "adapt", "--examples", examples, *QUICK, option[0], tmp_path / "file" / option[1]
    )
    assert status == 2 and "Traceback" not in err
    assert [line.split()[0] for line in out.splitlines()] == ["code", "math"]
    assert f"{option[1]} cannot be written" in err.splitlines()[-1]


def test_adapt_leaves_out_what_does_not_fit_and_says_so(run, examples, experts_folder, tmp_path):
    folder = tmp_path / "experts"
    shutil.copytree(experts_folder, folder)
    math = Expert.load(folder / "math.safetensors")
    Expert("large", {n: torch.ones(4096) for n in math.scales}).save(folder / "large.svf")
    digest = math.fingerprint.split(":")[0]
    other = replace(math, name="theirs", fingerprint=f"{digest}:{','.join('9' * 8)}")
    other.save(folder / "theirs.svf")
    where = ("adapt", "--examples", examples, *QUICK, "--json", "--experts", folder)
    status, out, err = run(*where)
    assert status == 0 and json.loads(out)["mixture"].keys() == {"math", "code"}
    assert "large.svf: " in err and "theirs.svf: " in err and "allow_transfer" in err
    status, out, err = run(*where, "--allow-transfer")
    assert status == 0 and json.loads(out)["mixture"].keys() == {"math", "code", "theirs"}
    assert "large.svf: " in err and "theirs.svf" not in err


def test_bad_examples_and_no_experts(run, tmp_path, examples):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "answer": "b"}\n{"prompt": "a"}\n')
    status, _, err = run("adapt", "--examples", bad)
    assert status == 2 and "bad.jsonl, line 2: no field answer" in err
    bad.write_text("")
    status, _, err = run("adapt", "--examples", bad)
    assert status == 2 and "has no rows" in err
    empty = tmp_path / "experts"
    empty.mkdir()
    status, _, err = run("adapt", "--examples", examples, "--experts", empty)
    assert status == 2 and "There is no expert to mix" in err


# --- mixture files -------------------------------------------------------------------------------


def test_a_mixture_file_round_trips(tmp_path):
    path = tmp_path / "runs" / "m.json"
    saved = SavedMixture(
        Mixture({"math": 0.25, "code": (0.5, -1.0)}, normalise=False), "tiny", {"set_by": "CEM"}
    )
    saved.save(path)
    assert SavedMixture.load(path) == saved
    assert [p.name for p in path.parent.iterdir()] == ["m.json"]  # nothing temporary is left


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is no mixture"),
        ('{"weights": {"math": 1}}', "is no mixture"),
        ('{"format": "t2ui.mixture", "weights": [1]}', "weights is"),
        ('{"format": "t2ui.mixture", "weights": {"math": "x"}}', "coefficient of 'math' is 'x'"),
        ('{"format": "t2ui.mixture", "weights": {"math": NaN}}', "finite number"),
        ('{"format": "t2ui.mixture", "weights": {"a": [1, 2], "b": [1]}}', "different lengths"),
        ('{"format": "t2ui.mixture", "weights": {"a": 0}, "normalise": true}', "sum to 0"),
        ('{"format": "t2ui.mixture", "normalise": "yes"}', "normalise is 'yes'"),
    ],
)
def test_bad_mixture_files(tmp_path, text, said):
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        SavedMixture.load(path)
    assert "m.json" in str(caught.value)


def test_ask_says_what_has_changed_since(run, tmp_path, experts_folder):
    path = tmp_path / "old.json"
    SavedMixture(
        Mixture({"math": 0.5, "code": 0.1}),
        "another",
        {
            "experts": {
                "math": "0" * 64,
                "code": Expert.load(experts_folder / "code.safetensors").sha256,
            }
        },
    ).save(path)
    status, _, err = run("ask", "hello", "--mix", path, "--max-new-tokens", 2)
    assert status == 0
    assert "found for another, not tiny" in err
    assert "expert 'math' is not the one" in err and "'code'" not in err


def test_ask_refuses_what_is_not_there(run, tmp_path):
    status, _, err = run("ask", "hello", "--mix", tmp_path / "none.json")
    assert status == 2 and "no mixture file at" in err
    path = tmp_path / "m.json"
    SavedMixture(Mixture({"poems": 1.0})).save(path)
    status, _, err = run("ask", "hello", "--mix", path)
    assert status == 2 and "no expert named 'poems'" in err


def test_an_example_that_no_reward_can_judge_is_named(run, tmp_path):
    examples = tmp_path / "few.jsonl"
    examples.write_text('{"prompt": "a", "answer": "b"}\n{"prompt": "a", "answer": "("}\n')
    status, _, err = run("adapt", "--examples", examples, "--reward", "regex")
    assert status == 2 and "few.jsonl, row 2: answer '(' is no pattern" in err
    assert "Traceback" not in err
