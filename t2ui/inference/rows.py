"""One row of a batch: what is asked of it, what each step gave, and its text as it grows.

Knows token ids, scales and text pieces, nothing of models, prompts' texts or experts' names.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from t2ui.config import Sampling
from t2ui.inference.choosing import Choice
from t2ui.svf.adapter import Scales

NOT_FINITE = (
    "The model's output is not finite any more with these scales: use smaller coefficients "
    "(in a training, a smaller learning rate), or float32."
)


@dataclass(frozen=True)
class Row:
    """One answer to be decoded. `scales` None or {}: the base model.

    With `tail` the base model reads the prompt but for so many of its last tokens, and the scales
    act from there on (scope "answer"): rows with the same prompt share one reading, whatever their
    scales. Without, the scales act on every token, as in the paper (scope "all").
    """

    key: Any  # hashable, chosen by the caller, unique in the batch
    prompt_ids: Sequence[int]
    scales: Scales | None = None
    sampling: Sampling = field(default_factory=Sampling)
    tail: int | None = None  # at least 1
    # What the answer may well be, without its end token: an earlier answer to the prompt, say. It
    # is checked in one forward pass and kept up to the first token that differs.
    draft: Sequence[int] = ()
    # (place, scales), by place: from the answer's token at that place on, at least 1, its scales
    # are these.
    timeline: Sequence[tuple[int, Scales | None]] = ()
    # Each step says its token's log-likelihood and so many of the likeliest ones; None: it does not
    logprobs: int | None = None
    # Each step hands out the hidden state that its token was predicted from, where the model has it
    states: bool = False


@dataclass(frozen=True)
class Scored:
    """A token of an answer with its log-likelihood, before temperature and top-p, in nats."""

    text: str  # of this token alone: signs for the bytes of half a character
    logprob: float
    top: tuple[tuple[str, float], ...]  # the likeliest tokens at this place and their own
    start: int  # characters of the answer before it


@dataclass(frozen=True)
class Step:
    """What one row did in one step. `text` may be empty: half a character, or a held-back stop."""

    key: Any
    token: int  # its id; -1 where the row failed
    text: str
    # None | "end" (end token) | "stop" (stop string) | "length" | "failed" (no token)
    finished: str | None
    # log π(token | the tokens before it), nats; None unless the decoder was made with `scores`,
    # −inf where the row failed
    log_likelihood: float | None = None
    error: Exception | None = None  # why the row failed; None: its logits were not finite
    scored: Scored | None = None  # where the row asks for `logprobs`; not for an end token
    state: Tensor | None = None  # (hidden,): what the output head made the token's logits of


@dataclass(frozen=True)
class Completion:
    """A finished row. `token_ids` include the end token, `text` does not."""

    token_ids: tuple[int, ...]
    text: str
    finished: str


class RunningRow:
    """One row under way: its tokens, its random numbers, its text."""

    def __init__(self, row: Row, tokenizer: PreTrainedTokenizerBase):
        self.row, self.tokenizer = row, tokenizer
        self.scales = row.scales or None  # at the moment
        self._ahead = list(row.timeline)  # what is left of it
        self.steered = bool(row.timeline)  # whether its scales change on its way
        self.tokens: list[int] = []
        self.finished: str | None = None
        self.random = torch.Generator().manual_seed(row.sampling.seed)
        self.shown = 0  # characters handed out
        # the last characters are held back: a stop string may have begun in them
        self.hold = max((len(s) for s in row.sampling.stop), default=1) - 1

    def steer(self, scales: Scales | None) -> int:
        """New scales from the next token on, in place of what the timeline says; that token's
        place. What predicts the first token may have been read already: it keeps its scales."""
        place = max(1, len(self.tokens))
        self._ahead, self.steered = [(place, scales)], True
        return place

    def at_its_place(self) -> "RunningRow":
        """Itself, with the scales that its next token is computed with."""
        while self._ahead and self._ahead[0][0] <= len(self.tokens):
            self.scales = self._ahead.pop(0)[1] or None
        return self

    @property
    def draft(self) -> Sequence[int]:
        """As much of the row's draft as may be kept: one more token comes behind it."""
        return self.row.draft[: self.row.sampling.max_new_tokens - 1]

    def advance(
        self,
        choice: Choice,
        ends: Collection[int],
        logits: Tensor | None = None,  # (V,)
        state: Tensor | None = None,  # (hidden,)
    ) -> Step:
        """Take in the next token.

        Args:
            ends: the ids that end an answer.
            logits: what it was chosen from, where the row asks for `logprobs`.
            state: what those were made of, where the row asks for `states`.
        """
        if choice.token is None:
            return self.fail()
        sampling, token = self.row.sampling, choice.token
        self.tokens.append(token)
        text = self._decoded()
        stop = min((i for s in sampling.stop if (i := text.find(s)) >= 0), default=-1)
        if token in ends:
            self.finished = "end"
        elif stop >= 0:
            self.finished = "stop"
        elif len(self.tokens) >= sampling.max_new_tokens:
            self.finished = "length"
        until = len(text) if stop < 0 else stop
        if self.finished is None:
            until -= self.hold
        if self.finished in (None, "length"):
            # Half a character: wait for its other bytes, or drop it where none will come. Some
            # tokenizers show one sign for each byte.
            until = min(until, len(text.rstrip("\ufffd")))
        new = text[self.shown : max(until, self.shown)]
        self.shown += len(new)
        scored = None
        if logits is not None and token not in ends:
            scored = self._scored(logits, token)
        told = self.row.key, token, new, self.finished, choice.log_likelihood
        return Step(*told, scored=scored, state=state)

    def _scored(self, logits: Tensor, token: int) -> Scored:  # (V,)
        scores = logits.float().log_softmax(-1)
        top = scores.topk(min(self.row.logprobs or 0, len(scores)))
        return Scored(
            self._text_of(token),
            float(scores[token]),
            tuple(
                (self._text_of(one), value)
                for one, value in zip(top.indices.tolist(), top.values.tolist(), strict=True)
            ),
            len(text_of(self.tokenizer, self.tokens[:-1])),
        )

    def _text_of(self, token: int) -> str:
        return text_of(self.tokenizer, [token], special=True)

    def fail(self, error: Exception | None = None) -> Step:
        """End without a token: the logits hold none, or reading the prompt failed."""
        self.finished = "failed"
        rest = self._decoded()[self.shown :]
        return Step(self.row.key, -1, rest, self.finished, -math.inf, error)

    def _decoded(self) -> str:
        return text_of(self.tokenizer, self.tokens)


def text_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], special: bool = False) -> str:
    """The text of some token ids, its spaces as they are; special tokens only where asked for."""
    text = tokenizer.decode(
        list(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False
    )
    assert isinstance(text, str)  # a list of texts only for a list of lists
    return text
