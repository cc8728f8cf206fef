"""One comparison of methods on sets of rows and on dispatch prompts, and its tables."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from t2ui.cluster.executor import Executor, Where
from t2ui.cluster.work import Carried
from t2ui.evaluation.harness_format import file_name, harness_results
from t2ui.evaluation.measure import (
    ECE_BINS,
    Labelled,
    Record,
    measure,
    measure_routes,
    outcomes,
    right_by_row,
    routes,
    within,
)
from t2ui.evaluation.methods import Applied, Context, Method
from t2ui.evaluation.result_log import Outcome, ResultLog
from t2ui.evaluation.statistics import interval_of
from t2ui.evaluation.tables import (
    Cell,
    Grid,
    accuracy_grid,
    as_markdown,
    as_text,
    cells,
    confusion_grid,
    cost_grid,
    records,
    route_grid,
)
from t2ui.files import writing
from t2ui.svf.adapter import Adapter
from t2ui.tasks.base import Example, Task
from t2ui.tasks.batching import check_context

KEPT = "free some space, then give the same command; every result is kept"
NOTE = "95 % Wilson intervals in brackets; p: exact McNemar test against the base, same rows."
ROUTE_NOTE = (
    "ECE: expected calibration error, Σ_b n_b / n · |share right − mean confidence| over "
    f"{ECE_BINS} bins b of equal width of the picked label's probability. NLL: mean negative "
    "log-likelihood of the right label, in nats. Both are best at 0."
)
SAME_TRAINING = ("data", "batch")  # of an expert and its LoRA baseline; steps are shown
COSTS = ("trained_parameters", "seconds", "peak_memory_mb")  # of a training's record
DISPATCH = "dispatch"  # what the log calls the set of labelled prompts


class Comparison:
    """Methods, the base first, on everything that was added so far.

    Args:
        log: keeps each row's outcome; rows that it has already are not run again.
        batch_rows: how many open answers are decoded together.
        executor: who answers the rows of methods that are one z; by default this process, which
            does all others and pass one in any case.
    """

    def __init__(
        self,
        adapter: Adapter,
        tokenizer: PreTrainedTokenizerBase,
        methods: Sequence[Method],
        log: ResultLog,
        batch_rows: int = 32,
        executor: Executor | None = None,
    ):
        self.executor = executor
        self.model, self.tokenizer = adapter.model, tokenizer
        self.methods, self.log, self.batch_rows = tuple(methods), log, batch_rows
        self.sets: dict[str, Sequence[Example]] = {}
        self.judged_by: dict[str, str] = {}  # for each set
        self.prompts: Sequence[Labelled] = ()

    def add_set(self, name: str, task: Task, examples: Sequence[Example]) -> Iterator[str]:
        """Measure every method on these examples; yields the method's name after each row."""
        check_context(self.model, examples, task.max_new_tokens)
        self.sets[name] = examples
        self.judged_by[name] = f"{task.objective}, {task.max_new_tokens} tokens, {task.stop}"
        for method in self.methods:
            found = measure(
                self.log,
                name,
                method,
                examples,
                partial(self._outcomes, task),
                self.judged_by[name],
            )
            for _ in found:
                yield method.name

    def _outcomes(
        self, task: Task, part: Sequence[Example], context: Context
    ) -> Iterator[tuple[str, Outcome]]:
        """The examples' outcomes in a method's block; by the executor where it can."""
        answered = partial(outcomes, self.model, self.tokenizer, task, part, self.batch_rows)
        if self.executor and isinstance(context, Applied):
            carried = Carried([context.scales])
            return answered(where=Where(self.executor, carried, context.tail))
        return within(context, answered)

    def add_dispatch(self, prompts: Sequence[Labelled]) -> Iterator[str]:
        """Measure pass one of every method that has one; yields as `add_set`."""
        self.prompts = prompts
        for method in self.methods:
            for _ in measure_routes(self.log, DISPATCH, method, prompts):
                yield method.name

    def cells(self) -> list[Cell]:
        """Every method on every set, closed answers under both protocols."""
        results: dict[str, dict[str, dict[str, bool]]] = {}
        for name, examples in self.sets.items():
            for method in self.methods:
                found = right_by_row(self.log, name, method, examples, self.judged_by[name])
                for protocol, right in found.items():
                    shown = name if protocol == "greedy" else f"{name}, by {protocol}"
                    results.setdefault(shown, {})[method.name] = right
        return cells(results, self.methods[0].name)

    def routes(self, method: Method) -> list[Record]:
        """Mis-routes in pass one of a method."""
        if method.classifier is None:
            return []
        found = routes(self.log, DISPATCH, method, self.prompts)
        who = {"method": method.name, "classifier": method.classified_by}
        return [{**who, **record} for record in found]

    def records(self) -> dict[str, list[Record]]:
        """All that was measured, as plain data."""
        return {
            "accuracy": records(self.cells()),
            "dispatch": [record for method in self.methods for record in self.routes(method)],
            "training": [
                {
                    "method": m.name,
                    **{key: m.training.get(key) for key in COSTS},
                    "seconds": _seconds(m.training),
                }
                for m in self.methods
                if m.training
            ],
        }

    def records_of(self, method: Method) -> list[Record]:
        """What an expert's file keeps: its results beside the base's on the same rows, and beside
        those of the LoRA that was trained on the same data, if it is among the methods."""
        kept = []
        found = self.cells()
        baseline = self._lora_beside(method)
        for cell in found:
            if cell.method != method.name or cell.base is None:
                continue
            name, _, protocol = cell.name.partition(", by ")
            kept.append(
                {
                    "set": name,
                    "protocol": protocol or "greedy",
                    "n": cell.n,
                    "base": round(cell.base, 4),
                    "base_interval": interval_of(round(cell.base * cell.n), cell.n),
                    "expert": round(cell.share, 4),
                    "interval": interval_of(cell.right, cell.n),
                    "p": float(f"{cell.p:.2g}"),
                    **_lora_record(baseline, cell, found),
                }
            )
        if method.classifier:
            beside = [baseline] if baseline else []
            for one in (self.methods[0], method, *beside):
                kept += self.routes(one)
        return kept

    def _lora_beside(self, method: Method) -> Method | None:
        """The LoRA among the methods that was trained on the same data as this expert."""
        wanted = [method.training.get(key) for key in SAME_TRAINING]
        for other in self.methods if wanted[0] else ():
            if other.is_lora and [other.training.get(key) for key in SAME_TRAINING] == wanted:
                return other
        return None

    def text(self) -> str:
        """For a terminal."""
        return "\n\n".join([*(as_text(grid) for grid in self._grids()), *self._route_notes()])

    def markdown(self) -> str:
        """For a README or a card."""
        tables = [as_markdown(grid) for grid in self._grids()]
        return "\n\n".join([*tables, NOTE, *self._route_notes()]) + "\n"

    def write(self, folder: Path) -> list[Path]:
        """Write table.json, table.md and, where there are accuracies, one file a method in the
        format of lm-evaluation-harness into lm_eval/; returns their paths.

        Raises:
            InputError: the folder cannot be written; every result is in the log all the same.
        """
        written = {
            "table.json": json.dumps(self.records(), indent=2, ensure_ascii=False),
            "table.md": self.markdown(),
        }
        found = self.cells()
        for method in self.methods if found else ():
            results = harness_results(found, method.name, self.log.settings)
            place = f"lm_eval/{file_name(method.name)}"
            written[place] = json.dumps(results, indent=2, ensure_ascii=False)
        for name, text in written.items():
            with writing(folder / name, KEPT) as beside:
                beside.write_text(text, encoding="utf-8")
        return [folder / name for name in written]

    def _route_notes(self) -> list[str]:
        return [ROUTE_NOTE] if any(map(self.routes, self.methods)) else []

    def _grids(self) -> list[Grid]:
        found: list[Grid] = []
        if accuracies := self.cells():
            found.append(accuracy_grid(accuracies))
        if trained := self.records()["training"]:
            found.append(cost_grid(trained))
        routed: list[dict[str, Any]] = self.records()["dispatch"]
        if routed:
            found.append(route_grid(routed))
            found += [confusion_grid(record) for record in routed if record["set"] == "all"]
        return found


def _seconds(training: Mapping[str, Any]) -> float:
    """Seconds of a training, and of those that it continued."""
    before = training.get("before")
    return training.get("seconds", 0) + (_seconds(before) if before else 0)


def _lora_record(baseline: Method | None, cell: Cell, found: Sequence[Cell]) -> Record:
    """The baseline's share on a cell's set, and what its training cost; empty without one."""
    if baseline is None:
        return {}
    its = next((c for c in found if (c.name, c.method) == (cell.name, baseline.name)), None)
    if its is None:
        return {}
    kept = ("trained_parameters", "steps_done", "best_step", "learning_rate", "seconds")
    return {
        "lora": round(its.share, 4),
        "lora_interval": interval_of(its.right, its.n),
        "lora_training": {key: baseline.training.get(key) for key in kept},
    }
