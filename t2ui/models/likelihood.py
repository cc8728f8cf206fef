"""Log-probabilities of given tokens under the model as it is adapted at the moment.

Knows token ids, nothing about text, experts or sampling. Gradients flow where they are enabled.
"""

import inspect
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from t2ui.errors import InputError
from t2ui.model_lock import locked
from t2ui.wrapped_models import unwrapped

if TYPE_CHECKING:
    from transformers import Cache, DynamicCache, PreTrainedModel

Ids = Sequence[int]


@dataclass(frozen=True)
class Question:
    """A prompt and the continuations that are compared. The ids are never re-tokenised."""

    prompt: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """What one forward pass over the question costs, in tokens."""
        return len(self.prompt) + sum(len(o) - 1 for o in self.options)


class Asked(Protocol):
    """Whatever holds a question: an example, a loss term."""

    @property
    def question(self) -> Question: ...


Item = TypeVar("Item", bound=Asked)


@contextmanager
def answering(model: nn.Module, dropout: bool = False) -> Iterator[None]:
    """A model as it answers, for this thread alone inside the block: dropout off, as in eval mode,
    and the output head's input contiguous.

    Afterwards every module is in the mode that it was in. Other threads wait, see `model_lock`.

    Args:
        dropout: leave the mode as it is: for a training step's forward pass.
    """
    with locked(model), _without_dropout(model, dropout), contiguous_head(model):
        yield


@contextmanager
def _without_dropout(model: nn.Module, dropout: bool) -> Iterator[None]:
    in_train_mode = [] if dropout else [m for m in model.modules() if m.training]
    for module in in_train_mode:
        module.training = False
    try:
        yield
    finally:
        for module in in_train_mode:
            module.training = True


@contextmanager
def contiguous_head(model: nn.Module) -> Iterator[None]:
    """Hand the output head a contiguous input inside the block.

    transformers slices the last positions of a batch; the CPU's matmul then copies the head's
    whole weight once a row, which takes longer than the rest of the model.

    Raises:
        InputError: the model has no output head.
    """
    get = getattr(model, "get_output_embeddings", None)
    head = get() if get else None
    if head is None:
        raise InputError(
            f"{type(unwrapped(model)).__name__} has no output head, so it cannot answer: load the "
            "whole model, with load_model or AutoModelForCausalLM."
        )
    hook = head.register_forward_pre_hook(lambda _, args: (args[0].contiguous(), *args[1:]))
    try:
        yield
    finally:
        hook.remove()


def cached(model: nn.Module, cache: "Cache") -> dict[str, object]:
    """The argument that hands a model its cache: `cache` from transformers 5.24 on, which warns of
    `past_key_values`, the name before that."""
    named = "cache" in inspect.signature(type(unwrapped(model)).forward).parameters
    return {"cache" if named else "past_key_values": cache}


def option_log_likelihoods(
    model: "PreTrainedModel",
    questions: Sequence[Question],
    temperature: float = 1.0,
    dropout: bool = False,
) -> list[Tensor]:  # one (options,) float32 a question
    """Σ_t log π(o_t | prompt, o_<t) for every option of every question, in one forward pass.

    The options of a question share its prompt: they lie behind one another in one row, and an
    attention pattern keeps each from seeing the others.

    Args:
        temperature: that tokens are sampled at; π ∝ exp(logits / temperature).
        dropout: whether a model in train mode keeps its dropout, in a training step.
    """
    rows = [_pack([question]) for question in questions]
    starts = [len(question.prompt) for question in questions]
    left = max(starts)
    right = max(len(row.ids) - start for row, start in zip(rows, starts, strict=True))
    length = left + right
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    positions = torch.zeros_like(ids)
    allowed = torch.eye(length, dtype=torch.bool).repeat(len(rows), 1, 1)
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        span = slice(left - start, left - start + len(row.ids))
        ids[i, span] = torch.tensor(row.ids)
        positions[i, span] = torch.tensor(row.positions)
        allowed[i, span, span] = row.allowed
    device = model.device
    with answering(model, dropout):
        logits = model(
            input_ids=ids.to(device),
            position_ids=positions.to(device),
            attention_mask=_attention(model, allowed, positions, positions),
            use_cache=False,
            logits_to_keep=right + 1,
        ).logits
    columns = [
        [[c - start + 1 for c in option] for option in row.predicting[0]]
        for row, start in zip(rows, starts, strict=True)
    ]
    return [
        _scores(question, at, kept, temperature)
        for question, at, kept in zip(questions, columns, logits, strict=True)
    ]


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
) -> Iterator[tuple[list[Item], list[Tensor]]]:  # one (options,) float32 an item
    """Micro-batches of items, each with `option_log_likelihoods` of its questions.

    Args:
        tokens: that one forward pass holds at most; see `micro_batches`.
        within: entered anew for every forward pass, since a backward pass between two of them
            frees what they would share.
        dropout: whether a model in train mode keeps its dropout, in a training step.
    """
    for batch in micro_batches(items, tokens):
        with within():
            questions = [item.question for item in batch]
            scores = option_log_likelihoods(model, questions, temperature, dropout)
        yield batch, scores


