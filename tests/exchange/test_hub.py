"""`t2ui experts push|pull` and `Expert.from_pretrained`, against a stand-in of the hub."""

import json

import pytest
import torch
import yaml
from hub_stand_in import TOKEN, hub_stand_in

from t2ui import Expert, InputError
from t2ui.exchange.hub import pull, push

METRICS = [
    {
        "set": "arc_easy test, chat",
        "protocol": "sum",
        "n": 200,
        "base": 0.47,
        "base_interval": [0.4, 0.54],
        "expert": 0.6151,
        "interval": [0.55, 0.68],
        "p": 0.001,
    },
    {"set": "dispatch", "classifier": "x", "n": 9, "misroutes": 0.1, "interval": [0.0, 0.3]},
]


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    with hub_stand_in() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        for variable, folder in (("HF_HUB_CACHE", "hub"), ("HF_XET_CACHE", "xet")):
            monkeypatch.setattr(f"huggingface_hub.constants.{variable}", str(tmp_path / folder))
        yield server


def expert(name="math", value=1.5, **details):
    details = {"base_model": "smollm2-135m-instruct", "license": "Apache-2.0", **details}
    return Expert(name, {"model.layers.0.mlp.up_proj": torch.full((8,), value)}, **details)


@pytest.fixture
def files(tmp_path):
    math = expert(metrics=METRICS, description="Counts — ∑", labels=("math",))
    math.save(tmp_path / "mine" / "math.safetensors")
    expert("code", 0.5).save(tmp_path / "mine" / "code.svf", compact=True)
    return tmp_path / "mine"


def metadata(card: bytes) -> dict:
    return yaml.safe_load(card.decode().split("---")[1])


def test_what_is_pushed_is_pulled_and_says_the_same(cli, stand_in, files, tmp_path):
    words = ("experts", "push", "math", files / "code.svf", "--experts", files)
    status, said, err = cli(*words, "--repo", "me/experts", "--message", "first")
    assert status == 0, err
    assert said == f"{stand_in.url}/me/experts: math.safetensors, code.svf\n"
    stored = stand_in.repos["me/experts"]
    assert stored["math.safetensors"] == (files / "math.safetensors").read_bytes()
    assert sorted(stored) == ["README.md", "code.svf", "math.safetensors"]
    assert [commit["summary"] for commit in stand_in.commits] == ["first"]
    status, said, _ = cli("experts", "pull", "me/experts", "--experts", tmp_path / "theirs")
    assert status == 0 and len(said.splitlines()) == 2
    for name in ("math.safetensors", "code.svf"):
        assert (tmp_path / "theirs" / name).read_bytes() == (files / name).read_bytes()


