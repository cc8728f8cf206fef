"""Plain data that the library makes and the page shows, defined once for both halves.

The library may not import messages, and the page may not import the library: what both name is
here. Every record pickles and knows no torch.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Generation:
    """One generation of a search for coefficients α. Scores are the objective's; more is better.

    Where α is per layer, every α below is the mean over layers.
    """

    number: int  # from 1
    best: float  # the best member so far; scored again in every generation that holds it
    mean: float  # of this generation's scores
    spread: float  # their standard deviation
    alpha_mean: dict[str, float]  # of the distribution that the search draws from
    alpha_spread: dict[str, float]
    population: tuple[tuple[float, ...], ...]  # (members, experts)
    scores: tuple[float, ...]  # (members,); NaN where a member could not be scored
    tokens: int  # processed so far; a backward pass counts as two forward passes
    forward_passes: int  # so far
    seconds: float  # so far
