"""Few-shot adaptation: the coefficients α of a mixture, found from a few examples (paper, 3.2).

Searches on one part of the examples and reports on another: the report never uses an example that
the search has seen. Knows no worker, no files and no page; `search` pauses after every batch, so
that a worker can do other work meanwhile.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.catalogue import SEARCH_METHODS
from t2ui.cluster.executor import Executor
from t2ui.config import FewShotConfig
from t2ui.errors import InputError
from t2ui.few_shot.scoring import Right, Scorer, ScoreTable
from t2ui.few_shot.search import MixtureSearch
from t2ui.inference.decoding import end_tokens
from t2ui.models.chat import answer_tail
from t2ui.records import Generation
from t2ui.svf.adapter import Adapter, adapted
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, mix, scope_of
from t2ui.tasks.base import Example
from t2ui.tasks.batching import shuffled

FEW = 4  # with at least so many examples a part is held out; with fewer, leave-one-out
Item = TypeVar("Item")
Reporting = Generator[None | Generation, None, dict[str, Any]]  # pauses as `search` does


@dataclass(frozen=True)
class FewShotResult:
    """The mixture, and how it does on examples that its search did not see.

    `before` (base model) and `after` are mean log-likelihoods for the objective "likelihood",
    shares of right answers for "reward", and their sum for "both". They are None where nothing
    could be held out, and the counts also where nothing was generated.
    """

    mixture: Mixture
    set_by: str  # "CEM, generation 6"
    generations: tuple[Generation, ...]
    seconds: float
    tokens: int  # processed; a backward pass counts as two forward passes
    forward_passes: int
    report: str  # which examples the scores below are from
    before: float | None = None
    after: float | None = None
    right_before: int | None = None
    right_after: int | None = None
    n: int = 0  # examples that the scores are from


def search(
    adapter: Adapter,
    tokenizer: PreTrainedTokenizerBase | None,
    examples: Sequence[Example],
    experts: Mapping[str, Expert],
    config: FewShotConfig | None = None,
    right: Right | None = None,
    stopped: Callable[[], bool] = lambda: False,
    executor: Executor | None = None,
) -> Iterator[None | Generation | FewShotResult]:
    """Search; yields None after every batch, each Generation, and the FewShotResult last.

    Between two yields the model is the base model, and torch's modes are as the caller set them.

    Args:
        tokenizer: needed for answers that are generated.
        experts: those to mix, by name; leave out the dispatchers, which answer nothing.
        right: judges a generated open answer: (text, answer) -> bool.
        stopped: when it returns True, the search ends with the best so far.
        executor: who runs the members, see `cluster`; by default this process.

    Raises:
        InputError: no examples, no experts, one that does not fit, an example longer than the
            context, open answers without `right` or a tokenizer where the objective needs them,
            or only NaN scores.
    """
    config = config or FewShotConfig()
    tail = tail_of(tokenizer, experts, config)
    scorer = Scorer(adapter, tokenizer, config, right, tail, executor)
    scorer.check(examples)
    if tokenizer is not None:
        ends = tuple(end_tokens(adapter.model, tokenizer))
        examples = [_ending(example, ends) for example in examples]
    mixture_search = MixtureSearch(scorer, experts, stopped)
    seen, held = split(examples, config)
    found = yield from mixture_search.find(seen)
    mixture = mixture_search.mixture(found)
    if held:
        measured = yield from _on_held_out(mixture_search, mixture, held, len(examples))
    else:
        measured = yield from _leaving_one_out(mixture_search, examples)
    when = f"generation {found.number}" if found else "stopped before its first generation"
    yield FewShotResult(
        mixture,
        f"{SEARCH_METHODS[config.found_by].words}, {when}",
        tuple(mixture_search.generations),
        mixture_search.seconds,
        scorer.tokens,
        scorer.forward_passes,
        **measured,
    )


def _ending(example: Example, ends: tuple[int, ...]) -> Example:
    """An open example whose answer may end with whatever ends one when it is decoded: experts that
    were trained to end theirs otherwise than the chat format are not wrong by that alone."""
    if len(example.question.options) != 1:
        return example
    return replace(example, question=replace(example.question, ends=ends))


def tail_of(
    tokenizer: PreTrainedTokenizerBase | None, experts: Mapping[str, Expert], config: FewShotConfig
) -> int | None:
    """How many last tokens of a prompt the mixtures act on, in the scope that is asked for or that
    all these experts were trained for; None for scope "all", every token.

    Raises:
        InputError: scope "answer" without a tokenizer, which knows where a prompt's text ends.
    """
    if scope_of(Mixture(dict.fromkeys(experts, 1.0), scope=config.scope), experts) == "all":
        return None
    if tokenizer is None:
        raise InputError("Scope answer needs the model's tokenizer: give one, or choose scope all.")
    return answer_tail(tokenizer)


def few_shot_adapt(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    experts: Mapping[str, Expert],
    config: FewShotConfig | None = None,
    right: Right | None = None,
    executor: Executor | None = None,
) -> FewShotResult:
    """Find a mixture of experts for a model that the caller holds; see `search`."""
    with adapted(model) as adapter:
        *_, result = search(adapter, tokenizer, examples, experts, config, right, executor=executor)
        assert isinstance(result, FewShotResult)  # the last that `search` yields
        return result


def split(examples: Sequence[Item], config: FewShotConfig) -> tuple[list[Item], list[Item]]:
    """What the search sees, and what is held out: nothing of fewer than `FEW` examples."""
    if not config.held_out or len(examples) < FEW:
        return list(examples), []
    count = min(max(1, round(config.held_out * len(examples))), len(examples) - 1)
    order = shuffled(list(examples), config.seed)
    return order[count:], order[:count]


def _on_held_out(
    mixture_search: MixtureSearch, mixture: Mixture, held: Sequence[Example], of: int
) -> Reporting:
    table = yield from _compare(mixture_search, mixture, held)
    report = f"held-out {len(held)} of {of} examples"
    return {"report": report, **_summary([table], mixture_search.config.objective)}


def _leaving_one_out(mixture_search: MixtureSearch, examples: Sequence[Example]) -> Reporting:
    """For every example: search once more without it, and score on it."""
    if not mixture_search.config.held_out:
        return {"report": "nothing held out"}
    if len(examples) == 1:
        return {"report": "nothing held out: there is only one example"}
    tables = []
    for i, example in enumerate(examples):
        rest = [*examples[:i], *examples[i + 1 :]]
        found = yield from mixture_search.find(rest, shown=False)
        if mixture_search.stopped():
            return {"report": "nothing held out: stopped before leave-one-out was done"}
        tables.append(
            (yield from _compare(mixture_search, mixture_search.mixture(found), [example]))
        )
    report = f"leave-one-out over {len(examples)} examples"
    return {"report": report, **_summary(tables, mixture_search.config.objective)}


def _compare(
    mixture_search: MixtureSearch, mixture: Mixture, examples: Sequence[Example]
) -> Generator[None, None, ScoreTable]:
    """Scores of the base model and of the mixture, mixed as sliders and files mix it."""
    return (
        yield from mixture_search.scorer.table(
            [None, mix(mixture_search.experts, mixture)], examples
        )
    )


def _summary(tables: Sequence[ScoreTable], objective: str) -> dict[str, Any]:
    table = ScoreTable(
        *(
            np.concatenate([getattr(t, part.name) for t in tables], axis=1)
            for part in fields(ScoreTable)
        )
    )
    before, after = table.reported(objective).tolist()
    counts = [None if np.isnan(row).any() else int(row.sum()) for row in table.right]
    return {
        "before": before,
        "after": after,
        "right_before": counts[0],
        "right_after": counts[1],
        "n": table.right.shape[1],
    }
