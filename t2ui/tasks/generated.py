"""The task `rg:NAME`, with settings behind the name: `rg:chain_sum:min_terms=2:max_terms=3`."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, overload

from t2ui.checks import check_text
from t2ui.errors import InputError
from t2ui.generators.named import STYLES, named
from t2ui.generators.process import Generator
from t2ui.generators.stream import Row, Stream
from t2ui.generators.wording import asked
from t2ui.models.chat import answer_ids, chat_ids
from t2ui.models.questions import Question
from t2ui.tasks.base import RIGHT, Example, Task
from t2ui.tasks.generator_scores import readings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOOKED_AT = 32  # rows whose answers say how long an answer may get
LEAST_TOKENS, MOST_TOKENS = 32, 512  # for one; and where there is only a scorer, the least is:
WITHOUT_ANSWER = 128


def load(
    name: str,
    tokenizer: "PreTrainedTokenizerBase",
    data: Path | None,
    *,
    style: str = "chat",
    instruction: str | None = None,
    shots: int = 0,
    train_rows: int = 4000,
    validation_rows: int = 200,
    limit: int = 1000,
    max_new_tokens: int = 0,
    label: str = "",
) -> Task:
    """A generator of reasoning_gym; it needs no data folder.

    A text is rewarded by the generator's scorer, from 0 to 1, and is right from 0.99 on. Rows
    whose own answer the scorer does not take are left out.

    Args:
        style: "chat", the generator's question with a line on the answer's form where it has none;
            "question", the question alone.
        instruction: another line instead; empty for none.
        shots: so many training rows stand before each question, with their answers.
        train_rows: how many; fewer where the generator has no more different prompts.
        validation_rows: the same for validation.
        limit: the same for test.
        max_new_tokens: of an answer; 0: twice what the first right answers have.
        label: what the expert answers to in pass one; the generator's name by default.

    Raises:
        InputError: the package, the generator, a setting or a style is not there.
    """
    if style not in STYLES:
        raise InputError(f"style is {style!r}; expected {' or '.join(STYLES)}.")
    counts = {"shots": shots, "train_rows": train_rows, "validation_rows": validation_rows}
    for what, count in counts.items():
        if count < 0:
            raise InputError(f"{what} is {count}; expected 0 or more.")
    check_text("the instruction", instruction or "")
    generator = opened(name)
    stream = Stream(generator)

    def put(row: Row) -> str:
        return asked(generator.kind, row.question, style, instruction)

    shown = [row for row in stream.part("train", 2 * shots) if row.answer is not None][:shots]
    before = "".join(f"{put(row)}\n{row.answer}\n\n" for row in shown)

    def example(row: Row) -> Example:
        prompt = before + put(row)
        answer = () if row.answer is None else (answer_ids(tokenizer, row.answer),)
        return Example(
            f"{generator.kind} {row.number}",
            Question(tuple(chat_ids(tokenizer, prompt)), answer),
            family=generator.kind,
            answer=str(row.number),
            prompt=prompt,
        )

    rights: dict[int, str | None] = {}

    def part(name: str, count: int) -> Rows:
        def make() -> list[Example]:
            rows = stream.part(name, count)
            rights.update((row.number, row.answer) for row in rows)
            return [example(row) for row in rows]

        return Rows(make)

    def score(text: str, index: str) -> float:
        found = readings(generator.kind, text, rights[int(index)])
        return generator.score(int(index), found) if found else 0.0

    return Task(
        ":".join([generator.name, *_changed(instruction, shots)]),
        part("train", train_rows),
        part("validation", validation_rows),
        part("test", limit),
        labels=(label or generator.kind,),
        objective=f"open answers, scored by reasoning_gym {generator.version}",
        data={"train": f"{generator.name}, rows made by reasoning_gym, Apache-2.0"},
        grade=lambda text, index: score(text, index) >= RIGHT,
        score=score,
        max_new_tokens=max_new_tokens or _tokens(tokenizer, stream),
    )


def _changed(instruction: str | None, shots: int) -> list[str]:
    """What a task's name says of the prompts that are not put as usual."""
    return [
        *([] if instruction is None else [f"instruction={instruction}"]),
        *([f"shots={shots}"] if shots else []),
    ]


@lru_cache(maxsize=4)  # a process each, which takes seconds to start
def opened(name: str) -> Generator:
    """The generator that "rg:chain_sum:max_terms=3" names.

    Raises:
        InputError: see `load`.
    """
    return named(name)


def check(name: str) -> None:
    """Whether there is such a generator, with these settings: before a model is loaded for it.

    Raises:
        InputError: see `load`.
    """
    opened(name)


class Rows(Sequence[Example]):
    """A part's examples, which are made when the first of them is looked at: what is measured needs
    no training rows."""

    def __init__(self, make: Callable[[], list[Example]]):
        self._make = make
        self._made: tuple[Example, ...] | None = None

    def _all(self) -> tuple[Example, ...]:
        if self._made is None:
            self._made = tuple(self._make())
        return self._made

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Example]:
        return iter(self._all())

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Example, ...]: ...
    def __getitem__(self, place: int | slice) -> Example | tuple[Example, ...]:
        return self._all()[place]


def _tokens(tokenizer: "PreTrainedTokenizerBase", stream: Stream) -> int:
    """How long an answer may get: twice what the first right answers have."""
    answers = [row.answer for row in stream.first(LOOKED_AT)]
    known = [len(answer_ids(tokenizer, answer)) for answer in answers if answer is not None]
    if not known:
        return WITHOUT_ANSWER
    return min(max(2 * max(known), LEAST_TOKENS), MOST_TOKENS)
