"""One question with the same settings through every door: library, command line, page and HTTP.

Each has to give the same mixture, the same receipt (but for its timings) and the same tokens. The
command line, HTTP and a second time the library are asked as the page's own "show the code" says.
"""

import asyncio
import io
import json
import shlex
import urllib.request
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from tiny import END_ID, make_tiny, make_tokenizer

from t2ui.backend.token_shift import token_texts
from t2ui.config import Sampling, WorkerConfig
from t2ui.errors import InputError
from t2ui.inference.two_pass import TwoPassResult, two_pass_infer
from t2ui.models.loading import load_model
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.library import load_library
from t2ui.svf.mixture import Mixture
from t2ui.ui.ask.snippets import command_line, http, python
from t2ui.ui.shared.controls import Controls
from t2ui.ui.shared.mixture import empty_mixer
from t2ui.ui.shared.panel import pack, unpack
from t2ui.ui.shared.permalink import filled
from t2ui.worker.client import InProcessClient

SHORT = Sampling(max_new_tokens=12)
SAMPLED = Sampling(max_new_tokens=16, temperature=0.8, top_p=0.9, seed=11)
CASES = {
    "nobody chooses a dispatcher": Controls("What is 7 + 5?"),
    "no dispatcher": Controls("What is 7 + 5?", {}, "none"),
    "by prompt": Controls("What is 7 + 5?", {}, "prompt"),
    "by expert": Controls("What is 7 + 5?", {}, "expert"),
    "by prompt, soft": Controls("Sort a list.", {}, "prompt", "soft"),
    "by expert, soft": Controls("Sort a list.", {}, "expert", "soft"),
    "by prompt, soft, normalised": Controls("Sort a list.", {}, "prompt", "soft", normalise=True),
    "by expert, soft, normalised": Controls("Sort a list.", {}, "expert", "soft", normalise=True),
    "below the threshold": Controls("Sort a list.", {}, "prompt", "soft", 1.0),
    "above the threshold": Controls("Sort a list.", {}, "prompt", "hard", 0.05),
    "one expert": Controls("Hello", {"math": 1.0}, "none"),
    "negative and beyond 1": Controls("Hello", {"math": 1.75, "code": -0.5}, "none"),
    "beyond a slider": Controls("Hello", {"math": 3.5}, "none"),
    "six digits": Controls("Hello", {"math": 0.123456, "code": 1.234567}, "none"),
    "normalised": Controls("Hello", {"math": 0.6, "code": 0.6}, "none", normalise=True),
    "normalised, negative": Controls("Hello", {"math": 1.5, "code": -1.0}, "none", normalise=True),
    "nothing to normalise": Controls("Hello", {}, "none", normalise=True),
    "sampled": Controls("Größe? 🙂", {"code": 1.0}, "none", sampling=SAMPLED),
    "sampled by dispatch": Controls("Größe? 🙂", {}, "expert", "soft", 0.1, True, SAMPLED),
    "another seed": Controls(
        'It\'s "$HOME"', {}, "none", sampling=replace(SAMPLED, seed=2**31 - 1)
    ),
    "a greedy seed": Controls(
        "Hello", {"math": 1.0}, "none", sampling=Sampling(1, 0.0, 0.5, seed=3)
    ),
    "from the end of the prompt on": Controls("Hello", {"math": 1.0}, "none", scope="answer"),
    "on every token": Controls("Hello", {"late": 1.0}, "none", scope="all"),
    "as its expert was trained": Controls("Hello", {"late": 1.0}, "none"),
    "two scopes": Controls("Hello", {"late": 0.5, "math": 0.5}, "none"),
    "by prompt, in scope answer": Controls("Sort a list.", {}, "prompt", "soft", scope="answer"),
    "a transfer": Controls("Hello", {"theirs": 1.0}, "none", allow_transfer=True),
    "a transfer in pass one": Controls("Verse", {}, "prompt", "soft", allow_transfer=True),
}
CASES = {  # twelve tokens do where nothing is said of their number
    name: replace(asked, sampling=SHORT) if asked.sampling == Sampling() else asked
    for name, asked in CASES.items()
}


@dataclass(frozen=True)
class Answer:
    """What every door has to agree on."""

    mixture: dict
    receipt: dict
    text: str


