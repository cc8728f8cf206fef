"""`save_gguf` and `t2ui export gguf`: what transformers reads from the file answers as the mixture.

transformers reads GGUF through gguf-py, in llama.cpp's layout; llama.cpp itself reads it where
llama-cpp-python is installed (tests/requirements-large.txt).
"""

import json

import gguf
import pytest
import torch
from reference import logits, prompt_ids, random_scales, rewritten
from tiny import make_tiny, make_tokenizer
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, LlamaTokenizer

from t2ui import Expert, InputError, adapt
from t2ui.exchange.gguf_file import save_gguf
from t2ui.models.loading import load_model

IDS = prompt_ids(12)
TEXT = "Two 3s and 'one' <|im_end|> — é  ok"


# transformers takes what a file does not say from the defaults of the architecture's configuration.
READABLE = {
    "mistral": {"sliding_window": None},  # in GGUF it is a llama
    "qwen3": {"head_dim": 128},
    "gemma2": {"query_pre_attn_scalar": 256, "layer_types": None},
    "gemma3": {"query_pre_attn_scalar": 256, "layer_types": None},
    "gpt2": {"n_positions": 1024, "n_inner": None},
}


def variant(architecture, **changed):
    """A tiny model, like `make_tiny`, with another configuration."""
    config = make_tiny(architecture).config
    config = type(config)(**{**config.to_dict(), **READABLE.get(architecture, {}), **changed})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


def made_for(model, spread=0.3):
    with adapt(model) as adapter:
        scales = random_scales(model, adapter.names, 0, spread)
        return Expert("math", scales, fingerprint=adapter.fingerprint_of(scales))


def read_back(file, dtype=torch.float32, **options):
    model, report = AutoModelForCausalLM.from_pretrained(
        str(file.parent),
        gguf_file=file.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=dtype,
        output_loading_info=True,
        **options,
    )
    assert not report["missing_keys"]
    return model.eval()


@pytest.mark.parametrize(
    "architecture", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2"]
)
def test_transformers_reads_the_mixture(architecture, tmp_path):
    model = variant(architecture)
    expert = made_for(model)
    written = save_gguf(
        model,
        {"math": expert},
        {"math": 0.7},
        tmp_path / "m.gguf",
        type="f32",
        tokenizer=make_tokenizer(),
    )
    assert written.changed == len(expert.scales)
    scales = {name: 1 + 0.7 * (z - 1) for name, z in expert.scales.items()}
    expected = logits(rewritten(model, scales), IDS)
    found = logits(read_back(tmp_path / "m.gguf"), IDS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=3e-4)
    assert (expected - logits(model, IDS)).abs().max() > 0.1


def tokenizer_with_a_merge():
    """llama.cpp takes no tokenizer without any, and of a Phi 3 none without these tokens."""
    tokenizer = make_tokenizer()
    made = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in ("th", "<s>", "</s>", "<unk>"):
        made["model"]["vocab"][token] = len(made["model"]["vocab"])
    made["model"]["merges"] = [["t", "h"]]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(made))
    return tokenizer


@pytest.mark.parametrize("kind", ["f32", "q8_0"])
@pytest.mark.parametrize(
    "architecture", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2"]
)
def test_llama_cpp_answers_as_the_mixture(architecture, kind, tmp_path):
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    tokenizer = tokenizer_with_a_merge()
    own = (
        {"query_pre_attn_scalar": 8} if architecture.startswith("gemma") else {}
    )  # the heads' width
    model = variant(architecture, vocab_size=len(tokenizer), **own)
    expert = made_for(model)
    what = {"math": expert}, {"math": 0.7}, tmp_path / "m.gguf"
    save_gguf(model, *what, type=kind, tokenizer=tokenizer)
    engine = llama_cpp.Llama(
        str(tmp_path / "m.gguf"), logits_all=True, n_ctx=64, n_threads=1, verbose=False
    )
    engine.eval(list(IDS))
    found = torch.tensor(engine.scores[: len(IDS)])
    scales = {name: 1 + 0.7 * (z - 1) for name, z in expert.scales.items()}
    expected = logits(rewritten(model, scales), IDS)
    near = 2e-3 if kind == "f32" else 0.1  # llama.cpp keeps keys and values in half precision
    assert (found - expected).abs().max() < near * expected.abs().max()
    assert (expected - logits(model, IDS)).abs().max() > 2 * near * expected.abs().max()


def test_what_llama_cpp_would_do_otherwise_is_said(tmp_path):
    for scalar, said in ((8, False), (256, True)):
        model = variant("gemma2", query_pre_attn_scalar=scalar, layer_types=None)
        what = {"m": made_for(model)}, {"m": 1}, tmp_path / f"{scalar}.gguf"
        notes = " ".join(save_gguf(model, *what, tokenizer=make_tokenizer()).notes)
        assert ("scales attention by the width of the heads" in notes) is said
        assert "no tokenizer without merges" in notes
    tokenizer = tokenizer_with_a_merge()
    model = variant("llama", vocab_size=len(tokenizer))
    what = {"m": made_for(model)}, {"m": 1}, tmp_path / "m.gguf"
    assert "merges" not in " ".join(save_gguf(model, *what, tokenizer=tokenizer).notes)


