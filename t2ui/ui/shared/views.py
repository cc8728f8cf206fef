"""What the Ask page's panels show of an answer so far. Plain data; knows no gradio.

`AskView.apply(event)` returns the names of the panels that changed, so that a stream sends only
those to the browser.
"""

import os
import uuid
from collections.abc import Mapping
from typing import Any

from t2ui.catalogue import DISPATCHERS, NO_DISPATCH
from t2ui.config import OTHERS
from t2ui.figures.colours import BASE
from t2ui.messages import PANES, AnswerSoFar, Classified, Event, Mixed, Queued, Reading, Status
from t2ui.ui.shared.colours import expert_colours
from t2ui.ui.shared.controls import Controls
from t2ui.ui.shared.durations import about
from t2ui.ui.shared.mixture import expert_of, experts_of, moved

LOADING = "the model is loading: yours is answered as soon as it is ready"


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
        "prompt": "",
        "rows": [],
        "chosen": "",
        "said": "",
        "method": "",
        "seconds": 0.0,
        "share": None,
    }


def no_classification(dispatch: str) -> dict[str, Any]:
    """Pass one before the first question, for a dispatch mode."""
    if dispatch == NO_DISPATCH:
        return classification("off", "The dispatcher is off: the sliders decide.")
    return classification(
        "empty", "Press Ask: pass one reads the prompt and says which expert should answer it."
    )


def classified(
    event: Classified, mixer: Mapping[str, Any], stamp: str, prompt: str
) -> dict[str, Any]:
    """Pass one of a prompt with its result: one row a label, in the worker's order.

    The stamp is the question's own: a correction by hand holds for it alone.
    """
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
        "stamp": stamp,
        "prompt": prompt,
        "rows": rows,
        "chosen": event.label,
        "said": event.said,
        "method": DISPATCHERS[event.method].words,
        "seconds": event.seconds,
    }


