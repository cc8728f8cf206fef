"""`save_merged` and `t2ui export merged`: what transformers reads back answers as the mixture."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reference import logits, prompt_ids, random_scales, rewritten
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import ARCHITECTURES, make_tiny, make_tokenizer, saved
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

from t2ui import Expert, InputError, Mixture, adapt, save_merged
from t2ui.exchange import tensor_files
from t2ui.models.loading import load_model

IDS = prompt_ids(12)


def made_for(model, name="math", seed=0, spread=0.3):
    """An expert with random scales for a model."""
    with adapt(model) as adapter:
        scales = random_scales(model, adapter.names, seed, spread)
        fingerprint = adapter.fingerprint_of(scales)
    return Expert(name, scales, base_model="tiny", fingerprint=fingerprint)


def scaled(expert, alpha):
    return {name: 1 + alpha * (z - 1) for name, z in expert.scales.items()}


def read_back(folder, architecture="llama", **options):
    """The model as transformers loads it, with nothing missing and nothing left over."""
    auto = AutoModelForImageTextToText if architecture == "llava" else AutoModelForCausalLM
    model, report = auto.from_pretrained(folder, output_loading_info=True, **options)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    return model.eval()


@pytest.fixture(scope="module")
def llama():
    return make_tiny("llama")


@pytest.fixture(scope="module")
def folder(llama, tmp_path_factory):
    return saved(llama, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def experts(llama):
    return {name: made_for(llama, name, seed) for seed, name in enumerate(("math", "code"))}


# --- read back with transformers ------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", ["files", "memory"])
def test_transformers_reads_the_mixture(architecture, source, tmp_path):
    model = make_tiny(architecture)
    expert = made_for(model)
    base = saved(model, tmp_path / "base") if source == "files" else model
    written = save_merged(
        base, {"math": expert}, {"math": 0.7}, tmp_path / "out", shard_size="20KB"
    )
    assert len(written.files) > 1 and written.changed == len(expert.scales)
    expected = logits(rewritten(model, scaled(expert, 0.7)), IDS)
    found = logits(read_back(tmp_path / "out", architecture), IDS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4)
    apart = (expected - logits(model, IDS)).abs().max()
    assert apart > 0.1  # or the test shows nothing


def test_a_mixture_per_layer_of_two_experts(llama, folder, experts, tmp_path):
    mixture = Mixture({"math": (0.9, -0.4), "code": (0.2, 1.1)}, normalise=True)
    save_merged(folder, experts, mixture, tmp_path / "out")
    z = {}
    for name in experts["math"].scales:
        layer = int(name.split(".")[2])
        a, b = ((0.9, -0.4)[layer], (0.2, 1.1)[layer])
        parts = (experts["math"].scales[name] - 1, experts["code"].scales[name] - 1)
        z[name] = 1 + (a * parts[0] + b * parts[1]) / (a + b)
    found = logits(read_back(tmp_path / "out"), IDS)
    torch.testing.assert_close(found, logits(rewritten(llama, z), IDS), rtol=1e-4, atol=2e-4)


def test_the_shards_are_those_that_transformers_would_write(llama, folder, experts, tmp_path):
    written = save_merged(folder, experts, {"math": 1}, tmp_path / "out", shard_size="30KB")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    files = sorted({*index["weight_map"].values()})
    assert list(written.files) == files and len(files) > 2
    for file in files:
        with safe_open(tmp_path / "out" / file, framework="pt") as opened:
            assert opened.metadata() == {"format": "pt"}
            assert {n for n, f in index["weight_map"].items() if f == file} == {*opened.keys()}
        biggest = max(t.nbytes for t in load_file(tmp_path / "out" / file).values())
        assert (tmp_path / "out" / file).stat().st_size < max(30_000, biggest) + 4_000
    count = sum(p.numel() for p in llama.parameters())
    assert index["metadata"] == {"total_parameters": count, "total_size": 4 * count}


def test_what_no_expert_changes_keeps_its_bytes(folder, experts, tmp_path):
    z = {n: s for n, s in experts["math"].scales.items() if ".0.mlp" in n}
    z["model.layers.1.mlp.up_proj"] = torch.ones(32)
    part = Expert("part", z)
    written = save_merged(folder, {"part": part}, {"part": 1}, tmp_path / "out")
    before = load_file(folder / "model.safetensors")
    after = load_file(tmp_path / "out" / "model.safetensors")
    changed = {n.removesuffix(".weight") for n in before if not torch.equal(before[n], after[n])}
    assert changed == {n for n in z if ".0.mlp" in n} and written.changed == len(changed)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_base_models_dtype_is_kept_and_sums_are_float32(dtype, experts, tmp_path):
    model = make_tiny("llama").to(dtype)
    base = saved(model, tmp_path / "base")
    expert = made_for(model.float())
    written = save_merged(base, {"math": expert}, {"math": 1}, tmp_path / "out")
    loaded = read_back(tmp_path / "out", dtype="auto")
    assert loaded.dtype == dtype and written.dtype == str(dtype).removeprefix("torch.")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == written.dtype
    exact = rewritten(model.float(), expert.scales)
    largest = lost = change = 0.0
    for name in expert.scales:
        summed = exact.get_submodule(name).weight
        found = loaded.get_submodule(name).weight
        apart = (found.float() - summed).abs()
        # rounded once: within half a unit in the last place, and a little for another SVD
        assert bool((apart <= torch.finfo(dtype).eps / 2 * summed.abs() * 1.01 + 1e-5).all())
        largest = max(largest, float(apart.max()))
        lost += float(apart.square().sum())
        change += float((summed - model.get_submodule(name).weight.float()).square().sum())
    assert written.rounding == pytest.approx(largest, rel=0.05)
    assert written.rounding_share == pytest.approx((lost / change) ** 0.5, rel=0.05)


def test_another_dtype_may_be_asked_for(folder, experts, tmp_path):
    save_merged(folder, experts, {"math": 1}, tmp_path / "out", dtype="bfloat16")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}


def test_load_model_takes_the_folder_with_its_tokenizer(folder, experts, tmp_path):
    save_merged(folder, experts, {"math": 1}, tmp_path / "out")
    loaded, tokenizer = load_model(tmp_path / "out")
    assert tokenizer.chat_template == make_tokenizer().chat_template
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("Ab")["input_ids"]
    assert loaded.generation_config.eos_token_id[0] == make_tiny("llama").config.eos_token_id


def test_files_of_a_bare_backbone_are_taken(tmp_path):
    """As GPT-2's are on the hub: names without the model's own first part."""
    model = make_tiny("gpt2")
    expert = made_for(model)
    base = saved(model, tmp_path / "base")
    state = load_file(base / "model.safetensors")
    bare = {name.removeprefix("transformer."): t.clone() for name, t in state.items()}
    infos = [tensor_files.TensorInfo(n, tuple(t.shape), t.dtype) for n, t in bare.items()]
    tensor_files.write_file(base / "model.safetensors", infos, bare.__getitem__)
    save_merged(base, {"math": expert}, {"math": 1}, tmp_path / "out")
    found = logits(read_back(tmp_path / "out"), IDS)
    torch.testing.assert_close(
        found, logits(rewritten(model, expert.scales), IDS), rtol=1e-4, atol=2e-4
    )


def test_the_model_in_memory_stays_as_it_was(llama, experts, tmp_path):
    before = {name: tensor.clone() for name, tensor in llama.state_dict().items()}
    save_merged(llama, experts, {"math": 1}, tmp_path / "out", tokenizer=make_tokenizer())
    assert all(torch.equal(tensor, before[name]) for name, tensor in llama.state_dict().items())
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_the_adapter_gives_the_same_weights_one_at_a_time(llama, experts):
    z = experts["math"].scales
    expected = rewritten(llama, z)
    with adapt(llama) as adapter:
        given = dict(adapter.merged_weights(z))
        assert dict(adapter.merged_weights()) == {}  # nothing is set
        with adapter.applied(z):
            current = dict(adapter.merged_weights())
        with adapter.rows([z, None]), pytest.raises(InputError, match="Every row has its own"):
            next(adapter.merged_weights())
        with pytest.raises(InputError, match="is not an adapted matrix"):
            next(adapter.merged_weights({"model.norm": torch.ones(32)}))
    assert given.keys() == {f"{name}.weight" for name in z}
    for name, weight in given.items():
        torch.testing.assert_close(weight, expected.state_dict()[name], rtol=1e-4, atol=1e-5)
        assert torch.equal(weight, current[name])


def test_conv1d_weights_come_as_they_are_stored(tiny_gpt2):
    z = {"transformer.h.0.mlp.c_fc": torch.linspace(0.5, 2, 32)}
    with adapt(tiny_gpt2) as adapter:
        ((name, weight),) = adapter.merged_weights(z)
    assert name == "transformer.h.0.mlp.c_fc.weight" and weight.shape == (32, 48)
    expected = rewritten(tiny_gpt2, z).state_dict()[name]
    torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-5)


PEAK = """
import resource, sys
from pathlib import Path
from t2ui import Expert, save_merged

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

