"""TensorFlow and Keras: the only module that imports them, and the only one that uses their private parts.

`from retrain._tensorflow import tf` imports TensorFlow when it is first asked for. In somebody else's process that
changes nothing but what TensorFlow itself does; a program of our own calls `prepare_process` first.

Every private part stands behind a function that names it. tests/test_tensorflow.py fails when one of them changes.
"""

import contextlib
import gc
import importlib.machinery
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from retrain.errors import MissingPackageError
from retrain.machine import has_gpu_device
from retrain.native_output import no_native_output, silence_native_output
from retrain.text import first_line

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = [
    "compute_in_16_bits",
    "convert",
    "freeze",
    "has_gpu",
    "import_keras",
    "parse_saved_model",
    "prepare_process",
    "replace_keras_downloads",
    "tf",
]

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"

# Environment variables that TensorFlow and Keras read while they are imported. The user's own values win.
# By itself TensorFlow uses oneDNN's kernels only on x86 processors with AVX-512 VNNI and later. With AVX2 alone they
# are 1.2 (Inception v3) to 2.4 times (MobileNetV2, EfficientNet-B0) as fast as its own, too. They round differently, so
# the library and the command line must both use them: they share a cache.
_SETTINGS = {"KERAS_BACKEND": "tensorflow"}
if os.uname().machine == "x86_64":
    _SETTINGS["TF_ENABLE_ONEDNN_OPTS"] = "1"


class _State:
    """What this process knows of TensorFlow."""

    is_ours = False  # prepare_process was called
    is_told_by_user = False  # what to write; libraries such as tf2onnx set the same variable later
    importing = threading.RLock()


def prepare_process(silently: bool = True) -> None:
    """Have TensorFlow imported quickly and quietly in this process, for programs of our own.

    It then writes nothing to stderr as it starts (unless TF_CPP_MIN_LOG_LEVEL is set), leaves Keras for later, takes no
    more of a GPU's memory than it needs, and its objects are never looked at for garbage. Has no effect once TensorFlow
    is imported.

    Args:
        silently: keep what native code writes off stderr; else it writes as it likes, but for the start.
    """
    if not _State.is_ours:
        _State.is_told_by_user = _LEVEL in os.environ
    _State.is_ours = True
    if silently:
        silence_native_output()


def __getattr__(name: str) -> Any:
    if name != "tf":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = globals()["tf"] = _import_tensorflow()
    return module


def _import_tensorflow() -> Any:
    """Raises MissingPackageError if it is not installed, or broken."""
    try:
        return _imported()
    except ImportError as error:
        raise MissingPackageError(
            "TensorFlow is needed to take a network apart, and to run one that has no LiteRT form, and it can't be "
            f"imported ({first_line(error)}): pip install tensorflow"
        ) from error


def _imported() -> Any:
    with _State.importing:
        if "tensorflow" in sys.modules or not _State.is_ours:
            with _settings():
                import tensorflow
            return tensorflow
        if _State.is_told_by_user:
            with _settings(), _fast():
                import tensorflow
        else:
            os.environ[_LEVEL] = "3"
            with _settings(), no_native_output(), _fast():
                import tensorflow

                tensorflow.config.list_physical_devices()  # the search for a GPU writes lines of its own
            os.environ.pop(_LEVEL, None)  # it has been read; programs that we start should not see it
        for device in tensorflow.config.list_physical_devices("GPU"):
            tensorflow.config.experimental.set_memory_growth(device, True)
        return tensorflow


def has_gpu() -> bool:
    """Whether TensorFlow can use a GPU. It is imported only on machines that have one."""
    return has_gpu_device() and bool(_import_tensorflow().config.list_physical_devices("GPU"))


def import_keras() -> Any:
    """The module keras, on TensorFlow unless the user has chosen another backend."""
    with _State.importing:
        _import_tensorflow()  # or Keras would import it, in its own way
        with _settings():
            import keras
        return keras


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Set environment variables for an import, where they are not set; they are gone afterwards."""
    missing = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


class _NotYet(importlib.machinery.PathFinder):
    """Finds Keras, but does not let it be imported.

    TensorFlow imports Keras at its end, in case somebody needs it, and takes an ImportError to mean that it is not
    installed. That import takes 0.5 s, or 1.6 s where scikit-learn is installed. Now it waits for `import_keras`.
    """

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Where Keras is, which TensorFlow asks, with a loader that fails; None for anything else."""
        if fullname != "keras":
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = cls  # type: ignore[assignment]
        return spec

    @staticmethod
    def create_module(spec: importlib.machinery.ModuleSpec) -> None:
        """Create it as any other module."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Fail."""
        raise ImportError(f"{module.__name__} is imported when it is needed")


