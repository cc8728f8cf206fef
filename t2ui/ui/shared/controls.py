"""Everything a person can set on the Ask page, as one checked value. Pure; knows no gradio.

Built from what the browser sends, from a permalink, or from an API call: all untrusted. Numbers
out of range are clamped, unknown words fall back to the default; only the prompt is refused, by
`request`, with the message of `t2ui.checks.check_prompt`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from t2ui.catalogue import DISPATCHERS, NO_DISPATCH
from t2ui.checks import ALPHA_LIMIT, SCOPES
from t2ui.config import ROUTINGS, AnswerSettings, Sampling
from t2ui.messages import Ask
from t2ui.ui.shared.mixture import finite, weights

MAX_NEW_TOKENS = 512  # more would keep a shared machine busy for minutes
MAX_TEMPERATURE = 2.0
MAX_SEED = 2**31 - 1
SAMPLING = ("max_new_tokens", "temperature", "top_p", "seed")  # what the page offers, in order


@dataclass(frozen=True)
class Controls:
    """The prompt, the mixture on the sliders (strength × α), pass one, and decoding."""

    prompt: str = ""
    mixture: dict[str, float] = field(default_factory=dict)
    dispatch: str = AnswerSettings.dispatch  # "": the worker's own choice
    routing: str = AnswerSettings.routing
    threshold: float = AnswerSettings.threshold
    normalise: bool = AnswerSettings.normalise
    sampling: Sampling = field(default_factory=Sampling)
    allow_transfer: bool = AnswerSettings.allow_transfer
    scope: str = AnswerSettings.scope

    def request(self) -> Ask:
        """The request for the worker.

        Raises:
            InputError: an empty or far too long prompt.
        """
        return Ask(
            self.prompt,
            (self.mixture or None) if self.dispatch == NO_DISPATCH else None,
            self.dispatch,
            self.routing,
            self.threshold,
            self.normalise,
            self.sampling,
            allow_transfer=self.allow_transfer,
            scope=self.scope,
        )


def clean_sampling(
    max_new_tokens: Any = None, temperature: Any = None, top_p: Any = None, seed: Any = None
) -> Sampling:
    """Decoding settings, in the order of SAMPLING, clamped to what the page offers."""
    return Sampling(
        max_new_tokens=round(finite(max_new_tokens, 1, MAX_NEW_TOKENS, Sampling.max_new_tokens)),
        temperature=finite(temperature, 0, MAX_TEMPERATURE, Sampling.temperature),
        top_p=finite(top_p, 0.01, 1, Sampling.top_p),
        seed=round(finite(seed, 0, MAX_SEED, Sampling.seed)),
    )


def clean_mixture(mixture: Any) -> dict[str, float]:
    """A mapping of names to weights within ±ALPHA_LIMIT; zeros and nonsense are left out."""
    if not isinstance(mixture, Mapping):
        return {}
    cleaned = {
        str(name)[:100]: finite(value, -ALPHA_LIMIT, ALPHA_LIMIT, 0.0)
        for name, value in list(mixture.items())[:64]
    }
    return {name: value for name, value in cleaned.items() if value}


def clean_controls(
    prompt: Any, dispatch: Any, mixer: Any, routing: Any, threshold: Any, scope: Any, *sampling: Any
) -> Controls:
    """What the page's components hold, in this order; `sampling` as for `clean_sampling`."""
    return Controls(
        prompt=prompt if isinstance(prompt, str) else "",
        mixture=weights(mixer),
        dispatch=dispatch if dispatch in tuple(DISPATCHERS) else Controls.dispatch,
        routing=routing if routing in ROUTINGS else Controls.routing,
        threshold=finite(threshold, 0, 1, Controls.threshold),
        normalise=_ticked(mixer, "normalise"),
        sampling=clean_sampling(*sampling),
        allow_transfer=_ticked(mixer, "allow_transfer"),
        scope=scope if scope in SCOPES else Controls.scope,
    )


def _ticked(mixer: Any, box: str) -> bool:
    return bool(isinstance(mixer, Mapping) and mixer.get(box))
