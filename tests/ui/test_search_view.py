"""ui: what Adapt shows of a search: its generations, the time left, its figures. No browser."""

import json
from dataclasses import replace

import pytest

from t2ui.config import FewShotConfig
from t2ui.figures import search as figures_adapt
from t2ui.messages import (
    Adapt,
    Adapted,
    Done,
    Failed,
    Generation,
    Queued,
    SearchBegan,
)
from t2ui.ui.adapt.search_view import SearchView
from t2ui.ui.shared.durations import about
from t2ui.workshop.live import CLOSED

COLOURS = {"math": "#0072B2", "code": "#E69F00", "reasoning": "#009E73"}
PAIRS = tuple((f"How many are {n} and {n}?", str(2 * n)) for n in range(1, 7))

# --- what is shown -------------------------------------------------------------------------------


def generation(number, **more):
    values = {
        "number": number,
        "best": -1.0 / number,
        "mean": -2.0 / number,
        "spread": 0.1,
        "alpha_mean": {"math": 0.8, "code": 0.1},
        "alpha_spread": {"math": 0.1, "code": 0.2},
        "population": ((0.7, 0.0), (0.9, 0.2)),
        "scores": (-2.0, -1.0 / number),
        "tokens": 100 * number,
        "forward_passes": number,
        "seconds": 2.0 * number,
    }
    return Generation(**values | more)


def adapted(**more):
    values = {
        "mixture": {"math": 0.9, "code": 0.2},
        "normalise": False,
        "set_by": "CEM, generation 2",
        "report": "held-out 2 of 6 examples",
        "before": -2.0,
        "after": -1.0,
        "right_before": None,
        "right_after": None,
        "n": 2,
        "tokens": 900,
        "forward_passes": 9,
        "seconds": 6.0,
        "file": "{}",
    }
    return Adapted(**values | more)


def view_of(*events, config=None):
    view = SearchView(Adapt(PAIRS, config or FewShotConfig(generations=4)), COLOURS)
    for event in events:
        view.apply(event)
    return view


BEGAN = SearchBegan(("math", "code"), (1, 4), 4)


def test_a_search_that_waits_says_for_what():
    assert view_of().value()["state"] == "waiting"
    assert "2 searches before you" in view_of(Queued(2)).value()["line"]
    loading = SearchView(Adapt(PAIRS), COLOURS, loading=True)
    loading.apply(Queued(0))
    assert "loading" in loading.value()["line"]
    loading.apply(Queued(1))
    assert "1 search before you" in loading.value()["line"], "the model is there now"


def test_a_search_under_way_shows_its_generations_and_the_time_left():
    value = view_of(BEGAN, generation(1), generation(2)).value()
    assert (value["state"], value["count"], value["fraction"]) == ("working", 2, 0.5)
    assert value["line"] == "generation 2 of 4 · 4 s · at most about 4 s more"
    score, alpha = json.loads(value["score"]), json.loads(value["alpha"])
    best = next(trace for trace in score["data"] if trace["name"] == "best")
    assert best["y"] == [-1.0, -0.5]
    lines = {t["name"]: t for t in alpha["data"] if t.get("name")}
    assert lines["math"]["y"] == [0.8, 0.8] and lines["math"]["line"]["color"] == "#0072B2"
    assert [one["alpha"] for one in value["mixture"]] == [0.8, 0.1]
    assert value["report"] is None


def test_leave_one_out_is_part_of_the_time_left():
    config, three = FewShotConfig(generations=4), PAIRS[:3]
    view = SearchView(Adapt(three, config), COLOURS)
    for event in (SearchBegan(("math", "code"), (), 4), generation(1), generation(2)):
        view.apply(event)
    value = view.value()
    assert value["line"] == "generation 2 of 4 · 4 s · at most about 20 s more"
    assert value["fraction"] == pytest.approx(2 / 12)
    for event in (generation(3), generation(4)):
        view.apply(event)
    assert view.value()["line"] == (
        "generation 4 of 4 · leave-one-out over 3: at most about 15 s more"
    )
    assert view.value()["fraction"] == pytest.approx(1 / 3)
    for rows, more in ((PAIRS[:1], {}), (three, {"held_out": 0.0})):  # nothing is left out
        view = SearchView(Adapt(rows, FewShotConfig(generations=4, **more)), COLOURS)
        for event in (SearchBegan(("math", "code"), (), 4), generation(2)):
            view.apply(event)
        assert view.value()["line"].endswith("at most about 4 s more")


def test_experts_that_the_page_did_not_know_have_their_colours():
    view = SearchView(Adapt(PAIRS), {"code": "#123456"})
    for event in (BEGAN, generation(1)):
        view.apply(event)
    colours = {one["name"]: one["colour"] for one in view.value()["mixture"]}
    assert colours == {"math": "#0072B2", "code": "#123456"}
    lines = {t["name"]: t for t in json.loads(view.value()["alpha"])["data"] if t.get("name")}
    assert lines["math"]["line"]["color"] == "#0072B2"


def test_figures_are_sent_only_when_they_are_new():
    view = view_of(BEGAN, generation(1))
    assert view.value(seen=0)["score"] and not view.value(seen=1)["score"]
    view.apply(generation(2))
    assert view.value(seen=1)["alpha"]


def test_a_finished_search_compares_before_and_after_and_says_how_sure_that_is():
    view = view_of(BEGAN, generation(1), generation(2), adapted(), Done())
    value = view.value()
    assert value["state"] == "done" and "CEM, generation 2" in value["line"]
    report = value["report"]
    assert (report["before"], report["after"]) == (-2.0, -1.0)
    assert "2.7 times likelier" in report["verdict"] and "Only 2 examples" in report["verdict"]
    assert report["prompts"] == [PAIRS[1][0], PAIRS[4][0]] and report["prompts_are"] == "held out"
    assert [one["alpha"] for one in value["mixture"]] == [0.9, 0.2]


