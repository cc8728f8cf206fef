"""W′ that is kept, and scales that are shared, are those that a row was asked for with."""

import pytest
from decoding import tokens_of
from reference import prompt_ids, random_scales

from t2ui.config import Sampling
from t2ui.inference.decoding import Decoder, Row
from t2ui.inference.merging import copied
from t2ui.svf.adapter import adapt

PROMPT = prompt_ids(6)
LONG = 80  # tokens: W′ is written


@pytest.fixture
def made(tiny_llama):
    with adapt(tiny_llama) as adapter:
        yield tiny_llama, adapter, *(random_scales(tiny_llama, adapter.names, s) for s in (1, 2))


def to_end(decoder) -> list[int]:
    return [step.token for _ in iter(lambda: len(decoder), 0) for step in decoder.step()]


def test_scales_that_are_changed_in_place_are_not_what_is_kept(made, tiny_tokenizer):
    model, adapter, one, two = made
    wanted = tokens_of(model, tiny_tokenizer, adapter, Row(1, PROMPT, two, Sampling(60)))[0]
    for again in (lambda own: own, copied):
        own = copied(one)
        decoder = Decoder(model, tiny_tokenizer, adapter)
        decoder.add([Row(0, PROMPT, own, Sampling(LONG))])
        to_end(decoder)
        assert decoder._merged is not None and decoder._merged.complete
        for name, z in own.items():
            z.copy_(two[name])
        decoder.add([Row(1, PROMPT, again(own), Sampling(60))])
        assert to_end(decoder) == wanted


def test_equal_mixtures_that_come_together_share_one(made, tiny_tokenizer):
    model, adapter, one, _ = made
    decoder = Decoder(model, tiny_tokenizer, adapter)
    decoder.add([Row(i, PROMPT, copied(one), Sampling(60)) for i in range(2)])
    to_end(decoder)
    assert decoder._merged is not None


def test_a_row_that_is_not_finite_takes_no_states_from_others(made, tiny_tokenizer):
    model, adapter, one, _ = made
    broken = {name: z * float("nan") for name, z in one.items()}
    decoder = Decoder(model, tiny_tokenizer, adapter)
    decoder.add([Row(0, PROMPT, broken, Sampling(3), states=True)])
    to_end(decoder)
    decoder.add([Row(1, PROMPT, one, Sampling(3), states=True)])
    assert [step.state is not None for step in decoder.step()] == [True]
