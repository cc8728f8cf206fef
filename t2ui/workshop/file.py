"""The file that a teacher writes for a workshop (TOML), checked whole before anything starts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from t2ui.checks import check_alpha, check_range, check_text
from t2ui.config import SLIDER_HIGH, SLIDER_LOW
from t2ui.errors import InputError, quoted
from t2ui.generators.named import FAMILY, sample_rows
from t2ui.jsonl import read_jsonl
from t2ui.workshop.names import BASE, SEARCH, check_apart, name_of

USUAL_SEATS, MOST_SEATS = 40, 200
MOST_CHARS = 4000  # of a question or an answer
MOST_TASKS = 8  # as many as there is room for above Ask's cards
MOST_PRESETS = 12
MOST_ROWS = 64  # of a task, and of the contest's visible part
MOST_HIDDEN = 500
USUAL_TOKENS = 64  # of an answer in the contest
GENERATE_SECONDS = 60.0  # that making a generator's rows may take

Row = tuple[str, str]  # question, right answer


@dataclass(frozen=True)
class Task:
    """Questions that stand above Ask's cards."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class ContestPlan:
    """What the contest asks: students tune on the visible rows, the hidden ones decide."""

    name: str
    visible: tuple[Row, ...]
    hidden: tuple[Row, ...]
    tokens: int = USUAL_TOKENS  # of an answer, at most


@dataclass(frozen=True)
class Plan:
    """All that the file says."""

    path: Path
    title: str
    seats: tuple[str, ...]
    presets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ()
    contest: ContestPlan | None = None

    def check_experts(self, known: Iterable[str]) -> None:
        """
        Raises:
            InputError: a preset names an expert that is not there.
        """
        there = sorted(known)
        for name, mixture in self.presets.items():
            for expert in mixture:
                if expert not in there:
                    raise InputError(
                        f"{self.path.name}: preset {quoted(name)} names the expert "
                        f"{quoted(expert)}; there are: {', '.join(there) or 'none'}."
                    )


def read_plan(path: Path) -> Plan:
    """The workshop that a file describes; docs/workshop.md describes the file.

    Raises:
        InputError: no such file, no TOML, or something in it that cannot be used: names the file
            and what it is.
    """
    try:
        said = tomlkit.parse(path.read_text(encoding="utf-8-sig")).unwrap()
    except OSError as error:
        raise InputError(
            f"The workshop's file {path} cannot be read ({error.strerror}): docs/workshop.md has "
            "an example."
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path.name} is not UTF-8: save it as UTF-8 text.") from None
    except (TOMLKitError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path.name} is not TOML ({reason}): mend that place.") from None
    try:
        return _plan(path, said)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None


def _plan(path: Path, said: dict[str, Any]) -> Plan:
    _only(said, ("title", "seats", "names", "presets", "tasks", "contest"), "the file")
    tasks, contest = said.get("tasks", []), said.get("contest")
    if not isinstance(tasks, list) or len(tasks) > MOST_TASKS:
        raise InputError(f"tasks are {quoted(tasks)}; expected at most {MOST_TASKS} [[tasks]].")
    read = tuple(_task(path, task, f"task {number}") for number, task in enumerate(tasks, start=1))
    check_apart([task.name for task in read], "task")
    return Plan(
        path,
        name_of(said.get("title", "Workshop"), "title", most=80),
        _seats(said),
        _presets(said.get("presets", {})),
        read,
        None if contest is None else _contest(path, contest),
    )


def _seats(said: Mapping[str, Any]) -> tuple[str, ...]:
    if "names" not in said:
        seats = said.get("seats", USUAL_SEATS)
        if type(seats) is not int or not 1 <= seats <= MOST_SEATS:
            raise InputError(f"seats is {quoted(seats)}; expected 1 to {MOST_SEATS}, or names.")
        return tuple(str(number) for number in range(1, seats + 1))
    if "seats" in said:
        raise InputError("there are both seats and names: leave one of them out.")
    given = said["names"]
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_SEATS:
        raise InputError(f"names are {quoted(given)}; expected a list of 1 to {MOST_SEATS}.")
    names = tuple(name_of(name, f"name {number}") for number, name in enumerate(given, start=1))
    check_apart(names, "name", (BASE, SEARCH))
    return names


def _presets(said: Any) -> dict[str, dict[str, float]]:
    if not isinstance(said, dict) or len(said) > MOST_PRESETS:
        raise InputError(f"presets are {quoted(said)}; expected at most {MOST_PRESETS} tables.")
    names = [name_of(name, "the name of a preset") for name in said]
    check_apart(names, "preset")
    found: dict[str, dict[str, float]] = {}
    for name, mixture in zip(names, said.values(), strict=True):
        where = f"preset {quoted(name)}"
        if not isinstance(mixture, dict) or not mixture:
            raise InputError(f"{where} is {quoted(mixture)}; expected lines like math = 0.5.")
        found[name] = {}
        for expert, alpha in mixture.items():
            if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
                raise InputError(f"{where}: {expert} is {quoted(alpha)}; a number is expected.")
            check_range(f"{where}: {expert}", check_alpha(expert, alpha), SLIDER_LOW, SLIDER_HIGH)
            found[name][expert] = float(alpha)
    return found


