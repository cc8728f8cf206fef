"""Finding and loading base models: folders, the hub, devices, dtypes, chat ids, names."""

import http.server
import json
import socket
import threading

import huggingface_hub.constants
import pytest
import torch
from tiny import ARCHITECTURES, END_ID, PAD_ID, make_tiny, make_tokenizer, saved
from transformers import BertConfig, T5Config

import t2ui.models.loading as loading
from t2ui.config import DEFAULT_MODEL
from t2ui.errors import InputError
from t2ui.inference.decoding import end_tokens
from t2ui.models import dtype_choice
from t2ui.models.chat import chat_ids
from t2ui.models.dtype_choice import bfloat16_speed
from t2ui.models.loading import load_model, model_name

TEXT = "Hällo <|im_start|> wörld 日本 42\n"


@pytest.fixture
def llama_folder(tmp_path, tiny_llama, tiny_tokenizer):
    """A model folder each test may spoil."""
    folder = tmp_path / "my-llama"
    tiny_llama.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def refusal(name, **options) -> str:
    """The one line with which `load_model` refuses."""
    with pytest.raises(InputError) as raised:
        load_model(name, device="cpu", **options)
    line = str(raised.value)
    assert "\n" not in line
    return line


# --- local folders -------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_model_comes_back_bit_for_bit_and_frozen(architecture, tmp_path):
    saved, tokenizer = make_tiny(architecture), make_tokenizer()
    folder = tmp_path / f"some-{architecture}"
    saved.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    model, loaded_tokenizer = load_model(str(folder), device="cpu")

    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    assert loaded_tokenizer(TEXT)["input_ids"] == ids[0].tolist()
    assert loaded_tokenizer.decode(ids[0]) == TEXT
    assert torch.equal(model(input_ids=ids).logits, saved(input_ids=ids).logits)
    assert type(model) is type(saved)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert model.config._attn_implementation == ("eager" if architecture == "gemma2" else "sdpa")
    assert model_name(model) == f"some-{architecture}"


