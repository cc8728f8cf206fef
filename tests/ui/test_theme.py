"""Colours of the theme: text stands out from every ground that it is set on, light and dark."""

import re
from pathlib import Path

import pytest

TOKENS = (Path(__file__).resolve().parents[2] / "assets/shared/tokens.css").read_text("utf-8")
TEXTS = ("ink", "muted", "faint", "accent", "accent-strong", "up", "down", "good", "warn", "bad")
GROUNDS = ("page", "card", "sunken")
TINT = 0.46  # how much of "up" or "down" a token of an answer is tinted with, at most
HELD = 0.09  # how much of "warn" a held-out example is


def colours(theme: str) -> dict[str, list[float]]:
    block = TOKENS.split(f"{theme} {{")[1].split("}")[0]
    found = re.findall(r"--t2-([\w-]+): #(\w{6});", block)
    return {name: [int(text[i : i + 2], 16) / 255 for i in (0, 2, 4)] for name, text in found}


def mixed(colour: list[float], ground: list[float], share: float) -> list[float]:
    return [share * c + (1 - share) * g for c, g in zip(colour, ground, strict=True)]


def contrast(one: list[float], other: list[float]) -> float:
    """By WCAG 2.1, from 1 to 21."""

    def light(colour: list[float]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([light(one), light(other)])
    return (high + 0.05) / (low + 0.05)


def test_the_formula_is_that_of_the_standard():
    assert contrast([0, 0, 0], [1, 1, 1]) == pytest.approx(21)
    grey = 0x77 / 255
    assert contrast([grey] * 3, [1, 1, 1]) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", [":root", ".dark"])
def test_text_has_a_contrast_of_four_and_a_half_on_every_ground(theme):
    colour = colours(theme)
    pairs = [(text, ground) for text in TEXTS for ground in GROUNDS]
    pairs += [("ink", "line"), ("muted", "line")]  # a chosen segment, a button pointed at
    pairs += [("on-accent", "accent"), ("on-accent", "accent-strong"), ("card", "ink")]
    found = {pair: contrast(colour[pair[0]], colour[pair[1]]) for pair in pairs}
    assert {pair: value for pair, value in found.items() if value < 4.5} == {}


@pytest.mark.parametrize("theme", [":root", ".dark"])
def test_text_on_a_tint_has_it_too(theme):
    colour = colours(theme)
    tints = {name: mixed(colour[name], colour["card"], TINT) for name in ("up", "down")}
    assert min(contrast(colour["ink"], tint) for tint in tints.values()) >= 4.5
    held = mixed(colour["warn"], colour["card"], HELD)
    assert min(contrast(colour[text], held) for text in ("warn", "muted", "ink")) >= 4.5
