"""What goes to the worker and what comes back: plain data that pickles, no tensors, no torch.

A request is answered by a stream of events that ends with exactly one `Done` or `Failed`.
Arrays are numpy, float32 unless said otherwise. Times are seconds, probabilities are in [0, 1].
"""

from t2ui.messages.adapt import (
    EXPERT_NAME,
    Adapt,
    Adapted,
    EstimateAdapt,
    ExpertSaved,
    SaveExpert,
    SearchBegan,
    SearchEstimate,
)
from t2ui.messages.answer import PANES, AnswerSoFar, Written
from t2ui.messages.ask import (
    Ask,
    Classified,
    Compared,
    Mixed,
    NextToken,
    NextTokens,
    Reading,
    Tokens,
    TokenShift,
)
from t2ui.messages.inspect import (
    Component,
    ComponentData,
    ExpertInfo,
    Experts,
    Heatmap,
    HeatmapData,
    ListExperts,
)
from t2ui.messages.worker import (
    Begun,
    Cancel,
    Done,
    Failed,
    Queued,
    Status,
)
from t2ui.records import Generation

Request = Ask | NextToken | ListExperts | Heatmap | Component | Adapt | EstimateAdapt | SaveExpert
Event = (
    Queued
    | Classified
    | Mixed
    | Reading
    | Tokens
    | Compared
    | NextTokens
    | Experts
    | HeatmapData
    | ComponentData
    | SearchEstimate
    | SearchBegan
    | Generation
    | Adapted
    | ExpertSaved
    | Failed
    | Done
)

__all__ = [
    "Adapt",
    "Adapted",
    "AnswerSoFar",
    "Ask",
    "Begun",
    "Cancel",
    "Classified",
    "Compared",
    "Component",
    "ComponentData",
    "Done",
    "EXPERT_NAME",
    "EstimateAdapt",
    "Event",
    "ExpertInfo",
    "ExpertSaved",
    "Experts",
    "Failed",
    "Generation",
    "Heatmap",
    "HeatmapData",
    "ListExperts",
    "Mixed",
    "NextToken",
    "NextTokens",
    "PANES",
    "Queued",
    "Reading",
    "Request",
    "SaveExpert",
    "SearchBegan",
    "SearchEstimate",
    "Status",
    "TokenShift",
    "Tokens",
    "Written",
]
