"""Where an answer ends, and how its text streams until then."""

import copy

import decoding
import pytest
from decoding import pieces, row, scripted, tokens_of
from reference import greedy, prompt_ids
from tiny import END_ID, make_tokenizer
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from t2ui.config import Sampling
from t2ui.inference.decoding import Decoder, Row, end_tokens, generate

decoder, llama = decoding.decoder, decoding.llama  # fixtures


def spoken(decoder, tokenizer, said, **sampling):
    """Steps of one row whose model says a text, then the end token."""
    tokens = tokenizer.encode(said, add_special_tokens=False) if isinstance(said, str) else said
    sampling = {"max_new_tokens": 200, **sampling}
    decoder.add([Row("row", prompt_ids(4), None, Sampling(**sampling))])
    steps = []
    with scripted(decoder.model, [*tokens, END_ID]):
        while len(decoder):
            steps += decoder.step()
    return steps


def test_the_end_token_ends_a_row_and_is_no_text(decoder, tiny_tokenizer):
    steps = spoken(decoder, tiny_tokenizer, "hello")
    assert pieces(steps) == "hello"
    assert [s.finished for s in steps] == [None] * 5 + ["end"]
    assert steps[-1].token == END_ID


def test_a_completion_has_the_end_token_in_its_ids_only(tiny_llama, tiny_tokenizer, llama):
    said = tiny_tokenizer.encode("hello", add_special_tokens=False)
    with scripted(tiny_llama, [*said, END_ID]):
        (found,) = generate(tiny_llama, tiny_tokenizer, [Row(0, prompt_ids(4))], llama)
    assert (found.token_ids, found.text, found.finished) == ((*said, END_ID), "hello", "end")


def test_other_special_tokens_are_not_shown(decoder, tiny_tokenizer):
    said = [0, *tiny_tokenizer.encode("hi", add_special_tokens=False), 1]
    assert pieces(spoken(decoder, tiny_tokenizer, said)) == "hi"


def test_end_tokens_come_from_the_generation_settings_and_the_tokenizer(tiny_llama, tiny_tokenizer):
    model, without = copy.copy(tiny_llama), make_tokenizer()
    without.eos_token = None
    model.generation_config = copy.deepcopy(tiny_llama.generation_config)
    for setting, wanted in ((7, [7]), ([2, 7], [2, 7]), (None, [])):
        model.generation_config.eos_token_id = setting
        assert end_tokens(model, without) == wanted
    for setting, wanted in ((7, [7, END_ID]), ([END_ID, 7], [END_ID, 7]), (None, [END_ID])):
        model.generation_config.eos_token_id = setting
        assert end_tokens(model, tiny_tokenizer) == wanted


def test_the_tokenizers_end_token_ends_a_row_that_the_settings_would_go_on(
    tiny_llama, tiny_tokenizer, llama, monkeypatch
):
    """As in fine-tunes whose generation settings are still their base model's."""
    monkeypatch.setattr(tiny_llama.generation_config, "eos_token_id", 0)
    steps = spoken(Decoder(tiny_llama, tiny_tokenizer, llama), tiny_tokenizer, "hello")
    assert (pieces(steps), steps[-1].token, steps[-1].finished) == ("hello", END_ID, "end")


def test_length_ends_a_row_and_nothing_is_held_back(decoder, tiny_tokenizer):
    steps = spoken(decoder, tiny_tokenizer, "abcdef", max_new_tokens=4, stop=("cdxxxx",))
    assert pieces(steps) == "abcd"
    assert [s.finished for s in steps] == [None, None, None, "length"]


def test_one_token_answers(tiny_llama, tiny_tokenizer, llama):
    rows = [row(i, prompt_ids(5, i), 1) for i in range(3)]
    wanted = [greedy(tiny_llama, r.prompt_ids, 1) for r in rows]
    assert tokens_of(tiny_llama, tiny_tokenizer, llama, *rows) == wanted


