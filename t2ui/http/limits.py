"""How much one visitor, one address and everybody together may ask for, and its settings.

Every number here is a setting: the environment variable `T2UI_` and the field's name in capitals,
T2UI_ANSWERS_PER_ADDRESS for example. This table is the only list of them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from t2ui.errors import InputError, quoted

PREFIX = "T2UI_"
CLASS_ROWS = 48
BURST_SECONDS = 20  # a rate may be used up in advance for so long: a class opens the page at once


@dataclass(frozen=True)
class Limits:
    """Defaults are for an app among people who know each other; `for_public` has the others.

    A session is one open page. A class or an office may share one address, so an address may have
    many times what a session has. Posts to the API have no page: they count for their address.
    """

    public: bool = False
    # behind a proxy that says whose request it passes on (X-Forwarded-For); in public mode only
    proxy: bool = True

    # under way at once
    answers_per_session: int = 1
    answers_per_address: int = 160
    answers: int = 160  # of everybody
    api_answers_per_address: int = 64
    searches_per_address: int = 64  # a session has one
    tokens_per_session: int = 2  # next-token requests: the newer one replaces the older
    tokens_per_address: int = 160
    tasks_per_session: int = 12  # estimates, heatmaps, saving: a page may start some together
    tasks_per_address: int = 200
    tasks: int = 200  # of everybody
    streams_per_address: int = 800  # open event streams; a page has one or two
    bodies_per_address: int = 200  # posts that are still arriving
    batch_rows: int = 16  # decoded together; an answer beside the base model's has two, others wait

    # a second
    requests_per_session: float = 60
    requests_per_address: float = 1000
    api_posts_per_address: float = 100
    bytes_per_address: float = 50_000_000  # of posts
    pages_per_address: float = 50  # of the page itself and its configuration
    sessions_per_address: float = 50  # new ones: each costs Gradio 20 ms
    seats_per_address: float = 0.7  # taken in a workshop: a class of 40 sits within a minute

    answer_tokens: int = 2048  # that one answer over /v1 may have
    receipt_days: float = 30  # after which an answer's receipt goes
    receipt_megabytes: float = 200  # of all receipts; the oldest go first
    receipt_texts: bool = False  # whether receipts keep the prompts

    # bytes and seconds
    body_bytes: int = 2_000_000  # of a post
    body_seconds: float = 20  # in which a post must arrive
    send_seconds: float = 30  # in which a reader must take what waits for it
    drain_seconds: float = 60  # in which answers may end when the server is asked to stop
    unheard_seconds: float = 8  # after which a job ends whose events nobody reads
    session_hours: float = 2  # public: after which what a visitor saved goes, if it is not used

    @classmethod
    def for_public(cls) -> "Limits":
        """For strangers: one answer an address over the API, and lower rates."""
        return cls(
            public=True,
            answers_per_address=40,
            api_answers_per_address=1,
            searches_per_address=8,
            tokens_per_address=40,
            tasks_per_address=60,
            streams_per_address=200,
            bodies_per_address=40,
            requests_per_session=20,
            requests_per_address=200,
            api_posts_per_address=2,
            bytes_per_address=4_000_000,
            pages_per_address=2,
            sessions_per_address=2,
            answer_tokens=512,
        )

    def for_a_class(self) -> "Limits":
        """Where people have seats (a workshop): all of them may come from one address and open the
        page at once, whether strangers are let in or not. Larger batches serve more of them in the
        same time, each somewhat slower."""
        usual = Limits()
        return replace(
            self,
            batch_rows=max(self.batch_rows, CLASS_ROWS),
            requests_per_address=max(self.requests_per_address, usual.requests_per_address),
            bytes_per_address=max(self.bytes_per_address, usual.bytes_per_address),
            pages_per_address=max(self.pages_per_address, usual.pages_per_address),
            sessions_per_address=max(self.sessions_per_address, usual.sessions_per_address),
            streams_per_address=max(self.streams_per_address, usual.streams_per_address),
        )

    def for_a_seat(self) -> "Limits":
        """What counts for a seat in place of its address: as much as for a session, however many
        pages it has open, and what strangers may post to the API."""
        return replace(
            self,
            answers_per_address=self.answers_per_session,
            api_answers_per_address=1,
            tokens_per_address=self.tokens_per_session,
            tasks_per_address=self.tasks_per_session,
            requests_per_address=self.requests_per_session,
            api_posts_per_address=2,
            bytes_per_address=1_000_000,
            pages_per_address=2,
            sessions_per_address=2,
            bodies_per_address=20,
            answer_tokens=min(self.answer_tokens, 512),
        )

    @classmethod
    def of(cls, public: bool, environment: Mapping[str, str] = os.environ) -> "Limits":
        """The limits for this place, with what the environment sets.

        Raises:
            InputError: a variable that is no number, or less than 0.
        """
        limits = cls.for_public() if public else cls()
        given: dict[str, Any] = {}  # of each field's own type
        for field in fields(cls):
            text = environment.get(PREFIX + field.name.upper())
            if text is not None and field.name != "public":
                given[field.name] = _number(PREFIX + field.name.upper(), text, type(field.default))
        return replace(limits, **given)


def is_space(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this runs as a Hugging Face Space, which is open to everybody."""
    return bool(environment.get("SPACE_ID"))


def _number(name: str, text: str, kind: type) -> Any:
    try:
        number = float(text)
        if number < 0 or number != number or kind is not float and number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        what = "0 or 1" if kind is bool else "a number" if kind is float else "a whole number"
        raise InputError(f"{name} is {quoted(text)}; expected {what}, 0 or more.") from None
    return kind(number)
