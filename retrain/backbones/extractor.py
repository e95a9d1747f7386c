"""What pass one runs pictures through: an extractor has a name, a fingerprint, and a network that is loaded late."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrain.cache import fingerprint_of
from retrain.data import PictureForm
from retrain.errors import BackboneError

__all__ = ["Extractor", "ExtractorNetwork", "finite"]


_FOUND_OUT = ("description", "fingerprint", "network")


class ExtractorNetwork(Protocol):
    """What turns pixels into bottlenecks."""

    height: int  # pixels
    width: int
    batch_size: int  # pictures in one call, as suits the device and the size of the pictures

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """(n, height, width, 3) uint8 to (n, d) float32 or float16."""


@dataclass(frozen=True, eq=False)
class Extractor:
    """Something that turns pictures into vectors: a backbone, or what was made of one."""

    name: str  # part of the cache folder's name
    describe: Callable[[], dict[str, Any]]  # gives the description, which may take reading files
    load: Callable[[], ExtractorNetwork]  # gives the network. Raises BackboneError

    @cached_property
    def description(self) -> dict[str, Any]:
        """What decides the vectors, for JSON."""
        return self.describe()

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits, made of the description; equal if the same picture gives the same vector."""
        return fingerprint_of(self.description)

    @cached_property
    def network(self) -> ExtractorNetwork:
        """The network; loaded when a picture must go through it. Raises BackboneError."""
        return self.load()

    @property
    def form(self) -> PictureForm:
        """The form in which the network sees pictures; loads the network. Raises BackboneError."""
        told = {name: self.description[name] for name in ("fit", "depth") if name in self.description}
        return PictureForm(self.network.height, self.network.width, **told)

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets: it loads the network itself, and finds out the fingerprint of what it has."""
        return {name: value for name, value in vars(self).items() if name not in _FOUND_OUT}

    def variant(self, name: str, details: dict[str, Any], load: Callable[[], ExtractorNetwork]) -> "Extractor":
        """Another extractor made of this one.

        Args:
            name: added to this one's.
            details: what its description says more, or otherwise.
            load: gives its network.
        """
        return Extractor(f"{self.name}_{name}", lambda: self.description | details, load)


def finite(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a network gave. Raises BackboneError for NaN or infinity."""
    if not np.isfinite(vectors).all():
        raise BackboneError("the backbone gives values that are not finite: check its weights and input range")
    return vectors
