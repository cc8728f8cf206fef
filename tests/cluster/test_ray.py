"""A Ray cluster: that none is there is one line; a node that is killed changes nothing."""

import ast
import json
import os
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_examples
from tiny import saved
from tiny_examples import open_example

import t2ui
from t2ui.cluster.ray_crew import RayCluster, check_address
from t2ui.config import FewShotConfig
from t2ui.errors import InputError
from t2ui.few_shot.adapt import search
from t2ui.records import Generation

adapter, experts = tiny_examples.adapter, tiny_examples.experts  # fixtures


@pytest.fixture
def closed_port() -> int:
    """One at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_no_module_imports_ray_when_it_is_imported():
    for path in Path(t2ui.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert not ast.unparse(node).startswith(("import ray", "from ray")), path


@pytest.mark.parametrize(
    "command",
    [
        ("adapt", "--examples", "few.jsonl", "--out", "mine.json"),
        ("evaluate", "base", "jsonl", "--data", "few.jsonl", "--reward", "exact", "--out", "table"),
        ("train", "jsonl", "--data", "few.jsonl", "--reward", "exact", "--out", "run"),
    ],
    ids=lambda words: words[0],
)
def test_a_cluster_that_is_not_there_is_one_line_and_nothing_is_written(
    cli, tmp_path, monkeypatch, closed_port, command
):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"what is {i}?", "answer": "1"} for i in range(20)]
    Path("few.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())  # is not asked for anything
    status, out, err = cli(*command, "--ray", f"127.0.0.1:{closed_port}")
    assert (status, out) == (2, "")
    (line,) = err.strip().split("\n")
    assert line.startswith(f"t2ui: There is no Ray cluster at '127.0.0.1:{closed_port}' (")
    assert line.endswith("start one (ray start --head), or leave --ray out.")
    assert os.listdir() == ["few.jsonl"]


@pytest.mark.parametrize("address", ["", "head", "head:", ":6379", "head:six"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="expected HOST:PORT, or auto"):
        check_address(address)


@pytest.mark.parametrize(
    "says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["nothing", "HTTP"]
)
def test_what_listens_but_is_no_cluster_is_refused(says, monkeypatch):
    """Ray itself would try for minutes."""
    monkeypatch.setattr("t2ui.cluster.ray_crew.CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.sendall(says)
                connection.recv(100)
                ended.wait(60)

        ended = threading.Event()
        server = threading.Thread(target=answer)
        server.start()
        with pytest.raises(InputError, match="no Ray cluster at .*(timed out|something else)"):
            check_address(f"127.0.0.1:{listening.getsockname()[1]}")
        ended.set()
        server.join()


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="needs the package ray, which is not installed: pip"):
        RayCluster("auto")


@pytest.fixture
def two_nodes(monkeypatch):
    """A head and a second node on this machine."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    from ray.cluster_utils import Cluster

    root = Path(t2ui.__file__).parents[1]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))  # what its workers import
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    options = {"num_cpus": 1, "object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    second = cluster.add_node(**options)
    yield cluster, second
    import ray

    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_a_node_that_is_killed_in_mid_search_changes_nothing(
    two_nodes, tiny_llama, adapter, tiny_tokenizer, experts, tmp_path
):
    cluster, second = two_nodes
    rows = [open_example(i, 5 + i % 4, 3 + i % 3, seed=i) for i in range(8)]
    config = FewShotConfig("cem", population=8, generations=6, batch_tokens=60, floor=0.0)
    *_, alone = search(adapter, tiny_tokenizer, rows, experts, config)
    folder, told = saved(tiny_llama, tmp_path / "tiny"), []
    with RayCluster(cluster.address, told.append) as connected:
        spread = connected.executor(adapter, folder, "cpu")
        assert told == ["Ray: 2 workers"]
        steps = search(adapter, tiny_tokenizer, rows, experts, config, executor=spread)
        generations = []
        for step in steps:
            if isinstance(step, Generation):
                generations.append(step)
                if step.number == 2:
                    cluster.remove_node(second, allow_graceful=False)
    assert told[1:] == ["Ray: a worker is lost, 1 are left; its rows go to them"]
    assert step.mixture == alone.mixture
    assert [g.scores for g in generations] == [g.scores for g in alone.generations]
    assert (step.before, step.after) == (alone.before, alone.after)


@pytest.mark.slow
def test_another_model_on_the_cluster_is_refused(two_nodes, adapter, tmp_path):
    from tiny import make_tiny

    cluster, _ = two_nodes
    folder = saved(make_tiny("llama", seed=5), tmp_path / "other")
    with RayCluster(cluster.address) as connected:
        with pytest.raises(InputError, match="is another model than here"):
            connected.executor(adapter, folder, "cpu")
        with pytest.raises(InputError, match="could not load the model: .* is not a model folder"):
            connected.executor(adapter, tmp_path / "nothing" / "there", "cpu")
