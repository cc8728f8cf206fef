"""ui: what the page's state does, as pure functions, and the page built on a test double."""

import ast
import asyncio
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pytest
from fake_client import FakeClient, expert_info

from t2ui.config import MAX_PROMPT_CHARS, Sampling
from t2ui.errors import InputError
from t2ui.messages import (
    Ask,
    Classified,
    Compared,
    Component,
    Done,
    Failed,
    Heatmap,
    ListExperts,
    Mixed,
    NextToken,
    NextTokens,
    Queued,
    Status,
    Tokens,
)
from t2ui.ui import matrices, mixture, sources
from t2ui.ui.colours import KNOWN, expert_colours
from t2ui.ui.controls import MAX_NEW_TOKENS, Controls, clean_controls
from t2ui.ui.listen import answer, listen
from t2ui.ui.live import next_token_view
from t2ui.ui.panel import pack, unpack
from t2ui.ui.permalink import MAX_LINK_PROMPT, from_query, to_query
from t2ui.ui.snippets import command_line, http, python
from t2ui.ui.views import AskView, status_view

ROOT = Path(__file__).resolve().parent.parent
READY = Status("ready", "smollm2-135m-instruct", "cpu")


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
    assert mixture.weights(mixer) == {} and mixture.base_share({}) == 1.0


def test_presets_are_base_each_expert_and_the_even_mix_of_those_that_answer(mixer):
    found = {preset["name"]: preset["alpha"] for preset in mixer["presets"]}
    assert list(found) == ["base", "code", "math", "reasoning", "dispatch", "even"]
    assert set(found["base"].values()) == {0.0}
    assert found["math"] == {"code": 0.0, "math": 1.0, "reasoning": 0.0, "dispatch": 0.0}
    assert found["even"]["dispatch"] == 0
    assert mixture.base_share(found["even"]) == pytest.approx(0, abs=1e-3)


def test_strength_multiplies_every_weight_and_leaves_the_rest_to_the_base(mixer):
    mixer["alpha"] |= {"math": 0.5, "code": -0.2}
    mixer["strength"] = 2.0
    assert mixture.weights(mixer) == {"math": 1.0, "code": -0.4}
    assert mixture.base_share(mixture.weights(mixer)) == pytest.approx(0.4)


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
    made = clean_controls("hi", "rm -rf", None, 7, "x", 10**9, "nan", -4, 1e300)
    assert made.dispatch == "prompt" and made.routing == "hard" and made.threshold == 0
    assert made.sampling.max_new_tokens == MAX_NEW_TOKENS
    assert made.sampling.temperature == 0 and 0 < made.sampling.top_p <= 1
    assert isinstance(made.request(), Ask)


def test_only_a_manual_question_carries_the_sliders():
    made = Controls("hi", {"math": 1.0}, "prompt")
    assert made.request().mixture == {}
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
        Controls("a", {"my expert, v=2": 1.0}, "none"),
    ],
)
def test_a_link_brings_back_what_it_was_made_from(controls):
    query, note = to_query(controls)
    assert query.startswith("?") and not note
    assert read(query) == controls


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

EVIL = "it's \"quoted\"\n$(rm -rf ~) `x` \\ %s ☃"
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

    from t2ui.cli import app

    known = CliRunner().invoke(app, ["ask", "--help"], env={"COLUMNS": "200"}).output
    made = Controls("x", {"math": 1.0}, "none", sampling=Sampling(64, 0.5, seed=3))
    for text in (command_line(made, "other"), command_line(Controls("x"), "other")):
        for option in re.findall(r"--[a-z-]+", text):
            assert option in known, option


def test_the_python_code_parses_and_calls_what_the_library_has():
    import inspect as python_inspect

    from t2ui.two_pass import two_pass_infer

    for made in (
        Controls(EVIL, {"math": 0.7}, "none"),
        Controls(EVIL, {}, "expert", "soft", 0.4, sampling=Sampling(8, 0.5, 0.9, seed=3)),
    ):
        tree = ast.parse(python(made, "smollm2-135m-instruct", FILES))
        (call,) = [
            node for node in ast.walk(tree)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "two_pass_infer"
        ]  # fmt: skip
        names = set(python_inspect.signature(two_pass_infer).parameters)
        assert {keyword.arg for keyword in call.keywords} <= names
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        assert EVIL in texts


def test_normalised_weights_are_divided_in_the_code_too():
    made = Controls("x", {"math": 1.0, "code": 1.0}, "none", normalise=True)
    assert "math=0.5,code=0.5" in command_line(made, "smollm2-135m-instruct")


