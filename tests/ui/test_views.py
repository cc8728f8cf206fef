"""ui: what the panels show, folded from a worker's events and arrays. Pure functions."""

from dataclasses import replace

import pytest
from fake_shelf import expert_info

from t2ui.messages import (
    Classified,
    Compared,
    Done,
    Failed,
    Mixed,
    Queued,
    Status,
    Steered,
    Tokens,
)
from t2ui.ui.shared import mixture
from t2ui.ui.shared.controls import Controls
from t2ui.ui.shared.views import AskView, status_view

READY = Status("ready", "smollm2-135m-instruct", "cpu")


@pytest.fixture
def mixer():
    infos = [expert_info(name) for name in ("reasoning", "math", "code")]
    return mixture.with_experts(
        mixture.empty_mixer(), (*infos, expert_info("dispatch", "dispatcher"))
    )


# --- views ---------------------------------------------------------------------------------------


def test_the_status_line_reads_as_in_the_design():
    view = status_view(READY)
    assert f"{view['who']} · {view['what']}" == "smollm2-135m-instruct · cpu · ready · queue 0"
    assert status_view(replace(READY, state="busy", queued=3))["what"] == "busy · queue 3"
    loading = status_view(Status("loading", "/models/x/", "", "decomposing", 0.4))
    assert loading["who"] == "x" and loading["what"] == "loading 40%: decomposing"
    failed = status_view(Status("failed", "m", "", "no network: copy the file there"))
    assert failed["what"] == "failed" and "copy the file" in failed["detail"]


def fold(view: AskView, *events) -> set[str]:
    return {name for event in events for name in view.apply(event)}


CLASSIFIED = Classified(
    "math",
    {"math": 0.9, "others": 0.1},
    {"math": 0.6, "others": 0.4},
    "\\boxed{math}",
    "prompt",
    0.08,
)


def test_an_answered_question_moves_every_panel(mixer):
    view = AskView(Controls("x"), mixer, READY)
    assert view.classification["state"] == "waiting"
    changed = fold(view, Queued(3))
    assert view.panes["base"]["message"] == "busy: 3 before you"
    view.apply(Queued(3, 21.4))
    assert view.panes["base"]["message"] == "busy: 3 before you, about 20 s"
    view.apply(Queued(0, 2.0))
    assert view.panes["base"]["message"] == "next in line, about 2 s"
    changed |= fold(view, CLASSIFIED, Mixed({"math": 1.0}, 0.0, "prompt dispatcher, 0.90"))
    assert view.mixer["alpha"]["math"] == 1.0
    assert view.mixer["set_by"] == "prompt dispatcher, 0.90"
    assert [row["label"] for row in view.classification["rows"]] == ["math", "others"]
    assert view.classification["rows"][0]["raw"] == 0.6
    changed |= fold(view, Tokens("base", ("The ", "cat"), 2, 0.1))
    changed |= fold(view, Tokens("adapted", ("The ",), 1, 0.1))
    assert view.panes["base"]["pieces"] == ["The ", "cat"]
    assert view.panes["adapted"]["state"] == "streaming"
    changed |= fold(view, Tokens("adapted", ("dog",), 2, 0.2), Compared((), 1))
    assert view.panes["base"]["mark"] == len("The ")
    assert {view.panes[pane]["answered"]["set_by"] for pane in view.panes} == {
        "prompt dispatcher, 0.90"
    }
    receipt = {"seed": 0}
    changed |= fold(view, Done(False, {"pass_one_share": 0.02}, receipt))
    assert view.panes["adapted"]["state"] == "done" and view.receipt == receipt
    assert view.classification["share"] == 0.02
    assert changed == set(view.values())


def test_a_question_to_a_loading_model_says_that_it_waits_for_the_model(mixer):
    view = AskView(Controls("x"), mixer, replace(READY, state="restarting"))
    fold(view, Queued(2))
    assert "model is loading" in view.panes["base"]["message"]
    fold(view, Queued(1))
    assert "1 before you" in view.panes["base"]["message"], "the model is there now"


def test_a_manual_question_leaves_the_sliders_alone(mixer):
    mixer = {**mixer, "strength": 0.5, "set_by": "you", "alpha": {**mixer["alpha"], "math": 2.0}}
    view = AskView(Controls("x", {"math": 1.0}, "none"), mixer, READY)
    fold(view, Mixed({"math": 1.0}, 0.0, "you"))
    assert view.mixer == mixer and view.classification["state"] == "off"


