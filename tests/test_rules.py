"""The dependency rules of the design, by what every module imports."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "t2ui"
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}

# Every module of t2ui is in one of these groups (by its first name below t2ui). A new one has to
# be put where it belongs, and then keeps to that group's rule.
SHARED = {"config", "errors"}
MODEL = {  # svd up to two_pass: usable as a library, knows no worker and no page
    *("svd", "expert", "mixture", "library", "adapter", "models", "model_cache", "likelihood"),
    *("generate", "dispatch", "two_pass", "tasks", "reinforce", "evaluate", "card"),
    *("objectives", "rollouts", "trainable", "checkpoint", "lora", "trainer", "step_terms"),
    "term_source",
    *("cem", "few_shot", "few_shot_search", "few_shot_score", "few_shot_examples"),
    *("methods", "results", "table", "comparison"),
}
LIGHT = {  # talks to the worker in plain data: no torch
    *("messages", "messages_adapt", "client", "jobs", "loop", "worker"),
    *("figures", "figures_adapt", "figures_train", "ui"),
}
COMPOSING = {"serving", "shelf", "inspection", "token_shift", "adapt_job"}  # the worker's inside
COMMANDS = {
    "cli",
    "cli_shared",
    "cli_experts",
    "cli_adapt",
    "cli_evaluate",
    "cli_train",
    "__main__",
}
WITHOUT_TORCH = LIGHT | SHARED | {"cem"}


def imports(tree: ast.AST, module: str = "t2ui", lazy: bool = True) -> set[str]:
    """Full names of what is imported; `from t2ui import x` counts as t2ui.x where that is a module.

    With lazy=False only what importing the module itself imports.
    """
    found = set()
    for node in ast.walk(tree) if lazy else eager(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & FILES.keys()
            found |= submodules
            if len(submodules) < len(node.names):
                found.add(node.module)
    return found


def eager(tree: ast.AST):
    """The nodes outside functions and outside `if TYPE_CHECKING`."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


ALL = {name: imports(tree, name) for name, tree in TREES.items()}
EAGER = {name: imports(tree, name, lazy=False) for name, tree in TREES.items()}


def group(name: str) -> str:
    """The first name below t2ui."""
    return name.split(".")[1] if "." in name else ""


def users_of(package: str) -> set[str]:
    return {name for name, found in ALL.items() if package in {i.split(".")[0] for i in found}}


def own(name: str, of: dict[str, set[str]] = ALL) -> set[str]:
    """Groups of t2ui that a module imports, itself left out."""
    return {group(i) for i in of[name] if i.split(".")[0] == "t2ui" and i != "t2ui"} - {group(name)}


def test_every_module_is_in_one_group():
    groups = [SHARED, MODEL, LIGHT, COMPOSING, COMMANDS]
    names = {group(name) for name in FILES} - {""}
    for name in names:
        assert sum(name in g for g in groups) == 1, f"t2ui.{name}: put it into a group above"
    assert set().union(*groups) <= names, "these are gone: take them out of the groups"


def test_gradio_only_in_the_page():
    assert {group(name) for name in users_of("gradio")} <= {"ui"}
    assert any(group(name) == "ui" for name in users_of("gradio"))


def test_plotly_only_in_figures():
    figures = {"t2ui.figures", "t2ui.figures_adapt", "t2ui.figures_train"}
    assert users_of("plotly") == figures


def test_typer_only_in_the_command_line():
    assert {group(name) for name in users_of("typer")} <= COMMANDS


@pytest.mark.parametrize("name", [n for n in FILES if group(n) in WITHOUT_TORCH or n == "t2ui"])
def test_the_light_half_never_imports_torch(name):
    """Neither itself, also inside functions, nor through what it imports when it is imported."""
    heavy = {"torch", "transformers", "safetensors"}
    assert not heavy & {i.split(".")[0] for i in ALL[name]}
    reached, waiting = set(), {name}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        assert not heavy & {i.split(".")[0] for i in EAGER[module]}, f"through {module}"
        waiting |= {i for i in EAGER[module] if i in FILES} - reached


def test_the_page_knows_only_plain_data():
    allowed = {"client", "messages", "config", "figures", "figures_adapt", "errors"}
    for name in FILES:
        if group(name) == "ui":
            assert own(name) <= allowed, name


@pytest.mark.parametrize("name", ["svd", "expert", "mixture"])
def test_the_mathematics_knows_no_transformers(name):
    reached, waiting = set(), {f"t2ui.{name}"}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        assert "transformers" not in {i.split(".")[0] for i in ALL[module]}, f"through {module}"
        waiting |= {i for i in ALL[module] if i in FILES} - reached


def test_config_messages_and_figures_know_nothing_of_the_rest():
    assert own("t2ui.errors") == set()
    assert own("t2ui.config") == {"errors"}
    assert own("t2ui.messages") <= {"errors", "config", "messages_adapt"}
    assert own("t2ui.messages_adapt") <= {"errors", "config"}
    for name in ("figures", "figures_adapt", "figures_train"):
        assert own(f"t2ui.{name}") == set()


