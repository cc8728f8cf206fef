"""`python -m t2ui adapt`: find a mixture of experts from a few examples."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t2ui.catalogue import SEARCH_METHODS, TASKS, chosen, names_of
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
    print_json,
    progress,
    ray_cluster,
    report_problems,
    tell_of_sandbox,
)
from t2ui.cli.tasks import check_tasks
from t2ui.config import (
    DATA_VARIABLE,
    DEFAULT_MODEL,
    OBJECTIVES,
    PRESETS,
    FewShotConfig,
    default_data_dir,
)
from t2ui.errors import InputError
from t2ui.files import CannotWrite

if TYPE_CHECKING:
    from t2ui.few_shot.adapt import FewShotResult
    from t2ui.few_shot.scoring import Right
    from t2ui.records import Generation
    from t2ui.svf.adapter import Adapter
    from t2ui.svf.library import Library

FILE_REWARDS = ("exact", "number", "contains", "regex")  # those that need prompt and answer alone


def adapt_command(
    examples: Annotated[
        Path | None,
        typer.Option(help="JSON Lines: prompt and answer; with options, a list, closed answers."),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            help=f"Or take examples of a task ({names_of(TASKS)}); with --examples, grade as it "
            "does."
        ),
    ] = "",
    reward: Annotated[
        str, typer.Option(help=f"How answers to --examples are graded: {', '.join(FILE_REWARDS)}.")
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(help=f"Of --task: the folder with its data; else {DATA_VARIABLE} names it."),
    ] = None,
    shots: Annotated[int | None, typer.Option(help="Of --task: how many examples.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the mixture to this .json file.")] = None,
    fold: Annotated[
        Path | None, typer.Option(help="Write it as one expert to this .safetensors file.")
    ] = None,
    preset: Annotated[str, typer.Option(help=f"{', '.join(PRESETS)}.")] = "",
    method: Annotated[
        str,
        typer.Option(help=f"auto (best for the objective), {', '.join(SEARCH_METHODS)}."),
    ] = "",
    objective: Annotated[str, typer.Option(help=f"{', '.join(OBJECTIVES)}.")] = "",
    population: int | None = None,
    generations: int | None = None,
    held_out: Annotated[
        float | None, typer.Option(help="Share of the examples kept for the report.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Of a generated answer.")] = None,
    per_layer: Annotated[bool, typer.Option(help="One coefficient per expert and layer.")] = False,
    normalise: Annotated[bool, typer.Option(help="Divide the coefficients by their sum.")] = False,
    allow_transfer: Annotated[
        bool, typer.Option(help="Use experts made for other weights of the same shapes.")
    ] = False,
    seed: int = FewShotConfig.seed,
    model: Model = DEFAULT_MODEL,
    experts: Folder = None,
    device: Device = "auto",
    ray: RayAddress = "",
    as_json: AsJson = False,
) -> None:
    """Find a mixture's coefficients from a few examples; Ctrl-C keeps the best so far."""
    said: dict[str, Any] = {  # fields of FewShotConfig; None where the command line says nothing
        "method": method or None,
        "objective": objective or None,
        "shots": shots,
        "population": population,
        "generations": generations,
        "held_out": held_out,
        "max_new_tokens": max_new_tokens,
        "per_layer": per_layer or None,
        "normalise": normalise or None,
        "allow_transfer": allow_transfer or None,
        "seed": seed,
    }
    start = FewShotConfig.preset(preset) if preset else FewShotConfig()
    config = replace(start, **{key: value for key, value in said.items() if value is not None})
    if task and not examples:
        data = data or default_data_dir()
    _check_sources(examples, task, data, shots)
    _check_suffixes((out, ".json"), (fold, ".safetensors"))
    judged_by = _reward(examples, task, reward)
    from t2ui.few_shot.adapt import FewShotResult, search
    from t2ui.few_shot.examples import answers, read_examples, shots_of
    from t2ui.records import Generation
    from t2ui.svf.adapter import adapt
    from t2ui.tasks import load_task
    from t2ui.tasks.own import REWARDS, check_answer

    cluster = ray_cluster(ray)
    loaded, tokenizer = load(model, device)
    library = library_of(loaded, experts)
    right: Right | None  # None: the task's answers are closed
    if examples:
        rows = read_examples(tokenizer, examples)
        right = REWARDS[judged_by] if judged_by else answers
        for row in rows:
            if judged_by and len(row.question.options) == 1:  # others compare options
                check_answer(row.answer, row.id, judged_by)
    else:
        found = load_task(task, tokenizer, data)
        rows, right = shots_of(found, config.shots, seed), found.grade
        if config.objective != "likelihood":
            tell_of_sandbox(found)
        if found.max_new_tokens and max_new_tokens is None:
            config = replace(config, max_new_tokens=found.max_new_tokens, stop=found.stop)
    with adapt(loaded, progress=progress) as adapter, _first_interrupt() as stopped:
        library = library.fitting(adapter, config.allow_transfer)
        report_problems(library)
        executor = cluster.executor(adapter, model, device) if cluster else None
        steps = search(
            adapter, tokenizer, rows, library.answering, config, right, stopped, executor
        )
        for step in steps:
            if isinstance(step, Generation) and not as_json:
                note(_line(step, config))
        assert isinstance(step, FewShotResult), "the last that `search` yields"
        result = step
        # Shown before it is written: no full disk may cost a search.
        print_json(_facts(result)) if as_json else _show(result, config)
        provenance = _provenance(result, config, library, examples.name if examples else task)
        _write(adapter, library, result, provenance, out, fold)


