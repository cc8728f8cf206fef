"""What the Ask page's panels show, folded from a worker's events. Plain data; knows no gradio.

`AskView.apply(event)` returns the names of the panels that changed, so that a stream sends only
those to the browser.
"""

import os
import uuid
from collections.abc import Mapping
from typing import Any

from t2ui.config import OTHERS
from t2ui.messages import (
    Classified,
    Compared,
    Done,
    Event,
    Failed,
    Mixed,
    Queued,
    Status,
    Tokens,
)
from t2ui.ui.shared.colours import BASE, expert_colours
from t2ui.ui.shared.controls import Controls
from t2ui.ui.shared.durations import about
from t2ui.ui.shared.mixture import expert_of, experts_of, moved

PANES = ("base", "adapted")
LOADING = "the model is loading: yours is answered as soon as it is ready"
METHODS = {"prompt": "asked the model", "expert": "classification expert"}


def status_view(status: Status) -> dict[str, Any]:
    """The header's line, e.g. "smollm2-135m-instruct · cpu · ready · queue 0"."""
    state = "busy" if status.state == "ready" and status.queued else status.state
    who = [status.model.rstrip("/").rsplit("/", 1)[-1]]
    if status.device:
        who.append(status.device)
    what = [state]
    if status.state == "loading":
        done = "" if status.progress is None else f" {status.progress:.0%}"
        what = [f"loading{done}{': ' + status.detail if status.detail else ''}"]
    elif status.state in ("ready", "busy"):
        what.append(f"queue {status.queued}")
    return {
        "state": state,
        "who": " · ".join(who),
        "what": " · ".join(what),
        "detail": status.detail,
        "progress": status.progress,
    }


def classification(state: str, message: str = "", remedy: str = "") -> dict[str, Any]:
    """Pass one without a result: `state` is empty, off, waiting or failed."""
    return {
        "state": state,
        "message": message,
        "remedy": remedy,
        "stamp": "",
        "rows": [],
        "chosen": "",
        "said": "",
        "method": "",
        "seconds": 0.0,
        "share": None,
    }


def no_classification(dispatch: str) -> dict[str, Any]:
    """Pass one before the first question, for a dispatch mode."""
    if dispatch == "none":
        return classification("off", "The dispatcher is off: the sliders decide.")
    return classification(
        "empty", "Press Ask: pass one reads the prompt and says which expert should answer it."
    )


def classified(event: Classified, mixer: Mapping[str, Any]) -> dict[str, Any]:
    """Pass one with its result: one row a label, in the worker's order."""
    colours = expert_colours(e["name"] for e in experts_of(mixer))
    rows = []
    for label, probability in event.probabilities.items():
        expert = expert_of(mixer, label)
        raw = event.raw.get(label)
        rows.append(
            {
                "label": label,
                "p": float(probability),
                "raw": None if raw is None else float(raw),
                "expert": expert or "",
                "colour": BASE if label == OTHERS else colours.get(expert or label, BASE),
            }
        )
    return {
        **classification("done"),
        "stamp": uuid.uuid4().hex,  # of this question: a correction by hand holds for it alone
        "rows": rows,
        "chosen": event.label,
        "said": event.said,
        "method": METHODS.get(event.method, event.method),
        "seconds": event.seconds,
    }


def answer(state: str, message: str = "", remedy: str = "") -> dict[str, Any]:
    """One pane without text: `state` is empty, waiting or failed."""
    return {
        "state": state,
        "question": "",  # an id of its own: Stop holds for this question alone
        "message": message,
        "remedy": remedy,
        "pieces": [],
        "tokens": 0,
        "seconds": 0.0,
        "shifts": [],
        "compared": False,
        "first": None,
        "mark": None,
    }


def no_answer(pane: str) -> dict[str, Any]:
    """A pane before the first question."""
    if pane == "base":
        return answer("empty", "The model as it is answers here.")
    return answer("empty", "The same model with the mixture on the sliders answers here.")


