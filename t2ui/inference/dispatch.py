"""Pass one: which label does a prompt carry, and which mixture answers it (paper, section 3.2).

`Classification` is what every dispatcher finds (t2ui/inference/dispatchers), `route` makes a
mixture of it. `LabelReader` is for those that ask the model: one question, with the base model or
with a classification expert's scales, is read out in two ways from one forward pass: the
log-likelihood of every label, which gives probabilities, and the model's own greedy words. Knows
labels and prompts, nothing of answers or decoding settings.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.checks import check_prompt
from t2ui.config import OTHERS, ROUTINGS
from t2ui.errors import InputError
from t2ui.inference.decoding import end_tokens
from t2ui.inference.rows import text_of
from t2ui.models.batch_cache import RoomyCache
from t2ui.models.chat import chat_around, ends_of, text_ids
from t2ui.models.likelihood import option_logits, summed_log_likelihood
from t2ui.models.questions import Question
from t2ui.models.running import answering, cached
from t2ui.svf.adapter import Adapter
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture

INSTRUCTION = (
    "Sort the request below into one of these categories: {labels}. "
    "Answer with the category's name in \\boxed{{}}.\n\nRequest: "
)
ANSWER_START = "\\boxed{"
CONTENT_FREE = "N/A"  # measures the label bias (Zhao et al. 2021, "Calibrate before use")
MAX_OWN_TOKENS = 5  # of the model's own answer; one that rambles must not make pass one slow


@dataclass(frozen=True)
class Classification:
    """What pass one found. Probabilities are over the labels; `seconds` is its whole cost.

    Those of a classification expert are read at the temperature that it was trained at.
    """

    label: str  # the most likely by `probabilities`
    probabilities: dict[str, float]  # the base model's are calibrated on a content-free prompt
    raw: dict[str, float]  # not calibrated; equal to `probabilities` for a classification expert
    said: str  # the model's own words, e.g. "\\boxed{code}"; "" where it was not asked
    seconds: float
    remark: str = ""  # on who found it: "a cross-model transfer"


@dataclass(frozen=True)
class DispatchPrompt:
    """The token ids around a prompt, and of each label as an answer. Shared with training."""

    before: tuple[int, ...]  # up to the prompt: the part that is read once (prefilled)
    after: tuple[int, ...]  # from the prompt's end to the opened \boxed{
    labels: tuple[str, ...]
    answers: tuple[tuple[int, ...], ...]  # one per label, with the closing brace

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str]) -> "DispatchPrompt":
        """Build it for these labels, in the tokenizer's chat format."""
        if len(labels) < 2:
            raise InputError(
                f"Pass one has {len(labels)} label(s) ({', '.join(labels)}); at least two are "
                "needed: add an expert, or choose dispatch none."
            )
        instruction = INSTRUCTION.format(labels=", ".join(labels))
        before, after = chat_around(tokenizer, instruction, ANSWER_START)
        answers = tuple(text_ids(tokenizer, f"{label}}}") for label in labels)
        return cls(tuple(before), tuple(after), tuple(labels), answers)

    def question(self, tokenizer: PreTrainedTokenizerBase, prompt: str) -> Question:
        """The prompt's own tokens, what follows them, and the labels as options."""
        ids = ends_of(text_ids(tokenizer, prompt))
        return Question((*ids, *self.after), self.answers)


