"""The next token after a prompt, base beside mixture, and the chances of the options that it lists.

Follows every move of a slider, so a long prompt is not read as a whole, and what the base model
says is kept.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.backend.pace import Pace
from t2ui.backend.token_shift import Pieces, Reader, log_probabilities
from t2ui.inference.plan import refuse_transfers
from t2ui.inference.prompt_store import PromptStore
from t2ui.inference.rows import text_of
from t2ui.messages import Event, NextToken, NextTokens
from t2ui.models.chat import answer_tail, chat_ids, text_ids
from t2ui.models.listed_options import listed_options
from t2ui.svf.adapter import Adapter
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import mix, mixture_of, scope_of

REMEMBERED = 32  # readings by the base model, of a next token or an option, that are kept
# Of a longer prompt so many are read for the next token: a quarter from its beginning, the rest
# from its end.
MOST_TOKENS = 512


class NextTokenReader:
    """Answers NextToken requests with one model."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, adapter: Adapter, pace: Pace, store: PromptStore
    ):
        self._tokenizer, self._adapter = tokenizer, adapter
        self._pace, self._store = pace, store
        self._base: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()  # by what was read

    def clear(self) -> None:
        """Forget what the base model said."""
        self._base.clear()

    def answer(
        self, request: NextToken, experts: Mapping[str, Expert], beside: bool
    ) -> Iterator[Event | None]:
        """NextTokens; before it, None after every piece of the prompt.

        Args:
            beside: whether answers that decode wait for the pieces.

        Raises:
            InputError: unknown experts, or such as may not be used here.
        """
        began = time.perf_counter()
        mixture = mixture_of(request.mixture, request.normalise, request.scope)
        scales = mix(experts, mixture)
        refuse_transfers(self._adapter, experts, mixture, request.allow_transfer)
        prompt, left_out = shortened(self._tokenizer, request.prompt, self._adapter.model)
        tail = answer_tail(self._tokenizer) if scope_of(mixture, experts) == "answer" else None
        reader = Reader(self._adapter, tail, self._store)
        tokens = self._pace.tokens(beside)
        ids = chat_ids(self._tokenizer, prompt)
        base, mixed = yield from self._both(
            reader, (ids, [0]), scales, tokens, lambda logs: logs[0]
        )
        chosen, kl = candidates(self._tokenizer, base, mixed, request.k)
        options = yield from self._options(reader, prompt, scales, tokens)
        yield NextTokens(chosen, kl, time.perf_counter() - began, left_out, options)

    def _options(
        self, reader: Reader, prompt: str, scales: Mapping[str, Tensor], tokens: int
    ) -> Pieces[tuple[tuple[str, float, float], ...]]:
        """(option, chance under the base model, under the mixture): of the options alone, by the
        likelihood of each as the answer to the question without the list. Empty where the prompt
        ends in no list of options."""
        listed = listed_options(prompt)
        if listed is None:
            return ()
        ids = chat_ids(self._tokenizer, listed.question)
        found = []
        for option in listed.options:
            text = ids, text_ids(self._tokenizer, option)
            places = torch.tensor(text[1])[:, None]

            def likelihood(logs: Tensor, places: Tensor = places) -> Tensor:
                return logs.gather(1, places).sum()

            both = yield from self._both(reader, text, scales, tokens, likelihood)
            found.append(torch.stack(both))
        base, mixed = torch.stack(found).T.softmax(-1).tolist()
        return tuple(zip(listed.options, base, mixed, strict=True))

    def _both(
        self,
        reader: Reader,
        text: tuple[Sequence[int], Sequence[int]],  # prompt, completion
        scales: Mapping[str, Tensor],
        tokens: int,
        wanted: Callable[[Tensor], Tensor],
    ) -> Pieces[tuple[Tensor, Tensor]]:
        """What is wanted of the completion's log-probabilities (T, V), on the CPU: under the base
        model, where that alone is kept, and under the mixture."""
        key = (*text[0], -1, *text[1])
        if key not in self._base:
            self._base[key] = wanted((yield from self._read(reader, text, {}, tokens)))
        self._base.move_to_end(key)
        base = self._base[key]
        while len(self._base) > REMEMBERED:
            self._base.popitem(last=False)
        if not scales:
            return base, base
        return base, wanted((yield from self._read(reader, text, scales, tokens)))

    def _read(
        self,
        reader: Reader,
        text: tuple[Sequence[int], Sequence[int]],
        scales: Mapping[str, Tensor],
        tokens: int,
    ) -> Pieces[Tensor]:
        pieces = log_probabilities(reader, text, scales, tokens)
        return (yield from self._pace.measured(pieces, tokens)).cpu()


def shortened(
    tokenizer: PreTrainedTokenizerBase, prompt: str, model: PreTrainedModel
) -> tuple[str, int]:
    """A long prompt's beginning and end, and how many tokens between them are left out.

    The next token is computed at every move of a slider, for everybody who moves one: 4,000 tokens
    would take too long each time.
    """
    ids = text_ids(tokenizer, prompt)
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    most = min(MOST_TOKENS, (context or MOST_TOKENS * 2) // 2)
    if len(ids) <= most:
        return prompt, 0
    ends = (ids[: most // 4], ids[-(most - most // 4) :])
    left_out = len(ids) - most
    return "".join(text_of(tokenizer, part) for part in ends), left_out


def candidates(
    tokenizer: PreTrainedTokenizerBase, base: Tensor, mixed: Tensor, k: int
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
        (
            text_of(tokenizer, [token], special=True),
            float(base[token].exp()),
            float(mixed[token].exp()),
        )
        for token in chosen
    )
    # 0 · log 0 = 0: a token that the mixture rules out adds nothing, whatever the base gives it
    terms = torch.where(mixed.exp() > 0, mixed.exp() * (mixed - base), 0.0)
    return rows, max(0.0, float(terms.sum()))
