"""Components as the worker measures them: the library's numbers, as one message."""

import pytest
from serving import one

from t2ui.inference.components import components_of
from t2ui.messages import Components, ComponentsMeasured, Failed
from t2ui.records import ComponentChoice


def test_the_message_gives_the_library_s_numbers(backend, tiny_tokenizer):
    asked = Components({"math": 0.8}, ComponentChoice(count=4), "Hello", "A given answer.")
    experts = backend._experts.library("").experts
    expected = components_of(
        backend.model, tiny_tokenizer, experts, asked.settings, asked.choice, "Hello", asked.text
    )
    found = one(backend, asked, ComponentsMeasured)
    assert found.components == expected.components and found.tokens == expected.tokens
    assert found.changed == pytest.approx(expected.changed, abs=1e-4)
    assert found.activity[0] == pytest.approx(expected.activity[0], abs=1e-4)
    first = found.components[0]
    slid = ComponentChoice(chosen=((first.name, first.index),), at=first.z)
    same = one(backend, Components({"math": 0.8}, slid, "Hello", asked.text), ComponentsMeasured)
    assert same.changed[0] == pytest.approx(found.adapted, abs=1e-3), "z as it is: as it was"


def test_what_is_no_component_is_one_line(backend):
    chosen = ComponentChoice(chosen=(("model.layers.0.mlp.up_proj", 999),))
    failed = one(backend, Components({"math": 1.0}, chosen), Failed)
    assert "has no component 999; expected a whole number from 0 to" in failed.message
    failed = one(backend, Components({"poems": 1.0}), Failed)
    assert failed.message.startswith("There is no expert named 'poems'")