class LabelReader:
    """Asks one model for a prompt's label. Keeps the prefilled instruction for every classifier.

    Threads may share one: they take turns prompt by prompt.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Adapter
    ):
        self.model, self.tokenizer, self.adapter = model, tokenizer, adapter
        # (labels, hash of the classification expert or "") -> prepared prefix
        self._prepared: dict[tuple[tuple[str, ...], str], _Prepared] = {}

    def classify(
        self, prompt: str, labels: Sequence[str], expert: Expert | None = None
    ) -> Classification:
        """Ask the model, or the classification expert, for the prompt's label.

        Args:
            labels: at least two; with an expert, those it was trained on.
            expert: the classification expert, whose scales are on only during this call.

        Raises:
            InputError: an empty prompt, or fewer than two labels.
        """
        check_prompt(prompt)
        key = (tuple(labels), expert.sha256 if expert else "")
        scales = expert.scales if expert else {}
        with torch.inference_mode(), self.adapter.applied(scales):
            if key not in self._prepared:
                self._prepared[key] = self._prepare(labels)
            prepared = self._prepared[key]
            started = time.perf_counter()
            try:
                scores, said = self._read(prepared, prompt, words=True)
            except BaseException:
                del self._prepared[key]  # some layers of its cache may have grown, others not
                raise
        scores = scores.double()  # where the model is sure, float32 has no probability but 0
        raw = (scores / (expert.temperature if expert else 1.0)).softmax(0)
        # Training has taken the label bias out of a classification expert already.
        decided = raw if expert else (scores - prepared.content_free).softmax(0)
        seconds = time.perf_counter() - started
        label = labels[int(decided.argmax())]
        return Classification(label, _named(labels, decided), _named(labels, raw), said, seconds)

    def _prepare(self, labels: Sequence[str]) -> "_Prepared":
        form = DispatchPrompt.of(self.tokenizer, labels)
        cache = RoomyCache()
        ids = torch.tensor([form.before], device=self.model.device)
        with answering(self.model):
            self.model(input_ids=ids, **cached(self.model, cache), use_cache=True, logits_to_keep=1)
        prepared = _Prepared(form, cache, torch.zeros(len(labels)))
        content_free, _ = self._read(prepared, CONTENT_FREE, words=False)
        return _Prepared(form, cache, content_free)

    def _read(self, prepared: "_Prepared", prompt: str, words: bool) -> tuple[Tensor, str]:
        """Summed log-likelihood of every label, (labels,), and the model's own words."""
        form, cache = prepared.form, prepared.cache
        start = cache.get_seq_length()
        question = form.question(self.tokenizer, prompt)
        try:
            logits = option_logits(self.model, question, cache)
            pairs = zip(logits, form.answers, strict=True)
            scores = torch.stack([summed_log_likelihood(*pair) for pair in pairs]).cpu()
            own = self._own_words(prepared, question, logits) if words else []
        finally:
            _shorten(cache, cache.get_seq_length() - start)  # the next prompt finds it as it was
        if not words:
            return scores, ""
        said = ANSWER_START + text_of(self.tokenizer, own)
        return scores, said if "}" in said else f"{said}…"

    def _own_words(
        self, prepared: "_Prepared", question: Question, logits: list[Tensor]
    ) -> list[int]:
        """Greedy tokens from the opened box on. As long as they spell a label, the labels' own
        forward pass has predicted them already; only other words cost further steps."""
        own: list[int] = []
        while len(own) < MAX_OWN_TOKENS:
            on_path = [i for i, a in enumerate(question.options) if list(a[: len(own)]) == own]
            on_path = [i for i in on_path if len(question.options[i]) > len(own)]
            if not on_path:
                break
            own.append(int(logits[on_path[0]][len(own)].argmax()))
        if "}" in text_of(self.tokenizer, own[-1:], special=True):
            return own
        cache = prepared.cache  # `_read` puts it right in the end
        _shorten(cache, sum(len(a) - 1 for a in question.options))
        end = set(end_tokens(self.model, self.tokenizer))
        feed = own
        while len(own) < MAX_OWN_TOKENS and own[-1] not in end:
            ids = torch.tensor([feed], device=self.model.device)
            with answering(self.model):
                found = self.model(input_ids=ids, **cached(self.model, cache), logits_to_keep=1)
            step = found.logits
            own.append(int(step[0, -1].argmax()))
            feed = own[-1:]
            if "}" in text_of(self.tokenizer, feed, special=True):
                break
        return own


@dataclass(frozen=True)
class _Prepared:
    form: DispatchPrompt
    cache: RoomyCache  # of the instruction
    content_free: Tensor  # (labels,) log-likelihoods after the content-free prompt


def route(
    classification: Classification,
    experts: Mapping[str, Expert],
    routing: str = "hard",
    threshold: float = 0.0,
) -> tuple[Mixture, str]:
    """From label probabilities to a mixture.

    Args:
        experts: those that answer (no dispatchers), by name.
        routing: "hard", α = 1 for the most likely label's expert; "soft", α = probabilities.
        threshold: the base model answers when the best probability is below it.

    Returns:
        The mixture, and a note for the reader where the base model answers; "" otherwise.
    """
    if routing not in ROUTINGS:
        raise InputError(f"routing is {routing!r}; expected {', '.join(ROUTINGS)}.")
    best = classification.probabilities[classification.label]
    if best < threshold:
        below = f"{best:.2f} is below the threshold {threshold:.2f}"
        return Mixture(), f"{below}: the base model answers"
    owners = {label: n for n, e in experts.items() for label in (e.labels or (n,))}
    owners.pop(OTHERS, None)  # the base model's, whatever an expert is called
    if routing == "soft":
        weights: dict[str, float] = {}
        for label, probability in classification.probabilities.items():
            if label in owners:
                weights[owners[label]] = weights.get(owners[label], 0.0) + probability
        return Mixture(weights), ""
    if classification.label == OTHERS:
        return Mixture(), "others: the base model answers"
    if classification.label not in owners:
        return Mixture(), f"no expert for {classification.label!r} yet: the base model answers"
    return Mixture({owners[classification.label]: 1.0}), ""


def _shorten(cache: RoomyCache, tokens: int) -> None:
    """Take the last tokens off a cache: what a negative number means to transformers 5."""
    if tokens:
        cache.crop(-tokens)


def _named(labels: Sequence[str], values: Tensor) -> dict[str, float]:
    return {label: float(value) for label, value in zip(labels, values, strict=True)}
