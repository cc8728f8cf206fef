"""What the worker shows of the experts: the library, heatmaps, single matrices.

Requests go through the worker's own loop, without a process; test_client.py has the processes.
"""

import shutil

import numpy as np
import torch
from serving import GREEDY, failure_of, listing, make_expert, one, run, texts

from t2ui.backend.serving import ModelBackend
from t2ui.messages import (
    Ask,
    Component,
    ComponentData,
    Heatmap,
    HeatmapData,
    NextToken,
    NextTokens,
)
from t2ui.svf.expert import Expert

# --- the library ---------------------------------------------------------------------------------


def test_the_library_is_listed_with_its_problems(backend, folder):
    good = (folder / "math.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(good[: len(good) // 2])
    (folder / "notes.safetensors").write_text("not an expert")
    listed = listing(backend)
    assert [e.name for e in listed.experts] == ["code", "dispatch", "math"]
    assert [e.kind for e in listed.experts] == ["expert", "dispatcher", "expert"]
    assert {name for name, _ in listed.problems} == {"truncated.safetensors", "notes.safetensors"}
    assert listed.labels[-1] == "others" and set(listed.labels) == {"math", "code", "others"}
    assert listed.layers == 2 and "up_proj" in listed.modules
    assert (listed.dispatchers, listed.dispatch) == (("prompt", "expert", "none"), "expert")
    math = next(e for e in listed.experts if e.name == "math")
    assert math.matrices == 14 and math.size_bytes == len(good)
    assert math.parameters == sum(f.S.numel() for f in backend.adapter.factors.values())


def test_an_expert_of_another_model_is_a_problem_not_a_crash(backend, folder):
    matrix = backend.adapter.names[0]
    Expert("large", {matrix: torch.ones(4096)}).save(folder / "large.safetensors")
    listed = listing(backend)
    assert "large" not in [e.name for e in listed.experts]
    assert any(name == "large.safetensors" and "4096" in why for name, why in listed.problems)


def test_a_new_expert_is_found_without_a_restart(backend, folder, adapter):
    assert "law" in failure_of(backend, NextToken("Hello", {"law": 1.0})).message
    make_expert(adapter, "law", 9).save(folder / "law.safetensors")
    assert one(backend, NextToken("Hello", {"law": 1.0}), NextTokens).kl > 0
    (folder / "law.safetensors").unlink()
    assert "law" in failure_of(backend, NextToken("Hello", {"law": 1.0})).message


def test_a_replaced_expert_is_the_new_one(backend, folder, adapter):
    before = one(backend, NextToken("Hello", {"math": 1.0}), NextTokens).kl
    make_expert(adapter, "math", 77).save(folder / "math.safetensors")
    assert one(backend, NextToken("Hello", {"math": 1.0}), NextTokens).kl != before


def test_an_experts_folder_without_one_for_the_model_is_read_itself(backend, folder, tmp_path):
    elsewhere = tmp_path / "flat"
    shutil.copytree(folder, elsewhere)
    flat = ModelBackend(backend.model, backend.tokenizer, backend.adapter, elsewhere)
    assert len(listing(flat).experts) == 3


def test_an_empty_library_still_answers_with_the_base_model(empty):
    listed = listing(empty)
    assert listed.experts == () and listed.problems == () and listed.labels == ("others",)
    assert (listed.dispatchers, listed.dispatch) == (("prompt", "none"), "prompt")
    (events,) = run(empty, Ask("Hello", dispatch="none", sampling=GREEDY))
    assert texts(events)["base"] == texts(events)["adapted"]
    assert one(empty, NextToken("Hello"), NextTokens).kl == 0
    assert not np.nan_to_num(one(empty, Heatmap({}), HeatmapData).values).any()
    assert "at least two" in failure_of(empty, Ask("Hello", dispatch="prompt")).message
    assert "there are: none" in failure_of(empty, Ask("Hello", {"math": 1.0})).message


# --- inspection ----------------------------------------------------------------------------------


def test_heatmap_and_component_show_the_mixture(backend):
    weights = {"math": 0.5, "code": 1.0}
    data = one(backend, Heatmap(weights, "up_proj"), HeatmapData)
    experts = backend._experts.library().experts
    assert len(data.names) == 2 and data.layers == (0, 1)
    for row, name in enumerate(data.names):
        z = 1 + 0.5 * (experts["math"].scales[name] - 1) + (experts["code"].scales[name] - 1)
        np.testing.assert_allclose(data.values[row][: len(z)], z - 1, atol=1e-6)
        part = one(backend, Component(name, weights), ComponentData)
        np.testing.assert_allclose(part.z, z, atol=1e-6)
        np.testing.assert_array_equal(part.sigma, backend.adapter.factors[name].S)


def test_a_heatmap_of_two_is_their_difference(backend):
    math = one(backend, Heatmap({"math": 1.0}), HeatmapData).values
    both = {"math": 2.0, "code": 2.0}
    half = one(backend, Heatmap(both, normalise=True), HeatmapData).values
    data = one(
        backend, Heatmap({"math": 1.0}, minus=both, minus_normalise=True, layer=1), HeatmapData
    )
    assert set(data.layers) == {1}
    np.testing.assert_allclose(data.values, (math - half)[len(math) // 2 :], atol=1e-6)
    assert "layer 9" in failure_of(backend, Heatmap({}, layer=9)).message


def test_an_unknown_module_or_matrix_fails_with_one_line(backend):
    assert "up_proj" in failure_of(backend, Heatmap({}, "heads")).message
    assert "lm_head" in failure_of(backend, Component("lm_head", {})).message
