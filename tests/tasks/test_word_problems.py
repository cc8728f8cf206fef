"""Numbers as they are written, and word problems as examples."""

import re
from fractions import Fraction

import pytest

from t2ui.errors import InputError
from t2ui.tasks import load_task
from t2ui.tasks.numbers import answered_number, numbers_in, same_number
from t2ui.tasks.renumber import variants
from t2ui.tasks.word_problems import STYLES, steps


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("#### 1,200", [1200]),
        ("1,234,567.5 people", [1234567.5]),
        ("-3", [-3]),
        ("−3 degrees", [-3]),
        ("x = -3", [-3]),
        ("(-4)", [-4]),
        ("5-3", [5, 3]),
        ("5 - 3 = 2", [5, 3, 2]),
        ("pages 10–20", [10, 20]),
        ("$4.50", [4.5]),
        ("$ 9.98", [9.98]),
        ("-$12", [-12]),
        ("$-7", [-7]),
        ("1/2", [0.5]),
        ("\\frac{1}{2}", [0.5]),
        ("-\\dfrac{3}{4}", [-0.75]),
        ("2 1/2 cups", [2.5]),
        ("5/0", [5]),
        (".5", [0.5]),
        ("12.", [12]),
        ("3.5.", [3.5]),
        ("1,23", [1, 23]),
        ("in 1999, 12 came", [1999, 12]),
        ("50% of 80", [50, 80]),
        ("none", []),
    ],
)
def test_numbers_of_a_text(text, numbers):
    assert numbers_in(text) == [Fraction(str(n)) for n in numbers]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("70 - 27 = 43", 43),
        ("The answer is 7. That is 3 more than 4.", 7),
        ("Answer: $1,200 in 3 years", 1200),
        ("First \\boxed{3}, no: \\boxed{-4} (see 9)", -4),
        ("3 * 4 = 12\n#### 12", 12),
        ("The answer is 3 + 4 = 7.", 7),
        ("The answer is 3 + 4 = 7 and 7 * 2 = 14", 7),
        ("\\boxed{2 * 3 = 6}", 6),
        ("The answer is 5 apples = 5 fruits", 5),
        ("The answer is: Tom has 12 - 5 = 7 marbles.", 7),
        ("The answer is 12 x 3 = 36.", 36),
        ("The answer is 3 cows + 4 cows = 7 cows. He had 3 = three before.", 7),
        ("The answer is X = 3 + 4 = 7", 7),
        ("The answer is X = 1/2", 0.5),
        ("So \\boxed{7}$ where x = 3.", 7),
        ("\\boxed{\\frac{1}{2}}", 0.5),
    ],
)
def test_the_number_a_text_answers_with(text, answer):
    assert answered_number(text) == Fraction(str(answer))


def test_a_text_without_numbers_is_wrong():
    assert answered_number("many") is None
    assert not same_number("many", "3")
    assert not same_number("", "0")


@pytest.mark.parametrize(
    ("text", "answer", "same"),
    [
        ("1200", "1,200", True),
        ("200", "1,200", False),
        ("3", "-3", False),
        ("0.3333", "1/3", True),
        ("0.33", "1/3", False),
        ("29.0", "29", True),
        ("28.999999999999996", "29", True),
        ("1000001", "1000000", False),
        ("1000001.5", "1000000.5", True),  # one part in ten thousand
        ("290", "29", False),
    ],
)
def test_equal_numbers(text, answer, same):
    assert same_number(text, answer) is same


def test_steps_are_the_equation_innermost_first():
    lines, value = steps("X=(36.0 - (19.0 + 14.0))", "here")
    assert lines == ["19 + 14 = 33", "36 - 33 = 3"]
    assert value == 3
    assert steps("X=0.41-0.33", "here") == (["0.41 - 0.33 = 0.08"], Fraction("0.08"))
    assert steps("X=7.0/2", "here")[0] == ["7 / 2 = 3.5"]
    assert steps("X=-2*3", "here")[0] == ["-2 * 3 = -6"]
    assert steps("X=5", "here") == (["5"], 5)


@pytest.mark.parametrize("equation", ["X=a+1", "X=3/0", "X=__import__('os')", "X=2**9", "X=", "("])
def test_an_equation_that_cannot_be_read(equation):
    with pytest.raises(InputError, match="all.jsonl, row 7: equation"):
        steps(equation, "all.jsonl, row 7")


# --- variants with other numbers -----------------------------------------------------------------


