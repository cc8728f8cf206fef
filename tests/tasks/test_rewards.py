"""Which texts are right answers; the traps of other parsers are cases here."""

import json

import pytest

from t2ui.tasks.numbers import same_number
from t2ui.tasks.rewards import choice, chosen_key, contains, exact, regex

LETTERS = {"A": "a dog", "B": "rain", "C": "fog", "D": "thick fog"}
DIGITS = {"1": "wood", "2": "iron", "3": "honey", "4": "glass"}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("B", "B"),
        ("b", "B"),
        (" B.", "B"),
        ("(B)", "B"),
        ("B)", "B"),
        ("**B**", "B"),
        ("B. rain", "B"),
        ("B: rain", "B"),
        ("B\nbecause it is wet", "B"),
        ("C.", "C"),
        ("The answer is B.", "B"),
        ("Answer: (C)", "C"),
        ("answer is **D**", "D"),
        ("#### C", "C"),
        (r"So \boxed{C}.", "C"),
        (r"\boxed{\n B}".replace(r"\n", "\n"), "B"),
        ("Option D", "D"),
        ("First A seems right, but the answer is B", "B"),
        ("The answer is A? No: the answer is C", "C"),
        ("I would go for (D), I think", "D"),
        ("rain", "B"),
        ("It is rain.", "B"),
        ("the Rain", "B"),
        ("thick fog", "D"),
        ("fog", "C"),
        ("The answer is rain", "B"),
        ("A. a dog", "A"),
        ("A", "A"),
        ("(a) a dog", "A"),
        # none, or no single one
        ("A cat sat on the mat", None),
        ("A brown fox", None),
        ("", None),
        ("E", None),
        ("Because", None),
        ("(A) or (B)", None),
        ("rain or fog", None),
        ("Bad", None),
        ("the answer is a cat", None),
        ("C'est", None),
    ],
)
def test_which_option_a_text_chooses(text, key):
    assert chosen_key(text, LETTERS) == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("2", "2"),
        ("(3)", "3"),
        ("The answer is 4", "4"),
        ("4.", "4"),
        ("2. iron", "2"),
        ("Answer: 1", "1"),
        ("iron", "2"),
        ("3 apples", None),
        ("2.5", None),
        ("21", None),
        ("the answer is 25", None),
        ("the answer is 2.5", None),
        ("5", None),
        ("1,200", None),
    ],
)
def test_digits_are_keys_too(text, key):
    """ARC has rows with keys 1 to 4: the authors' parser never matches those."""
    assert chosen_key(text, DIGITS) == key


def test_a_choice_is_right_when_it_is_the_key():
    answer = json.dumps({"key": "2", "options": DIGITS})
    assert choice("The answer is 2", answer) and choice("iron", answer)
    assert not choice("The answer is 3", answer) and not choice("no idea", answer)


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("#### 1,200", "1200", True),  # the authors' parser reads 200
        ("#### 200", "1,200", False),
        ("#### -5", "-5", True),  # and drops the sign
        ("#### 5", "-5", False),
        ("it costs $4.50", "4.5", True),
        ("the answer is −3", "-3", True),
        ("3/4", "0.75", True),
        ("I think 12.", "12", True),
        ("no number", "12", False),
    ],
)
def test_numbers(text, answer, right):
    assert same_number(text, answer) is right


def test_exact_minds_everything_but_white_space():
    assert exact(" a\n b ", "a b")
    assert not exact("A b", "a b") and not exact("a b.", "a b")


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("I saw a Cat.", "cat", True),
        ("concatenate", "cat", False),
        ("new\nyork city", "New York", True),
        ("it is C++ then", "C++", True),
        ("über alles", "Über", True),
        ("a cat", " ", False),
    ],
)
def test_contains_whole_words(text, answer, right):
    assert contains(text, answer) is right


def test_regex_is_searched_in_the_text():
    assert regex("it is 12:30 now", r"\d\d:\d\d") and not regex("noon", r"\d")
