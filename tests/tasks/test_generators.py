"""Tasks from reasoning_gym: settings, rows, parts that are kept apart, scores, and every door."""

import json
import os
import re
import time

import pytest
from tiny import make_tiny, make_tokenizer

from t2ui.errors import InputError
from t2ui.generators import process
from t2ui.generators.process import Generator
from t2ui.generators.stream import SHARES, part_of
from t2ui.generators.wording import INSTRUCTIONS, asked
from t2ui.models.questions import Question
from t2ui.svf.expert import Expert
from t2ui.tasks import load_task, name_and_style
from t2ui.tasks.answering import Draws, sample_groups
from t2ui.tasks.base import RIGHT
from t2ui.tasks.generated import opened
from t2ui.tasks.generator_scores import is_safe, readings
from t2ui.tasks.splits import same_prompt
from t2ui.training.objectives.sampled import rollout_values

SUMS = "rg:chain_sum:max_terms=2:max_digits=1"
# They take seconds for a row, or to begin with.
SLOW = (
    *("arc_agi", "codeio", "countdown", "figlet_font", "futoshiki", "group_anagrams"),
    *("intermediate_integration", "knight_swap", "puzzle24", "quantum_lock", "rubiks_cube"),
    *("sudoku", "word_ladder", "zebra_puzzles"),
)
ONLY_SCORED = ("boxnet", "rush_hour")
NONSENSE = ("", "banana", "{", "(" * 999)
TEXTS = (*NONSENSE, "1/0", "[[1,2],[3", "-1e99999999", "9**9**9**9", "9" * 5000)


@pytest.fixture(scope="module")
def sums(tiny_tokenizer):
    return load_task(SUMS, tiny_tokenizer, train_rows=20, validation_rows=5, limit=10)


