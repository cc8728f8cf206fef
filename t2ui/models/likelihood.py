"""Log-probabilities of given tokens under the model as it is adapted at the moment.

Knows token ids, nothing about text, experts or sampling. Gradients flow where they are enabled.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from t2ui.models.questions import (
    Ids,
    Question,
    attention_pattern,
    pack,
    packed_tokens,
    question_packs,
    repeated,
)
from t2ui.models.read_prompts import ReadPrompts, behind
from t2ui.models.running import BaseReading, answering, cached

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel


class Asked(Protocol):
    """Whatever holds a question: an example, a loss term."""

    @property
    def question(self) -> Question: ...


Item = TypeVar("Item", bound=Asked)

# Of a row of several questions, which share the beginning of their prompts. Attention costs grow
# with the square of a row's length: in longer rows they outweigh what sharing saves.
PACK_TOKENS = 512
WORTH_PACKING = 0.8  # of the tokens of rows with one question each, or fewer


def option_log_likelihoods(
    model: "PreTrainedModel",
    questions: Sequence[Question],
    temperature: float = 1.0,
    dropout: bool = False,
    reading: BaseReading | None = None,
) -> list[Tensor]:  # one (options,) float32 a question
    """Σ_t log π(o_t | prompt, o_<t) for every option of every question, in one forward pass.

    The options of a question share its prompt: they lie behind one another in one row, and an
    attention pattern keeps each from seeing the others.

    Args:
        temperature: that tokens are sampled at; π ∝ exp(logits / temperature).
        dropout: whether a model in train mode keeps its dropout, in a training step.
        reading: for scope "answer": prompts but their tails are read by the base model, in a
            forward pass of its own, through which no gradient flows.
    """
    heads = [q.prompt[: -reading.tail] if reading else () for q in questions]
    left = max(map(len, heads))  # columns that the base model reads
    cache = _read_heads(model, heads, left, reading) if reading and left else None
    own = [q.prompt[len(head) :] for q, head in zip(questions, heads, strict=True)]
    rows = [pack([Question(p, q.options)]) for p, q in zip(own, questions, strict=True)]
    most = max(map(len, own))  # prompts are padded on their left, what follows on its right
    right = max(len(row.ids) - len(p) for row, p in zip(rows, own, strict=True))
    ids = torch.zeros(len(rows), most + right, dtype=torch.long)
    positions = torch.zeros(len(rows), left + most + right, dtype=torch.long)
    allowed = torch.eye(most + right, left + most + right, dtype=torch.bool)
    allowed = allowed.roll(left, 1).repeat(len(rows), 1, 1)  # padding sees itself
    for i, (row, head, prompt) in enumerate(zip(rows, heads, own, strict=True)):
        first = most - len(prompt)
        span, behind = slice(first, first + len(row.ids)), slice(left + first, None)
        ids[i, span] = torch.tensor(row.ids)
        positions[i, left - len(head) : left] = torch.arange(len(head))
        positions[i, behind][: len(row.ids)] = torch.tensor(row.positions) + len(head)
        allowed[i, span, left - len(head) : left] = True
        allowed[i, span, behind][:, : len(row.ids)] = row.allowed
    device = model.device
    with answering(model, dropout):
        logits = model(
            input_ids=ids.to(device),
            position_ids=positions[:, left:].to(device),
            attention_mask=attention_pattern(model, allowed, positions[:, left:], positions),
            **({} if cache is None else cached(model, cache)),
            use_cache=cache is not None,
            logits_to_keep=right + 1,
        ).logits
    columns = [
        [[c - len(prompt) + 1 for c in option] for option in row.predicting[0]]
        for row, prompt in zip(rows, own, strict=True)
    ]
    return [
        _scores(question, at, kept, temperature)
        for question, at, kept in zip(questions, columns, logits, strict=True)
    ]


@torch.no_grad()
def _read_heads(
    model: "PreTrainedModel", heads: Sequence[Ids], length: int, reading: BaseReading
) -> "DynamicCache":
    """What the base model has read of some prompts, padded on the left to so many columns."""
    from transformers import DynamicCache

    cache = DynamicCache()
    ids = torch.zeros(len(heads), length, dtype=torch.long)
    seen = torch.zeros_like(ids)
    for i, head in enumerate(heads):
        ids[i, length - len(head) :] = torch.tensor(head, dtype=torch.long)
        seen[i, length - len(head) :] = 1
    device = model.device
    with reading.base(), answering(model):
        model(
            input_ids=ids.to(device),
            attention_mask=seen.to(device),
            position_ids=(seen.cumsum(1) - 1).clamp(min=0).to(device),
            **cached(model, cache),
            use_cache=True,
            logits_to_keep=1,
        )
    return cache


def micro_batches(items: Iterable[Item], tokens: int) -> Iterator[list[Item]]:
    """Items with questions of similar length together, at most so many tokens per batch, padding
    counted; a longer question stays alone."""
    batch: list[Item] = []
    left = right = 0  # prompts are padded on their left, what follows them on its right
    for item in sorted(items, key=lambda item: item.question.tokens):
        prompt = len(item.question.prompt)
        rest = item.question.tokens - prompt
        left, right = max(left, prompt), max(right, rest)
        if batch and (left + right) * (len(batch) + 1) > tokens:
            yield batch
            batch, left, right = [], prompt, rest
        batch.append(item)
    if batch:
        yield batch


def scored_batches(
    model: "PreTrainedModel",
    items: Iterable[Item],
    tokens: int,
    temperature: float = 1.0,
    within: Callable[[], AbstractContextManager] = nullcontext,
    dropout: bool = False,
    reading: BaseReading | None = None,
) -> Iterator[tuple[list[Item], list[Tensor]]]:  # one (options,) float32 an item
    """Micro-batches of items, each with `option_log_likelihoods` of its questions.

    Short questions that begin alike lie several in a row, if that saves enough.

    Args:
        tokens: that one forward pass holds at most; see `micro_batches`.
        within: entered anew for every forward pass, since a backward pass between two of them
            frees what they would share.
        dropout, reading: see `option_log_likelihoods`.
    """
    batches, packed = planned_batches(items, tokens, alone=reading is not None)
    for batch in batches:
        questions = [item.question for item in batch]
        with within():
            scores = batch_scores(model, questions, packed, temperature, dropout, reading)
        yield batch, scores


def planned_batches(
    items: Iterable[Item], tokens: int, alone: bool = False
) -> tuple[list[list[Item]], bool]:
    """The batches of `scored_batches`, and whether the questions of one share a row.

    Args:
        alone: every question has a row of its own, as the base model's reading needs it.
    """
    items = list(items)
    packs = [] if alone else _worth_packing(items, tokens)
    return packs or list(micro_batches(items, tokens)), bool(packs)


def batch_scores(
    model: "PreTrainedModel",
    questions: Sequence[Question],
    packed: bool,
    temperature: float = 1.0,
    dropout: bool = False,
    reading: BaseReading | None = None,
) -> list[Tensor]:  # one (options,) float32 a question
    """`option_log_likelihoods` of one batch that `planned_batches` has made."""
    if not packed:
        return option_log_likelihoods(model, questions, temperature, dropout, reading)
    (scores,) = packed_log_likelihoods(
        model, questions, 1, temperature=temperature, dropout=dropout
    )
    return scores


def _worth_packing(items: list[Item], tokens: int) -> list[list[Item]]:
    """The items by the rows that their questions share; none where that saves too little."""
    questions = [item.question for item in items]
    packs = question_packs(questions, min(tokens, PACK_TOKENS))
    packed = sum(packed_tokens([questions[i] for i in pack]) for pack in packs)
    alone = sum(question.tokens for question in questions)
    return [[items[i] for i in pack] for pack in packs] if packed <= WORTH_PACKING * alone else []


class _Numbered(NamedTuple):
    question: Question
    number: int


def batched_log_likelihoods(
    model: "PreTrainedModel",
    questions: Sequence[Question],
    tokens: int,
    temperature: float = 1.0,
    reading: BaseReading | None = None,
) -> list[Tensor]:  # one (options,) float32 a question, in the questions' order
    """`option_log_likelihoods` in micro-batches of so many tokens."""
    found: dict[int, Tensor] = {}
    numbered = [_Numbered(question, number) for number, question in enumerate(questions)]
    for batch, scores in scored_batches(model, numbered, tokens, temperature, reading=reading):
        found |= {item.number: score for item, score in zip(batch, scores, strict=True)}
    return [found[number] for number in range(len(questions))]


def packed_log_likelihoods(
    model: "PreTrainedModel",
    questions: Sequence[Question],
    copies: int,
    read: ReadPrompts | None = None,
    tail: int = 0,
    temperature: float = 1.0,
    dropout: bool = False,
) -> list[list[Tensor]]:  # copies × questions, each (options,) float32
    """The same for several questions in one row, of which there are `copies` equal ones.

    What all prompts begin with is read once a row, and nothing is padded. Copies are for models
    whose rows differ (`Adapter.rows`).

    Args:
        read: for scope "answer": the heads of the prompts, read by the base model up to their
            tails of so many tokens; all copies go on from there.
        temperature, dropout: see `option_log_likelihoods`.
    """
    row = behind(questions, read, tail) if read else pack(questions)
    columns = sorted({c for options in row.predicting for option in options for c in option})
    place = {column: i for i, column in enumerate(columns)}
    device, positions = model.device, torch.tensor([row.positions])
    keys = torch.tensor([[*(read.positions if read else ()), *row.positions]])
    pattern = attention_pattern(model, row.allowed[None], positions, keys)
    cache = read.cache(copies) if read and read.layers else None
    with answering(model, dropout):
        logits = model(
            input_ids=torch.tensor([row.ids], device=device).expand(copies, -1),
            position_ids=positions.to(device).expand(copies, -1),
            attention_mask=repeated(pattern, copies),
            **({} if cache is None else cached(model, cache)),
            use_cache=cache is not None,
            logits_to_keep=torch.tensor(columns, device=device),
        ).logits
    predicting = [[[place[c] for c in option] for option in options] for options in row.predicting]
    return [
        [
            _scores(question, at, kept, temperature)
            for question, at in zip(questions, predicting, strict=True)
        ]
        for kept in logits
    ]


def option_logits(
    model: "PreTrainedModel", question: Question, cache: "DynamicCache"
) -> list[Tensor]:
    """Logits that predict each token of each option, behind a cached prefix.

    Args:
        question: its prompt continues what the cache holds.
        cache: a transformers DynamicCache of one row; holds the prompt too afterwards, and must
            be cropped by the caller.

    Returns:
        One (len(option), vocabulary) float32 tensor an option.
    """
    row = pack([question])
    device, past = model.device, cache.get_seq_length()
    first = len(question.prompt) - 1  # the logits behind it are kept
    ids = torch.tensor([row.ids], device=device)
    seen = torch.cat([torch.ones(len(row.allowed), past, dtype=torch.bool), row.allowed], dim=1)
    positions = torch.tensor([row.positions]) + past
    seen_positions = torch.cat([torch.arange(past)[None], positions], dim=1)
    with answering(model):
        logits = (
            model(
                input_ids=ids,
                position_ids=positions.to(device),
                attention_mask=attention_pattern(model, seen[None], positions, seen_positions),
                **cached(model, cache),
                use_cache=True,
                logits_to_keep=len(row.ids) - first,
            )
            .logits[0]
            .float()
        )
    return [logits[[column - first for column in option]] for option in row.predicting[0]]


def completion_logits(
    model: "PreTrainedModel",
    prompt: Ids,
    completion: Ids,
    tokens: int,
    cache: "DynamicCache | None" = None,
) -> Generator[None, None, Tensor]:
    """Logits that predict each completion token: (len(completion), vocabulary) float32.

    Reads in forward passes of at most so many tokens, and yields between two of them.

    The model may be set otherwise in between, and has to be set again before going on.

    Args:
        cache: of one row, what stands before the prompt; grows.
    """
    from t2ui.models.batch_cache import RoomyCache

    ids = [*prompt, *completion[:-1]]
    first = len(prompt) - 1  # the logits behind it are kept
    cache, kept = RoomyCache(len(ids)) if cache is None else cache, []
    for start in range(0, len(ids), tokens):
        end = min(start + tokens, len(ids))
        keep = max(0, end - max(start, first))
        with answering(model):
            logits = model(
                input_ids=torch.tensor([ids[start:end]], device=model.device),
                **cached(model, cache),
                use_cache=True,
                logits_to_keep=max(keep, 1),
            ).logits[0]
        if keep:
            kept.append(logits[-keep:].float())
        if end < len(ids):
            yield
    return torch.cat(kept)


def summed_log_likelihood(
    logits: Tensor, option: Ids, temperature: float = 1.0, ends: Ids = ()
) -> Tensor:  # (T, V), T ids -> ()
    """Σ_t log π(o_t | …) of one option from the logits that predict its tokens.

    Args:
        ends: see `Question`.
    """
    target = torch.tensor(option, device=logits.device)
    likely = (logits.float() / temperature).log_softmax(-1)
    found = likely.gather(1, target[:, None])[:, 0]
    if option[-1] not in ends:
        return found.sum()
    return found[:-1].sum() + likely[-1, list(ends)].logsumexp(0)


def _scores(
    question: Question,
    columns: Sequence[Sequence[int]],  # which of the logits predict which option's tokens
    logits: Tensor,  # (columns, V)
    temperature: float = 1.0,
) -> Tensor:  # (options,)
    pairs = zip(question.options, columns, strict=True)
    return torch.stack(
        [
            summed_log_likelihood(logits[list(at)], option, temperature, question.ends)
            for option, at in pairs
        ]
    )