def test_a_worse_result_is_called_worse():
    worse = view_of(BEGAN, generation(1), adapted(before=-1.0, after=-2.0), Done())
    assert "2.7 times less likely" in worse.value()["report"]["verdict"]
    slightly = view_of(BEGAN, generation(1), adapted(before=-1.0, after=-1.04), Done())
    assert "3.9 % less likely" in slightly.value()["report"]["verdict"]
    reward = FewShotConfig(objective="reward")
    fell = adapted(before=0.5, after=0.25, right_before=2, right_after=1, n=4)
    report = view_of(BEGAN, fell, config=reward).value()["report"]
    assert "25% of the answers worse" in report["verdict"]
    same = view_of(BEGAN, adapted(before=-1.0, after=-1.0), Done()).value()["report"]
    assert "No change" in same["verdict"]


def test_without_held_out_examples_no_numbers_are_made_up():
    began = SearchBegan(("math",), (), 4)
    unseen = adapted(report="nothing held out", before=None, after=None, n=0)
    report = view_of(began, generation(1), unseen, Done()).value()["report"]
    assert report["before"] is None and report["verdict"] == ""
    assert report["prompts"] == [prompt for prompt, _ in PAIRS]
    assert report["prompts_are"] == "from the search itself"


def test_stopping_and_failing_are_said():
    view = view_of(BEGAN, generation(1))
    view.stopping = True
    assert "stopping" in view.value()["line"]
    view.apply(adapted())
    view.apply(Done(cancelled=True))
    assert view.value()["state"] == "stopped" and "best so far" in view.value()["line"]
    nothing = view_of(BEGAN, Done(cancelled=True)).value()
    assert nothing["state"] == "empty" and "Stopped before" in nothing["message"]
    failed = view_of(BEGAN, generation(1), Failed("The worker died.", "Start again.")).value()
    assert (failed["state"], failed["message"]) == ("failed", "The worker died.")
    assert failed["count"] == 1, "what was seen stays"
    closed = view_of(CLOSED[Adapt]).value()
    assert closed["message"] == "Only the teacher searches here."
    assert closed["remedy"] == "Move the sliders by hand.", "to press Start again does not help"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "about a second"),
        (7.4, "about 7 s"),
        (41, "about 40 s"),
        (200, "about 3 min"),
        (7200, "about 2.0 h"),
    ],
)
def test_times_are_rough_words(seconds, words):
    assert about(seconds) == words


def test_what_the_scripts_wait_for_is_what_python_sends():
    """The keys of a view that assets/adapt/adapt.js starts with are those of a view."""
    from pathlib import Path

    file = Path(__file__).parents[2] / "assets" / "adapt" / "adapt.js"
    script = file.read_text(encoding="utf-8")
    start = script.split("const EMPTY = {")[1].split("};")[0]
    keys = {part.split(":")[0].strip() for part in start.replace("\n", " ").split(",")}
    assert keys == set(view_of().value())


# --- figures -------------------------------------------------------------------------------------


def history(count=3, members=4):
    spread = [[0.1 * m for m in range(members)] for _ in range(count)]
    return figures_adapt.History(
        numbers=range(1, count + 1),
        best=[0.5] * count,
        mean=[0.2] * count,
        scores=[[*one[:-1], float("nan")] for one in spread],
        alpha_mean={"a": [0.1] * count},
        alpha_spread={"a": [0.05] * count},
        population=[[[x] for x in one] for one in spread],
    )


def test_members_stand_around_their_generation_and_the_band_is_the_spread():
    figure = json.loads(figures_adapt.alphas(history(), {"a": "#0072B2"}).to_json())
    points, band, line = figure["data"]
    assert len(points["x"]) == 12 and all(0.5 < x < 3.5 for x in points["x"])
    assert band["y"][:3] == pytest.approx([0.15] * 3) and band["fill"] == "toself"
    assert line["y"] == [0.1] * 3 and figure["layout"]["yaxis"]["title"]["text"] == "α"


def test_of_many_experts_the_legend_names_the_strongest_in_the_end():
    ends = {"a": 0.1, "b": -0.9, "c": 0.0, "d": 0.5, "e": 0.2, "f": 1.0, "g": 0.3, "h": 0.0}
    means, spreads = ({n: [x] for n, x in ends.items()}, {n: [0.1] for n in ends})
    many = replace(
        history(count=1, members=1),
        alpha_mean=means,
        alpha_spread=spreads,
        population=[[list(ends.values())]],
    )
    few = replace(many, alpha_mean=dict(list(means.items())[:3]))
    for shown, names in ((many, [*"bdefg", "3 others"]), (few, [*"abc"])):
        figure = json.loads(figures_adapt.alphas(shown, dict.fromkeys(ends, "#0072B2")).to_json())
        assert [t["name"] for t in figure["data"] if t.get("showlegend", True)] == names


def test_a_score_that_is_no_number_breaks_no_figure():
    figure = json.loads(figures_adapt.scores(history(), "share").to_json())
    low, high = figure["layout"]["yaxis"]["range"]
    assert low < 0.2 and high > 0.5
    empty = figures_adapt.History([], [], [], [], {}, {}, [])
    assert figures_adapt.scores(empty, "share").to_json()
    assert figures_adapt.alphas(empty, {}).to_json()


def test_a_long_search_of_many_members_stays_a_small_figure():
    many = history(count=100, members=200)
    figure = json.loads(figures_adapt.scores(many, "share").to_json())
    assert len(figure["data"][0]["x"]) <= figures_adapt.MAX_POINTS
