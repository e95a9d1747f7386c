"""Networks in LiteRT's form: TensorFlow converts each once, and the cache keeps it.

From then on the network runs without TensorFlow. A network that can't be converted, or that then gives other vectors,
stays on TensorFlow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import has_gpu
from retrain.backbones.extractor import Extractor, ExtractorNetwork
from retrain.backbones.litert import LiteRTError, LiteRTNetwork, check_installed
from retrain.backbones.representative_pictures import RepresentativePictures
from retrain.cache import Artifacts, only_process
from retrain.errors import BackboneError
from retrain.events import Emit, Noted, Warned, ignore

if TYPE_CHECKING:
    from retrain.backbones.network import FrozenGraph

__all__ = ["CONVERTED", "Converter"]

CONVERTED = "litert"  # the artifact

_FORMAT = 1  # raised when a conversion gives other vectors than before
_PICTURES = 4  # to compare both forms on
_TOLERANCE = 1e-3  # of a number in a vector; for numbers above 1, of the largest


@dataclass(frozen=True)
class Converter:
    """Finds and makes converted networks.

    Args:
        pictures: to compare vectors on, and the cache to keep the networks in.
    """

    pictures: RepresentativePictures
    emit: Emit = ignore

    def network(self, extractor: Extractor, graph: Callable[[], "FrozenGraph"]) -> ExtractorNetwork:
        """The network of an extractor on the runtime that suits this machine.

        Args:
            extractor: its `network` runs on TensorFlow.
            graph: gives TensorFlow's graph of it, (n, height, width, 3) float32 in [0, 1] to vectors.
        Raises BackboneError.
        """
        model = None if has_gpu() else self.model(extractor, graph)
        if model is not None:
            try:
                return LiteRTNetwork(model)
            except LiteRTError as error:
                self.emit(Warned(f"{error}; {extractor.name} runs on TensorFlow"))
        return extractor.network

    def model(self, extractor: Extractor, graph: Callable[[], "FrozenGraph"]) -> bytes | None:
        """The converted network, a file's content; None if there is none that gives the same vectors.

        One process at a time converts: the others wait, and use what it made. Raises BackboneError.
        """
        try:
            check_installed()
        except LiteRTError as error:
            self.emit(Warned(f"{error}; until then {extractor.name} runs on TensorFlow, which starts slowly"))
            return None
        artifacts = Artifacts(
            self.pictures.cache_dir, extractor.name, extractor.fingerprint, extractor.description, {"made_by": _FORMAT}
        )
        found = self._kept(artifacts)
        if found is None:
            with only_process(self.pictures.cache, lambda: self.emit(Noted(_WAITING))):
                found = self._kept(artifacts) or self._make(artifacts, extractor, graph)
        model, failure = found
        if failure:
            self.emit(Noted(f"{extractor.name} runs on TensorFlow: {failure}"))
        return model

    def _kept(self, artifacts: Artifacts) -> "_Outcome | None":
        found = artifacts.find(CONVERTED)
        while artifacts.warnings:
            self.emit(Warned(artifacts.warnings.pop()))
        if found is None:
            return None
        details, content = found
        if "failure" not in details:
            return bytes(content), ""
        # with other versions it may work
        return (None, str(details["failure"])) if details.get("versions") == _versions() else None

    def _make(self, artifacts: Artifacts, extractor: Extractor, graph: Callable[[], "FrozenGraph"]) -> "_Outcome":
        self.emit(Noted(f"converting {extractor.name}, once: later runs need no TensorFlow for it"))
        try:
            model = graph().converted()
            details = self._compared(LiteRTNetwork(model), extractor.network)
        except BackboneError as error:
            artifacts.keep(CONVERTED, {"failure": str(error), "versions": _versions()}, [])
            return None, str(error)
        artifacts.keep(CONVERTED, details, [model])
        return model, ""

    def _compared(self, converted: LiteRTNetwork, original: ExtractorNetwork) -> dict[str, Any]:
        """How far vectors of some pictures differ. Raises LiteRTError if that is too far."""
        size = converted.height, converted.width
        pixels = self.pictures.first(size, _PICTURES)
        if not len(pixels):
            pixels = np.random.default_rng(0).integers(0, 256, (_PICTURES, *size, 3), np.uint8)
        expected = original.bottlenecks(pixels).astype(np.float32)
        difference = _largest(converted.bottlenecks(pixels) - expected)
        if not difference <= _TOLERANCE * max(1.0, _largest(expected)):
            raise LiteRTError(f"LiteRT gives other vectors, which differ by {difference:.2g}")
        return {"pictures": len(pixels), "largest_difference": difference}


_Outcome = tuple[bytes | None, str]  # a converted network, or why there is none

_WAITING = "waiting for another process that converts a network for this cache"


def _largest(values: NDArray[np.float32]) -> float:
    return float(np.abs(values).max())


def _versions() -> dict[str, str]:
    """What decides whether a network can be converted."""
    return {name: metadata.version(name) for name in ("tensorflow", "ai-edge-litert")}
