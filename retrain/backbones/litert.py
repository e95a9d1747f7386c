"""LiteRT: runs networks that were converted to its form. It starts in a fraction of TensorFlow's time."""

import math
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones.extractor import finite
from retrain.errors import BackboneError
from retrain.machine import cores
from retrain.native_output import no_native_output
from retrain.text import first_line

__all__ = ["LiteRTError", "LiteRTNetwork", "check_installed", "is_litert_installed"]

_BATCHES = 8  # pictures for each interpreter in one call
_MOST_INTERPRETERS = 8  # each holds the weights in the order that the processor likes


class LiteRTError(BackboneError):
    """LiteRT is missing, or can't run a network."""


class LiteRTNetwork:
    """A network in LiteRT's form, ready to run.

    There is an interpreter for each core, and each takes one picture at a time. So a picture's vector does not depend
    on those around it. On two free cores that is as fast as one interpreter with two threads (Inception v3); if another
    process uses one of the cores, it is twice as fast.

    Args:
        model: a file's content, or the file: one input (1, height, width, 3) float32 in [0, 1], outputs (1, ...)
            float32. What it gives is one behind the other.
    Raises LiteRTError if the package is missing, or can't run the model.
    """

    def __init__(self, model: bytes | Path) -> None:
        self._model = model
        self._most = min(cores(), _MOST_INTERPRETERS)
        self._free: queue.SimpleQueue[_Interpreter] = queue.SimpleQueue()
        self._count = 0
        first = self._add()
        self.height, self.width, self.length = first.height, first.width, first.length
        self.batch_size = _BATCHES * self._most
        self._threads = ThreadPoolExecutor(self._most, "litert")

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8, RGB, to (n, length) float32. Raises BackboneError for NaN or infinity."""
        return finite(self.run(pixels))

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same without a check of the values. Raises LiteRTError."""
        vectors = np.empty((len(pixels), self.length), np.float32)
        workers = min(self._most, len(pixels))
        while self._count < workers:
            self._add()
        numbers = iter(range(len(pixels)))  # shared: each worker takes the next picture
        running = [self._threads.submit(self._work, pixels, numbers, vectors) for _ in range(workers)]
        for done in running:
            done.result()
        return vectors

    def _add(self) -> "_Interpreter":
        added = _Interpreter(self._model, max(1, cores() // self._most))
        self._free.put(added)
        self._count += 1
        return added

    def _work(self, pixels: NDArray[np.uint8], numbers: Iterator[int], vectors: NDArray[np.float32]) -> None:
        interpreter = self._free.get()
        try:
            for number in numbers:
                vectors[number] = interpreter.run(pixels[number])
        finally:
            self._free.put(interpreter)


class _Interpreter:
    """One interpreter, for one picture at a time."""

    def __init__(self, model: bytes | Path, threads: int) -> None:
        interpreter = _interpreter_type()
        source = {"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}
        try:
            with no_native_output():  # it tells of its delegate
                self._native = interpreter(**source, num_threads=threads)
                self._native.allocate_tensors()
            [taken], [*given] = self._native.get_input_details(), self._native.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise LiteRTError(f"LiteRT can't run this network: {first_line(error)}") from error
        shape, shapes = [*taken["shape"].tolist()], [[*one["shape"].tolist()] for one in given]
        is_picture = len(shape) == 4 and shape[::3] == [1, 3]
        dtypes = {one["dtype"] for one in (taken, *given)}
        if not is_picture or any(one[:1] != [1] for one in shapes) or dtypes != {np.float32}:
            gives = ", ".join(f"{one['dtype'].__name__} {shape}" for one, shape in zip(given, shapes, strict=True))
            raise LiteRTError(
                f"LiteRT can't run this network: it takes {taken['dtype'].__name__} {shape} and gives {gives}, "
                "expected float32 [1, height, width, 3] and [1, ...]"
            )
        _, self.height, self.width, _ = shape
        self.length = sum(math.prod(one) for one in shapes)
        self._input, self._outputs = taken["index"], [one["index"] for one in given]

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(height, width, 3) uint8 to (length,) float32. Raises LiteRTError."""
        # as TensorFlow's graph does it, so that both see the same numbers
        np.divide(pixels, np.float32(255), out=self._native.tensor(self._input)()[0])
        try:
            self._native.invoke()
        except (ValueError, RuntimeError) as error:
            raise LiteRTError(f"LiteRT can't run this network: {first_line(error)}") from error
        return np.concatenate([self._native.get_tensor(output).ravel() for output in self._outputs])


def check_installed() -> None:
    """Raise LiteRTError where the package is missing or broken."""
    _interpreter_type()


def is_litert_installed() -> bool:
    """Whether LiteRT can be used here."""
    try:
        check_installed()
    except LiteRTError:
        return False
    return True


def _interpreter_type() -> Any:
    """LiteRT's class. Raises LiteRTError where the package is missing or broken."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except (ImportError, OSError, AttributeError) as error:
        raise LiteRTError(
            f"the package ai-edge-litert can't be imported ({first_line(error)}): pip install ai-edge-litert"
        ) from error
    return Interpreter
