"""`python -m t2ui evaluate`: methods × tasks beside the base model, in a table with intervals."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from t2ui.cli.options import (
    AsJson,
    Device,
    Folder,
    Model,
    command_line,
    existing,
    library_of,
    load,
    note,
    one,
    print_json,
    progress,
    report_problems,
    tell_of_sandbox,
)
from t2ui.cli.train import Data
from t2ui.config import DEFAULT_MODEL, check_alpha, check_text
from t2ui.errors import InputError

STYLED = ("arc_easy", "arc_challenge", "strategyqa", "gsm8k", "arith", "mbpp", "humaneval")
WITH_END = ("arc_easy", "arc_challenge", "strategyqa")


@dataclass(frozen=True)
class Rows:
    """How test rows are chosen and put, the same for all methods."""

    data: Path
    limit: int
    seed: int
    style: str
    end: bool
    hard: Path | None
    reward: str
    max_new_tokens: int


def evaluate(
    methods: Annotated[
        str,
        typer.Argument(
            help="Comma-separated: experts by name or file, mix:math=0.7+code=0.3, mix:FILE.json, "
            "lora:FOLDER, prompt or expert (two passes), all. The base model is always there.",
        ),
    ],
    tasks: Annotated[
        str, typer.Argument(help="Comma-separated, each perhaps with a style: arith:steps,mbpp.")
    ],
    data: Data,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results and tables; the same one goes on.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    experts: Folder = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    limit: Annotated[int, typer.Option(help="Rows of each set.")] = 1000,
    seed: Annotated[int, typer.Option(help="Which rows, where there are more.")] = 0,
    batch_rows: Annotated[int, typer.Option(help="Open answers decoded together.")] = 32,
    style: Annotated[str, typer.Option(help="How questions are put, without task:style.")] = "chat",
    end: Annotated[bool, typer.Option(help="Multiple choice: the end token counts.")] = False,
    hard: Annotated[
        Path | None, typer.Option(help="dispatch: a JSON Lines file of further prompts.")
    ] = None,
    reward: Annotated[str, typer.Option(help="jsonl: how answers are judged.")] = "",
    max_new_tokens: Annotated[int, typer.Option(help="jsonl: of an answer; 0: 128.")] = 0,
    remark: Annotated[str, typer.Option(help="Added to the set's name in the records.")] = "",
    write: Annotated[bool, typer.Option(help="Keep the records in the experts' files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure methods side by side on test rows that no training reads; Ctrl-C and go on later."""
    for name, value in (("limit", limit), ("batch_rows", batch_rows)):
        if value < 1:
            raise InputError(f"{name} is {value}; at least one row is needed.")
    check_text("the remark", remark)
    if not any(task.strip() for task in tasks.split(",")):
        raise InputError("There is no task to measure on: name at least one, e.g. arith.")
    if not data.is_file():  # people's own rows may be one
        existing(data)
    rows = Rows(data, limit, seed, style, end, hard, reward, max_new_tokens)
    from t2ui.evaluation.comparison import Comparison
    from t2ui.evaluation.result_log import ResultLog
    from t2ui.models.loading import dtype_name, load_model, model_name
    from t2ui.svf.adapter import adapt

    loaded, tokenizer = (
        load(model, device)
        if dtype == "auto"
        else load_model(model, device=device, dtype=dtype, progress=progress)
    )
    with adapt(loaded, progress=progress) as adapter:
        chosen, files = _methods(methods, adapter, tokenizer, experts)
        settings = {
            "model": model_name(loaded),
            "fingerprint": adapter.fingerprint,
            "dtype": dtype_name(loaded),
        }
        with ResultLog(out / "results.jsonl" if out else None, settings) as log:
            comparison = Comparison(adapter, tokenizer, chosen, log, batch_rows)
            try:
                for task in filter(None, tasks.split(",")):
                    _measure(comparison, task.strip(), rows)
            except KeyboardInterrupt:
                if out:
                    note(f"stopped; the same command goes on from {out / 'results.jsonl'}")
                raise
            finally:
                if out and (comparison.sets or comparison.prompts):
                    comparison.write(out)
    if write:
        _keep(comparison, files, {"seed": seed, "command": command_line()}, remark)
    print_json(comparison.records()) if as_json else print(comparison.text())


