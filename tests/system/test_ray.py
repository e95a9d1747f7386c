"""Pass one on a real Ray cluster: a head and a worker, of which a process and the whole worker are lost."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from support.command import retrain
from support.extraction import CountingBackbone, rows_of, run
from support.pictures import REPOSITORY, draw_picture

from retrain.data import read_image_folder
from retrain.events import Extracted
from retrain.extraction import ray_cluster
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.options import ClusterOptions, ExtractionOptions, RunOptions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

# a loopback address other than 127.0.0.1, which Ray takes for the machine's name, and replaces by its other address
NODE = {"node_ip_address": "127.0.0.2", "include_log_monitor": False, "object_store_memory": 80 * 2**20}


class SlowBackbone(CountingBackbone):
    """Takes its time, and says in which process."""

    batch_size = 4
    place = Path()

    def __init__(self, place):
        super().__init__()
        self.place = place

    def bottlenecks(self, pixels):
        (self.place / str(os.getpid())).touch()
        is_waiting = (self.place / "killed").exists() and len([*self.place.iterdir()]) < 4
        time.sleep(0.3 if is_waiting else 0.02)  # there is work left for the process that comes in place of the killed
        return super().bottlenecks(pixels)


class Cluster:
    """A head and a worker, with room for one process each."""

    def __init__(self, folder):
        from ray.cluster_utils import Cluster

        settings = {"prestart_worker_first_driver": False, "enable_worker_prestart": False}
        head = {"num_cpus": 1, "include_dashboard": False, "no_monitor": True, "_system_config": settings, **NODE}
        self.made = Cluster(initialize_head=True, head_node_args=head)
        self.worker = self.made.add_node(num_cpus=1, **NODE)
        self.address = self.made.address
        self.copies = Path(os.environ["XDG_CACHE_HOME"], "retrain", "caches")  # of caches, of its processes


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, server):
    """Its processes know the S3 server, and keep copies of caches apart from this machine's."""
    ray = pytest.importorskip("ray")
    names = ("RAY_USAGE_STATS_ENABLED", "PYTHONPATH", "XDG_CACHE_HOME")
    before = {name: os.environ.get(name) for name in names}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("elsewhere"))
    os.environ["PYTHONPATH"] = f"{REPOSITORY}:{REPOSITORY / 'tests'}"
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    try:
        made = Cluster(tmp_path_factory.mktemp("ray"))
        yield made
    finally:
        if ray.is_initialized():
            ray.shutdown()
        made.made.shutdown()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(ray_cluster, "_FIRST_PART", 16)
    monkeypatch.setattr(ray_cluster, "_LARGEST_PART", 16)


def extract(cluster, root, backbone, emit):
    """Pass one on the cluster."""
    options = RunOptions(extraction=ExtractionOptions(), cluster=ClusterOptions(ray=cluster.address))
    return extract_bottlenecks(
        read_image_folder(root), backbone, open_cache(backbone, ExtractionOptions()), options, emit
    )


def test_a_process_and_a_node_are_killed_and_the_rows_are_those_of_one_machine(
    cluster, make_folder, small_parts, tmp_path, capfd
):
    root = make_folder({"cat": 120, "dog": 120})
    (root / "dog" / "broken.png").write_bytes((root / "dog" / "dog_001.png").read_bytes()[:90])
    draw_picture(1, 1, 30).save(root / "dog" / "bomb.png")
    bomb = bytearray((root / "dog" / "bomb.png").read_bytes())
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    (root / "dog" / "bomb.png").write_bytes(bomb)
    place = tmp_path / "processes"
    place.mkdir()
    killed = []

    def kill(event):
        if not isinstance(event, Extracted):
            return
        processes = [path.name for path in place.iterdir()]
        if event.extracted > 30 and not killed:
            (place / "killed").touch()
            killed.append(processes[0])
            os.kill(int(processes[0]), signal.SIGKILL)
        elif len(processes) == 4 and len(killed) == 1:
            killed.append("node")
            cluster.made.remove_node(cluster.worker, allow_graceful=False)

    result = extract(cluster, root, SlowBackbone(place), kill)
    assert len(killed) == 2
    assert {*result.skipped} == {"dog/broken.png", "dog/bomb.png"}
    expected, _, _ = run(root, cache_dir="alone")
    assert result.skipped == expected.skipped
    assert np.array_equal(result.keys, expected.keys)
    assert rows_of(Path("cache")) == rows_of(Path("alone"))
    assert capfd.readouterr() == ("", "")


