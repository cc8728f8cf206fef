"""The API on a tiny model whose worker runs in this process, asked with the `openai` package."""

from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
import torch
from door import opened
from tiny import make_tiny, make_tokenizer

from t2ui.config import WorkerConfig
from t2ui.http.service import Service
from t2ui.svf.adapter import adapt
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, SavedMixture
from t2ui.worker.client import InProcessClient


@contextmanager
def a_place(root: Path):
    """`make_place`, whose cache is the one that is used inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("T2UI_CACHE", str(root / "cache"))
        yield make_place(root)


def make_place(root: Path, layers: int = 2) -> Path:
    """A folder with a tiny model, two experts, a classification expert and a saved mixture."""
    model = make_tiny("llama")
    model.save_pretrained(root / "tiny")
    make_tokenizer().save_pretrained(root / "tiny")
    details = {
        "math": {"labels": ("math",)},
        "code": {"labels": ("code",)},
        "sorter": {"labels": ("code", "math", "others"), "objective": "dispatch"},
    }
    with adapt(model, cache_dir=root / "cache") as adapter:
        for seed, (name, detail) in enumerate(details.items(), start=1):
            make_expert(adapter, name, seed, **detail).save(
                root / "experts" / "tiny" / f"{name}.safetensors"
            )
    both = SavedMixture(Mixture({"math": [0.5] * layers, "code": 0.25}))
    both.save(root / "experts" / "tiny" / "both.json")
    return root


def make_expert(adapter, name: str, seed: int, **details) -> Expert:
    generator = torch.Generator().manual_seed(seed)
    scales = {
        matrix: 1 + 0.4 * torch.randn(factors.S.numel(), generator=generator)
        for matrix, factors in adapter.factors.items()
    }
    mark = adapter.fingerprint
    return Expert(name, scales, **{"base_model": "tiny", "fingerprint": mark, **details})


@contextmanager
def served(place: Path, service=Service, **config):
    """(service, URL) of an app with a real worker; `service` makes it of the worker's client."""
    made = WorkerConfig(
        str(place / "tiny"), place / "experts", "cpu", cache_dir=place / "cache", **config
    )
    with InProcessClient(made) as client:
        assert client.wait_ready(120).state == "ready"
        running = service(client)
        with opened(service=running) as (_, url, _):
            yield running, url


def asking(url: str, key: str = "none", **more) -> openai.OpenAI:
    """The package's own client, as anybody would make it."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, **more)
