"""What reasoning_gym's scorers say of texts, and that every generator takes its own answers."""

import generator_tasks
import pytest

from t2ui.generators import process
from t2ui.generators.process import Generator
from t2ui.generators.wording import INSTRUCTIONS, asked
from t2ui.tasks import load_task
from t2ui.tasks.answering import Draws, sample_groups
from t2ui.tasks.base import RIGHT
from t2ui.tasks.generator_scores import is_safe, readings
from t2ui.training.objectives.sampled import rollout_values

# They take seconds for a row, or to begin with.
SLOW = (
    *("arc_agi", "codeio", "countdown", "figlet_font", "futoshiki", "group_anagrams"),
    *("intermediate_integration", "knight_swap", "puzzle24", "quantum_lock", "rubiks_cube"),
    *("sudoku", "word_ladder", "zebra_puzzles"),
)
ONLY_SCORED = ("boxnet", "rush_hour")
NONSENSE = ("", "banana", "{", "(" * 999)
TEXTS = (*NONSENSE, "1/0", "[[1,2],[3", "-1e99999999", "9**9**9**9", "9" * 5000)

sums, ask = generator_tasks.sums, generator_tasks.ask  # fixtures


# --- scores --------------------------------------------------------------------------------------


def test_the_scorer_is_the_reward(tiny_tokenizer):
    """Part of the reward for a part of what is right; right only where all is."""
    task = load_task("rg:word_sequence_reversal", tiny_tokenizer, train_rows=3, limit=0)
    row = task.train[0]
    right = tiny_tokenizer.decode(row.target, skip_special_tokens=True)
    assert task.score(right, row.answer) == 1.0 and task.grade(right, row.answer)
    part = task.score(f"{right} and so on", row.answer)
    assert 0 < part < RIGHT and not task.grade(f"{right} and so on", row.answer)
    assert task.score("nothing", row.answer) == 0


def test_rollouts_are_rewarded_by_the_score(sums, tiny_llama, tiny_tokenizer, monkeypatch):
    from dataclasses import replace

    given = iter([0.25, 1.0, 0.0, 0.75])
    task = replace(sums, score=lambda text, answer: next(given, 0.5), max_new_tokens=3)
    groups = sample_groups(tiny_llama, tiny_tokenizer, task, sums.train[:2], Draws(2, 3))
    rewards = [r for group in groups for r in group.rewards.tolist()]
    assert sorted(rewards) == [-1.0, -0.5, 0.5, 1.0]
    values = rollout_values(groups, None)
    assert values["reward"] == 0 and values["accuracy"] == 0.25


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("7", True),
        (" **7**.", True),
        ("The answer is 7.", True),
        ("I think <answer>7</answer>, not 8.", True),
        ("3 + 4 = 7", True),
        ("The answer is 7.1", False),
        ("<answer>8</answer> 7", False),
        ("7 or 8", False),
        ("", False),
    ],
)
def test_what_a_text_answers_with(text, right):
    assert ("7" in readings("chain_sum", text, "7")) == right


def test_no_text_that_a_scorer_would_run_reaches_it():
    for text in ("__import__('os').getpid()", "[x for x in 'ab']", "9**9**9", "exit()", "f'{1}'"):
        for kind in ("n_queens", "binary_matrix", "countdown", "simple_integration"):
            assert not is_safe(kind, text), (kind, text)
    for kind, text in (
        ("countdown", "49*(85 - 1)/14 - 42 - 73"),
        ("simple_integration", "2*X**9 - X**8/2 + X**4 + 10*X**3/9 + X + C"),
        ("intermediate_integration", "-2*exp(3*x)*cos(x)/13 + sqrt(x)*(x + 1)**(3/2) + C"),
        ("polynomial_multiplication", "-86328*y**8 + 22464*y**7*z**2*x**3"),
        ("n_queens", "_ _ Q\nQ _ _"),
        ("spiral_matrix", "[1, 2, 3]"),
        ("string_insertion", "['A', 'B']"),
        ("dice", "41423/97280"),
    ):
        assert is_safe(kind, text), (kind, text)
    assert not is_safe("coin_flip", "1e99999999") and is_safe("coin_flip", "1e-5")


