"""ui: listening to a worker, the page as it is built, and the API by name."""

import asyncio
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from browsing import serve
from fake_answers import ADAPTED_TEXT, BASE_TEXT
from fake_client import FakeClient
from fake_shelf import expert_info

from t2ui.config import Sampling
from t2ui.http.limits import Limits
from t2ui.messages import (
    Ask,
    Classified,
    Compared,
    Done,
    Experts,
    Failed,
    Mixed,
    NextToken,
    NextTokens,
)
from t2ui.ui.ask.next_token import next_token_view
from t2ui.ui.ask.snippets import http
from t2ui.ui.shared.components import library_of
from t2ui.ui.shared.controls import Controls
from t2ui.ui.shared.listen import answer, listen
from t2ui.ui.shared.mixture import empty_mixer, with_experts
from t2ui.ui.shared.panel import pack, unpack

NOBODY = SimpleNamespace(query_params={})  # a request without the door in front
ROOT = Path(__file__).resolve().parents[2]


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


# --- the page ------------------------------------------------------------------------------------


def test_the_page_has_the_ids_that_checks_rely_on_and_publishes_its_routes():
    from t2ui.ui import build

    demo = build(FakeClient())
    ids = {block.elem_id for block in demo.blocks.values()}
    assert {
        "prompt",
        "ask",
        "stop",
        "dispatch-mode",
        "classification",
        "answer-base",
        "answer-adapted",
        "next-token",
        "heatmap",
        "component-plot",
    } <= ids
    public = {fn.api_name for fn in demo.fns.values() if fn.api_visibility == "public"}
    assert public == {"ask", "experts", "components", "likeness"}


def test_the_sliders_numbers_come_from_python_and_no_script_has_its_own():
    from t2ui import config
    from t2ui.ui import build

    (mixer,) = [b for b in build(FakeClient()).blocks.values() if b.elem_id == "mixer"]
    handed = html.unescape(re.search(r'data-bounds="([^"]+)"', mixer.html_template)[1])
    assert json.loads(handed) == {
        "low": config.SLIDER_LOW,
        "high": config.SLIDER_HIGH,
        "strength": config.MAX_STRENGTH,
        "limit": config.ALPHA_LIMIT,
        "least_sum": config.LEAST_SUM,
        "decimals": 6,
        "few": 5,
        "search_from": 8,
    }
    script = (ROOT / "assets" / "shared" / "mixer.js").read_text(encoding="utf-8")
    used = set(re.findall(r"bounds\.(\w+)", script))
    assert used == set(json.loads(handed)), "each of them is read"
    assert not re.search(r"1e-?\d|const [A-Z_]+ = -?\d", script)


def handler(demo, name, nth=0):
    """An event's function, as it was written; two may have the same name."""
    found = [fn.fn for fn in demo.fns.values() if getattr(fn.fn, "__name__", "") == name]
    return found[nth]


def test_a_new_question_clears_the_receipt_of_the_last_one():
    from t2ui.ui import build

    demo = build(FakeClient(pace=0))
    footer = next(b for b in demo.blocks.values() if b.elem_id == "footer")
    mixer = {"experts": [], "alpha": {}}

    async def receipts():
        request = SimpleNamespace(query_params={})
        asked = handler(demo, "run")(request, "Fibonacci", "prompt", pack(mixer), "hard", 0, "")
        updates = [update async for update in asked]
        return [unpack(u[footer])["receipt"] for u in updates if footer in u]

    first, *_, last = asyncio.run(receipts())
    assert first is None and last["model"]


def test_inspects_choices_follow_the_list_of_experts_and_a_saved_one():
    from t2ui.ui import build

    demo = build(FakeClient())
    (choosing,) = (
        fn
        for fn in demo.fns.values()
        if getattr(fn.fn, "__qualname__", "").endswith("offer")
        and fn.fn.__module__ == "t2ui.ui.inspect.page"
    )
    ((library, event),) = choosing.targets
    assert event == "change"
    listing = {
        fn.fn.__name__ for fn in demo.fns.values() if library in [one._id for one in fn.outputs]
    }
    assert listing == {"list_experts", "save", "act"}
    found = Experts((), (), (), ("up_proj",), 2)
    assert library_of(found) != library_of(found)  # equal ones would fire no change


def test_use_on_the_sliders_sets_the_boxes_too():
    from t2ui.ui import build

    demo = build(FakeClient())
    use = next(fn for fn in demo.fns.values() if getattr(fn.fn, "__name__", "") == "use")
    moved = {"mixer", "dispatch-mode", "normalise", "allow-transfer"}
    assert moved <= {block.elem_id for block in use.outputs}


@pytest.mark.parametrize(
    ("mode", "query", "names", "chosen"),
    [
        (None, {}, ("math",), "expert"),  # the worker's own choice
        (None, {}, (), "prompt"),
        (None, {"dispatch": "prompt"}, ("math",), "prompt"),  # the link's
        (None, {"mix": "math=1"}, ("math",), "none"),
        (None, {"dispatch": "expert"}, (), "prompt"),  # which is not to be had here
        ("expert", {}, (), "prompt"),
        ("none", {"dispatch": "prompt"}, ("math",), None),  # a hand's: it stays
    ],
)
def test_the_dispatcher_that_a_visit_begins_with(mode, query, names, chosen):
    from t2ui.ui import build

    listed = handler(build(FakeClient(names, pace=0)), "list_experts")
    request = SimpleNamespace(query_params=query)
    found = listed(pack(empty_mixer()), mode, request)
    assert found[2] == (gr.skip() if chosen is None else chosen)
    assert unpack(found[0])["dispatchers"][0] == "prompt"