@pytest.mark.parametrize(
    ("said", "stop", "shown"),
    [
        ("abcSTOPdef", ("STOP",), "abc"),
        ("abSTXSTOPdef", ("STOP",), "abSTX"),
        ("STOP", ("STOP",), ""),
        ("ab\n\ncd", ("\n\n", "STOP"), "ab"),
        ("abcdx", ("bcdx", "cd"), "ab"),  # the shorter one is complete first
        ("abcd", ("cd", "bcd"), "a"),  # both at once: the earlier start
        ("naïve é!", ("é",), "naïve "),
        ("sweet 😀 smile", ("😀 s",), "sweet "),
        ("abc", ("x",), "abc"),
        ("abST", ("STOP",), "abST"),
    ],
)
def test_stop_strings_end_the_text_and_never_leak(decoder, tiny_tokenizer, said, stop, shown):
    steps = spoken(decoder, tiny_tokenizer, said, stop=stop)
    assert pieces(steps) == shown
    hit = any(s in said for s in stop)
    assert steps[-1].finished == ("stop" if hit else "end")
    # at no moment did the stream show what the final text does not begin with
    assert all(shown.startswith(pieces(steps[:i])) for i in range(len(steps) + 1))


def test_text_streams_as_far_as_a_stop_string_allows(decoder, tiny_tokenizer):
    steps = spoken(decoder, tiny_tokenizer, "abcdefgh", stop=("XYZ",))
    assert [s.text for s in steps] == ["", "", "a", "b", "c", "d", "e", "f", "gh"]


@pytest.mark.parametrize("stop", [(), ("STOP",)])
def test_characters_stream_whole(decoder, tiny_tokenizer, stop):
    text = "aé€😀b 字符 ü😀"
    steps = spoken(decoder, tiny_tokenizer, text, stop=stop)
    assert pieces(steps) == text
    assert len(steps) == len(text.encode()) + 1
    assert not any("\ufffd" in step.text for step in steps)
    if not stop:
        assert [s.text for s in steps][:6] == ["a", "", "é", "", "", "€"]


def test_a_character_that_is_cut_off_is_shown_as_such_at_the_end(decoder, tiny_tokenizer):
    said = tiny_tokenizer.encode("a😀", add_special_tokens=False)[:-1]
    steps = spoken(decoder, tiny_tokenizer, said)
    assert [s.text for s in steps] == ["a", "", "", "", "\ufffd"]


def test_half_a_character_at_the_length_limit_is_dropped(decoder, tiny_tokenizer):
    for half in range(1, 4):
        said = tiny_tokenizer.encode("a😀", add_special_tokens=False)[: 1 + half]
        steps = spoken(decoder, tiny_tokenizer, said, max_new_tokens=len(said))
        assert (pieces(steps), steps[-1].finished) == ("a", "length")
    whole = spoken(decoder, tiny_tokenizer, "a😀", max_new_tokens=5)
    assert (pieces(whole), whole[-1].finished) == ("a😀", "length")


def test_every_byte_of_half_a_character_is_dropped(tiny_llama, llama):
    tokenizer = byte_fallback_tokenizer()
    said = [258, *(4 + byte for byte in "😀".encode()[:3])]
    decoder = Decoder(tiny_llama, tokenizer, llama)
    assert pieces(spoken(decoder, tokenizer, said, max_new_tokens=4)) == "a"


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama 2, Mistral and Gemma have: a token for letters, bytes for the rest."""
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"<0x{i:02X}>" for i in range(254)), "a", "b"]
    tokenizer = Tokenizer(BPE({w: i for i, w in enumerate(words)}, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def test_characters_stream_whole_when_every_byte_shows_as_a_sign(tiny_llama, llama):
    tokenizer = byte_fallback_tokenizer()
    text = "a😀é字b"
    letters = {"a": 258, "b": 259}
    said = [letters.get(chr(byte), 4 + byte) for byte in text.encode()]
    assert tokenizer.decode(said[:4]) == "a\ufffd\ufffd\ufffd"  # the kind of tokenizer meant
    steps = spoken(Decoder(tiny_llama, tokenizer, llama), tokenizer, said)
    assert [s.text for s in steps if s.text] == list(text)
