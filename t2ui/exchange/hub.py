"""Experts to and from the Hugging Face Hub, with a card whose metadata the hub shows."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from t2ui.config import hub_name
from t2ui.errors import InputError, quoted
from t2ui.evaluation.card import expert_lines
from t2ui.files import writing
from t2ui.svf.expert import Expert
from t2ui.svf.hub import SUFFIXES, expert_names, fetch, hub, hub_errors
from t2ui.svf.library import Library, load_library

CARD = "README.md"
MARK = "This page is made by `t2ui experts push`"  # a card without it is somebody's own


@dataclass(frozen=True)
class Pushed:
    """What `push` wrote to the hub."""

    repo: str
    url: str
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pulled:
    """One expert that `pull` fetched."""

    name: str
    file: Path
    is_new: bool  # False: the same one was there already


def push(
    files: Sequence[Path],
    repo: str,
    *,
    private: bool = False,
    message: str = "",
    token: str | None = None,
) -> Pushed:
    """Write expert files to a repository, in one commit with its card: all of it or nothing.

    The repository is made if it is not there. Its card describes all experts in it; a card that
    somebody wrote by hand is left alone.

    Args:
        files: experts' files, each checked before anything is sent.
        repo: owner/name.
        token: by default the one of `hf auth login` or HF_TOKEN.

    Raises:
        InputError: a file that is no expert, two of one file name, or a hub that refuses.
    """
    from huggingface_hub import CommitOperationAdd

    experts = [Expert.load(path) for path in files]
    if not files or len({path.name for path in files}) < len(files):
        raise InputError("Give the experts to push, each under another file name.")
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as work, hub_errors(repo):
        folder = Path(work)
        api = hub(token)
        url = str(api.create_repo(repo, private=private, exist_ok=True))
        there = api.list_repo_files(repo)
        for name in [n for n in there if n.endswith(SUFFIXES) and "/" not in n]:
            shutil.copyfile(fetch(repo, name, token=token), folder / name)
        for path in files:
            shutil.copyfile(path, folder / path.name)
        sent = [CommitOperationAdd(path.name, folder / path.name) for path in files]
        if CARD in there and MARK not in _text(api.hf_hub_download(repo, CARD)):
            notes.append(f"{repo} has a {CARD} of its own, which is left as it is")
        else:
            text = hub_card(load_library(folder), repo)
            sent.append(CommitOperationAdd(CARD, text.encode()))
        names = ", ".join(expert.name for expert in experts)
        api.create_commit(repo, sent, commit_message=message or f"Experts: {names}")
    return Pushed(repo, url, tuple(path.name for path in files), tuple(notes))


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def pull(
    repo: str,
    folder: Path,
    names: Sequence[str] = (),
    *,
    revision: str | None = None,
    replace: bool = False,
    token: str | None = None,
) -> list[Pulled]:
    """Fetch experts from a repository into a folder; all are checked before one is written.

    Args:
        names: of files, with or without suffix; all of the repository's experts by default.
        replace: overwrite other experts of the same file names.

    Raises:
        InputError: no such repository or expert, a file that is none or is damaged, a download
            that ends too early, or another file of the same name in the folder.
    """
    found = list(names) or expert_names(repo, revision, token)
    if not found:
        raise InputError(f"{repo} on the hub holds no expert: expected .safetensors or .svf files.")
    fetched = [fetch(repo, name, revision, token) for name in found]
    checked = [(Expert.load(path), path) for path in fetched]
    pulled = []
    for expert, path in checked:
        place = folder / path.name
        is_new = not (place.is_file() and _same(place, expert))
        if is_new and place.exists() and not replace:
            raise InputError(
                f"{place} is another expert than the one on the hub: give --replace to overwrite "
                "it, or choose another --experts."
            )
        pulled.append(Pulled(expert.name, place, is_new))
    for (_, path), one in zip(checked, pulled, strict=True):
        if one.is_new:
            with writing(one.file) as beside:
                shutil.copyfile(path, beside)
    return pulled


def _same(place: Path, expert: Expert) -> bool:
    try:
        return Expert.load(place).sha256 == expert.sha256
    except InputError:
        return False


def hub_card(library: Library, repo: str) -> str:
    """Markdown with the metadata that the hub shows: base model, task, licence and metrics."""
    from huggingface_hub import ModelCardData

    experts = [library.experts[name] for name in sorted(library.experts)]
    bases = sorted({hub_name(e.base_model) for e in experts if "/" in hub_name(e.base_model)})
    licences = {e.license.lower() for e in experts if e.license}
    data = ModelCardData(
        base_model=(bases[0] if len(bases) == 1 else bases) or None,
        license=licences.pop() if len(licences) == 1 else ("other" if licences else None),
        library_name="t2ui",
        pipeline_tag="text-generation",
        tags=["transformer-squared", "svf", "singular-value-fine-tuning"],
        model_name=PurePosixPath(repo).name,
        eval_results=[result for expert in experts for result in _results(expert)] or None,
    )
    if bases:
        data["base_model_relation"] = "adapter"
    base = ", ".join(sorted({e.base_model for e in experts if e.base_model})) or "a model"
    first = experts[0].name if experts else "NAME"
    lines = [
        "---",
        data.to_yaml().rstrip(),
        "---",
        "",
        f"# SVF experts for {base}",
        "",
        "Each file holds one scale vector z for every attention and MLP matrix of the base model: "
        "W′ = U diag(σ ⊙ z) Vᵀ ([Transformer²](https://arxiv.org/abs/2501.06252)). "
        f"{MARK} from the files' own metadata.",
        "",
        "```bash",
        f"t2ui experts pull {repo}",
        "```",
        "",
        "```python",
        "from t2ui import Expert",
        "",
        f'expert = Expert.from_pretrained("{repo}", "{first}")',
        "```",
        "",
    ]
    for expert in experts:
        lines += expert_lines(expert, library.files[expert.name])
    return "\n".join(lines).rstrip() + "\n"


def _results(expert: Expert) -> list:
    """What was measured of an expert, as the hub's metadata have it."""
    from huggingface_hub import EvalResult

    found = []
    for record in expert.metrics:
        if "expert" in record:
            kind, value = "accuracy", record["expert"]
            name = f"{quoted(expert.name)[1:-1]}, right, {record.get('protocol', 'greedy')}"
        elif "misroutes" in record:
            kind, value = "error_rate", record["misroutes"]
            name = f"{expert.name}, mis-routed"
        else:
            continue
        interval = record.get("interval")
        shown = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
        found.append(
            EvalResult(
                task_type="text-generation",
                dataset_type=str(record["set"]).split(" ")[0].split(",")[0],
                dataset_name=str(record["set"]),
                metric_type=kind,
                metric_value=round(float(value), 4),
                metric_name=f"{name}, n {record.get('n')}{shown}",
            )
        )
    return found
