"""Times in words, as rough as they are known."""


def about(seconds: float) -> str:
    """A rough time in words: "about 40 s", "about 3 min"."""
    if seconds < 1:
        return "about a second"
    if seconds < 90:
        step = 1 if seconds < 10 else 5
        return f"about {step * round(seconds / step)} s"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"
