"""The Inspect page's half without a browser: its choices, what it says, its tables, its link."""

import asyncio
import json
from dataclasses import replace
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest
from fake_client import FakeClient
from fake_shelf import expert_info

from t2ui.backend import inspection
from t2ui.figures.colours import BASE
from t2ui.figures.heatmap import Quantity
from t2ui.messages import Component, Heatmap, HeatmapData
from t2ui.ui.inspect import matrices, rows, sources
from t2ui.ui.inspect.choices import lost_of_link, offered, show_of
from t2ui.ui.inspect.link import link_to
from t2ui.ui.inspect.page import _map_now
from t2ui.ui.shared.colours import FREE, other_colour
from t2ui.ui.shared.mixture import empty_mixer, with_experts
from t2ui.ui.shared.panel import pack, unpack
from t2ui.ui.shared.permalink import from_query


@pytest.fixture
def mixer():
    infos = [expert_info(name) for name in ("reasoning", "math", "code")]
    return with_experts(empty_mixer(), (*infos, expert_info("dispatch", "dispatcher")))


# --- choices and the link ------------------------------------------------------------------------

UNTOUCHED = (None, "", "first", "layer", "all", "all")


def chosen_after(mixer, *chosen, query=None):
    library = {"modules": ["q_proj", "up_proj"], "layers": 2}
    chosen = chosen or UNTOUCHED
    updates = offered(pack(mixer), library, chosen, query or {})
    return [
        update.get("value", now if len(update) > 1 else "kept")
        for update, now in zip(updates, chosen, strict=True)
    ]


def test_inspects_choices_stay_chosen_while_they_are_offered():
    names = (expert_info("math"), expert_info("code"))
    mixer = with_experts(empty_mixer(), names)
    assert chosen_after(mixer) == ["expert:code", "", "first", "layer", "all", "all"]
    mine = ("expert:math", "mixture", "second", "kind", "up_proj", "1")
    assert chosen_after(mixer, *mine) == list(mine)
    gone = ("mixture", "expert:gone", "difference", "heap", "no_proj", "7")
    assert chosen_after(mixer, *gone) == ["mixture", "", "first", "layer", "all", "all"]
    assert chosen_after({**mixer, "experts": []}, *mine) == ["kept"] * 6, "the worker is down"
    more = with_experts(mixer, (*names, expert_info("rolls")))
    library = {"modules": ["q_proj"], "layers": 0}
    experts, *_, modules, _ = offered(pack(more), library, mine, {})
    assert ("rolls expert", "expert:rolls") in experts["choices"]
    assert ("q", "q_proj") in modules["choices"], "a kind of matrix by its short name"


def test_a_link_has_a_say_on_inspects_choices_once():
    mixer = with_experts(empty_mixer(), (expert_info("math"), expert_info("code")))
    asked = ("expert:math", "mixture", "second", "matrix", "q_proj", "1")
    query = dict(parse_qsl(link_to(asked, mixer).removeprefix("?")))
    assert query["tab"] == "inspect" and chosen_after(mixer, query=query) == list(asked)
    now = ("expert:code", "", "first", "layer", "all", "all")
    assert chosen_after(mixer, *now, query=query) == list(now), "a hand was on them since"
    hostile = {"look": "expert:<b>", "compare": "x", "rows": "x", "module": "../..", "layer": "-1"}
    assert chosen_after(mixer, query=hostile) == chosen_after(mixer)
    (without_show,) = (
        chosen_after(mixer, query={"look": "expert:math", "compare": "expert:code"}),
    )
    assert without_show[:3] == ["expert:math", "expert:code", "difference"]


def test_what_a_link_names_and_is_not_here_is_said():
    mixer = pack(with_experts(empty_mixer(), (expert_info("math"),)))
    library = {"modules": ["q_proj"], "layers": 2}
    asked = {"tab": "inspect", "look": "expert:poems", "rows": "kind", "layer": "7"}
    said = lost_of_link(mixer, library, asked)
    assert said == "look 'expert:poems', layer '7': what the boxes show is used instead."
    assert lost_of_link(mixer, library, {**asked, "tab": "compare"}) == ""
    assert lost_of_link(pack(empty_mixer()), library, asked) == "", "nothing is listed yet"
    fine = {"tab": "inspect", "look": "mixture", "compare": "expert:math", "show": "difference"}
    assert lost_of_link(mixer, library, {**fine, "module": "q_proj", "layer": "1"}) == ""


