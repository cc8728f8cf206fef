"""The teacher's file: the example that ships, and everything that can be wrong in one."""

import unicodedata
from pathlib import Path

import pytest

from t2ui.errors import InputError
from t2ui.workshop.file import read_plan

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "workshop.toml"
ROWS = '[["What is 1 + 1?", "2"], ["What is 2 + 2?", 4], ["What is 3 + 3?", "6"]]'


def plan_of(tmp_path, text):
    file = tmp_path / "class.toml"
    file.write_text(text, encoding="utf-8")
    return read_plan(file)


def test_the_example_is_a_whole_workshop():
    plan = read_plan(EXAMPLE)
    assert plan.seats == tuple(str(number) for number in range(1, 41))
    assert plan.presets["math and code"] == {"math": 0.6, "code": 0.4}
    assert [(task.name, len(task.rows)) for task in plan.tasks][0] == ("Marbles and rolls", 3)
    assert len(plan.contest.visible) == 12 and len(plan.contest.hidden) == 24
    assert plan.contest.tokens == 48
    plan.check_experts(["math", "code"])
    with pytest.raises(InputError, match="names the expert 'code'; there are: math"):
        plan.check_experts(["math"])


def test_what_is_left_out_has_a_default(tmp_path):
    plan = plan_of(tmp_path, "")
    assert plan.title == "Workshop" and len(plan.seats) == 40
    assert not plan.presets and not plan.tasks and plan.contest is None


def test_names_in_place_of_numbers_and_numbers_as_answers(tmp_path):
    text = f'names = ["Ada", "Björn"]\n[contest]\nname = "c"\nrows = {ROWS}\nvisible = 2'
    plan = plan_of(tmp_path, text)
    assert plan.seats == ("Ada", "Björn")
    assert plan.contest.visible[1] == ("What is 2 + 2?", "4")
    assert plan.contest.hidden == (("What is 3 + 3?", "6"),)


@pytest.mark.parametrize(
    "name",
    [
        "علی\u200cرضا",  # Persian, kept apart
        "ක්\u200dරිෂාන්",  # Sinhala, joined
        "שָׂרָה",
        "देवी",
        "葛\U000e0100城",  # a form of the first sign
        "\u2764\ufe0e",  # a heart as text
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # England
    ],
)
def test_names_are_written_as_they_are(tmp_path, name):
    plan = plan_of(tmp_path, f'names = ["{name}"]')
    assert plan.seats == (unicodedata.normalize("NFC", name),)


