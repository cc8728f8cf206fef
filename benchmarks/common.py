"""What the benchmarks share: the default model, adapted, and experts to mix."""

import argparse
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from t2ui.allocator import keep_freed_memory
from t2ui.config import DATA_VARIABLE, DEFAULT_MODEL, default_data_dir, default_experts_dir
from t2ui.evaluation.result_log import ResultLog
from t2ui.models.loading import dtype_name, load_model
from t2ui.svf.adapter import Adapter, adapt
from t2ui.svf.expert import Expert
from t2ui.svf.library import load_library


def adapted_default(device: str = "auto"):
    """model, tokenizer, adapter of the embedded default model, in a process that keeps freed memory
    as ours do."""
    keep_freed_memory()
    model, tokenizer = load_model(device=device)
    return model, tokenizer, adapt(model)


def some_experts(adapter: Adapter, count: int = 3) -> dict[str, Expert]:
    """Experts to mix: shipped ones that answer, filled up with random ones of the same shapes.
    Speed depends on the shapes alone."""
    shipped = load_library(default_experts_dir() / DEFAULT_MODEL).answering
    experts = dict(list(shipped.items())[:count])
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
