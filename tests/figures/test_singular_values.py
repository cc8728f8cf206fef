"""figures: what the arrays say is what the figures hold."""

import json

import numpy as np
import pytest

from t2ui.figures import singular_values as figures


def decode(array) -> np.ndarray:
    """A typed array as plotly sends it, or a plain list."""
    if not isinstance(array, dict):
        return np.asarray(array)
    import base64

    kinds = {"i1": np.int8, "f4": np.float32, "f8": np.float64, "i2": np.int16, "i4": np.int32}
    flat = np.frombuffer(base64.b64decode(array["bdata"]), kinds[array["dtype"]])
    shape = array.get("shape")
    return flat.reshape([int(n) for n in shape.split(",")]) if shape else flat


@pytest.fixture
def values():
    drawn = np.random.default_rng(0).normal(0, 0.05, (6, 40)).astype(np.float32)
    drawn[1, 30:] = np.nan
    return drawn


def test_quantised_values_come_back_within_half_a_step(values):
    codes, scale = figures.quantise(values)
    there = np.isfinite(values)
    assert codes.dtype == np.int8
    assert np.all(codes[~there] == figures.MISSING)
    assert np.all(codes[there] != figures.MISSING)
    assert np.abs(codes[there] * scale - values[there]).max() <= scale / 2 + 1e-7


@pytest.mark.parametrize("empty", [np.zeros((2, 3)), np.full((2, 3), np.nan), np.zeros((0, 0))])
def test_nothing_to_show_is_quantised_without_a_warning(empty):
    codes, scale = figures.quantise(empty.astype(np.float32))
    assert scale > 0 and codes.shape == empty.shape


def test_zero_stays_exactly_zero(values):
    values[0, 0] = 0
    codes, _ = figures.quantise(values)
    assert codes[0, 0] == 0


def heat(values, bin_size=1):
    labels = [f"layer {i // 2} · {'ab'[i % 2]}" for i in range(len(values))]
    mean = np.nanmean(np.abs(values), axis=1)
    layers = [i // 2 for i in range(len(values))]
    return json.loads(figures.heatmap(values, labels, layers, mean, bin_size, key="k").to_json())


def test_heatmap_is_diverging_with_symmetric_limits_and_its_rows(values):
    figure = heat(values)
    trace, strip = figure["data"]
    assert trace["zmin"] == -trace["zmax"] < 0
    assert trace["meta"]["role"] == "diverging" and "colorscale" not in trace
    assert decode(trace["z"]).shape == values.shape
    assert trace["z"]["dtype"] == "i1"
    assert trace["y"] == strip["y"] and len(set(trace["y"])) == len(values)
    assert np.allclose(decode(strip["x"]), np.nanmean(np.abs(values), axis=1), atol=1e-6)
    assert figure["layout"]["yaxis"]["autorange"] == "reversed"
    assert figure["layout"]["yaxis"]["ticktext"] == ["0", "1", "2"]
    assert figure["layout"]["uirevision"] == "k"


def test_heatmap_says_that_columns_are_binned_and_keeps_the_index(values):
    figure = heat(values, bin_size=16)
    assert "means of 16" in figure["layout"]["xaxis"]["title"]["text"]
    assert "means" not in heat(values)["layout"]["xaxis"]["title"]["text"]
    assert list(decode(figure["data"][0]["x"])[:3]) == [0, 16, 32]


def test_the_default_models_heatmap_is_a_tenth_of_a_float64_one():
    size = len(json.dumps(heat(np.random.default_rng(0).normal(0, 1, (210, 576)))))
    assert size < 210 * 576 * 8 * 4 / 3 / 5


def test_one_outlier_does_not_hide_the_rest(values):
    calm = figures.robust_limit(values)
    values[0, 0] = 1e6
    assert figures.robust_limit(values) < 10 * calm
    assert figures.robust_limit(np.zeros((2, 2))) == 1.0


@pytest.mark.parametrize("limit", [1.0, 0.13, 0.0042, 7.7])
def test_colour_ticks_are_symmetric_within_the_limit_and_hold_zero(limit):
    ticks = figures.signed_ticks(limit)
    assert 0.0 in ticks and ticks == [-t for t in reversed(ticks)]
    assert max(ticks) <= limit + 1e-9 and 5 <= len(ticks) <= 21


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


def test_labels_say_percent_with_a_sign_and_none_at_zero():
    said = [figures.signed_percent(x) for x in (-0.04, 0.0, 0.07, 0.005, -0.0002)]
    assert said == ["−4%", "0", "+7%", "+0.5%", "−0.02%"]


@pytest.mark.parametrize("most", [0.0, 0.024, 0.9])
def test_the_strip_of_means_has_one_label_that_fits_inside(values, most):
    values = values * 0 + np.float32(most)
    axis = heat(values)["layout"]["xaxis2"]
    assert len(axis["tickvals"]) == len(axis["ticktext"]) == (most > 0)
    assert all(0 < tick <= most + 1e-6 for tick in axis["tickvals"])


def test_the_legend_has_room_below_the_plots_buttons():
    one = figures.Series("math", "#0072B2", np.ones(8), np.linspace(0, 1, 8))
    figure = figures.component(np.arange(8, 0, -1.0), np.linspace(0, 1, 8), [one])
    assert figure.layout.margin.t >= 44
