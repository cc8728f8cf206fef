"""Which number a text answers with, as a careful person reads it; and that no text is too much."""

import random
from fractions import Fraction

import pytest

from t2ui.tasks.numbers import answered_number, is_number, numbers_in, same_number


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("The answer is 1.5e3", "1500", True),
        ("The answer is 0.00001", 1e-05, True),
        ("The answer is 5", 1e-05, False),
        ("The answer is 0", 1e-05, False),
        ("It is 10000000000000000", 1e16, True),
        ("about 1e+16.", 10**16, True),
        ("The answer is 1.5 \\times 10^{3}", 1500, True),
        ("10⁵", 100_000, True),
        ("2^10", "1024", True),
        ("1e99999", "1", False),
        ("The answer is 70000.50", "70000", False),
        ("The answer is 1999.9", "2000", False),
        ("2000", "1999.9", False),
        ("#### 20000.5", "#### 20000", False),
        ("20000", "20000.5", False),
        ("10000000000.5", "10000000000", False),
        ("0.0000001", "0", False),
        ("0.1 + 0.2 = 0.30000000000000004", 0.3, True),
        ("18.0", "18", True),
        ("0.0667", "0.06666666", True),
        ("0.0011", "0.001", False),
        ("The answer is - 5", "-5", True),
        ("Answer: **- 5**", "-5", True),
        ("#### - 5", "-5", True),
        ("- 5", "-5", True),
        ("Answer:\n- 5 apples\n- 3 pears", "-5", False),
        ("The answer is minus 5", "-5", True),
        ("negative 5", "-5", True),
        ("8 minus 5", "-5", False),
        ("x=-4", "-4", True),
        ("\\boxed{1{,}234}", "1234", True),
        ("1\\,234", "1234", True),
        ("$1,200.00", "1200", True),
        ("\\boxed{\\$1,234.50}", "1234.5", True),
        ("Rs.500", "500", True),
        ("The answer is Rs. 500 for 3", "500", True),
        ("50%", "50", True),
        ("50%", "0.5", True),
        ("0.5", "50%", True),
        ("5%", "0.5", False),
        ("2 million", "2000000", True),
        ("50 cents", "0.5", True),
        ("答案是5个", "5", True),
        ("５", "5", True),
    ],
)
def test_numbers_that_are_the_same(text, gold, right):
    assert same_number(text, str(gold)) is right


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is the sum of 3 and 4, which is 7.", 7),
        ("The answer is twice 9, which is 18.", 18),
        ("The answer is 7 more than 4, which is 11.", 11),
        ("The answer is 7, which is 3 more than 4.", 7),
        ("The answer is 7 which is 3 more than 4.", 7),
        ("The answer is 3 + 4, or 7.", 7),
        ("The answer is half of 14, so 7.", 7),
        ("The answer would be 18. There are 3 left", 18),
        ("The answer to the question is 18. There are 3 left", 18),
        ("the answer will be $18.", 18),
        ("The answer is 7, because 14 = 2 * 7", 7),
        ("The answer is: Mr. Benson paid $400 + $76 = $476.", 476),
        ("The answer is not 5. It is 6.", 6),
        ("The answer isn't 5, it's 6", 6),
        ("#### 5\nThe answer is correct.", 5),
        ("#### Step 1: 3\nThe total is 9", 9),
        ("Answer:\n1. Ann has 3.\n2. She buys 4.\n3. So 7", 7),
        ("Answer: 1. There is only one.", 1),
        ("<answer>5</answer> and not 4", 5),
        ("So the final answer is: $\\boxed{42}$. (See 9.)", 42),
        ("\\boxed{\\text{7 apples}} of 12", 7),
        ("\\boxed{x = 5}", 5),
        ("the area is 25 cm^2", 25),
        ("25 m2", 25),
        ("25 m²", 25),
        ("x_1 = 5", 5),
        ("12x3 = 36", 36),
        ("sqrt(16) = 4", 4),
        ("$\\frac{-1}{2}$", -0.5),
        ("2\\frac12", 2.5),
        ("2½ cups", 2.5),
        ("100/5 = 5A/5 or 20 = A", 20),
        ("This makes $30 + $160 or $190", 190),
        # none, or no single one
        ("The answer is 5 or 6", None),
        ("5 or 6", None),
        ("The answer is 3 + 4.", None),
        ("The answer is 10-12", None),
        ("\\boxed{\\sqrt{2}}", None),
        ("\\boxed{3\\sqrt{2}}", None),
        ("The answer is 3π", None),
        ("1" * 5000, None),
        ("1e" + "9" * 5000, None),
        ("9^999999999", None),
    ],
)
def test_the_number_that_answers(text, answer):
    assert answered_number(text) == (None if answer is None else Fraction(str(answer)))


def test_one_half_is_offered_once():
    assert answered_number("The answer is 1/2 or 0.5") == 0.5
    assert same_number("0.5 or 50%", "0.5")


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("-3", True),
        ("1e-05", True),
        ("$1,200.", True),
        ("12.", True),
        ("3/4", True),
        ("#### 5", True),
        ("3 apples", False),
        ("5 or 6", False),
        ("3-4", False),
        ("", False),
    ],
)
def test_texts_that_are_nothing_but_a_number(text, whole):
    assert is_number(text) is whole


PIECES = (
    *("1", "12", "1,234", ".", "-", "−", "e", "e+5", "/", "1/2", " ", "\n", "$", "\\boxed{", "}"),
    *("{", "####", "the answer is", "answer:", "which is", "=", "%", "½", "⁵", "^", "^{-3}", "10^"),
    *("×", "\\frac{", "\\frac12", "\\sqrt{", "π", "sum of", " or ", "\0", "\ud800", "٣", "\u202f"),
)


def test_no_text_is_refused():
    chance = random.Random(0)
    for _ in range(2000):
        text = "".join(chance.choices(PIECES, k=chance.randrange(30)))
        same_number(text, "5"), same_number("5", text), numbers_in(text), is_number(text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece", [*PIECES, "1 ", "1,", "= ", "answer ", "or 1 ", "1.", "+1", "((", "{}"]
)
def test_long_texts_take_no_long_time(piece):
    """Time that grows with the square of the length would not end within the test's limit."""
    text = f"The answer is {piece * 10_000} 5"
    same_number(text, "5")
