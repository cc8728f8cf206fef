"""Keys: who comes in, what is theirs, and what is written down of it."""

import base64
import json
import time

import httpx
import openai
import pytest
from api import asking, make_expert, make_place, served
from door import Visitor, eventually, opened
from fake_client import FakeClient

from t2ui.errors import InputError
from t2ui.http.limits import Limits
from t2ui.http.service import Service
from t2ui.http.tenants import LOOK_SECONDS, Tenants, hashed, read_keys
from t2ui.ui.shared.panel import pack

MIXER = pack({"experts": [], "alpha": {}})
USER = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.json"


def add(cli, file, name, *more):
    """A new key, by the command line."""
    status, out, err = cli("keys", "add", file, name, "--json", *more)
    assert status == 0, err
    return json.loads(out)["key"]


def bearer(key):
    return {"authorization": f"Bearer {key}"}


# --- the file ------------------------------------------------------------------------------------


def test_the_file_has_no_keys_but_their_hashes(cli, file):
    key = add(cli, file, "ada", "--operator", "--limit", "api_answers_per_address=2")
    text = file.read_text()
    assert key not in text and hashed(key) in text and file.stat().st_mode & 0o077 == 0
    (tenant,) = read_keys(file)
    assert tenant.operator and tenant.limited(Limits()).api_answers_per_address == 2
    assert (file.parent / "tenants" / "ada").is_dir()
    status, out, _ = cli("keys", "list", file)
    assert status == 0 and out.startswith("ada ") and "open" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("add", "ada"), "ada has a key already"),
        (("add", "../x"), "expected 1 to 40 letters"),
        (("add", "bob", "--limit", "answers=1"), "has no limit 'answers'; it has"),
        (("add", "bob", "--limit", "api_posts_per_address=x"), "expected NAME=NUMBER"),
        (("withdraw", "bob"), "There is no key of 'bob'; there are: ada"),
    ],
)
def test_what_cannot_be_written_is_said(cli, file, words, says):
    add(cli, file, "ada")
    command, name, *more = words
    status, _, err = cli("keys", command, file, name, *more)
    assert status == 2 and says in err and len(read_keys(file)) == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "t2ui.keys", "keys": [{"x": 1}]}'])
def test_a_file_that_is_none_is_refused_at_the_start(file, text):
    file.write_text(text)
    with pytest.raises(InputError, match="is no file of keys"):
        Tenants(file)
    with pytest.raises(InputError, match="t2ui keys add"):
        Tenants(file.parent / "nothing.json")


# --- the door ------------------------------------------------------------------------------------


@pytest.fixture
def locked(cli, file):
    """(FakeClient, URL, the app's blocks, keys by name) of a server with two keys."""
    keys = {
        "ada": add(cli, file, "ada", "--operator"),
        "bob": add(cli, file, "bob", "--limit", "api_answers_per_address=1"),
    }
    client = FakeClient(pace=0)
    with opened(service=Service(client, Limits(), Tenants(file))) as (_, url, demo):
        yield client, url, demo, keys


def test_nobody_comes_in_without_a_key(locked):
    _, url, _, keys = locked
    with httpx.Client(base_url=url) as http:
        for method, path in (
            ("GET", "/"),
            ("GET", "/v1/models"),
            ("GET", "/config"),
            ("POST", "/gradio_api/call/ask"),
            ("GET", "/metrics"),
        ):
            for headers in ({}, bearer("t2ui-wrong"), {"authorization": "Basic !"}):
                response = http.request(method, path, headers=headers)
                assert response.status_code == 401, path
                assert response.headers["www-authenticate"].startswith("Basic")
        assert http.get("/health").status_code == 200, "whoever keeps it running has no key"
        assert http.get("/", headers=bearer(keys["bob"])).status_code == 200
        basic = base64.b64encode(f"me:{keys['bob']}".encode()).decode()
        page = http.get("/", headers={"authorization": f"Basic {basic}"})
        assert page.status_code == 200, "a browser asks for a password: that is the key"
    with pytest.raises(openai.AuthenticationError) as raised:
        asking(url, "t2ui-wrong").models.list()
    assert raised.value.body["code"] == "invalid_api_key"


def test_a_key_that_is_withdrawn_opens_nothing_from_then_on(locked, cli, file):
    _, url, _, keys = locked
    ai = asking(url, keys["bob"])
    assert ai.models.list()
    assert cli("keys", "withdraw", file, "bob")[0] == 0
    time.sleep(LOOK_SECONDS)
    with pytest.raises(openai.AuthenticationError, match="was withdrawn"):
        ai.models.list()
    assert asking(url, keys["ada"]).models.list()
    key = add(cli, file, "bob")  # another one, while it runs
    time.sleep(LOOK_SECONDS)
    assert asking(url, key).models.list()


def test_only_an_operator_reads_the_metrics(locked):
    _, url, _, keys = locked
    with httpx.Client(base_url=url) as http:
        assert http.get("/metrics", headers=bearer(keys["bob"])).status_code == 403
        assert "t2ui_queue" in http.get("/metrics", headers=bearer(keys["ada"])).text