@pytest.mark.parametrize("name", [n for n in FILES if group(n) in MODEL | SHARED])
def test_the_library_knows_no_worker_and_no_page(name):
    assert own(name) <= MODEL | SHARED


@pytest.mark.parametrize("name", [n for n in FILES if group(n) in LIGHT])
def test_the_light_half_knows_no_model(name):
    assert own(name) <= LIGHT | SHARED


def test_only_worker_and_command_line_compose():
    """What joins model and messages is used by each other and by commands; the worker process
    finds `serving` by its name in the client, so that the client stays light."""
    for name in FILES:
        used = own(name) & COMPOSING
        assert not used or group(name) in COMPOSING | COMMANDS, f"{name} imports {used}"
        used = own(name) & COMMANDS
        assert not used or group(name) in COMMANDS, f"{name} imports {used}"
    assert '"t2ui.serving:load_backend"' in FILES["t2ui.client"].read_text()


def test_the_import_graph_has_no_cycle():
    left = {name: {i for i in found if i in FILES} - {name} for name, found in EAGER.items()}
    left["t2ui.tasks"] -= {"t2ui.tasks"}
    # a package's modules may import it: it is imported first anyway
    for name, found in left.items():
        found.discard(name.rpartition(".")[0])
    while ready := [name for name, found in left.items() if not found & left.keys()]:
        for name in ready:
            del left[name]
    assert left == {}


# --- what is not written at all ------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_no_pickle_no_global_no_relative_names(name):
    assert not {"pickle", "dill", "cloudpickle", "joblib"} & {i.split(".")[0] for i in ALL[name]}
    for node in ast.walk(TREES[name]):
        assert not isinstance(node, ast.Global), f"line {node.lineno}: global"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save"):
            raise AssertionError(f"line {node.lineno}: {ast.unparse(node)} reads or writes pickle")


@pytest.mark.parametrize("name", FILES)
def test_no_mutable_state_at_module_level(name):
    """Tables are constants, in capitals; anything else that can change has no place there."""
    mutable = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    tables = set()
    for node in TREES[name].body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, mutable):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            tables |= {ast.unparse(target) for target in targets}
    assert all(re.fullmatch(r"_?[A-Z0-9_]+|__all__", table) for table in tables), tables
    changing = {"append", "add", "update", "setdefault", "pop", "clear", "extend", "remove"}
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            changed = node.func.attr in changing and ast.unparse(node.func.value) in tables
            assert not changed, f"line {node.lineno} changes {ast.unparse(node.func.value)}"
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
            assert ast.unparse(node.value) not in tables, f"line {node.lineno}"


def test_no_file_of_odds_and_ends():
    unwanted = {"utils", "util", "helpers", "common", "misc", "registry", "manager", "engine"}
    assert not unwanted & {path.stem for path in FILES.values()}


# --- what importing costs ------------------------------------------------------------------------


def run_python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_importing_the_package_is_light():
    code = "import sys, t2ui; t2ui.InputError; print(sorted(sys.modules))"
    loaded = set(ast.literal_eval(run_python(code)))
    assert "t2ui.errors" in loaded
    assert not {"torch", "numpy", "transformers", "safetensors", "gradio"} & loaded


def test_importing_client_page_and_command_line_loads_no_torch():
    code = (
        "import sys, t2ui.client, t2ui.worker, t2ui.ui, t2ui.cli\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    assert run_python(code) == "False False"


def test_public_names_are_what_they_say_whatever_was_imported_before():
    """None may be hidden by a module of the same name once that has been imported."""
    code = (
        "import types, t2ui\n"
        "first = {name: getattr(t2ui, name) for name in t2ui.__all__}\n"
        "import t2ui.two_pass, t2ui.reinforce, t2ui.evaluate\n"
        "for name, value in first.items():\n"
        "    assert not isinstance(value, types.ModuleType), name\n"
        "    assert getattr(t2ui, name) is value, name\n"
        "assert set(t2ui.__all__) <= set(dir(t2ui))\n"
        "from t2ui import load_model, load_svf, two_pass_infer, Expert, Mixture, adapt, train_svf\n"
        "print(two_pass_infer.__module__)"
    )
    assert run_python(code) == "t2ui.two_pass"


def test_an_unknown_public_name_is_an_attribute_error():
    import t2ui

    with pytest.raises(AttributeError, match="module 't2ui' has no attribute 'train'"):
        _ = t2ui.train


# --- what the files may not name -----------------------------------------------------------------

# Put together here, so that this file does not name them itself.
FORBIDDEN = {
    "a path of one machine": ["/" + "work/", "/" + "root/", "/" + "tmp/", "/" + ".library"],
    "a package index": [
        "pypi" + ".org",
        "python" + "hosted",
        "index" + "-url",
        "download.py" + "torch",
    ],
}


def project_files() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no git checkout: {error}")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_project_file_names(what):
    found = []
    for path in project_files():
        data = path.read_bytes()
        for text in FORBIDDEN[what]:
            if text.encode() in data:
                found.append(f"{path.relative_to(ROOT)}: {text}")
    assert found == []


def test_no_project_file_is_large():
    """Experts are small; models, data and screenshots stay out of git."""
    large = [p.name for p in project_files() if p.stat().st_size > 1_500_000]
    assert large == []
