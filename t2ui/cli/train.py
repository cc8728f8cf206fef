"""`python -m t2ui train …`: an expert, or the LoRA that it is compared with."""

import json
import os
import re
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from t2ui.catalogue import BASELINES, TASKS, TRAIN_OBJECTIVES, names_of
from t2ui.cli.options import (
    AsJson,
    Device,
    Folder,
    Model,
    RayAddress,
    command_line,
    note,
    one,
    progress,
    ray_cluster,
    tell_of_sandbox,
)
from t2ui.cli.tasks import Data, TaskOptions, check_tasks
from t2ui.cli.trackers import tracker
from t2ui.config import DEFAULT_MODEL, TrainConfig
from t2ui.errors import InputError


def train(
    task: Annotated[str, typer.Argument(help=f"One of {names_of(TASKS)}.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; the same folder resumes it.")],
    data: Data = None,
    name: Annotated[str, typer.Option(help="The expert's name; the task's by default.")] = "",
    description: Annotated[str, typer.Option(help="Of the expert, a sentence or two.")] = "",
    license: Annotated[str, typer.Option(help="Of the expert, e.g. Apache-2.0.")] = "",
    model: Model = DEFAULT_MODEL,
    experts: Folder = None,
    device: Device = "auto",
    ray: RayAddress = "",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    steps: Annotated[int, typer.Option(help="Gradient steps in all.")] = TrainConfig.steps,
    batch: Annotated[int, typer.Option(help="Questions per step.")] = TrainConfig.batch,
    learning_rate: Annotated[
        float, typer.Option(help="At the start; it falls to 0 along a cosine.")
    ] = TrainConfig.learning_rate,
    kl_coeff: Annotated[
        float, typer.Option(help="Of the KL penalty, which keeps the policy near the base model.")
    ] = TrainConfig.kl_coeff,
    temperature: Annotated[
        float,
        typer.Option(
            help="Of the policy. Above 1 it explores closed answers for longer; below 1 more of "
            "the sampled answers are right."
        ),
    ] = TrainConfig.temperature,
    modules: Annotated[str, typer.Option(help="all, mlp or attention.")] = TrainConfig.modules,
    scope: Annotated[
        str,
        typer.Option(
            help="Which tokens the expert acts on: all (paper), or answer (from the end of the "
            "prompt on, so that a prompt is read once for every mixture)."
        ),
    ] = TrainConfig.scope,
    seed: Annotated[
        int, typer.Option(help="Of the order of rows and of what is sampled.")
    ] = TrainConfig.seed,
    objective: Annotated[
        str,
        typer.Option(
            help="auto (the first that fits the task), "
            f"{', '.join(f'{name} ({entry.words})' for name, entry in TRAIN_OBJECTIVES.items())}."
        ),
    ] = TrainConfig.objective,
    rollouts: Annotated[
        int, typer.Option(help="Objective sampled: completions per prompt.")
    ] = TrainConfig.rollouts,
    baseline: Annotated[
        str, typer.Option(help=f"Objective sampled: {names_of(BASELINES)}.")
    ] = TrainConfig.baseline,
    negative_reward: Annotated[
        float, typer.Option(help="Objective sampled: the reward of a wrong completion.")
    ] = TrainConfig.negative_reward,
    rehearsal: Annotated[
        int,
        typer.Option(
            help="Prompts of other kinds per step, trained on the base model's own answers, so "
            "that these are not unlearned; 8 is a good start."
        ),
    ] = TrainConfig.rehearsal,
    evaluate_every: Annotated[
        int, typer.Option(help="Steps from one validation to the next.")
    ] = TrainConfig.evaluate_every,
    validation_rows: Annotated[
        int, typer.Option(help="How many of them a validation reads.")
    ] = TrainConfig.validation_rows,
    patience: Annotated[
        int, typer.Option(help="Stop after so many validations without a gain; 0: never.")
    ] = TrainConfig.patience,
    micro_batch_tokens: Annotated[
        int, typer.Option(help="Tokens in one forward and backward pass; fewer need less memory.")
    ] = TrainConfig.micro_batch_tokens,
    start: Annotated[
        str, typer.Option(help="Go on from this expert (name or file), or LoRA folder.")
    ] = "",
    style: Annotated[str, typer.Option(help="How the task puts its questions.")] = "",
    leave_out: Annotated[
        str, typer.Option(help="Task dispatch: families not to train on, comma-separated.")
    ] = "",
    reward: Annotated[
        str,
        typer.Option(
            help="Task jsonl, how answers are graded: exact, number, choice, contains, regex or "
            "python."
        ),
    ] = "",
    max_new_tokens: Annotated[
        int, typer.Option(help="Tasks jsonl and rg: how long an answer may get; 0: their default.")
    ] = 0,
    option: TaskOptions = None,
    lora: Annotated[
        int, typer.Option(help="Train a LoRA of this rank instead, as a baseline (peft).")
    ] = 0,
    lora_modules: Annotated[
        str, typer.Option(help="The projections that it is on: q,k,v,o,gate,up,down.")
    ] = "q,v",
    track: Annotated[
        str, typer.Option(help="Show the curves elsewhere, too: tensorboard or trackio.")
    ] = "",
    plot: Annotated[bool, typer.Option("--plot", help="Draw the curves into the folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train an expert by policy gradient; Ctrl-C keeps the best so far, and the same command goes
    on from there."""
    config = TrainConfig(
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        kl_coeff=kl_coeff,
        temperature=temperature,
        modules=modules,
        scope=scope,
        seed=seed,
        objective=objective,
        rollouts=rollouts,
        baseline=baseline,
        negative_reward=negative_reward,
        rehearsal=rehearsal,
        evaluate_every=evaluate_every,
        validation_rows=validation_rows,
        patience=patience,
        micro_batch_tokens=micro_batch_tokens,
    )
    if lora < 0:
        raise InputError(f"--lora is {lora}; expected a rank, e.g. 16, or 0 for an expert.")
    if lora and ray:
        raise InputError("--ray spreads the answers of an expert, not of a LoRA: leave it out.")
    # `accelerate launch` starts several processes of this command: the first one speaks and draws
    speaks = os.environ.get("RANK", "0") == "0"
    show = tracker(track, out) if track and speaks else None
    from t2ui.models.loading import load_model
    from t2ui.tasks import load_task, read_options

    flags = {
        "leave_out": tuple(filter(None, leave_out.split(","))),
        "style": style,
        "reward": reward,
        "max_new_tokens": max_new_tokens,
    }
    options = {key: value for key, value in flags.items() if value}
    options |= read_options(task, option or ())
    check_tasks([task], data)
    cluster = ray_cluster(ray)
    loaded, tokenizer = load_model(model, device=device, dtype=dtype, progress=progress)
    rows = load_task(task, tokenizer, data, **options)
    tell_of_sandbox(rows)
    if cluster and rows.grade is None:
        raise InputError(
            f"--ray spreads answers that are decoded, and {task} has closed ones: leave it out."
        )
    if lora:
        from t2ui.training.lora import train_lora

        events = train_lora(
            loaded,
            rows,
            config,
            out,
            tokenizer=tokenizer,
            rank=lora,
            modules=tuple(filter(None, lora_modules.split(","))),
            start=Path(start) if start else None,
            command=command_line(),
        )
    else:
        from t2ui.training.svf import train_svf

        begun = one(start, experts)[0] if start else None
        events = train_svf(
            loaded,
            rows,
            config,
            out,
            tokenizer=tokenizer,
            start=begun,
            name=name or re.sub("[:=]", "_", task),  # it becomes a file's name
            description=description,
            license=license,
            executor=partial(cluster.executor, name=model, device=device) if cluster else None,
            command=command_line(),
        )
    try:
        for event in events:
            shown = {"kind": event.kind, "step": event.step, **event.values}
            if speaks:
                print(json.dumps(shown) if as_json else _line(shown), flush=True)
            if show:
                show(event)
    except KeyboardInterrupt:
        events.close()
        again = shlex.join(["python", "-m", "t2ui", *sys.argv[1:]])
        note(f"stopped; what it has is in {out}, and this goes on from there: {again}")
        raise
    finally:
        if plot and speaks and (out / "log.jsonl").exists():  # not where the settings were refused
            _draw(out)


def _line(shown: dict[str, Any]) -> str:
    """One event for people."""
    return "  ".join(
        f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in shown.items()
    )


def _draw(folder: Path) -> None:
    from t2ui.figures.training import training_curves
    from t2ui.training.checkpoint import read_log

    path = folder / "curves.html"
    training_curves(read_log(folder)).write_html(path, include_plotlyjs="directory")
    note(f"curves: {path}")