def test_names_have_one_form_and_may_be_emoji(tmp_path):
    family = "\U0001f469\u200d\U0001f680 \u2764\ufe0f\u200d\U0001f525"
    names = f'names = ["  Ada\u00a0 L ", "Bjo\u0308rn", "{family}"]'
    plan = plan_of(tmp_path, f'{names}\n[presets]\n" half  math" = {{math = 1}}')
    assert plan.seats == ("Ada L", "Bj\u00f6rn", family)
    assert list(plan.presets) == ["half math"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title = ", "is not TOML"),
        ("seats = 0", "seats is 0; expected 1 to 200"),
        ("seats = true", "seats is True"),
        ('seats = 3\nnames = ["Ada"]', "both seats and names"),
        ('names = ["Ada", "ada"]', "'ada' is there twice"),
        (
            'names = ["Ada", "CEM Search"]',
            "the name 'CEM Search' is taken in every contest: choose another.",
        ),
        ('names = ["Base  model"]', "the name 'Base model' is taken"),
        ('names = ["Ada", ""]', "name 2 is ''; expected 1 to 40"),
        ("teacher = 1", "the file has 'teacher'; it may have title, seats"),
        ("[presets]\nsoft = 0.5", "preset 'soft' is 0.5; expected lines like"),
        ('[presets.soft]\nmath = "x"', "math is 'x'; a number is expected"),
        ("[presets.soft]\nmath = 3", "math is 3.0; expected between -1 and 2"),
        ("[presets.soft]\nmath = nan", "expected a finite number"),
        ('[[tasks]]\nname = "t"', "task 't' has no questions; expected one of rows, file"),
        ('[[tasks]]\nname = "t"\nrows = [["q"]]', "row 1 is ['q']; expected a question and its"),
        ('[[tasks]]\nname = "t"\nrows = [["q", ""]]', "row 1: the answer is ''"),
        ('[[tasks]]\nname = "t"\nrows = []', "rows are []"),
        ('[[tasks]]\nname = "t"\nfile = "no.jsonl"', "task 't': there is no file 'no.jsonl' in "),
        ('[[tasks]]\nname = "t"\nfile = "no.jsonl"', ": put it there, or mend its name."),
        ('[[tasks]]\nname = "t"\nrows = [["q", "a"]]\n' * 2, "the task 't' is there twice"),
        ("title = 3", "title is 3; expected a text in quotes"),
        ('names = ["Ada", 3]', 'name 2 is 3; expected a text in quotes, like "Ada".'),
        ('names = ["A\u00adda"]', "'A\\xadda'; U+00AD (soft hyphen) is not seen: leave it out"),
        ('names = ["C.E.M.-Search"]', "the name 'C.E.M.-Search' is taken in every contest"),
        ('names = ["\u3164"]', "U+3164 (hangul filler) is not seen: leave it out"),
        ('names = ["\u0301"]', "its first sign stands on no letter"),
        ('names = ["Ada", "Ada\U000e0100"]', "is there twice"),
        ('names = ["\U0001f3f4\U000e0067"]', "U+E0067 (tag latin small letter g) is not seen"),
        ('names = ["A\u200dda"]', "U+200D (zero width joiner) is not seen"),
        ('names = ["Ada L", "Ada\u00a0 L"]', "the name 'Ada L' is there twice"),
        ('names = ["Bj\u00f6rn", "Bjo\u0308rn"]', "the name 'Bj\u00f6rn' is there twice"),
        ('names = ["\u2764", "\u2764\ufe0f"]', "is there twice: tell the two apart"),
        ('[presets]\nsoft = {math = 1}\n" soft" = {math = 2}', "the preset 'soft' is there twice"),
        ('[[tasks]]\nname = "t"\ngenerator = "sums"', "generator is 'sums'; expected e.g. rg:"),
        ('[[tasks]]\nname = "t"\nrows = [["q", "a"]]\ncount = 3', "count, which belongs to"),
        ('contest = "x"', "the contest is 'x'"),
        (f'[contest]\nname = "c"\nrows = {ROWS}', "visible is None; expected how many"),
        (f'[contest]\nname = "c"\nrows = {ROWS}\nvisible = 3', "its hidden part is empty"),
        (
            '[contest]\nname = "c"\nrows = [["q", "1"], ["q ", "1"]]\nvisible = 1',
            "asks 'q' in both of its parts",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file(tmp_path, text, says):
    with pytest.raises(InputError) as raised:
        plan_of(tmp_path, text)
    line = str(raised.value)
    assert line.startswith("class.toml") and says in line and "\n" not in line


def test_a_file_of_rows_has_its_mistakes_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q"}\n')
    text = '[[tasks]]\nname = "t"\nfile = "rows.jsonl"'
    with pytest.raises(InputError, match=r"rows.jsonl, line 1: no field answer"):
        plan_of(tmp_path, text)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q", "answer": "a", "options": ["a", "b"]}\n')
    with pytest.raises(InputError, match="rows.jsonl, row 1 has options"):
        plan_of(tmp_path, text)


@pytest.mark.parametrize("name", ["nothing.toml", "."])
def test_serve_ends_with_one_line_and_status_2(cli, tmp_path, name):
    status, out, err = cli("serve", "--workshop", tmp_path / name)
    assert status == 2 and out == "" and err.count("\n") == 1
    assert "cannot be read" in err and "docs/workshop.md" in err


def test_a_workshop_has_no_keys(cli, tmp_path):
    status, _, err = cli("serve", "--workshop", EXAMPLE, "--keys", tmp_path / "keys.json")
    assert status == 2 and "seats in place of keys" in err


def test_an_expert_that_is_not_there_ends_the_start(cli, tmp_path, monkeypatch):
    """Known only once the worker has its experts."""
    from fake_client import FakeClient

    from t2ui.worker import client

    class Ready(FakeClient):
        def wait_ready(self, timeout):
            return self.status()

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            pass

    monkeypatch.setattr(client, "connect", lambda config: Ready())
    file = tmp_path / "class.toml"
    file.write_text("[presets.soft]\npoems = 1")
    status, out, err = cli("serve", "--workshop", file, "--port", "1")
    assert status == 2 and out == ""
    assert "preset 'soft' names the expert 'poems'; there are: code" in err
