"""The README card of an experts folder, written from what the expert files themselves say."""

from pathlib import Path
from typing import Any

from t2ui.files import writing
from t2ui.svf.expert import Expert
from t2ui.svf.library import Library

RESULTS = "RESULTS.md"  # beside the card, by hand: comparisons that no expert's file knows


def write_card(library: Library, folder: Path) -> Path:
    """Write `README.md` into the folder; returns its path."""
    path = folder / "README.md"
    results = RESULTS if (folder / RESULTS).is_file() else ""
    with writing(path) as beside:
        beside.write_text(card_text(library, results), encoding="utf-8")
    return path


def card_text(library: Library, results: str = "") -> str:
    """Markdown with Hugging Face front matter: every expert, its measurements and its training.

    Args:
        results: a file of further results beside the card, which it links to.
    """
    experts = [library.experts[name] for name in sorted(library.experts)]
    base = ", ".join(sorted({e.base_model for e in experts if e.base_model})) or "unknown"
    licences = ", ".join(sorted({e.license for e in experts if e.license})) or "unknown"
    lines = [
        "---",
        f"license: {licences.lower()}",
        "library_name: t2ui",
        "tags: [transformer-squared, svf, singular-value-fine-tuning]",
        "---",
        "",
        f"# SVF experts for {base}",
        "",
        "Each file holds one scale vector z for every attention and MLP matrix: "
        "W′ = U diag(σ ⊙ z) Vᵀ. This page is made by `python -m t2ui experts card` from the "
        "files' own metadata; do not edit it.",
        "",
    ]
    if results:
        lines += [
            f"Comparisons, other trainings and what did not help: [{results}]({results}).",
            "",
        ]
    for expert in experts:
        lines += expert_lines(expert, library.files[expert.name])
    return "\n".join(lines).rstrip() + "\n"


def expert_lines(expert: Expert, file: Path) -> list[str]:
    """Markdown on one expert: its file, what was measured, how it was trained."""
    lines = [
        f"## {expert.name}",
        "",
        expert.description,
        "",
        f"- file: `{file.name}`, {expert.parameters:,} scales in {len(expert.scales)} matrices, "
        f"{file.stat().st_size / 1000:,.0f} kB",
        f"- labels in pass one: {', '.join(expert.labels) or 'none'}",
        f"- sha256 of the tensors: `{expert.sha256}`",
        f"- made: {expert.created}; licence: {expert.license or 'not stated'}",
        "",
    ]
    if expert.metrics:
        lines += ["### Measured", "", *_metric_lines(expert.metrics), ""]
    return lines + _training_lines(expert.training)


def _metric_lines(metrics: list[dict[str, Any]]) -> list[str]:
    """One table for accuracies, one for mis-routes; 95 % Wilson intervals in brackets."""
    lines: list[str] = []
    accuracies = [m for m in metrics if "expert" in m]
    if accuracies:
        lines += _accuracy_lines(accuracies)
    routes = [m for m in metrics if "misroutes" in m]
    if routes:
        lines += [
            *([""] if lines else []),
            "| prompts | classifier | n | mis-routed | ECE | NLL |",
            "|---|---|---|---|---|---|",
            *(
                f"| {m['set']} | {m['classifier']} | {m['n']} | "
                f"{_percent(m['misroutes'], m['interval'])} | {_number(m.get('ece'))} | "
                f"{_number(m.get('nll'))} |"
                for m in routes
            ),
        ]
    for command in dict.fromkeys(m["command"] for m in metrics if m.get("command")):
        lines += ["", f"    {command}"]
    return lines


def _accuracy_lines(records: list[dict[str, Any]]) -> list[str]:
    beside = [m["lora_training"] for m in records if "lora" in m]
    heads = ["set", "options compared by", "n", "base model", "this expert", "p (paired)"]
    rows = [
        [
            m["set"],
            m["protocol"],
            str(m["n"]),
            _percent(m["base"], m["base_interval"]),
            _percent(m["expert"], m["interval"]),
            f"{m['p']:.2g}" if "p" in m else "",
            _percent(m["lora"], m["lora_interval"]) if "lora" in m else "",
        ]
        for m in records
    ]
    if beside:
        heads.append("LoRA, same data")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [f"| {' | '.join(row[: len(heads)])} |" for row in rows]
    for training in {str(t): t for t in beside}.values():
        lines += ["", "LoRA: " + ", ".join(f"{k} {v}" for k, v in training.items())]
    return lines


def _training_lines(training: dict[str, Any], title: str = "Training") -> list[str]:
    if not training:
        return []
    apart = ("curve", "data", "command", "before")
    settings = {k: v for k, v in training.items() if k not in apart}
    lines = [f"### {title}", ""]
    if training.get("command"):
        lines += [f"    {training['command']}", ""]
    lines += [", ".join(f"{k} {v}" for k, v in settings.items()), ""]
    for use, source in training.get("data", {}).items():
        lines.append(f"- {use}: {source}")
    if training.get("curve"):
        steps = " | ".join(str(step) for step, _ in training["curve"])
        values = " | ".join(f"{100 * value:.1f} %" for _, value in training["curve"])
        lines += [
            "",
            f"| step | {steps} |",
            "|---" * (len(training["curve"]) + 1) + "|",
            f"| validation accuracy | {values} |",
        ]
    return [*lines, "", *_training_lines(training.get("before", {}), "Before that")]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float, interval: list[float]) -> str:
    low, high = interval
    return f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
