"""figures: what the arrays of one matrix say is what its figure holds."""

import json

import numpy as np
from typed_arrays import decode

from t2ui.figures import singular_values as figures


def series(name="math", seed=0, rank=30):
    z = np.random.default_rng(seed).normal(1, 0.1, rank).astype(np.float32)
    return figures.Series(name, "#0072B2", z, np.linspace(0, 1, rank, dtype=np.float32))


def component(several, log=True):
    sigma = np.linspace(9, 0.5, 30, dtype=np.float32)
    captured = np.cumsum(sigma) / sigma.sum()
    return sigma, json.loads(figures.component(sigma, captured, several, log).to_json())


def test_component_shows_sigma_times_z_in_the_experts_colour():
    one = series()
    sigma, figure = component([one])
    lines = {(t["name"], t.get("yaxis", "y")): t for t in figure["data"]}
    assert np.allclose(decode(lines["math", "y"]["y"]), sigma * one.z)
    assert np.allclose(decode(lines["math", "y2"]["y"]), one.z)
    assert np.allclose(decode(lines["base", "y"]["y"]), sigma)
    assert lines["math", "y"]["line"]["color"] == "#0072B2"
    assert lines["base", "y"]["line"]["color"] == figures.BASE
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert "yaxis4" not in figure["layout"]


def test_component_of_two_adds_their_difference():
    one, two = series("math", 0), series("code", 1)
    _, figure = component([one, two], log=False)
    (difference,) = [t for t in figure["data"] if t.get("yaxis") == "y4"]
    assert np.allclose(decode(difference["y"]), one.z - two.z, atol=1e-6)
    assert figure["layout"]["yaxis"].get("type") != "log"


def test_a_component_that_is_turned_around_has_no_place_on_a_log_axis():
    one = series()
    one.z[3] = -0.5
    _, figure = component([one])
    (line,) = [t for t in figure["data"] if t["name"] == "math" and t.get("yaxis", "y") == "y"]
    assert np.isnan(decode(line["y"]).astype(float)[3])
    _, figure = component([one], log=False)
    (line,) = [t for t in figure["data"] if t["name"] == "math" and t.get("yaxis", "y") == "y"]
    assert decode(line["y"])[3] < 0


def test_log_ticks_are_positive_and_cover_the_values():
    ticks = figures.log_ticks(np.array([0.3, 8.0, 0.0]))
    assert min(ticks) <= 0.3 and max(ticks) >= 8 and min(ticks) > 0
    assert figures.log_ticks(np.zeros(3)) == [1.0]


def test_plotly_js_is_where_the_app_serves_it_from():
    assert figures.plotly_file().is_file()


def test_the_legend_has_room_below_the_plots_buttons():
    one = figures.Series("math", "#0072B2", np.ones(8), np.linspace(0, 1, 8))
    figure = figures.component(np.arange(8, 0, -1.0), np.linspace(0, 1, 8), [one])
    assert figure.layout.margin.t >= 44
