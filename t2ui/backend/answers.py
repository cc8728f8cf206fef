"""Answers under way: their rows in one batch, and the events that they give.

In every step each row under way gets a token, and a piece of what waits is read: new prompts
first, then whole answers, which both models read for the comparison. The piece is so small that a
step takes at most about twice as long as usual. Not thread-safe.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from t2ui.backend import token_shift
from t2ui.backend.pace import Pace
from t2ui.errors import InputError
from t2ui.inference.decoding import NOT_FINITE, Decoder, Step
from t2ui.inference.plan import Change, Plan, receipt_of
from t2ui.inference.prompt_store import PromptStore
from t2ui.inference.rows import Scored
from t2ui.messages import (
    Ask,
    Compared,
    Done,
    Ending,
    Event,
    Reading,
    Steered,
    Tokens,
    TokenScore,
    tokens_hash,
)
from t2ui.svf.adapter import Adapter

FLUSH_SECONDS = 0.1  # tokens are handed out ten times a second
READING_SECONDS = 0.25  # between two reports of how far a prompt is read
REMEMBERED_ANSWERS = 64  # of all sessions together, the latest
LONG_PROMPT = 256  # tokens; how far a shorter one is read is not reported

Envelope = tuple[str, Event | Exception]  # job id; an exception ends that answer alone


@dataclass
class _Pane:
    """One of the answers to an ask, the base model's or the mixture's, under way."""

    name: str  # base | adapted
    sample: int = 0  # which of the mixture's answers
    ids: list[int] = field(default_factory=list)  # without the end token
    pieces: list[str] = field(default_factory=list)  # texts of tokens, not handed out yet
    steps: int = 0  # the end token's included
    finished: str = ""  # see `Step`
    ended: float | None = None  # perf_counter seconds
    shown: int = 0  # characters, those in `pieces` included
    scored: list[Scored] = field(default_factory=list)  # tokens that are not handed out yet
    states: list[Tensor] = field(default_factory=list)  # (hidden,) of each token, if all are known

    @property
    def key(self) -> str:
        """Tells the panes of an ask apart."""
        return f"{self.name} {self.sample}" if self.sample else self.name

    def scores(self) -> tuple[TokenScore, ...]:
        """Of the tokens whose text is handed out: one that a stop string begins with is not."""
        whole = self.finished in ("end", "length")
        told = [one for one in self.scored if whole or one.start < self.shown]
        self.scored = self.scored[len(told) :]
        return tuple(TokenScore(one.text, one.logprob, one.top) for one in told)


@dataclass
class _Asking:
    """One ask under way."""

    plan: Plan
    ask: Ask
    base_ids: list[int] | None  # the base model's answer to compare with; None: nothing is
    began: float  # taken up; perf_counter seconds, as the three below
    decoding: float  # its rows joined the batch
    first_token: float | None = None
    flushed: float = 0.0  # events were last handed out
    steered: dict[int, Change] = field(default_factory=dict)  # by the first token's place
    panes: dict[str, _Pane] = field(default_factory=dict)  # by key


@dataclass
class _Comparison:
    """An answer that is complete and that both models read, in pieces."""

    job_id: str
    asking: _Asking
    pieces: token_shift.Pieces[Compared]
    began: float  # perf_counter seconds


class Answers:
    """The answers under way on one model; `len` counts the asks, comparisons included."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        adapter: Adapter,
        pace: Pace,
        store: PromptStore | None = None,
    ):
        """
        Args:
            store: keeps what the base model has read of prompts.
        """
        self._tokenizer, self._adapter, self._pace = tokenizer, adapter, pace
        self._store = PromptStore() if store is None else store
        self._decoder = self._new_decoder()
        self._asking: dict[str, _Asking] = {}
        self._comparing: deque[_Comparison] = deque()
        self._reads_next = False  # of this step: a prompt is read, or else an answer compared
        # (session, prompt) -> what each pane wrote last: the draft of the next answer to it. Most
        # of an answer stays when a slider has moved.
        self._last: OrderedDict[tuple[str, tuple[int, ...]], dict[str, list[int]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._asking) + len(self._comparing)

    @property
    def rows(self) -> int:
        """Rows that decode, or whose prompt is being read."""
        return len(self._decoder)

    def start(self, job_id: str, plan: Plan, ask: Ask, began: float) -> None:
        """Let a plan's rows join: the mixture's, and the base model's where they are compared.

        A session's last answer to the same prompt is checked first.

        Args:
            began: when the ask was taken up, perf_counter seconds.
        """
        last = self._last.get((ask.session, tuple(plan.prompt_ids)), {})
        base_ids = last.get("base") if ask.compare_with_last else None
        asking = _Asking(plan, ask, base_ids, began, decoding=time.perf_counter())
        base = [_Pane("base")] if ask.compare else []
        for pane in (*base, *(_Pane("adapted", sample) for sample in range(ask.samples))):
            asking.panes[pane.key] = pane
        if ask.compare:
            asking.base_ids = base[0].ids
        rows = [
            plan.row(
                (job_id, key), pane.name == "base", last.get(key, ()), pane.sample, ask.logprobs
            )
            for key, pane in asking.panes.items()
        ]
        if asking.base_ids is not None:  # the adapted answer is compared with it
            rows = [replace(row, states=row.key[1] == "adapted") for row in rows]
        self._decoder.add(rows)
        self._asking[job_id] = asking

    def step(self) -> Iterator[Envelope]:
        """A token of every row, and a piece of what is to be read.

        Raises:
            Exception: decoding failed and the batch is unusable: call `clear`.
        """
        steps = self._decode()
        steps += self._read()
        yield from self._end_failed(steps)
        steps = [step for step in steps if step.key[0] in self._asking]
        now = time.perf_counter()
        for step in steps:
            job_id, pane = step.key
            self._asking[job_id].first_token = self._asking[job_id].first_token or now
            self._advance(self._asking[job_id].panes[pane], step, now)
        yield from self._told_of_reading(now)
        for job_id in dict.fromkeys(step.key[0] for step in steps):
            asking = self._asking[job_id]
            ended = all(pane.ended for pane in asking.panes.values())
            due = not asking.ask.whole and now - asking.flushed >= FLUSH_SECONDS
            if ended or due:
                asking.flushed = now
                for event in self._flush(asking):
                    yield job_id, event
            if ended:
                yield from self._written(job_id, asking)
        if self._comparing and not self._reads_next:
            yield from self._compare()

    def steer(self, job_id: str, session: str, change: Callable[[Plan], Change]) -> list[Event]:
        """Let an adapted answer go on with another mixture.

        Args:
            change: what takes over in an answer that was planned like this.

        Returns:
            What was decoded so far, then Steered.

        Raises:
            InputError: no such answer of this session is being written, or what `change` raises.
        """
        asking = self._asking.get(job_id)
        if asking is not None and asking.ask.samples > 1:
            raise InputError("One of several answers cannot be steered: ask for one.")
        if asking is None or asking.ask.session != session or asking.panes["adapted"].ended:
            raise InputError(
                "That answer has ended, so it cannot be steered any more: ask again with the new "
                "coefficients."
            )
        new = change(asking.plan)
        place = self._decoder.steer((job_id, "adapted"), new.scales)
        assert place is not None, "an answer without a row"
        asking.steered[place] = new
        asking.flushed = time.perf_counter()
        return [
            *self._flush(asking),
            Steered(place, new.mixture.at_layer(0), new.mixture.base_share),
        ]

    def stop(self, job_id: str) -> list[Event]:
        """Take an answer out of the batch: what was decoded since the last tokens, then Done."""
        for comparison in list(self._comparing):
            if comparison.job_id == job_id:
                self._comparing.remove(comparison)
                return [self._done(comparison.asking, cancelled=True)]
        asking = self._asking.get(job_id)
        if asking is None:
            return []
        self._remove(job_id)
        return [*self._flush(asking), self._done(asking, cancelled=True)]

    def clear(self) -> list[str]:
        """Empty the batch; returns the job ids that were in it. Comparisons go on."""
        ids = list(self._asking)
        self._asking.clear()
        self._decoder = self._new_decoder()
        self._adapter.reset()
        return ids

    def _new_decoder(self) -> Decoder:
        return Decoder(self._adapter.model, self._tokenizer, self._adapter, store=self._store)

    def _decode(self) -> list[Step]:
        if not self._decoder.decoding:
            return []
        began = time.perf_counter()
        steps = self._decoder.decode()
        self._pace.decoded(time.perf_counter() - began)
        return steps

    def _read(self) -> list[Step]:
        decoding = self._decoder.decoding
        beside, crowd = decoding > 0, (len(self._decoder) - decoding) / max(1, decoding)
        # Prompts and whole answers take turns: a short answer must not wait for a long prompt.
        self._reads_next = self._decoder.reading and not (self._comparing and self._reads_next)
        if not self._reads_next or not self._pace.may_read(beside):
            return []
        began, before = time.perf_counter(), self._decoder.tokens_read
        steps = self._decoder.read(self._pace.tokens(beside, crowd))
        read, seconds = self._decoder.tokens_read - before, time.perf_counter() - began
        self._pace.read(read, seconds, beside, crowd)
        return steps

    def _told_of_reading(self, now: float) -> Iterator[Envelope]:
        """How far each long prompt is read, now and then."""
        for (job_id, _), (done, total) in self._decoder.read_so_far().items():
            asking = self._asking[job_id]
            if total >= LONG_PROMPT and now - asking.flushed >= READING_SECONDS:
                asking.flushed = now
                yield job_id, Reading(done, total)

    def _end_failed(self, steps: list[Step]) -> Iterator[Envelope]:
        """What was decoded of the answers of which a row has failed, then the reason."""
        failed = {step.key[0]: step for step in steps if step.finished == "failed"}
        for job_id, step in failed.items():
            asking = self._asking[job_id]
            self._remove(job_id)
            for event in self._flush(asking):
                yield job_id, event
            yield job_id, step.error or InputError(NOT_FINITE)

    def _advance(self, pane: _Pane, step: Step, now: float) -> None:
        pane.steps += 1
        if step.finished != "end":
            pane.ids.append(step.token)
            if step.state is not None:
                pane.states.append(step.state)
        if step.finished != "end" or step.text:
            pane.pieces.append(step.text)
            pane.shown += len(step.text)
        if step.scored:
            pane.scored.append(step.scored)
        if step.finished:
            pane.ended, pane.finished = now, step.finished

    def _flush(self, asking: _Asking) -> Iterator[Tokens]:
        """The new text of all panes together, so that they move in step."""
        now = time.perf_counter()
        for pane in asking.panes.values():
            if pane.pieces or (pane.scored and pane.finished in ("end", "length")):
                pieces, pane.pieces = tuple(pane.pieces), []
                seconds = (pane.ended or now) - asking.decoding
                told = pane.sample, pane.scores()
                yield Tokens(pane.name, pieces, len(pane.ids), seconds, *told)

    def _written(self, job_id: str, asking: _Asking) -> Iterator[Envelope]:
        """All panes have ended: Done, or the comparison is queued."""
        self._remove(job_id)
        if asking.base_ids is None or asking.steered:  # no one mixture to compare with
            yield job_id, self._done(asking)
            return
        tokens = self._pace.tokens(beside=self._decoder.decoding > 0)
        adapted = asking.panes["adapted"]
        known = 0 < len(adapted.states) == len(adapted.ids)
        pieces = token_shift.compare(
            self._tokenizer,
            token_shift.Reader(self._adapter, asking.plan.tail, self._store),
            asking.plan.prompt_ids,
            asking.plan.scales,
            (asking.base_ids, adapted.ids),
            tokens,
            torch.stack(adapted.states) if known else None,
        )
        pieces = self._pace.measured(pieces, tokens)
        self._comparing.append(_Comparison(job_id, asking, pieces, time.perf_counter()))

    def _compare(self) -> Iterator[Envelope]:
        """A piece of the oldest comparison."""
        if self._comparing:
            comparison = self._comparing[0]
            job_id, asking = comparison.job_id, comparison.asking
            try:
                next(comparison.pieces)
            except StopIteration as ended:
                self._comparing.popleft()
                yield job_id, ended.value
                yield job_id, self._done(asking, compare=time.perf_counter() - comparison.began)
            except Exception as error:  # ends this ask alone; its answers are out
                self._comparing.popleft()
                yield job_id, error

    def _done(self, asking: _Asking, cancelled: bool = False, compare: float = 0.0) -> Done:
        """Timings in seconds from the ask's start, and its receipt."""
        now = time.perf_counter()
        ends = {name: pane.ended or now for name, pane in asking.panes.items()}
        decode = max(ends.values()) - asking.decoding
        timings = {
            "pass_one": asking.plan.seconds,
            "first_token": (asking.first_token or now) - asking.began,
            "decode": decode,
            "compare": compare,
            "total": now - asking.began,
            "pass_one_share": asking.plan.seconds / max(asking.plan.seconds + decode, 1e-9),
        }
        for name in ("base", "adapted"):
            panes = [pane for pane in asking.panes.values() if pane.name == name]
            if panes:
                seconds = max(max(ends[pane.key] for pane in panes) - asking.decoding, 1e-9)
                steps = sum(pane.steps for pane in panes)
                timings[f"{name}_tokens_per_second"] = steps / seconds
        answer = asking.panes["adapted"].ids
        receipt = receipt_of(asking.plan, self._adapter, timings, asking.steered, answer)
        length = len(asking.plan.prompt_ids)
        endings = tuple(_ending(pane, length) for pane in asking.panes.values())
        return Done(cancelled, timings, receipt, endings)

    def _remove(self, job_id: str) -> None:
        asking = self._asking.pop(job_id)
        key = (asking.ask.session, tuple(asking.plan.prompt_ids))
        written = {name: pane.ids for name, pane in asking.panes.items()}
        self._last[key] = self._last.pop(key, {}) | written
        if len(self._last) > REMEMBERED_ANSWERS:
            self._last.popitem(last=False)
        self._decoder.drop([(job_id, pane) for pane in asking.panes])


def _ending(pane: _Pane, prompt_tokens: int) -> Ending:
    told = pane.name, pane.sample, pane.finished, pane.steps, prompt_tokens
    return Ending(*told, tokens_hash(pane.ids))