def test_the_cards_metadata_are_those_that_the_hub_shows(stand_in, files):
    push([files / "math.safetensors"], "me/experts")
    card = stand_in.repos["me/experts"]["README.md"]
    assert stand_in.cards == [card.decode()]  # the hub was asked to check it
    said = metadata(card)
    assert said["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert said["base_model_relation"] == "adapter"
    assert said["license"] == "apache-2.0" and said["library_name"] == "t2ui"
    assert said["pipeline_tag"] == "text-generation" and "svf" in said["tags"]
    (index,) = said["model-index"]
    accuracy, routes = (result["metrics"][0] for result in index["results"])
    assert index["name"] == "experts" and accuracy["value"] == 0.6151
    assert accuracy["type"] == "accuracy" and "[0.550, 0.680]" in accuracy["name"]
    assert routes["value"] == 0.1
    assert index["results"][0]["dataset"] == {"name": "arc_easy test, chat", "type": "arc_easy"}
    body = card.decode().split("---", 2)[2]
    assert "## math" in body and "Counts — ∑" in body and "61.5 %" in body
    assert 'Expert.from_pretrained("me/experts", "math")' in body


def test_a_second_push_keeps_the_first_in_the_card(stand_in, files):
    push([files / "math.safetensors"], "me/experts", private=True)
    push([files / "code.svf"], "me/experts")
    assert "me/experts" in stand_in.private
    card = stand_in.repos["me/experts"]["README.md"].decode()
    assert "## math" in card and "## code" in card
    assert [commit["summary"] for commit in stand_in.commits] == ["Experts: math", "Experts: code"]


def test_a_card_that_somebody_wrote_is_left_alone(stand_in, files):
    stand_in.repos["me/experts"] = {"README.md": b"# Mine"}
    pushed = push([files / "math.safetensors"], "me/experts")
    assert stand_in.repos["me/experts"]["README.md"] == b"# Mine"
    assert "has a README.md of its own" in pushed.notes[0]


def test_from_pretrained_reads_the_hub_a_folder_and_a_file(stand_in, files):
    push([files / "math.safetensors", files / "code.svf"], "me/experts")
    push([files / "code.svf"], "me/one")
    expected = Expert.load(files / "math.safetensors")
    for source, name in (
        ("me/experts", "math"),
        ("me/experts", "math.safetensors"),
        (files, "math"),
        (files / "math.safetensors", ""),
    ):
        found = Expert.from_pretrained(source, name)
        assert found.sha256 == expected.sha256 and found.metrics == METRICS
    assert Expert.from_pretrained("me/one").name == "code"
    with pytest.raises(InputError, match="holds 2 expert files; there are: code.svf, math.safe"):
        Expert.from_pretrained("me/experts")
    with pytest.raises(InputError, match="holds no expert 'poems'"):
        Expert.from_pretrained("me/experts", "poems")
    with pytest.raises(InputError, match="holds 2 experts"):
        Expert.from_pretrained(files)
    with pytest.raises(InputError, match="There is no expert file at"):
        Expert.from_pretrained(files / "none.svf")


def test_one_of_several_can_be_pulled_and_stays_when_it_is_the_same(stand_in, files, tmp_path):
    push([files / "math.safetensors", files / "code.svf"], "me/experts")
    (pulled,) = pull("me/experts", tmp_path / "theirs", ["math"])
    assert pulled.is_new and pulled.file == tmp_path / "theirs" / "math.safetensors"
    (again,) = pull("me/experts", tmp_path / "theirs", ["math"])
    assert not again.is_new
    other = expert("math", 0.25).save(pulled.file)
    with pytest.raises(InputError, match="is another expert than the one on the hub"):
        pull("me/experts", tmp_path / "theirs")
    assert Expert.load(pulled.file).sha256 == other.sha256
    assert not (tmp_path / "theirs" / "code.svf").exists()  # nothing of it was written
    pull("me/experts", tmp_path / "theirs", replace=True)
    assert Expert.load(pulled.file).metrics == METRICS


# --- refusals -------------------------------------------------------------------------------------


def refused(cli, *words):
    status, said, err = cli("experts", *words)
    assert (status, said) == (2, "") and "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err
    return err


def test_a_hub_that_does_not_know_you(cli, stand_in, files, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "b" * 34)
    err = refused(cli, "push", files / "math.safetensors", "--repo", "me/experts")
    assert "does not know you (401)" in err and "hf auth login" in err
    assert stand_in.repos == {}


def test_a_hub_that_refuses_the_commit_has_nothing_of_it(cli, stand_in, files):
    stand_in.refuse_commits = 507
    err = refused(cli, "push", files / "math.safetensors", "--repo", "me/experts")
    assert "507" in err and stand_in.repos["me/experts"] == {}


def test_what_is_no_expert_is_not_sent(cli, stand_in, files):
    (files / "bad.safetensors").write_bytes(b"hello")
    err = refused(cli, "push", files / "bad.safetensors", "--repo", "me/experts")
    assert "is not a readable safetensors file" in err and stand_in.repos == {}
    err = refused(cli, "push", files / "math.safetensors", "--repo", "me/a/b")
    assert "is no name of a repository on the hub" in err


def test_repositories_that_are_not_there_or_hold_no_expert(cli, stand_in, tmp_path):
    out = tmp_path / "theirs"
    err = refused(cli, "pull", "me/none", "--experts", out)
    assert "There is no me/none on the hub, or it is private" in err
    stand_in.repos["me/empty"] = {"README.md": b"x"}
    assert "holds no expert" in refused(cli, "pull", "me/empty", "--experts", out)
    assert not out.exists()


def test_half_a_file_is_not_kept(cli, stand_in, files, tmp_path):
    push([files / "math.safetensors"], "me/experts")
    whole = stand_in.repos["me/experts"]["math.safetensors"]
    stand_in.cut["math.safetensors"] = len(whole) // 2
    err = refused(cli, "pull", "me/experts", "--experts", tmp_path / "theirs")
    assert "came only in part" in err
    stand_in.cut.clear()
    stand_in.repos["me/experts"]["math.safetensors"] = whole[: len(whole) // 2]
    err = refused(cli, "pull", "me/experts", "--experts", tmp_path / "theirs")
    assert "truncated" in err and not (tmp_path / "theirs").exists()


def test_a_damaged_second_expert_keeps_the_first_from_being_written(stand_in, files, tmp_path):
    push([files / "math.safetensors", files / "code.svf"], "me/experts")
    stand_in.repos["me/experts"]["zeros.svf"] = bytes(100)
    with pytest.raises(InputError, match="zeros.svf is not a readable"):
        pull("me/experts", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_a_hub_that_is_not_there(cli, stand_in, files, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    err = refused(cli, "pull", "me/experts", "--experts", files)
    assert "cannot be reached" in err and "check the network" in err


def test_json(cli, stand_in, files, tmp_path):
    words = ("experts", "push", files / "math.safetensors", "--repo", "me/experts", "--json")
    status, said, _ = cli(*words)
    assert status == 0 and json.loads(said)["files"] == ["math.safetensors"]
    status, said, _ = cli("experts", "pull", "me/experts", "--experts", tmp_path / "x", "--json")
    (pulled,) = json.loads(said)
    assert status == 0 and pulled["name"] == "math" and pulled["is_new"]