def test_variants_tell_the_same_story_with_other_numbers():
    story = "Ann has 12 pens and 1 cap. She buys 30 pens. How many pens has Ann?"
    found = list(variants(story, "X=(12.0+30.0)", steps, 5, seed="a"))
    assert len({asked for asked, _, _ in found}) == 5
    for asked, lines, result in found:
        assert asked != story and "1 cap" in asked
        first, _, second = (int(n) for n in re.findall(r"\d+", asked))
        assert lines == [f"{first} + {second} = {first + second}"] and result == first + second
        assert len(str(first)) <= 2 and len(str(second)) <= 2
    assert found == list(variants(story, "X=(12.0+30.0)", steps, 5, seed="a"))
    assert found != list(variants(story, "X=(12.0+30.0)", steps, 5, seed="b"))


@pytest.mark.parametrize(
    ("story", "equation"),
    [
        ("There are 24 pens in 6 boxes.", "X=(24.0/6.0)"),
        ("He had 20, gave 7 away and lost 3.", "X=((20.0-7.0)-3.0)"),
    ],
)
def test_whole_and_positive_results_stay_so(story, equation):
    found = list(variants(story, equation, steps, 6, seed="a"))
    assert len(found) == 6
    assert all(result > 0 and result.denominator == 1 for _, _, result in found)
    assert all(re.fullmatch(r"[-/= \d\n]+", "\n".join(lines)) for _, lines, _ in found)


def test_decimals_and_thousands_keep_their_looks():
    asked, lines, _ = next(variants("$3.42 of 1,250", "X=(3.42*1250.0)", steps, 1, seed="a"))
    price, amount = re.fullmatch(r"\$(\d\.\d\d) of (\S+)", asked).groups()
    assert amount == f"{int(amount.replace(',', '')):,}"
    assert lines[0].startswith(f"{float(price):g} * {amount.replace(',', '')} = ")


@pytest.mark.parametrize(
    ("story", "equation"),
    [
        ("Tom has twice as many as the 4 of Ann.", "X=(2.0*4.0)"),  # 2 stands there as a word
        ("A square has sides of 4.", "X=(4.0*4.0)"),  # which 4 is which
    ],
)
def test_problems_that_cannot_be_varied_are_left(story, equation):
    assert list(variants(story, equation, steps, 3, seed="a")) == []


# --- the public sets -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arith(data_dir, tiny_tokenizer):
    return load_task("arith", tiny_tokenizer, data_dir)


def question(tokenizer, example) -> str:
    return tokenizer.decode(example.question.prompt, skip_special_tokens=True)


def test_the_split_has_all_problems_once(arith):
    parts = {"train": arith.train, "validation": arith.validation, "test": arith.test}
    assert len(arith.test) >= 500
    ids = [row.id for part in parts.values() for row in part]
    assert len(ids) == len(set(ids))
    assert sum("variant" not in i for i in ids) == 1492


def test_only_training_problems_come_with_other_numbers(arith, tiny_tokenizer):
    assert not any("variant" in row.id for row in (*arith.validation, *arith.test))
    varied = [row for row in arith.train if "variant" in row.id]
    assert len(varied) > 4 * (len(arith.train) - len(varied))
    trained = [question(tiny_tokenizer, row) for row in arith.train]
    assert len(set(trained)) > 0.999 * len(trained)


def test_no_test_problem_has_a_variant_in_training(arith, tiny_tokenizer):
    def words(row):
        return frozenset(w for w in question(tiny_tokenizer, row).casefold().split() if w.isalpha())

    # variants with other numbers have the same words as theirs
    trained = [words(r) for r in (*arith.train, *arith.validation) if "variant" not in r.id]
    close = [
        row.id
        for row in arith.test
        if any(len((one := words(row)) & t) > 0.75 * len(one | t) for t in trained)
    ]
    assert close == []


@pytest.mark.parametrize("name", ["arith", "gsm8k"])
def test_right_completions_are_right(name, data_dir, tiny_tokenizer):
    task = load_task(name, tiny_tokenizer, data_dir)
    for row in (*task.train[:200], *task.validation[:50], *task.test[:200]):
        text = tiny_tokenizer.decode(row.target, skip_special_tokens=True)
        assert task.grade(text, row.answer), row.id
        assert row.target[-1] == tiny_tokenizer.eos_token_id
        assert not task.grade("#### 7777771", row.answer), row.id


def test_styles_change_the_prompt_alone(data_dir, tiny_tokenizer, arith):
    other = load_task("arith", tiny_tokenizer, data_dir, style="steps")
    assert [row.id for row in other.test] == [row.id for row in arith.test]
    assert "Think step by step" in question(tiny_tokenizer, other.test[0])
    assert other.test[0].target == arith.test[0].target
    with pytest.raises(InputError, match=f"style is 'poem'; expected {', '.join(STYLES)}"):
        load_task("arith", tiny_tokenizer, data_dir, style="poem")
