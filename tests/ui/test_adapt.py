"""ui: the Adapt page's examples, requests, searches and what it shows of them. No browser."""

import asyncio
import json
import threading
import time

import pytest
from fake_client import FakeClient

from t2ui.catalogue import SEARCH_METHODS
from t2ui.config import BEST_METHODS, FewShotConfig
from t2ui.errors import InputError
from t2ui.figures import search as figures_adapt
from t2ui.generators.stream import part_of
from t2ui.messages import (
    Adapt,
    Adapted,
    Done,
    EstimateAdapt,
    Failed,
    Generation,
    Queued,
    SearchBegan,
)
from t2ui.ui.adapt import searches as searches_module
from t2ui.ui.adapt.generated import MadeRows, names_a_generator
from t2ui.ui.adapt.page import request_of
from t2ui.ui.adapt.search_view import SearchView, methods_hint
from t2ui.ui.adapt.searches import GONE, Searches
from t2ui.ui.shared.durations import about
from t2ui.ui.shared.examples import (
    MAX_CHARS,
    MAX_ROWS,
    MAX_TEXT,
    filled,
    merged,
    parse,
    rows_of,
    samples,
)
from t2ui.ui.shared.panel import pack
from t2ui.workshop.live import CLOSED

COLOURS = {"math": "#0072B2", "code": "#E69F00", "reasoning": "#009E73"}
PAIRS = tuple((f"How many are {n} and {n}?", str(2 * n)) for n in range(1, 7))


# --- examples ------------------------------------------------------------------------------------


def test_the_samples_are_whole_and_each_is_enough_to_hold_some_out():
    for one in samples().values():
        assert len(one["rows"]) >= 10 and one["hint"]
        assert all(prompt.strip() and right.strip() for prompt, right in one["rows"])
        Adapt(one["rows"])


def test_the_arithmetic_sample_is_right():
    from t2ui.tasks.numbers import answered_number

    for _, worked in samples()["arithmetic"]["rows"]:
        for line in worked.split("\n"):
            left, right = line.split("=")
            value = eval(left, {"__builtins__": {}})  # our own text: numbers and one sign
            assert value == answered_number(right), line


@pytest.mark.parametrize(
    "text",
    [
        "a,1\nb,2",
        "prompt,answer\na,1\nb,2\n",
        'question;target\n"a";1\nb;2',
        "a\t1\nb\t2",
        "id,Answer,note,Prompt\n7,1,x,a\n8,2,y,b",
        '\ufeff{"prompt": "a", "answer": 1}\n\n{"question": "b", "target": "2", "id": 3}',
        "a,1\r\nb,2\r\n",
    ],
)
def test_csv_tabs_and_json_lines_are_read(text):
    assert parse(text) == [("a", "1"), ("b", "2")]


def test_quoted_cells_may_hold_commas_and_lines():
    assert parse('"a, and\nb","1, 2"') == [("a, and\nb", "1, 2")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no text"),
        (None, "no text"),
        ("only one column\n", "Line 1 has 1 column"),
        ("a,1\nb\n", "Line 2"),
        ("a,1\nb, \n", "Line 2 has no answer"),
        ("one, two, three", "Line 1 has 3 columns"),
        ('{"prompt": "a", "answer": "1"}\n{"prompt": ', "Line 2 is not JSON"),
        ('{"prompt": "a"}', "expected prompt and answer"),
        ('{"prompt": "a", "answer": "1"}\n[1]', "Line 2 is not a JSON object"),
        ("prompt,answer\n", "No example"),
        ("x" * 5000 + ",1", "5,000 characters"),
        ("x" * (MAX_TEXT + 1), "at most"),
    ],
)
def test_text_that_cannot_be_read_says_where_and_what_is_expected(text, words):
    with pytest.raises(InputError, match=words):
        parse(text)


