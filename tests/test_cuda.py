"""What runs on the CPU runs on a GPU too, with the same answers: skipped where there is none."""

import copy

import pytest
import torch
from decoding import COUNT, row, tokens_of
from open_training import config, make_task
from reference import greedy, prompt_ids, random_scales, rewritten
from tiny import ARCHITECTURES, make_tiny
from torch.profiler import ProfilerActivity, profile

from t2ui.inference.decoding import Decoder
from t2ui.models.likelihood import batched_log_likelihoods
from t2ui.models.questions import Question
from t2ui.svf.adapter import adapt
from t2ui.training.svf import train_svf

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")


@pytest.fixture(params=ARCHITECTURES)
def both(request):
    """A tiny model on the CPU, and its copy on the GPU."""
    model = make_tiny(request.param)
    return model, copy.deepcopy(model).cuda()


def moved(scales, device):
    return scales and {name: z.to(device) for name, z in scales.items()}


@pytest.mark.parametrize("scope", ["all", "answer"])
def test_rows_with_their_own_mixtures_decode_as_on_the_cpu(both, tiny_tokenizer, scope):
    prompts = [prompt_ids(n, seed=1) for n in (7, 15, 15, 4)]
    found = {}
    for model in both:
        with adapt(model) as adapter:
            one, two = (
                moved(random_scales(model, adapter.names, seed=s, spread=1.0), model.device)
                for s in (1, 2)
            )
            tail = 1 if scope == "answer" else None
            pairs = enumerate(zip(prompts, (one, None, two, one), strict=True))
            rows = [row(i, ids, scales=z, tail=tail) for i, (ids, z) in pairs]
            together = tokens_of(model, tiny_tokenizer, adapter, *rows)
            assert together == [tokens_of(model, tiny_tokenizer, adapter, r)[0] for r in rows]
            found[model.device.type] = together
    assert found["cpu"] == found["cuda"]


def test_merged_weights_are_those_of_the_cpu(both, tiny_tokenizer):
    on_cpu, on_gpu = both
    ids = prompt_ids(9, seed=2)
    with adapt(on_gpu) as adapter:
        scales = random_scales(on_gpu, adapter.names, seed=3, spread=1.0)
        wanted = greedy(rewritten(on_cpu, moved(scales, "cpu")), ids, COUNT)
        mine = moved(scales, "cuda")
        with adapter.applied(mine, "merged"):
            assert tokens_of(on_gpu, tiny_tokenizer, None, row(0, ids)) == [wanted]


def test_likelihoods_are_those_of_the_cpu(both):
    questions = [
        Question(tuple(prompt_ids(n, seed=n)), (tuple(prompt_ids(3, seed=7)), tuple(prompt_ids(5))))
        for n in (4, 12, 12)
    ]
    on_cpu, on_gpu = (batched_log_likelihoods(model, questions, 64) for model in both)
    for a, b in zip(on_cpu, on_gpu, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("objective", ["next_token", "sampled"])
@pytest.mark.parametrize("scope", ["all", "answer"])
def test_training_moves_the_same_way(tmp_path, tiny_tokenizer, objective, scope):
    moved_to = {}
    for device in ("cpu", "cuda"):
        model = make_tiny("llama").to(device)
        settings = config(objective=objective, scope=scope, steps=3)
        folder = tmp_path / device
        events = list(
            train_svf(model, make_task(), settings, folder, tokenizer=tiny_tokenizer, name="x")
        )
        moved_to[device] = [e.values["change"] for e in events if e.kind == "step"]
    assert moved_to["cuda"] == pytest.approx(moved_to["cpu"], rel=0.05)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_step_waits_for_the_device_at_most_twice(tiny_tokenizer, temperature):
    model = make_tiny("llama").cuda()
    with adapt(model) as adapter:
        scales = [random_scales(model, adapter.names, seed=s) for s in range(4)]
        decoder = Decoder(model, tiny_tokenizer, adapter)
        decoder.add(
            [
                row(i, prompt_ids(9), scales=moved(z, "cuda"), temperature=temperature)
                for i, z in enumerate(scales)
            ]
        )
        decoder.read(), decoder.decode(), decoder.decode()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            assert len(decoder.decode()) == 4
    waits = {
        event.key: event.count
        for event in profiled.key_averages()
        if event.key in ("cudaStreamSynchronize", "cudaEventSynchronize")
    }
    assert 1 <= sum(waits.values()) <= 2, waits
