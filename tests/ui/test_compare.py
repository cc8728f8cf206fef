"""The Compare page's data: the line of mixtures, where answers part, and the link."""

from urllib.parse import parse_qsl

import pytest
from fake_client import FakeClient

from t2ui.lineup import Lineup
from t2ui.messages import LayersMeasured, Sweep, Trial
from t2ui.ui.compare.link import from_link, link_to
from t2ui.ui.compare.points import choices, lined_up, mixture_at, points
from t2ui.ui.compare.proof import Proof
from t2ui.ui.compare.views import (
    a_trial,
    answered,
    answering,
    layers,
    tried,
    unasked,
    with_columns,
)
from t2ui.ui.shared.examples import table_of
from t2ui.ui.shared.panel import pack
from t2ui.ui.shared.permalink import from_query, not_here
from t2ui.ui.shared.questions import expert_for

EXPERTS = [
    {"name": "math", "colour": "#0072B2", "kind": "expert"},
    {"name": "code", "colour": "#E69F00", "kind": "expert"},
]
MIXER = {"experts": EXPERTS, "alpha": {"math": 0.5, "code": 0.25}, "strength": 1.0}


def test_from_the_base_model_on_it_is_strengths():
    found = points("base", "expert:math", MIXER)
    strengths = [point.mixture.get("math", 0.0) for point in found]
    assert strengths == [0, 0.25, 0.5, 0.75, 1, 1.5, 2]
    assert found[0].mixture == {} and found[0].words == "base model"
    assert found[2].words == "math 0.50" and found[2].colour == "#0072B2"


def test_between_two_mixtures_it_is_the_line():
    found = points("expert:code", "sliders", MIXER)
    assert found[0].mixture == {"code": 1.0} and found[-1].mixture == {"math": 0.5, "code": 0.25}
    assert found[3].mixture == pytest.approx({"code": 0.625, "math": 0.25})


def test_normalised_sliders_act_divided():
    assert mixture_at("sliders", {**MIXER, "normalise": True}) == pytest.approx(
        {"math": 2 / 3, "code": 1 / 3}
    )


@pytest.mark.parametrize(
    "ends", [("base", "base"), ("base", "expert:poems"), (None, "expert:math"), ("base", "math")]
)
def test_what_is_no_line_has_no_columns(ends):
    assert points(*ends, MIXER) == []


def test_at_first_it_goes_to_the_expert_that_the_questions_are_for():
    assert expert_for("sample:arithmetic", ["code", "math"]) == "math"
    assert expert_for("sample:decimals", ["code", "math"]) == "code"  # there is no such expert
    assert expert_for("adapt", ["code", "math"]) == expert_for(None, ["code"]) == "code"
    assert expert_for("sample:arithmetic", []) is None


def test_choices_are_the_experts_and_the_sliders():
    assert [value for _, value in choices(MIXER)] == [
        "base",
        "expert:math",
        "expert:code",
        "sliders",
    ]


def test_answers_are_aligned_where_they_part():
    found = points("base", "expert:math", MIXER)
    lineup = Lineup([point.mixture for point in found])
    sweep = Sweep("Hello", lineup, "one two three four")
    swept = FakeClient.swept(sweep)
    shown = answered(found, swept, "Hello", sweep.given)
    for column, event in zip(shown["columns"], swept.columns, strict=True):
        assert shown["shared"] + column["text"] == "".join(event.pieces)
        assert column["per_token"] == pytest.approx(event.log_likelihood / 4)
    assert len({column["text"][:3] for column in shown["columns"]}) > 1
    texts = ["same so far", "same so good"] + ["same"] * 5
    working = answering(found, texts, "Hello", "")
    assert working["shared"] == "same" and working["columns"][1]["text"] == " so good"


@pytest.mark.parametrize(
    ("ends", "of"),
    [
        (("base", "expert:math"), {"math": 1.0}),
        (("base", "sliders"), {"math": 0.5, "code": 0.25}),
        (("expert:code", "expert:math"), {"math": 1.0}),
        (("expert:code", "base"), {"code": 1.0}),
    ],
)
def test_controls_are_of_the_line_s_end(ends, of):
    found, lineup = lined_up(*ends, MIXER, controls=True, shots=[("a", "b")])
    assert lineup.mixtures[lineup.controlled] == of
    assert [point.control for point in found] == list(lineup.columns)
    assert found[-1].words == "examples in the prompt" and "shuffled z, " in found[-3].words
    found, lineup = lined_up(*ends, MIXER, controls=True)
    assert lineup.controls == ("shuffled", "random"), "no examples, no prompt with them"
    assert lined_up(*ends, MIXER, controls=False)[1].controls == ()


def test_the_questions_are_samples_or_the_examples_on_adapt():
    table = pack(
        table_of([("What is 1 + 1?", "2"), ("", ""), *[("How many?", str(n)) for n in range(9)]])
    )
    chosen = Proof.chosen("adapt", False, table)
    assert len(chosen.questions) == 10 and chosen.shots == []
    chosen = Proof.chosen("adapt", True, table)
    assert len(chosen.questions) == 7 and len(chosen.shots) == 3
    chosen = Proof.chosen("sample:decimals", True, table)
    assert len(chosen.questions) == 27 and len(chosen.shots) == 5
    assert Proof.chosen("sample:nothing of ours", False, table).questions == []


