"""Pass one in parts, by processes of their own over one cache, killed at random."""

import subprocess
import sys

import pytest
from support.extraction import rows_of, run
from support.pictures import REPOSITORY

# Starts once what seven processes need, and forks them twice: first to be killed at random, then to end.
SEVEN = """
import os, random, signal, sys, threading, time
sys.path.insert(0, sys.argv[1])
from support.extraction import CountingBackbone
from retrain.cache import writer
from retrain.data import read_image_folder
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.options import ExtractionOptions, RunOptions, Shard

writer.SEGMENT_ROWS = 4  # so that a killed process leaves something
writer.FLUSH_SECONDS = 0.05

class SlowBackbone(CountingBackbone):
    batch_size = 4

    def bottlenecks(self, pixels):
        time.sleep(0.02)
        return super().bottlenecks(pixels)

def started(number):
    child = os.fork()
    if child:
        return child
    backbone = SlowBackbone()
    folder = read_image_folder("pictures").shard(Shard(number, 7))
    extract_bottlenecks(folder, backbone, open_cache(backbone, ExtractionOptions()), RunOptions())
    os._exit(0)

chance = random.Random()
children = [started(number) for number in range(1, 8)]
until = time.monotonic()
for moment, child in sorted((chance.uniform(0.01, 0.15), child) for child in children):
    time.sleep(max(0, until + moment - time.monotonic()))
    os.kill(child, signal.SIGKILL)
print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
children = [started(number) for number in range(1, 8)]
print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.mark.slow
def test_seven_parts_that_are_killed_and_run_again_are_the_whole(make_folder, tmp_path):
    root = make_folder({"cat": 80, "dog": 80})
    (root / "dog" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    done = subprocess.run(
        [sys.executable, "-c", SEVEN, str(REPOSITORY / "tests")], capture_output=True, text=True, check=True
    )
    killed, ended = done.stdout.splitlines()
    assert (set(killed.split()) <= {"-9", "0"}, ended) == (True, "0 0 0 0 0 0 0")
    assert "-9" in killed
    run(root, cache_dir=str(tmp_path / "alone"))
    rows = rows_of(tmp_path / "cache")
    assert len(rows) == 160
    assert rows == rows_of(tmp_path / "alone")
    result, backbone, _ = run(root)  # with the whole folder there is nothing left to do
    assert (result.cached, backbone.count) == (160, 0)
