"""The API in OpenAI's shape, asked with the unmodified `openai` package."""

import json

import httpx
import openai
import pytest
from api import a_place, asking, served

from t2ui.config import Sampling
from t2ui.http.service import Service
from t2ui.inference.two_pass import two_pass_infer
from t2ui.models.loading import load_model
from t2ui.receipts import Receipts
from t2ui.svf.library import load_library
from t2ui.svf.mixture import Mixture

USER = [{"role": "user", "content": "What is 7 + 5?"}]
TALK = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi!"},
    {
        "role": "user",
        "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "1?"}],
    },
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with a_place(tmp_path_factory.mktemp("openai")) as root:
        yield root


@pytest.fixture(scope="module")
def app(place):
    receipts = Receipts(place / "cache" / "receipts.sqlite3")
    with served(place, lambda client: Service(client, receipts=receipts)) as made:
        yield made
    receipts.close()


@pytest.fixture(scope="module")
def ai(app):
    return asking(app[1])


@pytest.fixture(scope="module")
def library(place):
    model, tokenizer = load_model(place / "tiny", device="cpu")
    experts = load_library(place / "experts" / "tiny").experts

    def ask(prompt, **more):
        sampling = Sampling(**{"max_new_tokens": 12, **more.pop("sampling", {})})
        return two_pass_infer(model, tokenizer, prompt, experts, sampling=sampling, **more)

    return ask


def chat(ai, model, messages=USER, max_tokens=12, **more):
    return ai.chat.completions.create(model=model, messages=messages, max_tokens=max_tokens, **more)


def refused(call, kind, says):
    with pytest.raises(kind) as raised:
        call()
    error = raised.value
    assert says in error.body["message"] and error.body["type"] == "invalid_request_error"
    return error


# --- a mixture is a model's name -----------------------------------------------------------------


def test_models_are_the_experts_and_the_saved_mixtures(ai):
    names = [one.id for one in ai.models.list()]
    assert names == ["t2ui/base", "t2ui/auto", "t2ui/code", "t2ui/math", "t2ui/@both"]
    assert ai.models.retrieve("t2ui/math=0.7+code=0.3").id == "t2ui/math=0.7+code=0.3"
    refused(lambda: ai.models.retrieve("t2ui/maths"), openai.NotFoundError, "no expert 'maths'")


@pytest.mark.parametrize(
    ("model", "mixture"),
    [
        ("t2ui/base", {}),
        ("t2ui/math", {"math": 1.0}),
        ("t2ui/math=0.7+code=-0.3", {"math": 0.7, "code": -0.3}),
        ("t2ui/@both", {"math": [0.5, 0.5], "code": 0.25}),
    ],
)
def test_a_model_answers_as_its_mixture_does_in_the_library(ai, library, model, mixture):
    answer = chat(ai, model)
    wanted = library("What is 7 + 5?", mixture=Mixture(mixture))
    assert answer.choices[0].message.content == wanted.text
    assert answer.choices[0].finish_reason == "length" and answer.model == model
    assert answer.usage.completion_tokens == len(wanted.token_ids)
    assert answer.t2ui["mixture"] == mixture and answer.t2ui["label"] is None
    assert answer.t2ui["receipt"] == answer.id


def test_auto_is_what_pass_one_decides(ai, library):
    answer = chat(ai, "t2ui/auto")
    wanted = library("What is 7 + 5?")
    assert answer.choices[0].message.content == wanted.text
    assert answer.t2ui["label"] == wanted.label and answer.t2ui["dispatch"] == "expert"
    assert answer.t2ui["probabilities"] == pytest.approx(wanted.probabilities)
    own = {"dispatch": "prompt", "routing": "soft", "threshold": 0.01, "scope": "answer"}
    answer = chat(ai, "t2ui/auto", extra_body={"t2ui": own})
    wanted = library("What is 7 + 5?", **own)
    assert answer.choices[0].message.content == wanted.text
    assert answer.t2ui["scope"] == "answer"
    assert answer.t2ui["mixture"] == pytest.approx(wanted.mixture.weights)


