"""ui: the state everybody moves: sliders, controls, permalink, code. Pure functions."""

import ast
import json
import re
import shlex
from dataclasses import replace
from urllib.parse import parse_qsl

import numpy as np
import pytest
from fake_shelf import expert_info

from t2ui.checks import MAX_PROMPT_CHARS
from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.messages import Ask, Experts, Failed
from t2ui.ui.ask.snippets import command_line, http, python, snippets
from t2ui.ui.inspect import sources
from t2ui.ui.shared import mixture
from t2ui.ui.shared.colours import KNOWN, expert_colours
from t2ui.ui.shared.controls import MAX_NEW_TOKENS, Controls, clean_controls
from t2ui.ui.shared.panel import pack, unpack
from t2ui.ui.shared.permalink import MAX_LINK_PROMPT, filled, from_query, to_query


@pytest.fixture
def mixer():
    infos = [expert_info(name) for name in ("reasoning", "math", "code")]
    return mixture.with_experts(
        mixture.empty_mixer(), (*infos, expert_info("dispatch", "dispatcher"))
    )


# --- colours -------------------------------------------------------------------------------------


def test_known_experts_have_their_colours_and_all_differ():
    names = ["math", "code", "reasoning", "dispatch", "law", "poems", "vision"]
    colours = expert_colours(names)
    assert {name: colours[name] for name in KNOWN} == KNOWN
    assert len(set(colours.values())) == len(names)
    assert expert_colours(reversed(names)) == colours


# --- the mixer -----------------------------------------------------------------------------------


def test_every_expert_has_a_slider_at_zero_and_the_dispatcher_comes_last(mixer):
    assert [e["name"] for e in mixer["experts"]] == ["code", "math", "reasoning", "dispatch"]
    assert set(mixer["alpha"].values()) == {0.0}
    assert mixture.weights(mixer) == {}


def test_presets_are_base_each_expert_and_the_even_mix_of_those_that_answer(mixer):
    found = {preset["name"]: preset["alpha"] for preset in mixer["presets"]}
    assert list(found) == ["base", "code", "math", "reasoning", "dispatch", "even"]
    assert set(found["base"].values()) == {0.0}
    assert found["math"] == {"code": 0.0, "math": 1.0, "reasoning": 0.0, "dispatch": 0.0}
    assert found["even"]["dispatch"] == 0
    assert sum(found["even"].values()) == pytest.approx(1, abs=1e-3)


def test_strength_multiplies_every_weight(mixer):
    mixer["alpha"] |= {"math": 0.5, "code": -0.2}
    mixer["strength"] = 2.0
    assert mixture.weights(mixer) == {"math": 1.0, "code": -0.4}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "1; drop", None, [], {"a": 1}])
def test_nonsense_from_the_browser_is_no_weight(mixer, bad):
    mixer["alpha"] |= {"math": bad, "unknown": 1.0}
    mixer["strength"] = bad
    assert mixture.weights(mixer) == {}
    assert mixture.weights(bad) == {}


def test_huge_weights_are_clamped(mixer):
    mixer["alpha"]["math"] = 1e9
    assert abs(mixture.weights(mixer)["math"]) <= 10


def test_a_correction_sets_that_labels_expert_alone_and_others_means_the_base(mixer):
    mixer["alpha"]["code"] = 1.0
    mixer["strength"] = 0.5
    corrected = mixture.corrected(mixer, "math")
    assert mixture.weights(corrected) == {"math": 1.0}
    assert corrected["set_by"] == "you" and "math" in corrected["note"]
    assert mixture.weights(mixture.corrected(mixer, "others")) == {}


def test_a_label_finds_its_expert_by_name_or_by_the_labels_it_carries(mixer):
    assert mixture.expert_of(mixer, "math") == "math"
    infos = (replace(expert_info("arc"), labels=("reasoning",)),)
    other = mixture.with_experts(mixture.empty_mixer(), infos)
    assert mixture.expert_of(other, "reasoning") == "arc"
    assert mixture.expert_of(other, "others") is None


def test_a_reloaded_library_keeps_the_sliders_it_still_has(mixer):
    mixer["alpha"] |= {"math": 0.7, "code": 0.2}
    again = mixture.with_experts(mixer, (expert_info("math"), expert_info("law")))
    assert again["alpha"] == {"law": 0.0, "math": 0.7}


def test_a_link_sets_the_sliders_within_their_range_and_names_what_is_not_here():
    wanted = {"math": 9.0, "nobody": 1.0}
    made = mixture.with_experts(mixture.empty_mixer(), (expert_info("math"),), (), wanted)
    assert made["alpha"] == {"math": 2.0} and made["set_by"] == "permalink"
    assert "nobody" in made["note"]


def test_a_link_beyond_the_sliders_range_is_shared_with_the_strength():
    infos = (expert_info("math"), expert_info("code"))
    made = mixture.with_experts(mixture.empty_mixer(), infos, (), {"math": 3.0, "code": -1.25})
    assert made["strength"] == 1.5 and made["alpha"]["math"] == 2.0
    assert mixture.weights(made) == {"math": 3.0, "code": -1.25}
    made["strength"] = 0.5
    assert mixture.with_experts(made, infos)["strength"] == 0.5, "only a link moves it"
    gone = mixture.with_experts(mixture.empty_mixer(), infos, (), {"gone": 4.0, "math": 1.0})
    assert gone["strength"] == 1.0 and mixture.weights(gone) == {"math": 1.0}


