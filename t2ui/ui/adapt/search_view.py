"""What the Adapt page shows of a search, folded from a worker's events. Plain data; no gradio."""

import math
from collections.abc import Mapping
from typing import Any

from t2ui.catalogue import SEARCH_METHODS
from t2ui.config import BEST_METHODS
from t2ui.figures import search as figures_adapt
from t2ui.figures.colours import BASE
from t2ui.figures.search import History
from t2ui.messages import (
    Adapt,
    Adapted,
    Done,
    Event,
    Failed,
    Generation,
    Queued,
    SearchBegan,
)
from t2ui.ui.shared.colours import expert_colours
from t2ui.ui.shared.durations import about

OBJECTIVES = {"likelihood": "likelihood", "reward": "right answers", "both": "both"}
UNITS = {  # of the score: up is better in each
    "likelihood": "log-likelihood per token, nats",
    "reward": "share of right answers",
    "both": "share right + nats per token",
}
LABELS = {"likelihood": "log-likelihood", "reward": "share right", "both": "score"}
EMPTY = "Give a few examples and press Start: score and α appear here, generation by generation."
LOADING = "the model is loading: the search begins as soon as it is ready"
RUNNING = ("waiting", "working")


def methods_hint() -> str:
    """What each search method does, and which is the best for what."""
    best = [
        f"{SEARCH_METHODS[BEST_METHODS[o]].words} for {words}" for o, words in OBJECTIVES.items()
    ]
    return " ".join(
        [f"Best: {', '.join(best)}.", *(f"{m.words}: {m.hint}" for m in SEARCH_METHODS.values())]
    )


def no_search(message: str = EMPTY, remedy: str = "") -> dict[str, Any]:
    """The page before a search, or when the one it asks for is gone."""
    return {
        "state": "empty",
        "message": message,
        "remedy": remedy,
        "line": "",
        "fraction": None,
        "count": 0,
        "score": "",
        "alpha": "",
        "mixture": [],
        "report": None,
    }


