"""LoRA as a trainable: the same trainer, the model given back."""

import json

import pytest
import torch
from open_training import config, improving, make_task
from reference import log_likelihood, logits, prompt_ids
from safetensors.torch import load_file, save_file
from tiny import make_tiny

pytest.importorskip("peft")

from t2ui.errors import InputError
from t2ui.evaluation.methods import of_lora
from t2ui.inference.dispatch import DispatchPrompt, LabelReader
from t2ui.svf.adapter import adapt
from t2ui.training.lora import LoRA, lora_on, train_lora, training_record
from t2ui.training.trainer import Trainer

IDS = prompt_ids(7)


@pytest.fixture
def model():
    return make_tiny("llama")


def test_it_begins_as_the_base_and_gives_the_model_back(model):
    before, weights = logits(model, IDS), {n: p.clone() for n, p in model.state_dict().items()}
    lora = LoRA(model, rank=4)
    with lora.running("inference"):
        assert torch.equal(logits(model, IDS), before)
    with torch.no_grad():
        for parameter in lora.parameters:
            parameter.add_(0.1)
    with lora.running("inference"):
        assert not torch.allclose(logits(model, IDS), before)
    with lora.running("base"):
        assert torch.equal(logits(model, IDS), before)
    lora.remove()
    assert torch.equal(logits(model, IDS), before)
    after = model.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[n], weights[n]) for n in weights)


def test_parameters_are_those_of_rank_and_projections(model):
    """q: 32 → 32 and v: 32 → its width, both layers; A is (rank, in), B is (out, rank)."""
    lora = LoRA(model, rank=4)
    layers = [layer.self_attn for layer in model.model.layers]
    expected = sum(
        4 * (p.in_features + p.out_features) for a in layers for p in (a.q_proj, a.v_proj)
    )
    assert sum(p.numel() for p in lora.parameters) == expected
    lora.remove()


@pytest.mark.parametrize("modules", [("q", "nothing"), ()])
def test_projections_that_the_model_lacks_are_refused(model, modules):
    message = f"The LoRA's modules are {', '.join(modules) or 'none'}; expected some of down, gate"
    with pytest.raises(InputError, match=message):
        LoRA(model, 1, modules)
    assert not hasattr(model, "peft_config")


def test_training_writes_what_peft_reads(model, tiny_tokenizer, tmp_path):
    from peft import PeftModel

    before = logits(model, IDS)
    settings = config(steps=40, objective="next_token", batch=12, learning_rate=0.05)
    events = list(
        train_lora(model, make_task(), settings, tmp_path, tokenizer=tiny_tokenizer, rank=4)
    )
    losses = [e.values["cross_entropy"] for e in events if e.kind == "step"]
    assert losses[-1] < losses[0]
    assert torch.equal(logits(model, IDS), before)
    record = json.loads((tmp_path / "lora" / "training.json").read_text())
    assert record["steps_done"] == 40 and record["trained_parameters"] > 0
    loaded = PeftModel.from_pretrained(make_tiny("llama"), tmp_path / "lora").eval()
    assert not torch.allclose(logits(loaded, IDS), before)
    again = LoRA(model, rank=4, start=tmp_path / "lora")
    with again.running("inference"):
        torch.testing.assert_close(logits(model, IDS), logits(loaded, IDS))
    again.remove()
    for rank, folder, message in ((8, "lora", "is a LoRA of rank 4"), (4, "", "holds no LoRA")):
        with pytest.raises(InputError, match=message):
            LoRA(make_tiny("llama"), rank=rank, start=tmp_path / folder)


def test_evaluation_puts_it_on_and_takes_it_off(model, tiny_tokenizer, tmp_path):
    lora = LoRA(model, rank=4)
    with torch.no_grad():
        for parameter in lora.parameters:
            parameter.add_(0.1)
    with lora.running("inference"):
        wanted = logits(model, IDS)
    lora.save(tmp_path / "lora")
    lora.remove()
    with adapt(model) as adapter:
        dispatcher = LabelReader(model, tiny_tokenizer, adapter)
        before = logits(model, IDS)
        method = of_lora(adapter, dispatcher, tmp_path / "lora")
        assert method.classifier is None
        [(places, context)] = method.parts([None, None])
        assert places == [0, 1]
        with context():
            torch.testing.assert_close(logits(model, IDS), wanted)
        assert torch.equal(logits(model, IDS), before)
        with adapter.applied(
            {adapter.names[0]: torch.full_like(adapter.factors[adapter.names[0]].S, 1.3)}
        ):
            assert not torch.allclose(logits(model, IDS), before)
    with pytest.raises(InputError, match="holds no adapter_model"):
        of_lora(adapter, dispatcher, tmp_path)