def test_files_that_did_not_load_are_said():
    made = mixture.with_experts(mixture.empty_mixer(), (), (("bad.safetensors", "truncated"),))
    assert made["experts"] == [] and "bad.safetensors: truncated" in made["note"]


def test_element_ids_hold_no_foreign_characters():
    assert mixture.element_id('a b"><script>') == "a-b-script-"


@pytest.mark.parametrize("hostile", [[], [None, 3, {"name": 1}, {"x": 1}], "math", {"name": "a"}])
def test_a_mixer_of_somebodys_making_does_no_harm(hostile):
    made = {"experts": hostile, "alpha": {"math": 1.0}}
    assert mixture.weights(made) == {} and mixture.expert_of(made, "math") is None
    assert sources.source("mixture", made).mixture == {}


# --- panels' values ------------------------------------------------------------------------------


def test_a_panels_value_is_json_text_that_comes_back():
    value = {"text": "</script><script>alert(1)</script> ☃", "list": [1, 0.5, None, ("a", 1)]}
    packed = pack(value)
    assert isinstance(packed, str) and "<script" not in packed
    assert unpack(packed) == {**value, "list": [1, 0.5, None, ["a", 1]]}


def test_what_json_has_not_becomes_null():
    value = {"p": float("nan"), "rows": [["x", float("inf")]]}
    assert json.loads(pack(value)) == {"p": None, "rows": [["x", None]]}


@pytest.mark.parametrize("nonsense", [None, 3, "", "[1]", "{", "[" * 100_000, {"a": 1}])
def test_nonsense_is_an_empty_value(nonsense):
    assert unpack(nonsense) == {}


# --- controls ------------------------------------------------------------------------------------


def test_hostile_settings_are_clamped_or_fall_back():
    made = clean_controls("hi", "rm -rf", None, 7, "x", "prompt", 10**9, "nan", -4, 1e300)
    assert made.dispatch == "" and made.routing == "hard" and made.threshold == 0
    assert made.scope == ""
    assert made.sampling.max_new_tokens == MAX_NEW_TOKENS
    assert made.sampling.temperature == 0 and 0 < made.sampling.top_p <= 1
    assert isinstance(made.request(), Ask)


def test_only_a_manual_question_carries_the_sliders():
    made = Controls("hi", {"math": 1.0}, "prompt")
    assert made.request().mixture is None
    assert replace(made, dispatch="none").request().mixture == {"math": 1.0}


@pytest.mark.parametrize("prompt", ["", "  \n", "x" * 100_000])
def test_an_empty_or_endless_prompt_is_refused_with_a_remedy(prompt):
    with pytest.raises(InputError, match="type|shorten"):
        Controls(prompt).request()


# --- permalink -----------------------------------------------------------------------------------


def read(query: str) -> Controls:
    return from_query(dict(parse_qsl(query.removeprefix("?"))))


@pytest.mark.parametrize(
    "controls",
    [
        Controls(),
        Controls("Was ist 3 + 4? & =#%\n☃", {"math": 0.7, "code": -0.3}, "none"),
        Controls("a", {}, "expert", "soft", 0.4, True, Sampling(64, 0.7, 0.9, 0, 42)),
        Controls("a", {"math": 1.123456}, "none", normalise=True, allow_transfer=True),
        Controls("a", {"my expert, v=2": 1.0}, "none"),
        Controls("asked once", {"code": 1.0}, "expert"),
        Controls("a", {"math": 4.0, "code": -2.0, "law": 0.1}, "none"),
    ],
)
def test_a_link_brings_back_what_it_was_made_from(controls):
    query, note = to_query(controls)
    assert query.startswith("?") and not note
    assert read(query) == controls
    infos = tuple(expert_info(name) for name in controls.mixture)
    sliders = mixture.with_experts(mixture.empty_mixer(), infos, (), read(query).mixture)
    assert mixture.weights(sliders) == controls.mixture


@pytest.mark.parametrize(
    ("box", "query", "on"),
    [
        (None, {}, False),
        (None, {"normalise": "1"}, True),
        (True, {}, True),
        (False, {"normalise": "1"}, False),
    ],
)
def test_a_box_ticked_while_the_model_loads_stays_as_it_is(box, query, on):
    mixer = {**mixture.empty_mixer(), **({} if box is None else {"normalise": box})}
    made = filled(mixer, Experts((expert_info("math"),), (), ("others",), (), 1), query)
    assert made["normalise"] is on