def answer_of(mixture, receipt, text) -> Answer:
    return Answer(dict(mixture), {k: v for k, v in receipt.items() if k != "timings"}, text)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny model on disk with two experts, a classification expert, and one of other weights."""
    import torch

    root = tmp_path_factory.mktemp("doors")
    model = make_tiny("llama")
    model.save_pretrained(root / "tiny")
    make_tokenizer().save_pretrained(root / "tiny")
    with adapt(model, cache_dir=root / "cache") as adapter:
        details = {
            "math": {"labels": ("math",)},
            "code": {"labels": ("code",)},
            "sorter": {"labels": ("code", "math", "others"), "objective": "dispatch"},
            "late": {"labels": ("late",), "scope": "answer"},
            "theirs": {"labels": ("poetry",), "base_model": "elsewhere"},
        }
        for seed, (name, detail) in enumerate(details.items(), start=1):
            generator = torch.Generator().manual_seed(seed)
            scales = {
                matrix: 1 + 0.4 * torch.randn(factors.S.numel(), generator=generator)
                for matrix, factors in adapter.factors.items()
            }
            mark = adapter.fingerprint
            if name == "theirs":
                mark = f"{mark.split(':')[0]}:{','.join('9' * 8)}"
            expert = Expert(name, scales, **{"base_model": "tiny", "fingerprint": mark, **detail})
            expert.save(root / "experts" / "tiny" / f"{name}.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("T2UI_CACHE", str(root / "cache"))
        yield root


@pytest.fixture(scope="module")
def loaded(place):
    model, tokenizer = load_model(place / "tiny", device="cpu")
    return model, tokenizer, load_library(place / "experts" / "tiny")


@pytest.fixture(scope="module")
def app(place):
    """(page, its URL, a worker's client, the worker's experts), the worker in this process."""
    from t2ui.ui import build, launch_options

    config = WorkerConfig(
        str(place / "tiny"), place / "experts", "cpu", cache_dir=place / "cache", max_rows=8
    )
    with InProcessClient(config) as client:
        assert client.wait_ready(120).state == "ready"
        demo = build(client)
        _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
        listed = client.experts()
        yield demo, url, client, listed
        demo.close()


# --- the doors -----------------------------------------------------------------------------------


def by_library(loaded, asked: Controls) -> TwoPassResult:
    model, tokenizer, library = loaded
    return two_pass_infer(
        model,
        tokenizer,
        asked.prompt,
        library.experts,
        dispatch=asked.dispatch or None,
        mixture=Mixture(asked.mixture) if asked.mixture else None,
        routing=asked.routing,
        threshold=asked.threshold,
        normalise=asked.normalise,
        sampling=asked.sampling,
        allow_transfer=asked.allow_transfer,
        scope=asked.scope,
    )


def by_python(place, loaded, asked: Controls) -> Answer:
    """As the page's Python snippet says."""
    files = {name: str(path) for name, path in loaded[2].files.items()}
    names: dict = {}
    with redirect_stdout(io.StringIO()) as printed:
        exec(python(asked, str(place / "tiny"), files), names)
    assert printed.getvalue() == f"{names['result'].text}\n"
    result = names["result"]
    return answer_of(result.mixture.weights, result.receipt, result.text)


def by_command_line(place, cli, asked: Controls, *more) -> Answer:
    """As the page's command line says."""
    line = command_line(asked, str(place / "tiny")).replace("\\\n", " ")
    where = ("--experts", place / "experts" / "tiny", "--device", "cpu", "--json")
    status, out, err = cli(*shlex.split(line)[3:], *where, *more)
    assert status == 0, err
    said = json.loads(out)
    return answer_of(said["mixture"], said["receipt"], said["text"])


