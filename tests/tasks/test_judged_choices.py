"""Which option a text chooses, as a careful person reads it."""

import random

import pytest

from t2ui.tasks.rewards import check_regex, chosen_key, contains, regex

WEATHER = {"A": "rain", "B": "fog", "C": "snow", "D": "hail"}
LETTERS = {"A": "a dog", "B": "rain", "C": "fog", "D": "thick fog"}
NUMBERS = {"A": "3", "B": "5", "C": "3.5", "D": "43"}
DIGITS = {"1": "wood", "2": "iron", "3": "honey", "4": "glass"}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("The answer is B because a car moves", "B"),
        ("The answer is C since it is cold", "C"),
        ("Answer: B is right", "B"),
        ("**Answer**: B", "B"),
        ("\\boxed{\\text{B}}", "B"),
        ("B is the correct answer.", "B"),
        ("I choose B", "B"),
        ("The answer is (A) or (B)", None),
        ("Answer: A, B, C, D", None),
        ("The answer is B. Note that A is wet", "B"),
        ("(A) is incorrect. Final answer: D.", "D"),
    ],
)
def test_choices_of_the_weather(text, key):
    assert chosen_key(text, WEATHER) == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        # by a mark
        ("The answer is option (C)", "C"),
        ("the correct answer to this question is B", "B"),
        ("The answer is definitely B", "B"),
        ("Answer B is right", "B"),
        ("Answer: Choice D.", "D"),
        ("<answer>B</answer>", "B"),
        ("$\\boxed{\\textbf{(B)}}$", "B"),
        ("\\boxed{B: rain}", "B"),
        ("\\boxed{rain}", "B"),
        ("The answer is\n\nD", "D"),
        ("answer: “B”", "B"),
        ("The answer is B - rain", "B"),
        ("The answer is B, unlike option A", "B"),
        ("The answer is B.\nExplanation: The answer A is wrong.", "B"),
        ("I'd go with C.", "C"),
        ("My pick is D", "D"),
        ("The answer is not A, it's B", "B"),
        ("Option C is right. Option A is wrong.", "C"),
        ("The answer is rain, not fog.", "B"),
        ("The answer is clearly the fog", "C"),
        # set apart
        ("<b>B</b>", "B"),
        ("I believe **B** fits.", "B"),
        ("**B. rain** since (A) barks", "B"),
        ("B) since (A) is an animal", "B"),
        ("It cannot be (A), so (B)", "B"),
        ("(A) cannot be right, (B) is.", "B"),
        ("C\n\nA. a dog is wet", "C"),
        ("B because it is wet", "B"),
        ("It barks.\n\nB", "B"),
        ("It barks, so B.", "B"),
        ("B?", "B"),
        # A is a word, too
        ("A because it barks", "A"),
        ("The answer is A because it barks", "A"),
        ("the answer is a", "A"),
        ("the answer is a dog", "A"),
        ("the answer is b", "B"),
        ("Answer: A cat", None),
        ("a car", None),
        # none, or no single one
        ("A. a dog\nB. rain\nC. fog\nD. thick fog", None),
        ("A. a dog B. rain C. fog D. thick fog", None),
        ("A. a dog\nB. rain\nC. fog\nD. thick fog\nAnswer: C", "C"),
        ("The answer is not B", None),
        ("It is not option B.", None),
        ("A and B", None),
        ("A, B and C are all right", None),
        ("The answer is either A or B", None),
        ("The answer is rain or fog", None),
        ("Option A is cold. Option B is wet.", None),
        ("None of the above", None),
        ("not fog", None),
        ("Therefore, B is heavier than C", None),
    ],
)
def test_how_people_and_models_choose(text, key):
    assert chosen_key(text, LETTERS) == key


@pytest.mark.parametrize(
    ("text", "options", "key"),
    [
        ("The answer is 5", NUMBERS, "B"),
        ("The answer is 3.5, i.e. 7/2", NUMBERS, "C"),
        ("\\boxed{3.5}", NUMBERS, "C"),
        ("43", NUMBERS, "D"),
        ("4.3", NUMBERS, None),
        ("The answer is 2 because of rust", DIGITS, "2"),
        ("The answer is 2 apples", DIGITS, None),
        ("2 or 3", DIGITS, None),
        ("The answer is 2, 3", DIGITS, None),
        ("The answer is yes", {"yes": "Yes", "no": "No"}, "yes"),
        ("I think it is cold", dict(zip("ABCDEFGHI", "qrstuvwxy", strict=True)), None),
        ("B", {"A": "x"}, None),
        ("B", {}, None),
    ],
)
def test_keys_and_options_of_other_kinds(text, options, key):
    assert chosen_key(text, options) == key


PIECES = (
    *("A", "B", "(A)", "**B**", "a ", " or ", " and ", "The answer is ", "answer: ", "####", "\n"),
    *("\\boxed{", "}", "rain", "fog", "thick ", " is wrong", " is correct", "not ", "option ", " "),
    *(
        "I choose ",
        "it is ",
        "because",
        "*",
        "_",
        "(",
        ")",
        ".",
        ",",
        "<b>",
        "</answer>",
        "so ",
        "İ",
    ),
)


def test_no_text_is_refused():
    chance = random.Random(0)
    for _ in range(1000):
        text = "".join(chance.choices(PIECES, k=chance.randrange(25)))
        assert chosen_key(text, LETTERS) in (*LETTERS, None)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", PIECES)
def test_long_texts_take_no_long_time(piece):
    chosen_key(f"The answer is {piece * 10_000} x", LETTERS)


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [("4.3", "3", False), ("it is 3.", "3", True), ("1,300", "300", False), ("so 3, 4", "3", True)],
)
def test_a_number_is_not_contained_in_another_one(text, answer, right):
    assert contains(text, answer) is right


# --- patterns ------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", ["(a|a)*$", "(a|aa)+$", "^(?:a{1,30}){1,30}b"])
def test_a_pattern_that_would_search_for_years_is_not_found(pattern):
    with pytest.warns(
        UserWarning, match="was still searching after 1 s; such texts count as wrong"
    ):
        assert regex("a" * 60 + "!", pattern) is False


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"\\frac{d}{dx}", r"\frac{d}{dx}", True),  # no fuzzy match, whatever the engine knows
        (r"\\frac{d}{dx}", r"\fra{dx}", False),
        ("x{2}", "xx", True),
        ("x{,2}y", "y", True),
        ("{}", "{}", True),
        (r"\N{DIGIT ONE}", "1", True),
        (r"[{}]\{", "{{", True),
        (r"(?i)paris", "PARIS", True),
        ("a.b", "a\nb", False),
    ],
)
def test_patterns_mean_what_they_mean_in_re(pattern, text, found):
    check_regex(pattern)
    assert regex(text, pattern) is found


@pytest.mark.parametrize("pattern", ["(", "a{99999999999}", "(" * 5000 + ")" * 5000, r"\p{L}"])
def test_patterns_that_are_none(pattern):
    with pytest.raises(ValueError):
        check_regex(pattern)
