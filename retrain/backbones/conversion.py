"""Networks in LiteRT's form: TensorFlow converts each once, and the cache keeps it.

From then on the network runs without TensorFlow. A network that can't be converted, or that then gives other vectors,
stays on TensorFlow.
"""

import base64
import dataclasses
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import has_gpu
from retrain.backbones.extractor import Extractor, ExtractorNetwork
from retrain.backbones.kept_exports import tensorflow_version
from retrain.backbones.litert import LiteRTError, LiteRTNetwork, check_installed
from retrain.backbones.representative_pictures import RepresentativePictures
from retrain.cache import Artifacts, find_folder, only_process, read_details
from retrain.data import PictureForm
from retrain.errors import BackboneError
from retrain.events import Emit, Noted, Warned, ignore
from retrain.files import FilePart

if TYPE_CHECKING:
    from retrain.backbones.network import FrozenGraph

__all__ = ["CONVERTED", "ConvertedNetwork", "Converter", "kept_conversion", "probe_picture"]

CONVERTED = "litert"  # the artifact

_FORMAT = 1  # raised when a conversion gives other vectors than before
_PICTURES = 4  # to compare both forms on
_SENT = 64  # pictures that another process gets, of which it wants those: some may be unreadable
_TOLERANCE = 1e-3  # of a number in a vector; for numbers above 1, of the largest


@dataclass(frozen=True)
class ConvertedNetwork:
    """A network in LiteRT's form."""

    model: bytes | FilePart  # the file's content
    digest: str  # its SHA-256, hexadecimal
    probe: NDArray[np.float32]  # (length,) what it gives for `probe_picture`


@dataclass(frozen=True)
class KeptConversion:
    """What the cache holds of a network's conversion."""

    found: ConvertedNetwork | str | None  # or why there is none; None: nothing is known
    warnings: tuple[str, ...]  # of damage


def kept_conversion(cache_dir: str | os.PathLike[str], name: str, fingerprint: str) -> str | None:
    """The SHA-256 of the converted network that the cache holds of a backbone; None if it has none. It is not read."""
    found = read_details(find_folder(Path(cache_dir), name, fingerprint), fingerprint, CONVERTED)
    digest = found[0].get("digest") if found else None
    return None if digest is None else str(digest)


def probe_picture(height: int, width: int) -> NDArray[np.uint8]:
    """(height, width, 3) uint8: a picture of noise, the same everywhere and always (Knuth's multiplicative hashing)."""
    numbers = np.arange(height * width * 3, dtype=np.uint32) * np.uint32(2654435761)
    pixels: NDArray[np.uint8] = (numbers >> np.uint32(24)).astype(np.uint8).reshape(height, width, 3)
    return pixels


