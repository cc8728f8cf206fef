"""What goes to the worker and what comes back: plain data that pickles, no tensors, no torch.

A request is answered by a stream of events that ends with exactly one `Done` or `Failed`.
Arrays are numpy, float32 unless said otherwise. Times are seconds, probabilities are in [0, 1].
"""

from t2ui.messages.adapt import (
    Adapt,
    Adapted,
    EstimateAdapt,
    SearchBegan,
    SearchEstimate,
)
from t2ui.messages.answer import PANES, AnswerSoFar, Written
from t2ui.messages.ask import (
    MOST_LOGPROBS,
    MOST_SAMPLES,
    Ask,
    Classified,
    Compared,
    Ending,
    Mixed,
    NextToken,
    NextTokens,
    Reading,
    Steer,
    Steered,
    Tokens,
    TokenScore,
    TokenShift,
    tokens_hash,
)
from t2ui.messages.compare import (
    LayersMeasured,
    LayersOff,
    Sweep,
    SweepTexts,
    Swept,
    SweptColumn,
    Trial,
    Tried,
)
from t2ui.messages.inspect import (
    CompareExperts,
    Component,
    ComponentData,
    Components,
    ExpertInfo,
    Experts,
    Heatmap,
    HeatmapData,
)
from t2ui.messages.saved import (
    EXPERT_NAME,
    TENANT,
    TENANT_NAME,
    AddExpert,
    DeleteExpert,
    EndSession,
    ExpertDeleted,
    ExpertFile,
    ExpertSaved,
    Measured,
    ReadExpert,
    RenameExpert,
    SaveExpert,
    check_not_reserved,
    owner_of,
)
from t2ui.messages.score import ScoredSoFar, ScoreMixtures
from t2ui.messages.worker import (
    Begun,
    Cancel,
    Done,
    Failed,
    Queued,
    SessionEnded,
    Status,
)
from t2ui.records import ComponentsMeasured, Decision, Generation, Likeness, Standing

Request = (
    Ask
    | NextToken
    | Heatmap
    | Component
    | Components
    | CompareExperts
    | Adapt
    | EstimateAdapt
    | ScoreMixtures
    | SaveExpert
    | AddExpert
    | RenameExpert
    | DeleteExpert
    | ReadExpert
    | EndSession
    | Steer
    | Sweep
    | Trial
    | LayersOff
)
Event = (
    Queued
    | Classified
    | Mixed
    | Reading
    | Steered
    | Tokens
    | Compared
    | NextTokens
    | SweepTexts
    | Swept
    | Tried
    | LayersMeasured
    | HeatmapData
    | ComponentData
    | ComponentsMeasured
    | Likeness
    | SearchEstimate
    | SearchBegan
    | Generation
    | Adapted
    | ScoredSoFar
    | Decision
    | ExpertSaved
    | ExpertDeleted
    | ExpertFile
    | Failed
    | Done
)

__all__ = [
    "AddExpert",
    "Adapt",
    "Adapted",
    "AnswerSoFar",
    "Ask",
    "Begun",
    "Cancel",
    "Classified",
    "CompareExperts",
    "Compared",
    "Component",
    "ComponentData",
    "Components",
    "ComponentsMeasured",
    "Decision",
    "DeleteExpert",
    "Done",
    "EXPERT_NAME",
    "EndSession",
    "Ending",
    "EstimateAdapt",
    "Event",
    "ExpertDeleted",
    "ExpertFile",
    "ExpertInfo",
    "ExpertSaved",
    "Experts",
    "Failed",
    "Generation",
    "Heatmap",
    "HeatmapData",
    "MOST_LOGPROBS",
    "MOST_SAMPLES",
    "LayersMeasured",
    "LayersOff",
    "Likeness",
    "Measured",
    "Mixed",
    "NextToken",
    "NextTokens",
    "PANES",
    "Queued",
    "ReadExpert",
    "Reading",
    "RenameExpert",
    "Request",
    "SaveExpert",
    "ScoreMixtures",
    "ScoredSoFar",
    "SearchBegan",
    "SearchEstimate",
    "SessionEnded",
    "Standing",
    "Status",
    "Steer",
    "Steered",
    "TENANT",
    "TENANT_NAME",
    "TokenScore",
    "Sweep",
    "SweepTexts",
    "Swept",
    "SweptColumn",
    "TokenShift",
    "Tokens",
    "Written",
    "check_not_reserved",
    "owner_of",
    "tokens_hash",
    "Trial",
    "Tried",
]
