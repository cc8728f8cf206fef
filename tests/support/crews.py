"""Workers in this process, to which everything goes as it would travel, and which can die."""

import pickle
import random
from collections import Counter

from t2ui.cluster.executor import Local, Spread
from t2ui.cluster.work import Machine
from t2ui.errors import InputError


class FragileCrew:
    """A `Crew`. Answers come in another order than they are asked for.

    Args:
        machines: one for every worker.
        dying: worker -> the number, from 1, of the rows over which it is lost.
    """

    def __init__(self, machines, dying=None):
        self.machines, self.dying = dict(enumerate(machines)), dying or {}
        self.size = len(self.machines)
        self.asked, self.times, self.lost = [], Counter(), []
        self.random = random.Random(0)

    def alive(self):
        return list(self.machines)

    def begin(self, work):
        self.work = pickle.dumps(work)

    def send(self, worker, rows):
        assert worker not in [who for who, _, _ in self.asked], "it has not answered yet"
        self.asked.append((worker, self.work, pickle.dumps(rows)))

    def answer(self):
        worker, work, rows = self.asked.pop(self.random.randrange(len(self.asked)))
        self.times[worker] += 1
        if self.times[worker] == self.dying.get(worker):
            self.lost.append(worker)
            del self.machines[worker]
            return worker, None
        local = Local(self.machines[worker])
        try:
            pieces = list(local.run(pickle.loads(work), pickle.loads(rows)))
        except InputError as error:
            return worker, error
        return worker, pickle.loads(pickle.dumps(pieces))


def spread_over(adapter, tokenizer, count=3, dying=None) -> Spread:
    """So many workers with this adapter's model."""
    machines = [Machine(adapter.model, tokenizer, adapter) for _ in range(count)]
    return Spread(FragileCrew(machines, dying))