def test_coefficients_by_layer_go_into_the_extra_field(ai, library):
    mixture = {"math": [1.0, 0.0], "code": [0.0, 0.5]}
    answer = chat(ai, "t2ui/base", extra_body={"t2ui": {"mixture": mixture, "normalise": True}})
    wanted = library("What is 7 + 5?", mixture=Mixture(mixture, normalise=True))
    assert answer.choices[0].message.content == wanted.text
    assert answer.t2ui["mixture"] == mixture


def test_a_conversation_goes_whole_into_the_chat_format_and_its_end_into_pass_one(ai, library):
    before = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi!")]
    answer = chat(ai, "t2ui/auto", TALK)
    wanted = library("What is 1?", before=before)
    assert answer.choices[0].message.content == wanted.text
    assert answer.t2ui["probabilities"] == pytest.approx(library("What is 1?").probabilities)
    assert wanted.text != library("What is 1?").text
    # what a client got may be sent back as it is
    again = [*USER, chat(ai, "t2ui/base").choices[0].message, *USER]
    assert chat(ai, "t2ui/base", again).choices[0].message.content


def test_a_plain_completion_goes_on_with_the_text(ai, library):
    answer = ai.completions.create(model="t2ui/math", prompt="Once upon", max_tokens=9, logprobs=2)
    wanted = library(
        "Once upon", mixture=Mixture({"math": 1}), plain=True, sampling={"max_new_tokens": 9}
    )
    choice = answer.choices[0]
    assert choice.text == wanted.text and answer.usage.prompt_tokens == len("Once upon")
    assert "".join(choice.logprobs.tokens) == wanted.text or "\ufffd" in wanted.text
    assert len(choice.logprobs.token_logprobs) == len(choice.logprobs.top_logprobs) == 9
    assert choice.logprobs.text_offset[0] == 0
    pieces = ai.completions.create(model="t2ui/math", prompt="Once upon", max_tokens=9, stream=True)
    assert "".join(c.choices[0].text for c in pieces) == wanted.text


# --- settings ------------------------------------------------------------------------------------


def test_a_stream_gives_the_same_text_and_ends_with_the_usage(ai):
    whole = chat(ai, "t2ui/auto")
    chunks = list(chat(ai, "t2ui/auto", stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].t2ui["label"] == whole.t2ui["label"]
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-2].t2ui["receipt"] == chunks[0].id
    assert chunks[-1].usage == whole.usage and not chunks[-1].choices
    assert len({c.id for c in chunks}) == 1