def answer(state: str, message: str = "", remedy: str = "") -> dict[str, Any]:
    """One pane without text: `state` is empty, waiting or failed."""
    return {
        "state": state,
        "question": "",  # an id of its own: Stop holds for this question alone
        "job": "",  # the worker's id of it, by which it is steered
        "live": False,  # it was asked again because the sliders moved
        "answered": None,  # what made the text, see `AskView.answered`
        "steered": [],  # [token's place, mixture from there on]
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


def _used(mixture: Mapping[str, float]) -> dict[str, float]:
    return {name: float(alpha) for name, alpha in mixture.items() if alpha}


class AskView:
    """The four panels an Ask moves: classification, mixer, base and adapted."""

    def __init__(
        self, controls: Controls, mixer: Mapping[str, Any], status: Status, live: bool = False
    ) -> None:
        self.answer = AnswerSoFar()
        self.job = ""  # the worker's id, once it was asked
        self._live = live
        self._asked, self._mixer = controls, dict(mixer)
        self._question, self._stamp = uuid.uuid4().hex, uuid.uuid4().hex
        self._loading = status.state in ("loading", "restarting")
        self._waiting = LOADING if self._loading else "reading the prompt"

    @property
    def receipt(self) -> dict[str, Any] | None:
        return self.answer.done.receipt if self.answer.done else None

    @property
    def classification(self) -> dict[str, Any]:
        """Pass one, as far as it is."""
        answer = self.answer
        if self._asked.dispatch == NO_DISPATCH:
            return no_classification(NO_DISPATCH)
        if answer.classified:
            share = answer.done.timings.get("pass_one_share") if answer.done else None
            prompt = self._asked.prompt
            shown = classified(answer.classified, self._mixer, self._stamp, prompt)
            return {**shown, "share": None if share is None else float(share)}
        if answer.failed:
            return classification("failed", answer.failed.message, answer.failed.remedy)
        if answer.done:
            return no_classification(self._asked.dispatch)
        return classification("waiting")

    @property
    def mixer(self) -> dict[str, Any]:
        """The sliders, moved by pass one; those that a hand set are left alone."""
        mixed = self.answer.mixed
        if mixed and self._asked.dispatch != NO_DISPATCH:
            return moved(self._mixer, mixed.mixture, mixed.set_by, mixed.note)
        return {**self._mixer, "note": mixed.note} if mixed and mixed.note else self._mixer

    @property
    def answered(self) -> dict[str, Any] | None:
        """What makes the text in the panes: its prompt, and the coefficients as they act.

        The only place that says so. The browser compares it with the prompt and the sliders of
        the moment, and marks the text as old where they say otherwise by now. `mixture` is the one
        in force, `before` are those that it was steered away from.
        """
        mixed = self.answer.mixed
        if mixed is None:
            return None
        steered = self.answer.steered
        *before, mixture = map(_used, [mixed.mixture, *(one.mixture for one in steered)])
        return {
            "prompt": self._asked.prompt,
            "mixture": mixture,
            "before": before,
            "set_by": "you" if steered else mixed.set_by,
        }

    @property
    def panes(self) -> dict[str, dict[str, Any]]:
        return {pane: self._pane(pane) for pane in PANES}

    def values(self) -> dict[str, dict[str, Any]]:
        """Every panel's value, by name."""
        return {"classification": self.classification, "mixer": self.mixer, **self.panes}

    def apply(self, event: Event) -> set[str]:
        """Take in one event; the names of the panels that changed."""
        before = self.values()
        self.answer = self.answer.after(event)
        if isinstance(event, Queued):
            words = f"busy: {event.before} before you" if event.before else "next in line"
            if event.seconds is not None:
                words += f", {about(event.seconds)}"
            # the first one comes while the model loads, later ones after
            self._waiting, self._loading = LOADING if self._loading else words, False
        elif isinstance(event, Reading):
            self._waiting = f"reading {event.tokens:,} of {event.of:,} tokens"
        elif isinstance(event, (Classified, Mixed)):
            first = isinstance(event, Classified)
            self._waiting = "setting the sliders" if first else "reading the prompt"
        changed = {name for name, value in self.values().items() if value != before[name]}
        if isinstance(event, Mixed) and self._asked.dispatch != NO_DISPATCH:
            changed.add("mixer")  # equal to what it was here, but a hand may have moved it since
        return changed

    def _pane(self, name: str) -> dict[str, Any]:
        done, failed, written = self.answer.done, self.answer.failed, self.answer.written(name)
        if failed:
            shown = answer("failed", failed.message, failed.remedy or "Ask again.")
        elif done:
            shown = answer("stopped" if done.cancelled else "done")
        else:
            shown = answer("streaming" if written.pieces else "waiting", self._waiting)
        return {
            **shown,
            "question": self._question,
            "job": self.job,
            "live": self._live,
            "answered": self.answered,
            "steered": self._steered if name == "adapted" else [],
            "pieces": list(written.pieces),
            "tokens": written.tokens,
            "seconds": written.seconds,
            **self._compared(name),
        }

    @property
    def _steered(self) -> list[list[Any]]:
        return [[one.token, _used(one.mixture)] for one in self.answer.steered]

    def _compared(self, name: str) -> dict[str, Any]:
        """What a pane shows once both answers were compared token by token."""
        compared = self.answer.compared
        if compared is None:
            return {}
        texts = [self.answer.written(pane).text for pane in PANES]
        # counted as the browser counts, which cuts there
        same = os.path.commonprefix(texts).encode("utf-16-le", "surrogatepass")
        different = compared.first_difference is not None
        shifts = [
            [s.text, s.logprob, s.base_logprob, list(s.candidates), list(s.base_candidates), s.kl]
            for s in compared.shifts
        ]
        return {
            "compared": True,
            "first": compared.first_difference,
            # asked again, the base model's text is not known here
            "mark": len(same) // 2 if different and not self._live else None,
            "shifts": shifts if name == "adapted" else [],
        }
