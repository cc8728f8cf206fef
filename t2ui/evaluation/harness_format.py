"""What was measured as lm-evaluation-harness writes its results, for tools that read those."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from t2ui.evaluation.tables import Cell

# How options or texts are compared -> the harness' metric. `byte` divides by bytes; its acc_norm
# divides by characters, acc_bytes by bytes.
METRICS = {"sum": "acc", "byte": "acc_bytes", "greedy": "exact_match"}


def harness_results(
    cells: Sequence[Cell], method: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """One method's results on all sets: `results`, `n-samples` and `config` as in the harness'
    results_*.json.

    Args:
        settings: of the evaluation, e.g. model and dtype.
    """
    results: dict[str, dict[str, Any]] = {}
    samples: dict[str, dict[str, int]] = {}
    for cell in (cell for cell in cells if cell.method == method):
        name, _, protocol = cell.name.partition(", by ")
        task = re.sub(r"[^\w:.-]+", "_", name)
        metric = METRICS[protocol or "greedy"]
        spread = cell.share * (1 - cell.share)
        row = results.setdefault(task, {"alias": name})
        row[f"{metric},none"] = cell.share
        row[f"{metric}_stderr,none"] = (spread / (cell.n - 1)) ** 0.5 if cell.n > 1 else "N/A"
        samples[task] = {"original": cell.n, "effective": cell.n}
    return {
        "results": results,
        "n-samples": samples,
        "higher_is_better": {
            task: {metric: True for metric in METRICS.values() if f"{metric},none" in row}
            for task, row in results.items()
        },
        "config": {"model": "t2ui", "model_args": {"method": method, **settings}},
        "model_source": "t2ui",
        "model_name": str(settings.get("model", "")),
    }


def file_name(method: str) -> str:
    """Of a method's results in the harness' format."""
    return f"results_{re.sub(r'[^A-Za-z0-9_.-]+', '_', method)}.json"
