"""The card of experts beside each other, without a browser: its numbers are the library's."""

import json

import numpy as np
import pytest
from fake_client import FakeClient

from t2ui.messages import CompareExperts, Likeness
from t2ui.records import Measured
from t2ui.ui.library.alike import likeness_view, no_likeness, pair_view, sets_of


def compared(*names):
    (_, found), _ = FakeClient()._likeness(CompareExperts(names))
    assert isinstance(found, Likeness)
    return found


def test_every_number_is_the_library_s():
    found = compared()
    view = likeness_view(found)
    assert view["names"] == list(found.names) and len(set(view["colours"])) == len(found.names)
    assert np.array(view["cosine"]) == pytest.approx(found.cosine)
    assert np.array(view["overlap"]) == pytest.approx(found.overlap)
    figure = json.loads(view["map"])
    dots = figure["data"][0]
    assert dots["text"] == list(found.names)
    sizes = dict(zip(found.names, dots["marker"]["size"], strict=True))
    largest = max(found.names, key=lambda name: found.size[found.names.index(name)])
    assert sizes[largest] == pytest.approx(24.0)
    assert f"{found.kept:.0%}".replace("%", " %") in view["note"]


def test_a_pair_is_shown_by_layer():
    found = compared("math", "code")
    shown = pair_view(found)
    bars = json.loads(shown["figure"])["data"][0]
    assert shown["names"] == ["math", "code"] and bars["x"] == list(found.layers)
    assert bars["y"] == pytest.approx(found.by_layer[:, 0, 1])


def test_what_no_file_says_is_unmeasured_and_what_may_be_chance_is_no_gain():
    def row(expert, name, right, p):
        return Measured(expert, name, "greedy", 300, 0.05, right, (0.0, 0.1), p)

    rows = (
        row("math", "arith", 0.2, 1.0),  # measured again below: the last one counts
        row("math", "arith", 0.33, 1e-9),
        row("code", "arith", 0.06, 0.4),
        row("code", "mbpp", 0.01, 0.01),
        row("math", "gsm8k", 0.5, None),
    )
    assert sets_of(rows) == [("arith", "greedy"), ("gsm8k", "greedy"), ("mbpp", "greedy")]
    found = compared("math", "code")
    view = likeness_view(Likeness(**{**vars(found), "measured": rows}))
    (arith, gsm8k, mbpp), code = view["gains"]
    assert (arith["right"], arith["apart"]) == (0.33, "gain") and mbpp is None
    assert gsm8k["apart"] == "same" and gsm8k["p"] is None, "no test says that it is a gain"
    assert [one and one["apart"] for one in code] == ["same", None, "loss"]
    assert view["sets"] == ["arith · greedy", "gsm8k · greedy", "mbpp · greedy"]


def test_one_expert_is_compared_with_none():
    assert likeness_view(compared("math"))["state"] == "empty"
    assert no_likeness("waiting")["names"] == []
