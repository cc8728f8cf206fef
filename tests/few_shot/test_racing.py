"""Who cannot win any more is not asked on, and the search goes the same way."""

from dataclasses import replace

import pytest
import tiny_examples
from tiny_examples import open_example

from t2ui.config import FewShotConfig
from t2ui.few_shot.adapt import search
from t2ui.few_shot.racing import Race

adapter, experts = tiny_examples.adapter, tiny_examples.experts  # fixtures


def told(right: dict[int, list[bool]], examples: int, winners: int | None) -> Race:
    race = Race([(m, e) for m in right for e in range(examples)], winners)
    for member, answers in right.items():
        for answer in answers:
            race.tell(member, answer)
    return race


def test_lost_is_who_cannot_get_level_with_the_last_of_the_winners():
    right = {0: [False] * 3, 1: [True] * 3, 2: [True, True, False], 3: [False] * 3, 4: [False] * 2}
    race = told(right, examples=4, winners=2)
    # 3 can get to 1 right answer, where two others have 2 and more; 4 can get level with the second
    assert [race.lost(member) for member in range(5)] == [False, False, False, True, False]
    assert not any(told(right, 4, winners=3).lost(member) for member in range(5))
    assert not any(told(right, 4, winners=None).lost(member) for member in range(5))


@pytest.mark.parametrize("method", ["cem", "random"])
def test_a_race_finds_what_the_search_without_finds_with_fewer_answers(
    adapter, tiny_tokenizer, experts, method
):
    rows = [replace(open_example(i, 4 + i, seed=i), answer="") for i in range(8)]
    config = FewShotConfig(
        method, "reward", population=8, generations=3, max_new_tokens=6, batch_rows=8, held_out=0
    )
    found, answered = {}, {}
    for racing in (True, False):
        said: list[str] = []

        def right(text: str, letter: str, said: list[str] = said) -> bool:
            said.append(text)
            return sum(text.encode()) % 2 == 0  # differs where a member's answer does

        one = replace(config, racing=racing, spread=1.5, high=3.0, elite_ratio=0.1)
        *_, found[racing] = search(adapter, tiny_tokenizer, rows, experts, one, right)
        answered[racing] = len(said)
    assert answered[True] < answered[False]
    assert found[True].mixture == found[False].mixture
    for raced, whole in zip(found[True].generations, found[False].generations, strict=True):
        assert raced.population == whole.population
        assert raced.best == pytest.approx(whole.best, abs=1e-6)  # of other batches
