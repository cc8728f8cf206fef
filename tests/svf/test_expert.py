"""Expert files: what is written is read back, and what is damaged or mislabelled is refused."""

import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from t2ui.errors import InputError
from t2ui.svf.expert import Expert, load_svf, tensors_sha256

UP, Q = "model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj"


def make_expert(**details) -> Expert:
    random = torch.Generator().manual_seed(4)
    scales = {UP: 1 + torch.randn(32, generator=random), Q: 1 + torch.randn(24, generator=random)}
    return Expert(**{"name": "math", "scales": scales, **details})


@pytest.fixture
def expert() -> Expert:
    return make_expert(
        base_model="tiny-llama",
        fingerprint="0123456789ab:1,2,3",
        description="Counts apples — in UTF-8: ∑",
        task="gsm8k",
        labels=("math", "arithmetic"),
        objective="closed answers",
        training={"steps": 3, "learning_rate": 5e-3},
        metrics=[{"set": "test", "n": 10, "base": 0.1, "expert": 0.5, "interval": [0.2, 0.8]}],
        license="Apache-2.0",
    )


def tampered(path, tensors=None, **metadata) -> None:
    """Write the file again with other tensors or metadata, and a hash that fits."""
    with safe_open(path, framework="pt") as file:
        old = file.metadata()
        stored = {key: file.get_tensor(key).clone() for key in file.keys()}
    stored = tensors if tensors is not None else stored
    new = {**old, "sha256": tensors_sha256(stored), **metadata}
    save_file(stored, path, metadata={k: v for k, v in new.items() if v is not None})


# --- round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".svf"])
def test_float32_round_trip_is_exact(expert, suffix, tmp_path):
    path = tmp_path / f"math{suffix}"
    saved = expert.save(path)
    for found in (Expert.load(path), load_svf(str(path)), saved):
        assert found.scales.keys() == expert.scales.keys()
        for name, z in expert.scales.items():
            assert found.scales[name].dtype == torch.float32
            assert torch.equal(found.scales[name], z)
        for field in ("name", "base_model", "fingerprint", "description", "task", "labels"):
            assert getattr(found, field) == getattr(expert, field)
        for field in ("objective", "training", "metrics", "license", "sha256"):
            assert getattr(found, field) == getattr(expert, field)
        assert found.created == saved.created != ""


def test_int8_round_trip_is_within_half_a_step(expert, tmp_path):
    saved = expert.save(tmp_path / "math.svf", compact=True)
    found = Expert.load(tmp_path / "math.svf")
    for name, z in expert.scales.items():
        largest = (z - 1).abs().max()
        error = (found.scales[name] - z).abs()
        assert error.max() <= largest / 127 / 2 * 1.001
        assert error.max() > 0  # it was rounded indeed
        assert error[(z - 1).abs().argmax()] <= 1e-6 * largest
        assert torch.equal(saved.scales[name], found.scales[name])  # save says what was stored
    assert saved.sha256 == found.sha256 != expert.sha256


def test_int8_stores_a_byte_a_scale(tmp_path):
    random = torch.Generator().manual_seed(0)
    names = [f"model.layers.{i}.mlp.up_proj" for i in range(10)]
    scales = {name: 1 + 0.1 * torch.randn(4096, generator=random) for name in names}
    Expert("large", scales).save(tmp_path / "large.svf", compact=True)
    assert (tmp_path / "large.svf").stat().st_size < 10 * 4096 + 4096


def test_int8_of_an_expert_that_changes_nothing_in_one_matrix(tmp_path):
    expert = Expert("half", {UP: torch.ones(32), Q: 1 + torch.arange(24.0) / 23})
    expert.save(tmp_path / "half.svf", compact=True)
    found = Expert.load(tmp_path / "half.svf").scales
    assert torch.equal(found[UP], torch.ones(32))
    assert (found[Q] - expert.scales[Q]).abs().max() <= 1 / 254 + 1e-6


def test_compacting_twice_changes_nothing_more(expert, tmp_path):
    once = expert.save(tmp_path / "once.svf", compact=True)
    twice = once.save(tmp_path / "twice.svf", compact=True)
    for name in once.scales:
        torch.testing.assert_close(twice.scales[name], once.scales[name], atol=1e-6, rtol=0)


def test_other_float_dtypes_become_float32():
    expert = Expert("half", {UP: torch.ones(32, dtype=torch.bfloat16) * 1.5})
    assert expert.scales[UP].dtype == torch.float32
    assert torch.equal(expert.scales[UP], torch.full((32,), 1.5))


def test_matrices_that_share_one_tensor_are_saved(tmp_path):
    shared = torch.ones(32) * 1.25
    Expert("shared", {UP: shared, "model.layers.1.mlp.up_proj": shared}).save(tmp_path / "s.svf")
    assert all(torch.equal(z, shared) for z in Expert.load(tmp_path / "s.svf").scales.values())


