"""One generator of reasoning_gym in a process of its own, which answers over stdin and stdout.

It runs with a fixed PYTHONHASHSEED, since some generators go through sets: a row depends on the
generator, its settings and the row's index alone. What a generator prints is thrown away, and
whatever a scorer does to this process, the one that asked goes on. Every line is JSON: a generator
with its settings, then rows by index, and texts to score for a row.
"""

import copy
import difflib
import json
import os
import random
import signal
import warnings
from typing import Any

from typed_settings import Refused, listed, read_settings, settings_of, written

SEED = 20_250_101  # the row of index i is made from the seed SEED + i
BLOCK = 20_000  # rows of one dataset object; word_ladder takes no more
BLOCKS = {"acre": 500}  # makes all its rows at once
NEAR = 5  # names that are like a wrong one, in its message
GALLERY = "GALLERY.md (https://github.com/open-thought/reasoning-gym)"
LEFT_OUT = ("composite",)  # joins other generators, which settings of one line cannot name
RIGHT = 0.99  # as `t2ui.tasks.base.RIGHT`, which this process does not import
LONGEST = 600  # seconds for an answer
NONSENSE = "?"  # no generator's answer
MEMORY = 8 * 2**30  # bytes
# Where an entry has no answer of its own, what its metadata has as an example of a right one.
EXAMPLES = ("example_answer", "example_correct_answer", "possible_answer")

Reply = dict[str, Any]


class Generator:
    """A generator with its settings."""

    def __init__(self, name: str, typed: list[str]):
        import reasoning_gym  # noqa: F401  # which registers them all
        from reasoning_gym.factory import DATASETS

        known = {kind: found for kind, found in DATASETS.items() if kind not in LEFT_OUT}
        if name not in known:
            near = difflib.get_close_matches(name[:80], known, NEAR)
            hint = f"near it: {', '.join(near)}; all" if near else f"all {len(known)}"
            raise Refused(
                f"There is no generator {name[:80]!r} in reasoning_gym; {hint} are listed in its "
                f"{GALLERY}."
            )
        self.name, (self.made_by, self.configuration) = name, known[name]
        self.settings = read_settings(f"rg:{name}", self.configuration, typed)
        self.block = BLOCKS.get(name, BLOCK)
        self.datasets: dict[int, Any] = {}
        self.entries: dict[int, Any] = {}
        self.takes_nonsense: dict[int, bool] = {}
        self.dataset(0)

    def facts(self) -> Reply:
        from importlib.metadata import version

        defaults = settings_of(self.configuration)
        changed = {k: self.settings[k] for k in defaults if self.settings.get(k) is not None}
        changed = {k: value for k, value in changed.items() if value != defaults[k]}
        return {"settings": written(changed), "version": version("reasoning_gym")}

    def row(self, index: int) -> Reply:
        """Question and answer; or why there is none of this index."""
        try:
            entry = self.entry(index)
        except ImportError:
            raise
        except Exception as error:
            return {"skipped": f"{type(error).__name__}: {error}"}
        answer = known_answer(entry)
        if answer is not None and self.score(index, answer) < RIGHT:
            return {"skipped": "its scorer does not take its own answer"}
        return {"question": str(entry["question"]), "answer": answer}

    def score(self, index: int, text: str) -> float:
        """From 0 to 1. A text that the scorer fails on is no answer that it can read: 0. Where the
        scorer takes nonsense as well, the right answer alone is right."""
        if index not in self.takes_nonsense:
            self.takes_nonsense[index] = self._scored(index, NONSENSE) >= RIGHT
        if self.takes_nonsense[index]:
            answer = known_answer(self.entry(index)) or ""
            return float(text.strip().casefold() == answer.strip().casefold())
        return self._scored(index, text)

    def _scored(self, index: int, text: str) -> float:
        entry = copy.deepcopy(self.entry(index))
        try:
            found = float(self.dataset(index // self.block).score_answer(text, entry))
        except Exception:
            return 0.0
        return min(max(found, 0.0), 1.0) if found == found else 0.0

    def entry(self, index: int) -> Any:
        if index not in self.entries:
            dataset = self.dataset(index // self.block)
            seed_global(SEED + index)
            self.entries[index] = dataset[index % self.block]
        return self.entries[index]

    def dataset(self, number: int) -> Any:
        """The rows of one block; its seeds follow those of the block before."""
        if number not in self.datasets:
            seed = SEED + number * self.block
            seed_global(seed)
            try:
                configuration = self.configuration(seed=seed, size=self.block, **self.settings)
                self.datasets[number] = self.made_by(configuration)
            except ImportError:
                raise
            except Exception as error:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise Refused(
                    f"rg:{self.name} refuses these settings ({reason}). "
                    f"{listed(self.configuration)}"
                ) from None
        return self.datasets[number]


def known_answer(entry: Any) -> str | None:
    """The right answer of an entry, or an example of one; None where it has only a scorer."""
    found = entry["answer"]
    for key in EXAMPLES:
        if found is None:
            found = entry["metadata"].get(key)
    if isinstance(found, dict):
        return json.dumps({str(key): value for key, value in found.items()})
    return None if found is None else str(found)


def seed_global(seed: int) -> None:
    """A few generators draw from the generators that Python and numpy share."""
    import numpy

    random.seed(seed)
    numpy.random.seed(seed)


def replies(lines: Any) -> Any:
    """A reply to every line; one with a name chooses the generator that the next ones are for."""
    for line in lines:
        asked = json.loads(line)
        try:
            if "name" in asked:
                generator = Generator(asked["name"], asked["settings"])
                yield generator.facts()
            elif "score" in asked:
                yield {"score": max(generator.score(asked["row"], t) for t in asked["score"])}
            else:
                yield generator.row(asked["row"])
        except Refused as error:
            yield {"refused": str(error)}
        except ImportError as error:
            yield {"refused": missing(error)}


def missing(error: ImportError) -> str:
    """A line for a package that is not there."""
    package = (error.name or str(error)).partition(".")[0]
    if package == "reasoning_gym":
        return (
            "Tasks named rg:NAME need the package reasoning_gym, which is not installed: "
            "pip install reasoning_gym."
        )
    return (
        f"reasoning_gym needs the package {package}, which is not installed: pip install {package}."
    )


def limit_memory() -> None:
    """So that no answer takes more than MEMORY, where the system knows such limits."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    allowed = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, most))


def main() -> None:
    warnings.simplefilter("ignore")
    limit_memory()
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what generators print goes nowhere
    lines = open(0, encoding="utf-8", closefd=False)
    for reply in replies(map(in_time, lines)):
        channel.write(json.dumps(reply) + "\n")
        channel.flush()
        end_in(0)


def in_time(line: str) -> str:
    """The line, which has to be answered in time: the one that asks is less patient, but where it
    was killed nobody else ends this process."""
    end_in(LONGEST)
    return line


def end_in(seconds: int) -> None:
    """End this process then, whatever it does; 0: do not."""
    if hasattr(signal, "alarm"):  # not on Windows
        signal.alarm(seconds)


if __name__ == "__main__":
    main()
