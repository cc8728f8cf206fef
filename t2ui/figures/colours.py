"""Colours that figures and the page share, each named once for Python.

Okabe and Ito's set, safe for colour-blind readers. The base model's grey is that of `--t2-base` in
assets/shared/tokens.css; a test holds the two together.
"""

BASE = "#868e99"  # the base model is neutral grey everywhere
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION = "#56B4E9", "#D55E00"


def faded(colour: str, alpha: float) -> str:
    """A colour with an opacity: "rgba(0,114,178,0.16)" of "#0072B2"."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