@contextlib.contextmanager
def _fast() -> Iterator[None]:
    """Import without Keras and without looking for garbage.

    None of TensorFlow's 300,000 objects is garbage. Looking through them takes 0.8 s during the import, 0.2 s each time
    later on, and 0.9 s at the end of the process.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    sys.meta_path.insert(0, _NotYet)
    try:
        yield
    finally:
        sys.meta_path.remove(_NotYet)
        gc.freeze()
        if was_enabled:
            gc.enable()


# private parts


def freeze(function: Any) -> "tf.compat.v1.GraphDef":
    """The graph of a concrete function, with its variables as constants.

    The public convert_variables_to_constants_v2 does the same, then makes a function of the graph again, which takes
    ten times as long and is not needed here.

    Private: `_FunctionConverterDataInEager` and `_replace_variables_by_constants` of
    tensorflow.python.framework.convert_to_constants, and the attribute `_gradient_op_type` (TensorFlow 2.21).
    """
    graph_def = _with_constants(function, lower_control_flow=True)
    for node in graph_def.node:
        # names a function that is not in the graph (as of swish); the operations have gradients of their own
        node.attr.pop("_gradient_op_type", None)
    return graph_def


def _with_constants(function: Any, lower_control_flow: bool) -> "tf.compat.v1.GraphDef":
    from tensorflow.python.framework import convert_to_constants

    data = convert_to_constants._FunctionConverterDataInEager(
        func=function, lower_control_flow=lower_control_flow, aggressive_inlining=False
    )
    graph_def, _ = convert_to_constants._replace_variables_by_constants(converter_data=data)
    return graph_def


def convert(function: Any) -> bytes:
    """A concrete function as a file of LiteRT, in float32; only with LiteRT's own operations.

    The converter writes dozens of lines to stderr and to its log.
    """
    logger = logging.getLogger("tensorflow")
    level = logger.level
    with no_native_output():
        _import_tensorflow()
        logger.setLevel(logging.ERROR)
        try:
            return bytes(litert_converter(function).convert())
        finally:
            logger.setLevel(level)


def litert_converter(function: Any) -> Any:
    """A TFLiteConverter of a concrete function, which gives the bytes of the public one in half the time.

    The public one makes a function again of the graph with constants, as `freeze` says, and uses its names only.

    Private: what `freeze` uses, and `_freeze_concrete_function` of the converter (TensorFlow 2.21).
    """
    converter = _import_tensorflow().lite.TFLiteConverter.from_concrete_functions([function])
    taken = function.inputs[: len(function.inputs) - len(function.captured_inputs)]
    converter._freeze_concrete_function = lambda: (
        _with_constants(function, lower_control_flow=False),
        taken,
        function.outputs,
        function,
    )
    return converter


def compute_in_16_bits(config: "tf.compat.v1.ConfigProto", on_gpu: bool) -> None:
    """Have a session compute convolutions and matrix products in bfloat16; on a GPU in float16, under the same rules.

    TensorFlow decides this for each operation. Where it can't do it, it leaves the graph as it is, without a word.

    Private: the fields of RewriterConfig (TensorFlow 2.21); the public tf.config.optimizer knows only the GPU's, and
    sets it for the whole process.
    """
    name = "auto_mixed_precision" if on_gpu else "auto_mixed_precision_onednn_bfloat16"
    setattr(config.graph_options.rewrite_options, name, 1)  # ON of its Toggle


def run_as_it_is(config: "tf.compat.v1.ConfigProto") -> None:
    """Have a session run a graph as it is. To arrange Inception v3 for the processor takes two seconds.

    Private: `disable_meta_optimizer` of RewriterConfig (TensorFlow 2.21).
    """
    config.graph_options.rewrite_options.disable_meta_optimizer = True


def parse_saved_model(data: bytes) -> Any:
    """The message that a saved_model.pb holds. Raises google.protobuf.message.DecodeError.

    Private: tensorflow.core.protobuf.saved_model_pb2 (TensorFlow 2.21).
    """
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel.FromString(data)


_replacing = threading.Lock()


@contextlib.contextmanager
def replace_keras_downloads(get_file: Callable[..., str]) -> Iterator[None]:
    """Have Keras Applications ask another function for its weights, for a while; one thread at a time.

    Args:
        get_file: called with `fname`, `origin` and `file_hash`; returns the path of the file.

    Private: its networks ask `keras.src.utils.file_utils.get_file` (Keras 3.12 and 3.15).
    """
    import_keras()
    from keras.src.utils import file_utils

    with _replacing:
        keras_own = file_utils.get_file
        file_utils.get_file = get_file
        try:
            yield
        finally:
            file_utils.get_file = keras_own