def _task(path: Path, said: Any, where: str) -> Task:
    _only(said, ("name", "rows", "file", "generator", "count"), where)
    name = name_of(said.get("name"), f"the name of {where}")
    return Task(name, _rows(path, said, f"task {quoted(name)}", MOST_ROWS))


def _contest(path: Path, said: Any) -> ContestPlan:
    known = ("name", "rows", "file", "generator", "count", "visible", "tokens")
    _only(said, known, "the contest")
    name = name_of(said.get("name"), "the contest's name")
    rows = _rows(path, said, "the contest", MOST_ROWS + MOST_HIDDEN)
    visible, tokens = said.get("visible"), said.get("tokens", USUAL_TOKENS)
    if type(visible) is not int or not 1 <= visible <= MOST_ROWS:
        raise InputError(
            f"the contest's visible is {quoted(visible)}; expected how many of its rows, from 1 "
            f"to {MOST_ROWS}, are shown."
        )
    if len(rows) <= visible:
        raise InputError(
            f"the contest has {len(rows)} rows and visible = {visible}, so its hidden part is "
            "empty: show fewer, or add rows."
        )
    if type(tokens) is not int or not 1 <= tokens <= 512:
        raise InputError(f"the contest's tokens is {quoted(tokens)}; expected 1 to 512.")
    shown = {_same(question) for question, _ in rows[:visible]}
    leak = next((question for question, _ in rows[visible:] if _same(question) in shown), None)
    if leak is not None:
        raise InputError(f"the contest asks {quoted(leak[:80])} in both of its parts: once is due.")
    return ContestPlan(name, rows[:visible], rows[visible:], tokens)


def _rows(path: Path, said: Mapping[str, Any], where: str, most: int) -> tuple[Row, ...]:
    """Questions with their answers, from the one place that is named."""
    named = [key for key in ("rows", "file", "generator") if key in said]
    if len(named) != 1:
        what = " and ".join(named) or "no questions"
        raise InputError(f"{where} has {what}; expected one of rows, file and generator.")
    if "count" in said and named != ["generator"]:
        raise InputError(f"{where} has count, which belongs to a generator: leave it out.")
    source = said[named[0]]
    if named == ["rows"]:
        rows = _inline(source, where)
    elif named == ["file"]:
        rows = _from_file(path, source, where)
    else:
        rows = _generated(source, said.get("count", 12), where, most)
    if len(rows) > most:
        raise InputError(f"{where} has {len(rows)} rows; at most {most} are taken.")
    checked = [_row(row, f"{where}, row {number}") for number, row in enumerate(rows, start=1)]
    return tuple(checked)


def _inline(source: Any, where: str) -> list[Any]:
    if not isinstance(source, list) or not source:
        raise InputError(f'{where}: rows are {quoted(source)}; expected [["question", "answer"]].')
    for number, row in enumerate(source, start=1):
        if not isinstance(row, list) or len(row) != 2:
            raise InputError(
                f"{where}, row {number} is {quoted(row)}; expected a question and its answer."
            )
    return source


def _from_file(path: Path, source: Any, where: str) -> list[Any]:
    if not isinstance(source, str) or not source:
        raise InputError(f"{where}: file is {quoted(source)}; expected a name like tasks.jsonl.")
    file = path.resolve().parent / source
    if not file.is_file():
        raise InputError(
            f"{where}: there is no file {quoted(source)} in {file.parent}: put it there, or mend "
            "its name."
        )
    rows = read_jsonl(file, ("prompt", "answer"))
    closed = next((number for number, row in enumerate(rows, start=1) if "options" in row), None)
    if closed is not None:
        raise InputError(
            f"{source}, row {closed} has options; answers are written here: leave them out."
        )
    return [[row["prompt"], row["answer"]] for row in rows]


def _generated(source: Any, count: Any, where: str, most: int) -> list[Any]:
    if not isinstance(source, str) or not source.startswith(FAMILY):
        raise InputError(f"{where}: generator is {quoted(source)}; expected e.g. rg:chain_sum.")
    if type(count) is not int or not 1 <= count <= most:
        raise InputError(f"{where}: count is {quoted(count)}; expected 1 to {most}.")
    return [list(row) for row in sample_rows(source, count, GENERATE_SECONDS)]


def _row(row: list[Any], where: str) -> Row:
    question, answer = row
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        answer = str(answer)
    for what, text in (("question", question), ("answer", answer)):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{where}: the {what} is {quoted(text)}; expected a text.")
        if len(text) > MOST_CHARS:
            raise InputError(f"{where}: the {what} has {len(text):,} characters; shorten it.")
        check_text(f"the {what} of {where}", text)
    return question.strip(), answer.strip()


def _only(said: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(said, dict):
        raise InputError(f"{where} is {quoted(said)}; expected lines like {known[0]} = …")
    unknown = [key for key in said if key not in known]
    if unknown:
        raise InputError(f"{where} has {quoted(unknown[0])}; it may have {', '.join(known)}.")


def _same(question: str) -> str:
    """A question without differences in white space."""
    return " ".join(question.split())
