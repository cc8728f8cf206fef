"""One colour for each expert, the same on slider, bar, chip, curve and token tint.

Okabe and Ito's set first (safe for colour-blind readers), then Paul Tol's muted one. A name keeps
its colour whatever else is in the library, unless two unknown names want the same one.
"""

import hashlib
from collections.abc import Iterable

from t2ui.figures.colours import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

KNOWN = {"math": BLUE, "code": ORANGE, "reasoning": GREEN, "dispatch": PURPLE}
FREE = (SKY, VERMILION, "#AA4499", "#999933", "#44AA99", "#6699CC", "#CC6677", "#88AA22")


def other_colour(colour: str, taken: Iterable[str]) -> str:
    """A colour for what stands beside `colour`; one that is not taken, while there is one."""
    wishes = [free for free in FREE if free != colour]
    return next((free for free in wishes if free not in set(taken)), wishes[0])


def expert_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in any order of names the same."""
    colours: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(set(names)):
        if name in KNOWN:
            colours[name] = KNOWN[name]
            continue
        first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        wishes = [FREE[(first + i) % len(FREE)] for i in range(len(FREE))]
        colours[name] = next((colour for colour in wishes if colour not in taken), wishes[0])
        taken.add(colours[name])
    return colours