def test_the_http_body_is_json_after_the_shell_has_read_it():
    text = http(Controls(EVIL, {"math": 0.7}, "none"), "http://localhost:1")
    words = shlex.split(text.replace("\\\n", " "))
    body = json.loads(words[words.index("-d") + 1])
    assert body["data"][0] == EVIL and body["data"][1] == {"math": 0.7}


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


CLASSIFIED = Classified("math", {"math": 0.9, "others": 0.1}, {"math": 0.6, "others": 0.4},
                        "\\boxed{math}", "prompt", 0.08)  # fmt: skip


def test_an_answered_question_moves_every_panel(mixer):
    view = AskView(Controls("x"), mixer, READY)
    assert view.classification["state"] == "waiting"
    changed = fold(view, Queued(3))
    assert "3 before you" in view.panes["base"]["message"]
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
    receipt = {"seed": 0}
    changed |= fold(view, Done(False, {"pass_one_share": 0.02}, receipt))
    assert view.panes["adapted"]["state"] == "done" and view.receipt == receipt
    assert view.classification["share"] == 0.02
    assert changed == set(view.values())


def test_a_manual_question_leaves_the_sliders_alone(mixer):
    mixer = {**mixer, "strength": 0.5, "set_by": "you", "alpha": {**mixer["alpha"], "math": 2.0}}
    view = AskView(Controls("x", {"math": 1.0}, "none"), mixer, READY)
    fold(view, Mixed({"math": 1.0}, 0.0, "you"))
    assert view.mixer == mixer and view.classification["state"] == "off"


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


# --- listening to the worker ---------------------------------------------------------------------


def test_events_arrive_in_order_and_end_with_done():
    async def collect():
        found = []
        async for batch in listen(FakeClient(pace=0.02), Ask("Fibonacci", dispatch="prompt")):
            found += batch
        return found

    events = asyncio.run(collect())
    kinds = [type(event) for event in events]
    assert kinds[:2] == [Classified, Mixed] and kinds[-2:] == [Compared, Done]


def test_who_stops_listening_cancels_the_job():
    async def walk_away(client):
        batches = listen(client, Ask("x"))
        await anext(batches)
        await batches.aclose()

    client = FakeClient(pace=5)
    asyncio.run(walk_away(client))
    assert len(client.cancelled) == 1


def test_an_idle_worker_still_lets_the_listener_go():
    """An empty batch comes at least four times a second, so that a closed tab is noticed."""

    async def first():
        batches = listen(FakeClient(pace=100), Ask("x"))
        found = [await anext(batches), await anext(batches)]
        await batches.aclose()
        return found

    assert asyncio.run(asyncio.wait_for(first(), 2)) == [[], []]


def test_a_worker_that_does_not_answer_is_a_failure_with_a_remedy():
    client = FakeClient(pace=100)
    found = asyncio.run(answer(client, NextToken("x"), NextTokens, 0.3))
    assert isinstance(found, Failed) and "try again" in found.remedy and client.cancelled


@pytest.mark.parametrize("asked", [None, {}, {"prompt": 3}, {"prompt": "x" * 10**6}, []])
def test_the_next_token_card_survives_anything_from_the_browser(asked):
    assert "error" in asyncio.run(next_token_view(FakeClient(pace=0), asked))


def test_the_next_token_card_shows_both_models():
    asked = {"prompt": "x", "weights": {"math": 1.0, "code": "nan"}, "normalise": 0}
    client = FakeClient(pace=0)
    view = asyncio.run(next_token_view(client, asked))
    assert len(view["rows"]) == 6 and view["kl"] > 0
    assert client.requests[-1].mixture == {"math": 1.0}


# --- inspect -------------------------------------------------------------------------------------


@pytest.fixture
def drawn():
    (_, data), _ = FakeClient()._heatmap(Heatmap({"math": 1.0}, "mlp"))
    return data


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


def test_a_layer_is_cut_out_of_the_heatmap(drawn):
    one = matrices.rows_of_layer(drawn, 4)
    assert set(one.layers) == {4} and len(one.names) == 3
    assert np.array_equal(one.values, drawn.values[12:15], equal_nan=True)
    assert matrices.rows_of_layer(drawn, None) is drawn


def test_the_difference_of_a_heatmap_with_itself_is_zero(drawn):
    assert not np.nansum(np.abs(matrices.difference(drawn, drawn).values))


