"""Decomposition, which matrices a model has, the cache on disk, fingerprints."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reference import matrix
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from tiny import ARCHITECTURES, make_tiny

from t2ui.errors import InputError
from t2ui.svf import decomposition as svd
from t2ui.svf.modules import adapted_modules

ROOT = Path(__file__).resolve().parents[2]
NAME = "model.layers.0.mlp.up_proj"


@pytest.fixture(params=ARCHITECTURES)
def tiny(request):
    return request.param, request.getfixturevalue(f"tiny_{request.param}")


def factors_of(model, dtype=torch.float32):
    return {
        name: svd.decompose(svd.weight_of(module).to(dtype))
        for name, module in adapted_modules(model).items()
    }


@pytest.fixture
def weights():
    torch.manual_seed(3)
    return {NAME: torch.randn(48, 32), "model.layers.1.mlp.down_proj": torch.randn(32, 48)}


# --- decomposition -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(48, 32), (32, 48), (16, 16)])
def test_reconstruct_with_ones_is_the_weight(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    factors = svd.decompose(weight)
    rank = min(shape)
    assert (factors.U.shape, factors.S.shape) == ((shape[0], rank), (rank,))
    assert factors.Vh.shape == (rank, shape[1])
    torch.testing.assert_close(svd.reconstruct(factors, torch.ones(rank)), weight)


def test_reconstruct_scales_one_component():
    weight = torch.randn(48, 32, generator=torch.Generator().manual_seed(0))
    U, S, Vh = torch.linalg.svd(weight.double(), full_matrices=False)
    z = torch.ones(32)
    z[5] = -2.0
    expected = weight.double() - 3 * S[5] * torch.outer(U[:, 5], Vh[5])
    found = svd.reconstruct(svd.decompose(weight), z)
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=1e-4)


def test_decompose_keeps_the_dtype_of_vectors_and_float32_values():
    factors = svd.decompose(torch.randn(48, 32).bfloat16())
    assert [part.dtype for part in factors] == [torch.bfloat16, torch.float32, torch.bfloat16]


def test_captured_variance_is_the_cumulated_share():
    shares = svd.captured_variance(torch.tensor([5.0, 3.0, 2.0]))
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.8, 1.0]))
    torch.testing.assert_close(svd.captured_variance(torch.zeros(3)), torch.ones(3))


# --- names and weights --------------------------------------------------------------------------


def test_weight_is_out_by_in(tiny):
    _, model = tiny
    for module in adapted_modules(model).values():
        width = svd.weight_of(module).shape[1]
        x = torch.randn(3, width, generator=torch.Generator().manual_seed(1))
        bias = module.bias if module.bias is not None else 0
        torch.testing.assert_close(module(x), x @ svd.weight_of(module).T + bias)


def test_names_tell_layer_kind_and_leaf():
    assert svd.layer_of("model.language_model.layers.17.self_attn.q_proj") == 17
    assert svd.leaf_of("transformer.h.3.mlp.c_proj") == "c_proj"
    assert svd.kind_of("transformer.h.3.mlp.c_proj") == "mlp"
    assert svd.kind_of("transformer.h.3.attn.c_proj") == "attention"
    for other in ("model.embed_tokens", "lm_head", "model.layers.0.self_attn.q_norm", "up_proj"):
        assert svd.kind_of(other) is None
    with pytest.raises(InputError, match="lm_head"):
        svd.layer_of("lm_head")


# --- cache ---------------------------------------------------------------------------------------


def forbid_decompose(monkeypatch):
    def refuse(weight):
        raise AssertionError("decomposed again")

    monkeypatch.setattr(svd, "decompose", refuse)


def cache_file(folder) -> Path:
    (path,) = (folder / "svd").glob("*.safetensors")
    return path


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert all(torch.equal(p, q) for p, q in zip(a[name], b[name], strict=True)), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_second_call_reads_what_the_first_wrote(weights, dtype, tmp_path, monkeypatch):
    weights = {name: weight.to(dtype) for name, weight in weights.items()}
    first = svd.load_or_decompose(weights, tmp_path)
    forbid_decompose(monkeypatch)
    assert_equal(svd.load_or_decompose(weights, tmp_path), first)
    assert not list((tmp_path / "svd").glob("*.tmp"))


def test_other_weights_have_their_own_entry(weights, tmp_path):
    svd.load_or_decompose(weights, tmp_path)
    changed = {name: weight.clone() for name, weight in weights.items()}
    changed[NAME][7, 7] += 1e-3
    found = svd.load_or_decompose(changed, tmp_path)
    torch.testing.assert_close(svd.reconstruct(found[NAME], torch.ones(32)), changed[NAME])
    assert len(list((tmp_path / "svd").glob("*.safetensors"))) == 2


def test_a_transposed_view_is_read_back_as_itself(tiny_gpt2, tmp_path, monkeypatch):
    module = tiny_gpt2.transformer.h[0].mlp.c_fc
    weights = {"transformer.h.0.mlp.c_fc": svd.weight_of(module)}
    svd.load_or_decompose(weights, tmp_path)
    forbid_decompose(monkeypatch)
    (factors,) = svd.load_or_decompose(weights, tmp_path).values()
    torch.testing.assert_close(svd.reconstruct(factors, torch.ones(32)), matrix(module))


def test_progress_counts_matrices_and_is_silent_on_a_read(weights, tmp_path):
    calls = []
    svd.load_or_decompose(weights, tmp_path, lambda text, share: calls.append((text, share)))
    assert calls == [
        ("decomposing model.layers.0.mlp.up_proj", 0.0),
        ("decomposing model.layers.1.mlp.down_proj", 0.5),
    ]
    svd.load_or_decompose(weights, tmp_path, lambda *call: calls.append(call))
    assert len(calls) == 2


DAMAGES = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "header cut": lambda data: data[:5],
    "not safetensors": lambda data: b"PK" + data[2:],
    "zeroed sector": lambda data: data[:-600] + bytes(512) + data[-88:],
    "shifted": lambda data: data[:-400] + data[-399:] + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_rebuilt(weights, damage, tmp_path, monkeypatch):
    good = svd.load_or_decompose(weights, tmp_path)
    path = cache_file(tmp_path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert_equal(svd.load_or_decompose(weights, tmp_path), good)
    forbid_decompose(monkeypatch)
    assert_equal(svd.load_or_decompose(weights, tmp_path), good)  # and written anew


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_flipped_byte_inside_is_noticed(weights, dtype, tmp_path):
    weights = {name: weight.to(dtype) for name, weight in weights.items()}
    good = svd.load_or_decompose(weights, tmp_path)
    path = cache_file(tmp_path)
    data = path.read_bytes()
    written = load(data)
    header = 8 + int.from_bytes(data[:8], "little")
    for place in random.Random(0).sample(range(header, len(data)), 12):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert_equal(svd.load_or_decompose(weights, tmp_path), good)
        stored = load(path.read_bytes())
        assert all(torch.equal(stored[key], written[key]) for key in written), place


def test_a_file_of_the_right_name_without_our_tensors_is_rebuilt(weights, tmp_path):
    good = svd.load_or_decompose(weights, tmp_path)
    path = cache_file(tmp_path)
    parts = load_file(path)
    del parts[f"{NAME}.Vh"]
    save_file(parts, path, metadata={"crc32": svd._checksum(parts)})
    assert_equal(svd.load_or_decompose(weights, tmp_path), good)


@pytest.mark.parametrize("error", [OSError, SafetensorError])
def test_a_full_disk_costs_no_decomposition_and_leaves_no_file(
    weights, error, tmp_path, monkeypatch
):
    good, said = svd.load_or_decompose(weights, tmp_path / "elsewhere"), []

    def fail(*args, **kwargs):
        Path(args[1]).write_bytes(b"half")
        raise error("no space left")

    monkeypatch.setattr(svd, "save_file", fail)
    found = svd.load_or_decompose(weights, tmp_path, lambda text, _: said.append(text))
    assert_equal(found, good)
    assert [p.suffix for p in (tmp_path / "svd").iterdir()] in ([], [".lock"])
    assert len(said) == len(weights) + 1  # decomposed once
    assert "not kept" in said[-1] and "no space left" in said[-1] and str(tmp_path) in said[-1]


@pytest.mark.parametrize("error", [PermissionError("not allowed"), NotImplementedError("no locks")])
def test_a_folder_that_cannot_be_locked_is_done_without(weights, error, tmp_path, monkeypatch):
    good = svd.load_or_decompose(weights, tmp_path)

    def fail(*args):
        raise error

    monkeypatch.setattr(svd, "FileLock", fail)
    assert_equal(svd.load_or_decompose(weights, tmp_path / "other"), good)
    forbid_decompose(monkeypatch)
    assert_equal(svd.load_or_decompose(weights, tmp_path), good)  # reading needs no lock


def test_a_folder_that_cannot_be_made_is_done_without(weights, tmp_path):
    (tmp_path / "file").touch()
    found = svd.load_or_decompose(weights, tmp_path / "file")
    assert_equal(found, svd.load_or_decompose(weights, tmp_path))


OTHER_PROCESS = """
import sys, torch
from pathlib import Path
from t2ui.svf import decomposition as svd
from test_svd_weights import weights
print("ready", flush=True)
sys.stdin.readline()
calls = []
factors = svd.load_or_decompose(weights(), Path(sys.argv[1]), lambda *call: calls.append(call))
print(len(calls), svd.fingerprint(factors), flush=True)
"""
WEIGHTS = """
import torch
torch.set_num_threads(1)
def weights():
    random = torch.Generator().manual_seed(0)
    names = [f"model.layers.{i}.mlp.up_proj" for i in range(12)]
    return {name: torch.randn(256, 192, generator=random) for name in names}