@pytest.fixture(scope="module")
def ask():
    """One process that is asked for any generator: to start one takes seconds."""
    child = process._Child()

    def asked(**what):
        reply = child.asked(json.dumps(what), 300)
        if "refused" in reply:
            raise InputError(reply["refused"])
        return reply

    yield asked
    process._end(child)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model and a folder of no experts."""
    folder = tmp_path_factory.mktemp("generators")
    make_tiny("llama").save_pretrained(folder / "tiny")
    make_tokenizer().save_pretrained(folder / "tiny")
    (folder / "experts").mkdir()
    return folder


def prompts(rows) -> set[str]:
    return {same_prompt(row.prompt) for row in rows}


# --- names and settings --------------------------------------------------------------------------


def test_settings_stand_behind_the_name_and_a_style_behind_them():
    assert name_and_style("rg:chain_sum") == ("rg:chain_sum", "")
    assert name_and_style("rg:chain_sum:question") == ("rg:chain_sum", "question")
    assert name_and_style(f"{SUMS}:question") == (SUMS, "question")


def test_a_name_keeps_the_settings_that_are_not_at_their_default():
    assert opened("rg:chain_sum:min_terms=2:max_digits=1").name == "rg:chain_sum:max_digits=1"


def test_settings_are_read_as_their_types(ask):
    typed = ["operators=+", "operators=-", "allow_negation=false"]
    assert ask(name="basic_arithmetic", settings=typed)["settings"] == typed
    questions = [ask(row=i)["question"] for i in range(8)]
    assert not re.search(r"[*/]", " ".join(questions))
    ask(name="word_sorting", settings=["transformation=uppercase"])
    assert ask(row=0)["answer"].isupper()
    typed = ["min_time=08.30", "min_date=1999-12-31"]
    written = ask(name="time_intervals", settings=typed)["settings"]
    assert written == ["min_time=08.30.00", "min_date=1999-12-31"]
    ask(name="number_sorting", settings=["min_value=0", "max_value=9.5"])
    ask(name="figlet_font", settings=["static_word=on", "static_font=standard"])
    assert ask(row=0)["answer"] == "on"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rg:chain_sums", "no generator 'chain_sums' in reasoning_gym; near it: chain_sum"),
        ("rg:nope", "are listed in its GALLERY.md (https://"),
        ("rg:composite", "There is no generator 'composite'"),
        ("rg:lcm:max_value=x", "max_value is 'x'; expected a whole number. Its settings: min_num"),
        ("rg:lcm:bound=3", "rg:lcm has no setting 'bound=3'. Its settings: min_numbers=2, "),
        ("rg:lcm:seed=3", "rg:lcm has no setting 'seed=3'"),
        ("rg:lcm:5", "rg:lcm has no setting '5'"),
        ("rg:lcm:max_value=0", "rg:lcm refuses these settings (max_value must be > min_value)"),
        ("rg:lcm:max_value=5:max_value=6", "max_value is given 2 times; once is enough"),
        ("rg:number_sorting:max_value=x", "max_value is 'x'; expected a number"),
        ("rg:chain_sum:allow_negation=yes", "expected true or false"),
        ("rg:word_sorting:transformation=x", "expected lowercase, uppercase, original, randomcase"),
        ("rg:list_functions:x=1", "It has no settings."),
    ],
)
def test_what_there_is_none_of_is_one_line(name, said, ask):
    kind, *typed = name.removeprefix("rg:").split(":")
    with pytest.raises(InputError) as refused:
        ask(name=kind, settings=typed)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("package", ["reasoning_gym", "cellpylib"])
def test_a_package_that_is_not_installed_is_named(package, tmp_path, monkeypatch):
    absent = f"raise ModuleNotFoundError('No module named {package}', name='{package}')"
    (tmp_path / f"{package}.py").write_text(absent, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match=rf"not installed: pip install {package}\.$"):
        opened("rg:game_of_life")


def test_settings_under_which_there_are_no_rows(tiny_tokenizer):
    with pytest.raises(InputError, match="rg:spell_backward:min_word_len=30:max_word_len=40 makes"):
        load_task("rg:spell_backward:min_word_len=30:max_word_len=40", tiny_tokenizer)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"style": "loud"}, "expected chat or question"), ({"train_rows": -1}, "train_rows is -1")],
)
def test_options_that_cannot_be(options, said, tiny_tokenizer):
    with pytest.raises(InputError, match=said):
        load_task("rg:lcm", tiny_tokenizer, **options)


# --- rows ----------------------------------------------------------------------------------------


def test_rows_are_token_ids_with_the_right_answer_behind(sums, tiny_tokenizer):
    assert [len(part) for part in (sums.train, sums.validation, sums.test)] == [20, 5, 10]
    row = sums.train[0]
    question, line = row.prompt.split("\n")
    left, sign, right = re.search(r"(\d+) ([-+]) (\d+) =$", question).groups()
    said = int(left) + int(right) if sign == "+" else int(left) - int(right)
    assert line == "Answer with the number only."
    assert tiny_tokenizer.decode(row.target, skip_special_tokens=True) == str(said)
    assert row.target[-1] == tiny_tokenizer.eos_token_id
    assert sums.name == SUMS and sums.labels == ("chain_sum",)
    assert sums.max_new_tokens == 32 and sums.grade(f" {said}\n", row.answer)


def test_the_line_on_the_form_can_be_another_or_none(tiny_tokenizer):
    few = {"train_rows": 2, "validation_rows": 2, "limit": 2}
    alone = load_task(SUMS, tiny_tokenizer, style="question", **few)
    assert alone.train[0].prompt.endswith("=")
    other = load_task(SUMS, tiny_tokenizer, instruction="In digits.", **few)
    assert other.train[0].prompt == f"{alone.train[0].prompt}\nIn digits."
    assert other.name != alone.name and [row.id for row in other.test] == [
        row.id for row in alone.test
    ]
    assert load_task(SUMS, tiny_tokenizer, instruction="", **few).train[0] == alone.train[0]


def test_training_rows_can_stand_before_the_question(tiny_tokenizer):
    few = {"train_rows": 4, "validation_rows": 2, "limit": 2}
    alone = load_task(SUMS, tiny_tokenizer, **few)
    shown = load_task(SUMS, tiny_tokenizer, shots=2, **few)
    before = "".join(
        f"{row.prompt}\n{tiny_tokenizer.decode(row.target, skip_special_tokens=True)}\n\n"
        for row in alone.train[:2]
    )
    assert [row.prompt for row in shown.test] == [before + row.prompt for row in alone.test]
    assert [row.id for row in shown.test] == [row.id for row in alone.test]
    assert shown.name == f"{alone.name}:shots=2"
    with pytest.raises(InputError, match="shots is -1; expected 0 or more"):
        load_task(SUMS, tiny_tokenizer, shots=-1)


def test_a_prompt_is_in_one_part_under_all_settings_and_counts(tiny_tokenizer):
    """Sums of one digit are few: the parts would share prompts if seeds alone kept them apart."""
    tasks = [
        load_task(SUMS, tiny_tokenizer),
        load_task(f"{SUMS}:min_terms=2", tiny_tokenizer, train_rows=10, limit=30),
        load_task("rg:chain_sum:max_terms=2:max_digits=2", tiny_tokenizer, train_rows=500),
    ]
    found = {
        part: set().union(*(prompts(getattr(task, part)) for task in tasks)) for part in SHARES
    }
    assert not found["train"] & found["test"] and not found["train"] & found["validation"]
    assert not found["validation"] & found["test"]
    whole = tasks[0]
    parts = [whole.train, whole.validation, whole.test]
    asked_for = sum(map(len, parts))
    assert asked_for == len(prompts([row for part in parts for row in part])) == 200
    assert all(len(part) > 8 for part in parts)
    assert list(tasks[1].test) == list(whole.test[:30])  # more rows go on where fewer end


def test_parts_have_about_their_share_of_all_prompts():
    counts = {part: 0 for part in SHARES}
    for i in range(4000):
        counts[part_of(f"What is {i}?")] += 1
    assert all(abs(counts[part] / 40 - share) < 3 for part, share in SHARES.items())
    assert part_of("What  is\n7?") == part_of("What is 7?")


def test_rows_are_the_same_in_every_process_and_order(ask):
    """Some generators go through sets, whose order depends on the process, or draw from the
    generator that Python shares."""
    other = process._Child()
    try:
        for kind in ("isomorphic_strings", "ransom_note", "list_functions", "pool_matrix"):
            ask(name=kind, settings=[])
            rows = [ask(row=i) for i in range(6)]
            other.asked(json.dumps({"name": kind, "settings": []}), 300)
            again = [other.asked(json.dumps({"row": i}), 300) for i in reversed(range(6))]
            assert again == rows[::-1], kind
    finally:
        process._end(other)


def test_training_rows_are_made_only_where_they_are_looked_at(tiny_tokenizer, monkeypatch):
    made, row = [], Generator.row
    monkeypatch.setattr(Generator, "row", lambda self, i: (made.append(i), row(self, i))[1])
    task = load_task("rg:gcd", tiny_tokenizer, limit=3)
    assert len(task.test) == 3 and len(made) < 100
    assert len(task.train) == 4000 and len(made) > 4000


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


def test_a_process_that_does_not_start_is_one_line(monkeypatch, tmp_path):
    here = tmp_path / "child.py"
    here.write_text("raise SystemExit(3)", encoding="utf-8")
    monkeypatch.setattr(process, "CHILD", here)
    with pytest.raises(InputError, match="rg:gcd did not start: its process ended"):
        Generator("gcd", [])


def test_the_process_ends_with_what_asked_it():
    made = Generator("gcd", [])
    pid = made._child.process.pid
    del made
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("it goes on")


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


# --- every door ----------------------------------------------------------------------------------


def test_it_is_trained_on_without_a_data_folder(cli, folder, tmp_path):
    given = ("--model", folder / "tiny", "--out", tmp_path / "run", "--json")
    quick = ("--steps", 1, "--batch", 4, "--learning-rate", 0.3, "--evaluate-every", 1)
    few = ("--option", "train_rows=12", "--option", "validation_rows=4")
    status, out, err = cli("train", SUMS, *given, *quick, *few, "--objective", "next_token")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "step"] == [1], err
    assert lines[1]["cross_entropy"] > 0
    refused = cli("train", "rg:lcm:bound=3", "--model", "nowhere", "--out", tmp_path / "other")
    assert refused[0] == 2 and "has no setting 'bound=3'" in refused[2]
    assert refused[2].count("\n") == 1


def test_its_scorer_trains(cli, folder, tmp_path):
    """The tiny model answers nothing right; a scorer that gives a hundredth for any answer still
    says so, and the run goes on."""
    given = ("--model", folder / "tiny", "--out", tmp_path / "run", "--json", "--rollouts", 2)
    quick = ("--steps", 1, "--batch", 2, "--kl-coeff", 0, "--max-new-tokens", 4)
    few = ("--option", "train_rows=8", "--option", "validation_rows=2")
    status, out, err = cli("train", "rg:rush_hour", *given, *quick, *few)
    lines = [json.loads(line) for line in out.splitlines()]
    (step,) = [line for line in lines if line["kind"] == "step"]
    assert -1 <= step["reward"] < 0 and step["accuracy"] == 0, err


def test_next_tokens_need_right_answers(cli, folder, tmp_path):
    given = ("--model", folder / "tiny", "--out", tmp_path / "run", "--objective", "next_token")
    few = ("--option", "train_rows=4", "--option", "validation_rows=2", "--max-new-tokens", 4)
    status, out, err = cli("train", "rg:rush_hour", *given, *few)
    assert status == 2 and "has no right answers to learn from, only a scorer" in err


def test_it_is_measured_in_its_styles(cli, folder, tmp_path):
    given = ("--model", folder / "tiny", "--experts", folder / "experts", "--limit", 3)
    out_to = ("--out", tmp_path / "results", "--max-new-tokens", 3)
    status, out, err = cli("evaluate", "base", f"{SUMS},{SUMS}:question", *given, *out_to)
    assert status == 0, err
    assert f"{SUMS} test, chat (n = 3)" in out and f"{SUMS} test, question (n = 3)" in out
    again = cli("evaluate", "base", SUMS, *given, *out_to)
    assert again[0] == 0 and f"{SUMS} test, chat (n = 3)" in again[1]
    logged = (tmp_path / "results" / "results.jsonl").read_text(encoding="utf-8")
    assert sum('"chain_sum ' in line for line in logged.splitlines()) == 6  # none twice
    status, out, err = cli("evaluate", "base", "arith,rg:lcms", "--model", "nowhere")
    assert status == 2 and "arith needs --data" in err
    status, out, err = cli("evaluate", "base", "rg:lcms", "--model", "nowhere")
    assert status == 2 and "no generator 'lcms'" in err and err.count("\n") == 1


@pytest.mark.parametrize("objective", ["likelihood", "reward"])
def test_a_mixture_is_found_on_its_rows(objective, cli, folder, tmp_path, tiny_llama):
    from reference import random_scales

    from t2ui.svf.adapter import adapt

    with adapt(tiny_llama) as adapter:
        for seed, name in enumerate(("one", "two")):
            scales = random_scales(tiny_llama, adapter.names, seed=seed, spread=0.3)
            expert = Expert(name, scales, fingerprint=adapter.fingerprint)
            expert.save(tmp_path / "experts" / f"{name}.safetensors")
    given = ("--model", folder / "tiny", "--experts", tmp_path / "experts", "--json")
    quick = ("--shots", 4, "--population", 3, "--generations", 1, "--max-new-tokens", 3)
    status, out, err = cli("adapt", "--task", SUMS, *given, *quick, "--objective", objective)
    assert status == 0, err
    assert set(json.loads(out)["mixture"]) == {"one", "two"}


def test_rows_without_an_answer_are_searched_on_by_reward_only(tiny_llama):
    from t2ui.config import FewShotConfig
    from t2ui.few_shot.scoring import Scorer
    from t2ui.svf.adapter import adapt
    from t2ui.tasks import Example

    row = Example("row 1", Question((1, 2), ()))
    with adapt(tiny_llama) as adapter:
        for objective in ("likelihood", "both"):
            config = FewShotConfig(objective=objective)
            scorer = Scorer(adapter, make_tokenizer(), config, lambda text, answer: True)
            with pytest.raises(InputError, match="'row 1' has no right answer, only a scorer"):
                scorer.check([row])
        config = FewShotConfig(objective="reward")
        Scorer(adapter, make_tokenizer(), config, lambda text, answer: True).check([row])