class _Numbered(NamedTuple):
    question: Question
    number: int


def batched_log_likelihoods(
    model: "PreTrainedModel", questions: Sequence[Question], tokens: int, temperature: float = 1.0
) -> list[Tensor]:  # one (options,) float32 a question, in the questions' order
    """`option_log_likelihoods` in micro-batches of so many tokens."""
    found: dict[int, Tensor] = {}
    numbered = [_Numbered(question, number) for number, question in enumerate(questions)]
    for batch, scores in scored_batches(model, numbered, tokens, temperature):
        found |= {item.number: score for item, score in zip(batch, scores, strict=True)}
    return [found[number] for number in range(len(questions))]


def packed_log_likelihoods(
    model: "PreTrainedModel", questions: Sequence[Question], copies: int
) -> list[list[Tensor]]:  # copies × questions, each (options,) float32
    """The same for several questions in one row, of which there are `copies` equal ones.

    What all prompts begin with is read once a row, and nothing is padded. Copies are for models
    whose rows differ (`Adapter.rows`).
    """
    row = _pack(questions)
    columns = sorted({c for options in row.predicting for option in options for c in option})
    place = {column: i for i, column in enumerate(columns)}
    device, positions = model.device, torch.tensor([row.positions])
    pattern = _attention(model, row.allowed[None], positions, positions)
    with answering(model):
        logits = model(
            input_ids=torch.tensor([row.ids], device=device).expand(copies, -1),
            position_ids=positions.to(device).expand(copies, -1),
            attention_mask=_repeated(pattern, copies),
            use_cache=False,
            logits_to_keep=torch.tensor(columns, device=device),
        ).logits
    predicting = [[[place[c] for c in option] for option in options] for options in row.predicting]
    return [
        [_scores(question, at, kept) for question, at in zip(questions, predicting, strict=True)]
        for kept in logits
    ]


def question_packs(questions: Sequence[Question], tokens: int) -> list[list[int]]:
    """Places of questions that are worth a row together: neighbours in the order of their
    prompts, so that they begin alike, at most so many tokens a row (a longer one stays alone)."""
    packs: list[list[int]] = []
    for place in sorted(range(len(questions)), key=lambda i: questions[i].prompt):
        last = [*packs[-1], place] if packs else []
        if last and packed_tokens([questions[i] for i in last]) <= tokens:
            packs[-1] = last
        else:
            packs.append([place])
    return packs


def packed_tokens(questions: Sequence[Question]) -> int:
    """Tokens of these questions in one row."""
    shared = shared_length([question.prompt for question in questions])
    return shared + sum(question.tokens - shared for question in questions)


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
    row = _pack([question])
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
                attention_mask=_attention(model, seen[None], positions, seen_positions),
                **cached(model, cache),
                use_cache=True,
                logits_to_keep=len(row.ids) - first,
            )
            .logits[0]
            .float()
        )
    return [logits[[column - first for column in option]] for option in row.predicting[0]]


def completion_logits(
    model: "PreTrainedModel", prompt: Ids, completion: Ids, tokens: int
) -> Generator[None, None, Tensor]:
    """Logits that predict each completion token: (len(completion), vocabulary) float32.

    Reads in forward passes of at most so many tokens, and yields between two of them.

    The model may be set otherwise in between, and has to be set again before going on.
    """
    from transformers import DynamicCache

    ids = [*prompt, *completion[:-1]]
    first = len(prompt) - 1  # the logits behind it are kept
    cache, kept = DynamicCache(), []
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


