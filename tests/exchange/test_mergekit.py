"""Two exported experts as the input of mergekit: a linear, a TIES and a SLERP merge."""

import copy

import pytest
import torch
from reference import logits, prompt_ids, random_scales, rewritten
from tiny import make_tiny, make_tokenizer
from transformers import AutoModelForCausalLM

from t2ui import Expert, adapt, save_merged

mergekit = pytest.importorskip("mergekit", reason="mergekit is not installed: pip install mergekit")
IDS = prompt_ids(12)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A base and two exported experts: their folders, and the models that they should be."""
    folder = tmp_path_factory.mktemp("mergekit")
    model = make_tiny("llama")
    model.save_pretrained(folder / "base")
    make_tokenizer().save_pretrained(folder / "base")
    models = {"base": model}
    with adapt(model) as adapter:
        for seed, name in enumerate(("math", "code")):
            scales = random_scales(model, adapter.names, seed, 0.3)
            expert = Expert(name, scales, fingerprint=adapter.fingerprint_of(scales))
            save_merged(folder / "base", {name: expert}, {name: 1}, folder / name)
            models[name] = rewritten(model, expert.scales)
    return folder, models


def merged(folder, configuration, name):
    """The model that mergekit makes."""
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    text = yaml.safe_load(configuration.format(folder=folder))
    config = MergeConfiguration.model_validate(text)
    run_merge(config, str(folder / name), options=MergeOptions(copy_tokenizer=True))
    model, report = AutoModelForCausalLM.from_pretrained(folder / name, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    return model.eval()


def mixed(models, mix):
    """A model with each tensor made by a function of those of base, math and code."""
    made = copy.deepcopy(models["base"])
    states = {name: model.state_dict() for name, model in models.items()}
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            tensor.copy_(mix(*(states[m][name].double() for m in ("base", "math", "code"))))
    return made


LINEAR = """
merge_method: linear
dtype: float32
models:
  - {{model: {folder}/math, parameters: {{weight: 0.75}}}}
  - {{model: {folder}/code, parameters: {{weight: 0.25}}}}
"""
TIES = """
merge_method: ties
dtype: float32
base_model: {folder}/base
parameters: {{normalize: true, density: 1.0}}
models:
  - {{model: {folder}/math, parameters: {{weight: 1.0}}}}
  - {{model: {folder}/code, parameters: {{weight: 1.0}}}}
"""
SLERP = """
merge_method: slerp
dtype: float32
base_model: {folder}/math
parameters: {{t: 0.5}}
models: [{{model: {folder}/math}}, {{model: {folder}/code}}]
"""


def ties(base, math, code):
    """Of each element the mean of the changes whose sign has the larger sum (density 1)."""
    changes = torch.stack([math - base, code - base])
    sign = changes.sum(0).sign()
    agreeing = (changes.sign() == sign) & (changes != 0)
    return base + (changes * agreeing).sum(0) / agreeing.sum(0).clamp(min=1)


def slerp(base, math, code):
    a, b = math.flatten(), code.flatten()
    cosine = (a / a.norm() @ (b / b.norm())).clamp(-1, 1)
    if cosine > 0.9995:
        return (math + code) / 2
    angle = cosine.acos()
    return (angle / 2).sin() / angle.sin() * (math + code)


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [(LINEAR, lambda base, math, code: 0.75 * math + 0.25 * code), (TIES, ties), (SLERP, slerp)],
    ids=["linear", "ties", "slerp"],
)
def test_mergekit_merges_two_exported_experts(work, configuration, expected, request):
    folder, models = work
    found = logits(merged(folder, configuration, request.node.callspec.id), IDS)
    right = logits(mixed(models, expected), IDS)
    torch.testing.assert_close(found, right, rtol=1e-3, atol=2e-3)
    assert (right - logits(models["math"], IDS)).abs().max() > 0.05
