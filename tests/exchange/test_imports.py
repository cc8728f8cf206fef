"""`import_expert` and `t2ui experts import`: the authors' files, LoRAs and merged checkpoints."""

import json
import pickle

import pytest
import torch
from reference import logits, matrix, prompt_ids, random_scales
from tiny import make_tiny, saved

from t2ui import Expert, InputError, adapt, save_merged
from t2ui.exchange.imports import import_expert

IDS = prompt_ids(12)
MLP = ("gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def llama():
    return make_tiny("llama")


@pytest.fixture(scope="module")
def base(llama, tmp_path_factory):
    return saved(llama, tmp_path_factory.mktemp("models") / "tiny")


def answers(model, expert):
    with adapt(model) as adapter:
        adapter.check(expert)
        with adapter.applied(expert.scales):
            return logits(model, IDS)


# --- the authors' files ---------------------------------------------------------------------------


def authors_model(model, p):
    """The authors' own composition: U diag(σ ⊙ s) Vᵀ · Σσ / Σ(σ ⊙ s), s = sigmoid(p)."""
    other = make_tiny("llama")
    for name, values in p.items():
        weight = matrix(other.get_submodule(name))
        U, S, V = torch.svd(weight.double())
        s = torch.sigmoid(values).double()
        weight.copy_(((U * (S * s)) @ V.T) * (S.sum() / (S * s).sum()))
    return other


def random_p(model, names, dtype=torch.bfloat16):
    random = torch.Generator().manual_seed(3)
    ranks = {name: min(model.get_submodule(name).weight.shape) for name in names}
    return {n: (1.5 * torch.randn(r, generator=random) + 0.1).to(dtype) for n, r in ranks.items()}


@pytest.fixture
def p(llama):
    names = [f"model.layers.{layer}.mlp.{part}" for layer in (0, 1) for part in MLP]
    return random_p(llama, names)


def numbered(p):
    return {f"learnable_params_module_list.{i}": v for i, v in enumerate(p.values())}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("form", ["numbered", "named"])
def test_the_authors_files_answer_as_their_composition(llama, base, tmp_path, form, dtype):
    names = [f"model.layers.{layer}.mlp.{part}" for layer in (0, 1) for part in MLP]
    p = random_p(llama, names, dtype)
    said = numbered(p) if form == "numbered" else {f"{n}.weight": v for n, v in p.items()}
    said = {key: torch.nn.Parameter(value) for key, value in said.items()}
    path = tmp_path / "policy_params_best.pt"
    torch.save(said, path)
    found = import_expert(path, base)
    assert found.kind == "authors" and found.share == 1 and not found.notes
    assert found.expert.name == "policy_params_best" and found.expert.base_model == "tiny"
    expected = logits(authors_model(llama, p), IDS)
    torch.testing.assert_close(answers(llama, found.expert), expected, rtol=1e-4, atol=2e-4)
    assert (expected - logits(llama, IDS)).abs().max() > 0.1


def test_numbers_count_the_state_dict_and_may_count_attention_too(llama, base, tmp_path):
    names = [n for n, m in llama.named_modules() if n.endswith("_proj")]
    p = random_p(llama, names)
    torch.save(numbered(p), tmp_path / "policy_params.pt")
    found = import_expert(tmp_path / "policy_params.pt", llama)
    assert list(found.expert.scales) == sorted(names)
    expected = logits(authors_model(llama, p), IDS)
    torch.testing.assert_close(answers(llama, found.expert), expected, rtol=1e-4, atol=2e-4)


class Evil:
    def __reduce__(self):
        return open, ("pwned.txt", "w")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("evil", "cannot be read safely|not a file of tensors that can be read safely"),
        ("text", "not a file of tensors that can be read safely"),
        ({}, "expected tensors by name"),
        ([1, 2], "holds a list; expected tensors by name"),
        ({"a": 1}, "'a' is no named tensor"),
        ({1: torch.ones(2)}, "is no named tensor"),
        ({"model.norm.weight": torch.ones(32)}, "'model.norm' is no attention or MLP matrix"),
        ({"learnable_params_module_list.1": torch.ones(32)}, "holds the numbers"),
        (
            {"learnable_params_module_list.0": torch.ones(32), "other": torch.ones(1)},
            "holds 'other'",
        ),
        (
            {f"learnable_params_module_list.{i}": torch.ones(32) for i in range(5)},
            "holds 5 vectors; tiny has 6 MLP matrices",
        ),
        (
            {f"learnable_params_module_list.{i}": torch.ones(31) for i in range(6)},
            "tiny has 32 singular values there",
        ),
    ],
)
def test_files_that_are_not_theirs_are_refused(base, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "policy_params.pt"
    if content == "evil":
        path.write_bytes(pickle.dumps({"a": Evil()}))
    elif content == "text":
        path.write_text("hello")
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        import_expert(path, base)
    assert [file.name for file in tmp_path.iterdir()] == ["policy_params.pt"]  # nothing was run


# --- a LoRA ---------------------------------------------------------------------------------------


def lora_on(model, folder, seed=0, **settings):
    """A LoRA with random updates, written by peft; and the model with it merged."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        **{"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "up_proj"], **settings}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped = peft.get_peft_model(model, config)
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.data.normal_(0, 0.2)
    wrapped.save_pretrained(folder)
    return wrapped.merge_and_unload()


@pytest.mark.parametrize(
    "settings",
    [{}, {"use_rslora": True}, {"alpha_pattern": {"up_proj": 3}, "rank_pattern": {"q_proj": 2}}],
    ids=["plain", "rslora", "patterns"],
)
def test_a_lora_becomes_the_nearest_scales(llama, base, tmp_path, settings):
    """Nearest: what is left has no part along any u_i v_iᵀ."""
    merged = lora_on(make_tiny("llama"), tmp_path / "lora", **settings)
    found = import_expert(tmp_path / "lora", base)
    expert = found.expert
    assert found.kind == "lora" and len(expert.scales) == 4
    whole = held = 0.0
    for name, z in expert.scales.items():
        old, new = (matrix(m.get_submodule(name)).double() for m in (llama, merged))
        U, S, Vh = torch.linalg.svd(old, full_matrices=False)
        kept = (U * (S * (z.double() - 1))) @ Vh
        left = (new - old) - kept
        assert (U * (left @ Vh.T)).sum(0).abs().max() < 1e-4
        whole += float((new - old).square().sum())
        held += float(kept.square().sum())
    assert found.share == pytest.approx(held / whole, rel=1e-3) and found.share < 0.5
    assert any("scales hold" in note and "directions" in note for note in found.notes)
    assert expert.training["held"] == pytest.approx(found.share, abs=1e-6)


def test_a_lora_that_is_a_diagonal_comes_back_whole(llama, tmp_path):
    pytest.importorskip("peft")
    from t2ui.exchange.lora import save_lora

    with adapt(llama, "mlp") as adapter:
        scales = random_scales(llama, adapter.names, 0, 0.3)
        expert = Expert("math", scales)
    save_lora(llama, {"math": expert}, {"math": 1}, tmp_path / "lora", rank=32)
    found = import_expert(tmp_path / "lora", llama)
    assert found.share == pytest.approx(1, abs=1e-5) and not found.notes
    for name, z in scales.items():
        torch.testing.assert_close(found.expert.scales[name], z, rtol=1e-3, atol=1e-3)


def test_gpt2s_stored_matrices_are_turned(tiny_gpt2, tmp_path):
    lora_on(make_tiny("gpt2"), tmp_path / "lora", target_modules=["c_fc"], fan_in_fan_out=True)
    found = import_expert(tmp_path / "lora", tiny_gpt2)
    assert list(found.expert.scales) == [f"transformer.h.{i}.mlp.c_fc" for i in (0, 1)]


def test_what_a_lora_changes_beside_the_matrices_counts_and_is_said(base, tmp_path):
    lora_on(make_tiny("llama"), tmp_path / "lora", target_modules=["up_proj", "lm_head"])
    found = import_expert(tmp_path / "lora", base)
    assert any("lm_head is no attention or MLP matrix" in note for note in found.notes)
    head = next(held for held in found.matrices if held.name == "lm_head")
    assert head.share == 0 and head.change > 0


def edited(folder, **changes):
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "says peft_type 'IA3'"),
        ({"use_dora": True}, "of another form \\(use_dora\\)"),
        ({"bias": "all"}, "of another form \\(bias\\)"),
        ({"lora_alpha": "much"}, "lora_alpha is 'much'"),
    ],
)
def test_loras_of_other_forms_are_refused(base, tmp_path, changes, message):
    lora_on(make_tiny("llama"), tmp_path / "lora")
    edited(tmp_path / "lora", **changes)
    with pytest.raises(InputError, match=message):
        import_expert(tmp_path / "lora", base)


def test_loras_that_are_damaged_or_of_another_model_are_refused(llama, base, tmp_path):
    lora_on(make_tiny("gpt2"), tmp_path / "gpt2", target_modules=["c_fc"], fan_in_fan_out=True)
    with pytest.raises(InputError, match="changes no attention or MLP matrix of tiny"):
        import_expert(tmp_path / "gpt2", base)
    folder = tmp_path / "lora"
    lora_on(make_tiny("llama"), folder)
    data = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="pickled weights are not read"):
        import_expert(folder, base)
    (folder / "adapter_model.safetensors").write_bytes(data[:900])
    with pytest.raises(InputError, match="truncated"):
        import_expert(folder, base)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(InputError, match="holds no adapter_config.json that can be read"):
        import_expert(folder, base)


# --- a merged checkpoint --------------------------------------------------------------------------


def test_an_exported_expert_comes_back(llama, base, tmp_path):
    with adapt(llama) as adapter:
        scales = random_scales(llama, adapter.names, 0, 0.3)
    save_merged(base, {"math": Expert("math", scales)}, {"math": 1}, tmp_path / "merged")
    found = import_expert(tmp_path / "merged", base, "back", labels=("math",))
    assert found.kind == "merged" and found.share == pytest.approx(1, abs=1e-4)
    assert (found.expert.name, found.expert.labels, found.notes) == ("back", ("math",), ())
    for name, z in scales.items():
        torch.testing.assert_close(found.expert.scales[name], z, rtol=1e-3, atol=1e-3)


def test_a_checkpoint_that_was_trained_otherwise_says_what_is_lost(llama, base, tmp_path):
    other = make_tiny("llama")
    random = torch.Generator().manual_seed(1)
    for name in ("model.layers.0.mlp.up_proj", "model.layers.1.self_attn.v_proj"):
        weight = other.get_submodule(name).weight
        weight.add_(0.05 * torch.randn(weight.shape, generator=random))
    other.model.norm.weight.add_(0.1)
    found = import_expert(saved(other, tmp_path / "tuned"), base)
    assert len(found.expert.scales) == 2 and found.share < 0.2
    assert any("scales hold" in note for note in found.notes)
    assert any("model.norm.weight differs, too" in note for note in found.notes)


def test_checkpoints_without_a_change_or_of_another_model_are_refused(base, tmp_path):
    with pytest.raises(InputError, match="have the same matrices"):
        import_expert(base, base)
    qwen = saved(make_tiny("gpt2"), tmp_path / "gpt2")
    with pytest.raises(InputError, match="has other matrices than tiny"):
        import_expert(qwen, base)


# --- the command ----------------------------------------------------------------------------------


def test_the_command_prints_what_is_held_and_writes_an_expert(cli, base, tmp_path, capsys):
    lora_on(make_tiny("llama"), tmp_path / "lora")
    capsys.readouterr()
    words = ("experts", "import", tmp_path / "lora", "--model", base, "--license", "MIT")
    status, said, err = cli(*words, "--out", tmp_path / "mine.svf", "--name", "mine")
    lines = said.splitlines()
    assert status == 0 and len(lines) == 5 and "expert mine" in lines[-1]
    assert "model.layers.0.self_attn.q_proj" in said and "scales hold" in err
    expert = Expert.load(tmp_path / "mine.svf")
    assert (expert.name, expert.license, expert.base_model) == ("mine", "MIT", "tiny")
    assert expert.training["imported_from"] == "lora"
    status, said, _ = cli(*words, "--out", tmp_path / "again.safetensors", "--json")
    report = json.loads(said)
    assert report["kind"] == "lora" and 0 < report["held"] < 1 and len(report["matrices"]) == 4


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("none.pt", "new.svf", "There is no expert file at"),
        ("none", "new.svf", "There is nothing at"),
        ("empty", "new.svf", "is nothing that can be imported"),
        ("empty", "there.svf", "exists already"),
        ("empty", "new.bin", "must end in .safetensors or .svf"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(
    cli, base, tmp_path, monkeypatch, source, out, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.svf").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    status, said, err = cli("experts", "import", source, "--out", out, "--model", base)
    assert (status, said) == (2, "") and message in err and len(err.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