def test_biases_of_a_llama_are_turned_with_its_rows(tmp_path):
    """transformers' reader makes llamas without biases, so the file is looked at."""
    model = variant("llama", attention_bias=True)
    tokenizer = make_tokenizer()
    file = tmp_path / "m.gguf"
    save_gguf(model, {"math": made_for(model)}, {"math": 1}, file, tokenizer=tokenizer)
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    bias = model.model.layers[0].self_attn.q_proj.bias.reshape(4, 2, 4)  # heads, halves, pairs
    found = torch.tensor(stored["blk.0.attn_q.bias"].data).reshape(4, 4, 2)
    assert torch.equal(found, bias.transpose(1, 2))


@pytest.mark.parametrize(("kind", "step"), [("f16", 2e-3), ("bf16", 2e-2), ("q8_0", 2e-2)])
def test_matrices_are_stored_in_the_type_that_was_asked_for(kind, step, tmp_path):
    model = variant("llama", intermediate_size=64)
    expert = made_for(model)
    file = tmp_path / "m.gguf"
    save_gguf(model, {"m": expert}, {"m": 1}, file, type=kind, tokenizer=make_tokenizer())
    types = {t.name: t.tensor_type.name.lower() for t in gguf.GGUFReader(file).tensors}
    assert types["blk.0.ffn_up.weight"] == kind and types["blk.0.attn_norm.weight"] == "f32"
    exact = rewritten(model, expert.scales).state_dict()
    for name, found in read_back(file).state_dict().items():
        if found.ndim == 2:
            apart = (found - exact[name]).abs().max() / exact[name].abs().max()
            assert apart < step, name


def test_rows_that_do_not_fill_blocks_of_8_bits_are_16_bits(tmp_path):
    model = make_tiny("llama")  # an MLP 48 wide
    file = tmp_path / "m.gguf"
    save_gguf(
        model, {"m": made_for(model)}, {"m": 1}, file, type="q8_0", tokenizer=make_tokenizer()
    )
    types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(file).tensors}
    assert types["blk.0.ffn_down.weight"] == "F16" and types["blk.0.ffn_up.weight"] == "Q8_0"


def test_llama_3s_stretched_rotation_is_a_tensor_of_divisors(tmp_path):
    rope = {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    model = variant("llama", rope_parameters=rope)
    file = tmp_path / "m.gguf"
    save_gguf(model, {"m": made_for(model)}, {"m": 1}, file, tokenizer=make_tokenizer())
    stored = {tensor.name: tensor.data for tensor in gguf.GGUFReader(file).tensors}
    divisors = torch.tensor(stored["rope_freqs.weight"])
    plain = make_tiny("llama").model.rotary_emb.inv_freq
    torch.testing.assert_close(plain / divisors, model.model.rotary_emb.inv_freq)
    assert divisors.max() == 8 and divisors.min() == 1


# --- tokenizers -----------------------------------------------------------------------------------


def file_with(tokenizer, tmp_path):
    model = variant("llama", vocab_size=len(tokenizer) + 3)
    file = tmp_path / "m.gguf"
    written = save_gguf(model, {"m": made_for(model)}, {"m": 1}, file, tokenizer=tokenizer)
    return file, written


def test_a_byte_level_tokenizer_reads_texts_as_before(tmp_path):
    tokenizer = make_tokenizer()
    file, written = file_with(tokenizer, tmp_path)
    found = AutoTokenizer.from_pretrained(str(tmp_path), gguf_file=file.name)
    assert found(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"]
    assert found.chat_template == tokenizer.chat_template
    for role in ("bos", "eos", "pad"):
        assert getattr(found, f"{role}_token_id") == getattr(tokenizer, f"{role}_token_id")
    assert any("may cut some texts otherwise" in note for note in written.notes)
    fields = gguf.GGUFReader(file).fields
    assert len(fields["tokenizer.ggml.tokens"].data) == len(tokenizer) + 3  # the model's rows


def test_a_sentencepiece_tokenizer_reads_texts_as_before(tmp_path):
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁t", "he", "▁the", "▁the▁", "▁", "t", "h", "e", "n"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he")]
    tokenizer = LlamaTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=merges
    )
    file, _ = file_with(tokenizer, tmp_path)
    found = AutoTokenizer.from_pretrained(str(tmp_path), gguf_file=file.name)
    for text in ("the then", "thé", "e the"):
        assert found(text)["input_ids"] == tokenizer(text)["input_ids"]
    reader = gguf.GGUFReader(file)
    assert reader.fields["tokenizer.ggml.model"].contents() == "llama"
    scores = reader.fields["tokenizer.ggml.scores"].contents()
    first, last = pieces.index("▁t"), pieces.index("▁the")
    assert scores[first] > scores[last] > scores[pieces.index("t")]  # the earlier merge wins
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    assert (kinds[0], kinds[1], kinds[5]) == (2, 3, 6)  # unknown, control, byte


