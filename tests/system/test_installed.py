"""The installed command, in processes of its own: what a process has a bearing on.

What the commands do is tested in the tests' own process, in tests/cli/ and tests/pipeline/.
"""

import json
import shutil
import signal
import subprocess
import sys

import pytest
from support.command import SCRIPT, installed, one_line_error, retrain

pytestmark = pytest.mark.slow  # nearly all of them import TensorFlow anew


def test_training_writes_nothing_but_what_it_has_to_say(trained, tiny_backbone):
    folder, _ = trained
    done = installed("train", folder / "pictures", "--backbone", tiny_backbone, "--steps", 50, check=0)
    assert "Test accuracy " in done.stdout
    lines = done.stderr.splitlines()
    assert {line.partition(" ")[0] for line in lines} <= {
        *("converting", "bottlenecks:", "step", "writing", "training", "retrain:")
    }
    for noise in ("cudart", "absl", "oneDNN", "Warning", "WARNING"):
        assert noise not in done.stderr + done.stdout


def test_prediction_writes_a_line_per_picture(trained):
    folder, _ = trained
    done = installed("predict", "model", "pictures/dog/dog0.png", "pictures/owl/deep", cwd=folder, check=0)
    assert done.stdout.startswith("pictures/dog/dog0.png: dog ")
    assert done.stdout.count("\n") == 1 + 20
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("args", "code", "part"),
    [
        (["inspect", "nowhere"], 1, "no such image folder"),
        (["train", "good", "--stepz", "5"], 2, "did you mean --steps?"),
        (["--how_many_training_steps", "5"], 2, "--image_dir is missing"),
    ],
)
def test_a_process_ends_with_the_code_and_the_line(args, code, part):
    done = installed(*args, check=code)
    one_line_error(done, part)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_names_that_no_terminal_can_show_are_shown_all_the_same(make_folder):
    root = make_folder({"Käfer": 4, "dog": 4})
    done = installed("inspect", root, env={"PYTHONIOENCODING": "ascii"}, check=0)
    assert r"K\xe4fer" in done.stdout


def test_a_full_disk_is_one_line(trained):
    folder, _ = trained
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [SCRIPT, "inspect", "pictures"], stdout=full, stderr=subprocess.PIPE, text=True, cwd=folder, check=False
        )
    assert done.returncode == 1
    one_line_error(done, "No space left on device")


SLOW = """
import sys, time
from retrain.backbones import litert
from retrain.cli import start
run = litert.LiteRTNetwork.bottlenecks
def slow(self, pixels):
    vectors = run(self, pixels)
    print("a batch", flush=True)
    time.sleep(0.5)
    return vectors
litert.LiteRTNetwork.bottlenecks = slow
litert._BATCHES = 32 // litert.cores()
sys.exit(start.main())
"""


def test_an_interrupted_run_says_how_far_it_came_and_goes_on(trained, tiny_backbone, make_folder):
    shutil.copytree(trained[0] / "cache", "cache")  # the converted network, and vectors of other pictures
    args = ["extract", str(make_folder({"fox": 40, "hen": 51}, suffix="bmp")), "--backbone", str(tiny_backbone)]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(2):
        assert process.stdout.readline() == "a batch\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "of 91 pictures; what is done is kept: the same command goes on from there" in errors
    again = json.loads(retrain(*args, "--json", check=0).stdout)
    assert again["cached"] in (32, 64)
    assert again["cached"] + again["extracted"] == 91


def test_output_can_be_piped_into_a_reader_that_stops(trained):
    folder, _ = trained
    done = subprocess.run(
        f"{SCRIPT} predict model pictures | head -1",
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
