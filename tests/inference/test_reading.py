"""Prompts read in pieces: the same tokens, beside answers that go on, dropped or failed alone."""

import decoding
import pytest
import torch
from decoding import row, tokens_of
from reference import greedy, prompt_ids, random_scales
from tiny import ARCHITECTURES, make_tiny
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, LinearAttentionLayer

from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.inference.decoding import OLDEST_EVERY, Decoder
from t2ui.inference.prompt_store import PromptStore
from t2ui.inference.reading import Reading, of_like_length, take
from t2ui.inference.rows import Row, RunningRow
from t2ui.models.batch_cache import RoomyCache
from t2ui.models.loading import load_model
from t2ui.svf.adapter import adapt

decoder, llama = decoding.decoder, decoding.llama  # fixtures

aten = torch.ops.aten
PIECE = 7
BEGINNING = prompt_ids(12, seed=9)


def to_end(decoder, piece: int) -> dict:
    """Tokens by key, every prompt read in pieces of so many tokens."""
    found: dict = {}
    while len(decoder):
        for step in decoder.read(piece) if decoder.reading else decoder.decode():
            found.setdefault(step.key, []).append(step.token)
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("beginning", [[], BEGINNING], ids=["apart", "begun alike"])
def test_in_pieces_as_at_once(request, tiny_tokenizer, architecture, beginning):
    """Base rows and two mixtures, prompts of several lengths, beyond the sliding windows too."""
    model = request.getfixturevalue(f"tiny_{architecture}")
    with adapt(model) as adapter:
        one, two = (random_scales(model, adapter.names, seed=s) for s in (1, 2))
        lengths = (3, 21, 9, 21, 14, 4)
        rows = [
            row(i, [*beginning, *prompt_ids(n, seed=n)], 6, (None, one, two)[i // 2])
            for i, n in enumerate(lengths)
        ]
        wanted = tokens_of(model, tiny_tokenizer, adapter, *rows)
        for piece in (1, PIECE, 40):
            decoder = Decoder(model, tiny_tokenizer, adapter)
            decoder.add(rows)
            assert list(dict(sorted(to_end(decoder, piece).items())).values()) == wanted


def test_an_answer_goes_on_while_a_long_prompt_is_read(decoder, tiny_llama):
    short, long = prompt_ids(5), prompt_ids(100, seed=1)
    decoder.add([row("short", short, 20)])
    tokens = [step.token for step in decoder.read()]
    decoder.add([row("long", long, 3)])
    for turn in range(10):
        tokens += [step.token for step in decoder.decode()]
        assert decoder.read_so_far() == ({"long": (turn * PIECE, 100)} if turn else {})
        assert decoder.read(PIECE) == []
    assert tokens == greedy(tiny_llama, short, 11)
    found = to_end(decoder, PIECE)
    assert tokens + found["short"] == greedy(tiny_llama, short, 20)
    assert found["long"] == greedy(tiny_llama, long, 3)


def test_a_short_prompt_overtakes_a_long_one_which_is_not_forgotten(decoder):
    decoder.add([row("long", prompt_ids(60), 3)])
    decoder.read(PIECE)
    reads = 0
    while decoder.read_so_far()["long"][0] < 2 * PIECE:  # new ones keep coming
        decoder.add([row(f"short {reads}", prompt_ids(2), 3)])
        assert (key := next(iter(step.key for step in decoder.read(PIECE)), "")) != "long"
        reads += 1
        assert key or decoder.read_so_far()["long"][0] == 2 * PIECE
    assert reads <= OLDEST_EVERY


def test_a_dropped_prompt_is_not_read_on(decoder, tiny_llama, monkeypatch):
    decoder.add([row("base", prompt_ids(40), 3), row("adapted", prompt_ids(40, seed=2), 3)])
    decoder.read(PIECE)
    decoder.drop(["base"])
    assert len(decoder) == 1 and list(decoder.read_so_far()) == ["adapted"]
    found = to_end(decoder, PIECE)
    assert found == {"adapted": greedy(tiny_llama, prompt_ids(40, seed=2), 3)}
    decoder.add([row("a", prompt_ids(40), 3), row("b", prompt_ids(40), 3)])
    decoder.read(PIECE)
    decoder.drop(["a", "b"])
    assert len(decoder) == 0 and not decoder.reading and decoder.read() == []


def test_a_prompt_that_cannot_be_read_ends_alone(decoder, tiny_llama, monkeypatch):
    short = prompt_ids(5)
    decoder.add([row("fine", short, 9)])
    tokens = [step.token for step in decoder.read()]
    decoder.add([row("bad", prompt_ids(40), 3)])
    decoder.read(PIECE)
    with monkeypatch.context() as patch:
        patch.setattr(tiny_llama, "forward", lambda **_: 1 / 0)
        (step,) = decoder.read(PIECE)
    assert (step.key, step.finished, step.token) == ("bad", "failed", -1)
    assert isinstance(step.error, ZeroDivisionError)
    assert not decoder.reading
    assert tokens + to_end(decoder, PIECE)["fine"] == greedy(tiny_llama, short, 9)


def test_what_is_set_on_the_model_between_two_pieces_does_not_matter(
    decoder, llama, tiny_llama, tiny_tokenizer
):
    one, two = (random_scales(tiny_llama, llama.names, seed=s) for s in (1, 2))
    (wanted,) = tokens_of(tiny_llama, tiny_tokenizer, llama, row("x", prompt_ids(40), 5, one))
    decoder.add([row("x", prompt_ids(40), 5, one)])
    found = []
    while len(decoder):
        with llama.applied(two, "merged"):
            found += [s.token for s in (decoder.read(PIECE) or decoder.decode())]
    assert found == wanted


@pytest.mark.parametrize(
    ("layer", "said"),
    [(DynamicLayer, "without keys and values"), (LinearAttentionLayer, "LinearAttentionLayer")],
)
def test_a_cache_of_another_kind_is_refused(layer, said):
    cache = DynamicCache()
    cache.layers.append(layer())
    with pytest.raises(InputError, match=f"{said}.*another architecture"):
        take(cache, torch.tensor([0]))


def test_what_is_left_of_a_piece_is_no_pass_of_its_own(tiny_llama, tiny_tokenizer):
    """Three prompts, pieces of eight tokens: two of each, and none for the other two."""
    rows = [RunningRow(row(i, prompt_ids(20, seed=i), 30), tiny_tokenizer) for i in range(3)]
    reading = Reading(tiny_llama, None, rows)
    passes: list[int] = []
    hook = tiny_llama.register_forward_pre_hook(
        lambda _, args, named: passes.append(named["input_ids"].numel()), with_kwargs=True
    )
    with hook, torch.no_grad():
        assert [reading.read(8), reading.read(8)] == passes == [6, 6]


class Copies(TorchDispatchMode):
    """How many numbers each copy inside the block wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in (aten.cat, aten.copy_, aten.clone):
            self.sizes.append(result.numel())
        return result


def test_a_piece_copies_nothing_of_what_was_read_before(tiny_tokenizer, tmp_path):
    """Neither the cache as it grows nor attention, whose heads share keys and values."""
    make_tiny("llama").save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    model, tokenizer = load_model(tmp_path, device="cpu")
    rows = [RunningRow(row(i, prompt_ids(200, seed=i), 30), tokenizer) for i in range(2)]
    reading = Reading(model, None, rows)
    reading.read(2 * 150)
    with torch.no_grad(), Copies() as copies:
        reading.read(2 * PIECE)
    heads, width = model.config.num_key_value_heads, model.config.head_dim
    assert copies.sizes and max(copies.sizes) < 150 * 2 * heads * width


def test_room_in_a_cache_is_used_and_outlived():
    """What comes next is written behind what is there, until there is no room or the rows were
    chosen anew; the keys and values are transformers' own."""
    ours, theirs = RoomyCache(columns=10), DynamicCache()
    random = torch.Generator().manual_seed(0)

    def both(rows: int, tokens: int) -> Tensor:
        new = torch.randn(2, rows, 2, tokens, 4, generator=random)
        for number in range(2):
            found, wanted = (cache.update(*new, number) for cache in (ours, theirs))
            assert all(map(torch.equal, found, wanted))
        return ours.layers[0].keys

    began = both(3, 4)
    assert both(3, 6).data_ptr() == began.data_ptr()
    longer = both(3, 1)
    assert longer.data_ptr() != began.data_ptr() and both(3, 5).data_ptr() == longer.data_ptr()
    for cache in (ours, theirs):
        cache.crop(-7)
    assert both(3, 2).data_ptr() == longer.data_ptr()
    for cache in (ours, theirs):
        take(cache, torch.tensor([2, 0]), spare=1)
    both(2, 3)
    for cache in (ours, theirs):
        take(cache, torch.tensor([0]))
    assert both(1, 100).shape == (1, 2, 113, 4)


def test_prompts_of_like_length_are_read_together(tiny_tokenizer):
    """A long one would have all others padded to its length."""
    lengths = (40, 300, 35, 64, 4000, 8, 71, 290)
    rows = [RunningRow(Row(n, [1] * n), tiny_tokenizer) for n in lengths]
    found = [[len(one.row.prompt_ids) for one in group] for group in of_like_length(rows)]
    assert found == [[40, 35, 64, 8], [71], [300, 290], [4000]]
    assert of_like_length([]) == []


def test_a_tail_longer_than_its_prompt_takes_nothing_from_the_store(tiny_llama, tiny_tokenizer):
    prompt = prompt_ids(20)
    with adapt(tiny_llama) as adapter:
        adapted = Row(
            "x", prompt, random_scales(tiny_llama, adapter.names, 1), Sampling(12), tail=25
        )
        found = []
        for store in (None, PromptStore()):
            decoder = Decoder(tiny_llama, tiny_tokenizer, adapter, store=store)
            decoder.add([row("base", prompt, 2)])
            to_end(decoder, 100)
            decoder.add([adapted])
            found.append(to_end(decoder, 100))
    assert found[0] == found[1]


def test_a_key_that_is_used_again_is_another_row(decoder):
    decoder.add([row("a", prompt_ids(40), 3), row("b", prompt_ids(40, seed=1), 3)])
    decoder.read(10)
    decoder.drop(["a"])
    decoder.add([row("a", prompt_ids(4), 20)])
    assert {key: len(tokens) for key, tokens in to_end(decoder, 10).items()} == {"a": 20, "b": 3}


def test_a_row_without_a_tail_to_act_on_is_refused(decoder):
    with pytest.raises(InputError, match="tail is 0; expected at least 1"):
        decoder.add([Row("a", prompt_ids(4), tail=0)])