@pytest.mark.parametrize(
    ("digits", "name"), [(r"\p{N}{1,3}", "llama-bpe"), (r"\p{N}", "qwen2"), (r"\d", "default")]
)
def test_the_way_words_are_cut_has_llama_cpps_name(digits, name, tmp_path):
    from tokenizers import Regex, pre_tokenizers

    tokenizer = make_tokenizer()
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    rest = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words + digits + rest), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    file, written = file_with(tokenizer, tmp_path)
    assert gguf.GGUFReader(file).fields["tokenizer.ggml.pre"].contents() == name
    said = any("may cut some texts otherwise" in note for note in written.notes)
    assert said == (name == "default")


# --- doors and refusals ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny("llama").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def test_the_command_writes_a_file_that_load_model_takes(cli, folder, tmp_path):
    model = make_tiny("llama")
    expert = made_for(model).save(tmp_path / "math.safetensors")
    words = ("--mix", tmp_path / "math.safetensors", "--model", folder)
    status, said, _ = cli("export", "gguf", *words, "--out", tmp_path / "m.gguf", "--json")
    assert status == 0 and json.loads(said)["architecture"] == "llama"
    loaded, tokenizer = load_model(tmp_path / "m.gguf")
    assert tokenizer("Ab")["input_ids"] == make_tokenizer()("Ab")["input_ids"]
    expected = logits(rewritten(model, expert.scales), IDS)
    apart = (logits(loaded, IDS) - expected).abs().max()  # load_model keeps GGUF as bfloat16
    assert apart < 0.05 * expected.abs().max()
    status, said, _ = cli("export", "gguf", *words, "--out", tmp_path / "n.gguf", "--type", "q8_0")
    assert status == 0 and "14 changed matrices, llama, q8_0" in said


def test_a_sliding_window_that_gguf_cannot_say_is_said(tmp_path):
    model = make_tiny("mistral")
    written = save_gguf(
        model, {"m": made_for(model)}, {"m": 1}, tmp_path / "m.gguf", tokenizer=make_tokenizer()
    )
    assert any("no sliding window: beyond 8 tokens" in note for note in written.notes)


@pytest.mark.parametrize(
    ("out", "extra", "message"),
    [
        ("m.bin", (), "must end in .gguf"),
        ("there.gguf", (), "exists already"),
        ("m.gguf", ("--type", "q2"), "expected base, f32"),
        ("m.gguf", ("--mix", "poems"), "no expert named 'poems'"),
        ("there.gguf/m.gguf", (), "cannot be written"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(
    cli, folder, tmp_path, monkeypatch, out, extra, message
):
    monkeypatch.chdir(tmp_path)
    made_for(make_tiny("llama")).save(tmp_path / "math.safetensors")
    (tmp_path / "there.gguf").write_text("mine")
    before = sorted(tmp_path.iterdir())
    words = extra if "--mix" in extra else ("--mix", "math.safetensors", *extra)
    status, said, err = cli("export", "gguf", *words, "--out", out, "--model", folder)
    assert (status, said) == (2, "") and message in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_what_gguf_has_no_known_layout_for_is_refused(tiny_llava, tmp_path):
    expert = made_for(tiny_llava)
    with pytest.raises(InputError, match="llava model, whose layout in GGUF is not known here"):
        save_gguf(tiny_llava, {"m": expert}, {"m": 1}, tmp_path / "m.gguf")
    llama = make_tiny("llama")
    with pytest.raises(InputError, match="holds a tokenizer too"):
        save_gguf(llama, {"m": made_for(llama)}, {"m": 1}, tmp_path / "m.gguf")
    rope = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    model = variant("llama", rope_parameters=rope)
    with pytest.raises(InputError, match="stretches its positions by 'dynamic'"):
        save_gguf(
            model, {"m": made_for(model)}, {"m": 1}, tmp_path / "m.gguf", tokenizer=make_tokenizer()
        )
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_leaves_nothing_behind(tmp_path, monkeypatch):
    import errno

    def write(self, tensor, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", write)
    model = make_tiny("llama")
    with pytest.raises(InputError, match="No space left on device"):
        save_gguf(
            model, {"m": made_for(model)}, {"m": 1}, tmp_path / "m.gguf", tokenizer=make_tokenizer()
        )
    assert list(tmp_path.iterdir()) == []
