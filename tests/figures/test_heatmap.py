"""figures: a heatmap holds what the arrays say, and its rows have names."""

import json

import numpy as np
import pytest
from typed_arrays import decode

from t2ui.figures import heatmap as figures


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
    count = len(values)
    labels = [f"layer {i // 2} · {'ab'[i % 2]}" for i in range(count)]
    rows = figures.Rows(labels, [str(i) for i in range(count)], title="row")
    mean = np.nanmean(np.abs(values), axis=1)
    return json.loads(figures.heatmap(values, rows, mean, bin_size).to_json())


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
    assert figure["layout"]["yaxis"]["ticktext"] == [str(i) for i in range(6)]
    assert figure["layout"]["yaxis"]["type"] == "category", "names that are digits stay names"


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


def test_labels_say_percent_with_a_sign_and_none_at_zero():
    said = [figures.signed_percent(x) for x in (-0.04, 0.0, 0.07, 0.005, -0.0002)]
    assert said == ["−4%", "0", "+7%", "+0.5%", "−0.02%"]


@pytest.mark.parametrize("most", [0.0, 0.024, 0.9])
def test_the_strip_of_means_has_one_label_that_fits_inside(values, most):
    values = values * 0 + np.float32(most)
    axis = heat(values)["layout"]["xaxis2"]
    assert len(axis["tickvals"]) == len(axis["ticktext"]) == (most > 0)
    assert all(0 < tick <= most + 1e-6 for tick in axis["tickvals"])


def test_the_zoom_is_kept_while_rows_and_quantity_stay_the_same(values):
    def zoom(values, quantity=figures.Quantity()):  # noqa: B008, it is frozen
        rows = figures.Rows([f"{i}" for i in range(len(values))], ["x"] * len(values))
        return figures.heatmap(values, rows, np.ones(len(values)), 1, quantity).layout.uirevision

    assert zoom(values) == zoom(2 * values) != zoom(values[:3])
    assert zoom(values, figures.Quantity("a − b")) != zoom(values)


@pytest.mark.parametrize("count", [1, 36, 37, 80, 210])
def test_as_many_rows_are_named_as_have_room(count):
    rows = figures.Rows([f"r{i}" for i in range(count)], [str(i) for i in range(count)])
    places, texts = figures.row_ticks(rows)
    assert texts == [str(place) for place in places] and places[0] == 0
    assert min(count, 18) <= len(places) <= 36
    assert len(set(np.diff(places))) <= 1, "at even distances"


def test_every_block_is_named_and_no_name_stands_upon_another():
    blocks = [kind for kind in ("q", "k", "v", "o", "gate", "up", "down") for _ in range(30)]
    layers = [str(i % 30) for i in range(210)]
    rows = figures.Rows([f"{b} {t}" for b, t in zip(blocks, layers, strict=True)], layers, blocks)
    places, texts = figures.row_ticks(rows)
    assert [text for text in texts if "<b>" in text] == [
        f"<b>{kind}</b> 0" for kind in dict.fromkeys(blocks)
    ]
    assert min(np.diff(places)) >= 4, "rows of 2.5 pixels: a name needs more"


def test_magnitudes_begin_at_zero_and_have_one_colour(values):
    rows = figures.Rows([f"r{i}" for i in range(6)], list("abcdef"))
    size = np.abs(values)
    quantity = figures.Quantity(magnitude=True)
    figure = json.loads(
        figures.heatmap(size, rows, np.ones(6), 1, quantity, signed=values).to_json()
    )
    trace = figure["data"][0]
    assert trace["zmin"] == 0 < trace["zmax"] and trace["meta"]["role"] == "sequential"
    assert all(tick >= 0 for tick in trace["colorbar"]["tickvals"])
    assert not any("+" in text for text in trace["colorbar"]["ticktext"])
    assert "up or down" in trace["colorbar"]["title"]["text"]
    assert trace["customdata"][0][0] == pytest.approx(values[0, 0], abs=1e-5)
    assert trace["customdata"][1][35] is None, "there is no component"
