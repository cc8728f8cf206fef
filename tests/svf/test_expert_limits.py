"""Expert files that are too large, or that no page could show: one clear line each."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from t2ui.errors import MOST_QUOTED, InputError, quoted
from t2ui.svf import expert_limits
from t2ui.svf.expert import Expert, tensors_sha256
from t2ui.svf.library import load_library

SCALES = {"model.layers.0.mlp.up_proj": torch.full((4,), 1.5)}
BIDI = "\u202e"  # turns the text after it round


def write(path, scales=SCALES, **metadata):
    """An expert file as another program might write it, without this project's checks."""
    said = {"format": "t2ui.svf", "version": "1", "name": path.stem, **metadata}
    save_file(scales, path, metadata={**said, "sha256": tensors_sha256(scales)})
    return path


def refusal(path) -> str:
    with pytest.raises(InputError) as refused:
        Expert.load(path)
    message = str(refused.value)
    message.encode()  # it can be printed and sent
    assert "\n" not in message and len(message) < 3 * MOST_QUOTED
    return message


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"labels": json.dumps(["math", "a\ud83d"])}, "Half a character (U+D83D)"),
        ({"training": json.dumps({"note": "\udc00"})}, "Half a character (U+DC00)"),
        ({"metrics": json.dumps([{"set": "\udc00"}])}, "Half a character (U+DC00)"),
        ({"labels": json.dumps(["two\nlines"])}, "U+000A"),
        ({"name": f"math{BIDI}"}, "U+202E"),
        ({"name": "m" * 101}, "101 characters; at most 100"),
        ({"labels": json.dumps(["m" * 101])}, "101 characters; at most 100"),
        ({"labels": json.dumps([f"label {n}" for n in range(65)])}, "65 labels; at most 64"),
        ({"description": "d" * 4_001}, "4,001 characters; at most 4,000"),
        ({"training": json.dumps({"log": "x" * 300_000})}, "at most 200,000"),
        ({"metrics": json.dumps({"set": "x" * 1_000})}, "expected a JSON list"),
        ({"anything": "x" * 200_001}, "at most 200,000"),
    ],
)
def test_a_text_that_no_page_can_show_is_one_clear_line(tmp_path, metadata, says):
    assert says in refusal(write(tmp_path / "math.safetensors", **metadata))


def test_too_many_tensors_and_too_large_a_file_are_refused_before_they_are_read(
    tmp_path, monkeypatch
):
    many = {f"model.layers.{n}.mlp.up_proj": torch.ones(1) for n in range(11)}
    path = write(tmp_path / "many.safetensors", many)
    assert Expert.load(path).parameters == 11
    monkeypatch.setattr(expert_limits, "MOST_TENSORS", 10)
    assert "11 tensors; an expert has at most 10" in refusal(path)
    monkeypatch.setattr(expert_limits, "MOST_BYTES", 100)
    assert "at most 100" in refusal(path)


def test_a_long_name_of_a_tensor_is_refused(tmp_path):
    long = {f"{'x' * 300}.layers.0.mlp.up_proj": torch.ones(2)}
    assert "the name of a tensor" in refusal(write(tmp_path / "long.safetensors", long))


def test_what_is_refused_in_a_file_cannot_be_saved_either():
    for details in ({"name": "m" * 101}, {"description": "d" * 4_001}, {"labels": ["\ud800"]}):
        with pytest.raises(InputError):
            Expert(**{"name": "math", "scales": SCALES, **details})


def test_a_file_name_that_is_no_text_is_a_problem_and_the_others_load(tmp_path):
    write(tmp_path / "math.safetensors")
    odd = os.fsencode(tmp_path) + b"/\xff\xfe odd.safetensors"
    try:
        os.rename(write(tmp_path / "odd.safetensors"), odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    library = load_library(tmp_path)
    assert list(library.experts) == ["math"]
    ((name, why),) = library.problems
    assert name == "\ufffd\ufffd odd.safetensors" and "not UTF-8" in why and why.encode()


def test_names_in_any_script_and_emoji_are_names(tmp_path):
    for name in ("größer", "数学", "علوم", "🧮 sums"):
        path = tmp_path / "expert.safetensors"
        Expert(name, SCALES, labels=(name,)).save(path)
        assert Expert.load(path).labels == (name,)


@pytest.mark.parametrize(
    "value", ["x" * 10**6, ["y" * 10**6], {"z" * 10**6: 1}, list(range(10**5)), "\ud800" * 500]
)
def test_what_is_quoted_is_cut_and_can_be_printed(value):
    text = quoted(value)
    assert len(text) <= MOST_QUOTED and text.encode()
    assert quoted("short") == "'short'" and quoted(3) == "3"