def test_a_link_carries_the_sliders_that_are_looked_at():
    mixer = with_experts(empty_mixer(), (expert_info("math"), expert_info("code")))
    mixer = {**mixer, "alpha": {"math": 0.7, "code": -0.3}, "normalise": True}
    query = dict(parse_qsl(link_to(("mixture", "", "first", "layer", "all", "all"), mixer)[1:]))
    asked = from_query(query)
    assert asked.mixture == {"math": 0.7, "code": -0.3} and asked.normalise


def test_the_menu_names_what_is_compared_with_what():
    mixer = with_experts(empty_mixer(), (expert_info("math"), expert_info("code")))
    shown = show_of("expert:math", "expert:code", "second", mixer)
    assert shown["visible"] and "value" not in shown, "what is chosen stays chosen"
    assert show_of("expert:math", "", "second", mixer)["value"] == "first"
    assert [words for words, _ in shown["choices"]] == ["math", "code", "math − code"]
    assert [w for w, _ in show_of("expert:math", "mixture", "first", mixer)["choices"]] == [
        "math",
        "base model",
        "math − base model",
    ]
    assert not show_of("expert:math", "", "difference", mixer)["visible"]
    assert show_of(None, "", "first", empty_mixer()) == gr.skip(), "nothing is known yet"


# --- inspect -------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch):
    monkeypatch.setattr(inspection, "MAX_COLUMNS", 300)
    return heatmap_of(module="mlp")


@pytest.fixture
def matrix():
    request = Component("model.layers.3.mlp.up_proj", {"math": 1.0})
    (_, data), _ = FakeClient()._component(request)
    return data


@pytest.mark.parametrize(
    ("z", "words"),
    [
        (1.12, "turned up by 12 %"),
        (0.9, "turned down by 10 %"),
        (1.004, "turned up by 0.4 %"),
        (1.0, "left as it is"),
        (-0.5, "turned around, × 0.50"),
    ],
)
def test_changes_are_said_in_words(z, words):
    assert matrices.in_words(z) == words


def heatmap_of(**asked):
    (_, data), _ = FakeClient()._heatmap(Heatmap({"math": 1.0}, **asked))
    return data


def view_of(data, quantity=Quantity()):  # noqa: B008, it is frozen
    view = matrices.heatmap_view(data, quantity, "What is drawn.", "file")
    return view, json.loads(view["figure"])


def axis(figure):
    return figure["layout"]["yaxis"]


def test_the_heatmap_panel_names_each_row_and_says_that_it_is_binned(drawn):
    view, figure = view_of(drawn)
    assert view["names"][1].endswith("1.mlp.gate_proj") and view["labels"][1] == "layer 1 · gate"
    assert "mean of 2" in view["caption"] and figure["data"][0]["y"] == view["labels"]


def test_every_matrix_stands_among_those_of_its_kind_and_every_kind_is_named():
    view, figure = view_of(heatmap_of())
    assert len(view["labels"]) == len(set(view["labels"])) == 210
    assert view["labels"][:2] == ["layer 0 · q", "layer 1 · q"]
    assert view["caption"].startswith("210 matrices, one a row by kind and layer")
    named = [text for text in axis(figure)["ticktext"] if "<b>" in text]
    assert named == [f"<b>{kind}</b> 0" for kind in ("q", "k", "v", "o", "gate", "up", "down")]
    assert len(figure["layout"]["shapes"]) == 6, "a line between two kinds"


