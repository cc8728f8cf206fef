"""Log-probabilities of given tokens under the model as it is adapted at the moment.

Knows token ids, nothing about text, experts or sampling. Gradients flow where they are enabled.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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


@contextmanager
def contiguous_head(model: nn.Module) -> Iterator[None]:
    """Hand the output head a contiguous input inside the block.

    transformers slices the last positions of a batch; the CPU's matmul then copies the head's
    whole weight once a row, which takes longer than the rest of the model.
    """
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, args: (args[0].contiguous(), *args[1:]))
    try:
        yield
    finally:
        hook.remove()


def option_log_likelihoods(
    model: nn.Module, questions: Sequence[Question]
) -> list[Tensor]:  # one (options,) float32 a question
    """Σ_t log π(o_t | prompt, o_<t) for every option of every question, in one forward pass.

    The options of a question share its prompt: they lie behind one another in one row, and an
    attention pattern keeps each from seeing the others.
    """
    rows = [_pack(question) for question in questions]
    left = max(len(row.prompt) for row in rows)
    right = max(len(row.tail) for row in rows)
    length = left + right
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    positions = torch.zeros_like(ids)
    allowed = torch.eye(length, dtype=torch.bool).repeat(len(rows), 1, 1)
    for i, row in enumerate(rows):
        start, end = left - len(row.prompt), left + len(row.tail)
        ids[i, start:end] = torch.tensor([*row.prompt, *row.tail])
        positions[i, start:end] = torch.tensor(row.positions)
        allowed[i, start:end, start:end] = row.allowed
    device = model.device
    with contiguous_head(model):
        logits = model(
            input_ids=ids.to(device),
            position_ids=positions.to(device),
            attention_mask=_attention(model, allowed, positions, positions),
            use_cache=False,
            logits_to_keep=right + 1,
        ).logits
    return [
        torch.stack(
            [
                summed_log_likelihood(logits[i, list(columns)], option)
                for option, columns in zip(question.options, row.predicting, strict=True)
            ]
        )
        for i, (question, row) in enumerate(zip(questions, rows, strict=True))
    ]


def option_logits(model: nn.Module, question: Question, cache) -> list[Tensor]:
    """Logits that predict each token of each option, behind a cached prefix.

    Args:
        question: its prompt continues what the cache holds.
        cache: a transformers DynamicCache of one row; holds the prompt too afterwards, and must
            be cropped by the caller.

    Returns:
        One (len(option), vocabulary) float32 tensor an option.
    """
    row = _pack(question)
    device, past = model.device, cache.get_seq_length()
    ids = torch.tensor([[*row.prompt, *row.tail]], device=device)
    seen = torch.cat([torch.ones(len(row.allowed), past, dtype=torch.bool), row.allowed], dim=1)
    positions = torch.tensor([row.positions]) + past
    seen_positions = torch.cat([torch.arange(past)[None], positions], dim=1)
    with contiguous_head(model):
        logits = model(
            input_ids=ids,
            position_ids=positions.to(device),
            attention_mask=_attention(model, seen[None], positions, seen_positions),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=len(row.tail) + 1,
        ).logits[0].float()  # fmt: skip
    return [logits[list(columns)] for columns in row.predicting]


def completion_logits(model: nn.Module, prompt: Ids, completion: Ids) -> Tensor:
    """Logits that predict each completion token: (len(completion), vocabulary) float32."""
    ids = torch.tensor([[*prompt, *completion[:-1]]], device=model.device)
    with contiguous_head(model):
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(completion)).logits
    return logits[0].float()


def summed_log_likelihood(logits: Tensor, option: Ids) -> Tensor:  # (T, V), T ids -> ()
    """Σ_t log π(o_t | …) of one option from the logits that predict its tokens."""
    target = torch.tensor(option, device=logits.device)
    return logits.float().log_softmax(-1).gather(1, target[:, None]).sum()


@dataclass(frozen=True)
class _Packed:
    """A prompt and its options' tails in one row. A tail leaves out its option's last token,
    which is only predicted, never read."""

    prompt: tuple[int, ...]
    tail: tuple[int, ...]
    positions: list[int]  # of prompt and tail
    allowed: Tensor  # (T, T) bool: query t may see key s
    predicting: tuple[tuple[int, ...], ...]  # per option: columns of the kept logits


def _pack(question: Question) -> _Packed:
    start = len(question.prompt)
    tail: list[int] = []
    positions = list(range(start))
    predicting, spans = [], []
    for option in question.options:
        first = len(tail)
        tail.extend(option[:-1])
        positions.extend(range(start, start + len(option) - 1))
        predicting.append((0, *range(first + 1, len(tail) + 1)))
        spans.append((start + first, start + len(tail)))
    size = start + len(tail)
    allowed = torch.zeros(size, size, dtype=torch.bool)
    allowed[:, :start] = True
    for begin, end in spans:
        allowed[begin:end, begin:end] = True
    allowed &= torch.ones(size, size, dtype=torch.bool).tril()
    return _Packed(question.prompt, tuple(tail), positions, allowed, tuple(predicting))


def _attention(
    model: nn.Module,
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


def _additive(allowed: Tensor, model: nn.Module) -> Tensor:  # (B, T, S) -> (B, 1, T, S)
    """0 where attention is allowed, the dtype's least value elsewhere."""
    zeros = torch.zeros(allowed.shape, dtype=model.dtype)
    return zeros.masked_fill(~allowed, torch.finfo(model.dtype).min)[:, None].to(model.device)