@dataclass(frozen=True)
class Converter:
    """Finds and makes converted networks.

    Args:
        cache_dir: where they are kept.
        emit: told of conversions, and of what is damaged.
        pictures: to compare vectors on; by default pictures of noise.
    """

    cache_dir: str | os.PathLike[str]
    emit: Emit = ignore
    pictures: RepresentativePictures | None = None

    def __reduce__(self) -> tuple[type["Converter"], tuple[Any, ...]]:
        """What another process gets: whoever listens is not there, and a few of the pictures do."""
        few = self.pictures and dataclasses.replace(
            self.pictures, folder=self.pictures.folder.part(range(min(_SENT, len(self.pictures.folder.samples))))
        )
        return Converter, (os.path.abspath(self.cache_dir), ignore, few)

    def network(self, extractor: Extractor, graph: Callable[[], "FrozenGraph"]) -> ExtractorNetwork:
        """The network of an extractor on the runtime that suits this machine.

        Args:
            extractor: its `network` runs on TensorFlow.
            graph: gives TensorFlow's graph of it, (n, height, width, 3) float32 in [0, 1] to vectors.
        Raises BackboneError.
        """
        converted = None if has_gpu() else self.converted(extractor, graph)
        if converted is not None:
            try:
                return LiteRTNetwork(bytes(converted.model))
            except LiteRTError as error:
                self.emit(Warned(f"{error}; {extractor.name} runs on TensorFlow"))
        return extractor.network

    def converted(
        self, extractor: Extractor, graph: Callable[[], "FrozenGraph"], kept: KeptConversion | None = None
    ) -> ConvertedNetwork | None:
        """The converted network; None if there is none that gives the same vectors.

        One process at a time converts: the others wait, and use what it made.

        Args:
            kept: what `look_up` found before.
        Raises BackboneError.
        """
        try:
            check_installed()
        except LiteRTError as error:
            self.emit(Warned(f"{error}; until then {extractor.name} runs on TensorFlow, which starts slowly"))
            return None
        found = self._told(kept or self.look_up(extractor))
        if found is None:
            with only_process(Path(self.cache_dir), lambda: self.emit(Noted(_WAITING))):
                found = self._told(self.look_up(extractor)) or self._make(extractor, graph)
        if isinstance(found, str):
            self.emit(Noted(f"{extractor.name} runs on TensorFlow: {found}"))
            return None
        return found

    def look_up(self, extractor: Extractor) -> KeptConversion:
        """What the cache holds, read and checked; nobody is told, so that a thread can do it ahead."""
        artifacts = self._artifacts(extractor)
        found = artifacts.find_file(CONVERTED)
        warnings = tuple(artifacts.warnings)
        if found is None:
            return KeptConversion(None, warnings)
        details, content = found
        if "failure" not in details:
            probe = np.frombuffer(base64.b64decode(details["probe"]), "<f4")
            return KeptConversion(ConvertedNetwork(content, details["digest"], probe), warnings)
        # with other versions it may work
        return KeptConversion(str(details["failure"]) if details.get("versions") == _versions() else None, warnings)

    def _told(self, kept: KeptConversion) -> ConvertedNetwork | str | None:
        for warning in kept.warnings:
            self.emit(Warned(warning))
        return kept.found

    def _artifacts(self, extractor: Extractor) -> Artifacts:
        return Artifacts(
            self.cache_dir, extractor.name, extractor.fingerprint, extractor.description, {"made_by": _FORMAT}
        )

    def _make(self, extractor: Extractor, graph: Callable[[], "FrozenGraph"]) -> ConvertedNetwork | str:
        artifacts = self._artifacts(extractor)
        self.emit(Noted(f"converting {extractor.name}, once: later runs need no TensorFlow for it"))
        try:
            made, details = self._convert(graph())
        except BackboneError as error:
            artifacts.keep(CONVERTED, {"failure": str(error), "versions": _versions()}, [])
            return str(error)
        details |= {"digest": made.digest, "probe": base64.b64encode(made.probe.astype("<f4").tobytes()).decode()}
        artifacts.keep(CONVERTED, details, [bytes(made.model)])
        return made

    def convert(self, graph: "FrozenGraph") -> ConvertedNetwork | None:
        """Convert a network of which nothing is kept; None if it can't be converted, or gives other vectors then."""
        try:
            check_installed()
            return self._convert(graph)[0]
        except BackboneError as error:
            self.emit(Noted(f"there is no LiteRT model of this network: {error}"))
            return None

    def _convert(self, graph: "FrozenGraph") -> tuple[ConvertedNetwork, dict[str, Any]]:
        """The converted network, and how it compares. Raises BackboneError."""
        model = graph.converted()
        network = LiteRTNetwork(model)
        details = self._compared(network, graph.as_network(for_few=True))
        probe = network.run(probe_picture(network.height, network.width)[np.newaxis])[0]
        return ConvertedNetwork(model, hashlib.sha256(model).hexdigest(), probe), details

    def _compared(self, converted: LiteRTNetwork, original: ExtractorNetwork) -> dict[str, Any]:
        """How far vectors of some pictures differ. Raises LiteRTError if that is too far."""
        form = PictureForm(converted.height, converted.width)  # whatever it is, both see the same
        pixels = self.pictures.first(form, _PICTURES) if self.pictures else None
        if pixels is None or not len(pixels):
            pixels = np.random.default_rng(0).integers(0, 256, (_PICTURES, *form.size, 3), np.uint8)
        expected = original.bottlenecks(pixels).reshape(len(pixels), -1).astype(np.float32)
        difference = _largest(converted.bottlenecks(pixels) - expected)
        if not difference <= _TOLERANCE * max(1.0, _largest(expected)):
            raise LiteRTError(f"LiteRT gives other vectors, which differ by {difference:.2g}")
        return {"pictures": len(pixels), "largest_difference": difference}


_WAITING = "waiting for another process that converts a network for this cache"


def _largest(values: NDArray[np.float32]) -> float:
    return float(np.abs(values).max())


def _versions() -> dict[str, str]:
    """What decides whether a network can be converted."""
    return {"tensorflow": tensorflow_version(), "ai-edge-litert": metadata.version("ai-edge-litert")}
