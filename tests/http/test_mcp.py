"""The tools for agents, called with the official client of the protocol."""

import asyncio

import httpx
import pytest
from api import a_place, served

from t2ui.http.service import Service
from t2ui.http.tenants import Tenants

mcp = pytest.importorskip("mcp", reason="the tools need the package mcp")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with a_place(tmp_path_factory.mktemp("mcp")) as root:
        yield root


@pytest.fixture(scope="module")
def url(place):
    with served(place) as (_, found):
        yield found


@pytest.fixture
def agent(url):
    """Runs a coroutine function of the official client: agent(function)."""

    def run(use, path="/mcp"):
        async def connected():
            async with mcp.Client(f"{url}{path}") as client:
                return await use(client)

        return asyncio.run(connected())

    return run


def called(agent, name, arguments=None, **more):
    result = agent(lambda client: client.call_tool(name, arguments or {}, **more))
    assert not result.is_error, result.content
    return result.structured_content


@pytest.mark.parametrize("path", ["/mcp", "/gradio_api/mcp/"])
def test_every_tool_says_what_it_takes_and_gives(agent, path):
    tools = {one.name: one for one in agent(lambda client: client.list_tools(), path).tools}
    assert set(tools) == {"list_experts", "ask", "adapt", "look_into_expert", "look_into_matrix"}
    for name, tool in tools.items():
        assert tool.title and len(tool.description) > 40 and tool.output_schema, name
        assert tool.annotations.read_only_hint is True
        for argument, schema in tool.input_schema["properties"].items():
            assert schema.get("description"), f"{name}: {argument}"
    asked = tools["ask"].input_schema
    assert asked["required"] == ["prompt"] and "client" not in asked["properties"]
    assert "progress" not in tools["adapt"].input_schema["properties"]
    assert "bool" in str(tools["ask"].input_schema["properties"]["beside_base"])


def test_an_agent_lists_asks_adapts_and_looks_inside(agent):
    library = called(agent, "list_experts")
    assert [one["name"] for one in library["experts"]] == ["code", "math"]
    assert library["mixtures"] == ["both"] and library["default_dispatcher"] == "expert"

    asked = {"prompt": "What is 7 + 5?", "max_new_tokens": 8}
    by_itself = called(agent, "ask", asked)
    assert by_itself["label"] in library["labels"] and by_itself["base_text"] is None
    assert sum(by_itself["probabilities"].values()) == pytest.approx(1)
    mixed = called(agent, "ask", asked | {"mixture": {"math": 1.0}, "beside_base": True})
    assert mixed["mixture"] == {"math": 1.0} and mixed["text"] != mixed["base_text"]
    saved = called(agent, "ask", asked | {"saved": "both"})
    assert set(saved["mixture"]) == {"math", "code"}

    steps = []

    async def heard(done, of, words):
        steps.append((done, of, words))

    pairs = [["one and one", "2"], ["two and two", "4"], ["one", "1"]]
    found = called(agent, "adapt", {"examples": pairs}, progress_callback=heard)
    assert set(found["mixture"]) == {"math", "code"} and found["report"]
    assert steps and all(of == 6 and "generation" in words for _, of, words in steps)

    changes = called(agent, "look_into_expert", {"expert": "math", "by": "matrix"})
    sizes = [one["mean_change"] for one in changes["rows"]]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 0.1
    matrix = changes["rows"][0]["name"]
    inside = called(agent, "look_into_matrix", {"expert": "math", "matrix": matrix})
    moved = [abs(one["scale"] - 1) for one in inside["values"]]
    assert inside["matrix"] == matrix and moved == sorted(moved, reverse=True)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("ask", {"prompt": " "}, "prompt is empty"),
        ("ask", {"prompt": "x", "mixture": {"maths": 1}}, "no expert named 'maths'"),
        ("ask", {"prompt": "x", "mixture": {"math": 1}, "dispatcher": "prompt"}, "choose one"),
        ("ask", {"prompt": "x", "max_new_tokens": 5000}, "less than or equal to 512"),
        ("look_into_expert", {"expert": "maths"}, "There is no expert 'maths'; there are: code"),
        ("look_into_matrix", {"expert": "math", "matrix": "x"}, "x"),
        ("adapt", {"examples": [["a", "b"]]}, "at least 3"),
    ],
)
def test_what_is_wrong_is_said_to_the_agent(agent, name, arguments, says):
    result = agent(lambda client: client.call_tool(name, arguments))
    assert result.is_error and says in result.content[0].text


ORIGINS = [
    ("http://evil.example", 403),
    ("http://localhost:1", 200),
    (None, 200),
    ("http://[::1", 403),
    ("http://[x]", 403),
]


def test_a_page_of_another_host_cannot_call_them(url):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"accept": "application/json, text/event-stream"}
    for origin, status in ORIGINS:
        own = {"origin": origin} if origin else {}
        response = httpx.post(f"{url}/mcp", json=body, headers=headers | own)
        assert response.status_code == status, response.text
    assert httpx.get(f"{url}/mcp").status_code == 405
    assert (
        httpx.post(f"{url}/v1/completions", json={}, headers={"origin": "null"}).status_code == 403
    )


def test_with_keys_an_agent_is_a_tenant(place, cli, tmp_path):
    import json

    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    file = tmp_path / "keys.json"
    key = json.loads(cli("keys", "add", file, "ada", "--json")[1])["key"]
    tenants = Tenants(file)

    async def ask(url, headers):
        async with httpx2.AsyncClient(headers=headers) as http:
            async with mcp.Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client:
                return await client.call_tool("ask", {"prompt": "Hi", "max_new_tokens": 2})

    def service(client):
        return Service(client, tenants=tenants)

    with served(place, service, tenants_dir=tenants.folders) as (_, url):
        assert httpx.post(f"{url}/mcp", json={}).status_code == 401
        result = asyncio.run(ask(url, {"authorization": f"Bearer {key}"}))
        assert not result.is_error
    (line,) = (tenants.folders / "ada" / "audit.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == result.structured_content["receipt"]
