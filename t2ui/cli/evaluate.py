"""`python -m t2ui evaluate`: methods × tasks beside the base model, in a table with intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t2ui.catalogue import TASKS, names_of
from t2ui.checks import check_scope, check_text, coefficients
from t2ui.cli.methods import asked_methods, check_methods, two_passes
from t2ui.cli.options import (
    AsJson,
    Device,
    Folder,
    Model,
    RayAddress,
    command_line,
    library_of,
    load,
    note,
    one,
    print_json,
    progress,
    ray_cluster,
    report_problems,
    tell_of_sandbox,
)
from t2ui.cli.tasks import Asked, Data, TaskOptions, asked_tasks, check_tasks
from t2ui.config import DEFAULT_MODEL
from t2ui.errors import InputError
from t2ui.files import writing

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from t2ui.evaluation.comparison import Comparison
    from t2ui.evaluation.methods import Method
    from t2ui.svf.adapter import Adapter
    from t2ui.svf.expert import Expert
    from t2ui.svf.mixture import Mixture
    from t2ui.tasks.base import Example, Task


def evaluate(
    methods: Annotated[
        str,
        typer.Argument(
            help="Comma-separated: experts by name or file, mix:math=0.7+code=0.3, mix:FILE.json, "
            f"lora:FOLDER, {' or '.join(two_passes())} (two passes), all. The base model is always "
            "there.",
        ),
    ],
    tasks: Annotated[
        str,
        typer.Argument(
            help=f"Comma-separated: {names_of(TASKS)}; each perhaps with a style, as in "
            "arith:steps, or dispatch with one family of prompts, as in dispatch:mbpp."
        ),
    ],
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for results.jsonl, table.json, table.md, table.html (a figure of the "
            "accuracies, one file of 5 MB that opens without a network) and lm_eval/ (the format "
            "of lm-evaluation-harness); give the same folder again to go on."
        ),
    ] = None,
    model: Model = DEFAULT_MODEL,
    experts: Folder = None,
    device: Device = "auto",
    ray: RayAddress = "",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    limit: Annotated[int, typer.Option(help="Rows of each set.")] = 1000,
    seed: Annotated[int, typer.Option(help="Which rows, where there are more.")] = 0,
    batch_rows: Annotated[int, typer.Option(help="Open answers decoded together.")] = 32,
    style: Annotated[str, typer.Option(help="How questions are put, without task:style.")] = "chat",
    scope: Annotated[
        str,
        typer.Option(
            help="all or answer: measure experts, mixtures and two passes in this scope instead "
            "of the one that the experts were trained for."
        ),
    ] = "",
    end: Annotated[
        bool, typer.Option(help="Multiple choice: score the end token as a part of each option.")
    ] = False,
    hard: Annotated[
        Path | None, typer.Option(help="Task dispatch: a JSON Lines file of further prompts.")
    ] = None,
    reward: Annotated[str, typer.Option(help="Task jsonl: how answers are graded.")] = "",
    max_new_tokens: Annotated[
        int, typer.Option(help="Tasks jsonl and rg: how long an answer may get; 0: their default.")
    ] = 0,
    option: TaskOptions = None,
    remark: Annotated[str, typer.Option(help="Added to the set's name in the records.")] = "",
    write: Annotated[bool, typer.Option(help="Keep the records in the experts' files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure methods side by side on test rows that no training reads; Ctrl-C and go on later."""
    for name, value in (("limit", limit), ("batch_rows", batch_rows)):
        if value < 1:
            raise InputError(f"{name} is {value}; at least one row is needed.")
    check_text("the remark", remark)
    if scope:
        check_scope(scope)
    typed = [task.strip() for task in tasks.split(",") if task.strip()]
    if not typed:
        raise InputError("There is no task to measure on: name at least one, e.g. arith.")
    flags = {
        "style": style,
        "end": end,
        "hard": hard,
        "reward": reward,
        "max_new_tokens": max_new_tokens,
        "limit": limit,
    }
    chosen = asked_tasks(typed, flags, option or ())
    check_tasks([asked.name for asked in chosen], data)
    check_methods(methods, experts, model)
    if out and out.exists() and not out.is_dir():
        raise InputError(f"{out} cannot be written: it is no folder; choose another place.")
    from t2ui.evaluation.comparison import Comparison
    from t2ui.evaluation.result_log import ResultLog
    from t2ui.models.loading import dtype_name, load_model, load_tokenizer, model_name
    from t2ui.svf.adapter import adapt
    from t2ui.tasks.batching import check_context

    cluster = ray_cluster(ray)
    reader = load_tokenizer(model, progress=progress)
    sets = [_set(asked, reader, data, limit, seed) for asked in chosen]
    loaded, tokenizer = (
        load(model, device)
        if dtype == "auto"
        else load_model(model, device=device, dtype=dtype, progress=progress)
    )
    for one_set in sets:
        check_context(loaded, one_set.examples, one_set.task.max_new_tokens)
    with adapt(loaded, progress=progress) as adapter:
        measured, files = _methods(methods, adapter, tokenizer, experts, scope)
        executor = cluster.executor(adapter, model, device) if cluster else None
        settings = {
            "model": model_name(loaded),
            "fingerprint": adapter.fingerprint,
            "dtype": dtype_name(loaded),
        }
        with ResultLog(out / "results.jsonl" if out else None, settings) as log:
            comparison = Comparison(adapter, tokenizer, measured, log, batch_rows, executor)
            try:
                for one_set in sets:
                    _measure(comparison, one_set)
            except KeyboardInterrupt:
                if out:
                    note(f"stopped; the same command goes on from {out / 'results.jsonl'}")
                raise
            finally:
                if out and (comparison.sets or comparison.prompts):
                    _write_tables(comparison, out)
    if write:
        _keep(comparison, files, {"seed": seed, "command": command_line()}, remark)
    print_json(comparison.records()) if as_json else print(comparison.text())