def test_the_rows_of_a_layer_are_its_matrices_and_those_of_a_kind_its_layers():
    view, figure = view_of(heatmap_of(layer=14, rows="kind"))
    assert axis(figure)["ticktext"] == ["q", "k", "v", "o", "gate", "up", "down"]
    assert axis(figure)["title"]["text"] == "layer 14" and view["labels"][0] == "layer 14 · q"
    view, figure = view_of(heatmap_of(module="up_proj", rows="layer"))
    assert axis(figure)["ticktext"] == [str(layer) for layer in range(30)]
    assert axis(figure)["title"]["text"] == "layer of up" and view["labels"][3] == "layer 3 · up"
    assert view["rows"] == "matrix" and "one a row" in view["caption"]


@pytest.mark.parametrize(
    ("by", "names", "words"),
    [
        (
            "layer",
            [str(layer) for layer in range(30)],
            "30 rows, one a layer, each cell the mean of 7 matrices "
            "(q, k, v, o, gate, up, down) × 12 components",
        ),
        (
            "kind",
            ["q", "k", "v", "o", "gate", "up", "down"],
            "7 rows, one a kind of matrix, each cell the mean of 30 layers × 12 components",
        ),
    ],
)
def test_rows_that_stand_for_several_matrices_say_which_and_how(by, names, words):
    view, figure = view_of(heatmap_of(rows=by))
    assert view["rows"] == by and axis(figure)["ticktext"] == names
    assert view["caption"].startswith(words)
    assert "click a row to see its matrices" in view["caption"]
    trace = figure["data"][0]
    assert trace["zmin"] == 0 and trace["meta"]["role"] == "sequential", "a magnitude has no sign"
    assert "mean |z − 1|" in trace["hovertemplate"] and "customdata" in trace["hovertemplate"]


def test_kinds_of_one_name_keep_what_tells_them_apart():
    gpt2 = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    assert list(rows.kinds(gpt2).values()) == ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"]
    moe = rows.part_of("model.layers.1.mlp.experts.1.up_proj", 1)
    assert moe == "mlp.experts.1.up_proj"


def test_a_model_of_eighty_layers_still_has_names_beside_its_rows():
    names = tuple(f"model.layers.{layer}.mlp.up_proj" for layer in range(80))
    values = np.ones((80, 4), np.float32)
    data = HeatmapData(names, tuple(range(80)), values, 1, np.ones(80, np.float32), 0.1)
    ticks = axis(view_of(data)[1])["ticktext"]
    assert 20 < len(ticks) <= 36 and ticks[0] == "0" and ticks[1] == "3"


def test_the_matrix_panel_lists_the_ten_most_changed(matrix):
    view = matrices.component_view([("math", "#0072B2", matrix)], True, "file")
    changes = np.abs(matrix.z - 1)
    shown = [one["index"] for one in view["top"]]
    assert len(shown) == 10 and set(shown) == set(np.argsort(-changes)[:10].tolist())
    assert view["top"][0]["words"][0]["text"].startswith("turned")


def test_csv_has_the_exact_numbers_and_no_number_past_a_rows_end(drawn, matrix):
    header, first, *_ = matrices.heatmap_csv(drawn).splitlines()
    assert header.startswith("matrix,layer,mean_abs,0,2,4")
    assert np.allclose([float(x) for x in first.split(",")[3:13]], drawn.values[0, :10], rtol=1e-5)
    attention = heatmap_of(module="attention")
    assert matrices.heatmap_csv(attention).splitlines()[2].endswith(",,,")
    lines = matrices.component_csv([("math", "", matrix)]).splitlines()
    assert lines[0] == "component,sigma,captured_base,z_math,sigma_z_math,captured_math"
    assert len(lines) == 1 + len(matrix.z)


def test_what_to_look_at_is_an_expert_or_the_sliders(mixer):
    mixer["alpha"]["math"] = 0.5
    assert sources.source("mixture", mixer).mixture == {"math": 0.5}
    assert sources.source("expert:code", mixer).mixture == {"code": 1.0}
    assert sources.source("expert:nobody", mixer) is None
    assert sources.source("../../etc/passwd", mixer) is None


