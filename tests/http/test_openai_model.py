"""The API on the default model with its shipped experts, in a worker process of its own."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from api import asking
from door import opened

from t2ui.config import Sampling, WorkerConfig, default_experts_dir
from t2ui.http.service import Service
from t2ui.inference.two_pass import two_pass_infer
from t2ui.receipts import Receipts, receipts_file
from t2ui.svf.adapter import adapted
from t2ui.svf.library import load_library
from t2ui.svf.mixture import Mixture
from t2ui.worker.client import WorkerClient

GAS = "Which gas do plants take in from the air?"
MIXTURES = [{}, {"math": 1.0}, {"code": 0.8}, {"reasoning": 0.7, "math": 0.3}]


def named(mixture):
    return "t2ui/" + ("+".join(f"{n}={a}" for n, a in mixture.items()) or "base")


@pytest.mark.model
def test_the_shipped_experts_answer_over_the_api_as_in_the_library(default_model, cli):
    model, tokenizer = default_model
    experts = load_library(default_experts_dir() / "smollm2-135m-instruct").experts
    receipts = Receipts(receipts_file())
    with WorkerClient(WorkerConfig(device="cpu", dtype="float32")) as client:
        assert client.wait_ready(280).state == "ready"
        with opened(service=Service(client, receipts=receipts)) as (_, url, _):
            ai = asking(url)
            asked = {"messages": [{"role": "user", "content": GAS}], "max_tokens": 12}
            auto = ai.chat.completions.create(model="t2ui/auto", **asked)

            def one(mixture):
                return ai.chat.completions.create(model=named(mixture), **asked)

            with ThreadPoolExecutor(len(MIXTURES)) as pool:
                together = list(pool.map(one, MIXTURES))
    receipts.close()
    assert auto.t2ui["label"] == "reasoning" and auto.t2ui["probabilities"]["reasoning"] > 0.5
    sampling = Sampling(max_new_tokens=12)
    with adapted(model):  # decomposed once
        for mixture, answer in zip(MIXTURES, together, strict=True):
            alone = two_pass_infer(
                model, tokenizer, GAS, experts, mixture=Mixture(mixture), sampling=sampling
            )
            assert answer.choices[0].message.content == alone.text, mixture
    status, out, err = cli("replay", auto.id, "--prompt", GAS, "--device", "cpu", "--json")
    assert status == 0, err
    said = json.loads(out[out.index("{") :])  # behind what Gradio printed when it closed
    assert said["same"] and said["text"] == auto.choices[0].message.content