"""


def test_two_processes_at_once_decompose_once(tmp_path):
    (tmp_path / "test_svd_weights.py").write_text(WEIGHTS)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        )
        for _ in range(2)
    ]
    try:
        assert [p.stdout.readline() for p in processes] == ["ready\n"] * 2
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=100)[0].split() for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert sorted(count for count, _ in answers) == ["0", "12"]
    assert answers[0][1] == answers[1][1]


# --- fingerprints --------------------------------------------------------------------------------


def test_fingerprint_survives_a_change_of_dtype(tiny):
    _, model = tiny
    original = svd.fingerprint(factors_of(model))
    for dtype in (torch.bfloat16, torch.float16):
        assert svd.same_model(original, svd.fingerprint(factors_of(model, dtype)))


def test_fingerprint_differs_for_other_weights_of_the_same_shapes():
    ours, theirs = (svd.fingerprint(factors_of(make_tiny("llama", seed))) for seed in (0, 1))
    assert not svd.same_model(ours, theirs)
    assert svd.same_shapes(ours, theirs)


def test_fingerprint_differs_after_a_little_training():
    """1 % on each matrix: a fine-tuned model is another model."""
    model = make_tiny("llama")
    original = svd.fingerprint(factors_of(model))
    for module in adapted_modules(model).values():
        module.weight.data.mul_(1.01)
    assert not svd.same_model(original, svd.fingerprint(factors_of(model)))


def test_fingerprint_knows_names_and_shapes(tiny_llama):
    factors = factors_of(tiny_llama)
    original = svd.fingerprint(factors)
    renamed = {name.replace("layers.1", "layers.2"): f for name, f in factors.items()}
    assert not svd.same_shapes(original, svd.fingerprint(renamed))
    assert not svd.same_model(original, svd.fingerprint(renamed))
    wider = {**factors, NAME: svd.decompose(torch.randn(64, 32))}
    assert not svd.same_shapes(original, svd.fingerprint(wider))


@pytest.mark.parametrize("odd", ["", "no colon", "{}:", "{}:1,x", "{}:1", "{}:" + "1," * 9 + "1"])
def test_a_fingerprint_of_another_form_is_of_no_model(weights, odd):
    ours = svd.fingerprint({name: svd.decompose(weight) for name, weight in weights.items()})
    other = odd.format(ours.split(":")[0])
    assert not svd.same_model(ours, other) and not svd.same_model(other, ours)


def test_fingerprint_of_one_matrix_and_whatever_order(weights):
    factors = {name: svd.decompose(weight) for name, weight in weights.items()}
    backwards = dict(reversed(factors.items()))
    assert svd.fingerprint(factors) == svd.fingerprint(backwards)
    alone = svd.fingerprint({NAME: factors[NAME]})
    assert svd.same_model(alone, alone)
    assert not svd.same_shapes(alone, svd.fingerprint(factors))
