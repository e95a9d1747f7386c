"""TensorFlow, imported without the lines that it writes to stderr on every start, and without Keras.

Whoever sets TF_CPP_MIN_LOG_LEVEL gets what TensorFlow has to say.
"""

import contextlib
import gc
import importlib.machinery
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

__all__ = ["tf"]


class _NotYet(importlib.machinery.PathFinder):
    """Finds Keras, but does not let it be imported.

    TensorFlow imports it at its end, should somebody need it, and takes an ImportError for that it is not installed. It
    takes 0.5 s, or 1.6 s where scikit-learn is there, and is imported when `keras` or `tf.keras` is first used.
    """

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Where Keras is, for TensorFlow wants to know, with a loader that fails; None for anything else."""
        if fullname != "keras":
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = cls  # type: ignore[assignment]
        return spec

    @staticmethod
    def create_module(spec: importlib.machinery.ModuleSpec) -> None:
        """Import it as any other module."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Fail."""
        raise ImportError(f"{module.__name__} is imported when it is needed")


@contextlib.contextmanager
def _fast() -> Iterator[None]:
    """Import without Keras and without looking for garbage.

    Of TensorFlow's 300,000 objects none is garbage. Looking through them takes 0.8 s while it is imported, 0.2 s each
    time later on, and 0.9 s at the end of the process.
    """
    if "tensorflow" in sys.modules:  # the caller has imported it
        yield
        return
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


@contextlib.contextmanager
def _stderr_to_nowhere() -> Iterator[None]:
    """Send what native code writes to file descriptor 2 to /dev/null, for a while."""
    kept = os.dup(2)
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# TensorFlow uses oneDNN's kernels by itself only on x86 processors with AVX-512 VNNI and later. With AVX2 alone they
# are 1.2 (Inception v3) to 2.4 times (MobileNetV2, EfficientNet-B0) as fast as its own, too.
if platform.machine() == "x86_64":
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
    with _fast():
        import tensorflow as tf
else:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with _stderr_to_nowhere(), _fast():
        import tensorflow as tf

        tf.config.list_physical_devices()  # the search for a GPU has its own lines
    del os.environ["TF_CPP_MIN_LOG_LEVEL"]  # it has been read, and is no business of other programs started from here

for _device in tf.config.list_physical_devices("GPU"):
    with contextlib.suppress(RuntimeError):  # already in use by the caller's own code
        tf.config.experimental.set_memory_growth(_device, True)
