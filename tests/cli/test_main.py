"""The command line: what it prints, where, and with which exit status."""

import contextlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tiny import make_tiny, make_tokenizer

from t2ui.checks import coefficients
from t2ui.cli.main import main
from t2ui.errors import InputError
from t2ui.evaluation.card import card_text
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.library import load_library


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A tiny model on disk, as a person would pass it to --model."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny("llama").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def experts_folder(tmp_path_factory, tiny_llama):
    folder = tmp_path_factory.mktemp("experts")
    with adapt(tiny_llama) as adapter:
        generator = torch.Generator().manual_seed(0)
        for name, objective in (("math", ""), ("code", ""), ("dispatch", "dispatch")):
            scales = {
                n: 1 + 0.2 * torch.randn(f.S.shape, generator=generator)
                for n, f in adapter.factors.items()
            }
            Expert(
                name,
                scales,
                base_model="tiny",
                fingerprint=adapter.fingerprint_of(scales),
                labels=("math", "code", "others") if objective else (name,),
                objective=objective,
                metrics=[
                    {
                        "set": "s",
                        "protocol": "sum",
                        "n": 10,
                        "base": 0.1,
                        "base_interval": [0.0, 0.4],
                        "expert": 0.5,
                        "interval": [0.2, 0.8],
                        "p": 0.2,
                        "command": "python -m t2ui evaluate",
                    }
                ],
            ).save(folder / f"{name}.safetensors")
    return folder


def test_ask_answers_with_a_mixture_and_a_receipt(cli, model_folder, experts_folder):
    status, out, _ = cli(
        "ask",
        "hello",
        "--model",
        model_folder,
        "--experts",
        experts_folder,
        "--mix",
        "math=0.7,code=-0.3",
        "--json",
        "--max-new-tokens",
        5,
    )
    result = json.loads(out)
    assert status == 0
    assert result["mixture"] == {"math": 0.7, "code": -0.3}
    assert result["base_share"] == pytest.approx(0.6)
    assert set(result["receipt"]["experts"]) == {"math", "code"}


@pytest.fixture
def mixed_folder(tmp_path, experts_folder):
    """Beside those that fit: one of other shapes, and one of other weights of the same shapes."""
    folder = tmp_path / "experts"
    shutil.copytree(experts_folder, folder)
    math = Expert.load(folder / "math.safetensors")
    Expert("large", {n: torch.ones(4096) for n in math.scales}).save(folder / "large.svf")
    other = f"{math.fingerprint.split(':')[0]}:{','.join('9' * 8)}"
    theirs = replace(math, name="theirs", labels=("poetry",), base_model="else", fingerprint=other)
    theirs.save(folder / "theirs.svf")
    return folder


def test_ask_is_not_stopped_by_experts_that_are_not_used(cli, model_folder, mixed_folder):
    where = (
        "ask",
        "hello",
        "--model",
        model_folder,
        "--experts",
        mixed_folder,
        "--max-new-tokens",
        3,
        "--json",
    )
    status, out, err = cli(*where, "--mix", "math=1")
    assert status == 0 and json.loads(out)["mixture"] == {"math": 1.0}
    assert err.startswith("large.svf: ") and err.count("\n") == 1
    for dispatch in ("prompt", "expert"):
        status, out, _ = cli(*where, "--dispatch", dispatch)
        result = json.loads(out)
        assert status == 0 and "poetry" not in result["probabilities"]
        assert "other weights: theirs" in result["note"]


def test_ask_says_why_an_expert_that_was_asked_for_is_not_used(cli, model_folder, mixed_folder):
    where = ("ask", "hello", "--model", model_folder, "--experts", mixed_folder)
    status, _, err = cli(*where, "--mix", "theirs=1")
    assert status == 2 and "'theirs' was made for else" in err and "allow_transfer" in err
    status, _, err = cli(*where, "--mix", "large=1")
    assert status == 2 and "does not fit" in err and "no expert named 'large'" in err
    status, _, err = cli(*where, "--mix", "theirs=1", "--allow-transfer", "--max-new-tokens", 3)
    assert status == 0 and "theirs: a cross-model transfer" in err