def test_an_expert_beside_sliders_that_are_mostly_itself_has_another_colour(mixer):
    mixer["alpha"]["math"] = 0.5
    for look, compare in (("expert:math", "mixture"), ("expert:math", "expert:math")):
        first, second = sources.sources_of(look, compare, mixer)
        assert first.colour == "#0072B2" and second.colour != first.colour
        assert second.colour not in [one["colour"] for one in mixer["experts"]]
    different = sources.sources_of("expert:code", "mixture", mixer)
    assert [one.colour for one in different] == ["#E69F00", "#0072B2"]
    assert other_colour(FREE[0], FREE) != FREE[0], "also where every colour is taken"


# --- what it says --------------------------------------------------------------------------------


def drawn_now(mixer, *chosen):
    """The value of the heatmap panel for these choices."""
    client = FakeClient(pace=0)
    view = unpack(asyncio.run(_map_now(client, *chosen, pack(mixer))))
    return view, client.requests


REST = ("layer", "all", "all")


def test_what_is_compared_with_what_is_said(mixer):
    view, asked = drawn_now(mixer, "expert:math", "expert:code", "difference", *REST)
    assert view["what"] == "The math expert against the code expert: z of math − z of code."
    assert [(r.mixture, r.minus) for r in asked] == [({"math": 1.0}, {"code": 1.0})]
    view, asked = drawn_now(mixer, "expert:math", "expert:code", "second", *REST)
    assert view["what"] == "The code expert against the base model: z − 1."
    assert [(r.mixture, r.minus) for r in asked] == [({"code": 1.0}, {})]


def test_a_mixture_says_what_is_in_it(mixer):
    mixer["alpha"] |= {"math": 0.5, "code": -1.25}
    view, asked = drawn_now(mixer, "mixture", "", "first", *REST)
    assert view["what"].startswith("The mixture on the sliders (code −1.25, math 0.50) against")
    assert asked[-1].mixture == {"math": 0.5, "code": -1.25}


@pytest.mark.parametrize("pair", [("mixture", "expert:math"), ("expert:math", "mixture")])
def test_a_mixture_of_zeros_beside_an_expert_is_said_to_be_the_base_model(mixer, pair):
    view, (asked,) = drawn_now(mixer, *pair, "difference", *REST)
    assert view["state"] == "done" and json.loads(view["figure"])["data"]
    assert view["what"].startswith("All sliders are at 0, so the mixture is the base model. ")
    first = pair[0] == "mixture"
    words = "z of base model − z of math" if first else "z of math − z of base model"
    assert view["what"].endswith(f"{words}.") and "base model" in view["caption"]
    assert (asked.mixture, asked.minus) == (({}, {"math": 1.0}) if first else ({"math": 1.0}, {}))


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (("mixture", "", "first"), "All sliders are at 0"),
        (("mixture", "mixture", "difference"), "All sliders are at 0"),
        (("mixture", "expert:math", "first"), "All sliders are at 0"),
        (("expert:math", "mixture", "second"), "All sliders are at 0"),
        (("expert:math", "expert:math", "difference"), "are the same here: nothing differs"),
    ],
)
def test_where_nothing_differs_the_page_says_so_and_draws_no_picture(mixer, chosen, words):
    view, _ = drawn_now(mixer, *chosen, *REST)
    assert view["state"] == "empty" and words in view["message"] and not view["figure"]
    assert view["remedy"]


def test_an_expert_that_leaves_the_chosen_matrices_alone_is_said_to(mixer, monkeypatch):
    monkeypatch.setattr(FakeClient, "z", staticmethod(lambda name, _: np.ones(4, np.float32)))
    view, _ = drawn_now(mixer, "expert:math", "", "first", "matrix", "mlp", "all")
    assert view["state"] == "empty"
    assert view["message"] == (
        "The math expert leaves these matrices as they are: z = 1 everywhere."
    )


def test_the_open_matrix_names_both_and_what_is_left_as_it_is(matrix):
    still = replace(matrix, z=np.ones_like(matrix.z))
    view = matrices.component_view(
        [("base model", BASE, still), ("math", "#0072B2", matrix)], True, "f"
    )
    assert "mean change base model 0 %, math" in view["facts"]
    assert [word["turned"] for word in view["top"][0]["words"]][0] == ""
    assert view["top"][0]["words"][0]["text"] == "as it is"