def test_a_link_has_no_say_a_second_time_after_a_worker_that_failed():
    found = Experts((expert_info("math"),), (), ("others",), (), 1)
    down = Failed("The model is down.", "It restarts.")
    query = {"mix": "math=0.5"}
    first = filled(filled(mixture.empty_mixer(), down, query), found, query)
    assert first["alpha"] == {"math": 0.5}
    by_hand = {**first, "alpha": {"math": -0.25}, "set_by": "you"}
    again = filled(filled(by_hand, down, query), found, query)
    assert (again["alpha"], again["set_by"]) == ({"math": -0.25}, "you")


def test_the_default_page_has_an_empty_link():
    assert to_query(Controls()) == ("?", "")


@pytest.mark.parametrize(
    "query",
    [
        "?mix=math=nan,code=1e999,=,x,y=&dispatch=&routing=%00&seed=-1",
        "?mix=" + ",".join(f"e{i}=1" for i in range(5000)),
        "?prompt=" + "x" * 100_000,
        "?max_new_tokens=99999999&temperature=-inf&top_p=0&threshold=2&normalise=maybe",
        "?mix=__proto__%3D1&mix=constructor=1",
        "?unknown=<script>alert(1)</script>",
    ],
)
def test_a_hostile_link_makes_valid_controls(query):
    made = read(query)
    assert len(made.prompt) <= MAX_PROMPT_CHARS and len(made.mixture) <= 64
    assert all(np.isfinite(value) and abs(value) <= 10 for value in made.mixture.values())
    assert 1 <= made.sampling.max_new_tokens <= MAX_NEW_TOKENS and 0 <= made.threshold <= 1
    Ask("x", made.mixture, "none", made.routing, made.threshold, sampling=made.sampling)


def test_a_prompt_too_long_for_a_link_is_cut_and_that_is_said():
    query, note = to_query(Controls("x" * (MAX_LINK_PROMPT + 1)))
    assert str(MAX_LINK_PROMPT // 1000) in note
    assert read(query).prompt == "x" * MAX_LINK_PROMPT


# --- show the code -------------------------------------------------------------------------------

EVIL = 'it\'s "quoted"\n$(rm -rf ~) `x` \\ %s ☃'
FILES = {"math": "experts/m/math.safetensors", "code": "experts/m/code.safetensors"}


def test_the_command_line_quotes_the_prompt_and_carries_the_mixture():
    made = Controls(EVIL, {"math": 0.7}, "none", sampling=Sampling(64, 0.5, seed=3))
    words = shlex.split(command_line(made, "smollm2-135m-instruct").replace("\\\n", " "))
    assert words[:4] == ["python", "-m", "t2ui", "ask"] and words[4] == EVIL
    assert words[words.index("--mix") + 1] == "math=0.7"
    assert words[words.index("--seed") + 1] == "3"
    assert "--model" not in words and "--model" in command_line(made, "other")


def test_every_option_of_the_command_exists():
    from typer.testing import CliRunner

    from t2ui.cli.main import app

    known = CliRunner().invoke(app, ["ask", "--help"], env={"COLUMNS": "200"}).output
    made = Controls("x", {"math": 1.0}, "none", sampling=Sampling(64, 0.5, seed=3))
    for text in (command_line(made, "other"), command_line(Controls("x"), "other")):
        for option in re.findall(r"--[a-z-]+", text):
            assert option in known, option


def test_the_python_code_parses_and_calls_what_the_library_has():
    import inspect as python_inspect

    from t2ui.inference.two_pass import two_pass_infer

    for made in (
        Controls(EVIL, {"math": 0.7}, "none"),
        Controls(EVIL, {}, "expert", "soft", 0.4, sampling=Sampling(8, 0.5, 0.9, seed=3)),
    ):
        tree = ast.parse(python(made, "smollm2-135m-instruct", FILES))
        (call,) = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "two_pass_infer"
        ]
        names = set(python_inspect.signature(two_pass_infer).parameters)
        assert {keyword.arg for keyword in call.keywords} <= names
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        assert EVIL in texts


def test_the_http_body_is_json_after_the_shell_has_read_it():
    text = http(Controls(EVIL, {"math": 0.7}, "none"), "http://localhost:1")
    words = shlex.split(text.replace("\\\n", " "))
    body = json.loads(words[words.index("-d") + 1].removesuffix(")"))
    assert body["prompt"] == EVIL and body["mixture"] == {"math": 0.7}


def test_every_snippet_says_all_that_is_set():
    """tests/test_doors.py runs them."""
    sampling = Sampling(8, 0.5, 0.9, seed=3)
    made = Controls("x", {}, "prompt", "soft", 0.4, True, sampling, allow_transfer=True)
    said = "--dispatch prompt|--routing soft|--threshold 0.4|--normalise|--allow-transfer"
    said += "|--max-new-tokens 8|--temperature 0.5|--top-p 0.9|--seed 3"
    assert set(said.split("|")) <= set(command_line(made, "m").split(" \\\n  "))
    for text in (python(made, "m", FILES), http(made, "http://localhost:1")):
        for name in re.findall(r"--([a-z-]+)", said):
            assert name.replace("-", "_") in text, name
    manual = Controls("x", {"math": 1.0}, "none", "soft", 0.4)
    for text in snippets(manual, "m", FILES).values():
        assert "soft" not in text, "it has no say in this answer"