def test_a_scorer_that_takes_nonsense_is_not_asked(ask):
    """In this generator any text without "true" is right where the answer is False."""
    ask(name="game_of_life_halting", settings=[])
    rows = {i: ask(row=i)["answer"] for i in range(30)}
    assert {"True", "False"} == set(rows.values())
    for i, right in rows.items():
        assert ask(row=i, score=[right])["score"] == 1
        for wrong in ("banana", "False" if right == "True" else "True", "False " * 3):
            assert ask(row=i, score=[wrong])["score"] < RIGHT, (right, wrong)


def test_a_scorer_that_does_not_end_or_dies_costs_its_answer_only(monkeypatch, tmp_path):
    """The next answer is scored by a new process, which makes the same row."""
    code = process.CHILD.read_text(encoding="utf-8")
    here = tmp_path / "child.py"
    here.write_text(
        code.replace(
            "    def score(self, index: int, text: str) -> float:\n",
            "    def score(self, index: int, text: str) -> float:\n"
            "        if text == 'loop':\n            import time; time.sleep(99)\n"
            "        if text == 'die':\n            os._exit(1)\n",
        ),
        encoding="utf-8",
    )
    (tmp_path / "typed_settings.py").symlink_to(process.CHILD.with_name("typed_settings.py"))
    monkeypatch.setattr(process, "CHILD", here)
    monkeypatch.setattr(process, "SCORING", 1.0)
    made = Generator("gcd", [])
    row = made.row(5)
    for bad in ("loop", "die"):
        assert made.score(5, [bad]) == 0
        assert made.score(5, [row.answer]) == 1
    assert made.row(5) == row
    made._child.process.kill()  # by somebody else: the answer is not to blame
    made._child.process.wait()
    assert made.score(5, [row.answer]) == 1


# --- all of them ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def all_kinds():
    import reasoning_gym  # noqa: F401  # which registers them all
    from reasoning_gym.factory import DATASETS

    kinds = sorted(set(DATASETS) - {"composite"})
    assert len(kinds) > 100 and set(SLOW) < set(kinds) and set(INSTRUCTIONS) < set(kinds)
    return kinds


def tried(ask, kinds, rows: int) -> list[str]:
    """What is wrong with any of these, each asked for a few rows."""
    wrong = []
    for kind in kinds:
        ask(name=kind, settings=[])
        found = [(i, ask(row=i)) for i in range(rows)]
        made = [(i, row) for i, row in found if "question" in row]
        if not made:
            wrong.append(f"{kind}: {found[0][1]}")
            continue
        for i, row in made:
            for text in TEXTS:
                seen = readings(kind, text, row["answer"])
                score = ask(row=i, score=seen)["score"] if seen else 0.0
                if not 0 <= score <= 1 or (text in NONSENSE and score >= RIGHT):
                    wrong.append(f"{kind}: {text[:20]!r} scores {score}")
            if (row["answer"] is None) != (kind in ONLY_SCORED):
                wrong.append(f"{kind}: the answer is {row['answer']!r}")
            elif row["answer"] is not None:
                seen = readings(kind, row["answer"], row["answer"])
                if not seen or ask(row=i, score=seen)["score"] < RIGHT:
                    wrong.append(f"{kind}: its own answer is wrong, {row['answer'][:40]!r}")
            if not asked(kind, row["question"], "chat", None):
                wrong.append(f"{kind}: no question")
    return wrong


def test_every_generator_makes_rows_and_takes_their_answers(ask, all_kinds):
    assert tried(ask, [kind for kind in all_kinds if kind not in SLOW], 3) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_slow_ones_too(ask):
    assert tried(ask, SLOW, 2) == []
