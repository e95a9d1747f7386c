"""The formats `tflite…`: a file of LiteRT, in float32 or in fewer bits, with preprocessing and labels inside.

Resizing is a graph of its own in the file, so that the one behind it keeps a fixed size, which runtimes for browsers,
GPUs and microcontrollers want.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrain.data import PictureForm
from retrain.errors import ExportError
from retrain.events import Emit, Prepared
from retrain.export.export_format import Facts, Pictures, Takes
from retrain.export.input_scaling import InputScaling
from retrain.export.labels_inside import labels_in, thresholds_in, with_labels
from retrain.export.resizing import are_columns_first, resize_last, resize_third
from retrain.export.stored_model import StoredModel
from retrain.files import write_whole
from retrain.machine import cores
from retrain.model import KNOWN
from retrain.text import first_line

if TYPE_CHECKING:
    from retrain._tensorflow import tf

__all__ = ["TFLITE_FORMATS", "TFLiteFormat"]

_FILE = "model.tflite"
_SCORES, _RESIZE = "serving_default", "resize"  # the signatures
_PICTURES = 100  # whose ranges of values decide how int8 rounds

Numbers = Literal["float32", "float16", "dynamic", "int8"]


class TFLiteFormat:
    """Converts the graph from pixels to scores, and puts resizing and labels into the file.

    Signature `resize`: `picture` (n, any, any, 3) uint8, RGB, to `pixels` (n, height, width, 3) uint8.
    Signature `serving_default`, the first: these `pixels` to the scores (n, classes) under the final tensor's name,
    float32; with int8, uint8 in steps of 1/256. `labels.txt` can be unzipped from the file.

    Args:
        numbers: what the file computes with. float16 are the weights alone; dynamic: weights have 8 bits, and values
            get them from case to case; int8: all numbers, in and out, too.
    """

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        is_exact = numbers == "float32"
        self.facts = Facts(
            name="tflite" if is_exact else f"tflite-{numbers}",
            file=_FILE,
            loaded_by="LiteRT",
            takes="pixels of a picture of any size",
            packages=("tensorflow", "ai_edge_litert"),
            is_rounded=not is_exact,
            template="tflite-int8" if numbers == "int8" else "tflite",
        )

    def write(self, model: StoredModel, folder: Path, emit: Emit) -> None:
        """Write model.tflite. Raises ExportError if LiteRT can't run the network, ModelFolderError, OSError."""
        from retrain.export.litert_parts import add_graph, add_signature, packed, unpacked

        description = model.description
        file = unpacked(self._converted(model, emit))
        for tensor in file.subgraphs[0].tensors:
            # a batch is of one picture until a client asks for more: LiteRT.js refuses a size that is left open
            tensor.shapeSignature = None
        add_signature(file, _SCORES, 0, "pixels", description.outputs)
        resizing = unpacked(_converted_resizing(description.form))
        add_signature(file, _RESIZE, add_graph(file, resizing), "picture", ["pixels"])
        write_whole(folder / _FILE, with_labels(packed(file), model.labels, description.thresholds))

    def load(self, folder: Path) -> "LiteRTRuntime":
        """Load it with ai-edge-litert."""
        return LiteRTRuntime(folder / _FILE)

    def _converted(self, model: StoredModel, emit: Emit) -> bytes:
        """The network as a file of LiteRT without signatures, from pixels to scores."""
        from retrain._tensorflow import tf

        scaling, lite = InputScaling.of_graph(model.graph_def), tf.lite
        settings: dict[str, Any] = {} if self._numbers == "float32" else {"optimizations": [lite.Optimize.DEFAULT]}
        if self._numbers == "float16":
            settings["target_spec"] = lite.TargetSpec(supported_types=[tf.float16])
        elif self._numbers == "int8":
            pixels = model.training_pixels(_PICTURES, "quantising", emit)
            settings["representative_dataset"] = lambda: self._representative(pixels, scaling, emit)
            settings["target_spec"] = lite.TargetSpec(supported_ops=[lite.OpsSet.TFLITE_BUILTINS_INT8])
            settings["inference_input_type"] = settings["inference_output_type"] = tf.uint8
        return _converted(_network(model, scaling, takes_scaled=self._numbers == "int8"), settings)

    def _representative(
        self, pixels: NDArray[np.uint8], scaling: InputScaling, emit: Emit
    ) -> Iterator[list[NDArray[np.float32]]]:
        """Inputs of the network, one picture at a time. All levels from 0 to 255 are in the first one.

        The ranges of the inputs are then those of all pictures, so that the file takes pixels as they are.
        """
        for number, picture in enumerate(pixels):
            if number == 0:
                picture = picture.copy()
                picture.flat[0], picture.flat[-1] = 0, 255
            values = picture[np.newaxis] * np.float32(scaling.factor) + np.float32(scaling.offset)
            yield [values.astype(np.float32)]
            emit(Prepared(f"quantising {self.facts.name}", number + 1, len(pixels)))


