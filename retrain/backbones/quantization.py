"""The int8 form of a backbone: NNCF makes it from some pictures, OpenVINO runs it.

Both come with `pip install 'retrain[int8]'`; without them, an error says so.
"""

import contextlib
import ctypes
import importlib
import io
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.cache import QUANTIZED_MODEL
from retrain.errors import BackboneError
from retrain.machine import cores
from retrain.paths import display_path

__all__ = ["QuantizedNetwork", "check_installed", "mean_cosine", "own_signal_stack", "quantize"]

_BATCH_SIZE = 32
# What stays in float32: nodes of a head that tell which pictures are known, by small differences of sums of squares.
_IN_FLOAT = {"patterns": ["(.*/)?head/known/.*"], "validate": False}

logger = logging.getLogger(__name__)


class QuantizedNetwork:
    """A backbone in int8, ready to run.

    Args:
        folder: holds QUANTIZED_MODEL, as `quantize` wrote them.
    Raises BackboneError if OpenVINO is missing or can't load the model.
    """

    batch_size = _BATCH_SIZE  # pictures in one call of `bottlenecks`

    def __init__(self, folder: Path) -> None:
        openvino = _imported("openvino")
        preprocess = importlib.import_module("openvino.preprocess")
        try:
            core = openvino.Core()
            model = core.read_model(folder / QUANTIZED_MODEL.names[0])
            if model.input().get_element_type() != openvino.Type.u8:
                steps = preprocess.PrePostProcessor(model)
                steps.input().tensor().set_element_type(openvino.Type.u8)
                steps.input().preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
                model = steps.build()
            # pinned threads would share a core with decoding threads while another core is idle
            settings = {"INFERENCE_NUM_THREADS": cores(), "ENABLE_CPU_PINNING": False}
            with own_signal_stack():
                self._compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise BackboneError(
                f"OpenVINO can't load {display_path(folder / QUANTIZED_MODEL.names[0])} ({_first_line(error)}): "
                "upgrade openvino, or remove the file to have the model made again"
            ) from error
        shape = model.input().get_partial_shape()
        _, self.height, self.width, _ = (side.get_max_length() for side in shape)
        self._most = shape[0].get_length() if shape[0].is_static else _BATCH_SIZE  # pictures in one call of the model

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8, RGB, to (n, d) float32. Raises BackboneError for NaN or infinity."""
        parts = (pixels[start : start + self._most] for start in range(0, len(pixels), self._most))
        vectors = np.concatenate([np.array(self._compiled(part)[0], np.float32) for part in parts])
        if not np.isfinite(vectors).all():
            raise BackboneError("the int8 backbone gives values that are not finite: use --precision float32")
        return vectors


def check_installed() -> None:
    """Raise BackboneError if a package that int8 needs is missing."""
    _imported("openvino")
    _imported("nncf")


def quantize(
    network: tuple[str, bytes], pixels: NDArray[np.uint8], folder: Path, on_progress: Callable[[int, int], None]
) -> QuantizedNetwork:
    """Write the int8 form of a network into a folder, as QUANTIZED_MODEL, and load it.

    Post-training quantisation with NNCF's default settings: 8 bits for weights, per channel, and for activations, per
    tensor, from the ranges that the pictures give, biases corrected (Jacob et al., "Quantization and Training of Neural
    Networks for Efficient Integer-Arithmetic-Only Inference", 2018; Nagel et al., "Data-Free Quantization Through
    Weight Equalization and Bias Correction", 2019).

    Args:
        network: a file that OpenVINO reads, its name and content: from (n, height, width, 3) to (n, d) float32; it
            takes uint8 or, if the pixels are in [0, 1], float32.
        pixels: (n, height, width, 3) uint8, RGB; typical pictures.
        folder: where the files go.
        on_progress: called with the number of pictures done, and of all.
    Raises BackboneError if OpenVINO can't convert or run the network.
    """
    openvino, nncf = _imported("openvino"), _imported("nncf")
    nncf.set_log_level(logging.ERROR)
    failure: Exception | None = None
    try:
        with _no_output():
            model = _converted(openvino, network, folder)
    except (OSError, MemoryError):  # a full disk
        raise
    except Exception as error:  # OpenVINO raises many kinds for networks that it can't take; the reason is kept
        raise _not_possible(error) from error
    is_of_bytes = model.input().get_element_type() == openvino.Type.u8
    for settings in _attempts(nncf):
        done = 0

        def as_input(picture: NDArray[np.uint8]) -> NDArray[Any]:
            nonlocal done
            done = min(done + 1, len(pixels))
            on_progress(done, len(pixels))
            if is_of_bytes:
                return picture[np.newaxis]
            values: NDArray[np.float32] = picture[np.newaxis].astype(np.float32) / np.float32(255)
            return values

        try:
            with _no_output(), own_signal_stack():
                dataset = nncf.Dataset(pixels, as_input)
                quantized = nncf.quantize(
                    model, dataset, subset_size=len(pixels), ignored_scope=nncf.IgnoredScope(**_IN_FLOAT), **settings
                )
                openvino.save_model(quantized, folder / QUANTIZED_MODEL.names[0], compress_to_fp16=False)
            return QuantizedNetwork(folder)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # NNCF, too; the next settings may do
            logger.info("can't be quantised with %s: %s", settings or "NNCF's defaults", _first_line(error))
            failure = error
    raise _not_possible(failure) from failure


def _converted(openvino: ModuleType, network: tuple[str, bytes], folder: Path) -> Any:
    """The network as a model of OpenVINO, which can't read graphs with functions from memory, only from files."""
    path = folder / network[0]
    try:
        path.write_bytes(network[1])
        return openvino.convert_model(path)
    finally:
        path.unlink(missing_ok=True)


def _attempts(nncf: ModuleType) -> Iterator[dict[str, Any]]:
    """Settings for NNCF, best first.

    By default it uses ranges per channel for the inputs of depthwise convolutions, which OpenVINO can't run after a
    swish (EfficientNet). Its correction of biases fails if several channels share one.
    """
    from nncf.quantization.advanced_parameters import QuantizationParameters

    per_tensor = QuantizationParameters(per_channel=False)
    yield {}
    for disable in (False, True):
        settings = nncf.AdvancedQuantizationParameters(
            activations_quantization_params=per_tensor, disable_bias_correction=disable
        )
        yield {"advanced_parameters": settings}


def _not_possible(error: Exception | None) -> BackboneError:
    return BackboneError(
        f"this backbone can't be converted to int8 ({_first_line(error)}): use --precision float32 or bfloat16"
    )


def mean_cosine(vectors: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """Mean cosine of the angles between the rows of two (n, d) arrays; two rows of zeros count as the same."""
    products = (vectors * others).sum(axis=1, dtype=np.float64)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1) * np.linalg.norm(others.astype(np.float64), axis=1)
    same = (vectors == others).all(axis=1)
    return float(np.where(same, 1.0, products / np.where(lengths > 0, lengths, np.inf)).mean())


def _imported(name: str) -> ModuleType:
    """OpenVINO or NNCF, without their telemetry, which would write to the home folder and send data."""
    kept = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # both then take it to be not installed
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, AttributeError, RuntimeError) as error:  # missing, or broken
        raise BackboneError(
            f"--precision int8 needs the packages openvino and nncf ({_first_line(error)}): pip install 'retrain[int8]'"
        ) from error
    finally:
        if kept is None:
            del sys.modules["openvino_telemetry"]
        else:
            sys.modules["openvino_telemetry"] = kept


@contextlib.contextmanager
def own_signal_stack() -> Iterator[None]:
    """Give this thread its stack for signals back (sigaltstack(2)).

    OpenVINO gives the thread that compiles a model a stack of its own, and takes it from the thread that frees the
    model. If that is another thread, a signal such as Ctrl-C ends the first with a segmentation fault.
    """
    libc = ctypes.CDLL(None)
    kept = ctypes.create_string_buffer(24)  # stack_t: pointer, flags, size
    libc.sigaltstack(None, kept)
    try:
        yield
    finally:
        libc.sigaltstack(kept, None)


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Keep NNCF's progress bars, which go to stdout, off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _first_line(error: Any) -> str:
    """What an error says, without the lines about OpenVINO's source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
    return (told or lines or [type(error).__name__])[0][:300]
