"""A backbone that computes in 16 bits: TensorFlow rewrites its graph, if the processor has the arithmetic.

bfloat16 has float32's range and 8 bits of precision; products are summed in float32. TensorFlow decides for each
operation whether to use it.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrain.errors import BackboneError
from retrain.machine import has_gpu_device, processor_flags

if TYPE_CHECKING:
    from retrain.backbones.network import Network

__all__ = ["Bfloat16Network", "arithmetic", "check_device"]

# Of the kernel: Intel's and AMD's processors (Cooper Lake, Sapphire Rapids, Zen 4, ...), and ARM's (Neoverse V1)
_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


class Bfloat16Network:
    """A network whose convolutions and matrix products are computed in bfloat16.

    Args:
        network: in float32.
    Raises BackboneError if neither the processor nor a GPU has the arithmetic, or if TensorFlow still computes in
    float32.
    """

    def __init__(self, network: "Network") -> None:
        from retrain._tensorflow import compute_in_16_bits, tf

        self.height, self.width, self.batch_size = network.height, network.width, network.batch_size
        config = tf.compat.v1.ConfigProto()
        is_gpu = arithmetic() == "float16"
        if is_gpu and not tf.config.list_physical_devices("GPU"):
            raise BackboneError(
                "--precision bfloat16: there is a GPU, but TensorFlow can't use it: install tensorflow[and-cuda], "
                "or use --precision float32"
            )
        compute_in_16_bits(config, is_gpu)
        self._run = network.frozen_graph.runner(config)
        self._check_against(network)

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8, RGB, to (n, d) float32. Raises BackboneError for NaN or infinity."""
        vectors = self._run(pixels)
        if not np.isfinite(vectors).all():
            raise BackboneError("the backbone gives values that are not finite in 16 bits: use --precision float32")
        return vectors

    def _check_against(self, network: "Network") -> None:
        """Refuse float32: TensorFlow leaves a graph as it is, silently, if it can't do what is asked."""
        pixels = np.random.default_rng(0).integers(0, 256, (2, self.height, self.width, 3), np.uint8)
        if np.allclose(self.bottlenecks(pixels), network.bottlenecks(pixels), rtol=1e-6, atol=0):
            raise BackboneError(
                "this build of TensorFlow computes the backbone in float32 although --precision bfloat16 is asked for: "
                "use --precision float32 or int8"
            )


def arithmetic() -> str:
    """What this machine computes in: "float16" if it has a GPU, else "bfloat16"."""
    return "float16" if has_gpu_device() else "bfloat16"


def check_device() -> None:
    """Raise BackboneError if neither the processor nor a GPU computes in 16 bits: emulated, it would be slower."""
    if arithmetic() == "bfloat16" and not _FLAGS & processor_flags():
        raise BackboneError(
            "--precision bfloat16: this processor has no bfloat16 arithmetic (none of the flags "
            f"{', '.join(sorted(_FLAGS))} in /proc/cpuinfo), it would be emulated, slower than float32: "
            "use --precision float32 or int8"
        )
