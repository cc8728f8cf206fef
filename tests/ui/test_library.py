"""The cards of the Library page: what the worker says of its experts, and nothing made up."""

from dataclasses import replace

import pytest
from fake_client import FakeClient
from fake_shelf import expert_info

from t2ui.errors import InputError
from t2ui.messages import AddExpert, DeleteExpert, Experts, Failed, Measured, SaveExpert
from t2ui.ui.library.cards import cards
from t2ui.ui.library.measuring import recipe_of
from t2ui.ui.library.page import _wanted

ROW = {
    "set": "arith test",
    "n": 597,
    "base": 0.05,
    "base_interval": [0.04, 0.07],
    "expert": 0.33,
    "interval": [0.3, 0.37],
    "protocol": "greedy",
}


def shown(**changes):
    found = FakeClient().experts()
    one = replace(expert_info("math"), **changes)
    assert isinstance(found, Experts)
    (card,) = cards(replace(found, experts=(one,)))["experts"]
    return card


def test_a_measurement_has_its_intervals_and_says_what_is_sure():
    card = shown(
        metrics=[
            ROW,
            {**ROW, "expert": 0.06, "interval": [0.045, 0.08]},
            {**ROW, "expert": 0.01, "interval": [0.0, 0.03]},
        ]
    )
    assert [row["apart"] for row in card["measured"]] == ["gain", "same", "loss"]
    assert card["measured"][0]["set"] == "arith test, greedy" and card["measured"][0]["n"] == 597


@pytest.mark.parametrize("row", [{}, {**ROW, "interval": None}, {**ROW, "n": "many"}, "a text"])
def test_a_record_that_is_none_is_left_out(row):
    assert shown(metrics=[row])["measured"] == []


def test_where_it_comes_from_is_what_its_record_says():
    assert shown()["made"] == []
    card = shown(
        training={"recipe": {"mixture": {"code": 0.5}}, "set_by": "CEM", "objective": "sampled"},
        license="MIT",
        created="2026-11-25T17:00:26",
    )
    assert card["made"] == [
        "mixed of code 0.5",
        "found by CEM",
        "trained by sampled",
        "made 2026-11-25",
        "MIT",
    ]
    assert "97,920 scales in 210 matrices · 431 kB · acts on every token" in card["facts"]
    assert "acts on the answer" in shown(scope="answer")["facts"]


def test_no_model_no_experts_and_failures_are_said():
    assert cards(None)["state"] == "waiting"
    assert cards(Failed("Out of memory.", "Free some."))["remedy"] == "Free some."
    empty = cards(FakeClient(names=()).experts())
    assert empty["state"] == "empty" and "No experts" in empty["message"]
    broken = cards(FakeClient(problems=(("a.safetensors", "it is truncated"),)).experts())
    assert broken["problems"] == ["a.safetensors: it is truncated"]


def test_the_sliders_are_saved_with_their_recipe():
    client = FakeClient()
    mixer = {"experts": [{"name": "math"}], "alpha": {"math": 0.5}, "strength": 1.0}
    recipe = recipe_of(mixer, client)
    wanted = _wanted({"act": "save", "name": " mine "}, recipe, {})
    assert isinstance(wanted, SaveExpert) and wanted.name == "mine"
    assert wanted.mixture == {"math": 0.5} and wanted.training["recipe"]["mixture"] == {"math": 0.5}
    (sha,) = (one.sha256 for one in client.experts().experts if one.name == "math")
    assert wanted.training["recipe"]["experts"] == {"math": sha}
    with pytest.raises(InputError, match="All sliders are at 0"):
        _wanted({"act": "save", "name": "mine"}, recipe_of({**mixer, "alpha": {}}, client), {})


def test_what_was_measured_is_kept_with_that_mixture_of_those_files_alone():
    client = FakeClient()
    mixer = {"experts": [{"name": "math"}], "alpha": {"math": 0.5}, "strength": 1.0}
    recipe = recipe_of(mixer, client)
    found = Measured("decimals, 27 questions", "greedy", 3, 17, 27, 0.001)
    last = {"recipe": recipe, "found": found}
    assert _wanted({"act": "save", "name": "mine"}, recipe, last).measured == found
    for other in (
        recipe_of({**mixer, "alpha": {"math": 0.6}}, client),
        recipe_of({**mixer, "normalise": True}, client),
        {**recipe, "experts": {"math": "another file"}},
    ):
        assert _wanted({"act": "save", "name": "mine"}, other, last).measured is None


def test_what_the_browser_asks_for_is_checked():
    assert _wanted({"act": "add", "base64": "bWluZQ=="}, {}, {}) == AddExpert(b"mine")
    with pytest.raises(InputError, match="did not arrive whole"):
        _wanted({"act": "add", "base64": "?"}, {}, {})
    with pytest.raises(InputError, match="0 bytes"):
        _wanted({"act": "add"}, {}, {})
    assert _wanted({"act": "delete", "name": "mine"}, {}, {}) == DeleteExpert("mine")
    with pytest.raises(InputError, match="name"):
        _wanted({"act": "rename", "name": "mine", "to": "../etc"}, {}, {})