def test_a_folder_is_loaded_without_touching_the_network(llama_folder, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    model, _ = load_model(llama_folder, device="cpu")
    assert model_name(model) == "my-llama"


def test_auto_dtype_is_float32_on_the_cpu_and_a_named_dtype_is_kept(tmp_path, tiny_tokenizer):
    folder = tmp_path / "half"
    make_tiny("llama").to(torch.bfloat16).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    wanted = {"auto": torch.float32, "bfloat16": torch.bfloat16, torch.float16: torch.float16}
    for dtype, expected in wanted.items():
        model, _ = load_model(folder, device="cpu", dtype=dtype)
        assert {p.dtype for p in model.parameters()} == {expected}


@pytest.mark.parametrize(("gain", "expected"), [(1.9, torch.bfloat16), (1.2, torch.float32)])
def test_the_fastest_dtype_is_measured_where_it_is_asked_for(
    llama_folder, monkeypatch, gain, expected
):
    """Not where a dtype is named, nor for what should not depend on the machine."""
    monkeypatch.setattr(loading, "bfloat16_speed", lambda shapes: gain)
    told = []
    model, _ = load_model(
        llama_folder, device="cpu", fastest=True, progress=lambda text, done: told.append(text)
    )
    assert model.dtype == expected
    assert any(f"{gain:.1f} times as fast" in text for text in told)
    model, _ = load_model(llama_folder, device="cpu", dtype="float32", fastest=True)
    assert model.dtype == torch.float32
    assert load_model(llama_folder, device="cpu")[0].dtype == torch.float32


def test_both_dtypes_are_measured_on_the_models_shapes():
    assert 0 < bfloat16_speed([(64, 32), (32, 64)]) < 10_000


@pytest.mark.parametrize(("reading", "expected"), [(0.2, 0.2), (3.0, 2.0)])
def test_a_dtype_that_only_decodes_fast_is_not_the_faster_one(monkeypatch, reading, expected):
    """Two answers at once halve what is read of memory; a prompt is arithmetic."""

    def seconds(passes):
        if passes._inputs[0].dtype == torch.float32:
            return 1.0
        return 1 / (reading if passes._inputs[0].shape[1] > 1 else 2.0)

    monkeypatch.setattr(dtype_choice._Passes, "seconds", seconds)
    assert bfloat16_speed([(64, 32), (32, 64)]) == pytest.approx(expected)


def test_a_tokenizer_without_padding_gets_its_end_token_for_it(llama_folder, tiny_tokenizer):
    config = json.loads((llama_folder / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (llama_folder / "tokenizer_config.json").write_text(json.dumps(config))
    _, tokenizer = load_model(llama_folder, device="cpu")
    assert tiny_tokenizer.pad_token_id == PAD_ID
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == END_ID


def test_loading_says_what_it_does_and_leaves_transformers_as_talkative_as_it_was(llama_folder):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    heard = []
    load_model(llama_folder, device="cpu", progress=lambda *event: heard.append(event))
    assert heard == [("Loading my-llama", None), ("Loaded my-llama", 1.0)]
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "  ", "./nowhere", "/no/such/folder", "a/b/c", "~/no-such"])
def test_a_path_to_nothing_is_refused_and_the_choices_are_named(name):
    line = refusal(name)
    assert repr(name) in line and "hub id" in line and DEFAULT_MODEL in line


def test_a_gguf_file_that_is_not_there_is_refused():
    assert "no file nowhere/model.gguf" in refusal("nowhere/model.gguf")


def test_a_file_that_is_no_gguf_is_no_folder_either(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "not a model folder" in refusal(tmp_path / "model.safetensors")


def test_a_folder_without_config_is_refused(llama_folder):
    (llama_folder / "config.json").unlink()
    assert "no config.json" in refusal(llama_folder)


def test_a_folder_without_tokenizer_is_refused(llama_folder):
    (llama_folder / "tokenizer.json").unlink()
    assert "without a tokenizer" in refusal(llama_folder)


def test_pickled_weights_are_not_loaded(llama_folder):
    (llama_folder / "model.safetensors").rename(llama_folder / "pytorch_model.bin")
    line = refusal(llama_folder)
    assert "only pytorch_model.bin" in line and ".safetensors" in line


def test_truncated_weights_are_refused(llama_folder):
    weights = llama_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "my-llama" in refusal(llama_folder)


def test_weights_that_are_missing_are_not_made_up(llama_folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(llama_folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, llama_folder / "model.safetensors", metadata={"format": "pt"})
    assert "model.layers.1.mlp.up_proj.weight" in refusal(llama_folder)


def test_weights_of_another_shape_are_not_made_up(llama_folder):
    config = json.loads((llama_folder / "config.json").read_text())
    (llama_folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    assert "another shape" in refusal(llama_folder)


@pytest.mark.parametrize("config", [BertConfig(), T5Config()], ids=["bert", "t5"])
def test_what_is_not_a_causal_model_is_refused(config, llama_folder):
    config.save_pretrained(llama_folder)
    line = refusal(llama_folder)
    assert f"{config.model_type} model" in line and "causal" in line


def test_an_unknown_or_broken_config_is_refused(llama_folder):
    (llama_folder / "config.json").write_text('{"model_type": "no-such-architecture"}')
    assert "no-such-architecture" in refusal(llama_folder)
    (llama_folder / "config.json").write_text('{"model_type": ')
    assert "JSON" in refusal(llama_folder)


BROKEN = {
    "awq": ("config.json", {"quantization_config": {"quant_method": "awq", "bits": 4}}),
    "gptq": ("config.json", {"quantization_config": {"quant_method": "gptq", "bits": 4}}),
    "text for a number": ("config.json", {"hidden_size": "big"}),
    "nothing to divide by": ("config.json", {"num_attention_heads": 0}),
    "config of null": ("config.json", "null"),
    "tokenizer of {}": ("tokenizer.json", "{}"),
    "tokenizer of []": ("tokenizer.json", "[]"),
    "tokenizer config of []": ("tokenizer_config.json", "[]"),
    "generation config of []": ("generation_config.json", "[]"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_whatever_a_broken_folder_raises_is_one_line(case, llama_folder):
    """Parsers and layers raise many kinds of exceptions: ImportError, KeyError, TypeError, …"""
    name, content = BROKEN[case]
    if isinstance(content, dict):
        content = json.dumps(json.loads((llama_folder / name).read_text()) | content)
    (llama_folder / name).write_text(content)
    line = refusal(llama_folder)
    assert line.startswith("my-llama is no language model that can be loaded (")
    assert str(llama_folder) in line


def test_a_lack_of_memory_is_not_the_folders_fault(llama_folder, monkeypatch):
    from transformers import LlamaForCausalLM

    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", fail)
    with pytest.raises(torch.OutOfMemoryError):
        load_model(llama_folder, device="cpu")


def test_code_that_comes_with_a_model_is_never_run(llama_folder, tmp_path):
    ran = tmp_path / "ran"
    (llama_folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((llama_folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}
    (llama_folder / "config.json").write_text(json.dumps(config))
    assert "my-llama" in refusal(llama_folder)
    assert not ran.exists()


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "cuda:99", "meta", "xpu"])
def test_a_device_this_machine_lacks_is_refused(device):
    with pytest.raises(InputError, match="device is") as raised:
        load_model(device=device)
    assert repr(device) in str(raised.value)


@pytest.mark.parametrize("dtype", ["float", "int8", torch.float64, None])
def test_an_unknown_dtype_is_refused(dtype, llama_folder):
    assert "dtype is" in refusal(llama_folder, dtype=dtype)


# --- the hub -------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine that answers everything with one status and error code."""
    answer = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(answer["status"])
            self.send_header("X-Error-Code", answer["code"])
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address, constants = f"http://127.0.0.1:{server.server_port}", huggingface_hub.constants
    elsewhere = constants.ENDPOINT  # like its neighbours read from the environment at import
    for what in ("ENDPOINT", "HUGGINGFACE_CO_URL_TEMPLATE"):
        monkeypatch.setattr(constants, what, getattr(constants, what).replace(elsewhere, address))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield answer
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hub_id_that_does_not_exist_is_refused(hub):
    hub.update(status=404, code="RepoNotFound")
    line = refusal("nobody/nothing")
    assert "no model 'nobody/nothing' on the hub" in line and "spelling" in line


def test_a_gated_model_says_how_to_get_in(hub):
    hub.update(status=403, code="GatedRepo")
    line = refusal("somebody/gated")
    assert "gated" in line and "log in" in line


def test_an_unreachable_hub_is_told_from_a_wrong_name(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "cannot be reached" in refusal("nobody/nothing")


@pytest.mark.parametrize("name", ["a b", "bad..name", "owner/na:me"])
def test_what_can_be_no_hub_id_is_refused_without_a_network(name):
    assert "spelling" in refusal(name)


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("owner/model", "owner/model"),
        ("gpt2", "gpt2"),
        ("/data/models/my-model/", "my-model"),
        ("./my-model", "my-model"),
        ("/h/hub/models--owner--some-model/snapshots/0123abcd", "owner/some-model"),
        ("", "llama"),
    ],
)
def test_the_name_of_a_model_its_owner_loaded(source, name):
    model = make_tiny("llama")
    model.config.name_or_path = source
    assert model_name(model) == name


# --- the default ---------------------------------------------------------------------------------


@pytest.mark.model
def test_the_default_model_is_smollm2_instruct(default_model):
    model, tokenizer = default_model
    assert model_name(model) == DEFAULT_MODEL
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.intermediate_size) == (
        30,
        576,
        1536,
    )
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.dtype == torch.float32

    ids = chat_ids(tokenizer, "What is the capital of France?")
    assert tokenizer.decode(ids) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert tokenizer.decode(tokenizer(TEXT)["input_ids"]) == TEXT
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.eos_token_id == end
    # every turn begins with the start token: a model that writes it has ended its answer
    assert model.generation_config.eos_token_id == [end, tokenizer.bos_token_id]
    assert tokenizer.pad_token_id is not None

    answer = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=12)[0, len(ids) :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"


@pytest.mark.parametrize(
    "template", [None, "{% for m in messages %}{{ m['content'] }}{% endfor %}"]
)
def test_a_start_token_that_marks_no_turn_ends_no_answer(tiny_llama, tmp_path, template):
    tokenizer = make_tokenizer()
    folder = saved(tiny_llama, tmp_path / "tiny")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    for left_over in folder.glob("chat_template*") if template is None else ():
        left_over.unlink()
    model, loaded = load_model(folder, device="cpu")
    assert loaded.bos_token_id not in end_tokens(model, loaded)


def test_a_turn_that_begins_ends_the_answer_of_a_loaded_model(tiny_llama, tmp_path):
    """Also one whose settings name no end token; transformers reads the same list."""
    model, tokenizer = load_model(saved(tiny_llama, tmp_path / "tiny"), device="cpu")
    assert model.generation_config.eos_token_id == [END_ID, tokenizer.bos_token_id]
    assert end_tokens(model, tokenizer) == [END_ID, tokenizer.bos_token_id]
