"""What a mixture changes, token by token: the next token, and a whole answer read by both models.

Knows token ids, scales and the events that carry the result; nothing of requests or processes.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from t2ui.messages import Compared, TokenShift
from t2ui.models.likelihood import completion_logits
from t2ui.svf.adapter import Adapter

CANDIDATES = 3
# Logits held at once: 0.5 GB of float32. A longer answer is compared up to here only.
MAX_LOGITS = 2**27


def next_token_log_probs(
    model, adapter: Adapter, prompt_ids: Sequence[int], scales: Mapping[str, Tensor]
) -> Tensor:
    """log π(token | prompt) under these scales ({}: the base model): (V,) float32, CPU."""
    return _log_probs(model, adapter, prompt_ids, [0], scales)[0].cpu()


def candidates(
    tokenizer, base: Tensor, mixed: Tensor, k: int
) -> tuple[tuple[tuple[str, float, float], ...], float]:
    """The k tokens that are likeliest under either model, and how far the models are apart.

    Args:
        base, mixed: log-probabilities of the next token, (V,) float32.

    Returns:
        (token text, base probability, mixture probability) by the larger of both, and
        KL(mixture ‖ base) in nats.
    """
    larger = torch.maximum(base, mixed)
    chosen = larger.topk(min(k, larger.numel())).indices.tolist()
    rows = tuple(
        (tokenizer.decode([token]), float(base[token].exp()), float(mixed[token].exp()))
        for token in chosen
    )
    # xlogy-like: a token the mixture rules out adds nothing, whatever the base thinks of it
    terms = torch.where(mixed.exp() > 0, mixed.exp() * (mixed - base), 0.0)
    return rows, max(0.0, float(terms.sum()))


def compare(
    model,
    tokenizer,
    adapter: Adapter,
    prompt_ids: Sequence[int],
    scales: Mapping[str, Tensor],
    answers: tuple[Sequence[int], Sequence[int]],
) -> Compared:
    """Read the adapted answer with both models, each token in the context of those before it.

    Args:
        scales: those of the adapted answer; {} is the base model.
        answers: token ids of the base and of the adapted answer, without end tokens.
    """
    base_answer, adapted_answer = answers
    longest = max(1, MAX_LOGITS // model.get_output_embeddings().weight.shape[0])
    read = list(adapted_answer[:longest])
    shifts: tuple[TokenShift, ...] = ()
    if read:
        adapted = _read(model, tokenizer, adapter, (prompt_ids, read), scales)
        base = _read(model, tokenizer, adapter, (prompt_ids, read), {}) if scales else adapted
        texts = token_texts(tokenizer, read)
        shifts = tuple(
            TokenShift(text, logprob, base_logprob, best, base_best)
            for text, (logprob, best), (base_logprob, base_best) in zip(
                texts, adapted, base, strict=True
            )
        )
    return Compared(shifts, first_difference(base_answer, adapted_answer))


def first_difference(a: Sequence[int], b: Sequence[int]) -> int | None:
    """Index of the first token that differs; where one answer goes on, its first token beyond."""
    for i, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return i
    return None if len(a) == len(b) else min(len(a), len(b))


def token_texts(tokenizer, ids: Sequence[int]) -> list[str]:
    """The text that each token adds; joined, the text of all of them.

    A token that ends inside a character adds "", and the character comes with its last token.
    """
    texts: list[str] = []
    context = done = 0  # ids before `done` are in `texts`; those from `context` are decoded again,
    for i in range(len(ids)):  # because some tokenizers drop a leading space without them
        so_far = _decode(tokenizer, ids[context:done])
        text = _decode(tokenizer, ids[context : i + 1])
        if text.endswith("\ufffd") and i + 1 < len(ids):
            texts.append("")
        elif i + 1 == len(ids):  # half a character at the length limit is in no answer's text
            texts.append(text[len(so_far) :].rstrip("\ufffd"))
        else:
            texts.append(text[len(so_far) :])
            context, done = done, i + 1
    return texts


def _decode(tokenizer, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _read(
    model,
    tokenizer,
    adapter: Adapter,
    text: tuple[Sequence[int], Sequence[int]],  # prompt, completion
    scales: Mapping[str, Tensor],
) -> list[tuple[float, tuple[tuple[str, float], ...]]]:
    """Each completion token's log-probability, and the likeliest candidates at its place."""
    prompt_ids, completion = text
    log_probs = _log_probs(model, adapter, prompt_ids, completion, scales)  # (T, V)
    chosen = torch.tensor(completion, device=log_probs.device)
    own = log_probs.gather(1, chosen[:, None])[:, 0].tolist()
    best = log_probs.topk(min(CANDIDATES, log_probs.shape[1]))
    names = {token: tokenizer.decode([token]) for token in set(best.indices.flatten().tolist())}
    rows = zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
    return [
        (logprob, tuple((names[t], p) for t, p in zip(tokens, probabilities, strict=True)))
        for logprob, (tokens, probabilities) in zip(own, rows, strict=True)
    ]


@torch.inference_mode()
def _log_probs(
    model,
    adapter: Adapter,
    prompt_ids: Sequence[int],
    completion: Sequence[int],
    scales: Mapping[str, Tensor],
) -> Tensor:  # (T, V)
    with adapter.applied(scales):
        return completion_logits(model, prompt_ids, completion).log_softmax(-1)
