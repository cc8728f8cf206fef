"""Scores of closed answers under scales, as tests compare them with what an evaluation says."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from t2ui.evaluation.measure import closed_scores, is_right
from t2ui.svf.adapter import Adapter, Scales
from t2ui.tasks.base import Example


def option_scores(
    adapter: Adapter, rows: Sequence[Example], scales: Scales, batch_tokens: int = 2000
) -> dict[str, Tensor]:
    """Log-likelihood of every option under the scales: row id -> (options,) float32 on the CPU."""
    with adapter.applied(scales, "merged"):
        return dict(closed_scores(adapter.model, rows, batch_tokens))


def right_by(rows: Sequence[Example], scores: Mapping[str, Tensor], protocol: str) -> list[bool]:
    """Whether each row is right when options are compared by "sum" or by "byte"."""
    return [is_right(row, scores[row.id], protocol) for row in rows]
