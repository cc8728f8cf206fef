"""`python -m t2ui train` on people's own rows: what it prints, writes and resumes, how it stops."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import make_tiny, make_tokenizer

from t2ui.models.chat import chat_ids
from t2ui.models.likelihood import option_log_likelihoods
from t2ui.models.questions import Question
from t2ui.svf.expert import Expert

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--batch", 4, "--learning-rate", 0.05, "--kl-coeff", 0, "--evaluate-every", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`tiny`, a model, and `own`, rows of which the model gets nothing right before training: the
    right one of two answers is always the one that it finds less likely."""
    folder = tmp_path_factory.mktemp("train")
    model, tokenizer = make_tiny("llama"), make_tokenizer()
    model.save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(folder / "tiny")
    (folder / "own").mkdir()
    for part, count in (("train", 12), ("validation", 6)):
        rows = []
        for i in range(count):
            prompt, choices = f"{part} {i}?", ("yes", "no")
            options = tuple(tuple(tokenizer.encode(c)) for c in choices)
            question = Question(tuple(chat_ids(tokenizer, prompt)), options)
            scores = option_log_likelihoods(model, [question])[0]
            rows.append(
                {"prompt": prompt, "choices": choices, "answer": choices[int(scores.argmin())]}
            )
        (folder / "own" / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture
def train(cli, folder, tmp_path):
    """Train on the own rows into tmp_path / "run"; (exit status, stdout, stderr)."""
    given = ("--data", folder / "own", "--model", folder / "tiny", "--out", tmp_path / "run")
    return lambda *words: cli("train", "jsonl", *given, *words)


def events(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_line_an_event_and_an_expert_at_the_end(train, tmp_path):
    status, out, err = train(
        *QUICK,
        "--steps",
        6,
        "--name",
        "mine",
        "--license",
        "MIT",
        "--description",
        "Says the unlikely.",
        "--json",
    )
    assert status == 0, err
    said = events(out)
    assert [(e["kind"], e["step"]) for e in said] == [
        ("validation", 0),
        ("step", 1),
        ("step", 2),
        ("validation", 2),
        ("step", 3),
        ("step", 4),
        ("validation", 4),
        ("step", 5),
        ("step", 6),
        ("validation", 6),
        ("end", 6),
    ]
    assert said[0]["accuracy"] == 0.0 < said[-1]["validation"]
    assert all(
        {"reward", "accuracy", "kl", "seconds"} <= e.keys() for e in said if e["kind"] == "step"
    )
    logged = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert [{"kind": e["kind"], "step": e["step"], **e["values"]} for e in logged] == said
    expert = Expert.load(tmp_path / "run" / "mine.safetensors")
    assert (expert.name, expert.license) == ("mine", "MIT")
    assert (expert.description, expert.base_model) == ("Says the unlikely.", "tiny")
    assert expert.training["validation_accuracy"] == pytest.approx(said[-1]["validation"], abs=1e-4)
    assert expert.training["command"].startswith("python -m t2ui train jsonl --data own ")


def test_without_json_people_get_a_line_an_event(train):
    status, out, _ = train(*QUICK, "--steps", 2)
    kinds = [line.split("  ")[0] for line in out.splitlines()]
    assert status == 0
    assert kinds == ["kind validation", "kind step", "kind step", "kind validation", "kind end"]
    assert re.search(r"kind step  step 2  reward -?\d", out)


def test_the_same_folder_goes_on(train, tmp_path):
    status, out, _ = train(*QUICK, "--steps", 2, "--json")
    assert status == 0 and events(out)[-1]["step"] == 2
    status, out, _ = train(*QUICK, "--steps", 4, "--json")
    assert status == 0
    assert [e["step"] for e in events(out) if e["kind"] == "step"] == [3, 4]
    curve = Expert.load(tmp_path / "run" / "jsonl.safetensors").training["curve"]
    assert [step for step, _ in curve] == [0, 2, 4]


def test_another_run_in_the_same_folder_is_refused(train, tmp_path):
    train(*QUICK, "--steps", 2)
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    status, out, err = train(*QUICK, "--steps", 4, "--seed", 1)
    assert status == 2 and out == ""
    assert "is of another run" in err and "different: seed" in err and err.count("\n") == 1
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before


def test_plot_draws_the_curves_into_the_folder(train, tmp_path):
    status, _, err = train(*QUICK, "--steps", 2, "--plot")
    page = (tmp_path / "run" / "curves.html").read_text()
    assert status == 0 and "curves.html" in err
    assert "plotly" in page and "validation" in page


def test_lora_writes_a_folder_that_peft_reads(train, tmp_path):
    pytest.importorskip("peft")
    status, out, err = train(
        *QUICK, "--steps", 6, "--lora", 2, "--lora-modules", "q,down", "--json"
    )
    assert status == 0, err
    assert events(out)[-1]["kind"] == "end"
    written = {path.name for path in (tmp_path / "run" / "lora").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "training.json"} <= written
    config = json.loads((tmp_path / "run" / "lora" / "adapter_config.json").read_text())
    assert config["r"] == 2 and set(config["target_modules"]) == {"q_proj", "down_proj"}
    record = json.loads((tmp_path / "run" / "lora" / "training.json").read_text())
    assert record["steps_done"] == 6 and record["trained_parameters"] > 0
    assert not list((tmp_path / "run").glob("jsonl.safetensors"))


def test_no_gain_writes_no_expert_and_says_so(train, tmp_path):
    status, _, err = train("--steps", 2, "--learning-rate", 1e-8, "--evaluate-every", 1)
    assert status == 2 and "no expert is written" in err
    assert not list((tmp_path / "run").glob("jsonl.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", 0], "steps is 0"),
        (["--batch", 0], "batch is 0"),
        (["--learning-rate", "nan"], "learning_rate is nan"),
        (["--kl-coeff", -1], "kl_coeff is -1"),
        (["--objective", "best"], "objective is 'best'"),
        (["--objective", "sampled"], "has closed answers"),
        (["--baseline", "best"], "baseline is 'best'"),
        (["--modules", "heads"], "modules is 'heads'"),
        (["--dtype", "int3"], "int3"),
        (["--device", "abacus"], "abacus"),
        (["--name", "checkpoint"], "choose another"),
        (["--start", "nobody.safetensors"], "no expert file at nobody.safetensors"),
        (["--start", "nowhere", "--lora", 2], "nowhere holds no LoRA"),
        (["--data", "nowhere"], "no folder nowhere"),
        (["--plot", "--objective", "sampled"], "has closed answers"),
    ],
)
def test_bad_settings_are_one_line_and_status_2(train, tmp_path, arguments, message):
    status, out, err = train(*arguments)
    assert status == 2 and out == ""
    assert message in err and err.count("\n") == 1 and "Traceback" not in err
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "train.jsonl, line 3: not JSON"),
        ("[]", "train.jsonl, line 3: [] is not a JSON object"),
        ('{"prompt": "x"}', "train.jsonl, line 3: no field answer"),
        (
            '{"prompt": "x", "answer": "maybe", "choices": ["yes", "no"]}',
            "train.jsonl, row 3: answer 'maybe'",
        ),
    ],
)
def test_a_bad_row_is_one_line_with_its_number(train, tmp_path, line, message):
    data = tmp_path / "bad"
    data.mkdir()
    good = '{"prompt": "x", "answer": "yes", "choices": ["yes", "no"]}'
    (data / "train.jsonl").write_text("\n".join([good, good, line, *[good] * 9]))
    status, out, err = train("--data", data)
    assert status == 2 and out == ""
    assert message in err and err.count("\n") == 1 and "Traceback" not in err