class SearchView:
    """One search so far. `apply` takes in its events, `value` is what the browser draws."""

    def __init__(self, request: Adapt, colours: Mapping[str, str], loading: bool = False):
        self.request = request
        self.adapted: Adapted | None = None
        self.state = "waiting"
        self.stopping = False  # somebody asked it to end, and it has not said that it did
        self._message, self._remedy = (LOADING, "") if loading else ("starting the search", "")
        self._loading = loading
        self._colours = colours
        self._most = request.config.generations
        self._held_out: tuple[int, ...] = ()
        self._generations: list[Generation] = []
        self._drawn = (0, "", "")  # generations, and their two figures

    @property
    def running(self) -> bool:
        """Whether it waits or works."""
        return self.state in RUNNING

    @property
    def _searches(self) -> int:
        """The whole work, counted in searches on all examples: leave-one-out over n comes after
        the search and is n more, each on n − 1 examples."""
        count = len(self.request.examples)
        alone = self._held_out or count < 2 or not self.request.config.held_out
        return 1 if alone else count

    @property
    def prompts(self) -> list[str]:
        """Prompts to compare answers on: those held out, else all."""
        places = self._held_out or range(len(self.request.examples))
        return [self.request.examples[place][0] for place in places]

    def apply(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, Queued) and self._loading:
            self._loading = False  # the first one comes while the model loads, later ones after
        elif isinstance(event, Queued):
            searches = "search" if event.before == 1 else "searches"
            self._message = f"busy: {event.before} {searches} before you"
        elif isinstance(event, SearchBegan):
            self.state, self._message = "working", "scoring the first members"
            self._held_out, self._most = event.held_out, event.generations
            # the page may not have known every expert: the model was loading, or one is new
            self._colours = {**expert_colours(event.experts), **self._colours}
        elif isinstance(event, Generation):
            self._generations.append(event)
        elif isinstance(event, Adapted):
            self.adapted = event
        elif isinstance(event, Done):
            self.state = "stopped" if event.cancelled else "done"
            if self.adapted is None:
                self.state = "empty"
                self._message = "Stopped before the first generation was scored. " + EMPTY
        elif isinstance(event, Failed):
            self.state, self._message = "failed", event.message
            self._remedy = event.remedy or "Change what it says, and press Start again."

    def value(self, seen: int = -1) -> dict[str, Any]:
        """What to draw; without the figures where the browser has `seen` so many generations."""
        count = len(self._generations)
        score, alpha = ("", "") if seen == count else self._figures()
        return {
            "state": self.state,
            "message": self._message,
            "remedy": self._remedy,
            "line": self._line(),
            "fraction": self._fraction(),
            "count": count,
            "score": score,
            "alpha": alpha,
            "mixture": self._mixture(),
            "report": self._report(),
        }

    def _figures(self) -> tuple[str, str]:
        count = len(self._generations)
        if self._drawn[0] != count:
            history = _history(self._generations)
            unit = UNITS[self.request.config.objective]
            colours = {name: self._colours.get(name, BASE) for name in history.alpha_mean}
            score = figures_adapt.scores(history, unit).to_json()
            self._drawn = (count, score, figures_adapt.alphas(history, colours).to_json())
        return self._drawn[1:]

    def _fraction(self) -> float | None:
        if self.state != "working":
            return None
        return min(1.0, len(self._generations) / max(1, self._most * self._searches))

    def _line(self) -> str:
        """How far it is, e.g. "generation 3 of 10 · 12 s · at most about 30 s more"."""
        if self.state == "waiting":
            return self._message
        if self.adapted is not None:
            found = self.adapted
            how = "stopped, the best so far" if self.state == "stopped" else "done"
            return f"{how} · {found.set_by} · {found.seconds:.0f} s · {found.tokens:,} tokens"
        if self.state != "working":
            return ""
        if self.stopping:
            return "stopping · the best so far is compared on the held-out examples"
        if not self._generations:
            return self._message
        last = self._generations[-1]
        left = self._most * self._searches - last.number
        more = f"at most {about(left * last.seconds / max(1, last.number))} more"
        done = f"generation {last.number} of {self._most}"
        if last.number < self._most:
            return f"{done} · {last.seconds:.0f} s · {more}"
        if self._searches == 1:
            return f"{done} · now the held-out examples"
        return f"{done} · leave-one-out over {len(self.request.examples)}: {more}"

    def _mixture(self) -> list[dict[str, Any]]:
        """The mixture found, else the mean of the last generation, one entry an expert."""
        if self.adapted is not None:
            alpha, spread = self.adapted.mixture, {}
        elif self._generations:
            alpha = self._generations[-1].alpha_mean
            spread = self._generations[-1].alpha_spread
        else:
            return []
        return [
            {
                "name": name,
                "colour": self._colours.get(name, BASE),
                "alpha": value,
                "spread": spread.get(name),
            }
            for name, value in alpha.items()
        ]

    def _report(self) -> dict[str, Any] | None:
        """Before and after in words and numbers, once there is a result."""
        found = self.adapted
        if found is None:
            return None
        objective = self.request.config.objective
        verdict = ""
        if found.before is not None and found.after is not None:
            verdict = _verdict(objective, found.before, found.after, found.n)
        return {
            "set_by": found.set_by,
            "what": found.report,
            "label": LABELS[objective],
            "unit": UNITS[objective],
            "before": found.before,
            "after": found.after,
            "right_before": found.right_before,
            "right_after": found.right_after,
            "n": found.n,
            "verdict": verdict,
            "prompts": self.prompts,
            "prompts_are": "held out" if self._held_out else "from the search itself",
        }


def _history(generations: list[Generation]) -> History:
    names = list(generations[0].alpha_mean) if generations else []
    return History(
        numbers=[g.number for g in generations],
        best=[g.best for g in generations],
        mean=[g.mean for g in generations],
        scores=[g.scores for g in generations],
        alpha_mean={name: [g.alpha_mean[name] for g in generations] for name in names},
        alpha_spread={name: [g.alpha_spread[name] for g in generations] for name in names},
        population=[g.population for g in generations],
    )


def _verdict(objective: str, before: float, after: float, n: int) -> str:
    """What the change means, in a sentence; few examples are said to be few."""
    change = after - before
    few = f" Only {n} {'example' if n == 1 else 'examples'}: a hint, not a measurement."
    if abs(change) < 1e-9:
        return "No change on these examples." + (few if n < 30 else "")
    word = "better" if change > 0 else "worse"
    if objective == "likelihood":
        factor = math.exp(min(50.0, abs(change)))
        share = factor - 1 if change > 0 else 1 - 1 / factor
        amount = f"{factor:.2g} times" if factor >= 1.5 else f"{100 * share:.2g} %"
        word = "likelier" if change > 0 else "less likely"
        sentence = f"Each token of the right answers is {amount} {word}."
    elif objective == "reward":
        sentence = f"{abs(change):.0%} of the answers {word}."
    else:
        sentence = f"{abs(change):.2g} {word} than the base model."
    return sentence + (few if n < 30 else "")