def test_ask_dispatches_with_the_expert_where_there_is_one(cli, model_folder, experts_folder):
    status, out, err = cli(
        "ask",
        "hello",
        "--model",
        model_folder,
        "--experts",
        experts_folder,
        "--max-new-tokens",
        "3",
    )
    assert status == 0
    assert "pass one: math 0." in err and "mixture:" in err
    assert "pass one" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ask", " "], "prompt is empty"),
        (["ask", "x" * 100_000], "100,000 characters"),
        (["ask", "hi", "--mix", "math"], "expected name=coefficient"),
        (["ask", "hi", "--mix", "math=nan"], "finite number"),
        (["ask", "hi", "--mix", "math=1e9"], "finite number"),
        (["ask", "hi", "--temperature", "-1"], "temperature is -1.0"),
        (["ask", "hi", "--temperature", "1e-38"], "expected 0 (greedy) or at least 0.001"),
        (["ask", "hi", "--max-new-tokens", "0"], "max_new_tokens is 0"),
        (["ask", "hi", "--model", "no/such/folder/"], "no/such/folder"),
        (["experts", "list", "no-such-folder"], "no folder no-such-folder"),
        (["experts", "show", "poetry.safetensors"], "no expert file"),
        (["train", "poems", "--data", ".", "--out", "run"], "no task 'poems'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(cli, arguments, said, model_folder):
    if arguments[0] in ("ask", "train") and "--model" not in arguments:
        arguments = [*arguments, "--model", model_folder]
    status, out, err = cli(*arguments)
    assert status == 2
    assert said in err and err.count("\n") == 1 and "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(
    "arguments",
    [["train", "arith", "--out", "run"], ["evaluate", "math", "arith"], ["adapt", "--task=arith"]],
)
def test_the_environment_may_name_the_data_folder(
    cli, monkeypatch, arguments, model_folder, experts_folder
):
    given = (*arguments, "--model", model_folder, "--experts", experts_folder)
    assert "--data" in cli(*given)[2]  # is missing
    monkeypatch.setenv("T2UI_DATA", "no-such-data")
    status, out, err = cli(*given)
    assert (status, out) == (2, "") and "no folder no-such-data" in err


def test_a_named_data_folder_is_not_in_the_way_of_examples(cli, monkeypatch, model_folder):
    monkeypatch.setenv("T2UI_DATA", "no-such-data")
    status, _, err = cli("adapt", "--examples", "no-such.jsonl", "--model", model_folder)
    assert status == 2 and "no data file at no-such.jsonl" in err


def test_an_unknown_expert_names_the_known_ones(cli, model_folder, experts_folder):
    status, _, err = cli(
        "ask", "hi", "--mix", "poetry=1", "--model", model_folder, "--experts", experts_folder
    )
    assert status == 2 and "poetry" in err and "code, dispatch, math" in err


def test_experts_are_listed_and_shown(cli, experts_folder):
    status, out, _ = cli("experts", "list", experts_folder, "--json")
    listed = json.loads(out)
    assert status == 0 and listed["problems"] == []
    assert [e["name"] for e in listed["experts"]] == ["code", "dispatch", "math"]
    _, out, _ = cli("experts", "show", "math", "--experts", experts_folder)
    assert "base_model   tiny" in out
    shipped = json.loads(cli("experts", "list", "--json")[1])["experts"]
    assert {e["name"]: e["examples"] for e in shipped}["math"] == 64 + 143
    assert json.loads(cli("experts", "show", "math", "--json")[1])["examples"] == 64 + 143