def test_limits_are_a_tenants_own_wherever_it_comes_from(locked):
    client, url, _, keys = locked
    client.pace = 100
    asked = {"model": "t2ui/base", "messages": USER, "stream": True}
    with httpx.Client(base_url=url, timeout=20) as http:

        def post(name):
            return http.stream(
                "POST", "/v1/chat/completions", json=asked, headers=bearer(keys[name])
            )

        with post("bob") as first:
            assert first.status_code == 200
            with post("bob") as second:
                assert second.status_code == 429
                second.read()
                assert second.json()["error"]["code"] == "rate_limit_exceeded"
            with post("ada") as other:
                assert other.status_code == 200, "another tenant has its own"
    eventually(lambda: len(client.cancelled) == 2, 15)


def test_the_worker_is_told_whose_a_request_is_from_every_door(locked):
    client, url, demo, keys = locked
    asking(url, keys["ada"]).chat.completions.create(model="t2ui/base", messages=USER)
    me = Visitor(url, demo)
    me.http.headers.update(bearer(keys["ada"]))
    event = me.call("ask", "x").json()["event_id"]
    assert me.hear("ask", event)[-1][0] == "complete"
    sessions = {request.session.partition("/")[0] for request in client.requests}
    assert sessions == {"@ada"}


def test_a_sessions_name_does_not_open_it_to_another_tenant(locked):
    """Of a call, whose caller chooses it, and of a page."""
    client, url, demo, keys = locked
    client.pace = 0.05
    ada, bob = Visitor(url, demo, session="batch"), Visitor(url, demo, session="batch")
    for who, name in ((ada, "ada"), (bob, "bob")):
        who.http.headers.update(bearer(keys[name]))
    event = ada.call("ask", "a secret", session_hash="batch").json()["event_id"]
    heard = bob.http.get("/gradio_api/queue/data?session_hash=batch")
    assert heard.status_code == 404
    assert bob.http.get(f"/gradio_api/call/ask/{event}").status_code == 404
    fn = next(fn for fn in demo.fns.values() if fn.api_name == "ask")
    stop = {"fn_index": fn._id, "session_hash": "batch"}
    assert bob.post("cancel", {**stop, "event_id": event}).status_code == 404
    assert bob.post("cancel", stop).status_code == 404
    assert ada.hear("ask", event)[-1][0] == "complete" and not client.cancelled

    client.hold_text = 2  # it must not end before it is cancelled
    asked = ("mine", "none", MIXER, "hard", 0, "", 16, 0, 1, 0)
    assert ada.join("run", *asked).status_code == 200
    assert bob.join("run", *asked).status_code == 404
    assert bob.http.get("/gradio_api/queue/data?session_hash=batch").status_code == 404
    run = {"fn_index": ada.function("run")._id, "session_hash": "batch", "event_id": None}
    assert bob.post("cancel", run).status_code == 404
    assert ada.post("cancel", run).status_code == 200
    client.hold_text = 0


# --- folders and logs, with a worker -------------------------------------------------------------


def test_each_sees_its_own_experts_and_its_own_log(cli, tmp_path, monkeypatch):
    from tiny import make_tiny

    from t2ui.svf.adapter import adapt
    from t2ui.svf.mixture import Mixture, SavedMixture

    place = make_place(tmp_path)
    monkeypatch.setenv("T2UI_CACHE", str(place / "cache"))
    file = place / "keys.json"
    ada, bob = add(cli, file, "ada"), add(cli, file, "bob", "--texts")
    tenants = Tenants(file)
    with adapt(make_tiny("llama"), cache_dir=place / "cache") as adapter:
        make_expert(adapter, "verse", 9).save(tenants.folders / "ada" / "verse.safetensors")
    SavedMixture(Mixture({"verse": 0.5, "math": 0.5})).save(tenants.folders / "ada" / "mine.json")

    def service(client):
        return Service(client, tenants=tenants)

    with served(place, service, tenants_dir=tenants.folders) as (_, url):
        hers, his = asking(url, ada), asking(url, bob)
        eventually(lambda: "t2ui/verse" in [one.id for one in hers.models.list()])
        assert "t2ui/@mine" in [one.id for one in hers.models.list()]
        seen = [one.id for one in his.models.list()]
        assert "t2ui/math" in seen and not {"t2ui/verse", "t2ui/@mine"} & set(seen)
        asked = {"messages": USER, "max_tokens": 4}
        answer = hers.chat.completions.create(model="t2ui/@mine", **asked)
        assert answer.t2ui["mixture"] == {"verse": 0.5, "math": 0.5}
        for model in ("t2ui/verse", "t2ui/@mine"):
            with pytest.raises(openai.NotFoundError):
                his.chat.completions.create(model=model, **asked)
        own = his.chat.completions.create(model="t2ui/math", **asked)

        def lines(name):
            log = tenants.folders / name / "audit.jsonl"
            return [json.loads(line) for line in log.read_text().splitlines()]

        (line,) = lines("ada")
        assert line["id"] == answer.id.removeprefix("chatcmpl-") and line["ended"] == "done"
        assert set(line["experts"]) == {"verse", "math"}
        assert all(len(sha) == 64 for sha in line["experts"].values())
        assert "prompt" not in line and "Hello there" not in json.dumps(line)
        (line,) = lines("bob")
        assert line["id"] == own.id.removeprefix("chatcmpl-") and line["prompt"] == "Hello there"
