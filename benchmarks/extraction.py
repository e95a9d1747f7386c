"""Pass one against its limits: TensorFlow, the network fed from memory, matrix arithmetic, and the original program.

    python benchmarks/extraction.py IMAGE_DIR [--backbone NAME] [--pictures N] [--rounds N]

All ways take turns in one run, since the speed of a shared machine changes. Ratios are of medians.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from retrain.backbones.backbone import locate_backbone
from retrain.backbones.precision import choose_extractor
from retrain.backbones.representative_pictures import RepresentativePictures
from retrain.data.image_folder import read_image_folder
from retrain.data.labelled_pictures import LabelledPictures
from retrain.errors import BackboneError
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.options import PRECISIONS, BackboneOptions, ExtractionOptions, RunOptions
from retrain.pipeline.benchmark import without_network

TENSORFLOW = "float32 on TensorFlow"
INCEPTION_V3_GFLOP = 11.4  # a picture
ORIGINAL_PICTURES = 32  # that the original's way gets in each round


def sgemm_gflops() -> float:
    """GFLOP/s that NumPy's matrix product reaches on this machine."""
    a = np.random.default_rng(0).random((2048, 2048), np.float32)
    return 2 * 2048**3 / 1e9 / statistics.median(timed(lambda: a @ a) for _ in range(9))


def timed(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def from_memory(network, batches: int = 3) -> float:
    """Pictures per second of the network alone."""
    pixels = np.random.default_rng(0).integers(0, 255, (32, network.height, network.width, 3), np.uint8)
    return 32 / statistics.median(timed(lambda: network.bottlenecks(pixels)) for _ in range(batches))


def pipeline(folder: LabelledPictures, extractor) -> float:
    """Pictures per second of pass one into an empty cache."""
    with tempfile.TemporaryDirectory() as place:
        options = ExtractionOptions(cache_dir=place)
        result = extract_bottlenecks(folder, extractor, open_cache(extractor, options), RunOptions(extraction=options))
    return result.pictures_per_second or 0.0


class OriginalWay:
    """The original program's pass one: two session calls for each picture, and a text file that is read back.

    It runs in a process of its own with TensorFlow's default settings; `retrain._tensorflow` changes one.
    """

    def __init__(self, image_dir: str, backbone: str) -> None:
        args = [sys.executable, __file__, image_dir, "--backbone", backbone, "--original-way"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(args, text=True, **pipes)

    def rate(self) -> float:
        """Pictures per second."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


class OriginalExtraction:
    """The part that runs in that process."""

    def __init__(self, network, tf) -> None:
        frozen = network.frozen_graph
        graph = tf.Graph()
        with graph.as_default():
            self.jpeg = tf.compat.v1.placeholder(tf.string)
            pixels = tf.image.convert_image_dtype(tf.image.decode_jpeg(self.jpeg, channels=3), tf.float32)
            size = [network.height, network.width]
            self.decoded = tf.compat.v1.image.resize_bilinear(pixels[tf.newaxis], size)
            self.pixels = tf.compat.v1.placeholder(tf.float32, [None, *size, 3])
            [self.vectors] = tf.graph_util.import_graph_def(
                frozen.graph_def, {frozen.start: self.pixels}, return_elements=[frozen.end]
            )
        self.session = tf.compat.v1.Session(graph=graph)

    def rate(self, folder: LabelledPictures) -> float:
        """Pictures per second."""
        chosen = range(min(ORIGINAL_PICTURES, len(folder.samples)))
        with tempfile.TemporaryDirectory() as place:
            return len(chosen) / timed(lambda: [self.extract(folder, number, place) for number in chosen])

    def extract(self, folder: LabelledPictures, number: int, place: str) -> None:
        data = (folder.root / folder.samples[number].path).read_bytes()
        decoded = self.session.run(self.decoded, {self.jpeg: data})
        [values] = self.session.run(self.vectors, {self.pixels: decoded})
        path = Path(place, f"{number}.txt")
        path.write_text(",".join(str(value) for value in values))
        _ = [float(value) for value in path.read_text().split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dir")
    parser.add_argument("--backbone", default="inception_v3")
    parser.add_argument("--pictures", type=int, default=256, help="for the networks; decoding always takes all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--original-way", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.original_way:
        import tensorflow as tf

        tf.constant(1.0) + 1.0  # its settings are read with the first operation
        network = locate_backbone(BackboneOptions(backbone=args.backbone)).network
        extraction = OriginalExtraction(network, tf)
        few = read_image_folder(args.image_dir)
        extraction.rate(few)  # the first calls are the ones that prepare
        for _ in sys.stdin:
            print(extraction.rate(few), flush=True)
        return
    folder = read_image_folder(args.image_dir)
    few = LabelledPictures(folder.root, folder.class_names, folder.samples[: args.pictures])
    backbone = locate_backbone(BackboneOptions(backbone=args.backbone))
    size = backbone.network.height, backbone.network.width
    rates: dict[str, list[float]] = {}

    def measure(name: str, rate: float) -> None:
        rates.setdefault(name, []).append(rate)

    with tempfile.TemporaryDirectory() as place:
        extractors = {TENSORFLOW: backbone}
        from_memory(backbone.network, 2)
        for precision in PRECISIONS:
            try:
                extractors[precision] = choose_extractor(backbone, precision, RepresentativePictures(folder, place))
                from_memory(extractors[precision].network, 2)
            except BackboneError as error:
                print(f"{precision}: {error}")
                del extractors[precision]
        original = OriginalWay(args.image_dir, args.backbone)
        original.rate()
        for _ in range(args.rounds):
            measure("sgemm", sgemm_gflops())
            measure("decoding", pipeline(folder, without_network(*size)))
            measure("original", original.rate())
            for precision, extractor in extractors.items():
                measure(f"{precision} fed", from_memory(extractor.network))
                measure(f"{precision} pipeline", pipeline(few, extractor))
                measure(f"{precision} fed", from_memory(extractor.network))
        original.process.communicate()
    median = {name: statistics.median(values) for name, values in rates.items()}

    def line(text: str, value: float, unit: str = "", digits: int = 2) -> None:
        print(f"{text:58} {value:8.{digits}f} {unit}".rstrip())

    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores; {args.backbone}")
    line("reading, hashing, decoding, resizing, writing", median["decoding"], "pictures/s", 1)
    line("one picture at a time, text files, float32", median["original"], "pictures/s", 1)
    for precision in extractors:
        fed, whole = median[f"{precision} fed"], median[f"{precision} pipeline"]
        line(f"{precision}: backbone fed from memory, batches of 32", fed, "pictures/s", 1)
        line(f"{precision}: whole pipeline", whole, "pictures/s", 1)
        line(f"{precision}: pipeline / fed from memory", whole / fed)
        line(f"{precision}: pipeline / one picture at a time", whole / median["original"])
        if precision != TENSORFLOW:
            line(f"{precision}: pipeline / {TENSORFLOW}", whole / median[f"{TENSORFLOW} pipeline"])
    if args.backbone == "inception_v3":
        line("NumPy sgemm", median["sgemm"], "GFLOP/s", 1)
        line("float32: pipeline's GFLOP/s / sgemm", median["float32 pipeline"] * INCEPTION_V3_GFLOP / median["sgemm"])


if __name__ == "__main__":
    main()
