"""What scales, and what does not: Ray's overhead, listing and scheduling, the driver's memory, large caches.

    python benchmarks/scale.py ray IMAGE_DIR [--backbone NAME] [--weights FILE] [--rounds N]
    python benchmarks/scale.py listing [--pictures N]
    python benchmarks/scale.py scheduling [--pictures N]
    python benchmarks/scale.py cache [--rows N] [--length D] [--only-training] [--place DIR]

Each is a process of its own, and takes from some seconds to some minutes. `ray` takes turns with a run on this machine
alone, in the same network, decoding and cores; ratios are of medians. `listing` makes empty files, which are listed
and looked up. `scheduling` hands made-up pictures to processes that do nothing. `cache` writes segments with real keys
and checksums of vectors of zeros, in sparse files, so that it needs 40 bytes of disk for each row.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
import zlib
from pathlib import Path

import h5py
import numpy as np

from retrain.backbones.backbone import locate_backbone
from retrain.backbones.precision import choose_extractor
from retrain.backbones.representative_pictures import RepresentativePictures
from retrain.cache.picture_index import PictureIndex
from retrain.cache.segments import _index_checksum, row_checksums
from retrain.cache.store import BottleneckCache
from retrain.cache.vectors import CachedVectors, LabelledBottlenecks
from retrain.data.image_folder import read_image_folder
from retrain.data.labelled_pictures import LabelledPictures, Sample
from retrain.extraction import ray_cluster
from retrain.extraction.part import Outcome
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.extraction.ray_actor import PartResult
from retrain.options import BackboneOptions, ClusterOptions, ExtractionOptions, RunOptions, TrainingOptions

FINGERPRINT = "5c" * 32
PER_SEGMENT = 131_072
PER_FOLDER = 1000


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def say(what: str, figure: float, unit: str) -> None:
    print(f"{what:60} {figure:12,.3g} {unit}", flush=True)


class Stopwatch:
    def __enter__(self):
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.started


# Ray beside one machine


def ray(args: argparse.Namespace) -> None:
    folder = read_image_folder(args.image_dir)
    options = BackboneOptions(args.backbone, weights=args.weights)
    rates: dict[str, list[float]] = {"alone": [], "ray": []}
    with tempfile.TemporaryDirectory() as kept:
        pictures = RepresentativePictures(folder, kept)
        extractor = choose_extractor(locate_backbone(options), "float32", pictures)
        _ = extractor.network  # converted once
        for number in range(args.rounds * 2):
            way = ("alone", "ray")[number % 2]
            with tempfile.TemporaryDirectory() as place:
                extraction = ExtractionOptions(cache_dir=place)
                cluster = ClusterOptions(ray="local") if way == "ray" else ClusterOptions()
                again = choose_extractor(locate_backbone(options), "float32", pictures)
                run = RunOptions(extraction=extraction, cluster=cluster)
                result = extract_bottlenecks(folder, again, open_cache(again, extraction), run)
                rates[way].append(result.pictures_per_second or 0.0)
                print(way, f"{rates[way][-1]:.1f} pictures/s", flush=True)
    for way, values in rates.items():
        say(f"{way}, median of {len(values)}", statistics.median(values), "pictures/s")
    say("ratio of medians", statistics.median(rates["ray"]) / statistics.median(rates["alone"]), "")


# listing


def listing(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "pictures"
        with Stopwatch() as made:
            for start in range(0, args.pictures, PER_FOLDER):
                folder = root / f"class{start // PER_FOLDER % 100:03}" / f"{start // PER_FOLDER:06}"
                folder.mkdir(parents=True)
                for number in range(start, min(start + PER_FOLDER, args.pictures)):
                    (folder / f"{number:09}.jpg").touch()
        print(f"made {args.pictures:,} files in {made.seconds:.0f} s")
        before = peak_mib()
        with Stopwatch() as listed:
            pictures = read_image_folder(root)
        say("listing", listed.seconds / args.pictures * 1e6, "us per picture")
        say("memory of the list", (peak_mib() - before) * 2**20 / args.pictures, "bytes per picture")
        cache_dir = Path(place) / "cache"
        index = PictureIndex(cache_dir, root)
        for number, sample in enumerate(pictures.samples):
            index.enter(sample.path, (0, 0, 0, number), number.to_bytes(32, "big"), 2**62)
        with Stopwatch() as saved:
            index.save(None)
        say("index of files, writing", saved.seconds / args.pictures * 1e6, "us per picture")
        before = peak_mib()
        with Stopwatch() as loaded:
            PictureIndex(cache_dir, root)
        say("index of files, reading", loaded.seconds / args.pictures * 1e6, "us per picture")
        say("index of files, on disk", index.path.stat().st_size / args.pictures, "bytes per picture")
        say("peak memory of the process", peak_mib(), "MiB")


# scheduling


class Nothing:
    """A process that extracts at once: keys, and no rows."""

    def __init__(self, *_):
        pass

    def start(self, _job):
        return "here"

    def extract(self, part):
        outcomes = [(number, Outcome(number.to_bytes(32, "big"), (1, 2, 3, number), 2**62)) for number, _ in part]
        return PartResult(outcomes, 0, 10 * len(part) / 2048, 0.0, [])

    def stop(self):
        pass


class NoBackbone:
    name, fingerprint, description = "nothing", FINGERPRINT, {"kind": "nothing"}


def scheduling(args: argparse.Namespace) -> None:
    ray_cluster.RetrainExtractor = Nothing
    with tempfile.TemporaryDirectory() as place:
        samples = tuple(Sample(f"class{n % 100:03}/{n:09}.jpg", 0, "c") for n in range(args.pictures))
        folder = LabelledPictures(Path(place), ("c",), samples)
        before = peak_mib()
        extraction = ExtractionOptions(cache_dir=place, rehash=True)
        options = RunOptions(
            extraction=extraction, cluster=ClusterOptions(ray="local", ray_actors=2, ray_resources="CPU=1")
        )
        result = extract_bottlenecks(folder, NoBackbone(), open_cache(NoBackbone(), extraction), options)
        assert result.readable.all()
        say("scheduling, on Ray, 2 processes that do nothing", result.seconds / args.pictures * 1e6, "us per picture")
        say("memory of the driver beyond the list", (peak_mib() - before) * 2**20 / args.pictures, "bytes per picture")
        say("peak memory of the driver", peak_mib(), "MiB")


# a large cache


def keys_for(start: int, count: int) -> np.ndarray:
    return np.random.default_rng(start).integers(0, 256, (count, 32), np.uint8)


def write_sparse(path: Path, start: int, count: int, length: int) -> None:
    """A segment whose vectors are zeros: its head and its end are written, and the vectors are a hole."""
    keys, copies = keys_for(start, count), np.zeros(count, np.uint32)
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["format"] = 1
        file.attrs["fingerprint"] = np.bytes_(FINGERPRINT)
        file["key"] = keys
        file["copy"] = copies
        space = h5py.h5s.create_simple((count, length))
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        h5py.h5d.create(file.id, b"bottleneck", h5py.h5t.IEEE_F32LE, space, settings)
        heads = row_checksums(keys, copies, np.zeros((count, 0), np.float32))
        crcs = continued_with_zeros(heads, length * 4)
        file["crc32"] = crcs
        file.attrs["index_crc32"] = np.uint32(_index_checksum(keys, copies, crcs))


def continued_with_zeros(crcs: np.ndarray, count: int) -> np.ndarray:
    """The CRC-32 of what had these and goes on with zeros: a linear map of 32 bits, applied to all at once."""
    zeros = bytes(count)
    base = zlib.crc32(zeros, 0)
    columns = [zlib.crc32(zeros, 1 << bit) ^ base for bit in range(32)]
    result = np.full(len(crcs), base, np.uint32)
    for bit, column in enumerate(columns):
        result ^= np.where(crcs >> np.uint32(bit) & np.uint32(1), np.uint32(column), np.uint32(0))
    return result


def cache(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=args.place) as place:
        empty = BottleneckCache(place, "large", FINGERPRINT, {})
        empty.prepare()
        with Stopwatch() as written:
            for start in range(0, args.rows, PER_SEGMENT):
                count = min(PER_SEGMENT, args.rows - start)
                write_sparse(empty.folder / f"segment-{start:032x}.h5", start, count, args.length)
        nbytes = sum(path.stat().st_size for path in empty.folder.iterdir())
        blocks = sum(path.stat().st_blocks * 512 for path in empty.folder.iterdir())
        print(f"{args.rows:,} rows, {nbytes / 1e9:.1f} GB ({blocks / 1e9:.1f} on the disk), in {written.seconds:.0f} s")
        before = peak_mib()
        with Stopwatch() as opened:
            large = BottleneckCache(place, "large", FINGERPRINT, {})
        assert len(large) == args.rows
        say("opening", opened.seconds, "s")
        say("memory of the opened cache", (peak_mib() - before) * 2**20 / args.rows, "bytes per row")
        write_sparse(large.folder / f"segment-{args.rows:032x}.h5", args.rows, 2048, args.length)
        with Stopwatch() as taken:
            large.refresh()
        say("taking in another segment of 2,048 rows", taken.seconds, "s")
        if not args.only_training:
            find(large, args)
        train(large, np.arange(args.rows))
        say("peak memory of the process", peak_mib(), "MiB")


def find(large: BottleneckCache, args: argparse.Namespace) -> None:
    """Find every key, and check some rows."""
    with Stopwatch() as made:
        keys = np.concatenate(
            [keys_for(start, min(PER_SEGMENT, args.rows - start)) for start in range(0, args.rows, PER_SEGMENT)]
        )
    print(f"made the keys again in {made.seconds:.0f} s")
    with Stopwatch() as found:
        rows = large._index.look_up(keys, np.zeros(len(keys), np.uint32))
    assert (rows >= 0).all()
    say("finding all keys", found.seconds / args.rows * 1e6, "us per key")
    some = rows[: min(args.rows, 100_000)]
    with Stopwatch() as checked:
        large._check_rows(some)
    assert not large._bad_rows.any()
    say("checking rows against their CRC-32, the first time", checked.seconds / len(some) * 1e6, "us per row")


def train(large: BottleneckCache, rows: np.ndarray) -> None:
    """Steps of 100 pictures of 100 classes, read from all over the files."""
    from retrain.events import Evaluated
    from retrain.training.head_trainer import HeadTrainer

    large._checked[:] = True  # of zeros, checked above
    labels = np.random.default_rng(1).integers(0, 100, len(rows)).astype(np.int32)
    with Stopwatch() as made:
        trainer = HeadTrainer(LabelledBottlenecks(CachedVectors(large, rows), labels), 100)
    say("setting up training", made.seconds, "s")
    moments: list[float] = []

    def emit(event) -> None:
        if isinstance(event, Evaluated):
            moments.append(time.perf_counter())

    numbers = np.arange(len(rows))
    with Stopwatch() as trained:
        trainer.train(numbers[2000:], numbers[:2000], TrainingOptions(steps=1000), emit)
    say("1,000 steps of 100 pictures, 100 classes, from files", trained.seconds, "s")
    say("a step after the first tenth", (moments[-1] - moments[10]) / (len(moments) - 11) * 100, "ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for what in (ray, listing, scheduling, cache):
        command = commands.add_parser(what.__name__)
        command.set_defaults(run=what)
        if what is ray:
            command.add_argument("image_dir")
            command.add_argument("--backbone", default="efficientnet_lite0")
            command.add_argument("--weights")
            command.add_argument("--rounds", type=int, default=3)
        elif what is cache:
            command.add_argument("--rows", type=int, default=10_000_000)
            command.add_argument("--length", type=int, default=2048)
            command.add_argument("--only-training", action="store_true", help="leave out finding and checking")
            command.add_argument("--place", help="folder for the cache (default: that of temporary files)")
        else:
            command.add_argument("--pictures", type=int, default=1_000_000)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    sys.exit(main())
