"""Fixtures for all tests: tiny models, the tiny tokenizer, the default model, folders.

Models are shared by the whole session: a test that changes one puts it back, and each model's
fixture checks at the end that all of them did. torch is imported only by fixtures that need it, so
tests of the light half of the project stay light.
"""

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from t2ui.config import DATA_VARIABLE, default_cache_dir, default_data_dir

PROCESSES = 2  # among which all tests are divided, where pytest-xdist is there
# Before torch is imported, here and in every process that a test starts: tiny models gain nothing
# from threads, and two processes' threads stand in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
BROWSER = ("browser, a to h", "browser, i to z")
# What a page that gets no processor time looks like; any other failure stands. Reruns are counted
# in the summary: a test that is among them often has a race.
STARVED = ["TimeoutError", "it never happened", "ERR_CONNECTION_REFUSED"]
REAL_CACHE = default_cache_dir()  # before the fixture below points T2UI_CACHE elsewhere
REAL_DATA = default_data_dir()  # before it takes T2UI_DATA away


@pytest.hookimpl(tryfirst=True)  # before xdist reads its options
def pytest_cmdline_main(config: pytest.Config) -> None:
    """`python -m pytest`, which runs all tests, divides them among processes; a choice of files
    runs in one. `-n` and `--dist` say otherwise."""
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    inside = hasattr(config, "workerinput")  # one of these processes
    option = config.option
    if not everything or inside or getattr(option, "numprocesses", 0) is not None:
        return
    if not (option.collectonly or config.getoption("usepdb", False)):
        option.numprocesses = PROCESSES
    if option.dist == "no":
        option.dist = "loadfile"


@pytest.hookimpl(optionalhook=True)  # it is xdist's
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay together, since they share its fixtures; those that drive Chromium are
    two groups, one for each process, so that no more than two browsers run at once."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    config.option.loadscopereorder = False  # `pytest_collection_modifyitems` has ordered them
    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A browser test that ran out of time is run once more. Where processes divide the tests, the
    largest groups come first: at the end none waits long for the other."""
    for item in items:
        if item.get_closest_marker("browser") and config.pluginmanager.hasplugin("rerunfailures"):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=STARVED))
    if not hasattr(config, "workerinput"):
        return
    sizes = Counter(_group(item.nodeid) for item in items)
    sizes.update({name: len(items) for name in BROWSER})
    items.sort(key=lambda item: (-sizes[_group(item.nodeid)], _group(item.nodeid)))


def _group(nodeid: str) -> str:
    path = nodeid.partition("::")[0]
    if "/browser/" not in path:
        return path
    return BROWSER[path.rpartition("/")[2] > "test_i"]


@pytest.fixture(scope="session", autouse=True)
def _session_cache(tmp_path_factory):
    """Tests write their decompositions and models to a folder that goes with the session, and
    their commands know no data folder but the one that they name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("T2UI_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv(DATA_VARIABLE, raising=False)
        yield


@pytest.fixture(autouse=True)
def _cache_of_this_test(request, monkeypatch):
    """Tests marked `model` see the real cache: the default model is downloaded only once."""
    if request.node.get_closest_marker("model"):
        monkeypatch.setenv("T2UI_CACHE", str(REAL_CACHE))


@pytest.fixture(scope="session")
def real_cache() -> Path:
    """The user's own cache folder, for session and module fixtures around `default_model`."""
    return REAL_CACHE


@pytest.fixture(scope="session")
def default_model(real_cache):
    """(model, tokenizer) of the embedded default, on the CPU. For tests marked `model`."""
    from t2ui.models.loading import load_model

    return load_model(device="cpu", cache_dir=real_cache)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of public task data that T2UI_DATA names; tests that want it skip without."""
    if REAL_DATA is None:
        pytest.skip(f"no public task data: {DATA_VARIABLE} names no folder that holds them")
    if not REAL_DATA.is_dir():
        pytest.fail(f"{DATA_VARIABLE} is {REAL_DATA}, which is not a folder")
    return REAL_DATA


@pytest.fixture(scope="session")
def tiny_tokenizer():
    from tiny import make_tokenizer

    return make_tokenizer()


def _shared(architecture: str):
    """A session fixture with one tiny model that must be at the end what it was at the start."""

    @pytest.fixture(scope="session", name=f"tiny_{architecture}")
    def fixture():
        import torch
        from tiny import make_tiny

        model = make_tiny(architecture)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        yield model
        after = model.state_dict()
        assert after.keys() == before.keys(), f"a test left tiny_{architecture} with other modules"
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        assert not changed, f"a test left tiny_{architecture} with other weights: {changed}"

    return fixture


tiny_llama = _shared("llama")
tiny_qwen2 = _shared("qwen2")
tiny_qwen3 = _shared("qwen3")
tiny_gemma2 = _shared("gemma2")
tiny_gemma3 = _shared("gemma3")
tiny_mistral = _shared("mistral")
tiny_phi3 = _shared("phi3")
tiny_gpt2 = _shared("gpt2")
tiny_llava = _shared("llava")


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run the command line in this process; (exit status, stdout, stderr)."""
    from t2ui.cli.main import main

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["t2ui", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return stopped.value.code or 0, said.out, said.err

    return call


@pytest.fixture
def adapter(tiny_llama):
    """An adapter on the tiny Llama, taken off again afterwards."""
    from t2ui.svf.adapter import adapt

    with adapt(tiny_llama) as made:
        yield made