def by_page(app, asked: Controls) -> tuple[Answer, dict]:
    """As the Ask button does; the answer, and the adapted pane's value."""
    demo, _, _, listed = app
    mixer = filled(empty_mixer(), listed, {})
    mixer["alpha"] |= {name: alpha / 2 for name, alpha in asked.mixture.items()}
    mixer |= {"strength": 2.0, "normalise": asked.normalise, "allow_transfer": asked.allow_transfer}
    sampling = asked.sampling
    values = (
        *(
            asked.prompt,
            asked.dispatch or None,
            pack(mixer),
            asked.routing,
            asked.threshold,
            asked.scope,
        ),
        *(sampling.max_new_tokens, sampling.temperature, sampling.top_p, sampling.seed),
    )
    run = next(fn.fn for fn in demo.fns.values() if getattr(fn.fn, "__name__", "") == "run")

    async def collect() -> dict[str, dict]:
        shown: dict[str, dict] = {}
        async for update in run(SimpleNamespace(query_params={}), *values):
            if "value" not in update and "__type__" not in update:
                shown |= {panel.elem_id: unpack(value) for panel, value in update.items()}
        return shown

    shown = asyncio.run(collect())
    pane, receipt = shown["answer-adapted"], shown["footer"]["receipt"]
    assert pane["state"] == "done", pane["message"]
    moved = shown.get("mixer", mixer)
    alpha = {name: a * moved["strength"] for name, a in moved["alpha"].items() if a}
    if asked.dispatch == "none":
        assert alpha == pytest.approx(asked.mixture), "the sliders were left alone"
    else:
        assert receipt["set_by"] == moved["set_by"]
    return answer_of(receipt["mixture"], receipt, "".join(pane["pieces"])), pane