def test_a_strip_stands_under_each_column():
    found, lineup = lined_up("base", "expert:math", MIXER, controls=True)
    trial = Trial((("a", "1"), ("b", "2"), ("c", "3")), lineup)
    *_, last = FakeClient.tried(trial)
    table = {**unasked(found), "trial": a_trial("working", "1", "mine", 3)}
    shown = tried(table, last, table["trial"])
    for column, standing in zip(shown["columns"], last.columns, strict=True):
        assert column["tried"]["right"] == list(standing.right)
        assert column["tried"]["count"] == sum(standing.right) and column["tried"]["of"] == 3
        assert column["tried"]["p"] == standing.p


def test_answers_stay_when_questions_are_tried_with_more_columns_or_fewer():
    plain, lineup = lined_up("base", "expert:math", MIXER, controls=False)
    more, _ = lined_up("base", "expert:math", MIXER, controls=True)
    swept = FakeClient.swept(Sweep("What is 3 + 4?", lineup, "7"))
    table = answered(plain, swept, "What is 3 + 4?", "7")
    assert with_columns(table, plain) == table
    wide = with_columns(table, more)
    assert wide["columns"][: len(plain)] == table["columns"] and wide["shared"] == table["shared"]
    assert [one["asked"] for one in wide["columns"][len(plain) :]] == [False] * (
        len(more) - len(plain)
    )
    assert with_columns(wide, plain) == table
    stopped = {**table, "state": "stopped"}
    assert with_columns(stopped, plain) == stopped, "what was decoded before Stop stays too"
    other, _ = lined_up("base", "expert:code", MIXER, controls=False)
    for untrue in (table, {**table, "columns": "none"}, {**table, "state": "failed"}, {}):
        assert with_columns(untrue, other) == unasked(other), "answers of other mixtures go"


def test_controls_that_answered_stay_unless_their_examples_are_others():
    shots = {name: [(f"{name}?", "1")] for name in ("mine", "yours")}
    plain, _ = lined_up("base", "expert:math", MIXER, controls=False)
    found, lineup = lined_up("base", "expert:math", MIXER, controls=True, shots=shots["mine"])
    table = answered(found, FakeClient.swept(Sweep("Who?", lineup)), "Who?", "")
    assert with_columns(table, plain) == table, "unticked, the answers stay behind the line"
    trial = Trial((("a", "1"), ("b", "2")), lined_up("base", "expert:math", MIXER, False)[1])
    *_, last = FakeClient.tried(trial)
    shown = tried(with_columns(table, plain), last, a_trial("working", "1", "mine", 2))
    strips = [one["tried"] is not None for one in shown["columns"]]
    assert strips == [True] * len(plain) + [False] * 3
    other, _ = lined_up("base", "expert:math", MIXER, controls=True, shots=shots["yours"])
    columns = with_columns(table, other)["columns"]
    assert [one["asked"] for one in columns] == [True] * 9 + [False], "made with other examples"
    assert len(columns) == len(found)


def test_a_layer_s_bar_is_what_the_text_loses_without_it():
    shown = layers(LayersMeasured(-9.0, -4.0, (-5.0, -3.5), 7, 0.1), "math 1.00", "text")
    assert shown["effects"] == [1.0, -0.5]


def test_what_a_link_names_and_is_not_here_is_said():
    offers = {"from": ["base", "expert:math"], "length": ["16", "32"]}
    assert not_here({"from": "expert:math", "prompt": "Hi"}, offers) == ""
    said = not_here({"from": "expert:poems", "length": "999"}, offers)
    assert said == "from 'expert:poems', length '999': what the boxes show is used instead."


def test_a_link_carries_the_comparison_and_only_to_this_page():
    values = ["What is 2 + 2?", "base", "expert:math", "4", 64, "sample:sums", True]
    sliders = {"experts": [{"name": "math"}, {"name": "code"}], "alpha": {"math": 0.5}}
    link = link_to(values, sliders)
    assert link.startswith("?tab=compare&") and "expert:math" in link and "mix=" not in link
    asked = dict(parse_qsl(link.removeprefix("?")))
    assert from_link(asked) == {
        "prompt": "What is 2 + 2?",
        "from": "base",
        "to": "expert:math",
        "given": "4",
        "length": "64",
        "questions": "sample:sums",
        "controls": "1",
    }
    assert from_link({**asked, "tab": "ask"}) == {}
    assert "prompt=%3F" in link_to(["\ud83d", "base", "sliders", "", 32, "", False], sliders)
    plain = link_to(["Hi", "base", "sliders", "", 32, "", False], sliders)
    assert "controls" not in plain and "given" not in plain
    assert from_query(dict(parse_qsl(plain.removeprefix("?")))).mixture == {"math": 0.5}
