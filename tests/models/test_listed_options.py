"""Options that a prompt lists behind its question."""

import pytest

from t2ui.models.listed_options import listed_options


@pytest.mark.parametrize(
    ("prompt", "question", "options"),
    [
        ("What melts?\nA) ice\nB) iron", "What melts?", ("ice", "iron")),
        (
            "What melts?\n\n(A) ice \n(B) iron\n(C) a stone\n\n",
            "What melts?",
            ("ice", "iron", "a stone"),
        ),
        ("What melts?\n  A. ice\n  B. 5 °C", "What melts?", ("ice", "5 °C")),
        ("A) old\nB) list\nNow?\nA: new\nB: one", "A) old\nB) list\nNow?", ("new", "one")),
        ("Pick.\nA) A) x\nB) B", "Pick.", ("A) x", "B")),
        ("Which is more: 1,000 or 2,000?", "Which is more?", ("1,000", "2,000")),
        ("What melts: ice or a stone?", "What melts?", ("ice", "a stone")),
        (" What melts : ice, wax, or\n5 °C?\n", "What melts?", ("ice", "wax", "5 °C")),
        (
            "Two cups: one is hot. Which melts: ice or wax?",
            "Two cups: one is hot. Which melts?",
            ("ice", "wax"),
        ),
    ],
)
def test_a_list_at_the_end_is_the_options(prompt, question, options):
    assert listed_options(prompt) == (question, options)


@pytest.mark.parametrize(
    "prompt",
    [
        "What melts?",
        "A) ice\nB) iron",  # no question
        "What melts?\nA) ice",
        "What melts?\nA) ice\nC) iron",
        "What melts?\nB) ice\nC) iron",
        "What melts?\nA) ice\nB) ice",
        "What melts?\nA) ice\nB) iron\nAnswer with a letter.",
        "What melts?\na) ice\nb) iron",
        "What melts?\n" + "\n".join(f"{letter}) {letter}" for letter in "ABCDEFGHI"),
        "",
        "Is it ice or wax?",  # where the options begin is anybody's guess
        "What melts: ice?",
        "What melts: ice, wax?",
        "What melts: ice or ice?",
        "What melts: ice, , or wax?",
        "What melts: ice or wax, or iron or lead?",
        "What melts: ice or wax? Say why.",
        ": ice or wax?",
        "Which: " + ", ".join("abcdefgh") + " or i?",
        "Translate to German: Do you want tea or coffee?",
        "What is said?\nTom: do you want tea or coffee?",
        "Context: what melts\n\nQuestion: Is the sky blue or green?",
        "Note: the answer must be short. What is 2+2, or is it unknown?",
        "What does this print?\nif x: y = a or b?",
        "What of https://a.b/c or https://a.b/d?",
        "When is the meeting, 10:30 or 11:30?",
        "How is it: " + "a very long tale of what one did " * 2 + "or nothing?",
        "Which x: " + " " * 20_000 + "y",
        "Which x: a" + " " * 20_000 + "b or c",
    ],
)
def test_anything_else_is_none(prompt):
    assert listed_options(prompt) is None
