"""The figure of an evaluation: every method with its interval, and which differ from the base."""

import json
import re
from pathlib import Path

import pytest

from t2ui.evaluation.tables import cells, records
from t2ui.figures.colours import BASE, BLUE, GREEN, VERMILION, faded
from t2ui.figures.comparison import accuracies, html_page

ROOT = Path(__file__).resolve().parents[2]
RIGHT = {
    "sums, chat": {
        "base": {str(i): i < 4 for i in range(20)},
        "math": {str(i): i < 16 for i in range(20)},
        "code | <x>": {str(i): i < 5 for i in range(10)},
    },
    "facts": {"base": {"a": True}, "math": {"a": False, "b": True}},
}


@pytest.fixture
def figure():
    return accuracies(records(cells(RIGHT)))


def test_every_method_is_a_dot_with_its_interval(figure):
    found = {(dot.name, dot.xaxis): dot for dot in figure.data}
    assert len(found) == len(figure.data) == 5
    for record in records(cells(RIGHT)):
        axis = {"sums, chat": "x", "facts": "x2"}[record["set"]]
        dot = found[record["method"], axis]
        (share,), (above,), (below,) = dot.x, dot.error_x.array, dot.error_x.arrayminus
        assert share == record["accuracy"]
        assert [share - below, share + above] == pytest.approx(record["interval"])
        assert 0 <= share <= figure.layout["xaxis" + axis[1:]].range[1]
    assert found["base", "x"].y[0] < found["math", "x"].y[0]  # from the top, in the order given
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    words = [note.text for note in figure.layout.annotations]
    assert "sums, chat, n = 20" in words and "facts, n = 1" in words
    assert "80.0 % [58.4, 91.9]  p = 0.00049" in words


def test_the_base_is_a_line_through_its_set(figure):
    lines = [shape for shape in figure.layout.shapes if shape.line.color == BASE]
    assert [(line.x0, line.x1, line.xref) for line in lines] == [(0.2, 0.2, "x"), (1, 1, "x2")]


def test_colours_say_what_the_paired_test_tells_from_the_base():
    half = {str(i): i % 2 == 0 for i in range(40)}
    other = {str(i): i % 2 == 1 for i in range(40)}
    results = {"base": half, "up": dict.fromkeys(half, True), "even": other}
    results["down"] = dict.fromkeys(half, False)
    dots = accuracies(records(cells({"s": results}))).data
    colours = {dot.name: dot.marker.color for dot in dots}
    assert colours == {"base": BASE, "up": GREEN, "even": BLUE, "down": VERMILION}
    assert all(dot.error_x.color == dot.marker.color for dot in dots)


def test_names_are_cut_and_never_markup(figure):
    assert "code | &lt;x&gt;" in figure.layout.yaxis.ticktext
    long = accuracies(records(cells({"s": {"x" * 80: {"a": True}}})))
    assert max(map(len, long.layout.yaxis.ticktext)) == 26


def test_the_page_needs_no_other_file_and_no_other_host(figure):
    page = html_page(figure)
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page)
    assert "plotly.js v" in page[:10_000]  # the library itself
    assert "<x>" not in page.rsplit("Plotly.newPlot", 1)[1]
    drawn = re.search(r'Plotly\.newPlot\(\s*"[^"]+",\s*(\[.*?\])\s*,\s*\{"', page[-50_000:], re.S)
    assert [trace["name"] for trace in json.loads(drawn[1])] == [d.name for d in figure.data]


def test_base_is_the_pages_own_grey():
    tokens = (ROOT / "assets/shared/tokens.css").read_text(encoding="utf-8")
    assert re.search(r"--t2-base: (#\w+);", tokens)[1] == BASE  # of the light page
    assert faded(BLUE, 0.5) == "rgba(0,114,178,0.5)"
    named = [
        path.name
        for path in (ROOT / "t2ui").rglob("*.py")
        if BASE in path.read_text(encoding="utf-8").casefold()
    ]
    assert named == ["colours.py"], "the grey is named once"