def test_interrupted_it_saves_what_is_in_hand_and_goes_on_from_there(cluster, make_folder, small_parts, tmp_path):
    root = make_folder({"cat": 60, "dog": 60})

    def stop(event):
        if isinstance(event, Extracted) and event.extracted:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(cluster, root, SlowBackbone(tmp_path), stop)
    kept = len(rows_of(Path("cache")))
    assert 16 <= kept < 120
    result, _, _ = run(root)  # on this machine alone
    assert (result.cached, result.extracted) == (kept, 120 - kept)


def test_the_command_trains_on_the_cluster_and_shows_nothing_of_ray(cluster, trained, tiny_backbone, tmp_path):
    """The tiny network was converted before, so that no process needs TensorFlow."""
    folder = shutil.copytree(trained[0], tmp_path / "work")
    arguments = ["--backbone", tiny_backbone, "--ray", cluster.address, "--augment", "1", "--flip", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "retrain", "train", "pictures", "--steps", "20", "--model-dir", "other", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    record = json.loads(done.stdout)
    assert record["extraction"]["skipped"] == 1
    assert record["augmentation"]["extracted"] > 50
    assert all(line.startswith(("retrain: ", "bottlenecks: ", "distorted ", "extracting on Ray: ", "step ", "writing "))
               for line in done.stderr.splitlines())  # fmt: skip


@pytest.mark.real
def test_flowers_on_the_cluster_have_the_rows_of_one_machine(cluster, test_data, tmp_path):
    """The network is converted once, before, as the fingerprints of both caches are the same."""
    backbone, pictures = "efficientnet_lite0", 16
    paths = sorted((test_data / "images" / "flowers").glob("*/*.jpg"))
    for path in paths[:: len(paths) // pictures][:pictures]:
        (tmp_path / "flowers" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "flowers" / path.parent.name / path.name).symlink_to(path)
    arguments = ["extract", "flowers", "--backbone", backbone, "--input-size", 96, "--json"]
    retrain(*arguments, "--cache-dir", "alone", check=0)
    shutil.copytree("alone", "cluster", ignore=shutil.ignore_patterns("segment-*.h5", "pictures"))
    done = retrain(*arguments, "--cache-dir", "cluster", "--ray", cluster.address, check=0)
    assert json.loads(done.stdout)["extracted"] == pictures
    assert rows_of(Path("cluster"), backbone) == rows_of(Path("alone"), backbone)


def test_pictures_and_cache_on_a_server(cluster, server, bucket, make_folder, tiny_backbone, tmp_path, monkeypatch):
    """Processes send their segments, and know the same pictures in an archive; then another machine trains."""
    import s3fs

    root = make_folder({"cat": 40, "dog": 40})
    (root / "dog" / "broken.png").write_bytes((root / "dog" / "dog_001.png").read_bytes()[:90])
    s3fs.S3FileSystem().put(str(root), f"s3://{bucket}/photos", recursive=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    source = [f"s3://{bucket}/photos", "--backbone", tiny_backbone, "--cache-dir", f"s3://{bucket}/cache", "--json"]
    done = retrain("extract", *source, "--shard", "1/2", check=0)
    there = json.loads(done.stdout)["extracted"]
    assert 20 < there < 60
    before = {path for _, path in server.asked if "segment-" in path}
    server.asked.clear()
    server.fault = lambda method, path, count: "slow" if count == 0 and path.endswith(".h5") else None
    done = retrain("extract", *source, "--ray", cluster.address, check=0)
    figures = json.loads(done.stdout)
    assert (figures["cached"], figures["extracted"], figures["skipped"]) == (there, 80 - there, 1)
    assert not [path for method, path in server.asked if method == "GET" and path in before]  # by any process
    assert {path.name for path in cluster.copies.glob("*/*/segment-*.h5")}
    with tarfile.open("part-0.tar", "w") as tar:
        for label in ("cat", "dog"):
            tar.add(root / label, label)
    s3fs.S3FileSystem().put("part-0.tar", f"s3://{bucket}/shards/part-0.tar")
    done = retrain("extract", f"s3://{bucket}/shards", *source[1:], "--ray", cluster.address, check=0)
    figures = json.loads(done.stdout)
    assert (figures["cached"], figures["extracted"], figures["skipped"]) == (80, 0, 1)
    assert len([*cluster.copies.parent.glob("archives/*.tar")]) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    done = retrain("train", *source, "--steps", "10", check=0)
    extraction = json.loads(done.stdout)["extraction"]
    assert (extraction["cached"], extraction["extracted"], extraction["skipped"]) == (80, 0, 1)
