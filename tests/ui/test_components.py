"""The card of single components without a browser: what it says equals what the worker measured."""

import pytest
from fake_client import FakeClient

from t2ui.messages import Components, ComponentsMeasured
from t2ui.records import LEAST_Z, MOST_Z, ComponentChoice
from t2ui.ui.inspect.named import chosen_part, parts_view, with_tried

ASKED = Components({"math": 1.0}, ComponentChoice(), "What is 3 + 4?", "It is 7.")


def measured(asked=ASKED):
    (_, found), _ = FakeClient()._components(asked)
    assert isinstance(found, ComponentsMeasured)
    return found


def test_every_number_is_the_worker_s():
    found = measured()
    view = parts_view(ASKED, found, "the math expert", "cpu, float32")
    assert view["what"] == "The 4 components that the math expert changes most, by |z − 1|."
    assert view["bounds"] == [LEAST_Z, MOST_Z] and not view["rounds"]
    assert "".join(view["tokens"][: view["prompt_tokens"]]) == ASKED.prompt
    for place, (part, one) in enumerate(zip(view["parts"], found.components, strict=True)):
        assert (part["name"], part["index"]) == (one.name, one.index)
        assert (part["z"], part["sigma"]) == (one.z, one.sigma)
        assert part["off"] == found.changed[place] - found.adapted
        assert part["activity"] == list(found.activity[place])
        assert bool(part["shared"]) == (not one.unique)
        for side, ends in (("reads", one.reads), ("writes", one.writes)):
            assert part[side]["what"] == getattr(one, f"{side}_what")
            assert [tuple(pair) for pair in part[side]["along"]] == list(ends.along if ends else ())
    titles = [part["title"].rsplit(" · ", 1)[0] for part in view["parts"]]
    assert titles == ["layer 3 · o", "layer 3 · up", "layer 3 · down", "layer 3 · q"]
    assert "within 0.04 %" in view["parts"][1]["shared"]


def test_without_a_prompt_they_are_only_named():
    asked = Components({"math": 1.0})
    view = parts_view(asked, measured(asked), "the math expert", "cpu, bfloat16")
    assert view["rounds"] and view["adapted"] is None
    assert all(part["off"] is None and not part["activity"] for part in view["parts"])
    assert all(part["reads"]["along"] or part["writes"]["along"] for part in view["parts"])


def test_a_slider_asks_for_its_own_component_alone():
    view = parts_view(ASKED, measured(), "the math expert", "cpu, float32")
    choice = chosen_part(view, 2, 0.5)
    part = view["parts"][2]
    assert choice.chosen == ((part["name"], part["index"]),) and choice.at == 0.5
    found = measured(Components({"math": 1.0}, choice, ASKED.prompt, ASKED.text))
    after = with_tried(view, 2, found)
    shift = found.changed[0] - found.adapted
    assert after["parts"][2]["tried"] == {"z": 0.5, "shift": shift}
    assert after["parts"][1] == view["parts"][1] and view["parts"][2]["tried"] is None


@pytest.mark.parametrize(
    ("place", "z"),
    [(4, 1.0), (-1, 1.0), (True, 1.0), ("1", 1.0), (1, "2"), (1, True), (None, 1.0)],
)
def test_nonsense_from_the_browser_asks_for_nothing(place, z):
    view = parts_view(ASKED, measured(), "the math expert", "cpu, float32")
    assert chosen_part(view, place, z) is None
    assert chosen_part({"parts": "x"}, 0, 1.0) is None
    assert chosen_part({"parts": [{"name": "x", "index": "1"}]}, 0, 1.0) is None
