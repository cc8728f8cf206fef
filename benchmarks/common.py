"""What the benchmarks share: the default model, adapted, and experts to mix."""

import argparse
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from t2ui.allocator import keep_freed_memory
from t2ui.config import DATA_VARIABLE, DEFAULT_MODEL, default_data_dir, default_experts_dir
from t2ui.evaluation.comparison import Comparison
from t2ui.evaluation.measure import right_by_row
from t2ui.evaluation.methods import Method
from t2ui.evaluation.result_log import ResultLog
from t2ui.evaluation.statistics import wilson
from t2ui.models.loading import dtype_name, load_model
from t2ui.svf.adapter import Adapter, adapt
from t2ui.svf.expert import Expert
from t2ui.svf.library import Library, load_library
from t2ui.tasks.base import Example, Task


def adapted_default(device: str = "auto"):
    """model, tokenizer, adapter of the embedded default model, in a process that keeps freed memory
    as ours do."""
    keep_freed_memory()
    model, tokenizer = load_model(device=device)
    return model, tokenizer, adapt(model)


def shipped() -> Library:
    """The experts that ship for the default model."""
    return load_library(default_experts_dir() / DEFAULT_MODEL)


def some_experts(adapter: Adapter, count: int = 3) -> dict[str, Expert]:
    """Experts to mix: shipped ones that answer, filled up with random ones of the same shapes.
    Speed depends on the shapes alone."""
    experts = dict(list(shipped().answering.items())[:count])
    generator = torch.Generator().manual_seed(0)
    for i in range(count - len(experts)):
        scales = {
            name: 1 + 0.05 * torch.randn(factors.S.shape, generator=generator)
            for name, factors in adapter.factors.items()
        }
        experts[f"random{i}"] = Expert(f"random{i}", scales)
    return experts


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """`--data`, as the command line has it: the folder that T2UI_DATA names is the default."""
    named = default_data_dir()
    parser.add_argument(
        "--data",
        type=Path,
        default=named,
        required=named is None,
        help=f"folder with the tasks' data; the default is what {DATA_VARIABLE} names",
    )


def result_log(folder: Path, loaded) -> ResultLog:
    """The log of the answers of what `adapted_default` loaded, in a folder of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    model, _, adapter = loaded
    settings = {"model": DEFAULT_MODEL, "fingerprint": adapter.fingerprint}
    return ResultLog(folder / "results.jsonl", {**settings, "dtype": dtype_name(model)})


def answered(
    comparison: Comparison, task: Task, rows: Sequence[Example], column: str = ""
) -> Callable[[Method], list[bool]]:
    """Have every method of the comparison answer these rows, as a set called `column` in the log
    (the task's name by default). Returns what gives, for a method, which rows it got right: options
    are compared by their summed log-likelihood."""
    column = column or task.name
    for _ in comparison.add_set(column, task, rows):
        pass

    def right(method: Method) -> list[bool]:
        by = right_by_row(comparison.log, column, method, rows, comparison.judged_by[column])
        known = by["greedy" if task.grade else "sum"]
        return [known[row.id] for row in rows]

    return right


def share_of(answers: Sequence[bool]) -> str:
    """How many, and which share is right, with its interval: "n 500 | 11.4% [8.9%, 14.5%]"."""
    low, high = wilson(sum(answers), len(answers))
    share = sum(answers) / len(answers)
    return f"n {len(answers)} | {share:.1%} [{low:.1%}, {high:.1%}]"


def wait_for(threads: Sequence[threading.Thread], so_far: Callable[[], str]) -> float:
    """Seconds until all started threads have ended; prints `so_far()` about once a minute."""
    began = time.perf_counter()
    while waiting := [thread for thread in threads if thread.is_alive()]:
        waiting[0].join(60)
        print(f"{time.perf_counter() - began:.0f} s: {so_far()}", flush=True)
    return time.perf_counter() - began


def describe_machine() -> None:
    """One line that a number is worthless without."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads")
