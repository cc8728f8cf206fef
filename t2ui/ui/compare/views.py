"""What the Compare page's panels show, from the worker's events. Plain data; knows no gradio."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from t2ui.catalogue import CONTROLS
from t2ui.messages import LayersMeasured, Swept, Tried
from t2ui.ui.compare.points import Point


def columns(state: str, message: str = "", remedy: str = "") -> dict[str, Any]:
    """The table without columns: `state` is empty, waiting or failed."""
    return {
        "state": state,
        "message": message,
        "remedy": remedy,
        "prompt": "",
        "given": "",
        "given_tokens": 0,
        "shared": "",
        "parts_at": None,
        "columns": [],
        "scope": "",
        "seconds": 0.0,
    }


def answering(
    found: Sequence[Point], texts: Sequence[str], prompt: str, given: str
) -> dict[str, Any]:
    """The answers so far, from where their texts part."""
    shared = os.path.commonprefix(list(texts))
    return {
        **columns("working"),
        "prompt": prompt,
        "given": given,
        "shared": shared,
        "columns": [
            _column(point, text[len(shared) :], "", None)
            for point, text in zip(found, texts, strict=True)
        ],
    }


def answered(found: Sequence[Point], swept: Swept, prompt: str, given: str) -> dict[str, Any]:
    """All answers, from the first token on that is not the same in all."""
    at = swept.parts_at
    shared = "".join(swept.columns[0].pieces[:at])
    return {
        **columns("done"),
        "prompt": prompt,
        "given": given,
        "given_tokens": swept.given_tokens,
        "shared": shared,
        "parts_at": at,
        "columns": [
            _column(
                point,
                "" if at is None else "".join(column.pieces[at:]),
                column.finished,
                None
                if column.log_likelihood is None
                else column.log_likelihood / max(1, swept.given_tokens),
            )
            for point, column in zip(found, swept.columns, strict=True)
        ],
        "scope": swept.scope,
        "seconds": swept.seconds,
    }


def _column(point: Point, text: str, finished: str, per_token: float | None) -> dict[str, Any]:
    return {
        "words": point.words,
        "colour": point.colour,
        "mixture": point.mixture,
        "control": point.control,
        "shots": point.shots,
        "text": text,
        "finished": finished,
        "asked": True,
        "per_token": per_token,  # log-likelihood of the given text, nats per token
        "tried": None,  # how it does on many questions, see `tried`
    }


def unasked(found: Sequence[Point]) -> dict[str, Any]:
    """Columns without answers: only questions are tried."""
    return {**columns("unasked"), "columns": [_not_asked(point) for point in found]}


def _not_asked(point: Point) -> dict[str, Any]:
    return {**_column(point, "", "", None), "asked": False}


def with_columns(value: Mapping[str, Any], found: Sequence[Point]) -> dict[str, Any]:
    """The table that came back from the browser, with these columns for the questions.

    Answers stay where it has all of the mixtures, stopped ones too. A control that it does not
    have is not asked yet; one that answered stays, behind the others, if it is not asked for now.
    """
    shown = value.get("columns")
    if value.get("state") not in ("done", "stopped") or not isinstance(shown, list):
        return unasked(found)
    there = [one for one in shown if isinstance(one, Mapping)]
    kept = [
        next((one for one in there if _stands_for(one, point)), _not_asked(point))
        for point in found
    ]
    if not all(one["control"] or one.get("asked") for one in kept):
        return unasked(found)
    now = [point.control for point in found]
    answered = [one for one in there if one.get("asked")]
    more = [
        next((one for one in answered if one.get("control") == name), None)
        for name in CONTROLS
        if name not in now
    ]
    return {**value, "columns": [*kept, *filter(None, more)]}


def _stands_for(column: Mapping[str, Any], point: Point) -> bool:
    same = (point.mixture, point.control, point.shots)
    return (column.get("mixture"), column.get("control"), column.get("shots")) == same


def begun(value: Mapping[str, Any], trial: Mapping[str, Any]) -> dict[str, Any]:
    """The table when a trial begins: what stood under the columns was of other questions."""
    return {
        **value,
        "columns": [{**column, "tried": None} for column in value["columns"]],
        "trial": trial,
    }


def tried(value: Mapping[str, Any], event: Tried, trial: Mapping[str, Any]) -> dict[str, Any]:
    """The table with how its columns do on the questions so far.

    Args:
        trial: what is said of all of them, see `a_trial`.
    """
    of_all = value["columns"]
    shown = [
        {
            **column,
            "tried": {
                "right": list(one.right),
                "count": sum(right is True for right in one.right),
                "of": sum(right is not None for right in one.right),
                "low": one.interval[0],
                "high": one.interval[1],
                "p": one.p,
            },
        }
        for column, one in zip(of_all[: len(event.columns)], event.columns, strict=True)
    ]
    shown += of_all[len(shown) :]  # controls that answered, and are not tried this time
    return {**value, "columns": shown, "trial": {**trial, "seconds": event.seconds}}


def a_trial(state: str, run: str, questions: str, count: int, message: str = "") -> dict[str, Any]:
    """What is said of a trial: `state` is waiting, working, done, stopped or failed."""
    return {
        "state": state,
        "run": run,
        "questions": questions,  # their name
        "count": count,
        "message": message,
        "seconds": 0.0,
    }


def no_layers(state: str, message: str = "", remedy: str = "") -> dict[str, Any]:
    """The bars by layer without bars: `state` is empty, waiting or failed."""
    return {"state": state, "message": message, "remedy": remedy, "effects": [], "what": ""}


def layers(found: LayersMeasured, words: str, text: str) -> dict[str, Any]:
    """What each layer adds to the log-likelihood of a text, nats: positive ones speak for it."""
    return {
        **no_layers("done"),
        "effects": [found.adapted - without for without in found.without],
        "base": found.base,
        "adapted": found.adapted,
        "tokens": found.tokens,
        "what": f"{words}, one layer off at a time",
        "text": text,
    }