def test_parameters_and_kind(expert):
    assert expert.parameters == 32 + 24
    assert not expert.is_dispatcher
    assert make_expert(objective="dispatch").is_dispatcher


def test_sha256_tells_experts_apart_and_ignores_the_name(expert):
    other = {**expert.scales, Q: expert.scales[Q].clone()}
    assert make_expert(name="other", scales=other).sha256 == expert.sha256
    other[Q][3] += 1e-6
    assert make_expert(scales=other).sha256 != expert.sha256
    renamed = {UP: expert.scales[UP], Q.replace("1", "0"): expert.scales[Q]}
    assert make_expert(scales=renamed).sha256 != expert.sha256


def test_an_expert_is_not_changed_by_what_happens_to_its_source(expert, tmp_path):
    z = torch.ones(32)
    mine = Expert("mine", {UP: z})
    z.zero_()
    assert torch.equal(mine.scales[UP], torch.ones(32))
    expert.save(tmp_path / "math.svf")
    loaded = Expert.load(tmp_path / "math.svf")
    with open(tmp_path / "math.svf", "r+b") as file:  # in place, as `cp` does
        file.write(bytes((tmp_path / "math.svf").stat().st_size))
    assert all(torch.equal(loaded.scales[n], z) for n, z in expert.scales.items())


# --- writing -------------------------------------------------------------------------------------


def test_another_suffix_is_refused_before_anything_is_written(expert, tmp_path):
    with pytest.raises(InputError, match=r"math\.pt must end in \.safetensors or \.svf"):
        expert.save(tmp_path / "math.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["write", "rename"])
def test_a_failed_save_keeps_the_old_file_and_leaves_no_other(expert, step, tmp_path, monkeypatch):
    path = tmp_path / "math.svf"
    expert.save(path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        if step == "write":
            args[1].write_bytes(b"half a file")
        raise OSError("no space left on device")

    if step == "write":
        monkeypatch.setattr("t2ui.svf.expert.save_file", fail)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        make_expert(name="other").save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_never_seen_half_written(expert, tmp_path, monkeypatch):
    """What is under the final name came there by one rename of a complete file."""
    path = tmp_path / "math.svf"
    renames = []
    rename = os.replace

    def watched(source, target):
        with safe_open(source, framework="pt") as file:
            renames.append((file.metadata()["name"], sorted(file.keys()), target))
        rename(source, target)

    monkeypatch.setattr(os, "replace", watched)
    expert.save(path)
    assert renames == [("math", sorted(expert.scales), path)]


# --- reading what is wrong -----------------------------------------------------------------------


@pytest.fixture
def path(expert, tmp_path):
    expert.save(tmp_path / "math.svf")
    return tmp_path / "math.svf"


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="There is no expert file at .*nothing.svf"):
        Expert.load(tmp_path / "nothing.svf")
    with pytest.raises(InputError, match="There is no expert file"):
        Expert.load(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="math.svf is not a readable safetensors file"):
        Expert.load(path)


def test_not_safetensors(path):
    torch.save({UP: torch.ones(32)}, path)
    with pytest.raises(InputError, match="math.svf is not a readable safetensors file"):
        Expert.load(path)


def test_a_flipped_bit_in_a_tensor(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="math.svf is damaged: its tensors hash to"):
        Expert.load(path)


def test_a_file_without_a_hash(path):
    tampered(path, sha256=None)
    with pytest.raises(InputError, match="is damaged"):
        Expert.load(path)


@pytest.mark.parametrize("label", ["pt", None, "t2ui.SVF"])
def test_mislabelled_format(path, label):
    tampered(path, format=label)
    with pytest.raises(InputError, match="an expert says 't2ui.svf'"):
        Expert.load(path)


def test_no_metadata_at_all(tmp_path):
    save_file({UP: torch.ones(32)}, tmp_path / "plain.safetensors")
    with pytest.raises(InputError, match="says format None"):
        Expert.load(tmp_path / "plain.safetensors")


def test_a_newer_version(path):
    tampered(path, version="2")
    with pytest.raises(InputError, match="version '2'; this t2ui reads '1': update"):
        Expert.load(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_scales_that_are_not_finite(path, bad):
    z = torch.ones(32)
    z[[3, 9]] = bad
    tampered(path, tensors={UP: z})
    with pytest.raises(InputError, match="up_proj: 2 of 32 scales are NaN or infinite"):
        Expert.load(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lm_head": torch.ones(8)}, "'lm_head'; expected names of attention or MLP"),
        ({"model.layers.0.mlp.up_proj.weight": torch.ones(8)}, "expected names of attention"),
        ({UP: torch.ones(4, 8)}, r"got torch.float32 of shape \(4, 8\)"),
        ({UP: torch.ones(8, dtype=torch.int32)}, "got torch.int32"),
        ({UP: torch.ones(8, dtype=torch.int8)}, "got torch.int8"),
        ({UP: torch.ones(8, dtype=torch.complex64)}, "got torch.complex64"),
        ({UP: torch.ones(8).to(torch.float8_e4m3fn)}, "got torch.float8_e4m3fn"),
        ({UP: torch.ones(0)}, r"got torch.float32 of shape \(0,\)"),
        ({UP: torch.full((8,), 1e300, dtype=torch.float64)}, "8 of 8 scales are NaN or infinite"),
        ({}, "has no scale vectors"),
    ],
)
def test_tensors_that_are_no_scales(path, tensors, message):
    tampered(path, tensors=tensors)
    with pytest.raises(InputError, match=message):
        Expert.load(path)


@pytest.mark.parametrize(
    "tensors",
    [
        {UP: torch.ones(8).to(torch.int8), "int8.scales": torch.ones(2)},
        {UP: torch.ones(8), "int8.scales": torch.ones(1)},
    ],
)
def test_int8_files_that_do_not_add_up(path, tensors):
    tampered(path, tensors=tensors)
    with pytest.raises(InputError, match="int8 matrices; the file is damaged"):
        Expert.load(path)


def test_int8_steps_of_nan(path):
    steps = torch.tensor([float("nan")])
    tampered(path, tensors={UP: torch.ones(8).to(torch.int8), "int8.scales": steps})
    with pytest.raises(InputError, match="8 of 8 scales are NaN"):
        Expert.load(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", "math"),
        ("labels", '"math"'),
        ("labels", "[1, 2]"),
        ("labels", '{"math": 1}'),
        ("training", "[]"),
        ("training", "{"),
        ("metrics", '["good"]'),
        ("metrics", "null"),
        ("labels", "[" * 100_000),  # each of these four raises something of its own in the parser
        ("training", '{"a":' * 5_000),
        ("metrics", "[1" + "0" * 5_000 + "]"),
        ("training", '{"a": ' + "[" * 900 + "]" * 900 + "}"),  # parses, and cannot be pickled
    ],
)
def test_metadata_of_the_wrong_kind(path, key, value):
    tampered(path, **{key: value})
    with pytest.raises(InputError, match=f"math.svf: its {key} are"):
        Expert.load(path)