def shared_length(prompts: Sequence[Ids]) -> int:
    """How many tokens all of them begin with."""
    alike = (len(set(tokens)) == 1 for tokens in zip(*prompts, strict=False))
    return sum(itertools.takewhile(bool, alike))


def summed_log_likelihood(
    logits: Tensor, option: Ids, temperature: float = 1.0
) -> Tensor:  # (T, V), T ids -> ()
    """Σ_t log π(o_t | …) of one option from the logits that predict its tokens."""
    target = torch.tensor(option, device=logits.device)
    return (logits.float() / temperature).log_softmax(-1).gather(1, target[:, None]).sum()


@dataclass(frozen=True)
class _Packed:
    """Questions in one row: what their prompts begin with, then of every question the rest of its
    prompt and its options' tails. A tail leaves out its option's last token, which is only
    predicted, never read."""

    ids: list[int]
    positions: list[int]
    allowed: Tensor  # (T, T) bool: query t may see key s
    predicting: list[list[list[int]]]  # of every question, per option: columns of the logits


def _pack(questions: Sequence[Question]) -> _Packed:
    shared = shared_length([question.prompt for question in questions])
    ids, positions = list(questions[0].prompt[:shared]), list(range(shared))
    size = packed_tokens(questions)
    allowed = torch.zeros(size, size, dtype=torch.bool)
    allowed[:, :shared] = True
    predicting = []
    for question in questions:
        own, start = len(ids), len(question.prompt)
        ids += question.prompt[shared:]
        positions += range(shared, start)
        tails = len(ids)
        last = tails - 1 if tails > own else shared - 1  # the prompt's last token
        columns = []
        for option in question.options:
            begin, end = len(ids), len(ids) + len(option) - 1
            ids += option[:-1]
            positions += range(start, start + len(option) - 1)
            allowed[begin:end, begin:end] = True
            columns.append([last, *range(begin, end)])
        allowed[own : len(ids), own:tails] = True
        predicting.append(columns)
    allowed &= torch.ones(size, size, dtype=torch.bool).tril()
    return _Packed(ids, positions, allowed, predicting)


def _scores(
    question: Question,
    columns: Sequence[Sequence[int]],  # which of the logits predict which option's tokens
    logits: Tensor,  # (columns, V)
    temperature: float = 1.0,
) -> Tensor:  # (options,)
    pairs = zip(question.options, columns, strict=True)
    return torch.stack(
        [summed_log_likelihood(logits[list(at)], option, temperature) for option, at in pairs]
    )


def _repeated(pattern: Tensor | dict[str, Tensor], copies: int) -> Tensor | dict[str, Tensor]:
    if isinstance(pattern, dict):
        return {kind: one.expand(copies, -1, -1, -1) for kind, one in pattern.items()}
    return pattern.expand(copies, -1, -1, -1)


def _attention(
    model: "PreTrainedModel",
    allowed: Tensor,  # (B, T, S) bool: query t may see key s
    queries: Tensor,  # (B, T) positions
    keys: Tensor,  # (B, S) positions
) -> Tensor | dict[str, Tensor]:
    """The pattern as transformers takes it, (B, 1, T, S); by kind of layer where a model has both.

    transformers leaves a given pattern as it is, so the sliding window has to be in it. Distances
    are between positions: options lie behind one another in a row, but each follows the prompt.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    full = _additive(allowed, model)
    if window is None:
        return full
    near = queries[:, :, None] - keys[:, None, :] < window
    sliding = _additive(allowed & near, model)
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention"])
    if len(kinds) > 1:
        return {"full_attention": full, "sliding_attention": sliding}
    return sliding if kinds == {"sliding_attention"} else full


def _additive(allowed: Tensor, model: "PreTrainedModel") -> Tensor:  # (B, T, S) -> (B, 1, T, S)
    """0 where attention is allowed, the dtype's least value elsewhere."""
    zeros = torch.zeros(allowed.shape, dtype=model.dtype)
    return zeros.masked_fill(~allowed, torch.finfo(model.dtype).min)[:, None].to(model.device)
