"""`python -m t2ui experts …`: look at, check and document expert files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from t2ui.cli.options import (
    AsJson,
    Folder,
    Model,
    existing,
    facts,
    load,
    note,
    one,
    print_json,
    progress,
    report_problems,
    shipped,
)
from t2ui.cli.tasks import Data, asked_tasks, check_tasks
from t2ui.config import DEFAULT_MODEL
from t2ui.errors import InputError

experts_app = typer.Typer(no_args_is_help=True, help="Look at, check and document expert files.")


@experts_app.command("list")
def experts_list(
    folder: Annotated[Path | None, typer.Argument(show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """The experts of a folder, and what is wrong with files that do not load."""
    from t2ui.svf.library import load_library

    library = load_library(existing(folder or shipped()))
    if as_json:
        print_json(
            {
                "experts": [facts(e, library.files[n]) for n, e in library.experts.items()],
                "problems": [{"file": f, "reason": r} for f, r in library.problems],
            }
        )
        return
    for name, expert in library.experts.items():
        kind = "dispatcher" if expert.is_dispatcher else "expert"
        print(
            f"{name:16} {kind:10} {expert.parameters:>9,} scales  {expert.base_model:24} "
            f"{expert.description}"
        )
    if not library.experts:
        note("no experts in this folder")
    report_problems(library)


@experts_app.command("show")
def experts_show(
    expert: Annotated[str, typer.Argument(help="A name in the experts folder, or a file.")],
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Everything an expert file says about itself."""
    loaded, path = one(expert, folder)
    said = facts(loaded, path)
    if as_json:
        print_json(said)
        return
    for key, value in said.items():
        shown = value if isinstance(value, (str, int, float)) else json.dumps(value)
        print(f"{key:12} {shown}")


