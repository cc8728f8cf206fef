"""Rules of the house that no other tool holds; who may import whom stands in pyproject.toml."""

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


def imports(tree: ast.AST) -> set[str]:
    """The first names of all that is imported, also inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            found.add(node.module.split(".")[0])
    return found


def test_every_folder_is_on_a_floor():
    """The contracts in pyproject.toml say nothing of a folder that they do not name."""
    contracts = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    floors = set(re.findall(r"t2ui\.(\w+)", contracts.split("[tool.importlinter]")[1]))
    rooms = {name.split(".")[1] for name in FILES if "." in name} - {"__main__"}
    assert rooms <= floors, "put these on a floor in pyproject.toml"
    assert floors <= rooms, "these are gone: take them out of pyproject.toml"


def test_the_worker_finds_the_backend_by_its_name():
    """So that the client, and with it the page, stays light."""
    assert '"t2ui.backend.serving:load_backend"' in FILES["t2ui.worker.client"].read_text()


def test_no_page_imports_another_and_none_is_named_outside_the_list_of_pages():
    """Adding a page touches its own folders and `PAGES` alone."""
    pages = {name.split(".")[2] for name in FILES if name.startswith("t2ui.ui.")}
    pages = {page for page in pages if (PACKAGE / "ui" / page).is_dir()} - {"shared"}
    assert {"ask", "adapt", "inspect"} <= pages
    for name, tree in TREES.items():
        if not name.startswith("t2ui.ui."):
            continue
        own = name.split(".")[2]
        named = {
            node.module.split(".")[2]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and node.module.count(".") >= 2
            and node.module.startswith("t2ui.ui.")
        }
        assert not (named & pages) - {own}, f"{name} imports a page"


# --- what is not written at all ------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_no_pickle_no_global_no_relative_names(name):
    assert not {"pickle", "dill", "cloudpickle", "joblib"} & imports(TREES[name])
    for node in ast.walk(TREES[name]):
        assert not isinstance(node, ast.Global), f"line {node.lineno}: global"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save"):
            safe = name == "t2ui.exchange.authors" and ast.unparse(node) == "torch.load"
            assert safe, f"line {node.lineno}: {ast.unparse(node)} reads or writes pickle"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("weights_only") == "True", f"line {node.lineno}: not as tensors only"


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


# --- what a newcomer reads -----------------------------------------------------------------------


def test_the_readme_is_short_and_its_map_has_every_folder():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 150, "the README is a screenful or three: move something elsewhere"
    drawn = text.split("## The map")[1].split("```")[1]
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(re.findall(r"^  (\w+)/ ", drawn, re.MULTILINE)) == rooms
    for name in re.findall(r"\b\w+\.py\b", drawn):
        assert (ROOT / name).is_file() or (PACKAGE / name).is_file(), f"there is no {name}"


def test_contributing_explains_every_table_of_the_catalogue():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tables = [
        ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        for node in TREES["t2ui.catalogue"].body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict)
    ]
    assert [table for table in tables if f"`{table}`" not in text] == []


def links(page: Path) -> list[str]:
    """What a Markdown page links to in this repository."""
    found = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    return [link for link in found if "://" not in link]


def test_links_between_pages_lead_somewhere():
    pages = [path for path in project_files() if path.suffix == ".md"]
    assert ROOT / "README.md" in pages
    dead = [
        f"{p.name}: {link}" for p in pages for link in links(p) if not (p.parent / link).exists()
    ]
    assert dead == []


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
        "import sys, t2ui.worker.client, t2ui.worker.process, t2ui.ui, t2ui.cli.main\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    assert run_python(code) == "False False"


def test_public_names_are_what_they_say_whatever_was_imported_before():
    """None may be hidden by a module of the same name once that has been imported."""
    code = (
        "import types, t2ui\n"
        "first = {name: getattr(t2ui, name) for name in t2ui.__all__}\n"
        "import t2ui.inference.two_pass, t2ui.training.svf, t2ui.evaluation.measure\n"
        "for name, value in first.items():\n"
        "    assert not isinstance(value, types.ModuleType), name\n"
        "    assert getattr(t2ui, name) is value, name\n"
        "assert set(t2ui.__all__) <= set(dir(t2ui))\n"
        "from t2ui import load_model, load_svf, two_pass_infer, Expert, Mixture, adapt, train_svf\n"
        "print(two_pass_infer.__module__)"
    )
    assert run_python(code) == "t2ui.inference.two_pass"


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
    "a folder beside the repository": ["../" + "shared", "shared" + "/data", "ROOT" + ".parent"],
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
