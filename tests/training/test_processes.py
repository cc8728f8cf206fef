"""`accelerate launch`: every process takes a share of a step's rows, the gradients are summed."""

import os
import subprocess
import sys
from pathlib import Path

import open_training
import pytest
import torch
from safetensors.torch import load_file
from tiny import make_tiny, make_tokenizer

from t2ui.config import TrainConfig
from t2ui.models.questions import Question
from t2ui.svf.adapter import adapt
from t2ui.tasks import Example, Task
from t2ui.training.checkpoint import read_log
from t2ui.training.parameters import ScaleOffsets
from t2ui.training.trainer import Trainer

SETTINGS = {"steps": 3, "batch": 5, "learning_rate": 0.02, "kl_coeff": 0.1, "evaluate_every": 3}


def closed_task() -> Task:
    rows = [
        Example(str(i), Question((5, 6, 7 + i), ((20, 21), (22 + i,), (24, 25))), i % 3)
        for i in range(12)
    ]
    return Task("pick", tuple(rows[:8]), tuple(rows[8:]))


def train_both(folder: Path) -> None:
    """A few steps on closed answers, exactly, and on open ones, by rollouts."""
    with adapt(make_tiny("llama")) as adapter:
        for task in (closed_task(), open_training.make_task()):
            settings = TrainConfig(**SETTINGS, rollouts=4)
            run = Trainer(
                ScaleOffsets(adapter), make_tokenizer(), task, settings, folder / task.name
            )
            list(run.run())


@pytest.mark.slow  # three processes that import torch
def test_two_processes_take_the_steps_of_one(tmp_path):
    """With gloo, on the CPU; started by what `accelerate launch` starts where there are GPUs."""
    here = Path(__file__).resolve()
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        f"sys.path[:0] = {[str(here.parent), str(here.parents[1] / 'support')]!r}\n"
        "from test_processes import train_both\n"
        "train_both(Path(sys.argv[1]))\n"
        "import torch.distributed as group\n"
        "assert (group.get_world_size(), group.get_backend()) == (2, 'gloo')\n"
    )
    command = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    subprocess.run(
        [sys.executable, "-m", *command, script, tmp_path / "both"],
        check=True,
        timeout=200,
        cwd=here.parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "."},
    )
    train_both(tmp_path / "alone")
    for task in ("pick", "open"):
        alone, both = (
            load_file(tmp_path / name / task / "checkpoint.safetensors")["values"]
            for name in ("alone", "both")
        )
        assert alone.abs().max() > 0.02
        torch.testing.assert_close(alone, both, atol=2e-3, rtol=0)
        # only the first process writes: a line an event
        text = (tmp_path / "both" / task / "log.jsonl").read_text()
        assert text.count("\n") == len(read_log(tmp_path / "both" / task)) == 3 + 2 + 1


def test_only_the_first_process_speaks(cli, tmp_path, monkeypatch):
    model, rows = tmp_path / "tiny", tmp_path / "rows.jsonl"
    make_tiny("llama").save_pretrained(model)
    make_tokenizer().save_pretrained(model)
    rows.write_text(
        "".join(
            f'{{"prompt": "pick {i}", "answer": "yes", "choices": ["yes", "no"]}}\n'
            for i in range(20)
        )
    )
    words = ("train", "jsonl", "--data", rows, "--model", model, "--steps", 1, "--batch", 4)
    said = {}
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        _, said[rank], _ = cli(*words, "--out", tmp_path / rank, "--plot")
    assert "step 1" in said["0"] and said["1"] == ""
    assert (tmp_path / "0" / "curves.html").exists()
    assert not (tmp_path / "1" / "curves.html").exists()
