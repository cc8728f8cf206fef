"""Dispatchers by name: what each needs, and that one more is one file and one line."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from coin_dispatcher import ENTRY
from fake_client import FakeClient
from reference import matrix_names, random_scales
from tiny import make_tiny, make_tokenizer

from t2ui.catalogue import DISPATCHERS, NO_DISPATCH
from t2ui.config import AnswerSettings, Sampling, WorkerConfig
from t2ui.errors import InputError
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.two_pass import two_pass_infer
from t2ui.messages import Ask, Classified, Done, Mixed
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.worker.client import InProcessClient

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def experts(tiny_llama):
    names = matrix_names("llama")
    return {
        name: Expert(name, random_scales(tiny_llama, names, seed, spread=0.5), labels=(name,))
        for seed, name in enumerate(("math", "code"), start=1)
    }


@pytest.fixture
def coin(monkeypatch):
    """The test's own dispatcher, in the catalogue for the time of a test."""
    monkeypatch.setitem(DISPATCHERS, "coin", ENTRY)


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_llama):
    """A tiny model with two experts, and rows to be measured on, on disk."""
    root = tmp_path_factory.mktemp("coin")
    make_tiny("llama").save_pretrained(root / "tiny")
    make_tokenizer().save_pretrained(root / "tiny")
    with adapt(tiny_llama) as adapter:
        for seed, name in enumerate(("math", "code"), start=1):
            scales = random_scales(tiny_llama, adapter.names, seed, spread=0.5)
            mark = {"fingerprint": adapter.fingerprint, "base_model": "tiny", "labels": (name,)}
            Expert(name, scales, **mark).save(root / "experts" / f"{name}.safetensors")
    for part, word in (("train", "tell"), ("test", "say")):  # a prompt is in one part only
        rows = [{"prompt": f"{word} {i}", "answer": "x"} for i in range(3)]
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (root / f"{part}.jsonl").write_text(text)
    return root


@pytest.mark.parametrize("name", DISPATCHERS)
def test_each_is_one_file_of_its_name_and_does_what_the_protocol_says(
    name, tiny_llama, tiny_tokenizer, experts
):
    assert (ROOT / "t2ui" / "inference" / "dispatchers" / f"{name}.py").is_file()
    assert DISPATCHERS[name].words and DISPATCHERS[name].hint.endswith(".")
    sorter = Expert("sorter", experts["math"].scales, objective="dispatch", labels=("a", "others"))
    told = torch.randn(9, tiny_llama.config.hidden_size)
    experts = {**experts, "told": replace(experts["math"], name="told").with_examples(told)}
    bare = {"math": experts["math"]}
    with adapt(tiny_llama) as adapter:
        dispatchers = Dispatchers(tiny_llama, tiny_tokenizer, adapter)
        assert dispatchers[name] is dispatchers[name], "it is kept"
        assert dispatchers[name].usable({**experts, "sorter": sorter})
        found = dispatchers[name].classify("What?", {**experts, "sorter": sorter})
        assert (found is None) is (name == NO_DISPATCH)
        if found:
            labels = dispatchers[name].labels({**experts, "sorter": sorter})
            assert tuple(found.probabilities) == labels
        assert dispatchers.usable(bare) == ("prompt", "none")
        with pytest.raises(InputError, match="no dispatcher 'magic'; there are: prompt, expert"):
            dispatchers["magic"]