def test_no_rows_at_all(train, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "train.jsonl").touch()
    status, _, err = train("--data", tmp_path / "empty")
    assert status == 2 and "train.jsonl has no rows" in err and err.count("\n") == 1


# --- Ctrl-C --------------------------------------------------------------------------------------


def interrupted(command: list[str], folder: Path, until) -> tuple[int, list[dict], str]:
    """Run a command that prints events, SIGINT as soon as one is `until`; (exit status, events,
    stderr)."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            seen = []
            for line in process.stdout:
                seen.append(json.loads(line))
                if until(seen[-1]):
                    break
            process.send_signal(signal.SIGINT)
            rest, error = process.communicate(timeout=60)
            return process.returncode, seen + events(rest), error
        finally:
            process.kill()


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_and_prints_a_command_that_goes_on(folder, tmp_path):
    words = [
        "train",
        "jsonl",
        "--data",
        os.path.relpath(folder / "own", tmp_path),
        "--model",
        os.path.relpath(folder / "tiny", tmp_path),
        "--out",
        "run",
        "--name",
        "mine",
        "--steps",
        100_000,
        *QUICK,
        "--json",
    ]
    command = [sys.executable, "-m", "t2ui", *map(str, words)]
    status, seen, error = interrupted(
        command, tmp_path, lambda e: e["kind"] == "validation" and e["accuracy"] > 0
    )
    assert status == 130 and "Traceback" not in error
    steps = [e["step"] for e in seen if e["kind"] == "step"]
    expert = Expert.load(tmp_path / "run" / "mine.safetensors")
    best = max(e["best"] for e in seen if e["kind"] == "validation")
    assert expert.training["validation_accuracy"] == pytest.approx(best, abs=1e-4)
    assert 0 < expert.training["best_step"] <= expert.training["steps_done"] <= steps[-1] + 1
    printed = re.search(r"goes on from there: (python -m t2ui train .*)", error)[1]
    again = [sys.executable, *shlex.split(printed)[1:]]
    status, seen, error = interrupted(again, tmp_path, lambda e: e["kind"] == "step")
    assert status == 130 and "Traceback" not in error
    assert seen[0]["step"] == expert.training["steps_done"] + 1


def test_tensorboard_sees_every_event(train, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    status, out, err = train(
        *QUICK, "--objective", "next_token", "--steps", 2, "--track", "tensorboard", "--json"
    )
    assert status == 0, err
    seen = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    seen.Reload()
    told = [event for event in events(out) if event["kind"] == "step"]
    assert len(told) == 2
    for key in set(told[0]) - {"kind", "step"}:
        scalars = seen.Scalars(f"step/{key}")
        assert [scalar.step for scalar in scalars] == [event["step"] for event in told]
        assert [s.value for s in scalars] == pytest.approx([e[key] for e in told], rel=1e-5)


def test_a_tracker_that_is_not_there_is_one_line(train, tmp_path, monkeypatch):
    status, out, err = train(*QUICK, "--reward", "exact", "--track", "paper")
    assert (status, out) == (2, "") and "there are: tensorboard, trackio" in err
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, out, err = train(*QUICK, "--reward", "exact", "--track", "tensorboard")
    assert (status, out) == (2, "") and "pip install tensorboard" in err
    assert not (tmp_path / "run").exists()
