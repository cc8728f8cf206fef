"""Rows that others run: in order, each once, those of a lost worker again; the same as here."""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import pytest
import tiny_examples
import tiny_tasks
from crews import FragileCrew, spread_over
from open_training import config as quick
from open_training import make_task
from tiny_examples import closed_example, open_example
from tiny_tasks import SETTINGS, closed_task, open_task

from t2ui.cluster.executor import Local, Spread, Where, results
from t2ui.cluster.work import Carried, Machine, Piece
from t2ui.config import FewShotConfig
from t2ui.errors import InputError
from t2ui.evaluation.comparison import Comparison
from t2ui.evaluation.methods import base, of_expert
from t2ui.evaluation.result_log import ResultLog
from t2ui.few_shot.adapt import search
from t2ui.tasks.answering import Draws, sample_groups
from t2ui.training.parameters import ScaleOffsets
from t2ui.training.trainer import Trainer

adapter, experts = tiny_examples.adapter, tiny_examples.experts  # fixtures
setup = tiny_tasks.setup


@dataclass(frozen=True)
class Doubled:
    """Twice every row; the row 13 is refused."""

    at_once: int = 2

    def setting(self, machine):
        return nullcontext()

    def run(self, machine, rows, wanted):
        for place, row in enumerate(rows):
            if row == 13:
                raise InputError("row 13 is 13; expected another number.")
            if wanted(place):
                yield Piece([(place, 2 * row)], 1)


def crew(count=3, dying=None) -> FragileCrew:
    return FragileCrew([Machine(None) for _ in range(count)], dying)


@pytest.mark.parametrize("dying", [{}, {1: 1}, {0: 2, 2: 1}])
@pytest.mark.parametrize("rows", [0, 1, 7, 20])
def test_results_come_in_order_whoever_is_lost(dying, rows):
    asked = list(range(100, 100 + rows))
    workers = crew(dying=dying)
    pieces = list(Spread(workers).run(Doubled(), asked))
    found = [pair for piece in pieces for pair in piece.results]
    assert found == [(place, 2 * row) for place, row in enumerate(asked)]
    assert sum(piece.tokens for piece in pieces) == rows
    assert results(Local(Machine(None)), Doubled(), asked) == [2 * row for row in asked]
    if rows == 20:
        assert sorted(workers.lost) == sorted(dying)
        assert sum(workers.times.values()) == 10 + len(dying), "only lost rows are done again"


def test_rows_that_nobody_waits_for_are_not_begun():
    workers = crew(count=1)
    found = [
        place
        for piece in Spread(workers).run(
            Doubled(), list(range(8)), lambda place: place not in (2, 3, 5)
        )
        for place, _ in piece.results
    ]
    assert found == [0, 1, 4, 6, 7]
    assert workers.times[0] == 3


def test_where_all_are_lost_one_line_says_so():
    with pytest.raises(InputError, match="Every worker of the cluster is lost: start the cluster"):
        list(Spread(crew(count=2, dying={0: 1, 1: 2})).run(Doubled(), list(range(20))))


def test_what_a_row_raises_is_what_it_raises_here_and_the_crew_goes_on():
    spread, rows = Spread(crew()), [1, 13, 2, 3, 4, 5, 6, 7]
    said = []
    for executor in (Local(Machine(None)), spread):
        with pytest.raises(InputError) as refused:
            list(executor.run(Doubled(), rows))
        said.append(str(refused.value))
    assert said[0] == said[1] == "row 13 is 13; expected another number."
    assert results(spread, Doubled(), [5, 6, 7]) == [10, 12, 14]


def test_answers_of_a_run_that_was_stopped_are_not_taken_for_the_nexts():
    spread = Spread(crew())
    stopped = spread.run(Doubled(), list(range(12)))
    next(stopped)
    stopped.close()
    assert results(spread, Doubled(), list(range(50, 62))) == list(range(100, 124, 2))


# --- what runs on it -----------------------------------------------------------------------------


def found_by(adapter, tokenizer, experts, rows, config, executor):
    steps = search(adapter, tokenizer, rows, experts, config, right_length, executor=executor)
    *_, result = steps
    return result


