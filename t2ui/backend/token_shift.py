"""What a mixture changes in an answer, token by token: it is read by both models.

Long texts are read in pieces: generators that yield None between two pieces and return what they
found, so that other people's answers can go on in between.

Knows token ids, scales and the events that carry the result; nothing of requests or processes.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.inference.differences import first_difference, token_texts
from t2ui.inference.prompt_store import PromptStore
from t2ui.inference.rows import text_of
from t2ui.messages import Compared, TokenShift
from t2ui.models.batch_cache import RoomyCache
from t2ui.models.likelihood import completion_logits
from t2ui.models.running import answering, by_head, cached
from t2ui.svf.adapter import Adapter, Setting

T = TypeVar("T")
Pieces = Generator[None, None, T]

CANDIDATES = 3  # that are shown for each token of an answer
# Logits of each model held at once: 0.25 GB of float32. A longer answer is compared up to here.
MAX_LOGITS = 2**26


@dataclass(frozen=True)
class Reader:
    """By whom a text is read: every token as the scales say, or, with a `tail`, a prompt but for
    so many last tokens by the base model (scope "answer"; see `inference.rows.Row`)."""

    adapter: Adapter
    tail: int | None = None
    store: PromptStore = field(default_factory=lambda: PromptStore(limit=0))  # what the base read


def compare(
    tokenizer: PreTrainedTokenizerBase,
    reader: Reader,
    prompt_ids: Sequence[int],
    scales: Mapping[str, Tensor],
    answers: tuple[Sequence[int], Sequence[int]],
    tokens: int,
    states: Tensor | None = None,
) -> Pieces[Compared]:
    """Read the adapted answer with both models, each token in the context of those before it.

    Args:
        scales: those of the adapted answer; {} is the base model.
        answers: token ids of the base and of the adapted answer, without end tokens.
        tokens: how many are read at once.
        states: (T, hidden), what the adapted answer's tokens were predicted from, where that is
            known: they need not be read again.
    """
    base_answer, adapted_answer = answers
    model = reader.adapter.model
    longest = max(1, MAX_LOGITS // model.get_output_embeddings().weight.shape[0])
    read = list(adapted_answer[:longest])
    shifts: tuple[TokenShift, ...] = ()
    if read:
        text = (prompt_ids, read)
        if states is None:
            adapted = base = yield from log_probabilities(reader, text, scales, tokens)  # (T, V)
        else:
            adapted = base = yield from _of_states(model, states[: len(read)], tokens)
        if scales:
            base = yield from log_probabilities(reader, text, {}, tokens)
        apart = (adapted.exp() * (adapted - base)).sum(-1).clamp(min=0)  # (T,) KL, nats
        rows = zip(
            token_texts(tokenizer, read),
            _said(tokenizer, read, adapted),
            _said(tokenizer, read, base),
            apart.tolist(),
            strict=True,
        )
        shifts = tuple(
            TokenShift(text, logprob, base_logprob, best, base_best, kl)
            for text, (logprob, best), (base_logprob, base_best), kl in rows
        )
    return Compared(shifts, first_difference(base_answer, adapted_answer))


def _said(
    tokenizer: PreTrainedTokenizerBase, completion: Sequence[int], log_probs: Tensor
) -> list[tuple[float, tuple[tuple[str, float], ...]]]:
    """Each token's log-probability of (T, V), and the likeliest candidates at its place."""
    chosen = torch.tensor(completion, device=log_probs.device)
    own = log_probs.gather(1, chosen[:, None])[:, 0].tolist()
    best = log_probs.topk(min(CANDIDATES, log_probs.shape[1]))
    likeliest = set(best.indices.flatten().tolist())
    names = {token: text_of(tokenizer, [token], special=True) for token in likeliest}
    rows = zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
    return [
        (logprob, tuple((names[t], p) for t, p in zip(tokens, probabilities, strict=True)))
        for logprob, (tokens, probabilities) in zip(own, rows, strict=True)
    ]


def _of_states(model: PreTrainedModel, states: Tensor, tokens: int) -> Pieces[Tensor]:  # (T, V)
    """log π of the tokens that were predicted from these states, (T, hidden)."""
    found = [by_head(model, states[:tokens]).log_softmax(-1)]
    for start in range(tokens, len(states), tokens):
        yield
        found.append(by_head(model, states[start : start + tokens]).log_softmax(-1))
    return torch.cat(found)


def log_probabilities(
    reader: Reader,
    text: tuple[Sequence[int], Sequence[int]],  # prompt, completion
    scales: Mapping[str, Tensor],
    tokens: int,
) -> Pieces[Tensor]:  # (T, V)
    """log π(token | what is before it) at every place of a completion, (T, V) float32 on the
    model's device, under these scales ({}: the base model).

    Args:
        tokens: how many are read at once.
    """
    (prompt, completion), cache, adapter = text, None, reader.adapter
    if reader.tail and (head := prompt[: -reader.tail]):
        cache = yield from _by_base(reader, head, tokens)
        prompt = prompt[len(head) :]
    elif not scales:
        read, cache = reader.store.beginning(prompt[:-1], len(prompt) + len(completion))
        prompt = prompt[read:]
    pieces = completion_logits(adapter.model, prompt, completion, tokens, cache)
    setting: Setting | None = None
    while True:
        # set for one piece at a time: work that comes in between sets other scales
        with torch.inference_mode(), adapter.kept():
            if setting is None:
                adapter.set(scales)
                setting = adapter.current()
            else:
                adapter.restore(setting)
            try:
                next(pieces)
            except StopIteration as ended:
                return ended.value.log_softmax(-1)
        yield


def _by_base(reader: Reader, ids: Sequence[int], tokens: int) -> Pieces[RoomyCache]:
    """What the base model has read, in pieces or from the store: a cache of one row."""
    model = reader.adapter.model
    done, found = reader.store.beginning(ids, len(ids))
    cache = RoomyCache(len(ids)) if found is None else found
    while done < len(ids):
        piece = list(ids[done : done + tokens])
        with torch.inference_mode(), reader.adapter.disabled(), answering(model):
            model(
                input_ids=torch.tensor([piece], device=model.device),
                **cached(model, cache),
                use_cache=True,
                logits_to_keep=1,
            )
        done += len(piece)
        yield
    reader.store.put(ids, cache)
    return cache