def test_one_that_was_trained_on_dispatch_classifies(model, tiny_tokenizer, tmp_path):
    """By the raw probabilities of the model with the LoRA on, instruction included."""
    labels, prompts = ("math", "code", "others"), [f"request number {i}" for i in range(12)]
    torch.manual_seed(5)
    lora = LoRA(model, rank=4)
    with torch.no_grad():
        for parameter in lora.parameters:
            parameter.add_(0.3 * torch.randn_like(parameter))
    lora.save(tmp_path / "lora")
    (tmp_path / "lora" / "training.json").write_text(
        json.dumps({"task": "dispatch", "labels": labels})
    )
    form = DispatchPrompt.of(tiny_tokenizer, labels)

    def by_hand(prompt: str) -> str:
        asked = form.question(tiny_tokenizer, prompt)
        scores = [
            log_likelihood(model, [*form.before, *asked.prompt], option) for option in asked.options
        ]
        return labels[int(torch.stack(scores).argmax())]

    lora.remove()
    base = [by_hand(prompt) for prompt in prompts]
    with lora_on(model, tmp_path / "lora"):
        wanted = [by_hand(prompt) for prompt in prompts]
    assert wanted != base
    with adapt(model) as adapter:
        dispatcher = LabelReader(model, tiny_tokenizer, adapter)
        dispatcher.classify(prompts[0], labels, None)  # has read the instruction without the LoRA
        before = logits(model, IDS)
        method = of_lora(adapter, dispatcher, tmp_path / "lora")
        assert method.labels == labels
        with method.classifier() as classify:
            found = [classify(prompt) for prompt in prompts]
        assert [max(p, key=p.__getitem__) for p in found] == wanted
        assert torch.equal(logits(model, IDS), before)


def test_a_seed_gives_the_same_lora(model, tiny_tokenizer, tmp_path):
    ends = []
    for i, seed in enumerate((1, 1, 2)):
        torch.manual_seed(i)
        settings = config(steps=2, objective="next_token", learning_rate=0.05, seed=seed)
        run = train_lora(
            model, make_task(), settings, tmp_path / str(i), rank=4, tokenizer=tiny_tokenizer
        )
        ends.append([e.values["cross_entropy"] for e in run_to_its_steps(run)])
    assert ends[0] == ends[1] != ends[2]


def run_to_its_steps(run):
    try:
        for event in run:
            if event.kind == "step":
                yield event
    except InputError:  # two steps need not be a gain
        pass


def test_stopping_keeps_the_best_so_far(model, tiny_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("t2ui.training.validation.greedy_scores", improving())
    run = train_lora(
        model,
        make_task(),
        config(steps=40, evaluate_every=1),
        tmp_path,
        rank=4,
        tokenizer=tiny_tokenizer,
    )
    next(e for e in run if e.kind == "validation" and e.step == 2)
    run.close()
    assert training_record(tmp_path / "lora")["best_step"] == 2
    with lora_on(model, tmp_path / "lora"):
        pass
    assert training_record(tmp_path) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_alpha": 4}, r"another form \(lora_alpha 4 for rank 4\)"),
        ({"use_rslora": True}, r"another form \(use_rslora\)"),
        ({"target_modules": ["lm_head"]}, r"another form \(lm_head\)"),
        ({"target_modules": ["q_proj", "k_proj"]}, "another model: "),
    ],
)
def test_loras_of_another_form_are_refused(model, tmp_path, change, message):
    """They would run with another strength, or not at all, and nothing would show it."""
    lora = LoRA(model, rank=4)
    lora.save(tmp_path)
    lora.remove()
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    before = logits(model, IDS)
    with pytest.raises(InputError, match=message), lora_on(model, tmp_path):
        pass
    assert torch.equal(logits(model, IDS), before)
    with pytest.raises(InputError):
        LoRA(model, rank=4, start=tmp_path)


def test_a_lora_of_another_model_is_refused(model, tmp_path):
    lora = LoRA(make_tiny("qwen2"), rank=4, modules=("gate",))
    lora.save(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    save_file(
        {k: torch.zeros(t.shape[0], t.shape[1] + 1) for k, t in weights.items()},
        tmp_path / "adapter_model.safetensors",
    )
    with pytest.raises(InputError, match="of another model: .*shape"), lora_on(model, tmp_path):
        pass


def test_a_run_resumes(model, tiny_tokenizer, tmp_path):
    settings = config(steps=6, objective="next_token", evaluate_every=100)
    ends = []
    for folder, stop in (("whole", None), ("parts", 4)):
        for until in (stop, None):
            torch.manual_seed(0)  # A's; dropout's randomness is the step's
            lora = LoRA(model, rank=4)
            torch.manual_seed(len(ends))
            run = Trainer(lora, tiny_tokenizer, make_task(), settings, tmp_path / folder)
            for event in run.run():
                if until and event.kind == "step" and event.step == until:
                    break
            ends.append(torch.cat([p.detach().reshape(-1) for p in lora.parameters]))
            lora.remove()
    assert torch.equal(ends[0], ends[-1])
    assert ends[0].abs().max() > 0