class AskView:
    """The four panels an Ask moves: classification, mixer, base and adapted."""

    def __init__(self, controls: Controls, mixer: Mapping[str, Any], status: Status) -> None:
        self.mixer = dict(mixer)
        self.receipt: dict[str, Any] | None = None
        self.finished = False
        self._loading = status.state in ("loading", "restarting")
        waiting = LOADING if self._loading else "reading the prompt"
        question = {"question": uuid.uuid4().hex}
        self.panes = {pane: {**answer("waiting", waiting), **question} for pane in PANES}
        if controls.dispatch == "none":
            self.classification = no_classification("none")
        else:
            self.classification = classification("waiting")

    def values(self) -> dict[str, dict[str, Any]]:
        """Every panel's value, by name."""
        return {"classification": self.classification, "mixer": self.mixer, **self.panes}

    def apply(self, event: Event) -> set[str]:
        """Take in one event; the names of the panels that changed."""
        if isinstance(event, Queued):
            words = f"busy: {event.before} before you" if event.before else "next in line"
            if event.seconds is not None:
                words += f", {about(event.seconds)}"
            if self._loading:  # the first one comes while the model loads, later ones after
                self._loading, words = False, LOADING
            return self._set_waiting(words)
        if isinstance(event, Classified):
            self.classification = classified(event, self.mixer)
            return {"classification", *self._set_waiting("setting the sliders")}
        if isinstance(event, Mixed):
            if self.classification["state"] != "off":
                self.mixer = moved(self.mixer, event.mixture, event.set_by, event.note)
            elif event.note:
                self.mixer = {**self.mixer, "note": event.note}
            else:  # the sliders gave it, and may have moved on since: they are left alone
                return self._set_waiting("reading the prompt")
            return {"mixer", *self._set_waiting("reading the prompt")}
        if isinstance(event, Tokens):
            return self._add(event)
        if isinstance(event, Compared):
            return self._compare(event)
        if isinstance(event, Done):
            return self._finish(event)
        if isinstance(event, Failed):
            return self._fail(event)
        return set()

    def _set_waiting(self, message: str) -> set[str]:
        for pane in PANES:
            if self.panes[pane]["state"] == "waiting":
                self.panes[pane] = {**self.panes[pane], "message": message}
        return set(PANES)

    def _add(self, event: Tokens) -> set[str]:
        pane = self.panes[event.pane]
        self.panes[event.pane] = {
            **pane,
            "state": "streaming",
            "pieces": [*pane["pieces"], *event.pieces],
            "tokens": event.tokens,
            "seconds": event.seconds,
        }
        return {event.pane}

    def _compare(self, event: Compared) -> set[str]:
        shifts = [
            [s.text, s.logprob, s.base_logprob, list(s.candidates), list(s.base_candidates)]
            for s in event.shifts
        ]
        texts = ["".join(self.panes[pane]["pieces"]) for pane in PANES]
        different = event.first_difference is not None
        # counted as the browser counts, which cuts there
        same = os.path.commonprefix(texts).encode("utf-16-le", "surrogatepass")
        mark = len(same) // 2 if different else None
        common = {"compared": True, "first": event.first_difference, "mark": mark}
        self.panes["base"] = {**self.panes["base"], **common}
        self.panes["adapted"] = {**self.panes["adapted"], **common, "shifts": shifts}
        return set(PANES)

    def _finish(self, event: Done) -> set[str]:
        self.finished = True
        self.receipt = event.receipt
        state = "stopped" if event.cancelled else "done"
        for pane in PANES:
            self.panes[pane] = {**self.panes[pane], "state": state}
        changed = set(PANES)
        share = event.timings.get("pass_one_share")
        if self.classification["state"] == "done" and share is not None:
            self.classification = {**self.classification, "share": float(share)}
            changed.add("classification")
        elif self.classification["state"] == "waiting":
            self.classification = no_classification("expert")
            changed.add("classification")
        return changed

    def _fail(self, event: Failed) -> set[str]:
        self.finished = True
        for pane in PANES:
            self.panes[pane] = {
                **self.panes[pane],
                "state": "failed",
                "message": event.message,
                "remedy": event.remedy or "Ask again.",
            }
        if self.classification["state"] == "waiting":
            self.classification = classification("failed", event.message, event.remedy)
            return {"classification", *PANES}
        return set(PANES)
