"""A network on LiteRT and, turned into ONNX by tf2onnx, on ONNX Runtime: speed from memory, and how far vectors differ.

    python benchmarks/onnx_runtime.py [--backbone NAME] [--rounds N] [--pictures N]

Beside the way that pass one takes (a session that all threads share, a picture in each), it measures a session for each
core, and one session whose threads share each picture. All are measured in turns; the figures are medians.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import tf2onnx

from retrain.backbones.backbone import locate_backbone
from retrain.backbones.litert import LiteRTNetwork
from retrain.backbones.onnx_network import OnnxNetwork
from retrain.machine import cores
from retrain.options import BackboneOptions


def as_onnx(network, path: str) -> None:
    """Write a network of TensorFlow as an ONNX file."""
    graph = network.frozen_graph
    model, _ = tf2onnx.convert.from_graph_def(
        graph.graph_def, input_names=[graph.start], output_names=[graph.end], opset=17
    )
    with open(path, "wb") as file:
        file.write(model.SerializeToString())


def other_ways(model: bytes, pixels: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Other ways to use ONNX Runtime's threads."""

    def session(threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(one, part: np.ndarray) -> np.ndarray:
        return np.concatenate([one.run(["bottleneck"], {"pictures": picture[np.newaxis]})[0] for picture in part])

    own, shared, pool = [session(1) for _ in range(cores())], session(cores()), ThreadPoolExecutor(cores())
    return {
        "ONNX Runtime, a session for each core": lambda: np.concatenate(
            [*pool.map(run, own, np.array_split(pixels, cores()))]
        ),
        "ONNX Runtime, threads share a picture": lambda: run(shared, pixels),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=16)
    args = parser.parse_args()
    network = locate_backbone(BackboneOptions(backbone=args.backbone)).network
    shape = args.pictures, network.height, network.width, 3
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with tempfile.TemporaryDirectory() as place:
        as_onnx(network, f"{place}/network.onnx")
        located = locate_backbone(BackboneOptions(backbone=f"{place}/network.onnx", input_range="0..1"))
        model = located.openvino_form()[1]
    litert, onnx = LiteRTNetwork(network.frozen_graph.converted()), OnnxNetwork(model)
    ways = {
        "LiteRT, as pass one runs it": lambda: litert.run(pixels),
        "ONNX Runtime, as pass one runs it": lambda: onnx.run(pixels),
        **other_ways(model, pixels),
    }
    expected = network.bottlenecks(pixels)
    for name, way in ways.items():
        print(f"{name}: largest difference to TensorFlow {np.abs(way() - expected).max():.1e}")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    first = statistics.median(next(iter(seconds.values())))
    for name, measured in seconds.items():
        median = statistics.median(measured)
        print(f"{name}: {args.pictures / median:.1f} pictures/s, {first / median:.2f} times LiteRT")


if __name__ == "__main__":
    main()