def test_new_rows_join_the_old_ones_once_and_only_so_many():
    rows, note = merged([("a", "1"), ("", " ")], [("a", "1"), ("b", "2")])
    assert rows == [("a", "1"), ("b", "2")] and note == "1 example added."
    rows, note = merged([], [(str(n), "x") for n in range(MAX_ROWS + 6)])
    assert len(rows) == MAX_ROWS and "6 are left out" in note


@pytest.mark.parametrize("value", [None, [], {"rows": 3}, {"rows": [1, [2], ["a", "b", "c"]]}])
def test_nonsense_from_the_browser_is_no_row(value):
    assert rows_of(value) == []


def test_rows_keep_their_places_when_blank_ones_are_left_out():
    assert filled([("", ""), ("a", "1"), (" ", ""), ("b", "")]) == (
        [("a", "1"), ("b", "")],
        [1, 3],
    )


# --- rows from a generator -----------------------------------------------------------------------


def test_a_generators_rows_are_examples():
    """The first that no training reads, and no evaluation."""
    made = asyncio.run(MadeRows(False).rows(" rg:chain_sum:max_terms=2:max_digits=2 5\n"))
    assert len(set(made)) == 5
    Adapt(tuple(made))
    for prompt, right in made:
        question, line = prompt.split("\n")
        left, sign, other = question.split(":")[1].strip(" =").split()
        assert int(right) == int(left) + int(other) * (1 if sign == "+" else -1)
        assert line == "Answer with the number only." and part_of(question) == "validation"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rg:lcms", "no generator 'lcms'"),
        ("rg:lcm:bound=3 4", "has no setting 'bound=3'"),
        ("rg:lcm four", "names no generator; expected e.g."),
        ("rg:lcm 0", "0 rows were asked for; 1 to 64 fit"),
        ("rg:lcm 65", "65 rows were asked for"),
        ("rg:boxnet 2", "rg:boxnet has no rows with a right answer"),
        ("rg:rectangle_count 2", "at most 4,000 fit: choose smaller settings"),
    ],
)
def test_rows_that_cannot_be_made_say_why(text, words):
    with pytest.raises(InputError, match=words):
        asyncio.run(MadeRows(False).rows(text))


def test_a_slow_generator_is_given_up(monkeypatch):
    monkeypatch.setattr("t2ui.ui.adapt.generated.SECONDS", 0.0)
    with pytest.raises(InputError, match="rg:gcd made 0 rows in 0 s: ask for fewer, or choose eas"):
        asyncio.run(MadeRows(False).rows("rg:gcd"))


def test_rows_are_made_for_one_at_a_time_and_not_for_strangers(monkeypatch):
    began, go_on = threading.Event(), threading.Event()

    def slow(name, count, seconds):
        began.set()
        assert go_on.wait(20)
        return [("1 + 1?", "2")] * count

    monkeypatch.setattr("t2ui.ui.adapt.generated.sample_rows", slow)

    async def two():
        made = MadeRows(False)
        first = asyncio.create_task(made.rows("rg:gcd 3"))
        await asyncio.to_thread(began.wait, 20)
        with pytest.raises(InputError, match="being made for somebody else"):
            await made.rows("rg:gcd 3")
        go_on.set()
        assert len(await first) == 3
        assert len(await made.rows("rg:gcd 4")) == 4

    asyncio.run(two())
    with pytest.raises(InputError, match="A public app, or a workshop, makes no rows"):
        asyncio.run(MadeRows(True).rows("rg:gcd"))


def test_only_a_name_asks_for_rows():
    assert names_a_generator(" rg:gcd") and names_a_generator("rg:")
    assert not any(map(names_a_generator, ("a,b", '{"prompt": "rg:"}', "", None, 3)))


# --- what is asked for ---------------------------------------------------------------------------


def table(*rows):
    return pack({"rows": [list(row) for row in rows]})


def test_the_request_is_what_the_page_holds():
    request = request_of(table(("", ""), ("a", "1")), "random", "both", "fast")
    preset = FewShotConfig.preset("fast")
    assert request.examples == (("a", "1"),)
    assert (request.config.method, request.config.objective) == ("random", "both")
    assert request.config.population == preset.population
    assert request_of(table(("a", "1")), "cem", "likelihood", "no such").config.generations