def test_the_same_seed_gives_the_same_answers_and_none_gives_others(ai):
    drawn = {"temperature": 1.5, "top_p": 0.95, "n": 3}
    one, two = (chat(ai, "t2ui/math", seed=7, **drawn) for _ in range(2))
    texts = [choice.message.content for choice in one.choices]
    assert texts == [choice.message.content for choice in two.choices]
    assert len(set(texts)) == 3 and [c.index for c in one.choices] == [0, 1, 2]
    assert one.usage.completion_tokens == 36
    third = chat(ai, "t2ui/math", seed=9, **(drawn | {"n": 1}))
    assert third.choices[0].message.content == texts[2], "each sample has the next seed"
    free = chat(ai, "t2ui/math", **drawn)
    assert [c.message.content for c in free.choices] != texts
    assert free.t2ui["seed"] != one.t2ui["seed"] == 7
    chunks = list(chat(ai, "t2ui/math", seed=7, stream=True, **drawn))
    streamed = ["", "", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


def test_a_stop_string_ends_the_text_before_it_and_its_tokens_have_no_score(ai):
    text = chat(ai, "t2ui/math", max_tokens=30).choices[0].message.content
    stop = text[10:13]
    answer = chat(ai, "t2ui/math", max_tokens=30, stop=[stop, "zzz"], logprobs=True).choices[0]
    assert answer.message.content == text[: text.index(stop)]
    assert answer.finish_reason == "stop"
    scored = "".join(one.token for one in answer.logprobs.content)
    assert "\ufffd" in scored or scored == answer.message.content


def test_logprobs_are_those_of_the_model_that_wrote(ai, place):
    import torch

    from t2ui.models.chat import chat_ids
    from t2ui.svf.adapter import adapt
    from t2ui.svf.mixture import mix

    answer = chat(ai, "t2ui/math", logprobs=True, top_logprobs=3, temperature=0.7, seed=1)
    scored = answer.choices[0].logprobs.content
    assert len(scored) == 12
    model, tokenizer = load_model(place / "tiny", device="cpu")
    experts = load_library(place / "experts" / "tiny").experts
    with adapt(model) as adapter, adapter.applied(mix(experts, Mixture({"math": 1}))):
        ids = torch.tensor([chat_ids(tokenizer, USER[0]["content"])])
        first = model(ids).logits[0, -1].log_softmax(-1)
    best = first.topk(3)
    assert [one.logprob for one in scored[0].top_logprobs] == pytest.approx(
        best.values.tolist(), abs=1e-4
    )
    assert scored[0].top_logprobs[0].token == tokenizer.decode([int(best.indices[0])])
    assert chat(ai, "t2ui/math").choices[0].logprobs is None
    streamed = [
        one
        for chunk in chat(
            ai, "t2ui/math", logprobs=True, top_logprobs=3, temperature=0.7, seed=1, stream=True
        )
        for choice in chunk.choices
        for one in (choice.logprobs.content if choice.logprobs else [])
    ]
    assert streamed == scored


# --- what is wrong is named ----------------------------------------------------------------------


def test_half_a_character_in_a_fields_name_is_named_too(ai):
    said = rb'{"model": "t2ui/base", "prompt": "x", "\ud800": 1}'
    answer = httpx.post(
        f"{ai.base_url}completions", content=said, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "?"


@pytest.mark.parametrize(
    ("more", "param", "says"),
    [
        ({"extra_body": {"temprature": 1}}, "temprature", "Unknown parameter: 'temprature'"),
        ({"extra_body": {"t2ui": {"tau": 1}}}, "t2ui.tau", "Unknown parameter: 't2ui.tau'"),
        ({"temperature": 3}, "temperature", "is 3; expected a number from 0 to 2"),
        ({"n": 99}, "n", "expected a whole number from 1 to 8"),
        ({"max_tokens": 0}, "max_tokens", "from 1 to 2048"),
        ({"top_logprobs": 3}, "top_logprobs", "needs logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "t2ui knows no frequency_penalty"),
        ({"tools": [{"type": "function"}]}, "tools", "t2ui knows no tools"),
        ({"response_format": {"type": "json_object"}}, "response_format", "knows no"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "up to 4 texts"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "stream: true"),
        ({"messages": []}, "messages", "expected a list of messages"),
        ({"messages": [{"role": "user", "content": "a", "x": 1}]}, "messages[0].x", "Unknown"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role", "'tool'"),
        ({"messages": TALK[:3]}, "messages[2].role", "the last is to be the user's"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].type",
            "only text can be read",
        ),
        ({"extra_body": {"t2ui": {"scope": "some"}}}, "t2ui.scope", "expected all or answer"),
        ({"extra_body": {"t2ui": {"dispatch": "expert"}}}, "t2ui.dispatch", "t2ui/auto"),
        ({"extra_body": {"t2ui": {"mixture": {"code": 1}}}}, "t2ui.mixture", "t2ui/base"),
    ],
)
def test_a_wrong_field_is_named(ai, more, param, says):
    error = refused(
        lambda: chat(ai, "t2ui/math", **{"messages": USER, **more}), openai.BadRequestError, says
    )
    assert error.body["param"] == param and error.body["code"]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("gpt-4", "expected t2ui/base"),
        ("t2ui/", "expected t2ui/base"),
        ("t2ui/maths", "there is no expert 'maths'; there are: code, math, sorter"),
        ("t2ui/math=much", "a number is expected"),
        ("t2ui/math=99", "expected a finite number between -10 and 10"),
        ("t2ui/math=1+math=1", "or one that is named"),
        ("t2ui/@mine", "there is no saved mixture of that name; there are: both"),
    ],
)
def test_a_model_that_there_is_not_is_404(ai, model, says):
    error = refused(lambda: chat(ai, model), openai.NotFoundError, says)
    assert error.body["code"] == "model_not_found" and error.body["param"] == "model"


def test_what_only_the_worker_can_refuse_has_a_status_too_also_in_a_stream(ai):
    long = [{"role": "user", "content": "x" * 600}]
    for stream in (False, True):
        refused(
            lambda stream=stream: chat(ai, "t2ui/base", long, stream=stream),
            openai.BadRequestError,
            "the model's context holds 512",
        )
    empty = [{"role": "user", "content": " "}]
    refused(lambda: chat(ai, "t2ui/base", empty), openai.BadRequestError, "prompt is empty")


def test_errors_of_the_door_have_the_same_shape(app):
    with httpx.Client(base_url=app[1]) as http:
        for method, path in (("POST", "/v1/nothing"), ("GET", "/v1/completions")):
            response = http.request(method, path)
            error = response.json()["error"]
            assert response.status_code == 404
            assert "There is nothing at" in error["message"] and error["param"] is None
        headers = {"content-type": "application/json"}
        response = http.post("/v1/chat/completions", content=b"{", headers=headers)
        assert response.status_code == 400 and "not JSON" in response.json()["error"]["message"]
        response = http.post("/v1/chat/completions", content=b"{}")
        assert response.status_code == 415 and response.json()["error"]["code"] is None


def test_the_curl_lines_of_the_documents_work(app):
    """As they stand, but for the port and for an expert that this model has."""
    import re
    import shutil
    import subprocess
    from pathlib import Path

    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    root = Path(__file__).parents[2]
    for name, count in (("README.md", 2), ("API.md", 3)):
        text = (root / name).read_text(encoding="utf-8")
        lines = re.findall(r"^curl [^'\n]*(?:'[^']*')?$", text, re.MULTILINE)
        assert len(lines) == count, lines
        for line in lines:
            line = line.replace("http://127.0.0.1:7860", app[1]).replace("reasoning", "code")
            line = line.replace('"model"', '"max_tokens": 6, "model"')
            done = subprocess.run(
                ["bash", "-c", line.replace("curl", "curl -sf")], capture_output=True, text=True
            )
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            if "stream" in line:
                assert done.stdout.endswith("data: [DONE]\n\n")
            else:
                assert json.loads(done.stdout)["object"] in ("list", "chat.completion")


# --- receipts ------------------------------------------------------------------------------------


def test_every_id_replays_token_for_token(ai, place, cli, tmp_path):
    experts = ("--experts", place / "experts" / "tiny", "--model", place / "tiny")
    asked = {
        "model": "t2ui/math=0.7+code=0.3",
        "messages": TALK,
        "temperature": 1.2,
        "n": 2,
        "max_tokens": 12,
    }
    answer = ai.chat.completions.create(**asked)
    request = tmp_path / "asked.json"
    request.write_text(json.dumps(asked))
    for sample in (0, 1):
        status, out, err = cli(
            "replay", answer.id, "--request", request, "--sample", sample, *experts, "--json"
        )
        assert status == 0, err
        said = json.loads(out)
        assert said["same"] is True
        assert said["text"] == answer.choices[sample].message.content
    greedy = chat(ai, "t2ui/auto")
    status, out, err = cli("replay", greedy.id, "--prompt", "What is 7 + 5?", *experts)
    assert (status, out) == (0, f"{greedy.choices[0].message.content}\n"), err
    assert "the same tokens" in err
    plain = ai.completions.create(model="t2ui/base", prompt="Once upon", max_tokens=7)
    status, out, err = cli("replay", plain.id, "--prompt", "Once upon", *experts, "--json")
    assert status == 0 and json.loads(out)["text"] == plain.choices[0].text


def test_what_was_asked_is_not_kept_but_known_again(app, ai, cli, place):
    answer = chat(ai, "t2ui/base")
    raw = b"".join(path.read_bytes() for path in (place / "cache").glob("receipts.sqlite3*"))
    assert b"What is 7" not in raw and answer.id.removeprefix("chatcmpl-").encode() in raw
    status, _, err = cli("replay", answer.id)
    assert status == 2 and "--prompt TEXT, or --request FILE" in err
    status, _, err = cli("replay", answer.id, "--prompt", "What is 7 + 6?")
    assert status == 2 and "This is not what was asked" in err
    status, _, err = cli("replay", "chatcmpl-0")
    assert status == 2 and "There is no receipt of 'chatcmpl-0'" in err