def called(url: str, path: str, body: dict) -> tuple[str, object]:
    """("complete" or "error", the data) of one of the app's routes, by two plain HTTP requests."""
    place = f"{url}gradio_api/call/{path}"
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(place, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as reply:
        event = json.load(reply)["event_id"]
    with urllib.request.urlopen(f"{place}/{event}") as reply:
        *_, kind, data = [line for line in reply.read().decode().splitlines() if line]
    data = json.loads(data.removeprefix("data: "))
    return kind.removeprefix("event: "), data[0] if isinstance(data, list) else data


def by_http(app, asked: Controls) -> Answer:
    """As the page's curl command says."""
    words = shlex.split(http(asked, app[1].rstrip("/")).replace("\\\n", " "))
    path = words[0].partition("/gradio_api/call/")[2]
    kind, found = called(app[1], path, json.loads(words[words.index("-d") + 1].removesuffix(")")))
    assert kind == "complete", found
    return answer_of(found["receipt"]["mixture"], found["receipt"], found["adapted"])


# --- what they agree on --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_every_door_gives_the_same_answer(name, place, loaded, app, cli):
    asked = CASES[name]
    result = by_library(loaded, asked)
    wanted = answer_of(result.mixture.weights, result.receipt, result.text)
    shown, pane = by_page(app, asked)
    assert shown == wanted
    assert by_python(place, loaded, asked) == wanted
    assert by_command_line(place, cli, asked) == wanted
    assert by_http(app, asked) == wanted
    ids = [token for token in result.token_ids if token != END_ID]
    assert [shift[0] for shift in pane["shifts"]] == token_texts(loaded[1], ids)


def test_the_cases_are_as_different_as_their_names(loaded):
    """So that a setting that a door loses cannot go unnoticed."""
    found = {name: by_library(loaded, asked) for name, asked in CASES.items()}
    assert found["by prompt, soft"].mixture != found["by prompt, soft, normalised"].mixture
    assert found["by prompt"].probabilities != found["by expert"].probabilities
    assert found["nobody chooses a dispatcher"].receipt["dispatch"] == "expert"
    assert found["no dispatcher"].mixture == found["below the threshold"].mixture == Mixture()
    assert "threshold" in found["below the threshold"].note
    assert found["by expert, soft"].mixture.weights.keys() == {"math", "code"}
    assert "poetry" in found["a transfer in pass one"].probabilities
    assert "theirs: a cross-model transfer from elsewhere" in found["a transfer"].note
    texts = [found[name].text for name in ("sampled", "one expert", "negative and beyond 1")]
    assert len({found["no dispatcher"].text, *texts}) == 4


def test_a_transfer_is_refused_at_every_door_and_each_says_what_to_do(place, loaded, app, cli):
    asked = replace(CASES["a transfer"], allow_transfer=False)
    with pytest.raises(InputError, match="'theirs' was made for elsewhere .*allow_transfer"):
        by_library(loaded, asked)
    line = command_line(asked, str(place / "tiny")).replace("\\\n", " ")
    status, _, err = cli(*shlex.split(line)[3:], "--experts", place / "experts" / "tiny")
    assert status == 2 and "allow_transfer" in err
    with pytest.raises(AssertionError, match="allow_transfer"):
        by_page(app, asked)
    kind, said = called(app[1], "v2/ask", {"prompt": "Hello", "mixture": {"theirs": 1.0}})
    assert kind == "error" and "allow_transfer" in said["error"]
    by_dispatch = replace(CASES["a transfer in pass one"], allow_transfer=False)
    notes = {
        by_library(loaded, by_dispatch).note,
        by_page(app, by_dispatch)[0].receipt["note"],
        by_command_line(place, cli, by_dispatch).receipt["note"],
        by_http(app, by_dispatch).receipt["note"],
    }
    assert notes == {
        "passed over, as made for other weights: theirs; its experts were trained for different "
        "scopes: they act on every token"
    }


def test_what_the_page_has_no_control_for_is_the_same_at_the_others(place, loaded, app, cli):
    sampling = Sampling(20, 0.9, 0.95, top_k=40, seed=5, stop=("q", "z"))
    asked = Controls("Hello", {"math": 1.0}, "none", sampling=sampling)
    result = by_library(loaded, asked)
    wanted = answer_of(result.mixture.weights, result.receipt, result.text)
    more = ("--top-k", 40, "--stop", "q", "--stop", "z")
    assert by_command_line(place, cli, asked, *more) == wanted
    data = ["Hello", {"math": 1.0}, "none", 20, 5, 0.9, 0.95, "hard", 0.0, False, False, 40]
    kind, found = called(app[1], "ask", {"data": [*data, ["q", "z"]]})
    assert kind == "complete"
    assert answer_of(found["mixture"], found["receipt"], found["adapted"]) == wanted


# --- HTTP alone ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        ["Hello"],
        ["Hello", None, None, 4],
        ["Hello", {}, "prompt", 4, 0, 0.0],
        ["Hello", {"math": 1.0}, "none", 4, 0, 0.0],
        ["Hello", None, "", 4, 0, 0.0, 1.0, "soft", 0.1, True],
    ],
)
def test_positions_are_those_of_always_and_defaults_may_be_left_out(app, data):
    kind, found = called(app[1], "ask", {"data": data})
    assert kind == "complete" and found["receipt"]["prompt"] == "Hello"
    limit = data[3] if len(data) > 3 else Sampling.max_new_tokens
    assert found["receipt"]["sampling"]["max_new_tokens"] == limit
    assert found["receipt"]["normalise"] is (len(data) > 9)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "The prompt is empty"),
        ({"prompt": 5}, "The prompt is 5; expected text"),
        ({"mixture": "math"}, "mixture is 'math'; expected an object"),
        ({"mixture": {"math": "much"}}, "'math' is 'much'; a number"),
        ({"mixture": {"maths": 1.0}}, "no expert named 'maths'"),
        ({"mixture": {"math": 1.0, "code": -1.0}, "normalise": True}, "cannot be normalised"),
        ({"dispatch": "magic"}, "dispatch is 'magic'; expected prompt, expert, router, both, none"),
        ({"routing": "best"}, "routing is 'best'; expected hard, soft"),
        ({"threshold": "high"}, "threshold is 'high'; a number"),
        ({"threshold": 2}, "threshold is 2; expected between 0 and 1"),
        ({"normalise": "yes"}, "normalise is 'yes'; expected true or false"),
        ({"scope": "prompt"}, "scope is 'prompt'; expected all (the expert acts"),
        ({"allow_transfer": 1}, "allow_transfer is 1; expected true or false"),
        ({"top_p": 0}, "top_p is 0; expected between"),
        ({"stop": "q"}, "stop is 'q'; expected a list"),
    ],
)
def test_a_wrong_value_is_named_to_the_caller(app, body, said):
    asked = {"prompt": "Hello", **body} if body else {"prompt": None}
    kind, found = called(app[1], "v2/ask", asked)
    assert kind == "error" and said in found["error"]
