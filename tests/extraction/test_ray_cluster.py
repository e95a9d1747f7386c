"""Handing out parts to processes that may be lost, with a stand-in for Ray: no process, and any fault."""

import contextlib
import dataclasses
import os
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from support.extraction import CountingBackbone, run
from support.hearing import hearing

from retrain.data import read_image_folder
from retrain.errors import ClusterError, ImageFolderError
from retrain.events import Extracted, Noted, Warned, ignore
from retrain.extraction import ray_cluster
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.extraction.ray_actor import Job
from retrain.options import ClusterOptions, ExtractionOptions, RunOptions


class RayError(Exception):
    """As Ray's: a process, or its machine, was lost."""


class RayTaskError(RayError):
    """As Ray's: what was called raised an error."""

    def __init__(self, cause):
        super().__init__(f"traceback of many lines\n{type(cause).__name__}: {cause}")
        self.cause = cause


class FakeRay:
    """Runs the calls one after the other, in this process.

    Args:
        machines: what each has.
        lose: told the pictures of each part before they are extracted; returns whether the process is lost then.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, *machines, lose=lambda pictures: False):
        self.machines, self.lose = machines or ({"CPU": 2.0},), lose
        self.calls = []
        self.actors = []
        self.killed = []

    def put(self, value):
        return value

    def nodes(self):
        return [{"Alive": True, "Resources": resources} for resources in self.machines]

    def remote(self, made):
        def options(**settings):
            self.settings = settings
            return SimpleNamespace(remote=lambda *given: self.started(made, given))

        return SimpleNamespace(options=options)

    def started(self, made, given):
        actor = SimpleNamespace(has_started=False)

        def call(name):
            def remote(*arguments):
                self.calls.append((actor, name, arguments))
                return len(self.calls) - 1

            return SimpleNamespace(remote=remote)

        actor.start, actor.extract, actor.stop = map(call, ("start", "extract", "stop"))
        actor.real = made(*given)
        actor.again = lambda: made(*given)
        self.actors.append(actor)
        return actor

    def wait(self, references, num_returns=1, timeout=None):
        return references[:1], references[1:]

    def get(self, reference):
        actor, name, arguments = self.calls[reference]
        if name == "extract" and (not actor.has_started or self.lose([number for number, _ in arguments[0]])):
            actor.has_started = False
            if actor.real._here is not None:
                actor.real._here.claims.close()
            raise RayError("The actor died")
        try:
            if name == "start":
                actor.real, actor.has_started = actor.again(), True
            return getattr(actor.real, name)(*arguments)
        except Exception as error:
            raise RayTaskError(error) from error

    def kill(self, actor):
        self.killed.append(actor)
        if actor.real._here is not None:
            actor.real._here.__exit__(None)


@pytest.fixture
def use(monkeypatch):
    """Puts a stand-in in the place of Ray."""

    def put(ray):
        monkeypatch.setattr(ray_cluster, "connected", lambda address: contextlib.nullcontext(ray))
        monkeypatch.setattr(ray_cluster, "_PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(ray_cluster, "_FIRST_PART", 16)
        monkeypatch.setattr(ray_cluster, "_SMALLEST_PART", 4)
        return ray

    return put


def extract(root, emit=ignore, strict=False, **cluster):
    """Pass one on the stand-in; the result, and the vectors."""
    backbone = CountingBackbone()
    extraction = ExtractionOptions(strict=strict)
    options = RunOptions(extraction=extraction, cluster=ClusterOptions(ray="auto", **cluster))
    cache = open_cache(backbone, extraction)
    result = extract_bottlenecks(read_image_folder(root), backbone, cache, options, emit)
    return result, cache.read(cache.find(result.keys[result.readable]))


def test_the_rows_are_those_of_one_machine(make_folder, use):
    root = make_folder({"cat": 40, "dog": 40})
    ray = use(FakeRay({"CPU": 2.0}, {"CPU": 3.0}))
    done = []
    result, vectors = extract(root, hearing(Extracted, lambda now: done.append((now.done, now.extracted))))
    assert (result.extracted, result.cached, done[0], done[-1]) == (80, 0, (0, 0), (80, 80))
    assert np.array_equal(vectors, run(root, cache_dir="alone")[2])
    assert len(ray.actors) == len(ray.killed) == 2
    assert ray.settings["num_cpus"] == 2
    again, _ = extract(root)
    assert (again.extracted, again.cached) == (0, 80)


def test_where_nothing_is_to_be_read_no_cluster_is_asked(make_folder, use, monkeypatch):
    monkeypatch.setattr("retrain.cache.picture_index._SETTLED_NS", -1)
    root = make_folder({"cat": 4, "dog": 4})
    run(root)
    monkeypatch.setattr(ray_cluster, "connected", lambda address: pytest.fail("connected"))
    assert extract(root)[0].cached == 8


def test_a_part_whose_process_is_lost_is_done_by_another(make_folder, use):
    root = make_folder({"cat": 40, "dog": 40})
    losses = Counter()

    def lose(pictures):
        losses[pictures[0]] += 1
        return losses[pictures[0]] == 1  # every part once

    use(FakeRay({"CPU": 2.0}, {"CPU": 2.0}, lose=lose))
    result, vectors = extract(root)
    assert (result.extracted, result.skipped) == (80, {})
    assert np.array_equal(vectors, run(root, cache_dir="alone")[2])


def test_a_picture_that_ends_every_process_is_found_and_skipped(make_folder, use):
    root = make_folder({"cat": 20, "dog": 20})
    use(FakeRay(lose=lambda pictures: 17 in pictures))
    result, _ = extract(root)
    assert result.skipped == {"cat/cat_017.png": "the process that reads it ends, 3 times of 3"}
    assert (result.extracted, int(result.readable.sum())) == (39, 39)


def test_bad_pictures_are_told_as_on_one_machine(make_folder, use):
    root = make_folder({"cat": 5, "dog": 5})
    (root / "cat" / "notes.txt").write_text("hello")
    (root / "dog" / "broken.jpg").write_bytes((root / "dog" / "dog_001.png").read_bytes()[:90])
    (root / "dog" / "gone.jpg").symlink_to("nowhere")
    use(FakeRay())
    result, _ = extract(root)
    expected, _, _ = run(root, cache_dir="alone")
    assert result.skipped == expected.skipped
    assert len(result.skipped) == 3
    with pytest.raises(ImageFolderError, match=r"notes.txt: text, not a picture \(--strict"):
        extract(root, strict=True)


def test_what_a_process_finds_wrong_ends_the_run_with_its_message(make_folder, use, monkeypatch):
    root = make_folder({"cat": 5, "dog": 5})
    monkeypatch.setattr(FakeRay, "put", lambda self, job: changed(job))
    for changes, message in [
        ({"version": "0.0.1"}, r"retrain .* is installed on .*, expected 0.0.1: install that"),
        ({"root": root / "nowhere"}, r"no folder .*nowhere on .*: all machines of the cluster must see the pictures"),
        (
            {"cache": ("counting", "d1" * 32, {}, None)},
            r"another one on .* \(fingerprint c0c0c0c0, expected d1d1d1d1\)",
        ),
    ]:

        def changed(job, changes=changes):
            return dataclasses.replace(job, **changes)

        use(FakeRay())
        with pytest.raises(ClusterError, match=message):
            extract(root)


def test_any_other_error_in_a_process_is_one_line(make_folder, use, monkeypatch):
    use(FakeRay())
    monkeypatch.setattr(CountingBackbone, "bottlenecks", lambda *_: 1 / 0)
    with pytest.raises(
        ClusterError, match=r"^a process of the Ray cluster failed: ZeroDivisionError: division by zero$"
    ):
        extract(make_folder({"cat": 5, "dog": 5}))


def test_processes_that_never_start_end_the_run(make_folder, use, monkeypatch):
    ray = use(FakeRay({"CPU": 2.0}, {"CPU": 2.0}))
    monkeypatch.setattr(ray, "get", lambda reference: raise_(RayError("many lines\nno module named retrain")))
    with pytest.raises(
        ClusterError, match=r"end before they have started: no module named retrain; check that retrain"
    ):
        extract(make_folder({"cat": 5, "dog": 5}))


def raise_(error):
    raise error


def test_interrupted_it_keeps_what_was_done(make_folder, use):
    root = make_folder({"cat": 40, "dog": 40})
    ray = use(FakeRay())

    def stop(event):
        if isinstance(event, Extracted) and event.extracted:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(root, stop)
    assert len(ray.killed) == 1
    assert [name for _, name, _ in ray.calls].count("stop") == 1
    result, _ = extract(root)
    assert result.cached >= 16


def test_it_says_how_many_there_are_and_when_none_starts(make_folder, use, monkeypatch):
    ray = use(FakeRay({"CPU": 8.0, "GPU": 2.0, "lens": 3.0}, {"CPU": 16.0, "GPU": 1.0, "lens": 1.0}))
    said = []
    monkeypatch.setattr(ray_cluster, "_PATIENCE_SECONDS", 0.0)
    emit = hearing((Noted, Warned), lambda event: said.append(event.message))
    extract(make_folder({"cat": 5, "dog": 5}), emit, ray_resources="CPU=4,GPU=1,lens=1,memory=100")
    assert said[0] == "extracting on Ray: 1 process, each with CPU=4, GPU=1, lens=1, memory=100"  # for want of memory
    assert "no process has started on Ray in 0 s: each wants CPU=4, GPU=1" in said[1]
    assert "the cluster has CPU=24, GPU=3 in all; still waiting" in said[1]
    wanted = {"num_cpus": 4, "num_gpus": 1, "memory": 100, "resources": {"lens": 1}}
    assert {name: ray.settings[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 7), ({"ray_resources": "CPU=2,GPU=1"}, 3), ({"ray_actors": 5}, 5), ({"ray_resources": "CPU=100"}, 1)],
)
def test_there_are_as_many_processes_as_there_is_room_for(make_folder, use, options, count):
    ray = use(FakeRay({"CPU": 16.0, "GPU": 2.0}, {"CPU": 12.0, "GPU": 1.0}, {"memory": 5.0}))
    extract(make_folder({"cat": 2, "dog": 2}), **options)
    assert len(ray.actors) == count


def test_a_job_can_be_sent(make_folder):
    """Another process finds out itself what it has: it gets no network, and no fingerprint."""
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    from retrain.backbones import Extractor

    extractor = Extractor("made", lambda: {"kind": "made"}, lambda: os.getpid())
    assert extractor.network == os.getpid()
    cache = open_cache(extractor, ExtractionOptions())
    job = Job.of(make_folder({"cat": 2}), extractor, cache, RunOptions())
    sent = cloudpickle.loads(cloudpickle.dumps(job))
    assert vars(sent.extractor).keys() == {"name", "describe", "load"}
    assert sent.extractor.fingerprint == extractor.fingerprint == sent.open_cache().fingerprint