def _methods(
    names: str,
    adapter: "Adapter",
    tokenizer: "PreTrainedTokenizerBase",
    folder: Path | None,
    scope: str,
) -> "tuple[list[Method], dict[str, Path]]":
    """The methods that were asked for, base first, and the files of those that are experts."""
    from t2ui.evaluation.methods import base, of_dispatch, of_expert, of_lora, of_mixture
    from t2ui.inference.dispatch import LabelReader
    from t2ui.inference.dispatchers import Dispatchers
    from t2ui.inference.plan import usable_experts
    from t2ui.tasks.dispatch_rows import LABELS

    library = library_of(adapter.model, folder)
    report_problems(library)
    library = library.fitting(adapter)
    reader = LabelReader(adapter.model, tokenizer, adapter)
    wanted = asked_methods(names)
    if "all" in wanted:
        own = usable_experts(adapter, library.experts, allow_transfer=False)
        usable = Dispatchers(adapter.model, tokenizer, adapter).usable(own)
        passes = [name for name in two_passes() if name in usable]
        wanted = [*library.experts, *passes, *(name for name in wanted if name != "all")]
    found: dict[str, Method] = {}
    files: dict[str, Path] = {}
    for name in dict.fromkeys(wanted):
        if name == "base":
            continue
        if name in two_passes():
            method = of_dispatch(adapter, reader, library.experts, name, scope)
        elif name.startswith("mix:"):
            mixture = _mixture(name.removeprefix("mix:"), adapter.model, library.experts)
            mixture = replace(mixture, scope=scope or mixture.scope)
            method = of_mixture(adapter, reader, library.experts, mixture)
        elif name.startswith("lora:"):
            method = of_lora(adapter, reader, Path(name.removeprefix("lora:")))
        elif name in library.experts:
            method = of_expert(adapter, reader, library.experts[name], scope)
            files[method.name] = library.files[name]
        else:
            expert, path = one(name, folder)
            method = of_expert(adapter, reader, expert, scope)
            files[method.name] = path
        if method.name in found or method.name == "base":
            raise InputError(f"Two methods are named {method.name!r}: rename one of the experts.")
        found[method.name] = method
    classifying = next((m.labels for m in found.values() if m.labels), LABELS)
    return [base(adapter, reader, classifying), *found.values()], files


def _mixture(text: str, model: "PreTrainedModel", experts: "Mapping[str, Expert]") -> "Mixture":
    """What stands behind `mix:`: coefficients, or a mixture file."""
    from t2ui.models.loading import model_name
    from t2ui.svf.mixture import Mixture, SavedMixture

    if text.endswith(".json"):
        saved = SavedMixture.load(text)
        for misfit in saved.misfits(model_name(model), experts):
            note(f"{text}: {misfit}")
        return saved.mixture
    alphas = coefficients(text, "+", "mix:")
    if not alphas:
        raise InputError("mix: names no expert; expected e.g. mix:math=0.7+code=0.3.")
    return Mixture(alphas)


@dataclass(frozen=True)
class _Set:
    """A task and those of its test rows that are measured."""

    shown: str
    task: "Task"
    examples: "Sequence[Example]"


def _set(
    asked: Asked,
    tokenizer: "PreTrainedTokenizerBase",
    data: Path | None,
    limit: int,
    seed: int,
) -> _Set:
    """The rows of one task, all of them read and checked.

    Raises:
        InputError: there are none, or one is malformed.
    """
    from t2ui.evaluation.measure import sample
    from t2ui.tasks import load_task

    task = load_task(asked.name, tokenizer, data, **asked.options)
    if not task.test:
        raise InputError(f"{asked.name} has no test rows to measure on.")
    if task.classifies:  # it limits each family itself
        return _Set(asked.typed, task, task.test)
    layout = f", {asked.options['style']}" if "style" in asked.options else ""
    layout += " with end token" if asked.options.get("end") else ""
    return _Set(f"{task.name} test{layout}", task, sample(task.test, limit, seed))


def _measure(comparison: "Comparison", one_set: _Set) -> None:
    """All methods on one set."""
    task, examples = one_set.task, one_set.examples
    if task.classifies:
        prompts = [(task.labels[e.correct], e.family, e.prompt) for e in examples]
        return _follow(one_set.shown, len(prompts), comparison.add_dispatch(prompts))
    tell_of_sandbox(task)
    _follow(one_set.shown, len(examples), comparison.add_set(one_set.shown, task, examples))


def _write_tables(comparison: "Comparison", folder: Path) -> None:
    """table.json, table.md and, where there are accuracies, table.html."""
    from t2ui.evaluation.comparison import KEPT
    from t2ui.figures.comparison import accuracies, html_page

    comparison.write(folder)
    if measured := comparison.records()["accuracy"]:
        with writing(folder / "table.html", KEPT) as beside:
            beside.write_text(html_page(accuracies(measured)), encoding="utf-8")


def _follow(what: str, total: int, done: Iterator[str]) -> None:
    """Measure while showing how far each method is; `done` yields a method's name for every row."""
    counts: dict[str, int] = {}
    for method in done:
        counts[method] = counts.get(method, 0) + 1
        progress(f"{what}, {method}: {counts[method]} of {total}", counts[method] / total)


def _keep(
    comparison: "Comparison", files: dict[str, Path], kept_with: dict[str, Any], remark: str
) -> None:
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