def test_the_heatmap_panel_names_each_row_and_says_that_it_is_binned(drawn):
    view = matrices.heatmap_view(drawn, "z − 1", "key", "file")
    assert view["names"][1].endswith("0.mlp.up_proj") and view["labels"][1] == "layer 0 · up_proj"
    assert "mean of 2" in view["caption"] and json.loads(view["figure"])["data"]


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
    (_, data), _ = FakeClient()._heatmap(Heatmap({"math": 1.0}, "attention"))
    assert matrices.heatmap_csv(data).splitlines()[2].endswith(",,,")
    lines = matrices.component_csv([("math", "", matrix)]).splitlines()
    assert lines[0] == "component,sigma,captured_base,z_math,sigma_z_math,captured_math"
    assert len(lines) == 1 + len(matrix.z)


def test_what_to_look_at_is_an_expert_or_the_sliders(mixer):
    mixer["alpha"]["math"] = 0.5
    assert sources.source("mixture", mixer).mixture == {"math": 0.5}
    assert sources.source("expert:code", mixer).mixture == {"code": 1.0}
    assert sources.source("expert:nobody", mixer) is None
    assert sources.source("../../etc/passwd", mixer) is None


# --- the page ------------------------------------------------------------------------------------


def test_the_page_has_the_ids_that_checks_rely_on_and_publishes_two_endpoints():
    from t2ui.ui import build

    demo = build(FakeClient())
    ids = {block.elem_id for block in demo.blocks.values()}
    assert {"prompt", "ask", "stop", "dispatch-mode", "classification", "answer-base",
            "answer-adapted", "next-token", "heatmap", "component-plot"} <= ids  # fmt: skip
    public = {fn.api_name for fn in demo.fns.values() if fn.api_visibility == "public"}
    assert public == {"ask", "experts"}


def test_launch_options_keep_the_page_to_itself():
    from t2ui.ui import launch_options

    options = launch_options()
    assert options["allowed_paths"] == [] and not options["show_error"]
    assert not options["run_history"] and not options["enable_monitoring"]
    for path in (*options["css_paths"], options["favicon_path"]):
        assert path.is_file()


def test_building_asks_nothing_of_the_worker():
    from t2ui.ui import build

    client = FakeClient()
    build(client)
    assert not client.requests


def test_scripts_never_make_markup_of_text_and_name_no_other_host():
    for path in (p for p in (ROOT / "assets").iterdir() if p.suffix in (".js", ".css", ".svg")):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".js":
            risky = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\("
            assert not re.search(risky, text), path
        hosts = set(re.findall(r"https?://([^/\"'\s]+)", text))
        assert hosts <= {"www.w3.org"}, path


def test_every_panel_kind_is_drawn_by_a_script():
    asked = set()
    for path in (ROOT / "t2ui" / "ui").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        asked |= set(re.findall(r'panel\(\s*"([a-z-]+)"', text))
    scripts = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "assets").glob("*.js"))
    drawn = set(re.findall(r'panels(?:\.|\[")([a-z-]+)', scripts))
    assert asked and asked <= drawn


# --- the api -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api():
    from gradio_client import Client

    from t2ui.ui import build, launch_options

    fake = FakeClient(pace=0.02)
    demo = build(fake)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield Client(url, verbose=False), fake
    demo.close()


def test_ask_by_name_with_a_dispatcher_and_with_a_mixture(api):
    client, fake = api
    result = client.predict("Fibonacci in Python", api_name="/ask")
    assert result["classification"]["label"] == "code"
    assert result["mixture"]["code"] == 1.0 and result["base"] != result["adapted"]
    assert result["receipt"]
    result = client.predict(
        prompt="x", mixture={"math": 0.5}, max_new_tokens=5, seed=7, api_name="/ask"
    )
    assert result["classification"] is None and result["mixture"] == {"math": 0.5}
    request = [r for r in fake.requests if isinstance(r, Ask)][-1]
    assert request.sampling == Sampling(5, seed=7) and request.dispatch == "none"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": "x", "mixture": {"math": 1e9}}, "between"),
        ({"prompt": "x", "mixture": {"math": 1.0}, "dispatch": "prompt"}, "choose one"),
        ({"prompt": "x", "dispatch": "magic"}, "expected prompt"),
    ],
)
def test_bad_requests_by_name_are_told_what_to_do(api, arguments, message):
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=message):
        api[0].predict(**arguments, api_name="/ask")


def test_a_failed_worker_reaches_the_caller(api):
    from gradio_client.exceptions import AppError

    client, fake = api
    fake.failure = Failed("The model worker died.", "It is restarting; ask again.")
    with pytest.raises(AppError, match="ask again"):
        client.predict("x", api_name="/ask")
    assert client.predict("x", api_name="/ask")["adapted"]


def test_experts_by_name(api):
    client, fake = api
    found = client.predict(api_name="/experts")
    assert [e["name"] for e in found["experts"]][:3] == list(fake.names)
    assert isinstance(fake.requests[-1], ListExperts)
