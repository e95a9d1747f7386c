"""What the tree itself promises."""

import ast
import configparser
import functools
import importlib
import re
import subprocess
import sys

import pytest
from importlinter.cli import lint_imports
from support.pictures import REPOSITORY

import retrain
from retrain import options

PACKAGE = REPOSITORY / "retrain"


def test_rooms_import_only_rooms_above_them(monkeypatch):
    # its dictConfig() would disable the loggers of this process, and with them the log that later tests look at
    monkeypatch.setattr("logging.config.dictConfig", lambda config: None)
    assert lint_imports(str(REPOSITORY / "pyproject.toml"), no_cache=True) == 0


MODULES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def tree_of(name):
    return ast.parse(MODULES[name].read_text("utf-8"))


@functools.cache
def imports_of(name):
    """The statements `from ... import ...` of a module."""
    return [node for node in ast.walk(tree_of(name)) if isinstance(node, ast.ImportFrom)]


# `pipeline` has no front: its functions are named like its modules, one for each command, and `retrain` exports them.
FRONTS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.pyi"))


def names_taken_from(room):
    """The names that other rooms import from a room's front, and the modules inside it that they import past it."""
    names, past = set(), set()
    for name in MODULES:
        if name.startswith((f"{room}/", "__init__")):
            continue
        for node in imports_of(name):
            if node.module == f"retrain.{room}":
                names |= {alias.name for alias in node.names}
            elif (node.module or "").startswith(f"retrain.{room}."):
                past.add(f"{name}: {node.module}")
    return names, past


@pytest.mark.parametrize("room", FRONTS)
def test_a_room_exports_what_other_rooms_use_and_nothing_else(room):
    names, past = names_taken_from(room)
    assert past <= {"cli/main.py: retrain.backbones.sources"}  # whose downloads it shows
    modules = {path.stem for path in (PACKAGE / room).glob("*.py")}
    assert names - modules == set(importlib.import_module(f"retrain.{room}").__all__)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith(("cli/", "__main__"))])
def test_only_the_command_line_prints_or_exits(name):
    path = MODULES[name]
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Name):
            assert node.id not in ("print", "exit", "quit"), f"{path.name}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            assert node.attr not in ("exit", "stdout", "argv"), f"{path.name}:{node.lineno}"


def loaded(*steps):
    """Which of some modules are loaded after each step, in a process of its own: pairs of code and names."""
    code = "import sys\n"
    for statement, names in steps:
        code += f"{statement}\nprint([name for name in {names} if name in sys.modules])\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_starting_imports_nothing_heavy():
    heavy = ("tensorflow", "h5py", "keras", "PIL", "numpy", "scipy", "matplotlib", "jinja2")
    statements = ("import retrain", "import retrain.cli.main; retrain.cli.main.build_parser()")
    assert loaded(*((statement, heavy) for statement in statements)) == ["[]"] * 2


def test_what_is_large_is_loaded_where_it_is_used_alone():
    large = ("tensorflow", "scipy", "matplotlib")
    found = loaded(
        ("import retrain.cache.store, retrain.cache.maintenance, retrain.extraction.pass_one", large),
        ("import retrain.pipeline.train, retrain.cli.console.training, retrain.cli.cache", large),
        ("import retrain.evaluation.fold_statistics, retrain.report.plots", large),
    )
    assert found == ["[]"] * 3


def test_the_public_names_are_there():
    for name in retrain.__all__:
        assert name == "__version__" or getattr(retrain, name).__doc__
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text("utf-8"))
    listed = next(node.value for node in stub.body if isinstance(node, ast.Assign))
    assert ast.literal_eval(listed) == sorted(retrain.__all__)
    assert set(retrain.__all__) >= {name for name in options.__all__ if name.endswith("Options")}
    with pytest.raises(AttributeError, match="No retrain attribute nothing"):
        _ = retrain.nothing


# Functions that are still too long or take too much. The lists only shrink: whoever mends one takes it out.
LONG: set[str] = set()
MANY_PARAMETERS: set[str] = set()
# as the standard library calls it; as scikit-learn wants it, which reads an estimator's parameters from its constructor
MANY_PARAMETERS_GIVEN = {
    "backbones/sources/downloads.py:_Redirections.redirect_request",
    "sklearn/classifier.py:RetrainClassifier.__init__",
    "sklearn/transformer.py:BottleneckTransformer.__init__",
}


def functions(node, name, owner=None):
    """All functions in a tree: "file:Class.function", and how many parameters and lines each has."""
    for child in ast.iter_child_nodes(node):
        inner = f"{name}{child.name}." if isinstance(child, ast.FunctionDef | ast.ClassDef) else name
        if isinstance(child, ast.FunctionDef):
            arguments = child.args
            count = len([*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs])
            is_static = any(isinstance(item, ast.Name) and item.id == "staticmethod" for item in child.decorator_list)
            is_method = isinstance(owner, ast.ClassDef) and not is_static
            yield inner[:-1], count - is_method, child.end_lineno - child.lineno + 1
        yield from functions(child, inner, child)


def test_functions_are_of_a_size_to_read():
    """Five parameters at most, and a screen of 60 lines."""
    found = [one for name in MODULES for one in functions(tree_of(name), f"{name}:")]
    assert {name for name, count, _ in found if count > 5} == MANY_PARAMETERS | MANY_PARAMETERS_GIVEN
    assert {name for name, _, lines in found if lines > 60} == LONG


# Tests of a whole room, or of the tree.
OF_A_WHOLE = {
    "cache/test_faults.py",
    "cache/test_mutations.py",
    "cache/test_promises.py",
    "cli/test_messages.py",
    "export/test_clients.py",
    "test_docs.py",
    "test_examples.py",
    "test_layout.py",
    "training/test_fine_tuning_run.py",
}


def test_tests_lie_where_what_they_test_lies():
    """tests/<room>/test_<module>.py; tests/system/ has what goes through several rooms, or a process of its own."""
    tests = REPOSITORY / "tests"
    found = {str(path.relative_to(tests)) for path in tests.rglob("test_*.py")} - OF_A_WHOLE
    modules = {name.replace("/_", "/").lstrip("_") for name in MODULES}
    assert {
        name for name in found if not name.startswith("system/") and name.replace("test_", "", 1) not in modules
    } == set()
    assert all((tests / name).is_file() for name in OF_A_WHOLE)


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