@experts_app.command("verify")
def experts_verify(
    files: Annotated[list[Path], typer.Argument(help="Expert files or folders.")],
    model: Annotated[
        str, typer.Option(help="Also check that they fit this model.", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check format, hash, finite values and, with --model, fit; exit status 2 if one fails."""
    from t2ui.svf.adapter import adapt
    from t2ui.svf.expert import Expert
    from t2ui.svf.library import expert_files

    adapter = adapt(load(model, "auto")[0], progress=progress) if model else None
    checked = []
    for path in [p for f in files for p in (expert_files(f) if f.is_dir() else [f])]:
        try:
            loaded = Expert.load(path)
            if adapter:
                adapter.check(loaded)
            reason = ""
        except InputError as error:
            reason = str(error)
        checked.append({"file": str(path), "ok": not reason, "reason": reason})
    if not checked:
        raise InputError(f"No expert files in {', '.join(map(str, files))}.")
    if as_json:
        print_json(checked)
    else:
        for entry in checked:
            print(f"{'ok ' if entry['ok'] else 'BAD'} {entry['file']} {entry['reason']}".rstrip())
    if not all(entry["ok"] for entry in checked):
        raise typer.Exit(2)


@experts_app.command("card")
def experts_card(
    folder: Annotated[Path | None, typer.Argument(show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Write the folder's README.md from the expert files' metadata."""
    from t2ui.evaluation.card import write_card
    from t2ui.svf.library import load_library

    folder = existing(folder or shipped())
    library = load_library(folder)
    report_problems(library)
    if not library.experts:
        raise InputError(f"{folder} holds no expert that loads: nothing to describe.")
    path = write_card(library, folder)
    print_json({"card": str(path), "experts": sorted(library.experts)}) if as_json else print(path)


@experts_app.command("compact")
def experts_compact(
    expert: Annotated[str, typer.Argument(help="A name in the experts folder, or a file.")],
    out: Annotated[Path, typer.Option(help="The new file, .safetensors or .svf.")],
    name: Annotated[str, typer.Option(help="The new expert's name, to tell the two apart.")] = "",
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Write a copy of an expert with one byte per scale (int8), about a quarter of the size."""
    _check_new(out)
    loaded, path = one(expert, folder)
    # The measurements of the large file stay in the small one, so it names what it was made from.
    training = {**loaded.training, "compact_of": loaded.sha256}
    small = replace(loaded, name=name or loaded.name, training=training).save(out, compact=True)
    moved = max(float((small.scales[n] - z).abs().max()) for n, z in loaded.scales.items())
    before, after = path.stat().st_size, out.stat().st_size
    if as_json:
        print_json(
            {
                "file": str(out),
                "name": small.name,
                "bytes": after,
                "bytes_before": before,
                "largest_difference": moved,
                "sha256": small.sha256,
                "compact_of": loaded.sha256,
            }
        )
        return
    print(
        f"{out}: {after / 1000:,.0f} kB ({before / 1000:,.0f} kB before); no scale differs by "
        f"more than {moved:.2g}"
    )


@experts_app.command("examples")
def experts_examples(
    expert: Annotated[str, typer.Argument(help="A name in the experts folder, or a file.")],
    task: Annotated[str, typer.Option(help="Take training prompts of this task.")] = "",
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Take these (the first 512), or, beside --task, these as well, as the same kind "
            "in other words: JSON Lines with a `prompt`.",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
    model: Annotated[
        str, typer.Option(help="The model that it was made for.", show_default=False)
    ] = DEFAULT_MODEL,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Write into an expert's file how the model reads prompts of its kind, for `--dispatch router`.

    Its scales, and so its hash, stay as they are.
    """
    from t2ui.inference.dispatchers.router import MOST_EXAMPLES, with_examples
    from t2ui.jsonl import read_jsonl
    from t2ui.svf.adapter import adapt
    from t2ui.tasks import load_task
    from t2ui.training.svf import example_prompts

    if not task and not prompts:
        raise InputError("Say where the prompts come from: --task NAME or --prompts FILE.")
    if task == "jsonl":
        raise InputError("Prompts of your own need no task: give their file as --prompts FILE.")
    loaded, path = one(expert, folder)
    if task:
        check_tasks([task], data)
    rows = read_jsonl(prompts, ("prompt",), ("prompt",)) if prompts else []
    typed = [text for row in rows if (text := row["prompt"]).strip()]
    typed = list(dict.fromkeys(typed))[:MOST_EXAMPLES]
    made, tokenizer = load(model, "auto")
    chosen, reworded = typed, []
    if task:
        (asked,) = asked_tasks([task], {})
        task_rows = load_task(asked.name, tokenizer, data, **asked.options)
        chosen, reworded = example_prompts(task_rows), typed
    adapter = adapt(made, progress=progress)
    saved = with_examples(loaded, chosen, adapter, tokenizer, reworded).save_examples(path)
    count, size = sum(map(len, saved.grouped_examples)), path.stat().st_size
    if as_json:
        print_json({"file": str(path), "examples": count, "bytes": size})
    else:
        print(f"{path}: {count} examples for the router; {size / 1000:,.0f} kB")


@experts_app.command("import")
def experts_import(
    source: Annotated[
        Path,
        typer.Argument(
            help="The authors' policy_params*.pt or learnable_params*.pt, a LoRA's folder (peft), "
            "or a model's folder, which is compared with --model."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The new file, .safetensors or .svf.")],
    model: Model = DEFAULT_MODEL,
    name: Annotated[str, typer.Option(help="The expert's; by default that of the source.")] = "",
    description: Annotated[str, typer.Option(help="Of the expert, a sentence or two.")] = "",
    license: Annotated[str, typer.Option(help="Of the expert, e.g. Apache-2.0.")] = "",
    label: Annotated[
        list[str] | None,
        typer.Option(help="What pass one calls it; may be given several times."),
    ] = None,
    device: Annotated[str, typer.Option(help="Where matrices are decomposed.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Other people's work as an expert: what a diagonal cannot hold of it is said."""
    from t2ui.exchange.imports import import_expert

    _check_new(out)
    found = import_expert(
        source,
        model,
        name,
        device=device,
        progress=progress,
        description=description,
        license=license,
        labels=tuple(label or ()),
    )
    saved = found.expert.save(out)
    for sentence in found.notes:
        note(sentence)
    if as_json:
        print_json(
            {
                "file": str(out),
                "name": saved.name,
                "kind": found.kind,
                "held": found.share,
                "matrices": [{"name": held.name, "held": held.share} for held in found.matrices],
                "sha256": saved.sha256,
                "notes": list(found.notes),
            }
        )
        return
    for held in found.matrices:
        print(f"{held.share:7.1%}  {held.name}")
    print(
        f"{out}: expert {saved.name}, {saved.parameters:,} scales in {len(saved.scales)} matrices; "
        f"holds {found.share:.1%} of the change (of its squared Frobenius norm)"
    )


@experts_app.command("push")
def experts_push(
    experts: Annotated[list[str], typer.Argument(help="Names in the experts folder, or files.")],
    repo: Annotated[str, typer.Option(help="On the hub: owner/name.")],
    folder: Folder = None,
    private: Annotated[bool, typer.Option("--private", help="If it is made now.")] = False,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "",
    as_json: AsJson = False,
) -> None:
    """Experts to the Hugging Face Hub, with a card; log in with `hf auth login` or HF_TOKEN."""
    from t2ui.exchange.hub import push

    files = [one(expert, folder)[1] for expert in experts]
    pushed = push(files, repo, private=private, message=message)
    for sentence in pushed.notes:
        note(sentence)
    if as_json:
        print_json({"repo": pushed.repo, "url": pushed.url, "files": list(pushed.files)})
        return
    print(f"{pushed.url}: {', '.join(pushed.files)}")


@experts_app.command("pull")
def experts_pull(
    repo: Annotated[str, typer.Argument(help="On the hub: owner/name.")],
    experts: Annotated[
        list[str] | None, typer.Argument(help="Files in it; all of its experts by default.")
    ] = None,
    folder: Annotated[Path, typer.Option("--experts", help="Where they are put.")] = Path(
        "experts"
    ),
    revision: Annotated[str, typer.Option(help="A branch, tag or commit.")] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite other experts of the same names.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Experts from the Hugging Face Hub into a folder; each is checked."""
    from t2ui.exchange.hub import pull

    pulled = pull(repo, folder, experts or (), revision=revision or None, replace=replace)
    if as_json:
        print_json([{"name": p.name, "file": str(p.file), "is_new": p.is_new} for p in pulled])
        return
    for one_expert in pulled:
        print(f"{one_expert.file}: {one_expert.name}{'' if one_expert.is_new else ', as it was'}")


def _check_new(out: Path) -> None:
    """Refuse a file that is there, or that an expert cannot have."""
    from t2ui.svf.expert import SUFFIXES

    if out.exists():
        raise InputError(f"{out} exists already: choose another --out, or remove it first.")
    if out.suffix not in SUFFIXES:
        raise InputError(f"{out.name} must end in {' or '.join(SUFFIXES)}.")
