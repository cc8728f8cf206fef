"""Answers under way: their rows in one batch, and the events that they give.

In every step each row under way gets a token, and a piece of what waits is read: new prompts
first, then whole answers, which both models read for the comparison. The piece is so small that a
step takes at most about twice as long as usual. Not thread-safe.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from t2ui.backend import token_shift
from t2ui.backend.pace import Pace
from t2ui.errors import InputError
from t2ui.inference.decoding import NOT_FINITE, Decoder, Step
from t2ui.inference.plan import Change, Plan, receipt_of
from t2ui.inference.prompt_store import PromptStore
from t2ui.messages import Compared, Done, Event, Reading, Tokens
from t2ui.svf.adapter import Adapter
from t2ui.svf.mixture import Mixture

FLUSH_SECONDS = 0.1  # tokens are handed out ten times a second
READING_SECONDS = 0.25  # between two reports of how far a prompt is read
REMEMBERED_ANSWERS = 64  # of all sessions together, the latest
LONG_PROMPT = 256  # tokens; how far a shorter one is read is not reported

Envelope = tuple[str, Event | Exception]  # job id; an exception ends that answer alone


@dataclass
class _Pane:
    """One of the answers to an ask, the base model's or the mixture's, under way."""

    ids: list[int] = field(default_factory=list)  # without the end token
    pieces: list[str] = field(default_factory=list)  # text that is not handed out yet
    steps: int = 0  # the end token's included
    ended: float | None = None  # perf_counter seconds


@dataclass
class _Asking:
    """One ask under way."""

    plan: Plan
    session: str  # whose it is
    compare: bool  # the base model answers too
    began: float  # taken up; perf_counter seconds, as the three below
    decoding: float  # its rows joined the batch
    first_token: float | None = None
    flushed: float = 0.0  # events were last handed out
    steered: dict[int, Change] = field(default_factory=dict)  # by the first token's place
    panes: dict[str, _Pane] = field(default_factory=dict)


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

    def start(
        self, job_id: str, plan: Plan, compare: bool, began: float, session: str = ""
    ) -> None:
        """Let a plan's rows join: the mixture's, and the base model's to `compare` with.

        Args:
            began: when the ask was taken up, perf_counter seconds.
            session: whose it is; its last answer to the same prompt is checked first.
        """
        asking = _Asking(plan, session, compare, began, decoding=time.perf_counter())
        for pane in ("base", "adapted") if compare else ("adapted",):
            asking.panes[pane] = _Pane()
        last = self._last.get((session, tuple(plan.prompt_ids)), {})
        self._decoder.add(
            plan.row((job_id, pane), pane == "base", last.get(pane, ())) for pane in asking.panes
        )
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
            if ended or now - asking.flushed >= FLUSH_SECONDS:
                asking.flushed = now
                for event in self._flush(asking):
                    yield job_id, event
            if ended:
                yield from self._written(job_id, asking)
        if self._comparing and not self._reads_next:
            yield from self._compare()

    def steer(
        self, job_id: str, session: str, change: Callable[[Plan], Change]
    ) -> tuple[int, Mixture]:
        """Let an adapted answer go on with another mixture.

        Args:
            change: what takes over in an answer that was planned like this.

        Returns:
            The place of the first token that it answers, and the mixture.

        Raises:
            InputError: no such answer of this session is being written, or what `change` raises.
        """
        asking = self._asking.get(job_id)
        if asking is None or asking.session != session or asking.panes["adapted"].ended:
            raise InputError(
                "That answer has ended, so it cannot be steered any more: ask again with the new "
                "coefficients."
            )
        new = change(asking.plan)
        place = self._decoder.steer((job_id, "adapted"), new.scales)
        assert place is not None, "an answer without a row"
        asking.steered[place] = new
        return place, new.mixture

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
        beside = self._decoder.decoding > 0
        # Prompts and whole answers take turns: a short answer must not wait for a long prompt.
        self._reads_next = self._decoder.reading and not (self._comparing and self._reads_next)
        if not self._reads_next or not self._pace.may_read(beside):
            return []
        began, before = time.perf_counter(), self._decoder.tokens_read
        steps = self._decoder.read(self._pace.tokens(beside))
        self._pace.read(self._decoder.tokens_read - before, time.perf_counter() - began, beside)
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
        if step.text:
            pane.pieces.append(step.text)
        if step.finished:
            pane.ended = now

    def _flush(self, asking: _Asking) -> Iterator[Tokens]:
        """The new text of all panes together, so that they move in step."""
        now = time.perf_counter()
        for name, pane in asking.panes.items():
            if pane.pieces:
                pieces, pane.pieces = tuple(pane.pieces), []
                yield Tokens(name, pieces, len(pane.ids), (pane.ended or now) - asking.decoding)

    def _written(self, job_id: str, asking: _Asking) -> Iterator[Envelope]:
        """All panes have ended: Done, or the comparison is queued."""
        self._remove(job_id)
        if not asking.compare or asking.steered:  # no one mixture to compare with
            yield job_id, self._done(asking)
            return
        tokens = self._pace.tokens(beside=self._decoder.decoding > 0)
        pieces = token_shift.compare(
            self._tokenizer,
            token_shift.Reader(self._adapter, asking.plan.tail, self._store),
            asking.plan.prompt_ids,
            asking.plan.scales,
            (asking.panes["base"].ids, asking.panes["adapted"].ids),
            tokens,
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
        for name, pane in asking.panes.items():
            seconds = max(ends[name] - asking.decoding, 1e-9)
            timings[f"{name}_tokens_per_second"] = pane.steps / seconds
        return Done(
            cancelled,
            timings,
            receipt_of(
                asking.plan,
                self._adapter,
                timings,
                asking.steered,
                asking.panes["adapted"].ids,
            ),
        )

    def _remove(self, job_id: str) -> None:
        asking = self._asking.pop(job_id)
        key = (asking.session, tuple(asking.plan.prompt_ids))
        written = {name: pane.ids for name, pane in asking.panes.items()}
        self._last[key] = self._last.pop(key, {}) | written
        if len(self._last) > REMEMBERED_ANSWERS:
            self._last.popitem(last=False)
        self._decoder.drop([(job_id, pane) for pane in asking.panes])