def right_length(text, answer):
    return len(text.encode()) % 2 == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "cem"},
        {"method": "cem", "scope": "answer", "per_layer": True},
        {"method": "gradient"},
        {"method": "cem", "objective": "reward", "max_new_tokens": 4, "batch_rows": 6},
    ],
    ids=["likelihood", "scope answer", "gradient", "reward"],
)
def test_a_search_is_the_same_although_a_worker_is_lost_in_it(
    adapter, tiny_tokenizer, experts, settings
):
    rows = [open_example(i, 5 + i % 4, 3 + i % 3, seed=i) for i in range(5)]
    rows.append(closed_example(9))
    config = FewShotConfig(population=6, generations=3, batch_tokens=60, **settings)
    spread = spread_over(adapter, tiny_tokenizer, dying={1: 4})
    alone = found_by(adapter, tiny_tokenizer, experts, rows, config, None)
    found = found_by(adapter, tiny_tokenizer, experts, rows, config, spread)
    assert spread.crew.lost == [1]
    assert found.mixture == alone.mixture and found.set_by == alone.set_by
    assert (found.before, found.after) == (alone.before, alone.after)
    for one, other in zip(found.generations, alone.generations, strict=True):
        assert one.population == other.population
        if config.objective == "likelihood":  # batch by batch the same forward passes
            np.testing.assert_array_equal(one.scores, other.scores)
    if settings == {"method": "cem"}:
        assert (found.tokens, found.forward_passes) == (alone.tokens, alone.forward_passes)


@pytest.mark.parametrize("scope", ["all", "answer"])
def test_an_evaluation_is_the_same(setup, tiny_tokenizer, scope):
    adapter, reader, experts = setup
    logs = []
    for executor in (None, spread_over(adapter, tiny_tokenizer, dying={0: 2})):
        methods = [
            base(adapter, reader, ("math",)),
            of_expert(adapter, reader, experts["math"], scope),
        ]
        with ResultLog(None, SETTINGS) as log:
            comparison = Comparison(adapter, tiny_tokenizer, methods, log, 2, executor)
            for task in (open_task(tiny_tokenizer), closed_task(tiny_tokenizer)):
                list(comparison.add_set(task.name, task, task.test))
        logs.append(
            {(m.name, s): log.of(s, m.name, m.digest) for m in methods for s in comparison.sets}
        )
    assert executor.crew.lost == [0]
    assert logs[0] == logs[1] and len(logs[0]) == 4
    assert all(len(rows) in (6, 8) for rows in logs[0].values())


def test_rollouts_are_the_same(adapter, experts, tiny_llama, tiny_tokenizer):
    task = make_task(max_new_tokens=6)
    draws = Draws(5, seed=2, temperature=1.0)
    z = experts["math"].scales
    with adapter.applied(z, "merged"):
        alone = sample_groups(tiny_llama, tiny_tokenizer, task, task.train[:6], draws)
    spread = spread_over(adapter, tiny_tokenizer, dying={2: 1})
    where = Where(spread, Carried([z]))
    found = sample_groups(tiny_llama, tiny_tokenizer, task, task.train[:6], draws, where=where)
    assert spread.crew.lost == [2]
    assert [g.question for g in found] == [g.question for g in alone]
    assert all((g.rewards == h.rewards).all() for g, h in zip(found, alone, strict=True))


def test_a_training_whose_rollouts_others_sample_takes_the_same_steps(
    adapter, tiny_tokenizer, tmp_path
):
    ends = []
    for name, executor in (("here", None), ("there", spread_over(adapter, tiny_tokenizer))):
        run = Trainer(
            ScaleOffsets(adapter),
            tiny_tokenizer,
            make_task(),
            quick(steps=2, kl_coeff=0.1),
            tmp_path / name,
            executor,
        )
        list(run.run())
        ends.append(run.parameters[0].detach().clone())
    assert float(ends[0].abs().max()) > 0.01
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-4)


def test_processes_sample_their_share_of_what_one_samples(adapter, tiny_llama, tiny_tokenizer):
    """Which completions a prompt gets does not depend on how many processes there are."""
    task, draws = make_task(max_new_tokens=4), Draws(3, seed=1)
    rows = task.train[:5]
    whole = sample_groups(tiny_llama, tiny_tokenizer, task, rows, draws)
    for first in (0, 1):
        share = replace(draws, first=first, every=2)
        part = sample_groups(tiny_llama, tiny_tokenizer, task, rows[first::2], share)
        assert [g.question for g in part] == [g.question for g in whole[first::2]]