def _show(result: "FewShotResult", config: FewShotConfig) -> None:
    note(f"{result.set_by}; {result.tokens:,} tokens in {result.seconds:.1f} s")
    report = result.report
    if result.n:
        report += f": {config.objective} {result.before:.4f} → {result.after:.4f}"
    if result.right_after is not None:
        report += f", right {result.right_before} → {result.right_after} of {result.n}"
    note(report)
    for name, alpha in result.mixture.weights.items():
        shown = f"{alpha:g}" if isinstance(alpha, float) else " ".join(f"{a:g}" for a in alpha)
        print(f"{name} {shown}")


def _reward(examples: Path | None, task: str, reward: str) -> str:
    """The name of the reward that grades the answers to a file's prompts; "" for the usual one,
    `few_shot.examples.answers`.

    Raises:
        InputError: an unknown reward, one that needs more than prompt and answer, or --reward
            for the examples of a task.
    """
    if reward and (task or not examples):
        raise InputError("--reward goes with --examples; a task knows how it is graded.")
    task_reward = chosen("task", task, TASKS).reward if task and examples else ""
    if task and examples and not task_reward:
        graded = ", ".join(name for name, entry in TASKS.items() if entry.reward)
        raise InputError(
            f"--examples cannot be graded as {task!r} grades; expected {graded}: leave --task out, "
            "or give --reward."
        )
    if reward and reward not in FILE_REWARDS:
        raise InputError(f"reward is {reward!r}; expected {', '.join(FILE_REWARDS)}.")
    return task_reward or reward


def _check_sources(examples: Path | None, task: str, data: Path | None, shots: int | None) -> None:
    """Refuse what says no, or two, sources of examples."""
    if not examples and not task:
        raise InputError("Give either --examples FILE.jsonl or --task NAME with --data DIR.")
    if task and not examples:
        check_tasks([task], data)
    if examples and (shots is not None or data is not None):
        raise InputError("--shots and --data go with --task alone; a file's examples are all used.")


def _check_suffixes(*files: tuple[Path | None, str]) -> None:
    for path, suffix in files:
        if path is not None and path.suffix != suffix:
            raise InputError(f"{path.name} must end in {suffix}.")


@contextmanager
def _first_interrupt() -> Iterator[Callable[[], bool]]:
    """Yields a function: was Ctrl-C pressed? A second Ctrl-C interrupts at once."""
    pressed = False
    before = signal.getsignal(signal.SIGINT)

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)
        note("stopping with the best so far; press again to leave")

    signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _line(generation: "Generation", config: FewShotConfig) -> str:
    alphas = ", ".join(
        f"{name} {mean:.2f} ± {generation.alpha_spread[name]:.2f}"
        for name, mean in generation.alpha_mean.items()
    )
    return (
        f"generation {generation.number} of {config.generations}: best {generation.best:.4f}, "
        f"mean {generation.mean:.4f} ± {generation.spread:.4f}; {alphas}"
    )


def _provenance(
    result: "FewShotResult", config: FewShotConfig, library: "Library", source: str
) -> dict[str, Any]:
    """What the written files say of where the mixture came from."""
    return {
        "set_by": result.set_by,
        "examples": source,
        "report": result.report,
        "before": result.before,
        "after": result.after,
        "n": result.n,
        "experts": {name: library.experts[name].sha256 for name in result.mixture.weights},
        "config": asdict(config),
        "command": command_line(),
    }


def _write(
    adapter: "Adapter",
    library: "Library",
    result: "FewShotResult",
    provenance: dict[str, Any],
    out: Path | None,
    folded: Path | None,
) -> None:
    from t2ui.models.loading import model_name
    from t2ui.svf.mixture import SavedMixture, fold

    base_model = model_name(adapter.model)
    try:
        if out is not None:
            SavedMixture(result.mixture, base_model, provenance).save(out)
            note(f"wrote {out}")
        if folded is not None:
            fold(
                adapter,
                library.experts,
                result.mixture,
                folded.stem,
                provenance,
                base_model=base_model,
                task=provenance["examples"],
            ).save(folded)
            note(f"wrote {folded}")
    except CannotWrite as error:
        raise error.with_remedy("the coefficients are above; give another path") from None


def _facts(result: "FewShotResult") -> dict[str, Any]:
    """The result for machines, without the populations."""
    generations = [
        {k: v for k, v in asdict(g).items() if k not in ("population", "scores")}
        for g in result.generations
    ]
    kept = (
        "set_by",
        "report",
        "before",
        "after",
        "right_before",
        "right_after",
        "n",
        "seconds",
        "tokens",
        "forward_passes",
    )
    return {
        "mixture": dict(result.mixture.weights),
        "normalise": result.mixture.normalise,
        **{key: getattr(result, key) for key in kept},
        "generations": generations,
    }