def test_the_help_of_ask_and_evaluate_offers_one_that_was_added():
    code = (
        "import sys; sys.path[:0] = ['tests/support', '.']\n"
        "from coin_dispatcher import ENTRY\n"
        "from t2ui.catalogue import DISPATCHERS\n"
        "DISPATCHERS['coin'] = ENTRY\n"
        "from t2ui.cli.main import main\n"
        "for command in ('ask', 'evaluate'):\n"
        "    try:\n"
        "        main([command, '--help'])\n"
        "    except SystemExit as ended:\n"
        "        assert not ended.code\n"
        "    print('== end of help')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    *helps, _ = done.stdout.split("== end of help")
    assert ["coin" in text and "prompt" in text for text in helps] == [True, True]


def test_the_library_answers_with_one_that_was_added(coin, tiny_llama, tiny_tokenizer, experts):
    def asked(prompt, **settings):
        return two_pass_infer(
            tiny_llama,
            tiny_tokenizer,
            prompt,
            experts,
            dispatch="coin",
            sampling=Sampling(3),
            **settings,
        )

    heads = asked("Heads.")
    assert (heads.label, heads.mixture.weights) == ("code", {"code": 1.0})
    assert heads.receipt["set_by"] == "tossed coin, 0.90" and heads.receipt["dispatch"] == "coin"
    tails = asked("Tails?")
    assert (tails.label, tails.mixture.weights) == ("others", {})
    assert tails.note == "others: the base model answers"
    assert asked("Tails?", routing="soft", threshold=0.3).mixture.weights["code"] == 0.2
    with pytest.raises(InputError, match="an expert that it needs is not loaded: add an expert"):
        two_pass_infer(tiny_llama, tiny_tokenizer, "Heads.", {}, dispatch="coin")


def test_the_commands_know_one_that_was_added(coin, cli, place):
    where = ("--model", place / "tiny", "--experts", place / "experts", "--device", "cpu")
    status, out, err = cli(
        "ask", "Heads.", "--dispatch", "coin", *where, "--max-new-tokens", 3, "--json"
    )
    assert status == 0, err
    assert json.loads(out)["receipt"]["set_by"] == "tossed coin, 0.90"
    measured = ("jsonl", "--data", place, "--reward", "contains", "--max-new-tokens", 3)
    status, out, err = cli("evaluate", "coin,code", *measured, *where)
    assert status == 0, err
    lines = [line.split() for line in out.strip().splitlines()]
    assert [line[0] for line in lines[-3:]] == ["base", "coin", "code"]
    assert lines[-2][1:] == lines[-1][1:], "it always picks code"


def test_the_page_offers_one_that_was_added(coin):
    from t2ui.ui import build
    from t2ui.ui.ask.page import dispatch_note
    from t2ui.ui.ask.snippets import command_line
    from t2ui.ui.shared.controls import Controls, clean_controls
    from t2ui.ui.shared.permalink import from_query

    blocks = {block.elem_id: block for block in build(FakeClient()).blocks.values()}
    assert ("coin", "coin") in blocks["dispatch-mode"].choices
    assert "Pass one by a coin." in blocks["header"].html_template
    assert clean_controls("x", "coin", None, "hard", 0, "").dispatch == "coin"
    assert from_query({"dispatch": "coin"}).dispatch == "coin"
    assert "--dispatch coin" in command_line(Controls("x", {}, "coin"), "m")
    assert "tossed coin sets the sliders" in dispatch_note("coin", {"dispatchers": ["coin"]})
    lacking = dispatch_note("coin", {"dispatchers": ["none"]})
    assert "the tossed coin needs is not here: choose none" in lacking


def test_the_worker_page_and_http_answer_with_one_that_was_added(coin, place):
    from gradio_client import Client

    from t2ui.ui import build, launch_options
    from t2ui.ui.shared.controls import Controls
    from t2ui.ui.shared.views import AskView

    config = WorkerConfig(str(place / "tiny"), place / "experts", "cpu", cache_dir=place / "cache")
    with InProcessClient(config) as client:
        assert client.wait_ready(120).state == "ready"
        listed = client.experts()
        assert (listed.dispatchers, listed.dispatch) == (("prompt", "none", "coin"), "prompt")
        asked = Controls("Heads.", {}, "coin", sampling=Sampling(3))
        events = list(client.submit(asked.request()).events())
        assert next(e for e in events if isinstance(e, Classified)).method == "coin"
        assert next(e for e in events if isinstance(e, Mixed)).set_by == "tossed coin, 0.90"
        view = AskView(asked, {}, client.status())
        for event in events:
            view.apply(event)
        assert view.classification["method"] == "tossed coin"
        demo = build(client)
        _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
        try:
            found = Client(url, verbose=False).predict(
                "Heads.", dispatch="coin", max_new_tokens=3, api_name="/ask"
            )
        finally:
            demo.close()
    assert found["set_by"] == "tossed coin, 0.90" and found["mixture"] == {"code": 1.0}
    done = next(e for e in events if isinstance(e, Done))
    assert {**found["receipt"], "timings": {}} == {**done.receipt, "timings": {}}


def test_without_it_nobody_knows_it():
    with pytest.raises(
        InputError, match="dispatch is 'coin'; expected prompt, expert, router, both, none"
    ):
        AnswerSettings(dispatch="coin")
    with pytest.raises(InputError, match="dispatch is 'coin'"):
        Ask("x", dispatch="coin")