work = Path(sys.argv[1])
expert = Expert.load(work / "math.safetensors")
small = Expert.load(work / "small.safetensors")
save_merged(work / "small", {"e": small}, {"e": 1}, work / "warm")  # imports, threads, buffers
before = peak()
save_merged(work / "base", {"e": expert}, {"e": 1}, work / "out", shard_size="24MB")
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_stays_under_twice_the_largest_shard(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"vocab_size": 512, "hidden_size": 512, "intermediate_size": 1024}
    shape |= {"num_attention_heads": 8, "num_key_value_heads": 8}
    for name, layers in (("small", 1), ("base", 12)):
        model = LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=layers)).eval()
        saved(model, tmp_path / name)
        scales = random_scales(model, [n for n, _ in model.named_modules() if "q_proj" in n], 0)
        Expert(name, scales).save(
            tmp_path / ("math.safetensors" if name == "base" else "small.safetensors")
        )
        size = sum(p.numel() * 4 for p in model.parameters())
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, timeout=280
    )
    assert ran.returncode == 0, ran.stderr
    largest = max(path.stat().st_size for path in (tmp_path / "out").glob("model-*"))
    assert int(ran.stdout) < 2 * largest < size / 2


# --- refusals: one line, and nothing half-written -------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mix", "math=1", "--out", "full"), "is not empty: choose another --out"),
        (("--mix", "math=1", "--out", "file"), "is a file: choose another --out"),
        (("--mix", "math=0", "--out", "new"), "there is nothing to export"),
        (("--mix", "poems=1", "--out", "new"), "There is no expert named 'poems'"),
        (("--mix", "poems", "--out", "new"), "There is no expert named 'poems'"),
        (("--mix", "", "--out", "new"), "--mix is empty"),
        (("--mix", "math=x", "--out", "new"), "coefficient"),
        (("--mix", "math", "--out", "new", "--dtype", "int8"), "expected base, float32"),
        (("--mix", "math", "--out", "new", "--shard-size", "lots"), "expected e.g. 5GB"),
        (("--mix", "wide", "--out", "new"), "does not fit"),
        (("--mix", "other", "--out", "new"), "cross-model transfer"),
        (("--mix", "math", "--out", "new", "--model", "./none"), "is not a model folder"),
        (("--mix", "math", "--out", "file/new"), "cannot be written"),
        (("--mix", "math", "--out", "new", "--device", "abacus"), "expected auto, cpu"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(
    cli, folder, experts, tmp_path, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    experts["math"].save(tmp_path / "experts" / "math.safetensors")
    wide = {"model.layers.0.mlp.up_proj": torch.ones(64)}
    Expert("wide", wide).save(tmp_path / "experts" / "wide.safetensors")
    made_for(make_tiny("llama", seed=1), "other").save(tmp_path / "experts" / "other.safetensors")
    before = sorted(tmp_path.rglob("*"))
    model = [] if "--model" in words else ["--model", folder]
    status, said, err = cli("export", "merged", *words, "--experts", "experts", *model)
    assert (status, said) == (2, "") and message in err, err
    assert len(err.strip().splitlines()) == 1 and "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_that_fills_leaves_nothing_behind(cli, folder, experts, tmp_path, monkeypatch):
    written = []

    def write_tensor(file, info, tensor):
        if len(written) > 15:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(info.name)
        real(file, info, tensor)

    real = tensor_files._write_tensor
    monkeypatch.setattr(tensor_files, "_write_tensor", write_tensor)
    expert = experts["math"].save(tmp_path / "math.safetensors")
    words = ("--mix", tmp_path / "math.safetensors", "--model", folder, "--shard-size", "30KB")
    status, said, err = cli("export", "merged", *words, "--out", tmp_path / "out")
    assert (status, said) == (2, "") and expert.name
    assert "No space left on device" in err and len(err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["math.safetensors"]


def test_a_base_with_a_damaged_shard_is_one_line(folder, experts, tmp_path):
    import shutil

    base = Path(shutil.copytree(folder, tmp_path / "base"))
    data = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="truncated"):
        save_merged(base, experts, {"math": 1}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- the command ----------------------------------------------------------------------------------


def test_the_command_says_what_it_wrote_and_what_rounding_costs(cli, folder, experts, tmp_path):
    for expert in experts.values():
        expert.save(tmp_path / "experts" / f"{expert.name}.safetensors")
    words = ("--mix", "math=0.7,code=0.3", "--experts", tmp_path / "experts", "--model", folder)
    status, said, _ = cli(
        "export", "merged", *words, "--out", tmp_path / "out", "--dtype", "bfloat16"
    )
    assert status == 0 and "14 changed matrices, bfloat16, 1 file" in said
    assert "rounding to bfloat16: at most" in said and "% of the change" in said
    status, said, _ = cli("export", "merged", *words, "--out", tmp_path / "again", "--json")
    report = json.loads(said)
    assert report["changed"] == 14 and report["files"] == ["model.safetensors"]
    assert report["bytes"] == (tmp_path / "again" / "model.safetensors").stat().st_size
    card = (tmp_path / "again" / "README.md").read_text()
    assert experts["math"].sha256 in card and '"math": 0.7' in card


def test_a_mixture_file_and_an_empty_folder_are_taken(cli, llama, folder, experts, tmp_path):
    from t2ui.svf.mixture import SavedMixture

    for expert in experts.values():
        expert.save(tmp_path / "experts" / f"{expert.name}.safetensors")
    mixture = Mixture({"math": (0.5, 0.25), "code": 0.125})
    SavedMixture(mixture, base_model="another").save(tmp_path / "mine.json")
    (tmp_path / "out").mkdir()
    words = ("--mix", tmp_path / "mine.json", "--experts", tmp_path / "experts")
    status, _, err = cli("export", "merged", *words, "--model", folder, "--out", tmp_path / "out")
    assert status == 0 and "was found for another" in err
    from t2ui import mix

    expected = logits(rewritten(llama, mix(experts, mixture)), IDS)
    found = logits(read_back(tmp_path / "out"), IDS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4)


def test_scope_answer_cannot_be_kept_in_weights_and_is_said(cli, folder, experts, tmp_path):
    from dataclasses import replace

    replace(experts["math"], scope="answer").save(tmp_path / "math.safetensors")
    words = ("--mix", tmp_path / "math.safetensors", "--model", folder)
    status, _, err = cli("export", "merged", *words, "--out", tmp_path / "out")
    assert status == 0 and "changed weights act on every token" in err
