"""Which columns of a line-up answer which questions rightly: one answer alone proves nothing."""

from collections.abc import Callable, Generator, Mapping, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.config import AnswerSettings
from t2ui.errors import InputError
from t2ui.evaluation.statistics import paired_p, wilson
from t2ui.few_shot.examples import answers
from t2ui.inference.decoding import Decoder
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.lineup import asked, plans_of
from t2ui.inference.prompt_store import PromptStore
from t2ui.lineup import Lineup
from t2ui.models.running import tokens_at_once
from t2ui.records import Standing
from t2ui.svf.adapter import adapted
from t2ui.svf.expert import Expert

MOST_QUESTIONS = 64
BATCH_ROWS = 32  # answers that are written at once, about

Right = Callable[[str, str], bool]  # (text, right answer)


def trial(
    dispatchers: Dispatchers,
    questions: Sequence[tuple[str, str]],
    experts: Mapping[str, Expert],
    lineup: Lineup,
    settings: AnswerSettings,
    right: Right = answers,
) -> Generator[tuple[Standing, ...] | None, None, None]:
    """Let every column answer every question; pauses after each decode step: with how the columns
    do so far where answers have ended, otherwise with None.

    Args:
        questions: (prompt, right answer).
        settings: how each is answered; their `mixture` and `dispatch` are not used.
        right: whether a text gives the right answer; see `examples.answers`.

    Raises:
        InputError: no questions or too many, or what `plans_of` raises.
    """
    if not 1 <= len(questions) <= MOST_QUESTIONS:
        raise InputError(
            f"There are {len(questions)} questions; expected 1 to {MOST_QUESTIONS}, each with its "
            "right answer."
        )
    adapter, tokenizer = dispatchers.adapter, dispatchers.tokenizer
    plans = plans_of(dispatchers, questions[0][0], experts, lineup, settings)
    decoder = Decoder(adapter.model, tokenizer, adapter, store=PromptStore())
    texts: dict[tuple[int, int], str] = {}
    found: list[list[bool | None]] = [[None] * len(questions) for _ in plans]
    waiting = list(range(len(questions)))
    while waiting or len(decoder):
        # question by question: a column's first answers come early, and equal prompts are read once
        while waiting and len(decoder) + len(plans) <= max(BATCH_ROWS, len(plans)):
            place = waiting.pop(0)
            decoder.add(
                asked(plan, questions[place][0], tokenizer).row((place, column))
                for column, plan in enumerate(plans)
            )
        ended = False
        for step in decoder.step(tokens_at_once(adapter.model)):
            texts[step.key] = texts.get(step.key, "") + step.text
            if step.finished:
                ended, (place, column) = True, step.key
                found[column][place] = right(texts.pop(step.key), questions[place][1])
        yield tuple(_standing(own, found[0]) for own in found) if ended else None


def try_questions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[tuple[str, str]],
    experts: Mapping[str, Expert],
    lineup: Lineup,
    settings: AnswerSettings | None = None,
) -> tuple[Standing, ...]:
    """`trial` to its end, on a model that the caller holds: how each column does.

    Raises:
        InputError: what `trial` raises.
    """
    with adapted(model) as adapter:
        for expert in experts.values():
            adapter.check(expert, allow_transfer=True)
        dispatchers = Dispatchers(model, tokenizer, adapter)
        pieces = trial(dispatchers, questions, experts, lineup, settings or AnswerSettings())
        *_, last = filter(None, pieces)
    return last


def _standing(right: Sequence[bool | None], first: Sequence[bool | None]) -> Standing:
    """One column beside the first, on the questions that both have answered."""
    done = [one for one in right if one is not None]
    pairs = [
        (other, own)
        for own, other in zip(right, first, strict=True)
        if own is not None and other is not None
    ]
    p = None if right is first else paired_p([b for b, _ in pairs], [a for _, a in pairs])
    return Standing(tuple(right), wilson(sum(done), len(done)), p)
