"""Pass one against its limit: the whole pipeline beside the same backbone fed from memory, and matrix arithmetic.

python benchmarks/extraction.py IMAGE_DIR [--backbone NAME] [--pictures N]
"""

import argparse
import os
import platform
import statistics
import tempfile
import time

import numpy as np

from retrain.backbone import locate_backbone
from retrain.config import BackboneOptions, ExtractionOptions, ImageOptions
from retrain.extraction import extract_bottlenecks, open_cache
from retrain.image_folder import ImageFolder, read_image_folder

INCEPTION_V3_GFLOP = 11.4  # a picture


class NoNetwork:
    """A backbone that does nothing: what is left is reading, hashing, decoding, resizing, writing."""

    name, fingerprint = "nothing", "0" * 64
    height = width = 299
    batch_size = 32

    def __init__(self) -> None:
        self.description: dict[str, str] = {}
        self.network = self

    def bottlenecks(self, pixels):
        return np.zeros((len(pixels), 8), np.float32)


def sgemm_gflops() -> float:
    """What NumPy's matrix product reaches on this machine."""
    a = np.random.default_rng(0).random((2048, 2048), np.float32)
    return 2 * 2048**3 / 1e9 / statistics.median(timed(lambda: a @ a) for _ in range(9))


def timed(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def from_memory(network, batches: int) -> float:
    """Pictures per second of the network alone."""
    shape = (network.batch_size, network.height, network.width, 3)
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    network.bottlenecks(pixels)
    return network.batch_size / statistics.median(timed(lambda: network.bottlenecks(pixels)) for _ in range(batches))


def pipeline(folder: ImageFolder, backbone) -> float:
    """Pictures per second of pass one into an empty cache."""
    with tempfile.TemporaryDirectory() as place:
        options = ExtractionOptions(cache_dir=place)
        result = extract_bottlenecks(folder, backbone, open_cache(backbone, options), options, ImageOptions())
    return result.pictures_per_second or 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dir")
    parser.add_argument("--backbone", default="inception_v3")
    parser.add_argument("--pictures", type=int, default=256, help="for the network; decoding always takes all")
    args = parser.parse_args()
    folder = read_image_folder(args.image_dir)
    few = ImageFolder(folder.root, folder.class_names, folder.samples[: args.pictures], (), ())
    backbone = locate_backbone(BackboneOptions(backbone=args.backbone))
    network = backbone.network
    gflops = sgemm_gflops()
    alone = from_memory(network, 5)
    whole = pipeline(few, backbone)
    alone = (alone + from_memory(network, 5)) / 2
    decoding = pipeline(folder, NoNetwork())
    print(
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores; {args.backbone}, float32"
    )
    print(f"{'reading, hashing, decoding, resizing, writing':48} {decoding:8.1f} pictures/s")
    print(f"{'backbone fed from memory, batches of 32':48} {alone:8.1f} pictures/s")
    print(f"{'whole pipeline':48} {whole:8.1f} pictures/s")
    print(f"{'pipeline / fed from memory':48} {whole / alone:8.2f}")
    if args.backbone == "inception_v3":
        print(f"{'NumPy sgemm':48} {gflops:8.1f} GFLOP/s")
        print(f"{'pipeline GFLOP/s / sgemm':48} {whole * INCEPTION_V3_GFLOP / gflops:8.2f}")


if __name__ == "__main__":
    main()