def _methods(names: str, adapter, tokenizer, folder: Path | None):
    """The methods that were asked for, base first, and the files of those that are experts."""
    from t2ui.evaluation.methods import base, of_dispatch, of_expert, of_lora, of_mixture
    from t2ui.inference.dispatch import Dispatcher
    from t2ui.tasks.dispatch_rows import LABELS

    library = library_of(adapter.model, folder)
    report_problems(library)
    library = library.fitting(adapter)
    dispatcher = Dispatcher(adapter.model, tokenizer, adapter)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if "all" in wanted:
        passes = ["prompt", *(["expert"] if library.dispatcher else [])]
        wanted = [*library.experts, *passes, *(name for name in wanted if name != "all")]
    found, files = {}, {}
    for name in dict.fromkeys(wanted):
        if name == "base":
            continue
        if name in ("prompt", "expert"):
            method = of_dispatch(adapter, dispatcher, library.experts, name)
        elif name.startswith("mix:"):
            mixture = _mixture(name.removeprefix("mix:"), adapter.model, library.experts)
            method = of_mixture(adapter, library.experts, mixture)
        elif name.startswith("lora:"):
            method = of_lora(adapter, dispatcher, Path(name.removeprefix("lora:")))
        elif name in library.experts:
            method = of_expert(adapter, dispatcher, library.experts[name])
            files[method.name] = library.files[name]
        else:
            expert, path = one(name, folder)
            method = of_expert(adapter, dispatcher, expert)
            files[method.name] = path
        if method.name in found or method.name == "base":
            raise InputError(f"Two methods are named {method.name!r}: rename one of the experts.")
        found[method.name] = method
    classifying = next((m.labels for m in found.values() if m.labels), LABELS)
    return [base(adapter, dispatcher, classifying), *found.values()], files


def _mixture(text: str, model, experts):
    from t2ui.models.loading import model_name
    from t2ui.svf.mixture import Mixture, SavedMixture

    if text.endswith(".json"):
        saved = SavedMixture.load(text)
        for misfit in saved.misfits(model_name(model), experts):
            note(f"{text}: {misfit}")
        return saved.mixture
    weights = {}
    for part in text.split("+"):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise InputError(f"mix: has {part!r}; expected mix:name=weight+name=weight.")
        weights[name.strip()] = check_alpha(name.strip(), value)
    return Mixture(weights)


def _measure(comparison, task: str, rows: Rows) -> None:
    """All methods on one task."""
    from t2ui.evaluation.measure import sample
    from t2ui.tasks import load_task
    from t2ui.tasks.dispatch_rows import test_prompts

    name, _, style = task.partition(":")
    if name == "dispatch":
        prompts = test_prompts(rows.data, rows.hard, rows.limit)
        prompts = [p for p in prompts if style in ("", p[1])]
        if not prompts:
            raise InputError(f"{task}: there is no family {style!r} of dispatch prompts.")
        return _follow(task, len(prompts), comparison.add_dispatch(prompts))
    options: dict[str, Any] = {}
    if name in STYLED:
        options["style"] = style or rows.style
    elif style:
        raise InputError(f"{name} has no styles; got {task!r}.")
    if name in WITH_END:
        options["end"] = rows.end
    if name == "jsonl":
        options["reward"] = rows.reward
        if rows.max_new_tokens:
            options["max_new_tokens"] = rows.max_new_tokens
    loaded = load_task(name, comparison.tokenizer, rows.data, **options)
    if not loaded.test:
        raise InputError(f"{name} has no test rows to measure on.")
    tell_of_sandbox(loaded)
    examples = sample(loaded.test, rows.limit, rows.seed)
    layout = f", {options['style']}" if "style" in options else ""
    layout += " with end token" if options.get("end") else ""
    shown = f"{loaded.name} test{layout}"
    _follow(shown, len(examples), comparison.add_set(shown, loaded, examples))


def _follow(what: str, total: int, done: Iterator[str]) -> None:
    counts: dict[str, int] = {}
    for method in done:
        counts[method] = counts.get(method, 0) + 1
        progress(f"{what}, {method}: {counts[method]} of {total}", counts[method] / total)


def _keep(comparison, files: dict[str, Path], kept_with: dict[str, Any], remark: str) -> None:
    """Write what was measured of each expert into its file, over older records of the same set."""
    from t2ui.svf.expert import Expert

    suffix = f", {remark}" if remark else ""
    for method in (m for m in comparison.methods if m.name in files):
        records = [
            {**r, "set": r["set"] + suffix, **kept_with} for r in comparison.records_of(method)
        ]
        expert = Expert.load(files[method.name])
        known = {(r["set"], r.get("protocol"), r.get("classifier")) for r in records}
        kept = [
            m
            for m in expert.metrics
            if (m["set"], m.get("protocol"), m.get("classifier")) not in known
        ]
        replace(expert, metrics=kept + records).save(files[method.name])
