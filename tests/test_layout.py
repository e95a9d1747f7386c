"""What the tree itself promises."""

import ast
import configparser
import re
import subprocess
import sys

import pytest
from importlinter.cli import lint_imports
from support.pictures import REPOSITORY

import retrain

PACKAGE = REPOSITORY / "retrain"


def test_rooms_import_only_rooms_above_them():
    assert lint_imports(str(REPOSITORY / "pyproject.toml"), no_cache=True) == 0


MODULES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith(("cli/", "__main__"))])
def test_only_the_command_line_prints_or_exits(name):
    path = MODULES[name]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Name):
            assert node.id not in ("print", "exit", "quit"), f"{path.name}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            assert node.attr not in ("exit", "stdout", "argv"), f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("statement", ["import retrain", "import retrain.cli.main; retrain.cli.main.build_parser()"])
def test_starting_imports_nothing_heavy(statement):
    heavy = ("tensorflow", "h5py", "keras", "PIL", "numpy", "scipy", "matplotlib")
    code = f"{statement}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_cache_knows_nothing_of_tensorflow():
    code = "import retrain.cache.store, retrain.extraction.pass_one, sys; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_scipy_is_loaded_where_it_is_used_alone():
    modules = "retrain.pipeline.run, retrain.cli.console, retrain.cli.cache, retrain.evaluation.fold_statistics"
    code = f"import {modules}, sys; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_matplotlib_is_loaded_where_it_is_used_alone():
    modules = "retrain.pipeline.run, retrain.cli.console, retrain.report.plots"
    code = f"import {modules}, sys; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_public_names_are_there():
    for name in retrain.__all__:
        assert getattr(retrain, name) is not None
    with pytest.raises(AttributeError, match="module 'retrain' has no attribute 'nothing'"):
        _ = retrain.nothing


def test_functions_are_of_a_size_to_read():
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 75, f"{path.name}: {node.name} has {length} lines"


def test_the_changelog_begins_with_this_version():
    text = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[(\S+)\]", text, re.MULTILINE)
    assert next(version for version in versions if version != "Unreleased") == retrain.__version__


def test_constraints_fit_the_requirements():
    from packaging.requirements import Requirement

    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    wanted = setup["options"]["install_requires"] + setup["options.extras_require"]["dev"]
    pinned = {}
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                pinned[requirement.name.lower()] = next(iter(requirement.specifier)).version
    for line in filter(None, map(str.strip, wanted.splitlines())):
        requirement = Requirement(line)
        assert requirement.specifier.contains(pinned[requirement.name.lower()]), line
