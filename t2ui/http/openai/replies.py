"""What comes back: the worker's events as a completion, whole or in chunks."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from t2ui.http.openai.requests import Asked
from t2ui.http.refusal import Refusal
from t2ui.messages import Classified, Done, Ending, Event, Failed, Mixed, Tokens, TokenScore

STATUS = {"input": 400, "busy": 503, "worker": 503}  # of a Failed, by its cause
RETRY_SECONDS = 10.0
HALF = "\ufffd"  # stands for a part of a character


@dataclass
class Reply:
    """One request's reply as it grows: `take` what the worker says, then `chunks` or `whole`."""

    asked: Asked
    job_id: str
    created: int = field(default_factory=lambda: int(time.time()))
    classified: Classified | None = None
    mixed: Mixed | None = None
    done: Done | None = None
    _texts: dict[int, list[str]] = field(default_factory=dict)
    _scores: dict[int, list[TokenScore]] = field(default_factory=dict)
    _begun: bool = False  # the chunks that say who speaks are out

    @property
    def id(self) -> str:
        """The reply's id; its receipt has the same."""
        return f"{'chatcmpl' if self.asked.chat else 'cmpl'}-{self.job_id}"

    @property
    def decided(self) -> bool:
        """Whether it is known what answers: from here on nothing is wrong with the request."""
        return self.mixed is not None

    def take(self, event: Event) -> None:
        """
        Raises:
            Refusal: the worker could not answer.
        """
        if isinstance(event, Failed):
            raise refusal_of(event)
        if isinstance(event, Classified):
            self.classified = event
        elif isinstance(event, Mixed):
            self.mixed = event
        elif isinstance(event, Done):
            self.done = event

    # --- whole -----------------------------------------------------------------------------------

    def add(self, event: Event) -> None:
        """`take`, for a reply that is sent whole."""
        self.take(event)
        if isinstance(event, Tokens) and event.pane == "adapted":
            self._texts.setdefault(event.sample, []).extend(event.pieces)
            self._scores.setdefault(event.sample, []).extend(event.scored)

    def whole(self) -> dict[str, Any]:
        """The completion; after the last event."""
        choices = []
        for sample in range(self.asked.ask.samples):
            text = "".join(self._texts.get(sample, ()))
            said = {"message": {"role": "assistant", "content": text, "refusal": None}}
            choices.append(
                {
                    "index": sample,
                    **(said if self.asked.chat else {"text": text}),
                    "logprobs": self._logprobs(self._scores.get(sample, ())),
                    "finish_reason": self._reason(sample),
                }
            )
        kind = "chat.completion" if self.asked.chat else "text_completion"
        return {
            **self._head(kind),
            "choices": choices,
            "usage": self.usage(),
            "t2ui": self.told(),
        }

    # --- in chunks -------------------------------------------------------------------------------

    def chunks(self, events: Iterable[Event]) -> Iterator[dict[str, Any]]:
        """What these events add to a stream: one chunk for each answer that goes on.

        Raises:
            Refusal: the worker could not go on.
        """
        new: dict[int, tuple[list[str], list[TokenScore]]] = {}
        failed: Failed | None = None
        for event in events:
            if isinstance(event, Failed):  # what came before it is sent first
                failed = event
                break
            self.take(event)
            if self.decided and not self._begun:
                self._begun = True
                role = {"delta": {"role": "assistant", "content": ""}}
                opening = role if self.asked.chat else {"text": ""}
                samples = range(self.asked.ask.samples)
                yield self._chunk([self._choice(n, opening) for n in samples], t2ui=self.told())
            if isinstance(event, Tokens) and event.pane == "adapted":
                texts, scores = new.setdefault(event.sample, ([], []))
                texts.extend(event.pieces)
                scores.extend(event.scored)
        for sample, (texts, scores) in new.items():
            text = "".join(texts)
            said = {"delta": {"content": text}} if self.asked.chat else {"text": text}
            yield self._chunk([self._choice(sample, said, scores)])
        if failed:
            raise refusal_of(failed)
        if self.done:
            yield from self._closing()

    def _closing(self) -> Iterator[dict[str, Any]]:
        last: dict[str, Any] = {"delta": {}} if self.asked.chat else {"text": ""}
        choices = [
            {**self._choice(sample, last), "finish_reason": self._reason(sample)}
            for sample in range(self.asked.ask.samples)
        ]
        yield self._chunk(choices, t2ui=self.told())
        if self.asked.usage:
            yield {**self._chunk([]), "usage": self.usage()}

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.asked.chat else "text_completion"
        usage = {"usage": None} if self.asked.usage else {}
        return {**self._head(kind), "choices": choices, **usage, **more}

    def _choice(
        self, sample: int, said: dict[str, Any], scores: Iterable[TokenScore] = ()
    ) -> dict[str, Any]:
        logprobs = self._logprobs(scores) if scores else None
        return {"index": sample, **said, "logprobs": logprobs, "finish_reason": None}

    # --- parts -----------------------------------------------------------------------------------

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.asked.model,
        }

    def usage(self) -> dict[str, int]:
        """Tokens read and written, the end tokens included."""
        endings = [one for one in (self.done.endings if self.done else ()) if _adapted(one)]
        read = endings[0].prompt_tokens if endings else 0
        written = sum(one.tokens for one in endings)
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        }

    def told(self) -> dict[str, Any]:
        """The field `t2ui`: what pass one found, what answers, and where the receipt is."""
        found, mixed, done = self.classified, self.mixed, self.done
        said: dict[str, Any] = {
            "label": found.label if found else None,
            "probabilities": found.probabilities if found else {},
            "dispatch": found.method if found else None,
        }
        if mixed:
            said |= {
                "mixture": mixed.mixture,
                "base_share": mixed.base_share,
                "set_by": mixed.set_by,
                "scope": mixed.scope,
                "note": mixed.note,
            }
        if done:
            receipt = done.receipt or {}
            said |= {
                "mixture": receipt.get("mixture", said.get("mixture")),  # per layer, too
                "seed": receipt.get("sampling", {}).get("seed"),
                "timings": done.timings,
                "receipt": self.id,
            }
        return said

    def _reason(self, sample: int) -> str:
        endings = self.done.endings if self.done else ()
        reasons = [one.finished for one in endings if _adapted(one) and one.sample == sample]
        return "length" if reasons == ["length"] else "stop"

    def _logprobs(self, scores: Iterable[TokenScore]) -> dict[str, Any] | None:
        if self.asked.ask.logprobs is None:
            return None
        scores = list(scores)
        if self.asked.chat:
            return {"content": [_token(one) for one in scores], "refusal": None}
        offsets, length = [], 0
        for one in scores:
            offsets.append(length)
            length += len(one.text)
        return {
            "tokens": [one.text for one in scores],
            "token_logprobs": [one.logprob for one in scores],
            "top_logprobs": [dict(one.top) for one in scores],
            "text_offset": offsets,
        }


def refusal_of(failed: Failed) -> Refusal:
    """What the worker could not do, as a status and a line."""
    status = STATUS.get(failed.cause, 500)
    return Refusal(status, str(failed), RETRY_SECONDS if status == 503 else None)


def _adapted(ending: Ending) -> bool:
    return ending.pane == "adapted"


def _token(one: TokenScore) -> dict[str, Any]:
    return {
        **_scored(one.text, one.logprob),
        "top_logprobs": [_scored(text, logprob) for text, logprob in one.top],
    }


def _scored(text: str, logprob: float) -> dict[str, Any]:
    known = None if HALF in text else list(text.encode())
    return {"token": text, "logprob": logprob, "bytes": known}
