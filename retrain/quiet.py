"""TensorFlow, imported without the lines that it writes to stderr on every start.

Whoever sets TF_CPP_MIN_LOG_LEVEL gets what TensorFlow has to say.
"""

import contextlib
import os
import platform
from collections.abc import Iterator

__all__ = ["tf"]


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
    import tensorflow as tf
else:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with _stderr_to_nowhere():
        import tensorflow as tf

        tf.config.list_physical_devices()  # the search for a GPU has its own lines
    del os.environ["TF_CPP_MIN_LOG_LEVEL"]  # it has been read, and is no business of other programs started from here

for _device in tf.config.list_physical_devices("GPU"):
    with contextlib.suppress(RuntimeError):  # already in use by the caller's own code
        tf.config.experimental.set_memory_growth(_device, True)
