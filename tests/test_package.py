"""What the installed package is: its version, its folders, its types. `.ci/check_wheel.py` installs
the wheel and runs it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import t2ui
from t2ui import config

ROOT = Path(__file__).resolve().parents[1]


def test_the_command_line_says_the_version(cli):
    assert cli("--version") == (0, f"t2ui {t2ui.__version__}\n", "")


def test_the_app_file_is_the_serve_command():
    """What the README's first command and a Space start."""
    command = [sys.executable, "app.py", "--port", "70000000"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout) == (2, ""), ran.stderr
    assert "70000000" in ran.stderr and "Traceback" not in ran.stderr


def test_a_checkout_ships_its_own_folders():
    assert config.shipped_folder("assets") == ROOT / "assets"
    assert config.default_experts_dir() == ROOT / "experts"


@pytest.mark.parametrize("folder", ["assets", "experts"])
def test_an_installed_package_ships_what_is_inside_it(folder, tmp_path, monkeypatch):
    """Even where a folder of the same name stands beside it, as another package may bring."""
    package = tmp_path / "site-packages" / "t2ui"
    inside = package / "_shipped" / folder
    inside.mkdir(parents=True)
    (package.parent / folder).mkdir()
    monkeypatch.setattr(config, "__file__", str(package / "config.py"))
    assert config.shipped_folder(folder) == inside


def test_type_checkers_see_the_public_names_that_are_imported_on_first_use():
    tree = ast.parse((ROOT / "t2ui" / "__init__.py").read_text(encoding="utf-8"))
    (checked,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {alias.asname: node.module for node in checked.body for alias in node.names}
    assert seen == t2ui._HOME