@pytest.mark.parametrize(
    ("method", "objective", "budget", "found_by"),
    [
        ("auto", "likelihood", "light", BEST_METHODS["likelihood"]),
        ("auto", "reward", "light", BEST_METHODS["reward"]),
        ("auto", "likelihood", "paper", "cem"),
        ("random", "likelihood", "paper", "random"),
    ],
)
def test_the_best_method_for_the_score_and_the_papers_own(method, objective, budget, found_by):
    config = request_of(table(("a", "1")), method, objective, budget).config
    assert config.found_by == found_by


def test_blank_rows_do_not_count():
    rows = [("", "")] * MAX_ROWS + [("a" * MAX_CHARS, "1")]
    assert len(request_of(table(*rows), "cem", "likelihood", "light").examples) == 1


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((table(), "cem", "likelihood", "light"), "no examples"),
        ((table(("", ""), ("a", "")), "cem", "likelihood", "light"), "Row 2 has no right answer"),
        (
            (
                table(
                    ("", "b"),
                ),
                "cem",
                "likelihood",
                "light",
            ),
            "Row 1 has no prompt",
        ),
        (
            (
                table(
                    ("a", "b"),
                ),
                "magic",
                "likelihood",
                "light",
            ),
            "magic",
        ),
        (
            (
                table(
                    ("a", "b"),
                ),
                "gradient",
                "reward",
                "light",
            ),
            "likelihood",
        ),
        (("nonsense", "cem", "both", None), "no examples"),
        (
            (table(("a", "b"), ("x" * 5000, "b")), "cem", "likelihood", "light"),
            "Row 2: the prompt has 5,000 characters; at most 4,000 fit",
        ),
        (
            (table(("", ""), ("a", "x" * 4001)), "cem", "likelihood", "light"),
            "Row 2: the answer has 4,001",
        ),
        (
            (table(*((str(n), "b") for n in range(MAX_ROWS + 3))), "cem", "likelihood", "light"),
            f"{MAX_ROWS + 3} examples; at most {MAX_ROWS} are searched on: remove 3",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_with_the_row(asked, words):
    with pytest.raises(InputError, match=words):
        request_of(*asked)


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
    assert closed["message"] == "In this workshop only the teacher starts searches."
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


# --- searches ------------------------------------------------------------------------------------


def begin(searches, *asked, **more):
    """`Searches.start` in a loop, as the page calls it; its watcher ends with this loop."""

    async def start():
        return searches.start(*asked, **more)

    return asyncio.run(start())


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def test_a_search_goes_on_without_its_page_and_is_found_by_its_id():
    searches = Searches(FakeClient(pace=0.01))
    search_id = begin(searches, Adapt(PAIRS), COLOURS)
    until(lambda: searches.value(search_id)["state"] == "done")
    again = searches.value(search_id)
    assert again["report"] and again["score"]
    request, found = searches.found(search_id)
    assert request.examples == PAIRS and set(found.mixture) == {"math", "code", "reasoning"}


def test_nobody_finds_a_search_without_its_id():
    searches = Searches(FakeClient(pace=0))
    begin(searches, Adapt(PAIRS), COLOURS)
    for guess in ("", "0", "x" * 32):
        assert searches.value(guess)["state"] == "empty" and searches.found(guess) is None
    assert searches.value("x" * 32)["message"] == GONE
    searches.stop("nobody's")


def test_stop_keeps_what_was_found():
    client = FakeClient(pace=0.2)
    searches = Searches(client)
    search_id = begin(searches, Adapt(PAIRS), COLOURS)
    until(lambda: searches.value(search_id)["count"] >= 2)
    searches.stop(search_id)
    until(lambda: searches.value(search_id)["state"] == "stopped")
    assert searches.found(search_id) and client.cancelled == [search_id]


def test_starting_again_stops_the_search_before():
    client = FakeClient(pace=5)
    searches = Searches(client)
    first = begin(searches, Adapt(PAIRS), COLOURS)
    second = begin(searches, Adapt(PAIRS), COLOURS, before=first)
    assert client.cancelled == [first] and first != second


def test_a_search_that_nobody_looks_at_is_stopped(monkeypatch):
    client = FakeClient(pace=5)
    searches = Searches(client)
    deserted = begin(searches, Adapt(PAIRS), COLOURS)
    looked_at = begin(searches, Adapt(PAIRS), COLOURS)
    real = time.monotonic()

    class Later:
        monotonic = staticmethod(lambda: real + searches_module.DESERTED_SECONDS + 10)

    searches.value(looked_at)
    assert client.cancelled == []
    with monkeypatch.context() as patch:
        patch.setattr(searches_module, "time", Later)
        searches.value(looked_at)
    assert client.cancelled == [deserted]


def test_a_search_is_stopped_when_no_page_at_all_asks_for_anything(monkeypatch):
    monkeypatch.setattr(searches_module, "DESERTED_SECONDS", 0.05)
    monkeypatch.setattr(searches_module, "WATCH_SECONDS", 0.01)
    client = FakeClient(pace=5)

    async def walk_away():
        searches = Searches(client)
        search_id = searches.start(Adapt(PAIRS), COLOURS)
        watcher = searches._kept[search_id].watcher
        await asyncio.wait_for(asyncio.shield(watcher), 5)
        return search_id

    assert [asyncio.run(walk_away())] == client.cancelled


def test_old_searches_that_ended_are_forgotten(monkeypatch):
    monkeypatch.setattr(searches_module, "MOST_KEPT", 3)
    searches = Searches(FakeClient(pace=0))
    ids = []
    for _ in range(5):
        ids.append(begin(searches, Adapt(PAIRS), COLOURS))
        until(lambda: searches.value(ids[-1])["state"] == "done")
    assert [searches.found(one) is not None for one in ids] == [False, False, True, True, True]


def test_a_worker_that_dies_is_a_failed_search():
    client = FakeClient(pace=0.01)
    client.failure = Failed("The model worker stopped unexpectedly.", "It is restarting.")
    searches = Searches(client)
    search_id = begin(searches, Adapt(PAIRS), COLOURS)
    until(lambda: searches.value(search_id)["state"] == "failed")
    assert "restarting" in searches.value(search_id)["remedy"]


# --- the page ------------------------------------------------------------------------------------


def test_the_hint_says_what_every_method_does_and_which_is_best_for_what():
    hint = methods_hint()
    assert hint.startswith("Best: gradient for likelihood, CEM for right answers, CEM for both. ")
    for method in SEARCH_METHODS.values():
        assert f"{method.words}: {method.hint}" in hint


def test_the_page_has_the_ids_that_checks_rely_on():
    from t2ui.ui import build

    ids = {block.elem_id for block in build(FakeClient()).blocks.values()}
    assert {
        "adapt-examples",
        "adapt-start",
        "adapt-stop",
        "adapt-score",
        "adapt-alpha",
        "adapt-report",
        "adapt-method",
        "adapt-objective",
        "adapt-budget",
    } <= ids


def test_what_the_scripts_wait_for_is_what_python_sends():
    """The keys of a view that assets/adapt/adapt.js starts with are those of a view."""
    from pathlib import Path

    file = Path(__file__).parents[2] / "assets" / "adapt" / "adapt.js"
    script = file.read_text(encoding="utf-8")
    start = script.split("const EMPTY = {")[1].split("};")[0]
    keys = {part.split(":")[0].strip() for part in start.replace("\n", " ").split(",")}
    assert keys == set(view_of().value())


def test_an_estimate_is_asked_with_the_whole_request():
    client = FakeClient(pace=0)

    async def ask():
        from t2ui.messages import SearchEstimate
        from t2ui.ui.shared.listen import answer

        return await answer(client, EstimateAdapt(Adapt(PAIRS)), SearchEstimate, 5)

    assert asyncio.run(ask()).held_out == (2, 5)
