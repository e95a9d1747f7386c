"""Scores of a model by its graph, which TensorFlow runs: for model folders of earlier versions, and for GPUs."""

import hashlib
import os
from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.backbones import (
    BOTTLENECK,
    PIXELS_INPUT,
    Extractor,
    FrozenGraph,
    check_graph,
    kept_trunk,
    suitable_batch_size,
)
from retrain.cache import fingerprint_of
from retrain.errors import ModelFolderError
from retrain.model.folder import ModelDescription
from retrain.model.graph_file import checked_run, head_constants, parse_graph, part_below, part_of_graph

__all__ = ["GraphScorer"]


class GraphScorer:
    """A `Scorer` of a graph file.

    Args:
        graph: its bytes.
        description: of the model.
        where: the file, for messages.
        trust: run the graph even if it has operations that do more than compute, such as writing files.
    Raises ModelFolderError.
    """

    def __init__(self, graph: bytes, description: ModelDescription, where: str, trust: bool) -> None:
        self._graph, self._description = graph, description
        graph_def = parse_graph(graph, where)
        if not trust:
            check_graph(graph_def, f"the graph {where}", ModelFolderError)
        self.head_arrays = head_constants(graph_def)
        picture, ends = (description.height, description.width, 3), [f"{name}:0" for name in description.outputs]
        self._answers = part_of_graph(graph_def, PIXELS_INPUT, ends, picture, description.answer_length)

    def answers(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8 to (n, numbers) float32. Raises ModelFolderError."""
        return self._answers(np.asarray(pixels, np.float32) / np.float32(255))

    def extractor(self, cache_dir: str | os.PathLike[str]) -> Extractor:
        """The extractor of the backbone inside the graph. `Scorer.extractor` tells how it is named."""
        graph, description = self._graph, self._description
        name, claimed = description.backbone_name, description.claimed_backbone
        kept = kept_trunk(cache_dir, name, fingerprint_of(claimed))
        if kept and hashlib.sha256(memoryview(graph)[: kept[1]]).hexdigest() == kept[0]:
            trunk = memoryview(graph)[: kept[1]]
            return Extractor(name, lambda: claimed, lambda: _GraphNetwork(trunk, description))
        part = part_below(tf.compat.v1.GraphDef.FromString(graph), BOTTLENECK)
        found = description.backbone_by("graph", hashlib.sha256(part).hexdigest())
        return Extractor(f"{name}_graph", lambda: found, lambda: _GraphNetwork(part, description))


class _GraphNetwork:
    """The backbone inside a model's graph, as pass one runs it."""

    def __init__(self, trunk: bytes | memoryview, description: ModelDescription) -> None:
        self.height, self.width = description.height, description.width
        self.batch_size = suitable_batch_size(self.height, self.width)
        self._length, self._trunk = description.bottleneck_size, trunk

    @cached_property
    def _run(self) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        trunk = tf.compat.v1.GraphDef.FromString(self._trunk)
        return FrozenGraph(trunk, PIXELS_INPUT, BOTTLENECK, self.height, self.width).runner()

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8, RGB, to (n, d) float32. Raises ModelFolderError."""
        return checked_run(lambda: self._run(pixels), len(pixels), self._length)
