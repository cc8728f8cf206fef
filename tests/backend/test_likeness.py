"""Experts beside each other, as the worker compares them."""

import pytest
from serving import one

from t2ui.messages import CompareExperts, Failed, Likeness
from t2ui.svf.likeness import likeness


def test_the_message_gives_the_library_s_numbers(backend):
    experts = backend._experts.library("").experts
    expected, found = likeness(experts), one(backend, CompareExperts(), Likeness)
    assert found.names == expected.names == tuple(experts)
    assert found.cosine == pytest.approx(expected.cosine)
    assert found.points == pytest.approx(expected.points) and found.kept == expected.kept
    failed = one(backend, CompareExperts(("math", "poems")), Failed)
    assert failed.message.startswith("There is no expert named 'poems'; there are: code, dispatch")
