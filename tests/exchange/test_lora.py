"""`save_lora` and `t2ui export lora`: what peft loads is the truncated change, to rounding."""

import json

import pytest
import torch
from reference import logits, matrix, prompt_ids, random_scales, rewritten
from tiny import ARCHITECTURES, make_tiny, make_tokenizer

from t2ui import Expert, InputError, adapt
from t2ui.exchange.lora import at_rank, save_lora

peft = pytest.importorskip("peft", reason="peft is not installed: pip install peft")
IDS = prompt_ids(12)


def made_for(model, modules="all", spread=0.3):
    with adapt(model, modules) as adapter:
        scales = random_scales(model, adapter.names, 0, spread)
        return Expert("math", scales, fingerprint=adapter.fingerprint_of(scales))


def truncated(model, scales, rank):
    """A copy with W + the best approximation of W′ − W of this rank, in float64; and its share."""
    other = rewritten(model, scales)
    kept = whole = 0.0
    shares = {}
    for name in scales:
        old, new = matrix(model.get_submodule(name)), matrix(other.get_submodule(name))
        U, S, Vh = torch.linalg.svd(new.double() - old.double(), full_matrices=False)
        change = (U[:, :rank] * S[:rank]) @ Vh[:rank]
        new.copy_((old.double() + change).to(new.dtype))
        shares[name] = float(S[:rank].square().sum() / S.square().sum())
        kept, whole = kept + float(S[:rank].square().sum()), whole + float(S.square().sum())
    return other, shares, kept / whole


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_peft_loads_the_truncated_change(architecture, tmp_path):
    model = make_tiny(architecture)
    expert = made_for(model)
    scales = {name: 1 + 0.7 * (z - 1) for name, z in expert.scales.items()}
    written = save_lora(model, {"math": expert}, {"math": 0.7}, tmp_path / "lora", rank=4)
    right, shares, share = truncated(model, scales, 4)
    loaded = peft.PeftModel.from_pretrained(make_tiny(architecture), tmp_path / "lora").eval()
    found = logits(loaded, IDS)
    torch.testing.assert_close(found, logits(right, IDS), rtol=1e-4, atol=3e-4)
    assert (found - logits(model, IDS)).abs().max() > 0.05
    assert written.share == pytest.approx(share, abs=1e-4) and 0.1 < share < 0.9
    for captured in written.matrices:
        assert captured.share == pytest.approx(shares[captured.name], abs=1e-4)
    assert [captured.name for captured in written.matrices] == [
        name for name, _ in model.named_modules() if name in expert.scales
    ]


def test_at_full_rank_nothing_is_lost_and_merging_in_peft_gives_the_mixture(tmp_path):
    model = make_tiny("llama")
    expert = made_for(model, "mlp")
    written = save_lora(model, {"math": expert}, {"math": 1}, tmp_path / "lora", rank=32)
    assert written.share == pytest.approx(1.0) and not written.notes
    loaded = peft.PeftModel.from_pretrained(make_tiny("llama"), tmp_path / "lora")
    merged = loaded.merge_and_unload()
    expected = rewritten(model, expert.scales)
    for name in expert.scales:
        found = merged.get_submodule(name).weight
        torch.testing.assert_close(found, expected.get_submodule(name).weight, rtol=1e-4, atol=1e-5)


def test_only_the_matrices_that_change_are_targets(tmp_path):
    model = make_tiny("llama")
    scales = {"model.layers.1.mlp.up_proj": torch.linspace(0.5, 2, 32)}
    scales["model.layers.0.mlp.up_proj"] = torch.ones(32)  # changes nothing
    written = save_lora(model, {"e": Expert("e", scales)}, {"e": 1}, tmp_path / "lora", rank=2)
    assert [captured.name for captured in written.matrices] == ["model.layers.1.mlp.up_proj"]
    loaded = peft.PeftModel.from_pretrained(make_tiny("llama"), tmp_path / "lora")
    names = [name for name, _ in loaded.named_modules() if name.endswith("lora_A.default")]
    assert names == ["base_model.model.model.layers.1.mlp.up_proj.lora_A.default"]
    whole = save_lora(model, {"m": made_for(model)}, {"m": 1}, tmp_path / "whole", rank=2)
    config = json.loads((whole.folder / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(
        {name.rsplit(".", 1)[1] for name in made_for(model).scales}
    )


def test_scales_of_a_rank_answer_as_the_lora_does(tmp_path):
    model = make_tiny("qwen2")
    expert = made_for(model)
    save_lora(model, {"math": expert}, {"math": 1}, tmp_path / "lora", rank=4)
    loaded = peft.PeftModel.from_pretrained(make_tiny("qwen2"), tmp_path / "lora").eval()
    with adapt(model) as adapter:
        z = {n: at_rank(adapter.factors[n].S, s, 4) for n, s in expert.scales.items()}
        assert all(int((scale != 1).sum()) == 4 for scale in z.values())
        with adapter.applied(z):
            found = logits(model, IDS)
    torch.testing.assert_close(found, logits(loaded, IDS), rtol=1e-4, atol=3e-4)


@pytest.fixture
def work(tmp_path, capsys):
    """A base's folder and an expert's file."""
    model = make_tiny("llama")
    model.save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    made_for(model).save(tmp_path / "math.safetensors")
    capsys.readouterr()  # transformers shows its progress
    return tmp_path


def export(cli, work, rank, *words, mix="math.safetensors"):
    return cli(
        "export", "lora", "--mix", work / mix, "--rank", rank, "--model", work / "base", *words
    )


def test_the_command_prints_what_each_matrix_keeps_and_warns(cli, work):
    status, said, err = export(cli, work, 4, "--out", work / "lora")
    lines = said.splitlines()
    assert status == 0 and len(lines) == 15
    assert "model.layers.0.self_attn.q_proj" in lines[0] and "%" in lines[0]
    assert "rank 4, 14 matrices" in lines[-1] and "of the change in all" in lines[-1]
    assert "a LoRA of rank 4 holds" in err and "choose a larger --rank" in err
    status, said, err = export(cli, work, 16, "--out", work / "more", "--json")
    report = json.loads(said)
    assert report["share"] > 0.9 and "choose a larger" not in err
    assert len(report["matrices"]) == 14 and report["rank"] == 16
    card = (work / "lora" / "README.md").read_text()
    assert "rank 4" in card and "of the change" in card


@pytest.mark.parametrize(
    ("rank", "words", "message"),
    [
        (17, ("--out", "new"), "k_proj has rank 16: choose at most 16"),
        (0, ("--out", "new"), "The rank is 0; expected a whole number from 1 on"),
        (-3, ("--out", "new"), "The rank is -3"),
        (4, ("--out", "base"), "is not empty: choose another --out"),
        (4, ("--out", "math.safetensors"), "is a file"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(cli, work, monkeypatch, rank, words, message):
    monkeypatch.chdir(work)
    before = sorted(work.rglob("*"))
    status, said, err = export(cli, work, rank, *words)
    assert (status, said) == (2, "") and message in err and len(err.strip().splitlines()) == 1
    assert sorted(work.rglob("*")) == before


def test_a_mixture_that_changes_nothing_is_refused(tmp_path):
    model = make_tiny("llama")
    still = Expert("still", {"model.layers.0.mlp.up_proj": torch.ones(32)})
    with pytest.raises(InputError, match="changes no matrix"):
        save_lora(model, {"still": still}, {"still": 1}, tmp_path / "lora", rank=2)
