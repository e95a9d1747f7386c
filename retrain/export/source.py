"""What is exported: a head on its backbone. What all exports on one backbone share is kept in the cache."""

import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import (
    TRUNK,
    Backbone,
    ConvertedNetwork,
    Converter,
    KeptConversion,
    KeptExports,
    NetworkLayer,
    Trunk,
    Weight,
    check_graph,
    outline,
)
from retrain.data import PictureForm
from retrain.errors import BackboneError
from retrain.events import Warned
from retrain.files import FilePart
from retrain.model import Head

__all__ = ["ExportSource", "TrainedNetwork"]

# What is kept of a trunk beside its graph; at first it was less.
_EARLIER_DETAILS = ("height", "width", "bottleneck_size", "digest", "layers")
_DETAILS = (*_EARLIER_DETAILS, "producer", "weights", "weights_digest")


class ExportSource:
    """A backbone as exports need it, for any number of heads.

    Its parts are found in the cache. If they are not there, they are made when first asked for, and kept there.

    Args:
        backbone: in float32.
        final_tensor_name: name of the scores.
        converter: for the LiteRT model. It knows the cache, and who is told of damaged files there.
    """

    def __init__(self, backbone: Backbone, final_tensor_name: str, converter: Converter) -> None:
        self.backbone, self.final_tensor_name = backbone, final_tensor_name
        self.converter = converter
        self._reading: Future[Trunk | None] | None = None
        self._looking: Future[KeptConversion] | None = None
        self._is_kept = True  # whether what is made of it is useful to later runs

    @cached_property
    def _kept(self) -> KeptExports:
        return KeptExports(self.backbone, self.converter.cache_dir)

    @property
    def form(self) -> PictureForm:
        """The form in which the network sees pictures. Raises BackboneError, CacheError."""
        return PictureForm(self.trunk.height, self.trunk.width, self.backbone.source.fit, self.backbone.source.depth)

    def prepare(self) -> None:
        """Start to read and check what the cache has, in a thread of its own."""
        thread = ThreadPoolExecutor(1)
        self._reading = thread.submit(self._read_trunk)
        self._looking = thread.submit(self.converter.look_up, self.backbone)
        thread.shutdown(wait=False)

    def _read_trunk(self) -> Trunk | None:
        found = self._kept.find_file(TRUNK)
        if found is None:
            return None
        details, graph = found
        if set(details) == {*_EARLIER_DETAILS}:
            trunk = _earlier_trunk(details, graph)
            details = self._keep_trunk(trunk)
        elif set(details) == {*_DETAILS, "unsafe"}:
            trunk = _trunk_of(details, graph)
        else:
            return None
        source = self.backbone.source
        if details["unsafe"] and source.kind != "keras" and not source.trust:  # as when the backbone was loaded
            raise BackboneError(details["unsafe"])
        return trunk

    def _keep_trunk(self, trunk: Trunk) -> dict[str, Any]:
        """Keep a trunk, with all that runs want to know of it, which is returned."""
        details = {name: getattr(trunk, name) for name in _DETAILS}
        details["layers"] = [[layer.name, list(layer.weights)] for layer in trunk.layers]
        details["weights"] = [list(astuple(weight)) for weight in trunk.weights]
        details["unsafe"] = None
        try:
            check_graph(outline(trunk.graph)[0], f"the graph of backbone {self.backbone.name}", BackboneError)
        except BackboneError as error:
            details["unsafe"] = str(error)
        self._kept.keep(TRUNK, details, [trunk.graph])
        return details

    @cached_property
    def trunk(self) -> Trunk:
        """The backbone's graph. If it is not in the cache, TensorFlow makes it. Raises BackboneError, CacheError."""
        trunk = self._reading.result() if self._reading else self._read_trunk()
        self._tell_warnings()
        if trunk is not None:
            return trunk
        network = self.backbone.tensorflow_network
        from retrain.backbones import make_trunk

        trunk = make_trunk(network, self.backbone.form)
        self._keep_trunk(trunk)
        return trunk

    @cached_property
    def converted(self) -> ConvertedNetwork | None:
        """The backbone in LiteRT's form; None if LiteRT can't run it. Raises BackboneError."""
        if self._is_kept:
            kept = self._looking.result() if self._looking else None
            if kept and kept.found is None:  # this run may have made it since
                kept = None
            return self.converter.converted(self.backbone, lambda: self.backbone.tensorflow_network.frozen_graph, kept)
        from retrain.backbones import trunk_network

        return self.converter.convert(trunk_network(self.trunk))

    def with_weights(self, weights: Mapping[str, NDArray[np.float32]]) -> "ExportSource":
        """The same network with other constants, as in `Trunk.with_weights`. Nothing of it is kept in the cache."""
        other = copy.copy(self)
        other.__dict__.pop("converted", None)
        other.trunk = self.trunk.with_weights(weights)
        other._is_kept = False
        return other

    def under(self, head: Head, labels: Sequence[str] = ()) -> "TrainedNetwork":
        """The backbone with a head on it."""
        return TrainedNetwork(self, head, tuple(labels))

    def find(self, name: str) -> tuple[dict[str, Any], memoryview] | None:
        """Find a part that an earlier export kept: its details and content. None if there is none."""
        found = self._kept.find(name) if self._is_kept else None
        self._tell_warnings()
        return found

    def keep(self, name: str, details: dict[str, Any], content: Sequence[bytes | memoryview]) -> None:
        """Keep a part for later exports, if it is useful to them."""
        if self._is_kept:
            self._kept.keep(name, details, content)

    def _tell_warnings(self) -> None:
        while self._kept.warnings:
            self.converter.emit(Warned(self._kept.warnings.pop()))


@dataclass(frozen=True)
class TrainedNetwork:
    """A head on its backbone: what an exporter writes."""

    source: ExportSource
    head: Head
    labels: tuple[str, ...]  # in the order of the scores; graphs alone need none

    @property
    def trunk(self) -> Trunk:
        """The backbone's graph. Raises BackboneError, CacheError."""
        return self.source.trunk

    @property
    def converted(self) -> ConvertedNetwork | None:
        """The backbone in LiteRT's form; None if LiteRT can't run it. Raises BackboneError."""
        return self.source.converted

    @property
    def final_tensor_name(self) -> str:
        """Name of the scores."""
        return self.source.final_tensor_name


def _trunk_of(details: dict[str, Any], graph: FilePart) -> Trunk:
    """The trunk that was kept."""
    weights = (Weight(name, dtype, tuple(shape), *place) for name, dtype, shape, *place in details["weights"])
    known = {name: details[name] for name in _DETAILS}
    return Trunk(graph, **known | {"layers": _layers_of(details), "weights": tuple(weights)})


def _earlier_trunk(details: dict[str, Any], graph: FilePart) -> Trunk:
    """The trunk that an earlier version kept."""
    size = details["height"], details["width"], details["bottleneck_size"]
    return Trunk.of_graph(graph, size, _layers_of(details))


def _layers_of(details: dict[str, Any]) -> tuple[NetworkLayer, ...]:
    return tuple(NetworkLayer(name, tuple(weights)) for name, weights in details["layers"])
