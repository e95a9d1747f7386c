"""ONNX Runtime: runs networks in ONNX's form, without TensorFlow."""

import logging
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones.conversion import probe_picture
from retrain.backbones.extractor import finite
from retrain.backbones.onnx_file import import_onnx
from retrain.backbones.onnx_graph import ONNX_BOTTLENECK
from retrain.errors import BackboneError
from retrain.machine import cores
from retrain.native_output import no_native_output
from retrain.text import first_line

__all__ = ["OnnxError", "OnnxNetwork"]

logger = logging.getLogger(__name__)

_BATCHES = 8  # pictures for each thread in one call
_SILENT = 4  # of the levels of ONNX Runtime's log: what goes wrong is told by an exception, too
# In order of preference. TensorFloat-32 would round to 10 bits.
_DEVICES: tuple[tuple[str, dict[str, str]], ...] = (
    ("CUDAExecutionProvider", {"use_tf32": "0"}),
    ("CPUExecutionProvider", {}),
)

# Codes, and the functions in its source where something was found, which tell the user nothing.
_PLACES = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |/onnxruntime_src/\S+:\d+ [^()]*\([^()]*\)( const)? ?|\S+\.(cc|h):\d+ "
)


class OnnxError(BackboneError):
    """ONNX Runtime is missing, or can't run a network."""


class OnnxNetwork:
    """A network in ONNX's form, ready to run.

    There is a thread for each core, and each runs one picture at a time, so a picture's vector does not depend on those
    around it. All share one session, which holds the weights once.

    Args:
        model: the file's content: one input (n, height, width, 3) uint8.
        outputs: what it gives that is wanted, each (n, ...) float32; one behind the other they have length numbers.
    Raises OnnxError if the package is missing, or can't run the model.
    """

    def __init__(self, model: bytes, outputs: Sequence[str] = (ONNX_BOTTLENECK,)) -> None:
        self._outputs = [*outputs]
        with no_native_output():  # on some machines it tells of devices that it looked for
            runtime = import_onnx("onnxruntime")
            options = runtime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = _SILENT
            self._session = _session(runtime, model, options)
            self._settings = runtime.RunOptions()
            self._settings.log_severity_level = _SILENT
        taken = self._session.get_inputs()
        shape = taken[0].shape if len(taken) == 1 else []
        if len(shape) != 4 or taken[0].type != "tensor(uint8)" or not all(isinstance(side, int) for side in shape[1:]):
            listed = ", ".join(f"{one.name} {one.type} {one.shape}" for one in taken)
            raise OnnxError(f"ONNX Runtime can't run this network: it takes {listed}, expected pictures")
        self._input, self.height, self.width = taken[0].name, int(shape[1]), int(shape[2])
        self.batch_size = _BATCHES * cores()
        self.length = self._one(probe_picture(self.height, self.width)).size
        self._threads = ThreadPoolExecutor(cores(), "onnx")

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8, RGB, to (n, length) float32. Raises BackboneError for NaN or infinity."""
        return finite(self.run(pixels))

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same without a check of the values. Raises OnnxError."""
        vectors = np.empty((len(pixels), self.length), np.float32)
        numbers = iter(range(len(pixels)))  # shared: each worker takes the next picture
        workers = range(min(cores(), len(pixels)))
        running = [self._threads.submit(self._work, pixels, numbers, vectors) for _ in workers]
        for done in running:
            done.result()
        return vectors

    def together(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same for all pictures in one call of the network. Raises OnnxError if it can't take so many."""
        return self._call(pixels)

    def _work(self, pixels: NDArray[np.uint8], numbers: Iterator[int], vectors: NDArray[np.float32]) -> None:
        for number in numbers:
            vectors[number] = self._one(pixels[number])

    def _one(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        vectors = self._call(picture[np.newaxis])
        if vectors.ndim != 2 or len(vectors) != 1:
            raise OnnxError(f"ONNX Runtime can't run this network: of one picture it gives {[*vectors.shape]}")
        vector: NDArray[np.float32] = vectors[0]
        return vector

    def _call(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            found = self._session.run(self._outputs, {self._input: pixels}, self._settings)
        except Exception as error:
            raise _unusable(error) from error
        given: NDArray[np.float32] = found[0] if len(found) == 1 else np.hstack(found)
        return given


def _session(runtime: ModuleType, model: bytes, options: Any) -> Any:
    """Load a model for the best device that works. Raises OnnxError."""
    devices = [device for device in _DEVICES if device[0] in runtime.get_available_providers()]
    while True:
        try:
            # by itself it would print what it does if a device fails
            return runtime.InferenceSession(model, options, providers=devices, enable_fallback=0)
        except Exception as error:  # it raises many kinds; the reason is kept
            if len(devices) <= 1:
                raise _unusable(error) from error
            logger.info("can't use %s: %s", devices[0][0], first_line(error))
            del devices[0]


def _unusable(error: BaseException) -> OnnxError:
    reason = first_line(RuntimeError(_PLACES.sub("", str(error)) or type(error).__name__))
    return OnnxError(f"ONNX Runtime can't run this network: {reason}")
