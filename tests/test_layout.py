"""What the tree itself promises."""

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

import retrain

PACKAGE = REPOSITORY / "retrain"

# Imports go from later rooms to earlier ones only.
ORDER = [
    "errors",
    "text",
    "interruption",
    "option_fields",
    "split_options",
    "augmentation_options",
    "fine_tuning_options",
    "config",
    "memory_budget",
    "picture_file",
    "files",
    "folders",
    "json_fields",
    "quiet",
    "folder_walk",
    "folder_layout",
    "image_folder",
    "labels_file",
    "left_out",
    "split",
    "folds",
    "foreign_files",
    "picture_bounds",
    "png_chunks",
    "images",
    "flat_pictures",
    "distortions",
    "graph_images",
    "torch_weights",
    "efficientnet_lite",
    "downloads",
    "download_folder",
    "archives",
    "hub",
    "keras_weights",
    "backbone",
    "safe_operations",
    "graph_safety",
    "layers",
    "network",
    "segments",
    "cache_folder",
    "default_backbone",
    "row_index",
    "bottleneck_cache",
    "picture_index",
    "claims",
    "segment_writer",
    "bfloat16",
    "quantization",
    "precision",
    "extraction",
    "benchmark",
    "catalogue",
    "vectors",
    "batches",
    "head",
    "objective",
    "descent",
    "optimum",
    "training",
    "evaluation",
    "curve",
    "fold_statistics",
    "calibration",
    "trunk",
    "graph_cut",
    "truncation",
    "checkpoint",
    "finetuning",
    "saved_model",
    "kept_exports",
    "export",
    "hooks",
    "dataset",
    "augmentation",
    "finetuning_run",
    "crossval",
    "tuning",
    "model_folder",
    "classifier",
    "expectations",
    "plots",
    "record",
    "run_checks",
    "run",
    "inspection",
    "contact_sheet",
    "cache_maintenance",
    "download_console",
    "progress",
    "console",
    "arguments",
    "commands",
    "backbones_cli",
    "cache_cli",
    "cli",
    "original",
    "start",
    "__main__",
]


def module_imports(path: Path) -> set[str]:
    """The modules of the package that a module imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "retrain":
            found |= {alias.name for alias in node.names if (PACKAGE / f"{alias.name}.py").exists()}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("retrain."):
            found.add(str(node.module).split(".")[1])
    return found


def test_every_module_has_its_place_in_the_order():
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"} == set(ORDER)


# `cli` hands the original's command line over to `original`, and `backbone` loads its `network` when asked to.
LATER = {("cli", "original"), ("backbone", "network")}


@pytest.mark.parametrize("name", ORDER)
def test_imports_follow_the_path_of_the_data(name):
    later = {other for other in module_imports(PACKAGE / f"{name}.py") if ORDER.index(other) >= ORDER.index(name)}
    assert {(name, other) for other in later} <= LATER


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_only_the_command_line_prints_or_exits(path):
    if path.stem in ("cli", "commands", "backbones_cli", "cache_cli", "start", "__main__"):
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Name):
            assert node.id not in ("print", "exit", "quit"), f"{path.name}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            assert node.attr not in ("exit", "stdout", "argv"), f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("statement", ["import retrain", "import retrain.cli; retrain.cli.build_parser()"])
def test_starting_imports_nothing_heavy(statement):
    heavy = ("tensorflow", "h5py", "keras", "PIL", "numpy", "scipy", "matplotlib")
    code = f"{statement}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_cache_knows_nothing_of_tensorflow():
    code = "import retrain.bottleneck_cache, retrain.extraction, sys; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_scipy_is_loaded_where_it_is_used_alone():
    modules = "retrain.run, retrain.console, retrain.cache_cli, retrain.fold_statistics"
    code = f"import {modules}, sys; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_matplotlib_is_loaded_where_it_is_used_alone():
    code = "import retrain.run, retrain.console, retrain.plots, sys; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_public_names_are_there():
    for name in retrain.__all__:
        assert getattr(retrain, name) is not None
    with pytest.raises(AttributeError, match="module 'retrain' has no attribute 'nothing'"):
        _ = retrain.nothing


def test_functions_are_of_a_size_to_read():
    for path in PACKAGE.glob("*.py"):
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