@pytest.mark.parametrize("value", ["0123456789ab", "0123456789ab:", "0123456789ab:1,x", ":1,,2"])
def test_a_fingerprint_of_another_form(path, value):
    tampered(path, fingerprint=value)
    with pytest.raises(InputError, match=f"has the fingerprint '{value}'; expected a digest"):
        Expert.load(path)


def test_optional_metadata_may_be_missing(path):
    keep = ("format", "version", "sha256")
    with safe_open(path, framework="pt") as file:
        gone = {key: None for key in file.metadata() if key not in keep}
    tampered(path, **gone)
    found = Expert.load(path)
    assert (found.name, found.labels, found.training) == ("math", (), {})


def test_metadata_is_strings_and_json(path, expert):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "t2ui.svf"
    assert json.loads(metadata["labels"]) == ["math", "arithmetic"]
    assert json.loads(metadata["metrics"]) == expert.metrics
    assert metadata["sha256"] == expert.sha256


@pytest.mark.parametrize("name", ["", "  "])
def test_an_expert_needs_a_name(name):
    with pytest.raises(InputError, match="needs a name"):
        make_expert(name=name)


# --- half characters -----------------------------------------------------------------------------

HALF = "a\ud83d"


@pytest.mark.parametrize(
    "details",
    [
        {"name": HALF},
        {"labels": ("math", HALF)},
        {"description": HALF},
        {"training": {"command": [HALF]}},
        {"metrics": [{"set": HALF}]},
        {"scales": {f"{HALF}.layers.0.mlp.up_proj": torch.ones(3)}},
    ],
)
def test_half_a_character_is_one_clear_line(details):
    given = {"name": "math", "scales": {"model.layers.0.mlp.up_proj": torch.ones(3)}, **details}
    with pytest.raises(InputError, match=r"Half a character \(U\+D83D\) in the") as caught:
        Expert(**given)
    str(caught.value).encode()  # the message itself can be printed


def test_half_a_character_in_a_file_is_one_clear_line(tmp_path):
    path = tmp_path / "math.safetensors"
    Expert("math", {"model.layers.0.mlp.up_proj": torch.ones(3)}, labels=("math",)).save(path)
    data = path.read_bytes()
    said = rb'"[\"math\"]"'
    assert said in data
    path.write_bytes(data.replace(said, rb'"[\"\\ud83d\"]"'.ljust(len(said))))
    size = int.from_bytes(data[:8], "little")
    grown = path.read_bytes()
    size += len(grown) - len(data)
    path.write_bytes(size.to_bytes(8, "little") + grown[8:])
    with pytest.raises(
        InputError, match=r"Half a character \(U\+D83D\) in the labels of expert 'math'"
    ):
        Expert.load(path)
