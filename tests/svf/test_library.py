"""A folder of experts: what is wrong is reported, the rest loads."""

import shutil

import pytest
import torch
from reference import matrix_names, random_scales

from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.library import Library, labels_of, load_library

UP = "model.layers.0.mlp.up_proj"


def make(name: str, **details) -> Expert:
    return Expert(name, {UP: torch.full((32,), 1.5)}, **details)


def test_a_folder_that_does_not_exist_is_an_empty_library(tmp_path):
    found = load_library(tmp_path / "nothing")
    assert (found.experts, found.files, found.problems) == ({}, {}, ())
    assert found.labels == ("others",)
    assert found.dispatcher is None


def test_experts_load_by_their_own_names(tmp_path):
    make("maths of all kinds").save(tmp_path / "a.safetensors")
    make("code").save(tmp_path / "b.svf", compact=True)
    found = load_library(str(tmp_path))
    assert list(found.experts) == ["maths of all kinds", "code"]
    assert found.files["code"] == tmp_path / "b.svf"
    assert torch.equal(found.experts["code"].scales[UP], torch.full((32,), 1.5))
    assert found.problems == ()


def test_bad_files_are_reported_and_the_others_load(tmp_path):
    make("good").save(tmp_path / "good.svf")
    make("late").save(tmp_path / "zz.svf")
    data = (tmp_path / "good.svf").read_bytes()
    (tmp_path / "cut.svf").write_bytes(data[:-7])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "flipped.svf").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (tmp_path / "folder.svf").mkdir()
    found = load_library(tmp_path)
    assert set(found.experts) == {"good", "late"}
    reasons = dict(found.problems)
    assert set(reasons) == {"cut.svf", "empty.safetensors", "flipped.svf", "folder.svf"}
    assert "not a readable safetensors file" in reasons["cut.svf"]
    assert "damaged" in reasons["flipped.svf"]
    assert all("\n" not in reason for reason in reasons.values())


def test_other_files_are_not_experts(tmp_path):
    make("math").save(tmp_path / "math.svf")
    shutil.copy(tmp_path / "math.svf", tmp_path / ".math.svf.123.tmp")
    shutil.copy(tmp_path / "math.svf", tmp_path / ".hidden.svf")
    (tmp_path / "README.md").write_text("card")
    (tmp_path / "below").mkdir()
    make("below").save(tmp_path / "below" / "below.svf")
    found = load_library(tmp_path)
    assert set(found.experts) == {"math"}
    assert found.problems == ()


def test_two_files_of_one_name(tmp_path):
    make("math", description="first").save(tmp_path / "a.svf")
    make("math", description="second").save(tmp_path / "b.svf")
    found = load_library(tmp_path)
    assert found.experts["math"].description == "first"
    assert found.problems == (
        ("b.svf", "b.svf holds an expert named 'math', as a.svf does: rename one of them."),
    )


def test_labels_come_from_the_experts_with_others_last():
    experts = {
        "a": make("a", labels=("others", "math")),
        "b": make("b"),
        "c": make("c", labels=("math", "logic")),
    }
    assert labels_of(experts) == ("math", "b", "logic", "others")
    assert Library(experts).labels == ("math", "b", "logic", "others")


def test_a_dispatcher_adds_the_labels_it_knows_but_not_its_name():
    experts = {
        "dispatch": make("dispatch", objective="dispatch", labels=("math", "code", "others")),
        "bare": make("bare", objective="dispatch"),
        "poetry": make("poetry"),
    }
    assert labels_of(experts) == ("math", "code", "poetry", "others")


def test_a_folded_mixture_adds_no_label_unless_it_carries_one():
    folded = {"folded_from": {"math": {"alpha": 0.5}}}
    experts = {
        "math": make("math"),
        "for-my-exam": make("for-my-exam", training=folded),
        "logic": make("logic", training=folded, labels=("puzzles",)),
    }
    assert labels_of(experts) == ("math", "puzzles", "others")


def test_dispatchers_do_not_answer():
    library = Library(
        {name: make(name, objective="dispatch") for name in ("z", "y")} | {"math": make("math")}
    )
    assert set(library.answering) == {"math"}
    assert library.dispatcher.name == "y"


@pytest.mark.parametrize("kind", ["other shape", "other name"])
def test_experts_that_do_not_fit_the_model_become_problems(kind, tmp_path, tiny_llama):
    names = matrix_names("llama")
    fitting = random_scales(tiny_llama, names, seed=1)
    if kind == "other shape":
        wrong = {**fitting, UP: torch.ones(99)}
    else:
        wrong = {**fitting, "model.layers.7.mlp.up_proj": torch.ones(32)}
    Expert("fits", fitting).save(tmp_path / "fits.svf")
    Expert("wrong", wrong, base_model="big-llama").save(tmp_path / "wrong.svf")
    (tmp_path / "bad.svf").write_bytes(b"bad")
    with adapt(tiny_llama) as adapter:
        found = load_library(tmp_path).fitting(adapter)
    assert set(found.experts) == set(found.files) == {"fits"}
    assert [name for name, _ in found.problems] == ["bad.svf", "wrong.svf"]
    assert "for big-llama and does not fit" in found.problems[1][1]


def test_experts_of_other_weights_still_fit(tmp_path, tiny_llama):
    """Whether a transfer is wanted is asked where the expert is used."""
    scales = random_scales(tiny_llama, matrix_names("llama"), seed=1)
    with adapt(tiny_llama) as adapter:
        shapes = adapter.fingerprint.split(":")[0]
        numbers = ",".join(["123.4"] * 8)
        foreign = Expert("foreign", scales, fingerprint=f"{shapes}:{numbers}")
        found = Library({"foreign": foreign}, {"foreign": tmp_path / "f.svf"}).fitting(adapter)
        assert adapter.is_transfer(foreign)
        strict = Library({"foreign": foreign}, found.files).fitting(adapter, allow_transfer=False)
    assert set(found.experts) == {"foreign"}
    assert found.problems == ()
    assert strict.experts == {} and strict.problems[0][0] == "f.svf"
    assert "allow_transfer" in strict.problems[0][1]