@pytest.mark.parametrize(
    ("shown", "redrawn"),
    [
        ({"state": "failed"}, True),
        ({"state": "waiting", "wanted": True}, True),
        ({"state": "done"}, False),
        ({"state": "waiting"}, False),
    ],
)
def test_a_heatmap_that_failed_is_drawn_again_when_the_worker_is_back(shown, redrawn):
    from t2ui.ui import build

    mixer = pack(with_experts(empty_mixer(), (expert_info("math"),)))
    redraw = handler(build(FakeClient(pace=0)), "redraw")

    async def last():
        asked = redraw(
            NOBODY, pack(shown), "expert:math", "", "first", "layer", "all", "all", mixer
        )
        return [news async for news in asked][-1]

    news = asyncio.run(last())
    assert (isinstance(news, str) and unpack(news)["state"] == "done") is redrawn


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
    for path in (p for p in (ROOT / "assets").rglob("*") if p.suffix in (".js", ".css", ".svg")):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".js":
            risky = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\("
            assert not re.search(risky, text), path
        hosts = set(re.findall(r"https?://([^/\"'\s]+)", text))
        assert hosts <= {"www.w3.org"}, path


def test_every_panel_kind_is_drawn_by_a_script():
    asked = set()
    for path in (ROOT / "t2ui" / "ui").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        asked |= set(re.findall(r'panel\(\s*"([a-z-]+)"', text))
    scripts = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "assets").rglob("*.js"))
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
        ({"prompt": "x", "max_new_tokens": -5}, "max_new_tokens is -5; expected between 1"),
        ({"prompt": "x", "max_new_tokens": 4000}, "at most 512"),
        ({"prompt": "x", "seed": "abc"}, "seed is 'abc'; a number"),
    ],
)
def test_bad_requests_by_name_are_told_what_to_do(api, arguments, message):
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=message):
        api[0].predict(**arguments, api_name="/ask")


def run_snippet(url, controls):
    """The HTTP tab of "show the code", run as it is printed."""
    if not (shutil.which("curl") and shutil.which("python3")):
        pytest.skip("the snippet needs curl and python3")
    code = http(controls, url.rstrip("/"))
    return subprocess.run(["sh", "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("controls", "answer"),
    [
        (Controls('It\'s "quoted"\n$(rm -rf ~) `x` \\ %s ☃'), ADAPTED_TEXT),
        (Controls("Hi", {"math": 1.0}, "none"), ADAPTED_TEXT),
        (Controls("Hi", {}, "none"), BASE_TEXT),
    ],
)
def test_the_http_snippet_prints_the_answer_and_nothing_else(api, controls, answer):
    run = run_snippet(api[0].src, controls)
    assert (run.stdout, run.stderr, run.returncode) == (f"{answer}\n", "", 0)


def test_the_http_snippet_says_what_went_wrong(api):
    client, fake = api
    fake.failure = Failed("The model worker died.", "It is restarting; ask again.")
    failed = run_snippet(client.src, Controls("Hi"))
    assert (failed.stdout, failed.returncode) == ("", 1)
    assert failed.stderr == "The model worker died. It is restarting; ask again.\n"
    nobody = run_snippet("http://127.0.0.1:9", Controls("Hi"))
    assert not nobody.stdout and nobody.returncode and "connect" in nobody.stderr
    assert "Traceback" not in nobody.stderr


def test_the_http_snippet_says_why_it_was_refused():
    """As by the door in front of the app, which `api` is without."""
    url, close = serve(FakeClient(pace=0), Limits(body_bytes=10))
    try:
        refused = run_snippet(url, Controls("Hi"))
    finally:
        close()
    assert (refused.stdout, refused.returncode) == ("", 1)
    assert "bytes" in refused.stderr and "Traceback" not in refused.stderr


def test_a_failed_worker_reaches_the_caller(api):
    from gradio_client.exceptions import AppError

    client, fake = api
    fake.failure = Failed("The model worker died.", "It is restarting; ask again.")
    with pytest.raises(AppError, match="ask again"):
        client.predict("x", api_name="/ask")
    assert client.predict("x", api_name="/ask")["adapted"]


def test_experts_by_name(api):
    client, fake = api
    asked = len(fake.requests)
    found = client.predict(api_name="/experts")
    assert [e["name"] for e in found["experts"]][:3] == list(fake.names)
    assert len(fake.requests) == asked, "the worker is not asked for what the client knows"


def test_experts_by_name_while_the_model_loads_says_so_at_once(api):
    from gradio_client.exceptions import AppError

    client, fake = api
    fake.loading = True
    try:
        with pytest.raises(AppError, match="loading.*again in a few seconds"):
            client.predict(api_name="/experts")
    finally:
        fake.loading = False
