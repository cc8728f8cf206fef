"""A training run's folder: the checkpoint that resuming needs, and the log.

The checkpoint is written under a temporary name and then renamed: a crash leaves the previous one
whole.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from t2ui.config import TrainConfig
from t2ui.errors import InputError
from t2ui.files import writing

CHECKPOINT, LOG = "checkpoint.safetensors", "log.jsonl"
NEEDED = {"values", "best", "exp_avg", "exp_avg_sq"}


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All values in one vector, as a copy."""
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def fill(parameters: Sequence[nn.Parameter], values: Tensor) -> None:
    """The reverse of `flat`, in place."""
    parts = values.split([p.numel() for p in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.copy_(part.view_as(parameter))


def moments(optimizer: torch.optim.AdamW, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """AdamW's two moments, flat; zeros before the first step."""
    return {
        key: flat([optimizer.state[p].get(key, torch.zeros_like(p)) for p in parameters])
        for key in ("exp_avg", "exp_avg_sq")
    }


def set_moments(
    optimizer: torch.optim.AdamW,
    parameters: Sequence[nn.Parameter],
    tensors: dict[str, Tensor],
    step: int,
) -> None:
    """The reverse of `moments`."""
    sizes = [p.numel() for p in parameters]
    first, second = (tensors[key].split(sizes) for key in ("exp_avg", "exp_avg_sq"))
    for parameter, m, v in zip(parameters, first, second, strict=True):
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": m.view_as(parameter).to(parameter.device),
            "exp_avg_sq": v.view_as(parameter).to(parameter.device),
        }


def write(folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Replace the folder's checkpoint.

    Raises:
        InputError: it cannot be written; the previous one stays whole.
    """
    remedy = "free some space and start the same command again; the checkpoint before is whole"
    with writing(folder / CHECKPOINT, remedy) as beside:
        save_file(
            {k: v.cpu() for k, v in tensors.items()}, beside, metadata={"state": json.dumps(facts)}
        )


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The folder's checkpoint: facts and tensors; None where there is none.

    Raises:
        InputError: it is damaged, or of another version.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["state"])
        tensors = load_file(path)
        if not NEEDED <= set(tensors):
            raise KeyError("written by another version of t2ui")
    except (SafetensorError, KeyError, OSError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): remove it to start the training again."
        ) from None
    return facts, tensors


def digest(facts: object) -> str:
    """A short hash of facts that are too long to keep and compare."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def check_same_run(folder: Path, facts: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on from a checkpoint of another run. The number of steps and the patience may
    differ; what a checkpoint of an older version does not hold is not compared.

    Raises:
        InputError: says what is different.
    """
    then = {**asdict(TrainConfig()), **facts["config"]}  # settings that are newer than the file
    changed = [
        key
        for key, value in now["config"].items()
        if key not in ("steps", "patience") and then[key] != value
    ]
    others = now.keys() - {"config", "task"}
    changed += sorted(key for key in others if facts.get(key, now[key]) != now[key])
    if facts["task"] != now["task"] or changed:
        raise InputError(
            f"{folder / CHECKPOINT} is of another run ({facts['task']}; different: "
            f"{', '.join(changed) or 'task'}): choose another folder, or the same settings."
        )


def append_log(folder: Path, event: dict[str, Any]) -> None:
    """Append one event to the log.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with open(folder / LOG, "ab+") as log:
            log.seek(0, os.SEEK_END)
            if log.tell():
                log.seek(-1, os.SEEK_END)
                if log.read(1) != b"\n":  # half a line, of a run that was killed: end it
                    log.write(b"\n")
            log.write(json.dumps(event).encode() + b"\n")
    except OSError as error:
        raise InputError(
            f"The log in {folder} cannot be written ({error.strerror}): free some space and start "
            "the same command again; it goes on from the checkpoint."
        ) from None


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The events of the log in the order of their steps. Where a resumed run has written one twice,
    the last counts; half lines of a run that was killed or had a full disk are left out."""
    path = folder / LOG
    if not path.exists():
        return []
    events: dict[tuple[str, int], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        key = event["kind"], event["step"]
        events.pop(key, None)  # so that of one step the last written comes last
        events[key] = event
    return sorted(events.values(), key=lambda e: e["step"])
