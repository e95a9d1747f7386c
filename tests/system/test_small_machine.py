"""A small machine has numpy, h5py, pillow, tqdm, lazy-loader and ai-edge-litert, and nothing else of what we use."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from support.command import retrain
from support.pictures import REPOSITORY

NEEDED = ("numpy", "h5py", "pillow", "tqdm", "lazy-loader", "ai-edge-litert")


def with_what_they_need(names):
    """Distributions by their names, and those that they require on this machine."""
    found, waiting = {}, [*names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = metadata.distribution(name)
            plain = [text for text in found[name].requires or () if ";" not in text]
            waiting += [re.match(r"[\w.-]+", text)[0] for text in plain]
    return found


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with these packages alone, as links to those that are installed."""
    folder = tmp_path_factory.mktemp("packages")
    for distribution in with_what_they_need(NEEDED).values():
        for path in distribution.files:
            top = path.parts[0]
            if top != ".." and not (folder / top).exists() and not top.startswith("__pycache__"):
                (folder / top).symlink_to(distribution.locate_file(top))
    (folder / "retrain").symlink_to(REPOSITORY / "retrain")
    return folder


@pytest.fixture
def small(packages):
    """small("predict", ...): runs the command there, without what else is installed."""

    def run(*args):
        command = [sys.executable, "-S", "-m", "retrain", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(packages)})

    return run


def test_it_has_no_tensorflow(small, packages):
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import tensorflow"], capture_output=True, env={"PYTHONPATH": str(packages)}
    )
    assert done.returncode == 1


def test_it_predicts_as_any_other(small, trained):
    folder, _ = trained
    pictures = [folder / "pictures" / name / f"{name}0.png" for name in ("cat", "dog", "owl")]
    done = small("predict", folder / "model", *pictures, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    here = retrain("predict", folder / "model", *pictures, "--json", check=0)
    found, expected = json.loads(done.stdout), json.loads(here.stdout)
    assert [answer["label"] for answer in found] == [answer["label"] for answer in expected]
    scores = [[[*answer["scores"].values()] for answer in answers] for answers in (found, expected)]
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-6)


def test_it_evaluates(small, trained, tmp_path):
    folder, _ = trained
    place = ("--cache-dir", tmp_path / "cache")
    done = small("evaluate", folder / "model", folder / "pictures", "--json", "--quiet", *place)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["n"] == 90


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["inspect", "--help"], ["backbones"]])
def test_it_tells(small, args):
    done = small(*args)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("form", ["a graph alone", "a network to train on"])
def test_what_needs_more_says_so(small, trained, tmp_path, form, tiny_backbone):
    folder, _ = trained
    wanted = "TensorFlow is needed .*: pip install tensorflow"
    if form == "a graph alone":
        earlier = REPOSITORY / "tests" / "golden" / "version-0.1.0"
        done = small("predict", earlier / "model", folder / "pictures" / "cat" / "cat0.png")
    else:
        wanted = "this needs the package google_crc32c, which is not installed: pip install retrain"
        done = small("train", folder / "pictures", "--backbone", tiny_backbone, "--cache-dir", tmp_path / "cache")
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if "error" in line]
    assert re.fullmatch(f"retrain: error: {wanted}", line), done.stderr


def test_the_parts_of_the_list_are_real():
    assert all(Path(metadata.distribution(name).locate_file("")).is_dir() for name in NEEDED)
