"""A task of small sums from reasoning_gym, and a process that makes and scores any of its rows."""

import json

import pytest

from t2ui.errors import InputError
from t2ui.generators import process
from t2ui.tasks import load_task

SUMS = "rg:chain_sum:max_terms=2:max_digits=1"


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
