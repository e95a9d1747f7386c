"""The bottleneck cache at its limits: opening, finding, reading, writing, and finding nothing to do.

    python benchmarks/cache.py [--rows 1000000] [--reading-rows 2000000] [--files 100000] [--place DIR]

Needs free disk space in --place for --reading-rows vectors of 8 KiB (16 GiB by default, as sparse files).
"""

import argparse
import contextlib
import hashlib
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from retrain.cache.segments import Rows
from retrain.cache.store import SEGMENT_ROWS, BottleneckCache
from retrain.data.image_folder import read_image_folder
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.options import ExtractionOptions, RunOptions
from retrain.pipeline.benchmark import without_network

FINGERPRINT = "b" * 64


def timed(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def keys_for(start: int, count: int) -> np.ndarray:
    digests = b"".join(hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(start, start + count))
    return np.frombuffer(digests, np.uint8).reshape(-1, 32)


def resident_mib() -> float:
    """Resident memory of this process in MiB, mapped files included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def row(text: str, value: str, limit: str) -> None:
    print(f"{text:66} {value:>16}   {limit}")


def finding(place: Path, rows: int) -> None:
    """A compacted cache of short vectors: finding reads keys, not vectors."""
    cache = BottleneckCache(place / "finding", "short", FINGERPRINT, {})
    for start in range(0, rows, 16_384):
        count = min(16_384, rows - start)
        cache.folder.mkdir(parents=True, exist_ok=True)
        cache._write_segment(Rows(keys_for(start, count), np.zeros(count, np.uint32), np.zeros((count, 4), np.float32)))
    wanted = keys_for(0, rows)[np.random.default_rng(0).permutation(rows)[:10_000]]

    def work() -> None:
        assert (BottleneckCache(place / "finding", "short", FINGERPRINT, {}).find(wanted) >= 0).all()

    seconds = statistics.median(timed(work) for _ in range(3))
    row(f"opening a cache of {rows:,} rows, finding and checking 10,000 keys", f"{seconds:.2f} s", "at most 2 s")


def writing(place: Path) -> None:
    """Whole segments (checksums, HDF5, fsync, rename), and a plain write and fsync of the same bytes."""
    rng = np.random.default_rng(0)
    parts = [
        Rows(
            keys_for(i * SEGMENT_ROWS, SEGMENT_ROWS),
            np.zeros(SEGMENT_ROWS, np.uint32),
            rng.random((SEGMENT_ROWS, 2048), np.float32),
        )
        for i in range(8)
    ]
    cache = BottleneckCache(place / "writing", "long", FINGERPRINT, {})
    seconds = statistics.median(timed(lambda part=part: cache.add(part)) for part in parts)

    def plain(number: int) -> None:
        with open(place / f"plain{number}", "wb") as file:
            file.write(parts[number].vectors.tobytes())
            os.fsync(file.fileno())

    limit = statistics.median(timed(lambda number=number: plain(number)) for number in range(8))
    row(
        "writing segments of 2,048 rows x 2,048",
        f"{SEGMENT_ROWS / seconds:,.0f} rows/s",
        f"at least 20,000; plain write and fsync: {SEGMENT_ROWS / limit:,.0f}",
    )
    size = sum(path.stat().st_size for path in cache.segment_paths())
    row("bytes on disk per row beyond the vector", f"{size / len(cache) - 8192:.1f}", "under 64")


def reading(place: Path, rows: int) -> None:
    """Random batches of 100 from a cache of sparse segments; the checksums are those of zeros."""
    per_segment = 16_384
    folder = place / "reading"
    cache = BottleneckCache(folder, "sparse", FINGERPRINT, {})
    cache.folder.mkdir(parents=True)
    zeros = np.zeros((per_segment, 2048), np.float32)
    for start in range(0, rows, per_segment):
        count = min(per_segment, rows - start)
        path = cache._write_segment(Rows(keys_for(start, count), np.zeros(count, np.uint32), zeros[:count]))
        _make_sparse(path)
    del zeros
    cache = BottleneckCache(folder, "sparse", FINGERPRINT, {})
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, len(cache), 100) for _ in range(2000)]
    for batch in batches:
        cache.read(batch)  # into the page cache
    before = resident_mib()
    started = time.perf_counter()
    memory = before
    for number, batch in enumerate(batches):
        cache.read(batch)
        if number % 100 == 0:
            memory = max(memory, resident_mib())
    seconds = time.perf_counter() - started
    row(
        f"random batches of 100 of {rows:,} x 2,048, from the page cache",
        f"{100 * len(batches) / seconds:,.0f} rows/s",
        f"at least 100,000; resident {memory:,.0f} MiB (under 1,024)",
    )


def _make_sparse(path: Path) -> None:
    """Return the disk space of a file's zeros."""
    os.system(f"fallocate --dig-holes '{path}'")


def nothing_to_do(place: Path, files: int) -> None:
    """A second run over unchanged pictures, which reads none of them."""
    root = place / "pictures"
    head, width = b"P5\n4 4\n255\n", 16
    for number in range(files):
        folder = root / f"class{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:07}.pgm").write_bytes(head + number.to_bytes(width, "big"))
    time.sleep(2.1)  # files changed just now are not trusted
    options = ExtractionOptions(cache_dir=str(place / "cache"))

    def work() -> None:
        backbone = without_network(8, 8)
        result = extract_bottlenecks(
            read_image_folder(root), backbone, open_cache(backbone, options), RunOptions(extraction=options)
        )
        assert result.cached + result.extracted == files

    first = timed(work)
    second = statistics.median(timed(work) for _ in range(3))
    row(f"{files:,} unchanged files: a second run (the first: {first:.0f} s)", f"{second:.2f} s", "under 3 s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--reading-rows", type=int, default=2_000_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores")
    place = Path(tempfile.mkdtemp(prefix="retrain-benchmark-", dir=args.place))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place)
        reading(place, args.reading_rows)  # first, while this process is small
        finding(place, args.rows)
        writing(place)
        nothing_to_do(place, args.files)


if __name__ == "__main__":
    main()