def _network(model: StoredModel, scaling: InputScaling, takes_scaled: bool) -> Any:
    """From (n, height, width, 3) uint8 to scores, as a concrete function.

    Args:
        takes_scaled: it takes float32 that scaling was applied to, in place of pixels.
    """
    from retrain._tensorflow import tf

    description, graph_def = model.description, model.graph_def

    def function(pixels: "tf.Tensor") -> "list[tf.Tensor]":
        values = pixels if takes_scaled else tf.cast(pixels, tf.float32) * scaling.factor + scaling.offset
        outputs = [f"{name}:0" for name in description.outputs]
        return list(
            tf.graph_util.import_graph_def(graph_def, {scaling.tensor: values}, return_elements=outputs, name="")
        )

    dtype = tf.float32 if takes_scaled else tf.uint8
    spec = tf.TensorSpec([None, description.height, description.width, 3], dtype, "pixels")
    return tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()


def _converted_resizing(form: PictureForm) -> bytes:
    """The part that resizes, as a file of LiteRT."""
    return _converted(_resizing(form), {})


def _resizing(form: PictureForm) -> Any:
    """From (n, any, any, 3) uint8 to (n, height, width, 3) uint8, in a form, as a concrete function."""
    from retrain._tensorflow import tf
    from retrain.backbones import graph_images

    names = ("abs", "cast", "cumsum", "einsum", "expand_dims", "floor", "maximum", "ones_like")
    others = {"floor_divide": tf.math.floordiv, "max": tf.reduce_max, "sum": tf.reduce_sum}
    ops = SimpleNamespace(**{name: getattr(tf, name) for name in names}, **others)

    def resize(picture: "tf.Tensor", height: Any, width: Any) -> "tf.Tensor":
        shape = tf.shape(picture)
        columns_first = are_columns_first(shape[1], shape[2], height, width, ops)
        # a picture that is to lose rows first is laid on its side, and put up again behind
        planes = tf.transpose(picture, tf.where(columns_first, [0, 3, 2, 1], [0, 3, 1, 2]))
        sizes = tf.where(columns_first, [height, width], [width, height])
        first, second = (tf.ones([size], tf.int32) for size in tf.unstack(sizes))
        planes = resize_third(resize_last(tf.cast(planes, tf.float32), first, ops), second, ops)
        pixels = tf.transpose(tf.cast(planes, tf.uint8), tf.where(columns_first, [0, 3, 2, 1], [0, 2, 3, 1]))
        return tf.reshape(pixels, [-1, height, width, 3])

    def function(picture: "tf.Tensor") -> "tf.Tensor":
        return graph_images.fitted(picture, form, resize)

    spec = tf.TensorSpec([None, None, None, 3], tf.uint8, "picture")
    return tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()


def _converted(function: Any, settings: Mapping[str, Any]) -> bytes:
    """A concrete function as a file of LiteRT. Raises ExportError if it has operations that LiteRT lacks."""
    from retrain._tensorflow import litert_converter

    converter = litert_converter(function)
    for name, value in settings.items():
        setattr(converter, name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that it has no statistics before it looks for them
            return bytes(converter.convert())
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the converter raises many kinds; the reason is kept
        missing = sorted({*re.findall(r"'?tf\.(\w+)'? op is neither a custom op", str(error))})
        reason = f"LiteRT lacks its operation {', '.join(missing)}" if missing else first_line(error)
        raise ExportError(f"this network can't be converted for LiteRT: {reason}") from error


class LiteRTRuntime:
    """A `Runtime` of ai-edge-litert."""

    inputs: Mapping[str, Takes] = {"picture": "picture", "pixels": "pixels"}

    def __init__(self, file: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(file), num_threads=cores())
        self.labels, self.thresholds = labels_in(file), thresholds_in(file)
        self._resize = interpreter.get_signature_runner(_RESIZE)
        self._scores = interpreter.get_signature_runner(_SCORES)
        # in the order of their names in the file; the scale is 0 for numbers that are not quantised
        self._quantization = {name: one["quantization"] for name, one in self._scores.get_output_details().items()}

    def answers(self, name: str, pictures: Pictures) -> NDArray[np.float32]:
        """Answers for pictures in one call."""
        pixels = self._resize(picture=pictures)["pixels"] if name == "picture" else pictures
        given = self._scores(pixels=pixels)
        parts = []
        for output in sorted(given, key=lambda output: output == KNOWN):  # the scores come first
            values, (scale, zero) = given[output].astype(np.float32), self._quantization[output]
            parts.append((values - zero) * scale if scale else values)
        return np.asarray(np.hstack(parts), np.float32)


TFLITE_FORMATS = tuple(TFLiteFormat(numbers) for numbers in ("float32", "float16", "dynamic", "int8"))