def test_verify_tells_a_bad_file_from_a_good_one(cli, experts_folder, model_folder, tmp_path):
    whole = (experts_folder / "math.safetensors").read_bytes()
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(whole[: len(whole) // 2])
    status, out, _ = cli(
        "experts", "verify", experts_folder, bad, "--model", model_folder, "--json"
    )
    checked = {entry["file"].rsplit("/")[-1]: entry["ok"] for entry in json.loads(out)}
    assert status == 2
    assert checked == {
        "code.safetensors": True,
        "dispatch.safetensors": True,
        "math.safetensors": True,
        "bad.safetensors": False,
    }


def test_card_says_what_the_files_say(cli, experts_folder):
    status, out, _ = cli("experts", "card", experts_folder)
    text = (experts_folder / "README.md").read_text()
    assert status == 0 and out.strip().endswith("README.md")
    assert "| s | sum | 10 | 10.0 % [0.0, 40.0] | 50.0 % [20.0, 80.0] | 0.2 |" in text
    for expert in load_library(experts_folder).experts.values():
        assert expert.sha256 in text


def test_card_links_the_results_that_were_written_by_hand(cli, experts_folder):
    link, results = "[RESULTS.md](RESULTS.md)", experts_folder / "RESULTS.md"
    cli("experts", "card", experts_folder)
    assert link not in (experts_folder / "README.md").read_text()
    results.write_text("# What was measured")
    cli("experts", "card", experts_folder)
    results.unlink()
    assert link in (experts_folder / "README.md").read_text()


def test_a_card_that_cannot_be_written_is_one_line(cli, experts_folder):
    in_the_way = experts_folder / "README.md"
    in_the_way.unlink(missing_ok=True)
    in_the_way.mkdir()
    status, out, err = cli("experts", "card", experts_folder)
    in_the_way.rmdir()
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "README.md cannot be written" in err and "choose another place" in err


def test_card_shows_mis_routes_in_a_table_of_their_own(experts_folder):
    library = load_library(experts_folder)
    metrics = [
        {
            "set": "all",
            "classifier": "classification expert",
            "n": 100,
            "misroutes": 0.02,
            "interval": [0.005, 0.07],
            "confusion": {},
        }
    ]
    library.experts["dispatch"] = replace(library.experts["dispatch"], metrics=metrics)
    assert "| all | classification expert | 100 | 2.0 % [0.5, 7.0] |" in card_text(library)


def test_card_shows_the_lora_baseline_where_it_was_measured(experts_folder):
    library = load_library(experts_folder)
    (record,) = library.experts["math"].metrics
    took = {"trained_parameters": 40, "steps_done": 3}
    beside = record | {"set": "t", "lora": 0.25, "lora_interval": [0.1, 0.4], "lora_training": took}
    page = {key: value for key, value in record.items() if key != "p"} | {"set": "by hand"}
    library.experts["math"] = replace(library.experts["math"], metrics=[record, beside, page])
    text = card_text(library)
    assert "| 0.2 |  |" in text and "| 0.2 | 25.0 % [10.0, 40.0] |" in text
    assert "LoRA: trained_parameters 40, steps_done 3" in text
    (by_hand,) = [line for line in text.splitlines() if line.startswith("| by hand |")]
    assert by_hand.endswith(" |  |  |"), "no p, no LoRA"


def test_card_holds_what_an_expert_went_on_from(experts_folder):
    library = load_library(experts_folder)
    training = {"command": "second", "steps": 5, "before": {"command": "first", "steps": 3}}
    library.experts["math"] = replace(library.experts["math"], training=training)
    text = card_text(library)
    later, _, before = text.partition("### Before that")
    assert "    second\n\nsteps 5" in later and "    first\n\nsteps 3" in before
    assert "first" not in later


def test_coefficients_as_typed():
    assert coefficients("math=0.7, code=-1", ",", "--mix") == {"math": 0.7, "code": -1.0}
    assert coefficients("", ",", "--mix") == {}
    with pytest.raises(InputError, match="expected name=coefficient"):
        coefficients("=1", ",", "--mix")


def test_the_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "t2ui", "ask", ""], capture_output=True, text=True)
    assert done.returncode == 2 and "prompt is empty" in done.stderr


@pytest.mark.parametrize("port", ["taken", "99999"])
def test_serve_says_when_it_cannot_listen(port, monkeypatch, capsys):
    import socket

    import fake_client

    client = contextlib.nullcontext(fake_client.FakeClient())
    monkeypatch.setattr("t2ui.worker.client.connect", lambda config: client)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SystemExit) as exit_:
            main(["serve", "--port", str(other.getsockname()[1]) if port == "taken" else port])
    assert exit_.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("t2ui: Cannot listen on") and "--port" in said