def test_an_answer_carries_what_made_it_whatever_the_sliders_say_by_then(mixer):
    view = AskView(Controls("Why?", {"math": 1.0}, "none"), mixer, READY)
    assert view.answered is None and view.panes["adapted"]["answered"] is None
    fold(view, Mixed({"math": 0.7, "code": 0.0}, 0.3, "you"), Tokens("adapted", ("So",), 1, 0.1))
    made = {"prompt": "Why?", "mixture": {"math": 0.7}, "before": [], "set_by": "you"}
    assert view.answered == made
    assert [view.panes[pane]["answered"] for pane in ("base", "adapted")] == [made, made]
    fold(view, Done())
    assert view.panes["adapted"]["answered"] == made
    fold(view, Mixed({"code": 1.0}, 0.0, "you"))
    assert view.answered["mixture"] == {"code": 1.0}, "the newest, where they change in mid-answer"


def test_a_steered_answer_says_what_it_went_through_and_where(mixer):
    view = AskView(Controls("Why?", {"math": 1.0}, "none"), mixer, READY)
    view.job = "its id"
    fold(view, Mixed({"math": 1.0, "code": 0.0}, 0.0, "prompt dispatcher, 0.90"))
    assert view.panes["adapted"]["steered"] == [] and view.answered["before"] == []
    changed = fold(view, Tokens("adapted", ("So", "", " it"), 3, 0.1))
    changed |= fold(view, Steered(3, {"math": 0.0, "code": 0.5}, 0.5))
    assert "adapted" in changed and "mixer" not in changed, "a hand is on the sliders"
    fold(view, Steered(7, {"math": 0.25}, 0.75), Steered(7, {"math": 0.5}, 0.5))
    pane = view.panes["adapted"]
    assert pane["steered"] == [[3, {"code": 0.5}], [7, {"math": 0.5}]], "the last at a place"
    assert pane["job"] == "its id" and view.panes["base"]["steered"] == []
    assert pane["answered"] == {
        "prompt": "Why?",
        "mixture": {"math": 0.5},
        "before": [{"math": 1.0}, {"code": 0.5}],
        "set_by": "you",
    }
    fold(view, Done(False, {}, {"timeline": [[3, {"code": 0.5}], [7, {"math": 0.5}]]}))
    assert view.receipt["timeline"] and view.panes["adapted"]["answered"]["mixture"] == {
        "math": 0.5
    }


def test_an_answer_that_was_asked_again_says_so(mixer):
    controls = Controls("Why?", {"math": 1.0}, "none")
    assert AskView(controls, mixer, READY, live=True).panes["adapted"]["live"]
    assert not AskView(controls, mixer, READY).panes["adapted"]["live"]


def test_pass_one_says_which_prompt_it_read(mixer):
    view = AskView(Controls("Why?"), mixer, READY)
    assert view.classification["prompt"] == ""
    fold(view, CLASSIFIED)
    assert view.classification["prompt"] == "Why?"


def test_a_failure_says_what_to_do_and_keeps_what_was_written(mixer):
    view = AskView(Controls("x"), mixer, READY)
    fold(view, Tokens("base", ("Half",), 1, 0.1), Failed("Out of memory.", "Ask for less."))
    assert view.panes["base"]["state"] == "failed" and view.panes["base"]["pieces"] == ["Half"]
    assert view.panes["adapted"]["remedy"] == "Ask for less."
    assert view.classification["state"] == "failed"


def test_equal_answers_have_no_first_difference(mixer):
    view = AskView(Controls("x"), mixer, READY)
    fold(view, Tokens("base", ("Same",), 1, 0.1), Tokens("adapted", ("Same",), 1, 0.1))
    fold(view, Compared((), None), Done())
    assert view.panes["base"]["mark"] is None and view.panes["adapted"]["compared"]


def test_the_first_difference_is_counted_as_the_browser_counts(mixer):
    view = AskView(Controls("x"), mixer, READY)
    fold(view, Tokens("base", ("😀é a",), 1, 0.1), Tokens("adapted", ("😀é b",), 1, 0.1))
    fold(view, Compared((), 0))
    assert view.panes["base"]["mark"] == 4, "an emoji is two UTF-16 units"


def test_a_questions_pass_one_keeps_its_stamp_and_another_question_has_another(mixer):
    one, two = (AskView(Controls("x"), mixer, READY) for _ in range(2))
    fold(one, CLASSIFIED)
    fold(two, CLASSIFIED)
    stamp = one.classification["stamp"]
    fold(one, Done(False, {"pass_one_share": 0.02}))
    assert one.classification["stamp"] == stamp != two.classification["stamp"]


def test_both_panes_of_a_question_carry_its_own_id(mixer):
    """By it the browser knows what comes after Stop from what a new question brings."""
    views = [AskView(Controls("a"), mixer, READY) for _ in range(2)]
    ids = [{views[i].values()[pane]["question"] for pane in ("base", "adapted")} for i in range(2)]
    assert len(ids[0]) == len(ids[1]) == 1 and ids[0] != ids[1]
    views[0].apply(Tokens("base", ("x",), 1, 0.1))
    assert views[0].values()["base"]["question"] in ids[0]
