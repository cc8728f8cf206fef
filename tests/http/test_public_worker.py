"""A public app with a real worker on a tiny model: what a visitor saves, from post to file."""

import json

import pytest
from door import Visitor, eventually, opened

from t2ui.config import WorkerConfig
from t2ui.http.launch import visitors_folder
from t2ui.http.limits import Limits
from t2ui.ui.shared.panel import pack, unpack
from t2ui.worker.client import WorkerClient

LIMITS = Limits(public=True, unheard_seconds=60, api_answers_per_address=4)
EXAMPLES = pack({"rows": [["one and one", "2"], ["two and two", "4"], ["one", "1"]]})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny model and two experts for it."""
    import torch
    from tiny import make_tiny, make_tokenizer

    from t2ui.svf.adapter import adapt
    from t2ui.svf.expert import Expert

    root = tmp_path_factory.mktemp("public")
    model = make_tiny("llama")
    model.save_pretrained(root / "tiny")
    make_tokenizer().save_pretrained(root / "tiny")
    with adapt(model, cache_dir=root / "cache") as adapter:
        for name, seed in [("math", 1), ("code", 2)]:
            generator = torch.Generator().manual_seed(seed)
            scales = {
                matrix: 1 + 0.5 * torch.randn(factors.S.numel(), generator=generator)
                for matrix, factors in adapter.factors.items()
            }
            expert = Expert(name, scales, fingerprint=adapter.fingerprint, labels=(name,))
            expert.save(root / "experts" / "tiny" / f"{name}.safetensors")
    return root


@pytest.fixture(scope="module")
def app(place):
    """(URL, blocks, the visitors' folder) of a public app."""
    with visitors_folder(LIMITS) as sessions:
        config = WorkerConfig(
            model=str(place / "tiny"),
            experts_dir=place / "experts",
            device="cpu",
            cache_dir=place / "cache",
            sessions_dir=sessions,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")
            with WorkerClient(config) as client:
                assert client.wait_ready(240).state == "ready"
                with opened(LIMITS, client=client) as (_, url, demo):
                    yield url, demo, sessions
    assert not sessions.exists(), "it goes with the app"


@pytest.fixture
def visitor(app):
    made = []

    def make():
        made.append(Visitor(app[0], app[1]))
        return made[-1]

    yield make
    for one in made:
        one.http.close()


def heard(visitor, response):
    """The last value of a page's event."""
    event = response.json()["event_id"]
    path = f"/gradio_api/queue/data?session_hash={visitor.session}"
    with visitor.http.stream("GET", path, timeout=120) as stream:
        for line in stream.iter_lines():
            said = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if said.get("msg") == "process_completed" and said["event_id"] == event:
                assert said["success"], said
                return said["output"]["data"]
    raise AssertionError("it never ended")


def mixer_of(visitor):
    """The mixture card's value, as the page has it once it is filled."""
    return heard(visitor, visitor.join("list_experts", "{}", "none"))[0]


def names(visitor):
    return {one["name"] for one in unpack(mixer_of(visitor))["experts"]}


def save(visitor, name):
    """A search, and what it found saved under this name; what the page then says."""
    mixer = mixer_of(visitor)
    asked = (EXAMPLES, "cem", "likelihood", "light", "{}", mixer)
    search = unpack(heard(visitor, visitor.join("start", *asked))[0])
    assert search["id"]

    def done():
        view = json.loads(visitor.server("search_state", {"id": search["id"]}).json())
        return view["state"] == "done"

    eventually(done, 240)
    fn = visitor.function("save")
    body = {"fn_index": fn._id, "data": [pack(search), mixer], "session_hash": visitor.session}
    response = visitor.post("queue/join", {**body, "event_data": {"name": name}})
    return unpack(heard(visitor, response)[-1])


def test_what_a_visitor_saves_is_a_file_that_only_their_session_sees(visitor, app, place):
    shared = sorted((place / "experts").rglob("*"))
    me, you = visitor(), visitor()
    assert names(me) == names(you) == {"math", "code"}
    said = save(me, "mine")
    assert said["note"].startswith("Saved as mine.safetensors")
    assert names(me) == {"math", "code", "mine"} and names(you) == {"math", "code"}
    (folder,) = app[2].iterdir()
    assert me.session not in folder.name and [f.name for f in folder.iterdir()] == [
        "mine.safetensors"
    ]
    assert sorted((place / "experts").rglob("*")) == shared

    def answered(visitor, **more):
        event = visitor.call("ask", "Hello", {"mine": 1.0}, "", 4, **more).json()["event_id"]
        return visitor.hear("ask", event, 120)[-1]

    assert answered(me, session_hash=me.session)[0] == "complete"
    for who, more in ((me, {}), (you, {}), (you, {"session_hash": you.session})):
        kind, error = answered(who, **more)
        assert kind == "error" and "no expert named 'mine'" in error["error"]
    event = you.call("experts").json()["event_id"]
    (listed,) = you.hear("experts", event)[-1][1]
    assert {one["name"] for one in listed["experts"]} == {"math", "code"}

    # the heartbeat of its page ends: the page is closed
    with me.http.stream("GET", f"/gradio_api/heartbeat/{me.session}") as heartbeat:
        assert next(heartbeat.iter_bytes())
    eventually(lambda: not list(app[2].iterdir()), 30)
    eventually(lambda: names(me) == {"math", "code"}, 30)


def test_one_search_a_session(visitor):
    me = visitor()
    mixer = mixer_of(me)
    long = pack({"rows": [[f"{n} and {n}", str(2 * n)] for n in range(40)]})
    asked = (long, "cem", "likelihood", "paper", "{}", mixer)
    first = unpack(heard(me, me.join("start", *asked))[0])
    again = heard(me, me.join("start", *asked))
    assert again[0].get("__type__") == "update", "nothing was started"
    other = visitor()
    assert unpack(heard(other, other.join("start", *asked))[0])["id"]
    # its own one is replaced by a page that says which one that was
    next_one = unpack(heard(me, me.join("start", *asked[:4], pack(first), mixer))[0])
    assert next_one["id"] not in ("", first["id"])
    for one, search in ((me, next_one),):
        heard(one, one.join("stop", pack(search)))
